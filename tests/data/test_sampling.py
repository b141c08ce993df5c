"""Training samples: a pure function of (seed, i); patches against MONAI and nnU-Net, slices each once per epoch."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from monai.transforms.utils import correct_crop_centers
from torch.utils.data import DataLoader

from benchmark.data.sampling import STRATEGIES, PatchDataset, foreground_class, foreground_voxel
from benchmark.data.views import CaseView
from benchmark.errors import InputError
from benchmark.settings import Optimiser, Sampling, Schedule, Step, Training

SWIN_SMT = (
    Step(name="zoom", parameters={"probability": 0.5}),
    Step(name="rotate90", parameters={"probability": 0.5}),
    Step(name="shift_intensity", parameters={"probability": 0.5}),
)


def training(**changes) -> Training:
    values = {
        "patch": (8, 8, 8),
        "batch": 2,
        "epochs": 3,
        "optimiser": Optimiser(name="adamw", learning_rate=1e-3),
        "schedule": Schedule(name="constant"),
    }
    return Training(**(values | changes))


@pytest.fixture
def store(make_store):
    generator = np.random.default_rng(0)
    cases = {}
    for number in range(5):
        shape = (18 + number, 21, 12)
        labels = np.zeros(shape, np.uint8)
        labels[4:9, 3:15, 6:10], labels[10:12, 0:2, 0:3] = 2, 5
        cases[f"c{number}"] = (generator.random((1, *shape), dtype=np.float32) + 0.1, labels)
    return make_store(cases)


def test_a_sample_depends_on_seed_and_index_alone(store):
    dataset = PatchDataset(store, store.cases, training(augmentation=SWIN_SMT), seed=4)
    forwards = [dataset[index] for index in range(12)]
    copy = pickle.loads(pickle.dumps(dataset))
    for index in reversed(range(12)):
        image, labels = copy[index]
        assert image.dtype == torch.float32 and image.shape == (1, 8, 8, 8) and labels.shape == (8, 8, 8)
        assert torch.equal(image, forwards[index][0]) and torch.equal(labels, forwards[index][1])
    other = PatchDataset(store, store.cases, training(augmentation=SWIN_SMT), seed=5)
    assert any(not torch.equal(other[index][0], forwards[index][0]) for index in range(12))


def test_workers_give_the_same_samples(store):
    dataset = PatchDataset(store, store.cases, training(augmentation=SWIN_SMT), seed=4)
    loader = DataLoader(dataset, batch_size=2, num_workers=1, multiprocessing_context="fork")
    images = torch.cat([image for image, _ in loader])
    assert torch.equal(images, torch.stack([dataset[index][0] for index in range(len(dataset))]))


def test_every_case_once_per_pass(store):
    dataset = PatchDataset(store, store.cases, training(), seed=0)
    orders = [[dataset.sample_of(5 * repetition + k).case for k in range(5)] for repetition in range(20)]
    assert all(sorted(order) == list(store.cases) for order in orders)
    assert len(set(map(tuple, orders))) > 10


@pytest.mark.parametrize(("iterations", "length"), [(None, 3 * 3 * 2), (7, 7 * 3 * 2)])
def test_length_is_the_whole_training(store, iterations, length):
    assert len(PatchDataset(store, store.cases, training(iterations_per_epoch=iterations), seed=0)) == length


@pytest.mark.parametrize("patch", [(8, 8, 8), (7, 9, 3), (22, 21, 12)])
def test_foreground_voxel_follows_monai(store, patch):
    """The box of a voxel is the one MONAI's RandCropByPosNegLabel cuts for that centre."""
    view = CaseView(store.open("c4"))
    for seed in range(50):
        generator, twin = np.random.default_rng(seed), np.random.default_rng(seed)
        start = foreground_voxel(view, patch, patch, 0.5, generator)
        classes = [2, 5] if twin.random() < 0.5 else [0]
        centre = correct_crop_centers(list(view.draw_voxel(classes, twin)), patch, view.shape)
        assert start == [c - n // 2 for c, n in zip(centre, patch, strict=True)]


def test_foreground_fraction_is_kept(store):
    view = CaseView(store.open("c0"))
    generator = np.random.default_rng(0)
    one = (1, 1, 1)
    hits = [bool(view.read(foreground_voxel(view, one, one, 0.3, generator), one)[1].any()) for _ in range(2000)]
    assert abs(np.mean(hits) - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2000)


def test_without_one_kind_the_other_is_taken(make_store):
    empty = np.zeros((9, 9, 9), np.uint8)
    store = make_store({"none": (np.ones((1, 9, 9, 9)), empty), "full": (np.ones((1, 9, 9, 9)), empty + 1)})
    generator = np.random.default_rng(0)
    for case in store.cases:
        for fraction in (0.0, 1.0):
            start = foreground_voxel(CaseView(store.open(case)), (4, 4, 4), (4, 4, 4), fraction, generator)
            assert all(0 <= begin <= 5 for begin in start)


def test_foreground_class_draws_classes_evenly(store):
    """nnU-Net: a rare class (5) is as often the centre as a common one (2)."""
    view = CaseView(store.open("c0"))
    generator = np.random.default_rng(0)
    one = (1, 1, 1)
    seen = Counter(int(view.read(foreground_class(view, one, one, 1.0, generator), one)[1].item()) for _ in range(1000))
    assert set(seen) == {2, 5} and abs(seen[5] - 500) < 4 * np.sqrt(250)


def test_foreground_class_may_reach_over_the_far_border_only(store):
    view = CaseView(store.open("c0"))
    generator = np.random.default_rng(0)
    starts = np.array([foreground_class(view, (8, 8, 8), (8, 8, 8), 1.0, generator) for _ in range(300)])
    assert (starts >= 0).all() and (starts[:, 2] + 8 > view.shape[2]).any()
    starts = np.array([foreground_class(view, (8, 8, 8), (8, 8, 8), 0.0, generator) for _ in range(300)])
    assert (starts >= 0).all() and (starts + 8 <= view.shape).all()
    assert [set(column) for column in starts.T] == [set(range(side - 7)) for side in view.shape]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_a_patch_larger_than_the_volume_is_padded_with_zero(store, strategy):
    settings = training(patch=(32, 32, 32), sampling=Sampling(strategy=strategy))
    dataset = PatchDataset(store, ["c0"], settings, seed=0)
    for index in range(5):
        image, labels = dataset[index]
        assert image.shape == (1, 32, 32, 32)
        assert int((image > 0).sum()) == 18 * 21 * 12  # the whole volume is inside
        assert int((labels > 0).sum()) == int((store.open("c0").labels[:] > 0).sum())
        inside = torch.nonzero(image[0])
        low, high = inside.min(dim=0).values, 31 - inside.max(dim=0).values
        assert (low - high).abs().max() <= 2


def test_the_whole_image_can_be_resized(store):
    settings = training(patch=(9, 7, 6), sampling=Sampling(strategy="whole"))
    image, labels = PatchDataset(store, ["c0"], settings, seed=0)[0]
    whole = torch.from_numpy(store.open("c0").image[:])[None]
    expected = torch.nn.functional.interpolate(whole, (9, 7, 6), mode="trilinear", align_corners=False)[0]
    torch.testing.assert_close(image, expected)
    assert labels.shape == (9, 7, 6) and set(labels.unique().tolist()) <= {0, 2, 5}


@pytest.mark.parametrize(
    ("cases", "changes", "problem"),
    [
        ([], {}, "0 training cases"),
        (["c0", "zz"], {}, "missing in the prepared store"),
        (["c0"], {"augmentation": (Step(name="twirl"),)}, "unknown augmentation 'twirl'"),
    ],
)
def test_what_cannot_be_sampled_is_refused(store, cases, changes, problem):
    with pytest.raises(InputError, match=problem):
        PatchDataset(store, cases, training(**changes), seed=0)


def test_a_patch_of_one_axis_on_a_volume_is_refused(store):
    with pytest.raises(InputError, match="1-D"):
        PatchDataset(store, ["c0"], training(patch=(8,)), seed=0)[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("strategy", ["foreground_voxel", "foreground_class"])
def test_a_flat_patch_is_a_piece_of_one_slice(store, axis, strategy):
    settings = training(patch=(8, 6), epochs=40, sampling=Sampling(strategy=strategy, foreground_fraction=1.0))
    dataset = PatchDataset(store, ["c0"], settings, seed=0, slice_axis=axis)
    slices = np.moveaxis(store.open("c0").image[:], axis + 1, 1)[0]
    chosen = set()
    for index in range(40):
        image, labels = dataset[index]
        assert image.shape == (1, 8, 6) and labels.shape == (8, 6)
        row, column = (index[0] for index in np.nonzero(image[0].numpy()))  # padding is 0, no voxel is
        corner = image[0, row, column].item()
        (place,) = np.argwhere(slices == np.float32(corner))
        chosen.add(int(place[0]))
        rest = slices[place[0], place[1] :, place[2] :][: 8 - row, : 6 - column]
        assert np.array_equal(image[0, row:, column:][: rest.shape[0], : rest.shape[1]], rest)
        assert labels.max() > 0
    assert len(chosen) > 1


def whole(**sampling) -> Training:
    return training(patch=(9, 10), epochs=4, batch=7, sampling=Sampling(strategy="whole", **sampling))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slices", ["all", "foreground"])
def test_an_epoch_of_whole_slices_is_every_slice_once(store, axis, slices):
    dataset = PatchDataset(store, ["c0", "c3"], whole(slices=slices), seed=0, slice_axis=axis)
    expected = []
    for case in ("c0", "c3"):
        labels = np.moveaxis(store.open(case).labels[:], axis, 0)
        expected += [(case, k) for k in range(len(labels)) if slices == "all" or labels[k].any()]
    count = len(expected)
    assert dataset.steps_per_epoch == -(-count // 7) and len(dataset) == 4 * 7 * dataset.steps_per_epoch
    orders = [[tuple(dataset.sample_of(count * k + i)) for i in range(count)] for k in range(3)]
    assert all(sorted(order) == expected for order in orders)
    assert len(set(map(tuple, orders))) == 3
    images = torch.stack([dataset[index][0] for index in range(count)])
    for case, number in (orders[0][0], orders[0][-1]):
        raw = torch.from_numpy(np.moveaxis(store.open(case).image[:], axis + 1, 1)[:, number])
        resized = torch.nn.functional.interpolate(raw[None], (9, 10), mode="bilinear", align_corners=False)
        position = orders[0].index((case, number))
        torch.testing.assert_close(images[position], resized[0], atol=1e-5, rtol=0)


def test_slices_are_not_drawn_for_patches_and_pictures(store, make_store):
    assert [sample.slice for sample in PatchDataset(store, store.cases, training(patch=(8, 8)), seed=0).samples] == [
        None
    ] * 5
    pictures = make_store({name: (np.ones((3, 12, 14)), np.zeros((12, 14))) for name in "ab"})
    dataset = PatchDataset(pictures, ["a", "b"], whole(slices="foreground"), seed=0)
    assert dataset.samples == [("a", None), ("b", None)] and dataset[0][0].shape == (3, 9, 10)


def test_no_slice_with_a_label_is_refused(make_store):
    store = make_store({"a": (np.ones((1, 5, 5, 5)), np.zeros((5, 5, 5)))})
    with pytest.raises(InputError, match="no slice"):
        PatchDataset(store, ["a"], whole(slices="foreground"), seed=0)


def test_a_flat_patch_is_augmented_as_a_picture(store):
    settings = training(patch=(16, 12), augmentation=(Step(name="nnunet"),))
    image, labels = PatchDataset(store, store.cases, settings, seed=0)[3]
    assert image.shape == (1, 16, 12) and labels.shape == (16, 12)
