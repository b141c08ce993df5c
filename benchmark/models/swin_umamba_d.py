"""Swin-UMamba†: encoder and decoder of VSS blocks.

Paper: Liu et al., "Swin-UMamba†" (IEEE TMI), section III; its Table IV, Fig. 5 and Fig. 6. Released:
JiarunLiu/Swin-UMamba at 2c1f72e, `nets/SwinUMambaD.py` (Apache-2.0); state-dict keys are its own.
Rows of Table IV: `decoder_depths=(9, 2, 2)` is the symmetric decoder (23.4 G, 35.9 M), `depths=(2, 2, 2, 2)` the
symmetric encoder. Fig. 5: `deep_supervision=False`, `pretrained_decoder=True`. Fig. 6: `mixer`. For the symmetric
decoder, the pre-trained decoder and the mixers no code was released; they are our reading of the text.
Released weights: VMamba-Tiny of ImageNet into the encoder; the authors' checkpoints per dataset. Not released: the
encoder adapted by masked-image modelling, which `masked_encoder` trains and `begin_from` takes.
Deviations: none at sides that are multiples of 32; other sides are padded with zeros inside, where the release fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn

from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.layers.patches import PatchExpand
from benchmark.models.layers.transformer import stage_rates
from benchmark.models.layers.vss import VSSMEncoder, VSSStage
from benchmark.models.layers.vss_weights import (
    PREFIX,
    begin_from_encoder,
    check_patch_embed,
    vmamba_to_network,
)
from benchmark.models.registry import register
from benchmark.models.released import LoadReport


class VSSDecoder(nn.Module):
    """Four levels, deepest first: expand, join the skip, blocks, head; the last expands by four without a skip."""

    def __init__(
        self, dims: Sequence[int], classes: int, depths: Sequence[int], state: int, drop_path: float, mixer: str
    ) -> None:
        super().__init__()
        widths = list(dims[-2::-1])
        rates = stage_rates(drop_path, 0, depths)
        self.stages = nn.ModuleList(
            VSSStage(width, rate, state=state, mixer=mixer) for width, rate in zip(widths, rates, strict=True)
        )
        self.expand_layers = nn.ModuleList(PatchExpand(2 * width, width) for width in widths)
        self.expand_layers.append(PatchExpand(dims[0], dims[0], scale=4))
        self.seg_layers = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in [*widths, dims[0]])
        self.concat_back_dim = nn.ModuleList(nn.Linear(2 * width, width) for width in widths)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Maps with channels last, finest first; `levels` likewise."""
        *skips, grid = levels
        maps: list[Tensor] = []
        for expand, join, stage, skip in zip(
            self.expand_layers, self.concat_back_dim, self.stages, reversed(skips), strict=False
        ):
            grid = stage(join(torch.cat([expand(grid), skip], dim=-1)))
            maps.insert(0, grid)
        return [self.expand_layers[-1](grid), *maps]


class _SwinUMambaD(nn.Module):
    """The network on sides that are multiples of 32; see `SwinUMambaD`."""

    multiple: Sequence[int] = (32, 32)
    vssm_encoder: VSSMEncoder
    decoder: VSSDecoder
    deep_supervision: bool

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        maps = self.decoder(self.vssm_encoder(image))
        heads = self.decoder.seg_layers[::-1]
        if not self.deep_supervision:
            return heads[0](maps[0].permute(0, 3, 1, 2))
        return [head(grid.permute(0, 3, 1, 2)) for head, grid in zip(heads, maps, strict=True)]


@register(
    "swin_umamba_d",
    demo={"width": 8, "depths": (1, 1, 1, 1)},
    spatial_dims=(2,),
    decoder="decoder",
    channels_last=True,
)
class SwinUMambaD(PadToMultiple[Tensor | list[Tensor]], _SwinUMambaD):
    """[B, in, H, W] -> [B, out, H, W]; with deep supervision a list at 1, 1/4, 1/8, 1/16. Any H and W.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: not used, the network fits any size.
        width: channels of the first stage, doubled from stage to stage.
        depths: VSS blocks per encoder stage, finest first.
        decoder_depths: VSS blocks per decoder level, deepest first.
        state: size of a channel's hidden state.
        drop_path: of the encoder's last and the decoder's first block.
        deep_supervision: return four levels. The heads exist either way.
        mixer: "vss", or "mamba" or "vim" over row-major tokens.
        pretrained_decoder: `load_released` copies the encoder stages of VMamba into the decoder levels of their width.
        patch_embed: what `load_released` takes of VMamba's patch embedding: everything that fits, as released (a
            one-channel image fits nothing), or nothing, as the paper says.
        adapted_embedding: `begin_from` takes the adapted encoder's patch embedding along with its blocks.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        width: int = 96,
        depths: Sequence[int] = (2, 2, 9, 2),
        decoder_depths: Sequence[int] = (2, 2, 2),
        state: int = 16,
        drop_path: float = 0.2,
        deep_supervision: bool = True,
        mixer: Literal["vss", "mamba", "vim"] = "vss",
        pretrained_decoder: bool = False,
        patch_embed: Literal["as_released", "as_written"] = "as_released",
        adapted_embedding: bool = True,
    ) -> None:
        super().__init__()
        self.adapted_embedding = adapted_embedding
        self.deep_supervision, self.pretrained_decoder = deep_supervision, pretrained_decoder
        self.patch_embed = check_patch_embed(patch_embed)
        dims = [width * 2**stage for stage in range(len(depths))]
        self.vssm_encoder = VSSMEncoder(
            in_channels, patch=4, dims=dims, depths=depths, state=state, drop_path=drop_path, mixer=mixer
        )
        self.decoder = VSSDecoder(dims, out_channels, decoder_depths, state, drop_path, mixer)
        self.apply(InitWeights_He(1e-2))  # every 2-D convolution, those inside SS2D included
        if not deep_supervision:
            self.unused_parameters = tuple(f"decoder.seg_layers.{level}.*" for level in range(len(dims) - 1))

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder without its patch embedding, fixed for a protocol's `freeze_epochs`."""
        return self.vssm_encoder.pretrained_parameters()

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A VMamba-Tiny checkpoint renamed to this network's keys; the authors' own are returned as they are."""
        adapted = vmamba_to_network(self, state, self.patch_embed)
        if self.pretrained_decoder and adapted is not state:
            adapted |= self._decoder_weights(adapted)
        return adapted

    def begin_from(self, part: str, state: dict[str, Tensor]) -> LoadReport:
        """Take the encoder of a `masked_encoder`; what the decoder has of VMamba stays. See `begin_from_encoder`."""
        return begin_from_encoder(self, part, state, embedding=self.adapted_embedding)

    def _decoder_weights(self, encoder: dict[str, Tensor]) -> dict[str, Tensor]:
        """Stages 2, 1, 0 of the encoder under the names of the decoder's, deepest first; blocks beyond are skipped."""
        weights = {}
        for level, stage in enumerate(self.decoder.stages):
            source, target = f"{PREFIX}layers.{len(self.decoder.stages) - 1 - level}.", f"decoder.stages.{level}."
            for key in stage.state_dict():
                if source + key in encoder:
                    weights[target + key] = encoder[source + key]
        return weights
