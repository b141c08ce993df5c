"""Every phantom: the same bytes from the same seed, faultless in its layout, complete in each split, small."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.data.phantoms import available_phantoms, get_phantom, write
from benchmark.data.phantoms.base import MARKER
from benchmark.data.source import load_source
from benchmark.data.split import make_split
from benchmark.data.verify import verify
from benchmark.datasets import Case, Dataset, available_datasets, get_dataset
from benchmark.datasets import base as datasets_base
from benchmark.errors import InputError

NAMES = sorted(set(available_phantoms()) & set(available_datasets()))
MOST_CPU_SECONDS, MOST_BYTES = 12.0, 8e6  # twice what was seen: 4.7 s (TotalSegmentator's 117 masks), 5 MB
PRIOR_CELLS = 24


@dataclass(frozen=True)
class Written:
    """A phantom in its own size."""

    dataset: Dataset
    root: Path
    cpu_seconds: float

    @property
    def cases(self) -> list[Case]:
        return self.dataset.find_cases(self.root)


@pytest.fixture(scope="module", params=NAMES)
def phantom(request, tmp_path_factory) -> Written:
    root = tmp_path_factory.mktemp(request.param) / "phantom"
    began = time.process_time()
    write(get_phantom(request.param), root, processes=1)
    return Written(get_dataset(request.param), root, time.process_time() - began)


def digests(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != MARKER)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_dataset_has_a_phantom():
    assert set(available_datasets()) <= set(available_phantoms())
    assert all(get_dataset(name).phantom for name in NAMES)


def test_verify_finds_no_fault(phantom):
    assert verify(phantom.dataset, phantom.root, processes=1) == []


def test_each_split_is_filled_by_the_rule_of_the_dataset(phantom):
    split = make_split(phantom.dataset, phantom.cases, kind="phantom")
    wanted = [part for part in ("train", "val", "test") if part != "val" or phantom.dataset.split_counts.get("val")]
    assert [part for part in ("train", "val", "test") if split[part]] == wanted


@pytest.mark.parametrize("part", ["train", "test"])
def test_training_and_test_have_every_structure(phantom, part):
    seen = set()
    for case in phantom.cases:
        if case.split == part:
            seen |= set(np.unique(phantom.dataset.read_labels(case)[0]).tolist())
    assert seen == set(range(len(phantom.dataset.label_names) + 1))


def test_images_can_be_loaded_and_differ(phantom):
    images = [phantom.dataset.load_image(case)[0] for case in phantom.cases]
    assert all(image.ndim == phantom.dataset.spatial_dims + 1 and image.std() > 0 for image in images)
    assert all(len(image) == len(phantom.dataset.channels) for image in images)


def test_places_alone_do_not_tell(phantom):
    """The commonest structure at each relative place over the training cases misses at least a third in test cases."""
    maps = {"train": [], "test": []}
    for case in phantom.cases:
        labels, _, _ = phantom.dataset.read_labels(case)
        cells = [((np.arange(PRIOR_CELLS) + 0.5) * side / PRIOR_CELLS).astype(int) for side in labels.shape]
        maps.setdefault(case.split, []).append(labels[np.ix_(*cells)])
    numbers = range(len(phantom.dataset.label_names) + 1)
    train = np.stack(maps["train"])
    prior = np.stack([(train == number).sum(axis=0) for number in numbers]).argmax(axis=0)
    dice = [
        2 * ((prior == number) & (labels == number)).sum() / ((prior == number).sum() + (labels == number).sum())
        for labels in maps["test"]
        for number in numbers[1:]
        if (labels == number).any()
    ]
    assert np.mean(dice) < 2 / 3


def test_it_is_quick_and_small(phantom):
    assert phantom.cpu_seconds < MOST_CPU_SECONDS
    assert sum(path.stat().st_size for path in phantom.root.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_every_byte(name, tmp_path):
    generator = get_phantom(name)
    spacing = 9.0 if generator.spacing else None  # coarse, to be quick
    for folder, seed in (("first", 0), ("again", 0), ("other", 1)):
        write(generator, tmp_path / folder, subjects=generator.smallest, spacing=spacing, seed=seed, processes=1)
    first, again, other = (digests(tmp_path / folder) for folder in ("first", "again", "other"))
    assert first == again
    images = {
        str(path.relative_to(tmp_path / "first"))
        for case in get_dataset(name).find_cases(tmp_path / "first")
        for path in case.images
    }
    same = {path for path in images & set(other) if first[path] == other[path]}
    assert images and not same


def test_fetch_records_what_was_generated(tmp_path):
    words = f"fetch neurips_cellseg --phantom 8 --out {tmp_path}/source.json"
    assert main(words.split()) == 0
    source = load_source(tmp_path / "source.json", "neurips_cellseg")
    made = source["made"]
    assert source["kind"] == "phantom" and source["cases"] == made["subjects"] == 8
    assert made["version"] == get_phantom("neurips_cellseg").version and made["seed"] == 0


def test_fetch_takes_the_phantoms_own_size_and_another_spacing(tmp_path):
    assert main(f"fetch abdomen_mri --phantom --phantom-spacing 9 --out {tmp_path}/source.json".split()) == 0
    source = load_source(tmp_path / "source.json", "abdomen_mri")
    made = source["made"]
    assert made["subjects"] == get_phantom("abdomen_mri").subjects and made["spacing"] == 9.0
    dataset = get_dataset("abdomen_mri")
    _, affine = dataset.load_image(dataset.find_cases(tmp_path / "phantom")[0])
    assert sorted(np.abs(affine[:3, :3]).max(axis=0))[:2] == [9.0, 9.0]


def test_what_is_there_is_kept_and_other_settings_replace_it(tmp_path):
    root, generator = tmp_path / "phantom", get_phantom("endovis17")
    write(generator, root, subjects=14, processes=1)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    write(generator, root, subjects=14, processes=1)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*.png")} and len(before) == 28
    write(generator, root, subjects=15, processes=1)
    assert len(list(root.rglob("*.png"))) == 30 and [path.name for path in tmp_path.iterdir()] == ["phantom"]


def test_an_interrupted_phantom_is_not_there(tmp_path, monkeypatch):
    generator = get_phantom("endovis17")
    monkeypatch.setattr(type(generator), "write_tables", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(generator, tmp_path / "phantom", subjects=14, processes=1)
    assert not (tmp_path / "phantom").exists()
    monkeypatch.undo()
    write(generator, tmp_path / "phantom", subjects=14, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("totalseg", {"subjects": 2}, "at least 3"),
        ("totalseg", {"spacing": 0.0}, "1 to 20 mm"),
        ("totalseg", {"spacing": 21.0}, "1 to 20 mm"),
        ("abdomen_mri", {"subjects": -1}, "at least 3"),
        ("abdomen_mri", {"subjects": 90}, "at most"),
        ("endovis17", {"spacing": 2.0}, "no spacing"),
        ("endovis17", {"subjects": 6}, "at least 14"),
    ],
)
def test_impossible_phantoms_are_refused(tmp_path, name, size, words):
    with pytest.raises(InputError, match=words):
        write(get_phantom(name), tmp_path / "phantom", **size)
    assert not any(tmp_path.iterdir())


def test_a_dataset_without_generator_has_no_phantom(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="there is no phantom of mine"):
        get_phantom("mine")
    monkeypatch.setattr(datasets_base, "PHANTOMS", tmp_path)
    assert not get_dataset("totalseg").phantom
