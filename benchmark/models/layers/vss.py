"""Visual state-space stages: the blocks and the VMamba-Tiny encoder that both Swin-UMambas share.

Papers: Liu et al., "VMamba"; Swin-UMamba section 3. Released: JiarunLiu/Swin-UMamba at 2c1f72e (Apache-2.0), whose
state-dict keys these are; VMamba's first release (MIT) differs by names only, see `layers.vss_weights`.
Feature maps have channels last, [B, H, W, C].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from dynamic_network_architectures.building_blocks.regularization import DropPath
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
        return self.encode(self.patch_embed(image))

    def encode(self, grid: Tensor) -> list[Tensor]:
        """The stages' outputs from the grid of embedded patches, some of which may have been replaced (masked)."""
        levels = []
        for stage, downsample in zip(self.layers, [*self.downsamples, None], strict=True):
            levels.append(stage(grid))
            if downsample is not None:
                grid = downsample(levels[-1])
        return levels

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """What the released trainers freeze at first: every parameter but those of the patch embedding."""
        return (parameter for name, parameter in self.named_parameters() if "patch_embed" not in name)


def strided_stem(in_channels: int, channels: int) -> nn.Sequential:
    """Swin-UMamba's: image [B, in_channels, H, W] -> [B, channels, H / 2, W / 2], H and W even."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 7, 2, 3), nn.InstanceNorm2d(channels, affine=True))
