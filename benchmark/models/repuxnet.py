"""3D RepUX-Net (Lee et al. 2023, "Scaling Up 3D Kernels with Bayesian Frequency Re-parameterization ...", MICCAI).

Facts: MASILab/RepUX-Net at 3cd20c4 (README: MIT; no LICENSE file), `RepUXNet_3D/network_backbone.py`; parameter names
are the released ones. 3D UX-Net whose block is depth-wise 21^3 convolution - BatchNorm - GELU, without residual.

Every kernel is scaled, tap by tap, by the frequency matrix alpha / (distance to the centre + alpha). Variants:

- `frequency="as_written"`: the paper's method. The trained kernel is multiplied by the matrix in every forward and
  itself kept, so that distant taps learn more slowly.
- `frequency="as_released"`: what the published training script does (`deploy=False`). Every forward, evaluation
  included, replaces the kernel by its product with the matrix. The factors compound (after k forwards the matrix is
  raised to the k-th power), and the optimiser holds the tensors from before the first forward, so that the kernels are
  never trained: within some hundred steps only the untrained centre tap is left.
- `frequency="none"`: no scaling; for weights that already contain it (`deploy=True`).

`convolution="fft"` computes the depth-wise convolutions by fast Fourier transforms in float32, equal up to rounding;
`"direct"` is PyTorch's convolution. Any side is accepted (zero-padded to multiples of 16, cropped again).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models.layers.large_kernel import LargeKernelUNet
from benchmark.models.registry import register

FREQUENCIES = ("as_released", "as_written", "none")
CONVOLUTIONS = ("direct", "fft")


def frequency_matrix(kernel_size: int, alpha: float) -> Tensor:
    """alpha / (d + alpha) for the Euclidean distance d, in taps, to the centre of a [k, k, k] kernel."""
    offsets = torch.arange(kernel_size, dtype=torch.float32) - kernel_size // 2
    distance = torch.stack(torch.meshgrid(offsets, offsets, offsets, indexing="ij")).square().sum(0).sqrt()
    return alpha / (distance + alpha)


def depthwise_fft(image: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Depth-wise correlation with zero padding, same size; [B, C, *S] with kernel [C, 1, k, k, k]."""
    with torch.autocast(image.device.type, enabled=False):
        side = kernel.shape[-1]
        shape = [length + side // 2 for length in image.shape[2:]]  # enough that wrapped values fall outside the crop
        axes = (-3, -2, -1)
        product = (
            torch.fft.rfftn(image.float(), s=shape, dim=axes)
            * torch.fft.rfftn(_centred(kernel[:, 0].float(), shape), dim=axes).conj()
        )
        result = torch.fft.irfftn(product, s=shape, dim=axes)
    for axis, length in enumerate(image.shape[2:], start=2):
        result = result.narrow(axis, 0, length)
    if bias is not None:
        result = result + bias.view(-1, 1, 1, 1)
    return result.to(image.dtype)


def _centred(kernel: Tensor, shape: Sequence[int]) -> Tensor:
    """The kernel [C, k, k, k] on a periodic grid, its centre at the origin; taps that meet on a small grid add up."""
    for axis, length in enumerate(shape, start=1):
        side = kernel.shape[axis]
        grid = kernel.new_zeros([*kernel.shape[:axis], length, *kernel.shape[axis + 1 :]])
        places = (torch.arange(side, device=kernel.device) - side // 2) % length
        kernel = grid.index_add(axis, places, kernel)
    return kernel


class RepUXBlock(nn.Module):
    """Depth-wise convolution with frequency-scaled taps, BatchNorm, GELU."""

    frequency_matrix: Tensor

    def __init__(self, channels: int, *, kernel_size: int, alpha: float, frequency: str, convolution: str):
        super().__init__()
        self.frequency, self.convolution = frequency, convolution
        self.dwconv = nn.Conv3d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = nn.BatchNorm3d(channels)
        self.register_buffer("frequency_matrix", frequency_matrix(kernel_size, alpha), persistent=False)
        if frequency == "as_released":
            self.dwconv.weight.requires_grad_(False)  # no optimiser of the release ever updates it

    def _kernel(self) -> Tensor:
        if self.frequency == "as_released":
            with torch.no_grad():
                self.dwconv.weight.mul_(self.frequency_matrix)
        elif self.frequency == "as_written":
            return self.dwconv.weight * self.frequency_matrix
        return self.dwconv.weight

    def forward(self, features: Tensor) -> Tensor:
        kernel, bias = self._kernel(), self.dwconv.bias
        if self.convolution == "fft":
            features = depthwise_fft(features, kernel, bias)
        else:
            features = functional.conv3d(features, kernel, bias, padding=self.dwconv.padding, groups=self.dwconv.groups)
        return functional.gelu(self.norm(features))


@register("repuxnet", demo={"widths": (4, 8, 16, 32), "hidden_size": 32, "kernel_size": 5, "frequency": "as_written"})
def repuxnet(
    *,
    in_channels: int,
    out_channels: int,
    spatial_shape: Sequence[int],
    kernel_size: int = 21,
    alpha: float = 1.0,
    frequency: Literal["as_released", "as_written", "none"] = "as_released",
    convolution: Literal["direct", "fft"] = "direct",
    **options: Any,
) -> LargeKernelUNet:
    """3D RepUX-Net for 3-D images of any size.

    Args:
        in_channels, out_channels, spatial_shape, **options: as in 3D UX-Net.
        kernel_size: odd side of the depth-wise kernels.
        alpha: of the frequency matrix, in taps.
        frequency, convolution: see the module.

    Raises:
        ValueError: unknown variant, even kernel, or not four widths and depths.
    """
    if frequency not in FREQUENCIES or convolution not in CONVOLUTIONS:
        raise ValueError(f"frequency is one of {FREQUENCIES}, convolution of {CONVOLUTIONS}")
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, not {kernel_size}")
    block = partial(RepUXBlock, kernel_size=kernel_size, alpha=alpha, frequency=frequency, convolution=convolution)
    return LargeKernelUNet(
        in_channels=in_channels,
        out_channels=out_channels,
        spatial_shape=spatial_shape,
        block=block,
        pyramid_name="repuxnet_3d",
        **options,
    )
