"""Small whole files of every format that the product reads, and hundreds of ways to spoil them.

`python -m tests.images.malformed` tries all of them on all readers and prints how many there were and what came of it.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
import tifffile
from PIL import Image

from benchmark.data.source import load_source
from benchmark.data.split import read_split, split_digest
from benchmark.datasets.base import Dataset
from benchmark.datasets.totalseg import read_meta
from benchmark.errors import InputError
from benchmark.images.label_names import read_labels_file
from benchmark.images.labels import read_label_file
from benchmark.images.nifti import read_grid, read_nifti
from benchmark.images.pictures import label_picture_shape, read_picture
from benchmark.images.volumes import read_volume
from benchmark.scoring.conventions import load_conventions
from benchmark.scoring.images import read_geometry, read_labels

FLIPS, CUTS, NOISE = 40, 12, 8
IMAGE_FILES = {"a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.png", "a.bmp", "a.jpg", "a.tif"}


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: file name that readers choose their decoder by.
        content: of a whole file.
        readers: what reads it.
        checked: whether the format has a checksum, so that a changed byte must be noticed or change nothing.
    """

    name: str
    content: bytes
    readers: tuple[Callable[[Path], Any], ...]
    checked: bool = False


def formats() -> dict[str, Format]:
    """One small whole file per format, from a fixed seed."""
    random = np.random.default_rng(3)
    volume = random.integers(0, 5, (9, 8, 7))
    grey, colour = random.integers(0, 9, (21, 17)).astype(np.uint8), random.integers(0, 256, (21, 17, 3))
    nifti, labels = (read_nifti, read_grid), (read_label_file, read_labels, read_geometry)
    picture = (read_picture, *labels, label_picture_shape)
    return {
        "nii.gz": Format("a.nii.gz", _nifti(volume.astype(np.uint8), ".nii.gz"), nifti + labels, checked=True),
        "nii": Format("a.nii", _nifti(volume.astype(np.int16), ".nii"), nifti + labels),
        "scaled nii.gz": Format("a.nii.gz", _nifti(volume * 0.5, ".nii.gz", np.int16), nifti, checked=True),
        "nifti2": Format("a.nii", _nifti(volume.astype(np.uint8), ".nii", kind=nibabel.Nifti2Image), nifti + labels),
        "mha": Format("a.mha", _itk(volume, ".mha", compressed=True), (read_volume, *labels)),
        "mha raw": Format("a.mha", _itk(volume, ".mha", compressed=False), (read_volume, *labels)),
        "nrrd": Format("a.nrrd", _itk(volume, ".nrrd", compressed=True), (read_volume, *labels)),
        "nrrd raw": Format("a.nrrd", _itk(volume, ".nrrd", compressed=False), (read_volume, *labels)),
        "png": Format("a.png", _picture(grey, "PNG"), picture, checked=True),
        "png rgb": Format("a.png", _picture(colour.astype(np.uint8), "PNG"), picture, checked=True),
        "png 16 bit": Format("a.png", _picture(grey.astype(np.uint16) * 300, "PNG"), picture, checked=True),
        "bmp": Format("a.bmp", _picture(grey, "BMP"), picture),
        "jpeg": Format("a.jpg", _picture(colour.astype(np.uint8), "JPEG"), picture),
        "tiff": Format("a.tif", _tiff(grey), picture),
        "tiff lzw": Format("a.tif", _tiff(grey, compression="lzw"), picture),
        "tiff deflate": Format("a.tif", _tiff(grey.astype(np.uint16), compression="zlib", tile=(16, 16)), picture),
        "dataset.json": Format("dataset.json", _dataset_json(), (read_labels_file,)),
        "labels.yaml": Format("labels.yaml", b"0: background\n1: liver\n2: spleen\n3: ignore\n", (read_labels_file,)),
        "meta.csv": Format("meta.csv", b"\xef\xbb\xbfimage_id;age;split\ns0000;50;train\ns0001;;test\n", (_meta,)),
        "facts.yaml": Format("facts.yaml", _facts(), (_facts_of,)),
        "split.json": Format("split.json", _split(), (read_split,)),
        "source.json": Format("source.json", _source(), (lambda path: load_source(path, "totalseg"),)),
        "conventions.yaml": Format("conventions.yaml", _conventions(), (load_conventions.__wrapped__,)),
    }


