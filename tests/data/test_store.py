from __future__ import annotations

import pickle

import numpy as np
import pytest

from benchmark.data import voxels
from benchmark.data.store import PreparedStore, write_case
from benchmark.data.voxels import ClassVoxels, sample_class_voxels
from benchmark.errors import InputError


@pytest.mark.parametrize("shape", [(70, 33, 20), (300, 17), (5, 4, 3), (1, 1, 1)])
@pytest.mark.parametrize("channels", [1, 2])
def test_what_is_written_is_read(tmp_path, shape, channels):
    generator = np.random.default_rng(0)
    image = generator.random((channels, *shape), dtype=np.float32)
    labels = generator.integers(0, 118, shape, dtype=np.uint8)
    store = PreparedStore.create(
        tmp_path, {"a": (image, labels, {"extra": [1, 2]})}, label_names=[f"c{i}" for i in range(117)], channels=("CT",)
    )
    case = pickle.loads(pickle.dumps(store)).open("a")
    assert np.array_equal(case.image[:], image)
    assert np.array_equal(case.labels[:], labels)
    part = tuple(slice(side // 3, side // 3 + 1 + side // 4) for side in shape)
    assert np.array_equal(case.image[(slice(None), *part)], image[(slice(None), *part)])
    assert case.meta["extra"] == [1, 2] and case.meta["shape"] == list(shape)
    numbers, counts = np.unique(labels[labels > 0], return_counts=True)
    assert case.meta["volumes"] == {str(k): n for k, n in zip(numbers, counts, strict=True)}
    assert store.cases == ("a",) and len(store.label_names) == 117


def test_a_patch_does_not_decompress_the_volume(tmp_path):
    """Blocks, the unit of decompression, are far smaller than the volume, and chunks, the unit of reading, too."""
    write_case(tmp_path, "a", np.zeros((1, 200, 150, 130), np.float32), np.zeros((200, 150, 130), np.uint8), {})
    PreparedStore.create(tmp_path, {}, label_names=["x"])
    case = PreparedStore(tmp_path).open("a")
    assert case.image.chunks == (1, 64, 64, 64) and case.image.blocks == (1, 16, 16, 16)
    assert case.labels.chunks == (64, 64, 64)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_one_piece_where_slices_are_read(tmp_path, axis):
    generator = np.random.default_rng(0)
    image, labels = generator.random((2, 40, 30, 20), dtype=np.float32), generator.integers(0, 3, (40, 30, 20))
    case = PreparedStore.create(tmp_path, {"a": (image, labels, {})}, label_names=["x", "y"], planes=axis).open("a")
    plane = tuple(1 if other == axis else side for other, side in enumerate(labels.shape))
    assert case.image.chunks == case.image.blocks == (1, *plane) and case.labels.chunks == case.labels.blocks == plane
    assert np.array_equal(case.image[:], image) and np.array_equal(case.labels[:], labels)
    labelled = [[k for k, part in enumerate(np.moveaxis(labels, other, 0)) if part.any()] for other in range(3)]
    assert case.meta["foreground_slices"] == labelled


def test_pictures_have_no_planes(tmp_path):
    picture = {"a": (np.zeros((3, 300, 20), np.float32), np.zeros((300, 20)), {})}
    case = PreparedStore.create(tmp_path, picture, label_names=["x"], planes=2).open("a")
    assert case.image.chunks == (1, 256, 20) and "foreground_slices" not in case.meta


def test_class_voxels_are_of_their_class_bounded_and_deterministic(monkeypatch):
    monkeypatch.setattr(voxels, "SLAB_VOXELS", 1000)  # several slabs
    monkeypatch.setattr(voxels, "VOXELS_PER_CLASS", 50)
    generator = np.random.default_rng(1)
    labels = generator.choice([0, 1, 2, 7], (25, 20, 11), p=[0.5, 0.4, 0.09, 0.01]).astype(np.uint8)
    eligible = generator.random(labels.shape) < 0.5
    sample = sample_class_voxels(labels, eligible_background=eligible, seed=3)
    again = sample_class_voxels(labels, eligible_background=eligible, seed=3)
    assert np.array_equal(sample.coordinates, again.coordinates)
    assert list(sample.classes) == [0, 1, 2, 7]
    for number, count in zip(sample.classes, sample.counts, strict=True):
        where = (labels == number) & (eligible | (labels > 0))
        assert count == where.sum()
        points = sample[int(number)]
        limit = voxels.VOXELS_PER_CLASS if number else voxels.BACKGROUND_VOXELS
        assert len(points) == min(count, limit) == len(np.unique(points, axis=0))
        assert where[tuple(points.T.astype(int))].all()
    assert len(sample[5]) == 0
    everything = sample_class_voxels(labels == 7)
    assert np.array_equal(everything[1], np.argwhere(labels == 7))


def test_class_voxels_survive_the_file(tmp_path):
    sample = sample_class_voxels(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    sample.save(tmp_path / "v.npz")
    again = ClassVoxels.load(tmp_path / "v.npz")
    assert again.volumes == sample.volumes and np.array_equal(again.coordinates, sample.coordinates)


def test_an_all_background_volume_has_no_foreground():
    sample = sample_class_voxels(np.zeros((3, 3, 3), np.uint8), eligible_background=np.zeros((3, 3, 3), bool))
    assert list(sample.classes) == [] and sample.coordinates.shape == (0, 3)


@pytest.mark.parametrize(
    ("image", "labels", "problem"),
    [
        (np.zeros((1, 3, 3, 3)), np.zeros((3, 3, 2)), "differ in shape"),
        (np.zeros((1, 3, 3, 3)), np.full((3, 3, 3), 256), "uint8"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, image, labels, problem):
    with pytest.raises(InputError, match=problem):
        write_case(tmp_path, "a", image, labels, {})


def test_an_unfinished_store_and_an_unknown_case_are_refused(tmp_path, make_store):
    with pytest.raises(InputError, match="no finished prepared store"):
        PreparedStore(tmp_path / "nowhere")
    store = make_store({"a": (np.zeros((1, 3, 3, 3)), np.zeros((3, 3, 3)))})
    with pytest.raises(InputError, match="no case 'b'"):
        store.open("b")


def test_a_case_being_rewritten_is_not_complete(tmp_path, make_store, monkeypatch):
    arrays = (np.zeros((1, 3, 3, 3)), np.zeros((3, 3, 3)))
    store = make_store({"a": arrays})
    monkeypatch.setattr("benchmark.data.store.sample_class_voxels", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_case(store.folder, "a", *arrays, {})
    with pytest.raises(InputError):
        store.open("a")
    assert not list(store.folder.glob("cases/.tmp*"))
