"""DoDNet's patches: the box of the labels against places counted by hand, scaled crops against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional

from benchmark.data.dodnet_patches import label_box
from benchmark.data.sampling import PatchDataset
from benchmark.data.scaled_crop import ScaledCrop
from benchmark.data.views import CaseView, ZoomedView
from benchmark.errors import InputError
from benchmark.settings import Optimiser, Sampling, Schedule, Step, Training

SHAPE = (30, 24, 12)
BOX = (slice(10, 20), slice(3, 6), slice(2, 11))  # of two structures


@pytest.fixture
def store(make_store):
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:14, 3:6, 2:5], labels[19, 4, 10] = 1, 2
    image = np.random.default_rng(0).random((1, *SHAPE), dtype=np.float32) + 0.1
    return make_store({"a": (image, labels), "empty": (image, np.zeros_like(labels))})


def starts(view: CaseView, size: tuple[int, ...], fraction: float, margin: int, count: int = 4000) -> np.ndarray:
    generator = np.random.default_rng(1)
    return np.array([label_box(view, size, size, fraction, generator, margin=margin) for _ in range(count)])


def assert_uniform(drawn: np.ndarray, places: range) -> None:
    found, counts = np.unique(drawn, return_counts=True)
    assert found.tolist() == list(places)
    share = 1 / len(places)
    assert np.abs(counts / len(drawn) - share).max() <= 4.5 * np.sqrt(share * (1 - share) / len(drawn))


@pytest.mark.parametrize(
    ("margin", "places"),
    [
        # patches of 4 x 5 x 12: inside of 10..20; holding 3..6; the volume is as long as the patch
        (0, (range(10, 17), range(1, 4), range(0, 1))),
        # inside of 8..22 and 1..8
        (2, (range(8, 19), range(1, 4), range(0, 1))),
        # the box is the volume
        (32, (range(0, 27), range(0, 20), range(0, 1))),
    ],
)
def test_places_are_uniform_in_the_enlarged_box(store, margin, places):
    drawn = starts(CaseView(store.open("a")), (4, 5, 12), 1.0, margin)
    for axis, expected in enumerate(places):
        assert_uniform(drawn[:, axis], expected)


def test_the_rest_is_anywhere_and_so_is_all_where_nothing_is_labelled(store):
    view = CaseView(store.open("a"))
    drawn = starts(view, (4, 3, 9), 0.8, 0, 8000)
    inside = [(drawn[:, 0] >= 10) & (drawn[:, 0] <= 16), drawn[:, 1] == 3, drawn[:, 2] == 2]
    by_chance = 7 / 27 * 1 / 22 * 1 / 4
    expected = 0.8 + 0.2 * by_chance
    assert abs(np.all(inside, axis=0).mean() - expected) < 4 * np.sqrt(0.2 / 8000)
    for fraction, case in ((0.0, "a"), (1.0, "empty")):
        drawn = starts(CaseView(store.open(case)), (4, 3, 9), fraction, 32)
        for axis, side in enumerate((4, 3, 9)):
            assert_uniform(drawn[:, axis], range(SHAPE[axis] - side + 1))


def test_the_box_follows_a_zoom(store, make_store):
    labels = np.zeros(SHAPE, np.uint8)
    labels[BOX] = 1
    block = make_store({"a": (np.ones((1, *SHAPE)), labels)}).open("a")
    for factor in (1.0, 1.3, 1.45):
        view = ZoomedView(block, factor)
        occupied = np.nonzero(view.read((0, 0, 0), SHAPE)[1])
        ends = [axis.min() for axis in occupied], [axis.max() + 1 for axis in occupied]
        assert view.labelled_box() == tuple(list(map(int, end)) for end in ends)
    assert ZoomedView(block, 4.0).labelled_box() is None  # 3..6 of 24 is cropped away
    assert CaseView(store.open("a")).labelled_box() == ([10, 3, 2], [20, 6, 11])
    assert CaseView(store.open("empty")).labelled_box() is None


def training(**sampling) -> Training:
    return Training(
        patch=(10, 8, 6),
        batch=1,
        epochs=60,
        optimiser=Optimiser(name="sgd", learning_rate=0.1),
        schedule=Schedule(name="constant"),
        sampling=Sampling(**sampling),
        augmentation=(Step(name="scaled_crop", parameters={"probability": 0.5}),),
    )


def test_a_scaled_crop_is_its_box_resized(store):
    settings = training(strategy="label_box", box_margin=3, foreground_fraction=1.0)
    dataset, case = PatchDataset(store, ["a"], settings, seed=2), store.open("a")
    (step,), sizes = dataset.steps, []
    for index in range(60):
        image, labels = dataset[index]
        generator = np.random.default_rng((2, 1, index))
        size = step.read_size((10, 8, 6), generator)
        start = label_box(CaseView(case), size, size, 1.0, generator, margin=3)
        box = tuple(slice(begin, begin + side) for begin, side in zip(start, size, strict=True))
        crop = torch.from_numpy(case.image[(slice(None), *box)])[None]
        marks = torch.from_numpy(case.labels[box].astype(np.float32))[None, None]
        expected = functional.interpolate(crop, (10, 8, 6), mode="trilinear", align_corners=False)[0]
        nearest = functional.interpolate(marks, (10, 8, 6), mode="nearest-exact")[0, 0]
        torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
        assert torch.equal(labels, nearest.to(torch.uint8))
        sizes.append(size[0])
    scaled = [size for size in sizes if size != 10]
    assert 15 < len(scaled) < 45 and min(sizes) == 7 and max(sizes) == 13


def test_factors_are_uniform_and_sides_are_rounded_down():
    step, generator = ScaledCrop(probability=1.0), np.random.default_rng(0)
    sizes = np.array([step.read_size((1000, 500), generator) for _ in range(2000)])
    assert 700 <= sizes[:, 0].min() < 705 and 1395 < sizes[:, 0].max() < 1400
    assert abs(sizes[:, 0].mean() - 1050) < 4 * 700 / np.sqrt(12 * 2000)
    assert np.isin(sizes[:, 0] - 2 * sizes[:, 1], (0, 1)).all()


def test_what_does_not_fit_together_is_refused(store):
    with pytest.raises(ValidationError, match="label_box"):
        training(strategy="foreground_voxel", box_margin=3)
    with pytest.raises(InputError, match="scaled_crop act on patches"):
        PatchDataset(store, ["a"], training(strategy="whole"), seed=0)


def test_the_dump_has_new_settings_only_where_they_are_set():
    """Digests of what was made before there were such settings stay."""
    assert "box_margin" not in Sampling().model_dump()
    assert Sampling(strategy="label_box", box_margin=32).model_dump()["box_margin"] == 32