def mutations(content: bytes, *, seed: int, others: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """(what was done, spoiled content): bytes changed, cut, repeated, replaced by noise, and other kinds of file."""
    random = np.random.default_rng(seed)
    places = [*range(0, min(len(content), 20)), *random.integers(0, len(content), FLIPS - 20)]
    for place in places:
        spoiled = bytearray(content)
        spoiled[place] ^= int(random.integers(1, 256))
        yield f"byte {place} changed", bytes(spoiled)
    for place in sorted({0, 1, len(content) - 1, len(content) - 4, *random.integers(0, len(content), CUTS)}):
        yield f"cut at {place}", content[:place]
    for _ in range(NOISE):
        start, length = int(random.integers(0, len(content))), int(random.integers(2, 60))
        yield f"noise at {start}", content[:start] + random.bytes(length) + content[start + length :]
    yield "appended", content + b"\x01\x02garbage"
    yield "only zeros", bytes(len(content))
    yield "text", b"<html>404 Not Found</html>"
    for number, other in enumerate(others):
        yield f"the content of format {number}", other


def outcome(reader: Callable[[Path], Any], path: Path, whole: Any) -> str:
    """ "refused", "equal" or "other" (than what the whole file holds); any other exception passes."""
    try:
        found = reader(path)
    except InputError as error:
        assert str(path.name) in str(error), f"{error} does not name {path.name}"
        return "refused"
    return "equal" if same(found, whole) else "other"


def same(first: Any, second: Any) -> bool:
    """Equality of what readers return: arrays, tuples of them, dataclasses."""
    if isinstance(first, tuple):
        return isinstance(second, tuple) and len(first) == len(second) and all(map(same, first, second))
    if hasattr(first, "__dict__") and not isinstance(first, np.ndarray):
        return type(first) is type(second) and all(same(vars(first)[k], vars(second)[k]) for k in vars(first))
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.shape == second.shape and bool((first == second).all())
    return bool(first == second)


def attempt(name: str, folder: Path, *, seed: int) -> Counter[str]:
    """All mutations of one format on all of its readers: how often each outcome was met."""
    known = formats()
    kind = known[name]
    path = folder / kind.name
    path.write_bytes(kind.content)
    whole = {reader: _read_or_none(reader, path) for reader in kind.readers}
    others = [other.content for key, other in known.items() if key != name]
    counts: Counter[str] = Counter()
    for what, content in mutations(kind.content, seed=seed, others=others):
        path.write_bytes(content)
        for reader in kind.readers:
            try:
                found = outcome(reader, path, whole[reader])
            except Exception as error:
                raise AssertionError(f"{name}, {what}: {getattr(reader, '__name__', reader)}: {error!r}") from error
            noticeable = kind.checked or (what.startswith("cut") and kind.name in IMAGE_FILES)
            full = reader not in (read_grid, read_geometry, label_picture_shape)  # headers alone see no checksum
            if noticeable and full and "format" not in what:
                assert found != "other", f"{name}, {what}: other values from {reader.__name__} without a word"
            counts[found] += 1
    return counts


def _read_or_none(reader: Callable[[Path], Any], path: Path) -> Any:
    try:
        return reader(path)
    except InputError:  # label readers refuse whole photographs
        return None


def _nifti(array: np.ndarray, ending: str, stored: type | None = None, kind: type = nibabel.Nifti1Image) -> bytes:
    image = kind(array if stored is None else array.astype(np.float32), np.diag([-1.5, 1.5, 3.0, 1.0]))
    if stored is not None:
        image.set_data_dtype(stored)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        image.to_filename(path)
        return path.read_bytes()


def _itk(array: np.ndarray, ending: str, *, compressed: bool) -> bytes:
    image = SimpleITK.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing((1.5, 1.5, 3.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{ending}"
        SimpleITK.WriteImage(image, str(path), compressed)
        return path.read_bytes()


def _picture(array: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def _tiff(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, photometric="minisblack", **options)
    return stream.getvalue()


def _dataset_json() -> bytes:
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    return json.dumps({"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2}).encode()


def _facts() -> bytes:
    path = Path(__file__).parents[2] / "benchmark/datasets/endovis17.yaml"
    return path.read_bytes()


def _facts_of(path: Path) -> Dataset:
    return Dataset.from_yaml(str(path))


def _meta(path: Path) -> list[dict[str, str]]:
    return read_meta(path.parent)


def _split() -> bytes:
    patients = {"a": "a", "b": "b"}
    split: dict[str, Any] = {"dataset": "totalseg", "train": ["a"], "val": [], "test": ["b"], "patients": patients}
    return json.dumps(split | {"digest": split_digest(split)}).encode()


def _source() -> bytes:
    return json.dumps({"dataset": "totalseg", "root": "/tmp", "kind": "local", "cases": 2}).encode()


def _conventions() -> bytes:
    path = Path(__file__).parents[2] / "benchmark/scoring/conventions.yaml"
    return path.read_bytes()


def main() -> None:
    inputs, total = 0, Counter[str]()
    print("| format | inputs | readings | refused by name | read, equal | read, other: no checksum, or a whole file |")
    print("|---|---|---|---|---|---|")
    for number, (name, kind) in enumerate(formats().items()):
        with tempfile.TemporaryDirectory() as folder:
            counts = attempt(name, Path(folder), seed=number)
        tried = counts.total() // len(kind.readers)
        inputs, total = inputs + tried, total + counts
        cells = tried, counts.total(), counts["refused"], counts["equal"], counts["other"]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    print(f"{inputs} malformed inputs in {total.total()} readings: {total['refused']} refused by name, 0 tracebacks")


if __name__ == "__main__":
    main()
