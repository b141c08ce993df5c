"""Photographs and micrographs as a viewer shows them, in full depth; label pictures as the numbers that were stored.

PNG, BMP, JPEG and TIFF, told apart by content. What has no one meaning is an error with the file's name: transparency,
several pictures in one file, labels in a lossy format or in a palette of greys that are not its indices.
"""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from benchmark.errors import InputError
from benchmark.images.files import decoding
from benchmark.images.png import PngFacts, check_png
from benchmark.images.tiff import BLACK_IS_ZERO, WHITE_IS_ZERO, Tiff, is_tiff, read_tiff, tiff_shape

Image.MAX_IMAGE_PIXELS = None  # whole-slide images are large on purpose; _check_size bounds what a damaged header asks

EXPECTED = "a whole PNG, BMP, JPEG or TIFF file"
FORMATS = ("PNG", "BMP", "DIB", "JPEG", "MPO")  # MPO: a JPEG with a preview, of some cameras
LOSSY = ("JPEG", "MPO")
ORIENTATION = 274  # EXIF
MOST_CHANNELS = 3
LARGEST_EXPANSION = 2000  # deflate reaches 1032; more is a damaged header, not a picture
SMALL_BYTES = 1 << 24


def read_picture(path: Path) -> np.ndarray:
    """The pixels of a picture, turned upright: [H, W], or [H, W, 2 or 3], in the depth of the file.

    Palettes become colours; opaque alpha is left out; black and white is 0 and 255.

    Raises:
        InputError: missing, damaged, transparent, no picture, or several in one file.
    """
    with decoding(path, EXPECTED):
        if is_tiff(path):
            tiff = read_tiff(path)
            array, opaque, orientation = _tiff_as_shown(tiff), _is_opaque(tiff.alpha), tiff.orientation
        else:
            array, opaque, orientation = _pillow_as_shown(path)
    if not opaque:
        raise _transparent(path)
    if array.ndim == 3 and array.shape[2] > MOST_CHANNELS:
        raise InputError("not a picture", where=path, expected="[H, W] or [H, W, 1 to 3]", found=array.shape)
    return oriented(array, orientation)


def read_picture_labels(path: Path) -> np.ndarray:
    """The label numbers [H, W] of a picture: stored samples, indices of a palette.

    Raises:
        InputError: missing, damaged, lossy, more than one channel, or greys that are not what is stored.
    """
    with decoding(path, EXPECTED):
        array, opaque, orientation = _tiff_labels(path) if is_tiff(path) else _pillow_labels(path)
    if not opaque:
        raise _transparent(path)
    if array.ndim != 2:
        raise _many_channels(path, array.shape)
    return oriented(array, orientation)


def label_picture_shape(path: Path) -> tuple[int, int]:
    """(height, width) of a label picture without its pixels; raises InputError for more than one channel."""
    with decoding(path, EXPECTED):
        if is_tiff(path):
            shape = tiff_shape(path)
        else:
            with Image.open(path, formats=FORMATS) as image:
                shape = (image.height, image.width)
                shape = shape[::-1] if _orientation(image) > 4 else shape
                colours = [band for band in image.getbands() if band != "A"]
                shape = (*shape, len(colours)) if len(colours) > 1 else shape
    if len(shape) != 2 or 0 in shape:
        raise _many_channels(path, shape)
    return shape


def oriented(array: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels [H, W, …] turned as EXIF's orientation 1 to 8 asks; other values ask nothing."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def _pillow_as_shown(path: Path) -> tuple[np.ndarray, bool, int]:
    """(pixels, whether they are opaque, orientation)."""
    with Image.open(path, formats=FORMATS) as image:
        facts = _check(image, path)
        orientation = _orientation(image)
        if facts and facts.depth == 16 and facts.colour != 0:  # Pillow keeps 8 of the 16 bits
            array = imagecodecs.png_decode(path.read_bytes())
            alpha = array[..., -1] if facts.colour in (4, 6) else None
            opaque = "transparency" not in image.info and _is_opaque(alpha)
            array = array[..., :3] if facts.colour in (2, 6) else array[..., 0]
            return array, opaque, orientation
        opaque = not image.has_transparency_data or image.convert("RGBA").getchannel("A").getextrema()[0] == 255
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8) * 255, opaque, orientation
        if image.mode == "LA":
            return np.asarray(image)[..., 0], opaque, orientation
        if image.mode in ("L", "I", "F") or image.mode.startswith("I;16"):
            return _native(np.asarray(image)), opaque, orientation
        return np.asarray(image.convert("RGB")), opaque, orientation


