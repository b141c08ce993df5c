"""A tiny data set in TotalSegmentator's layout, and stores made of arrays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.data.store import PreparedStore
from benchmark.datasets import get_dataset
from tests.data.web import Server, serve

META = (
    "\ufeffimage_id;age;gender;institute;study_type;split;manufacturer;scanner_model;kvp;pathology;pathology_location\n"
)
SHAPE = (14, 12, 10)
AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 1.5, 5], [0, 0, 0, 1.0]])  # LAS


def write_mask(path: Path, mask: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nibabel.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)


def write_case(root: Path, case: str, *, seed: int = 0, affine: np.ndarray = AFFINE) -> Path:
    """One case with all 117 masks, of which liver and spleen are not empty."""
    folder = root / case
    (folder / "segmentations").mkdir(parents=True)
    generator = np.random.default_rng(seed)
    image = np.full(SHAPE, -1024, np.int16)
    image[2:12, 1:11, 2:9] = generator.integers(-200, 300, (10, 10, 7))
    nibabel.Nifti1Image(image, affine).to_filename(folder / "ct.nii.gz")
    for name in get_dataset("totalseg").label_names:
        mask = np.zeros(SHAPE, np.uint8)
        if name == "liver":
            mask[3:8, 2:9, 3:8] = 1
        if name == "spleen":
            mask[9:11, 2:4, 3:8] = 1
        write_mask(folder / "segmentations" / f"{name}.nii.gz", mask, affine)
    return folder


def write_meta(root: Path, splits: dict[str, str]) -> None:
    lines = [f"{case};;;;ct abdomen;{split};;;;;\n" for case, split in splits.items()]
    (root / "meta.csv").write_text(META + "".join(lines), encoding="utf-8")


@pytest.fixture(scope="session")
def whole_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three whole cases: two training, one test. Not to be changed."""
    root = tmp_path_factory.mktemp("whole") / "raw"
    for number in range(3):
        write_case(root, f"s000{number}", seed=number)
    write_meta(root, {"s0000": "train", "s0001": "train", "s0002": "test"})
    return root


@pytest.fixture
def raw_root(whole_root: Path, tmp_path: Path) -> Path:
    """A copy of the three cases, to be spoiled."""
    return shutil.copytree(whole_root, tmp_path / "raw")


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., PreparedStore]:
    """`make_store({"a": (image, labels)})`."""

    def make(cases: dict[str, tuple[np.ndarray, np.ndarray]], classes: int = 9) -> PreparedStore:
        contents = {case: (image, labels, {"split": "train"}) for case, (image, labels) in cases.items()}
        names = [f"structure {number}" for number in range(1, classes + 1)]
        return PreparedStore.create(tmp_path / "store", contents, label_names=names)

    return make


@pytest.fixture
def server() -> Iterator[Server]:
    """A web server that misbehaves as its `script` says, one entry for each request."""
    with serve() as state:
        yield state
