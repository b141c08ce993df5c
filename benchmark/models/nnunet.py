"""nnU-Net's networks: the plain U-Net of its default plans and the residual-encoder one, in 2-D and 3-D.

Papers: Isensee et al., "nnU-Net" (Nature Methods 2021), "nnU-Net Revisited" (MICCAI 2024). Licence: Apache-2.0.
The classes are dynamic-network-architectures' own, the topology is nnunetv2's planner's: from `spatial_shape` it gives
6 stages at 128³, 7 at 320² and 384 × 640, 8 at 512², as in the plans behind the tables (31,288,974 parameters at 118
classes; 33,489,940 for AbdomenMRI, 33,481,456 for Endoscopy, 46,327,157 for Microscopy). The 370.74 M of Swin SMT
Table 1 is no nnU-Net that we could find.
Released weights: TotalSegmentator's checkpoints, one per sub-task. Keys: a module that is shared is listed again
(`all_modules`, `decoder.encoder`), as in nnU-Net's own checkpoints.
Deviations: sides that the strides do not divide are padded with zeros inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD, BottleneckD
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from torch import Tensor, nn

from benchmark.models.layers.padding import PadToMultiple
from benchmark.models.registry import register

SMALLEST_EDGE = 4  # nnU-Net's UNet_featuremap_min_edge_length
WIDEST = {2: 512, 3: 320}  # its UNet_max_features_2d and _3d
RESIDUAL_BLOCKS = (1, 3, 4, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6)  # its UNet_blocks_per_stage_encoder for ResEnc presets


class _PlainUNet(PadToMultiple[Tensor | list[Tensor]], PlainConvUNet):
    several = True
    unused_parameters: tuple[str, ...] = ()


class _ResidualUNet(PadToMultiple[Tensor | list[Tensor]], ResidualEncoderUNet):
    several = True
    unused_parameters: tuple[str, ...] = ()


@register(
    "nnunet",
    demo={"base_features": 8, "max_features": 64, "deep_supervision": False},
    spatial_dims=(2, 3),
    decoder="decoder",
)
def nnunet(
    *,
    in_channels: int,
    out_channels: int,
    spatial_shape: Sequence[int],
    residual: bool = False,
    spacing: Sequence[float] | None = None,
    base_features: int = 32,
    max_features: int | None = None,
    features: Sequence[int] | None = None,
    strides: Sequence[Sequence[int]] | None = None,
    kernel_sizes: Sequence[Sequence[int]] | None = None,
    deep_supervision: bool = True,
) -> _PlainUNet | _ResidualUNet:
    """Build a U-Net as nnU-Net plans it.

    Args:
        in_channels, out_channels: image channels; classes including background.
        spatial_shape: patch size the topology is planned for; the built network takes any size.
        residual: residual encoder with one decoder convolution per stage (ResEnc presets) instead of two plain
            convolutions everywhere.
        spacing: of the patch, in mm; isotropic by default. Coarse axes are pooled later and get kernels of one.
        base_features, max_features: channels at full resolution, doubled with each stage up to the most (512 in 2-D,
            320 in 3-D by default).
        features: channels of every stage, in place of the two above.
        strides, kernel_sizes: of every stage, as tuples over the axes, in place of the planner's.
        deep_supervision: return the logits of every decoder stage, full resolution first. The heads exist either way.
    """
    dims = len(spatial_shape)
    strides, kernel_sizes = plan(spatial_shape, spacing or (1.0,) * dims, strides, kernel_sizes)
    features = features or [min(base_features * 2**i, max_features or WIDEST[dims]) for i in range(len(strides))]
    conv, norm = ((nn.Conv2d, nn.InstanceNorm2d), (nn.Conv3d, nn.InstanceNorm3d))[dims - 2]
    shared: dict[str, Any] = {
        "input_channels": in_channels,
        "num_classes": out_channels,
        "n_stages": len(strides),
        "features_per_stage": list(features),
        "strides": strides,
        "kernel_sizes": kernel_sizes,
        "conv_op": conv,
        "conv_bias": True,
        "norm_op": norm,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": deep_supervision,
    }
    network: _PlainUNet | _ResidualUNet
    if residual:
        blocks = RESIDUAL_BLOCKS[: len(strides)]
        network = _ResidualUNet(n_blocks_per_stage=blocks, n_conv_per_stage_decoder=1, **shared)
    else:
        network = _PlainUNet(n_conv_per_stage=2, n_conv_per_stage_decoder=2, **shared)
    without_lambdas(network)
    network.apply(InitWeights_He(1e-2))
    network.multiple = [prod(stride[axis] for stride in strides) for axis in range(dims)]
    if not deep_supervision:
        network.unused_parameters = tuple(f"decoder.seg_layers.{i}.*" for i in range(len(strides) - 2))
    return network


def without_lambdas(network: nn.Module) -> None:
    """A module in place of the function that residual blocks without a projection have as their skip: of functions
    defined in functions no copy can be pickled."""
    for block in network.modules():
        if isinstance(block, (BasicBlockD, BottleneckD)) and not isinstance(block.skip, nn.Module):
            block.skip = nn.Identity()


def plan(
    shape: Sequence[int],
    spacing: Sequence[float],
    strides: Sequence[Sequence[int]] | None,
    kernel_sizes: Sequence[Sequence[int]] | None,
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Strides and kernel sizes of every stage: the given ones, or those that nnunetv2's planner chooses.

    Raises:
        ValueError: the patch is too small for a second stage.
    """
    _, planned_strides, planned_kernels, _, _ = get_pool_and_conv_props(spacing, shape, SMALLEST_EDGE, 999999)
    chosen = [tuple(stride) for stride in strides or planned_strides]
    if len(chosen) < 2:
        raise ValueError(
            f"a patch of {tuple(shape)} leaves no stage to halve to; its longest side has to be {2 * SMALLEST_EDGE} "
            "or more"
        )
    kernels = [tuple(kernel) for kernel in kernel_sizes or planned_kernels]
    if len(kernels) != len(chosen) and kernel_sizes is None:
        kernels = [(3,) * len(shape)] * len(chosen)
    return chosen, kernels