def _pillow_labels(path: Path) -> tuple[np.ndarray, bool, int]:
    """(numbers, whether they are opaque, orientation)."""
    with Image.open(path, formats=FORMATS) as image:
        facts = _check(image, path)
        if image.format in LOSSY:
            raise _lossy(path, image.format)
        array, alpha = _native(np.asarray(image)), None
        if image.mode == "P":
            _check_palette(array, np.array(image.getpalette("RGB")).reshape(-1, 3), path)
        elif image.mode == "LA" and facts and facts.depth == 16:
            array, alpha = np.moveaxis(imagecodecs.png_decode(path.read_bytes()), -1, 0)
        elif image.mode == "LA":
            array, alpha = np.moveaxis(array, -1, 0)
        elif image.mode == "L" and facts and facts.depth < 8:
            array = array // (255 // (2**facts.depth - 1))  # Pillow spreads two or four bits over eight
        return array, _is_opaque(alpha), _orientation(image)


def _tiff_as_shown(tiff: Tiff) -> np.ndarray:
    array = _native(tiff.array)
    if tiff.palette is not None:
        return tiff.palette[array]
    if tiff.photometric == WHITE_IS_ZERO and array.dtype.kind in "bu":
        array = ~array if array.dtype == bool else tiff.largest - array
    if tiff.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO) and tiff.bits < 8:
        array = array.astype(np.uint8) * (255 // tiff.largest)
    return array


def _tiff_labels(path: Path) -> tuple[np.ndarray, bool, int]:
    """(numbers, whether they are opaque, orientation)."""
    tiff = read_tiff(path)
    if tiff.lossy:
        raise _lossy(path, tiff.lossy)
    if tiff.photometric == WHITE_IS_ZERO:
        raise InputError(
            "a label picture in which 0 is white",
            where=path,
            expected="MINISBLACK",
            found="MINISWHITE: viewers show other numbers than are stored",
            remedy="write the label map again as plain grey values",
        )
    if tiff.palette is not None:
        _check_palette(tiff.array, tiff.palette if tiff.palette.dtype == np.uint8 else tiff.palette >> 8, path)
    return tiff.array, _is_opaque(tiff.alpha), tiff.orientation


def _check_palette(indices: np.ndarray, colours: np.ndarray, path: Path) -> None:
    """Indices are the labels, unless the palette holds greys that could be meant instead.

    Raises:
        InputError: all entries in use are grey, and neither the indices themselves nor an even ramp for display.
    """
    number = int(indices.max()) + 1
    colours = colours[:number].astype(int)
    if number < 2 or (np.ptp(colours, axis=1) > 0).any():
        return
    greys, index = colours[:, 0], np.arange(len(colours))
    if not (np.array_equal(greys, index) or (np.abs(greys - 255 * index / (number - 1)) <= 1).all()):
        raise InputError(
            "a label picture with a palette of greys",
            where=path,
            expected="label numbers as grey values, or a palette of colours",
            found=f"index {index[greys != index][0]} is shown as grey {greys[greys != index][0]}: which is the label?",
            remedy="write the label map again as plain grey values",
        )


def _check(image: Image.Image, path: Path) -> PngFacts | None:
    """Size, number of pictures, and for PNG the checksums; returns what PNG says of itself."""
    described, stored = image.width * image.height * len(image.getbands()), path.stat().st_size
    if described > SMALL_BYTES + stored * LARGEST_EXPANSION:
        raise ValueError(f"the header describes {described} bytes in a file of {stored}")
    return check_png(path) if image.format == "PNG" else None


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    return value if isinstance(value, int) else 1


def _is_opaque(alpha: np.ndarray | None) -> bool:
    return alpha is None or bool((alpha == (np.iinfo(alpha.dtype).max if alpha.dtype.kind in "iu" else 1)).all())


def _native(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _transparent(path: Path) -> InputError:
    return InputError("a transparent picture", where=path, expected="no alpha, or opaque", remedy="flatten it")


def _lossy(path: Path, kind: str) -> InputError:
    return InputError(
        "a label map in a lossy format",
        where=path,
        expected="PNG, BMP, or TIFF without loss",
        found=f"{kind}, which changes values at every border",
        remedy="get the label map as it was before it was compressed; what is lost cannot be computed back",
    )


def _many_channels(path: Path, shape: tuple[int, ...]) -> InputError:
    return InputError("A label image has one channel", where=path, expected="(height, width)", found=shape)
