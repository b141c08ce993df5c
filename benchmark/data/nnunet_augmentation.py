"""nnU-Net v2's default training augmentation as one step, made of batchgeneratorsv2's transforms.

Order, probabilities and ranges are those of nnUNetTrainer.get_training_transforms (nnunetv2 2.x); rotation range, dummy
2-D augmentation and enlarged reading follow configure_rotation_dummyDA_mirroring_and_inital_patch_size. One deviation:
the blur does not time FFT against direct convolution, because a sample must not depend on the machine's load. nnunetv2
2.1.1 interpolated images by cubic splines where batchgeneratorsv2 is linear: `image_order`, `low_resolution_order`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from benchmark.data.augmentation_step import Augmentation, Patch
from benchmark.errors import InputError

if TYPE_CHECKING:
    from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform

ANISOTROPY = 3  # longest over first side above which a 3-D patch is augmented slice by slice
READ_SCALES = (0.85, 1.25)


class NnUnet(Augmentation):
    """Rotation and scaling, noise, blur, brightness, contrast, low resolution, gamma twice, mirroring."""

    label = "nnunet"
    mirror_axes: tuple[int, ...] | None = Field(None, description="Spatial axes that may be mirrored; null: all")
    image_order: Literal[1, 3] = Field(1, description="Spline that rotates and scales images; nnunetv2 2.1.1: 3")
    low_resolution_order: Literal[1, 3] = Field(1, description="Spline back from low resolution; nnunetv2 2.1.1: 3")

    def check(self, patch: tuple[int, ...]) -> None:
        if self.mirror_axes and max(self.mirror_axes) >= len(patch):
            raise InputError("nnunet cannot mirror that axis", expected=f"< {len(patch)}", found=self.mirror_axes)

    def read_size(self, patch: tuple[int, ...], generator: np.random.Generator) -> tuple[int, ...]:
        """Larger than the patch, so that a rotated patch has few voxels from outside."""
        from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size

        read = get_patch_size(patch, *[_rotation(patch)] * 3, READ_SCALES)
        sides = tuple(int(side) for side in read)
        return (patch[0], *sides[1:]) if _slicewise(patch) else sides

    def apply(
        self, image: np.ndarray, labels: np.ndarray, patch: tuple[int, ...], generator: np.random.Generator
    ) -> Patch:
        mirror = tuple(range(len(patch))) if self.mirror_axes is None else self.mirror_axes
        with _seeded(int(generator.integers(2**32))):
            orders = Orders(self.image_order, self.low_resolution_order)
            out = _transforms(patch, mirror, orders)(
                image=torch.from_numpy(np.ascontiguousarray(image)),
                segmentation=torch.from_numpy(labels[None].astype(np.int16)),
            )
        return out["image"].numpy(), out["segmentation"][0].numpy().astype(np.uint8)


class Orders(NamedTuple):
    """Order of the spline by which images are rotated and scaled, and brought back from low resolution."""

    image: int = 1
    low_resolution: int = 1


LINEAR = Orders()


def _slicewise(patch: tuple[int, ...]) -> bool:
    return len(patch) == 3 and max(patch) / patch[0] > ANISOTROPY


def _rotation(patch: tuple[int, ...]) -> tuple[float, float]:
    """Range of angles in radians."""
    degrees = 180.0 if _slicewise(patch) else 30.0
    if len(patch) == 2:
        degrees = 15.0 if max(patch) / min(patch) > 1.5 else 180.0
    return -np.deg2rad(degrees), np.deg2rad(degrees)


@lru_cache(maxsize=8)
def _transforms(patch: tuple[int, ...], mirror_axes: tuple[int, ...], orders: Orders = LINEAR) -> BasicTransform:
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
    from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
    from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform

    from benchmark.data.cubic_transforms import CubicSpatialTransform

    slicewise = _slicewise(patch)
    kind = CubicSpatialTransform if orders.image == 3 else SpatialTransform
    spatial = kind(
        patch[1:] if slicewise else patch,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=0,
        p_rotation=0.2,
        rotation=_rotation(patch),
        p_scaling=0.2,
        scaling=(0.7, 1.4),
        p_synchronize_scaling_across_axes=1,
        bg_style_seg_sampling=False,
        border_mode_seg="constant",
        padding_value_seg=-1,
    )
    placed = [Convert3DTo2DTransform(), spatial, Convert2DTo3DTransform()] if slicewise else [spatial]
    mirrored = [MirrorTransform(allowed_axes=mirror_axes)] if mirror_axes else []
    return ComposeTransforms([*placed, *_intensity(slicewise, orders), *mirrored, RemoveLabelTransform(-1, 0)])


def _intensity(slicewise: bool, orders: Orders) -> list[BasicTransform]:
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    from benchmark.data.cubic_transforms import CubicLowResolutionTransform

    each = {"synchronize_channels": False, "p_per_channel": 1}
    half = {"synchronize_channels": False, "p_per_channel": 0.5}
    noise = GaussianNoiseTransform(noise_variance=(0, 0.1), p_per_channel=1, synchronize_channels=True)
    blur = GaussianBlurTransform(blur_sigma=(0.5, 1.0), synchronize_axes=False, benchmark=False, **half)
    brightness = MultiplicativeBrightnessTransform(multiplier_range=BGContrast((0.75, 1.25)), **each)
    contrast = ContrastTransform(contrast_range=BGContrast((0.75, 1.25)), preserve_range=True, **each)
    kind = CubicLowResolutionTransform if orders.low_resolution == 3 else SimulateLowResolutionTransform
    coarse = kind(
        scale=(0.5, 1), synchronize_axes=True, ignore_axes=(0,) if slicewise else None, allowed_channels=None, **half
    )
    inverted, gamma = (
        GammaTransform(gamma=BGContrast((0.7, 1.5)), p_invert_image=invert, p_retain_stats=1, **each)
        for invert in (1, 0)
    )
    steps = [(noise, 0.1), (blur, 0.2), (brightness, 0.15), (contrast, 0.15), (coarse, 0.25), (inverted, 0.1)]
    return [RandomTransform(step, apply_probability=share) for step, share in [*steps, (gamma, 0.3)]]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """batchgeneratorsv2 draws from the global generators: seed them for one sample, then put them back."""
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
