"""Visual state-space stages: the blocks and the VMamba-Tiny encoder that both Swin-UMambas share.

Papers: Liu et al., "VMamba"; Swin-UMamba section 3. Released: JiarunLiu/Swin-UMamba at 2c1f72e (Apache-2.0), whose
state-dict keys these are; VMamba's first release (MIT) differs by names only, see `vmamba_to_encoder`.
Feature maps have channels last, [B, H, W, C].
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from monai.networks.layers import DropPath
from torch import Tensor, nn

from benchmark.models.layers.mamba import Mamba, TokenMixer
from benchmark.models.layers.patches import PatchEmbed, PatchMerging
from benchmark.models.layers.ss2d import SS2D
from benchmark.models.layers.transformer import init_linear, stage_rates

MIXERS = ("vss", "mamba", "vim")


def make_mixer(mixer: str, channels: int, state: int) -> nn.Module:
    """SS2D, or a Mamba or Vim mixer over the row-major tokens (TMI Fig. 6; our reading, no code was released).

    Raises:
        ValueError: none of `MIXERS`.
    """
    if mixer not in MIXERS:
        raise ValueError(f"mixer is one of {MIXERS}, not {mixer!r}")
    if mixer == "vss":
        return SS2D(channels, state=state)
    return TokenMixer(Mamba(channels, state=state, bidirectional=mixer == "vim"))


class VSSBlock(nn.Module):
    """x + drop_path(mixer(norm(x))): no perceptron follows.

    With a Vim mixer this is Vim's own block, whose residual is carried along instead of being added at the end.
    """

    def __init__(
        self, channels: int, *, state: int = 16, drop_path: float = 0.0, mixer: str = "vss", eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(channels, eps=eps)
        self.self_attention = make_mixer(mixer, channels, state)
        self.drop_path = DropPath(drop_path)

    def forward(self, grid: Tensor) -> Tensor:
        return grid + self.drop_path(self.self_attention(self.ln_1(grid)))


class VSSStage(nn.Module):
    """Blocks at one resolution, one per entry of `drop_path`."""

    def __init__(self, channels: int, drop_path: Sequence[float], *, state: int = 16, mixer: str = "vss") -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(VSSBlock(channels, state=state, drop_path=rate, mixer=mixer) for rate in drop_path)
        )

    def forward(self, grid: Tensor) -> Tensor:
        return self.blocks(grid)


class VSSMEncoder(nn.Module):
    """VMamba's four stages; returns each one's output, finest first, channels last.

    Args:
        in_channels: of the image [B, in_channels, H, W]; sides are multiples of 8 patches.
        patch: side of the embedding's patches.
        dims, depths: channels and blocks of the stages.
        state, mixer: see `VSSBlock`.
        drop_path: of the last block, growing linearly from 0.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        patch: int,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (2, 2, 9, 2),
        state: int = 16,
        drop_path: float = 0.2,
        mixer: str = "vss",
    ) -> None:
        super().__init__()
        if len(dims) != len(depths) or any(after != 2 * before for before, after in pairwise(dims)):
            raise ValueError(f"dims {tuple(dims)} double from stage to stage, one for each of depths {tuple(depths)}")
        rates = stage_rates(0, drop_path, depths)
        self.patch_embed = PatchEmbed(in_channels, dims[0], patch)
        self.layers = nn.ModuleList(
            VSSStage(width, rate, state=state, mixer=mixer) for width, rate in zip(dims, rates, strict=True)
        )
        self.downsamples = nn.ModuleList(PatchMerging(width) for width in dims[:-1])
        self.apply(init_linear)  # SS2D's raw parameters and the time-step projections keep their own

    def forward(self, image: Tensor) -> list[Tensor]:
        grid, levels = self.patch_embed(image), []
        for stage, downsample in zip(self.layers, [*self.downsamples, None], strict=True):
            levels.append(stage(grid))
            if downsample is not None:
                grid = downsample(levels[-1])
        return levels

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """What the released trainers freeze at first: every parameter but those of the patch embedding."""
        return (parameter for name, parameter in self.named_parameters() if "patch_embed" not in name)


VMAMBA_NAMES = (
    # the names of VMamba's later code for the same network -> those of its first release
    (r"^patch_embed\.0\.", "patch_embed.proj."),
    (r"^patch_embed\.2\.", "patch_embed.norm."),
    (r"(\.blocks\.\d+)\.norm\.", r"\1.ln_1."),
    (r"(\.blocks\.\d+)\.op\.", r"\1.self_attention."),
    # -> the encoder's
    (r"^layers\.(\d+)\.downsample\.", r"downsamples.\1."),
)


def vmamba_to_encoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a VMamba-Tiny checkpoint (first or later key names) to `VSSMEncoder`'s keys; the classifier is dropped."""
    renamed = {}
    for key, tensor in state.items():
        if re.match(r"(norm|head|classifier)\.", key):
            continue
        for pattern, replacement in VMAMBA_NAMES:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def check_patch_embed(choice: str) -> str:
    """What of VMamba's patch embedding is taken: "as_released" or "as_written".

    Raises:
        ValueError: something else.
    """
    if choice not in ("as_released", "as_written"):
        raise ValueError(f"patch_embed is 'as_released' or 'as_written', not {choice!r}")
    return choice
