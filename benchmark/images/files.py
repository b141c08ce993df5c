"""Which files are images, and how whatever a decoder raises becomes an error that names the file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import InputError

NIFTI = (".nii.gz", ".nii")
ITK = (".mha", ".nrrd")
VOLUMES = (*NIFTI, *ITK)
TIFF = (".tif", ".tiff")
JPEG = (".jpg", ".jpeg")
PICTURES = (".png", ".bmp", *JPEG, *TIFF)
IMAGES = (*VOLUMES, *PICTURES)
# Formats that other programs write and no command here reads: named where they lie, so that nothing vanishes.
UNREAD = (
    ".mhd",
    ".nhdr",
    ".img",
    ".hdr",
    ".mgz",
    ".mgh",
    ".dcm",
    ".npy",
    ".npz",
    ".webp",
    ".gif",
    ".jp2",
)
UNREADABLE = "cannot read image"  # the problem of every file that cannot be decoded


@contextmanager
def decoding(path: Path, expected: str) -> Iterator[None]:
    """Turn any exception of a decoder into an InputError that names `path`.

    All exceptions, because on damaged files nibabel, Pillow, tifffile and their codecs raise more than twenty kinds
    (struct.error, zlib.error, OverflowError, imagecodecs' own RuntimeErrors, MemoryError for an absurd size …), and
    one that is missing in a list ends a whole verify.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            UNREADABLE,
            where=path,
            expected=expected,
            found=f"{type(error).__name__}: {error}",
            remedy="fetch or copy the file again",
        ) from error


def is_hidden(path: Path) -> bool:
    """Files that people do not see: `.DS_Store`, and the `._name` that macOS puts beside every file."""
    return path.name.startswith(".")


def ending_of(path: Path, endings: tuple[str, ...] = IMAGES) -> str | None:
    """The ending of `endings` that a file has, in lower case; None where it has none of them or is hidden."""
    name = path.name.lower()
    return None if is_hidden(path) else next((ending for ending in endings if name.endswith(ending)), None)


def stem_of(path: Path, endings: tuple[str, ...] = IMAGES) -> str:
    """The name without its ending, in Unicode's composed form: macOS writes an umlaut as two characters."""
    ending = ending_of(path, endings)
    return unicodedata.normalize("NFC", path.name[: -len(ending)] if ending else path.name)


def images_in(folder: Path, endings: tuple[str, ...] = IMAGES) -> list[Path]:
    """The image files of a folder by name; none where there is no such folder."""
    return sorted(path for path in folder.iterdir() if ending_of(path, endings)) if folder.is_dir() else []


def unread_in(folder: Path) -> list[Path]:
    """Images of a folder in formats that no command reads; none where there is no such folder."""
    return images_in(folder, UNREAD)
