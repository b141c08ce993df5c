"""SwinUNETR taken apart: MONAI's encoder and blocks, with the released patch merging and any feature size.

MONAI's own `SwinUNETR` holds the same parts under the same names (a test compares the two bit by bit). It is composed
here because the papers need three things it refuses or has changed: a feature size that is no multiple of 12 (demo
scale), the patch merging of MONAI up to 1.4, and a mixture of experts in place of a block's perceptron.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from monai.networks.blocks import UnetOutBlock
from monai.networks.nets.swin_unetr import PatchMerging, PatchMergingV2, SwinTransformer
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple
from benchmark.models.layers.unetr_blocks import unetr_block, unetr_up_block

# Offsets (depth, height, width) that the "merging" layer of MONAI <= 1.4.0 reads, in order: (0, 1, 0) and (0, 0, 1)
# twice, (1, 1, 0) and (0, 1, 1) never. MONAI 1.5.0 corrected it without a change of the state dict.
LEGACY_OFFSETS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))


class LegacyPatchMerging(PatchMergingV2):
    """Patch merging of MONAI <= 1.4.0 on [B, D, H, W, C]; in 2-D it was right already."""

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return super().forward(x)
        _, depth, height, width, _ = x.shape
        x = functional.pad(x, (0, 0, 0, width % 2, 0, height % 2, 0, depth % 2))
        corners = [x[:, d::2, h::2, w::2] for d, h, w in LEGACY_OFFSETS]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


DIVISOR = 32
MERGING = {"legacy": LegacyPatchMerging, "corrected": PatchMerging}


class PyramidParts(nn.Module):
    """Swin encoder of four stages, convolutional decoder and output layer.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_dims: 2 or 3.
        feature_size: channels of the first stage; each stage doubles them.
        depths, num_heads: blocks and attention heads of each stage.
        window_size: side of an attention window, in tokens.
        use_v2: a residual convolution block before each stage (SwinUNETR-V2).
        downsample: "legacy" (MONAI <= 1.4, what the papers ran) or "corrected" (MONAI >= 1.5). Same state dict.
        drop_path_rate: stochastic depth, rising linearly over the blocks.
        checkpointing: recompute each Swin block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_dims: int,
        feature_size: int = 48,
        depths: Sequence[int] = (2, 2, 2, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        use_v2: bool = False,
        downsample: str = "legacy",
        drop_path_rate: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if downsample not in MERGING:
            raise ValueError(f"downsample has to be one of {sorted(MERGING)}, not {downsample!r}")
        if any(feature_size * 2**stage % heads for stage, heads in enumerate(num_heads)):
            raise ValueError(f"stage widths {feature_size}·2^i have to be multiples of num_heads {tuple(num_heads)}")
        device = torch.get_default_device()
        with torch.device("cpu"):  # MONAI reads a tensor's values while building, which the meta device has not
            encoder = SwinTransformer(
                in_chans=in_channels,
                embed_dim=feature_size,
                window_size=(window_size,) * spatial_dims,
                patch_size=(2,) * spatial_dims,
                depths=depths,
                num_heads=num_heads,
                drop_path_rate=drop_path_rate,
                use_checkpoint=checkpointing,
                spatial_dims=spatial_dims,
                downsample=MERGING[downsample],
                use_v2=use_v2,
            )
        self.swinViT = encoder.to(device)
        self._add_convolutions(spatial_dims, in_channels, out_channels, feature_size)

    def _add_convolutions(self, dims: int, in_channels: int, out_channels: int, width: int) -> None:
        basic, up = partial(unetr_block, dims), partial(unetr_up_block, dims)
        self.encoder1 = basic(in_channels, width)
        self.encoder2 = basic(width, width)
        self.encoder3 = basic(2 * width, 2 * width)
        self.encoder4 = basic(4 * width, 4 * width)
        self.encoder10 = basic(16 * width, 16 * width)
        self.decoder5 = up(16 * width, 8 * width)
        self.decoder4 = up(8 * width, 4 * width)
        self.decoder3 = up(4 * width, 2 * width)
        self.decoder2 = up(2 * width, width)
        self.decoder1 = up(width, width)
        self.out = UnetOutBlock(dims, width, out_channels)

    def stage_blocks(self, stage: int) -> nn.ModuleList:
        """The transformer blocks of stage 1, 2, 3 or 4."""
        return getattr(self.swinViT, f"layers{stage}")[0].blocks

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The self-supervised encoder (`model_swinvit.pt`) in this network's names; a whole network as it is."""
        if any(key.startswith("swinViT.") for key in state):
            return state
        return {f"swinViT.{key}".replace(".mlp.fc", ".mlp.linear"): value for key, value in state.items()}


class SwinPyramid(PyramidParts):
    """[B, in, *spatial] → logits [B, out, *spatial]; built as `PyramidParts`.

    Sides that are no multiples of 32 are padded with zeros inside.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The fourth hidden state goes to the decoder as it is; only the other four pass an encoder block."""
        shape = x.shape[2:]
        x = pad_to_multiple(x, (DIVISOR,) * len(shape), several=True)
        half, quarter, eighth, sixteenth, deepest = self.swinViT(x, normalize=True)
        y = self.decoder5(self.encoder10(deepest), sixteenth)
        y = self.decoder4(y, self.encoder4(eighth))
        y = self.decoder3(y, self.encoder3(quarter))
        y = self.decoder2(y, self.encoder2(half))
        return crop_to_shape(self.out(self.decoder1(y, self.encoder1(x))), x.shape[2:], shape)
