"""UNETR's convolutional blocks as every network here has them: kernels of 3, instance norms, residual. MONAI's."""

from __future__ import annotations

from monai.networks.blocks import UnetrBasicBlock, UnetrUpBlock


def unetr_block(dims: int, in_channels: int, out_channels: int) -> UnetrBasicBlock:
    """[B, in_channels, *S] -> [B, out_channels, *S], S of `dims` sides."""
    return UnetrBasicBlock(
        dims, in_channels, out_channels, kernel_size=3, stride=1, norm_name="instance", res_block=True
    )


def unetr_up_block(dims: int, in_channels: int, out_channels: int) -> UnetrUpBlock:
    """[B, in_channels, *S] and a skip [B, out_channels, *2 S] -> [B, out_channels, *2 S], S of `dims` sides."""
    return UnetrUpBlock(
        dims, in_channels, out_channels, kernel_size=3, upsample_kernel_size=2, norm_name="instance", res_block=True
    )
