"""batchgeneratorsv2's two interpolating transforms with cubic splines, as nnunetv2 2.1.1 had them in batchgenerators.

What is drawn, and how labels are moved, stays batchgeneratorsv2's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from scipy.ndimage import map_coordinates

from benchmark.data.resampling import resample_image


class CubicSpatialTransform(SpatialTransform):
    """Rotation and scaling; the image by a cubic spline, 0 outside (batchgenerators: order_data 3, constant border)."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        if params["grid"] is None:
            return super()._apply_to_image(img, **params)
        positions = voxel_positions(params["grid"].numpy(), img.shape[1:])
        moved = [map_coordinates(channel, positions, order=3, mode="constant", cval=0.0) for channel in img.numpy()]
        return torch.from_numpy(np.stack(moved))


class CubicLowResolutionTransform(SimulateLowResolutionTransform):
    """Fewer voxels by the nearest one, and back by a cubic spline (batchgenerators: order_upsample 3)."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        shape = img.shape[1:]
        for channel, factors in zip(params["apply_to_channel"], params["scales"], strict=True):
            fewer = [max(1, round(side * factor.item())) for side, factor in zip(shape, factors, strict=True)]
            coarse = resample_image(img[channel].numpy(), fewer, order=0)
            img[channel] = torch.from_numpy(resample_image(coarse, shape, order=3))
        return img


def voxel_positions(grid: np.ndarray, shape: torch.Size | tuple[int, ...]) -> np.ndarray:
    """torch's sampling grid [*patch, axes] (last axis first, -1 and 1 are the outer edges) as voxel indices
    [axes, *patch] of an image of `shape`."""
    return np.stack([((grid[..., -1 - axis] + 1) * side - 1) / 2 for axis, side in enumerate(shape)])
