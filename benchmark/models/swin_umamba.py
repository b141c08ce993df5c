"""Swin-UMamba: a VMamba-Tiny encoder behind a strided stem, with a convolutional decoder.

Papers: Liu et al., "Swin-UMamba" (MICCAI 2024); section III-E of its TMI successor. Released: JiarunLiu/Swin-UMamba at
2c1f72e, `nets/SwinUMamba.py` (Apache-2.0); state-dict keys are its own. The tables belong to revisions from 50eecc8
(6 March 2024) on: before it there is no sixth decoder level, and 40.4 M parameters instead of 59.9 M.
Released weights: VMamba-Tiny of ImageNet into the encoder; the authors' checkpoints per dataset. Not released: the
encoder adapted by masked-image modelling (TMI), which `masked_encoder` trains and `begin_from` takes.
Deviations: none at sides that are multiples of 32; other sides are padded with zeros inside, where the release fails.
The convolutional blocks are MONAI's, whose instance norms have no parameters, as in the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from monai.networks.blocks import UnetOutBlock
from torch import Tensor, nn

from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.unetr_blocks import unetr_block, unetr_up_block
from benchmark.models.layers.vss import VSSMEncoder, strided_stem
from benchmark.models.layers.vss_weights import begin_from_encoder, check_patch_embed, vmamba_to_network
from benchmark.models.registry import register
from benchmark.models.released import LoadReport

LEVELS = 5  # skips: the image, the stem's output and the encoder's first three stages


class _SwinUMamba(nn.Module):
    """The network on sides that are multiples of 32; see `SwinUMamba`."""

    multiple: Sequence[int] = (32, 32)
    deep_supervision: bool

    def __init__(
        self, in_channels: int, out_channels: int, width: int, depths: Sequence[int], drop_path: float
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        self.stem = strided_stem(in_channels, width)
        self.vssm_encoder = VSSMEncoder(width, patch=2, dims=widths[1:], depths=depths, drop_path=drop_path)
        for level, (before, after) in enumerate(zip([in_channels, *widths[:-1]], widths, strict=True), start=1):
            self.add_module(f"encoder{level}", unetr_block(2, before, after))
        for level, (before, after) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True), start=2):
            self.add_module(f"decoder{level}", unetr_up_block(2, before, after))
        self.decoder1 = unetr_block(2, width, width)
        self.out_layers = nn.ModuleList(UnetOutBlock(2, channels, out_channels) for channels in widths[:-1])

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        stem = self.stem(image)
        *stages, x = (grid.permute(0, 3, 1, 2) for grid in self.vssm_encoder(stem))
        maps = []
        for level, features in reversed(list(enumerate([image, stem, *stages], start=1))):
            skip = self.get_submodule(f"encoder{level}")(features)
            x = self.get_submodule(f"decoder{level + 1}")(x, skip)
            maps.append(x)
        maps[-1] = self.decoder1(maps[-1])
        if not self.deep_supervision:
            return self.out_layers[0](maps[-1])
        return [head(features) for head, features in zip(self.out_layers, reversed(maps), strict=False)]


@register(
    "swin_umamba",
    demo={"width": 8, "depths": (1, 1, 1, 1)},
    spatial_dims=(2,),
    decoder="decoder6",
)
class SwinUMamba(PadToMultiple[Tensor | list[Tensor]], _SwinUMamba):
    """[B, in, H, W] -> [B, out, H, W]; with deep supervision a list at 1, 1/2, 1/4, 1/8. Any H and W.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used, the network fits any size.
        width: channels at full resolution, doubled at each of the five levels.
        depths: VSS blocks per encoder stage.
        drop_path: of the encoder's last block. The release takes an argument for it and always uses 0.2.
        deep_supervision: return four levels. The heads exist either way.
        patch_embed: "as_released" also takes the bias of the patch embedding's norm from VMamba (the release skips the
            norm's weight twice and forgets the bias), "as_written" takes nothing of the patch embedding.
        adapted_embedding: `begin_from` takes stem and patch embedding of the adapted encoder along with its blocks.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 48,
        depths: Sequence[int] = (2, 2, 9, 2),
        drop_path: float = 0.2,
        deep_supervision: bool = True,
        patch_embed: Literal["as_released", "as_written"] = "as_released",
        adapted_embedding: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, width, depths, drop_path)
        self.adapted_embedding = adapted_embedding
        self.deep_supervision = deep_supervision
        self.patch_embed = check_patch_embed(patch_embed)
        if not deep_supervision:
            self.unused_parameters = tuple(f"out_layers.{level}.*" for level in range(1, LEVELS - 1))

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder without its patch embedding, fixed for a protocol's `freeze_epochs`."""
        return self.vssm_encoder.pretrained_parameters()

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A VMamba-Tiny checkpoint renamed to the encoder's keys; the authors' own are returned as they are."""
        return vmamba_to_network(self, state, self.patch_embed)

    def begin_from(self, part: str, state: dict[str, Tensor]) -> LoadReport:
        """Take the encoder of a `masked_encoder`, by `adapted_embedding` with its stem; see `begin_from_encoder`."""
        return begin_from_encoder(self, part, state, embedding=self.adapted_embedding)
