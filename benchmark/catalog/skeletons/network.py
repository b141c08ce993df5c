"""$name: what it is, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from benchmark.models.registry import register


# `demo` are options that make it small; `spatial_dims` says whether it takes pictures, volumes or both.
@register("$name", demo={"width": 8}, spatial_dims=(2, 3))
class Network(nn.Module):
    """Images [B, in_channels, *spatial] to logits [B, out_channels, *spatial], background first.

    Args:
        in_channels: of the images.
        out_channels: classes, background included.
        spatial_shape: sides of a training patch, two or three.
        width: an option of your own; models.yaml sets it.
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        convolution = nn.Conv2d if len(spatial_shape) == 2 else nn.Conv3d
        self.layers = nn.Sequential(
            convolution(in_channels, width, 3, padding=1),
            nn.LeakyReLU(),
            convolution(width, width, 3, padding=2, dilation=2),
            nn.LeakyReLU(),
            convolution(width, width, 3, padding=4, dilation=4),
            nn.LeakyReLU(),
            convolution(width, out_channels, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)
