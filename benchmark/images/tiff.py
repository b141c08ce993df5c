"""TIFF: one picture per file, its palette, polarity, orientation and alpha as the tags say, damage as an error."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LOSSY = {6: "JPEG", 7: "JPEG", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC",
         34892: "JPEG", 50001: "WebP", 50002: "JPEG XL"}  # fmt: skip
LARGEST_EXPANSION = 20_000  # of a compressed strip; more is a damaged tag, not a picture
SMALL_BYTES = 1 << 24
# Sizes, bits, compression, polarity, strips, orientation, samples, planes, predictor, palette, tiles, kind of sample.
STRUCTURAL_TAGS = {256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339}
ALPHA = (1, 2)  # values of the tag ExtraSamples; 0 is a channel that nothing is said of
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6


@dataclass(frozen=True)
class Tiff:
    """The stored samples of a TIFF and what they mean.

    Attributes:
        array: [H, W] or [H, W, channels], as stored, alpha left out.
        alpha: [H, W], or None.
        photometric: one of the constants above.
        bits: per sample.
        colours: uint16 [entries, 3] of a palette, else None.
        orientation: 1 to 8, as in EXIF.
        lossy: name of a compression that may change values, else "".
    """

    array: np.ndarray
    alpha: np.ndarray | None
    photometric: int
    bits: int
    colours: np.ndarray | None
    orientation: int
    lossy: str

    @property
    def largest(self) -> int:
        return 2**self.bits - 1

    @property
    def palette(self) -> np.ndarray | None:
        """Colours [entries, 3] of the palette, uint8 where its 16 bits hold no more than 8."""
        for factor in (257, 256):  # 255 was written as 65535 or as 65280
            if self.colours is not None and (self.colours % factor == 0).all():
                return (self.colours // factor).astype(np.uint8)
        return self.colours


def is_tiff(path: Path) -> bool:
    """By content: files are renamed."""
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def read_tiff(path: Path) -> Tiff:
    """The one picture of a TIFF file; smaller copies of it (thumbnails, pyramids) are left out.

    Raises:
        ValueError, and whatever tifffile and its codecs raise: damaged, or several pictures.
    """
    with _complaints_raise(), tifffile.TiffFile(path) as file:
        page, series = file.pages.first, _only_picture(file)
        _check_segments(page, series, path.stat().st_size)
        array, alpha = _channels(series.asarray(), series.axes, page)
        orientation = page.tags.get(274)
        photometric = int(page.photometric)
        if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR):
            raise ValueError(f"colours of the kind {getattr(page.photometric, 'name', photometric)}")
        if photometric == YCBCR and int(page.compression) not in (6, 7):
            raise ValueError("YCbCr without JPEG")
        colours = None if page.colormap is None else np.asarray(page.colormap).T
        return Tiff(
            array=array,
            alpha=alpha,
            photometric=photometric,
            bits=int(page.bitspersample),
            colours=colours if photometric == PALETTE else None,
            orientation=1 if orientation is None else int(orientation.value),
            lossy=LOSSY.get(int(page.compression), ""),
        )


def tiff_shape(path: Path) -> tuple[int, ...]:
    """(height, width), or with channels other than alpha behind, from the tags alone."""
    with _complaints_raise(), tifffile.TiffFile(path) as file:
        series = _only_picture(file)
        sides = dict(zip(series.axes, series.shape, strict=True))
        shape = sides["Y"], sides["X"]
        orientation = file.pages.first.tags.get(274)
        shape = shape[::-1] if orientation is not None and int(orientation.value) > 4 else shape
        alphas = sum(int(value) in ALPHA for value in file.pages.first.extrasamples)
        channels = sides.get("S", 1) * sides.get("C", 1) - alphas
        return shape if channels == 1 else (*shape, channels)


class _Complaints(logging.Handler):
    """Keeps what tifffile logs, except about tags that no pixel depends on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        tag = re.search(r"TiffTag (\d+) @", message)
        if tag is None or int(tag[1]) in STRUCTURAL_TAGS:
            self.messages.append(message)


@contextmanager
def _complaints_raise() -> Iterator[None]:
    """tifffile logs damaged tags and goes on with what is left; here they are errors, and nothing is printed."""
    logger, complaints = tifffile.logger(), _Complaints()
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
        logger.propagate = propagated
    if complaints.messages:
        raise ValueError(complaints.messages[0])


def _only_picture(file: tifffile.TiffFile) -> tifffile.TiffPageSeries:
    whole = [series for series in file.series if not series.keyframe.is_reduced]
    series = whole[0] if whole else file.series[0]
    frames = [side for axis, side in zip(series.axes, series.shape, strict=True) if axis not in "YXSC" and side > 1]
    if len(whole) > 1 or frames:
        raise ValueError(f"not a picture but a stack of several: {[s.shape for s in whole]}")
    return series


def _check_segments(page: tifffile.TiffPage, series: tifffile.TiffPageSeries, size: int) -> None:
    """Strips and tiles lie inside the file (tifffile fills missing ones with zeros), and can hold what the tags say."""
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count <= 0 or offset + count > size:
            raise ValueError(f"a strip of {count} bytes at byte {offset} of {size}")
    described = int(np.prod(series.shape, dtype=object)) * np.dtype(series.dtype).itemsize
    compressed = int(page.compression) != 1
    if described > SMALL_BYTES + size * (LARGEST_EXPANSION if compressed else 8):
        raise ValueError(f"tags describe {described} bytes in a file of {size}")


def _channels(array: np.ndarray, axes: Sequence[str], page: tifffile.TiffPage) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples as [H, W] or [H, W, channels], and alpha."""
    keep = [axis for axis, side in zip(axes, array.shape, strict=True) if axis in "YX" or side > 1]
    array = array.reshape([side for axis, side in zip(axes, array.shape, strict=True) if axis in keep])
    order = [keep.index("Y"), keep.index("X"), *(i for i, axis in enumerate(keep) if axis in "SC")]
    array = array.transpose(order)
    if array.ndim < 3:
        return array, None
    if array.ndim > 3:
        raise ValueError(f"axes {axes}")
    extra = [int(value) for value in page.extrasamples] if "S" in keep else []
    first = array.shape[2] - len(extra)
    alphas = [first + i for i, value in enumerate(extra) if value in ALPHA]
    colours = [i for i in range(array.shape[2]) if i not in alphas]
    if int(page.photometric) == RGB:
        colours = colours[:3]  # viewers show nothing of channels that nothing is said of
    kept = array[..., colours]
    return (kept[..., 0] if len(colours) == 1 else kept), (array[..., alphas[0]] if alphas else None)
