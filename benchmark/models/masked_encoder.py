"""Masked-image modelling with the encoder of Swin-UMamba or Swin-UMamba†: the adaptation that precedes fine-tuning.

Papers: Liu et al., "Swin-UMamba†" (IEEE TMI), section III-F: masked patches, a one-layer head to pixels; Xie et al.,
"SimMIM" (CVPR 2022), which it follows. No code of the adaptation was released; what the text leaves open is SimMIM's
(microsoft/SimMIM at d3e29bc, MIT): masked tokens are replaced by one learned token after the patch embedding and its
norm, and the head is a 1 × 1 convolution to the pixels below each of the deepest features.
State-dict keys of the encoder are those of the two networks, whose `begin_from("encoder", …)` takes them.
Released weights: none; VMamba-Tiny of ImageNet begins it as it does the two networks.
Deviations: SimMIM's head has three channels whatever the image has; this one as many as it is asked for. Behind
Swin-UMamba's stem a token sees up to 3 masked pixels of its neighbours, and the stem's norm sees the whole image; the
text does not say how that network was adapted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.models.layers.fit import crop_to_shape, pad_to_multiple
from benchmark.models.layers.vss import VSSMEncoder, strided_stem
from benchmark.models.layers.vss_weights import check_patch_embed, vmamba_to_network
from benchmark.models.registry import register

TOKEN, STRIDE = 4, 32  # pixels along a side of a token and of what one of the deepest features stands for
WIDTHS = {"swin_umamba": 48, "swin_umamba_d": 96}  # of the two networks


@register("masked_encoder", demo={"width": 8, "depths": (1, 1, 1, 1)}, spatial_dims=(2,), decoder="head")
class MaskedEncoder(nn.Module):
    """[B, in, H, W] and masks [B, H / 4, W / 4], 1 = hidden -> the reconstructed image [B, out, H, W].

    Without masks nothing is hidden, and H and W are any. Masks ask for multiples of 32.

    Args:
        in_channels, out_channels: of the image and of its reconstruction, equal where images are modelled.
        spatial_shape: not used, the network fits any size.
        encoder: network whose encoder it is: "swin_umamba_d", or "swin_umamba" with its stem.
        width, depths: as the option of that network; width None: its own, 96 or 48.
        drop_path: of the encoder's last block; SimMIM has none.
        patch_embed: what `load_released` takes of VMamba's patch embedding, "as_released" or "as_written", as in the
            two networks.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        spatial_shape: Sequence[int],
        encoder: Literal["swin_umamba", "swin_umamba_d"] = "swin_umamba_d",
        width: int | None = None,
        depths: Sequence[int] = (2, 2, 9, 2),
        drop_path: float = 0.0,
        patch_embed: Literal["as_released", "as_written"] = "as_released",
    ) -> None:
        super().__init__()
        if encoder not in WIDTHS:
            raise ValueError(f"encoder is one of {', '.join(WIDTHS)}, not {encoder!r}")
        if len(depths) != 4:  # so that the stride is 32
            raise ValueError(f"the encoder has four stages, not {len(depths)}")
        self.patch_embed = check_patch_embed(patch_embed)
        width, channels, patch = width or WIDTHS[encoder], in_channels, TOKEN
        if encoder == "swin_umamba":
            self.stem = strided_stem(in_channels, width)
            width, channels, patch = 2 * width, width, TOKEN // 2
        dims = [width * 2**stage for stage in range(len(depths))]
        self.vssm_encoder = VSSMEncoder(channels, patch=patch, dims=dims, depths=depths, drop_path=drop_path)
        self.mask_token = nn.Parameter(torch.empty(1, 1, 1, width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.head = nn.Conv2d(dims[-1], STRIDE**2 * out_channels, 1)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        padded = pad_to_multiple(image, (STRIDE, STRIDE))
        grid = self.vssm_encoder.patch_embed(self.stem(padded) if hasattr(self, "stem") else padded)
        if mask is None:  # the token still takes part, so that data-parallel training waits for it in vain nowhere
            mask = grid.new_zeros(grid.shape[:3])
        if mask.shape != grid.shape[:3]:
            raise ValueError(f"masks of {tuple(grid.shape[:3])} belong to these images, not {tuple(mask.shape)}")
        grid = torch.where(mask[..., None] > 0, self.mask_token.to(grid.dtype), grid)
        deepest = self.vssm_encoder.encode(grid)[-1].permute(0, 3, 1, 2)
        pixels = nn.functional.pixel_shuffle(self.head(deepest), STRIDE)
        return crop_to_shape(pixels, padded.shape[2:], image.shape[2:])

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder without its embedding, as in fine-tuning: token, head and embedding train meanwhile."""
        return self.vssm_encoder.pretrained_parameters()

    def adapt_released(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A VMamba-Tiny checkpoint renamed to the encoder's keys; an adapted encoder's are returned as they are."""
        return vmamba_to_network(self, state, self.patch_embed)
