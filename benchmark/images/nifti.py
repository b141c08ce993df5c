"""Reading NIfTI files to the end of their stream, where gzip keeps the checksum of everything before it.

One byte changed in a `.nii.gz` usually still decompresses, to other voxels. A reader that stops at the last voxel
never sees the checksum; this one reads on. Geometry is the affine (benchmark.images.geometry), in millimetres.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.volumeutils import apply_read_scaling

from benchmark.errors import InputError
from benchmark.images.files import UNREADABLE, decoding
from benchmark.images.geometry import MILLIMETRES, check_affine, voxel_sides

EXPECTED = "a whole NIfTI file"
GZIP = b"\x1f\x8b"
PIECE_BYTES = 1 << 16  # of zeros, compressed, are 66 MB
LARGEST_EXPANSION = 1100  # deflate expands to at most 1032 times its size: more is a damaged header, not an image
FLOAT32_SIDES = 1e-5  # relative
LARGEST_OFFSET = 1 << 26  # header extensions hold text
FORMATS = (nibabel.Nifti1Header, nibabel.Nifti2Header)


@dataclass(frozen=True)
class Grid:
    """What a NIfTI header says.

    Attributes:
        shape: without axes of length 1 behind the third.
        affine: voxel → RAS+ world [4, 4] in mm.
        sides: of a voxel in mm, along the first three axes (or two): the affine's, as pixdim writes them.
        dtype: as stored, in the file's byte order.
        offset: byte at which voxels begin.
        slope, intercept: what stored values are scaled with; 1 and 0 where they are not.
        description: the header's free text.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    sides: tuple[float, ...]
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    description: str

    @property
    def is_scaled(self) -> bool:
        return (self.slope, self.intercept) != (1.0, 0.0)


@dataclass(frozen=True)
class Volume:
    """A NIfTI file: array [*shape], scaled to float32 where the header says so, else as stored, and its header."""

    array: np.ndarray
    grid: Grid


def read_grid(path: Path) -> Grid:
    """The header of a NIfTI file, without its voxels.

    Raises:
        InputError: not NIfTI, no scalar voxels, or no one geometry (see `check_affine`).
    """
    with decoding(path, EXPECTED), path.open("rb") as file:
        return _parse_header(_Source(file), path)


def read_nifti(path: Path) -> Volume:
    """A NIfTI file, read to the end of its stream.

    Raises:
        InputError: as `read_grid`; truncated, damaged (gzip checksum), or longer than its header says.
    """
    with decoding(path, EXPECTED), path.open("rb") as file:
        source = _Source(file)
        grid = _parse_header(source, path)
        size = int(np.prod(grid.shape, dtype=object)) * grid.dtype.itemsize
        limit = path.stat().st_size * (LARGEST_EXPANSION if source.compressed else 1)
        if size + grid.offset > limit:
            raise _wrong_size(path, size + grid.offset, f"a file of {path.stat().st_size} bytes")
        data = np.empty(size, np.uint8)
        filled = source.fill(data.data)
        surplus = source.drain()
        if filled != size or surplus:
            raise _wrong_size(path, size + grid.offset, f"{filled + surplus + grid.offset} bytes")
    array = data.view(grid.dtype).reshape(grid.shape, order="F")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if grid.is_scaled:
        scaled = apply_read_scaling(array, np.float64(grid.slope), np.float64(grid.intercept))
        array = scaled.astype(np.float32, copy=False)
    return Volume(array, grid)


def check_gzip(path: Path) -> None:
    """Read a gzip file to its end.

    Raises:
        InputError: truncated or damaged.
    """
    with decoding(path, "a whole gzip file"), path.open("rb") as file:
        source = _Source(file)
        if not source.compressed:
            raise ValueError("not a gzip file")
        source.drain()


class _Source:
    """The bytes of a file, decompressed where it is gzip (by content, not by name)."""

    def __init__(self, file: BinaryIO) -> None:
        start = file.read(len(GZIP))
        self.compressed = start == GZIP
        self._pieces = _decompressed(file, start) if self.compressed else _plain(file, start)
        self._kept = b""

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        while len(self._kept) < count and (piece := next(self._pieces, None)) is not None:
            self._kept += piece
        taken, self._kept = self._kept[:count], self._kept[count:]
        return taken

    def fill(self, target: memoryview) -> int:
        """Fill `target` with what follows; returns how many bytes there were."""
        position = 0
        while position < len(target):
            piece = self._kept or next(self._pieces, None)
            if piece is None:
                break
            part = piece[: len(target) - position]
            target[position : position + len(part)] = part
            self._kept = piece[len(part) :]
            position += len(part)
        return position

    def drain(self) -> int:
        """Read to the end, checksum included; returns how many bytes were left."""
        return len(self._kept) + sum(map(len, self._pieces))


