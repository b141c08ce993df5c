"""MetaImage (.mha) and NRRD (.nrrd) files by SimpleITK, with the geometry that the same image has as NIfTI.

ITK's world is LPS and ours, NIfTI's, is RAS; NIfTI holds its geometry in float32, so that the numbers are rounded to it
here. Of damaged compressed voxels ITK says nothing: the stream is read to its checksum before ITK reads the file.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from benchmark.errors import InputError
from benchmark.images.files import decoding, ending_of
from benchmark.images.geometry import check_affine, voxel_sides
from benchmark.images.nifti import Grid, Volume

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader

READERS = {".mha": "MetaImageIO", ".nrrd": "NrrdImageIO"}
EXPECTED = "a whole MetaImage or NRRD file"
FIELD = re.compile(r"\s*(?P<key>[^:=]+?)\s*(:=|:|=)\s*(?P<value>.*?)\s*")
LONGEST_LINE, MOST_LINES = 1 << 20, 1 << 16
PIECE_BYTES = 1 << 16
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
TEXT = ("ascii", "text", "txt", "hex")  # encodings without a size that a header tells


def read_grid(path: Path) -> Grid:
    """The header of a file, without its voxels.

    Raises:
        InputError: no MetaImage or NRRD, voxels in another file, no scalar voxels, or no geometry (see `check_affine`).
    """
    with decoding(path, EXPECTED):
        return _grid_of(_opened(path), path)


def read_volume(path: Path) -> Volume:
    """A file, read to the end: array [*shape], a channel axis last.

    Raises:
        InputError: as `read_grid`; truncated, damaged (the checksum of compressed voxels), longer than its header says.
    """
    import SimpleITK

    with decoding(path, EXPECTED):
        reader = _opened(path)
        grid = _grid_of(reader, path)
        _check_whole(path, int(np.prod(grid.shape, dtype=object)) * grid.dtype.itemsize)
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise ValueError(str(error).strip().splitlines()[-1]) from error
        array = SimpleITK.GetArrayFromImage(image)  # slowest axis first, channels last
        axes = image.GetDimension()
        array = array.transpose((*reversed(range(axes)), *range(axes, array.ndim)))
    return Volume(np.asfortranarray(array).reshape(grid.shape, order="F"), grid)


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write [*shape] with two or three axes; `affine` is voxel → RAS+ world [4, 4] in mm, of axes at right angles."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    axes, sides = array.ndim, np.asarray(voxel_sides(affine))
    world = LPS_TO_RAS[:, None] * affine[:3]
    image.SetSpacing(sides[:axes].tolist())
    image.SetDirection((world[:, :3] / sides)[:axes, :axes].ravel().tolist())
    image.SetOrigin(world[:axes, 3].tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def _opened(path: Path) -> ImageFileReader:
    """A reader that has read the header, by the format of the file's ending whatever else its content may be."""
    import SimpleITK

    with path.open("rb") as file:
        _read_header(file, path)
    reader = SimpleITK.ImageFileReader()
    ending = ending_of(path, tuple(READERS))
    if ending is None:
        raise ValueError(f"no image in the form of ITK: {path.name}")
    reader.SetImageIO(READERS[ending])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from error
    return reader


def _grid_of(reader: ImageFileReader, path: Path) -> Grid:
    import SimpleITK

    axes, channels = reader.GetDimension(), reader.GetNumberOfComponents()
    affine, voxel = _affine(reader, min(axes, 3), axes)
    check_affine(affine, voxel, path)
    sides = voxel.tolist()
    shape = [int(side) for side in reader.GetSize()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if channels > 1:  # (x, y, 1, c) of a picture, as in NIfTI: (x, y, c) would be a volume
        shape = [*shape, *[1] * (3 - axes), channels]
        sides = [*sides, *[1.0] * (3 - axes)]
    sample = SimpleITK.Image([1] * axes, reader.GetPixelID(), channels)
    dtype = SimpleITK.GetArrayViewFromImage(sample).dtype
    if dtype.kind not in "biuf" or min(shape) < 1:
        raise InputError(
            "this is not an image", where=path, expected="at least two axes of numbers", found=f"{dtype} of {shape}"
        )
    return Grid(tuple(shape), affine, tuple(sides), dtype, offset=0, slope=1, intercept=0, description="")


def _affine(reader: ImageFileReader, kept: int, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Voxel → RAS+ world [4, 4] in mm, and the sides of a voxel along the first two or three axes, as float32 holds
    them; of a picture, the third axis is 1 mm along the z of the world."""
    sides = np.asarray(reader.GetSpacing()[:kept], np.float32).astype(np.float64)
    affine = np.eye(4)
    directions = np.reshape(reader.GetDirection(), (axes, axes))[:kept, :kept]
    affine[:kept, :kept] = directions * np.asarray(reader.GetSpacing()[:kept])
    affine[:kept, 3] = reader.GetOrigin()[:kept]
    affine[:3] *= LPS_TO_RAS[:, None]
    return affine.astype(np.float32).astype(np.float64) + 0.0, sides  # + 0.0: no -0.0


def _read_header(file: BinaryIO, path: Path) -> dict[str, str]:
    """The header's fields, keys in small letters; `file` stands at the first byte of the voxels.

    Raises:
        InputError: the voxels lie in another file, of which no digest of this one would know.
    """
    nrrd = ending_of(path, tuple(READERS)) == ".nrrd"
    if nrrd and not file.readline(LONGEST_LINE).startswith(b"NRRD"):
        raise ValueError("no NRRD header")
    fields: dict[str, str] = {}
    for _ in range(MOST_LINES):
        line = file.readline(LONGEST_LINE).decode("latin-1")
        if not line or (nrrd and not line.strip()):
            break
        if match := FIELD.fullmatch(line.rstrip("\r\n")):
            fields[match["key"].lower()] = match["value"]
        if "elementdatafile" in fields:
            break
    if not nrrd and "elementdatafile" not in fields:
        raise ValueError("no MetaImage header")
    data = fields.get("data file", fields.get("datafile", "LOCAL")) if nrrd else fields["elementdatafile"]
    if data.upper() != "LOCAL":
        raise InputError(
            "the voxels lie in another file", where=path, found=data, remedy="write header and voxels into one file"
        )
    return fields


def _check_whole(path: Path, expected: int) -> None:
    """Raise unless the file holds as many bytes of voxels as its header says, and they decompress."""
    with path.open("rb") as file:
        fields = _read_header(file, path)
        encoding = fields.get("encoding", "raw").lower()
        if encoding in TEXT or fields.get("binarydata", "true").lower() == "false":
            return
        if encoding in ("gz", "gzip"):
            found = _decompressed_size(file, zlib.MAX_WBITS | 16, expected)
        elif fields.get("compresseddata", "false").lower() == "true":
            found = _decompressed_size(file, zlib.MAX_WBITS, expected)
        else:
            found = path.stat().st_size - file.tell()
    if found != expected:
        raise ValueError(f"{found} bytes of voxels where the header says {expected}")


def _decompressed_size(file: BinaryIO, format_bits: int, enough: int) -> int:
    """How many bytes the rest of a file decompresses to; zlib compares the checksum at its end.

    Raises:
        EOFError, ValueError: it ends early, or goes on behind its end.
    """
    stream, size = zlib.decompressobj(format_bits), 0
    while (piece := file.read(PIECE_BYTES)) and size <= enough and not stream.eof:
        size += len(stream.decompress(piece))
    if size <= enough and not stream.eof:
        raise EOFError("the compressed voxels end early")
    if stream.unused_data or piece:
        raise ValueError("there is more behind the compressed voxels")
    return size
