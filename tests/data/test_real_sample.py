"""The two real CTs in the original layout: verify → split → prepare, and back to the raw grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.data import fetch
from benchmark.data.geometry import restore_labels
from benchmark.data.prepare import prepare
from benchmark.data.sampling import PatchDataset
from benchmark.data.source import load_source
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.settings import Optimiser, Preparation, Schedule, Training

pytestmark = pytest.mark.real_data
TOTALSEG = get_dataset("totalseg")


@pytest.fixture(scope="module")
def root(real_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("source") / "source.json"
    fetch.use_local(TOTALSEG, real_data("TotalSegmentator_v2_sample"), out)
    return Path(load_source(out, "totalseg")["root"])


def test_the_sample_is_whole(root):
    assert verify(TOTALSEG, root, processes=1) == []
    split = make_split(TOTALSEG, TOTALSEG.find_cases(root), kind="local")
    assert (split["train"], split["val"], split["test"]) == (["s9001"], [], ["s9002"])


def test_raw_to_prepared_and_back(root, tmp_path):
    split = make_split(TOTALSEG, TOTALSEG.find_cases(root), kind="local")
    keep = Preparation(clip=(-1024, 1024), foreground_above=0.0, pad_to_patch_multiple=True)
    prepare(TOTALSEG, root, split, keep, out=tmp_path / "keep/prepared.json", patch=(64, 64, 64), processes=1)
    store = PreparedStore(tmp_path / "keep")
    for case, classes, body in (("s9001", 61, "entire"), ("s9002", 31, "partial")):
        opened = store.open(case)
        reference = nibabel.load(tmp_path / f"keep/references/{case}.nii.gz")
        raw = nibabel.load(root / case / "ct.nii.gz")
        assert reference.shape == raw.shape and np.array_equal(reference.affine, raw.affine)
        merged = np.asarray(reference.dataobj)
        assert len(np.unique(merged)) == classes + 1 and opened.meta["attributes"]["body"] == body
        assert np.array_equal(restore_labels(opened.labels[:], opened.meta), merged)
    assert all(side % 64 == 0 for side in store.open("s9001").meta["shape"])

    coarse = Preparation(spacing=(3.0, 3.0, 3.0), clip=(-1024, 1024), foreground_above=0.0)
    prepare(TOTALSEG, root, split, coarse, out=tmp_path / "3mm/prepared.json", processes=1)
    opened = PreparedStore(tmp_path / "3mm").open("s9002")  # 0.977 x 0.977 x 2 mm, LAS
    assert opened.meta["orientation"] == {"raw": "LAS", "prepared": "RAS"}
    restored = restore_labels(opened.labels[:], opened.meta)
    merged = np.asarray(nibabel.load(tmp_path / "3mm/references/s9002.nii.gz").dataobj)
    liver = TOTALSEG.class_numbers["liver"]
    overlap = (
        2 * ((restored == liver) & (merged == liver)).sum() / ((restored == liver).sum() + (merged == liver).sum())
    )
    assert restored.shape == merged.shape and overlap > 0.95

    training = Training(
        patch=(48, 48, 48),
        batch=1,
        epochs=4,
        optimiser=Optimiser(name="adamw", learning_rate=1e-3),
        schedule=Schedule(name="constant"),
    )
    dataset = PatchDataset(store, ["s9001"], training, seed=0)
    samples = [dataset[index] for index in range(4)]
    assert all(image.shape == (1, 48, 48, 48) and image.min() >= 0 and image.max() <= 1 for image, _ in samples)
    assert any(labels.any() for _, labels in samples)