def _plain(file: BinaryIO, start: bytes) -> Iterator[bytes]:
    yield start
    while piece := file.read(PIECE_BYTES):
        yield piece


def _decompressed(file: BinaryIO, start: bytes) -> Iterator[bytes]:
    """Decompress gzip members one after the other; zlib itself compares checksum and length at the end of each."""
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    piece = start
    while piece:
        yield member.decompress(piece)
        piece = member.unused_data.lstrip(b"\0") if member.eof else b""  # tape writers pad with zeros
        piece = piece or file.read(PIECE_BYTES)
        if member.eof and piece.strip(b"\0"):
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    if not member.eof:
        raise EOFError("the gzip stream ends early")


def _parse_header(source: _Source, path: Path) -> Grid:
    block = source.take(FORMATS[0].sizeof_hdr)
    kind = next((kind for kind in FORMATS if kind.may_contain_header(block)), None)
    if kind is None:
        raise ValueError("no NIfTI header")
    block += source.take(kind.sizeof_hdr - len(block))
    header = kind(block, check=False)
    if header["magic"].item()[:2] != b"n+":
        raise ValueError("half of a .hdr and .img pair")
    offset = max(int(header["vox_offset"]), kind.single_vox_offset)
    if offset > LARGEST_OFFSET:
        raise ValueError(f"voxels begin at byte {offset}")
    source.take(offset - kind.sizeof_hdr)
    shape = header.get_data_shape()
    while len(shape) > 3 and 1 in shape[3:]:  # (x, y, z, 1) is a volume, ITK's (x, y, z, 1, c) one with channels
        last = max(axis for axis in range(3, len(shape)) if shape[axis] == 1)
        shape = (*shape[:last], *shape[last + 1 :])
    dtype = header.get_data_dtype()
    if len(shape) < 2 or min(shape) < 1 or dtype.kind not in "biuf":
        raise InputError(
            "this is not an image",
            where=path,
            expected="at least two axes of numbers",
            found=f"{dtype} of shape {tuple(header.get_data_shape())}",
        )
    slope, intercept = _scaling(header, path)
    affine, sides = _affine(header, path)
    description = header["descrip"].item().decode("latin-1")
    return Grid(tuple(int(side) for side in shape), affine, sides, dtype, offset, slope, intercept, description)


def _scaling(header: nibabel.Nifti1Header, path: Path) -> tuple[float, float]:
    """Slope and intercept; a slope of 0 or NaN means "not scaled", by the standard and by nibabel."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise InputError("the scale is not finite", where=path, expected="slope, intercept", found=(slope, intercept))
    return slope, intercept


def _affine(header: nibabel.Nifti1Header, path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """The checked affine in mm, and the voxel sides.

    Columns of an oblique affine in float32 are 1.4999999 long where pixdim says 1.5, and a distance of two voxels is
    then within a tolerance of 3 mm or not: where both agree to float32, pixdim has the number that was meant.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in MILLIMETRES:
        raise InputError("unknown unit of length", where=path, expected="m, mm or micron", found=f"code {unit}")
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1  # the standard's default for the direction of the third axis
    header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
    axes = min(int(header["dim"][0]), 3)
    header["pixdim"][1 + axes : 4] = 1  # of an axis that an image does not have
    pixdim = header["pixdim"][1 : 1 + axes].astype(np.float64)
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    check_affine(affine, pixdim, path)
    sides = np.asarray(voxel_sides(affine))[: len(pixdim)]
    sides = np.where(np.abs(pixdim - sides) <= FLOAT32_SIDES * sides, pixdim, sides) * MILLIMETRES[unit]
    affine[:3] *= MILLIMETRES[unit]
    return affine, tuple(float(side) for side in sides)


def _wrong_size(path: Path, expected: int, found: str) -> InputError:
    return InputError(
        UNREADABLE,
        where=path,
        expected=f"{EXPECTED} of {expected} bytes as its header says",
        found=found,
        remedy="fetch or copy the file again",
    )
