"""Points on structures: against the releases' rules, the training samples, the file of points, and wrong points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.catalog import load_catalog
from benchmark.data.draw_prompts import draw_prompts
from benchmark.data.prompts import PromptedDataset, check_points, choose_pixel, pixels_of, points_of, read_points
from benchmark.data.sampling import PatchDataset
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.settings import Training

SPLIT = {"train": ["a", "b"], "val": [], "test": ["c"]}
RUN = "moe_sam/acdc-prompt/sam/seed0"


class SeededAsReleased:
    """numpy's older generator behind the newer interface."""

    def __init__(self, seed: int) -> None:
        self.integers = np.random.RandomState(seed).randint


@pytest.mark.parity
def test_points_equal_those_of_sam_med2d_and_samus(parity_around):
    facts = parity_around("prompt_points")
    labels, methods = facts["label"].numpy(), facts["methods"]
    for case in methods["SAM-Med2D"]["cases"]:
        mask = np.ones(labels.shape, bool) if "what" in case else labels == case["label"]  # an empty mask: background
        if len(case["point"]) == 1:
            assert choose_pixel(mask, "random", SeededAsReleased(case["seed"])) == tuple(
                case["point"][0].int().tolist()
            )
    for case in methods["SAMUS"]["cases"]:
        mask = labels == case["label"]
        if mask.any():
            assert choose_pixel(mask, "random", SeededAsReleased(case["seed"])) == tuple(
                case["train_point"][0].tolist()
            )
            assert choose_pixel(mask, "middle", SeededAsReleased(0)) == tuple(case["eval_point"][0].tolist())


@pytest.mark.parity
def test_e_sam_draws_among_the_same_pixels(parity_around):
    facts = parity_around("prompt_points")
    for case in facts["methods"]["E-SAM"]["cases"][:-1]:  # the last one is a mask of its own
        pixels = pixels_of(facts["label"].numpy() == case["label"]).tolist()
        assert all(point in pixels for point in (case["get_point"], *case["get_points_3"]))
        x, y = np.trunc(np.mean(pixels, axis=0)).astype(int)
        assert [[x, y]] == case["centroid"]  # so x is the column and y the row


@pytest.fixture
def store(tmp_path) -> PreparedStore:
    """Volumes of six slices; in two of each there is nothing, and one structure is a single pixel."""
    generator, cases = np.random.default_rng(0), {}
    for case in "abc":
        labels = np.zeros((20, 16, 6), np.uint8)
        labels[4:12, 3:9, 1:5], labels[14:18, 10:14, 2:4], labels[0, 15, 4] = 1, 2, 3
        cases[case] = (generator.random((1, 20, 16, 6), np.float32), labels, {})
    return PreparedStore.create(tmp_path, cases, label_names=("one", "two", "three"), planes=2)


def dataset(store: PreparedStore, point: str = "random", side: int = 32) -> PromptedDataset:
    training = Training(
        patch=(side, side),
        batch=2,
        epochs=5,
        optimiser={"name": "adam", "learning_rate": 1e-3},
        schedule={"name": "constant"},
        sampling={"strategy": "whole", "slices": "foreground", "resize": {"image": "zoom3", "labels": "zoom0"}},
        objective="prompted",
        prompted={"point": point},
    )
    return PromptedDataset(PatchDataset(store, SPLIT["train"], training, 7), point)


def test_a_sample_is_one_class_with_a_point_on_it(store):
    samples = dataset(store)
    sizes = set()
    assert samples.steps_per_epoch == 4  # eight slices with labels
    for index in range(len(samples)):
        image, mask, point, label = samples[index]
        x, y = point[0].int().tolist()
        assert image.shape == (1, 32, 32) and mask.shape == (32, 32) and mask.dtype == torch.float32
        assert mask[y, x] == 1 and label.tolist() == [1] and set(mask.unique().tolist()) == {0, 1}
        sizes.add(int(mask.sum()))
        assert torch.equal(samples[index][2], point)  # a pure function of seed and index
    assert len(sizes) >= 3  # all classes are drawn


