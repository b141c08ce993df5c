"""Augmentation of slices, against what the releases' transforms return for seeded calls."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch

from benchmark.data.augmentation import build_steps
from benchmark.data.sampling import PatchDataset, resize
from benchmark.data.slice_augmentation import Elastic
from benchmark.errors import InputError
from benchmark.settings import Optimiser, Resize, Sampling, Schedule, Step, Training

TURN_OR_ROTATE = [{"name": "quarter_turn_flip", "probability": 0.5}, {"name": "rotate", "probability": 0.5}]
E_SAM = [
    {"name": "rotate", "probability": 0.45},
    {"name": "crop", "probability": 0.75},
    {"name": "elastic", "probability": 0.85},
]
BRANCHES = {"SAMed": TURN_OR_ROTATE, "TransUNet": TURN_OR_ROTATE, "M4oE": TURN_OR_ROTATE, "E-SAM": E_SAM}


def step_of(branches: list[dict]):
    return build_steps([Step(name="slice_branches", parameters={"branches": branches})], patch=(24, 24))[0]


class ReleasedDraws:
    """The releases' two global generators behind numpy's newer interface: branches and shares from one, the rest from
    the other."""

    def __init__(self, seed: int) -> None:
        self.python, self.numpy = random.Random(seed), np.random.RandomState(seed)
        self.random, self.uniform, self.integers = self.python.random, self.python.uniform, self.numpy.randint


@pytest.mark.parity
@pytest.mark.parametrize("release", BRANCHES)
def test_seeded_samples_equal_the_release(parity_around, release):
    facts = parity_around("augment_slices")
    image, labels = facts["image"].numpy()[None], facts["label"].numpy().astype(np.int16)
    if release == "M4oE":
        image, labels = 4 * image - 2, facts["label_with_minus_one"].numpy().astype(np.int16)
    size, step = (facts["output_size"],) * 2, step_of(BRANCHES[release])
    seen = set()
    for sample in facts["results"][release]:
        changed = step.distort(image, labels, ReleasedDraws(sample["seed"]))
        resized, small = resize(*changed, size, Resize(image="zoom3", labels="zoom0"))
        assert np.array_equal(resized, sample["image"].numpy()) and np.array_equal(small, sample["label"].numpy())
        seen.add(sample["branch"])
    assert len(seen) == 3


@pytest.mark.parity
def test_elastic_deformation_equals_the_release(parity_around):
    facts = parity_around("augment_slices")
    for sample in facts["results"]["E-SAM_elastic"]:
        branch = Elastic(name="elastic", probability=1)
        planes = np.stack([facts["image"].numpy(), facts["label"].numpy()])
        labels = facts["label"].numpy().astype(np.uint8)
        moved, cut = branch.act(planes, labels, np.random.RandomState(sample["random_state"]))
        np.testing.assert_allclose(moved[0], sample["image"].numpy(), atol=1e-5)
        np.testing.assert_allclose(moved[1], sample["label_float"].numpy(), atol=1e-4)
        assert cut.dtype == np.uint8 and np.mean(cut != sample["label_float"].numpy().astype(np.uint8)) < 0.01


@pytest.mark.parity
def test_branches_are_as_frequent_as_in_the_release(parity_around):
    counts = parity_around("augment_slices")["branch_counts_20000"]
    step, image, labels = step_of(E_SAM), np.zeros((1, 10, 10), np.float32), np.zeros((10, 10), np.uint8)
    taken = Counter()
    for branch in step.branches:
        object.__setattr__(branch, "act", lambda *_, name=branch.name: taken.update([name]))
    generator = np.random.default_rng(0)
    for _ in range(20_000):
        if step.distort(image, labels, generator) is not None:
            taken["none"] += 1
    for name, expected in counts.items():
        share = expected / 20_000
        assert abs(taken[name] - expected) < 4 * np.sqrt(2 * 20_000 * share * (1 - share))


def training(**changes) -> Training:
    values = {
        "patch": (12, 12),
        "batch": 1,
        "epochs": 3,
        "optimiser": Optimiser(name="sgd", learning_rate=1),
        "schedule": Schedule(name="poly"),
        "sampling": Sampling(strategy="whole", resize=Resize(image="zoom3", labels="zoom0")),
        "augmentation": (Step(name="slice_branches", parameters={"branches": E_SAM}),),
    }
    return Training(**(values | changes))


def test_samples_are_augmented_at_their_stored_size_and_stay_reproducible(make_store):
    generator = np.random.default_rng(0)
    labels = np.zeros((20, 24, 6), np.uint8)
    labels[5:15, 8:20] = 3
    store = make_store({"a": (generator.random((2, 20, 24, 6), dtype=np.float32), labels)})
    dataset, plain = (PatchDataset(store, ["a"], training(**change), seed=1) for change in ({}, {"augmentation": ()}))
    changed = 0
    for index in range(18):
        image, small = dataset[index]
        assert image.dtype == torch.float32 and small.dtype == torch.uint8
        assert image.shape == (2, 12, 12) and small.shape == (12, 12) and small.max() <= 3
        assert np.array_equal(image, dataset[index][0]) and np.array_equal(small, dataset[index][1])
        changed += not np.array_equal(image, plain[index][0])
    assert changed > 12


def test_what_cannot_work_is_refused(make_store):
    store = make_store({"a": (np.zeros((1, 20, 24, 6)), np.zeros((20, 24, 6)))})
    with pytest.raises(InputError, match="whole images"):
        PatchDataset(store, ["a"], training(sampling=Sampling()), seed=0)
    with pytest.raises(InputError, match="acts on slices"):
        PatchDataset(store, ["a"], training(patch=(8, 8, 8)), seed=0)
    with pytest.raises(InputError, match="branches"):
        step_of([{"name": "twirl", "probability": 1}])
