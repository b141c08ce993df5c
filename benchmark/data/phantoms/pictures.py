"""Smooth random fields and files of pictures, shared by the phantoms of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter


def smooth_field(shape: tuple[int, int], scale: float, generator: np.random.Generator) -> np.ndarray:
    """float32 [H, W] of mean 0 and standard deviation 1 whose features are about `scale` pixels wide."""
    field = gaussian_filter(generator.standard_normal(shape).astype(np.float32), scale, mode="wrap")
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Values 0 to 1 as uint8 0 to 255, clipped."""
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write [H, W] or [H, W, 3] in the format of the suffix, without a date: the same bytes each time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels, compression="zlib", datetime=None, metadata=None)
    else:
        Image.fromarray(pixels).save(path)