def test_a_structure_that_resizing_has_lost_gives_an_empty_mask_and_a_background_point(store, monkeypatch):
    samples = dataset(store)
    monkeypatch.setattr(
        PatchDataset, "__getitem__", lambda *_: (torch.zeros(1, 32, 32), torch.zeros(32, 32, dtype=torch.uint8))
    )
    _, mask, point, label = samples[0]
    assert not mask.any() and label.tolist() == [0] and point.min() >= 0 and point.max() < 32


def test_what_nobody_labelled_is_no_structure(store, tmp_path):
    cases = {}
    for case in "abc":
        labels = store.open(case).labels[:]
        cases[case] = (store.open(case).image[:], np.where(labels == 2, 255, labels), {})
    names = ("one", "two", "three")
    marked = PreparedStore.create(tmp_path / "marked", cases, label_names=names, planes=2, ignored=True)
    samples = dataset(marked)
    sizes = {int(samples[index][1].sum()) for index in range(len(samples))}
    assert all(size < 20 or size > 100 for size in sizes)  # the second structure has about 50 pixels
    drawn = draw_prompts(load_catalog().run(RUN, "demo"), marked, SPLIT, tmp_path / "prompts.json")
    assert {value for by_class in drawn["points"]["c"].values() for value in by_class} == {"1", "3"}


def test_a_point_depends_on_case_slice_and_class_alone(store):
    labels = store.open("c").labels[:]
    points = points_of(labels, "c", 2, "random")
    assert sorted(points) == [1, 2, 3, 4] and sorted(points[2]) == [1, 2] and points[4][3] == (15, 0)
    check_points(points, labels, 2, where="c")
    alone = np.where(labels == 2, labels, 0)
    assert points_of(alone, "c", 2, "random")[2] == {2: points[2][2]}
    assert points_of(labels[..., :3], "c", 2, "random")[2] == points[2]
    assert points_of(labels, "d", 2, "random") != points
    assert points_of(labels, "c", 2, "middle")[1][1] == (3, 8)  # the 25th of 48 pixels, row by row


def test_the_file_of_points_is_shared_and_says_what_it_was_made_of(store, tmp_path):
    config = load_catalog().run(RUN, "demo")
    first = draw_prompts(config, store, SPLIT, tmp_path / "first.json")
    other = draw_prompts(
        load_catalog().run("moe_sam/acdc-prompt/medsam/seed0", "demo"), store, SPLIT, tmp_path / "o.json"
    )
    assert first == other and list(first["points"]) == ["c"]
    assert first["made"]["references"] == store.digest_of(["c"], "reference")
    points = read_points(tmp_path / "first.json")
    assert points == {"c": points_of(store.open("c").labels[:], "c", 2, "random")}
    given = draw_prompts(config, store, SPLIT, tmp_path / "given.json", given=points)
    assert given["points"] == first["points"] and given["made"] != first["made"]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ({"c": {2: {3: (15, 0)}}}, ["class 3, which the slice does not show", "c: slice 2", "[1, 2]"]),
        ({"c": {0: {1: (5, 5)}}}, ["class 1, which the slice does not show"]),
        ({"c": {2: {1: (0, 0)}}}, ["point of class 1 lies outside its mask", "(0, 0), which is class 0"]),
        ({"c": {2: {1: (16, 3)}}}, ["lies outside its mask", "outside the slice"]),
        ({"c": {6: {1: (5, 5)}}}, ["a slice that there is not", "0 to 5"]),
        ({"a": {}}, ["a case has no points", "c"]),
    ],
)
def test_wrong_points_are_named(store, tmp_path, points, words):
    config = load_catalog().run(RUN, "demo")
    with pytest.raises(InputError) as error:
        draw_prompts(config, store, SPLIT, tmp_path / "out.json", given=points)
    assert all(word in str(error.value) for word in words) and not (tmp_path / "out.json").exists()


def test_an_empty_mask_has_no_point():
    with pytest.raises(InputError, match="a structure that the slice does not show"):
        choose_pixel(np.zeros((4, 4), bool), "random", np.random.default_rng(0))


@pytest.mark.parametrize("content", ['{"points": {"c": {"2": {"1": [3]}}}}', "[1, 2]", "{", '{"points": {"c": 4}}'])
def test_a_file_of_another_form_is_refused(tmp_path, content):
    path = tmp_path / "points.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"points\.json"):
        read_points(path)
    with pytest.raises(InputError, match="there is no file of points"):
        read_points(tmp_path / "nowhere.json")
