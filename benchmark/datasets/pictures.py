"""Reading photographs and micrographs: PNG, BMP, JPEG and TIFF, 8 or 16 bit, grey or colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from benchmark.errors import InputError

TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", *TIFF)
UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, KeyError, tifffile.TiffFileError)  # damaged files

Image.MAX_IMAGE_PIXELS = None  # whole-slide images are large on purpose


def read_picture(path: Path) -> np.ndarray:
    """The pixels of a picture in their stored type: [H, W], or [H, W, channels] with the alpha channel left out.

    Pictures with a palette become colours.

    Raises:
        InputError: missing, truncated, no picture, or a stack of several.
    """
    try:
        if path.suffix.lower() in TIFF:
            array = tifffile.imread(path).squeeze()
        else:
            with Image.open(path) as image:
                array = np.asarray(image.convert("RGB") if image.mode == "P" else image)
    except UNREADABLE as error:
        raise InputError(
            "cannot read image",
            where=path,
            expected="a whole PNG, BMP, JPEG or TIFF file",
            found=f"{type(error).__name__}: {error}",
            remedy="fetch or copy the file again",
        ) from error
    if array.ndim == 3 and array.shape[0] <= 4 < array.shape[2]:
        array = np.moveaxis(array, 0, -1)  # TIFF with planar channels
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 4):
        raise InputError("not a picture", where=path, expected="[H, W] or [H, W, 1 to 4]", found=array.shape)
    return array[..., :3] if array.ndim == 3 and array.shape[2] == 4 else array
