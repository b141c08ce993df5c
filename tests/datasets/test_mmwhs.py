"""MM-WHS: E-SAM's window and numbers, the value 421, and scans that are turned differently."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from benchmark.catalog import load_catalog
from benchmark.data.geometry import axis_codes, reorient, restore_labels
from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.settings import Preparation
from tests.datasets.layouts import LAS, NUMBERS, case_files, save, write_layout, write_scan

MMWHS = get_dataset("mmwhs")


def prepared(root, preparation, out):
    """The store of all cases under `root`."""
    split = make_split(MMWHS, MMWHS.find_cases(root), kind="local")
    prepare(MMWHS, root, split, preparation, out=out / "prepared.json", processes=1)
    return PreparedStore(out)


@pytest.mark.parity
def test_e_sam_s_window_and_numbers(parity_around, tmp_path):
    fixture = parity_around("prep_e_sam_mmwhs")
    image, raw = fixture["image_hu"].numpy(), fixture["label_raw"].numpy()
    for number in (NUMBERS["train"]["mmwhs"], NUMBERS["test"]["mmwhs"]):
        write_scan(tmp_path, "mmwhs", number, image, np.where(raw == 421, 420, raw))
    protocol = load_catalog().run("moe_sam/mmwhs-task/nnunet/seed0").preparation
    store = prepared(tmp_path, protocol.model_copy(update={"orientation": None}), tmp_path / "store")
    case = store.open("ct_train_1001")
    volume, labels = np.moveaxis(case.image[0], -1, 0), np.moveaxis(case.labels[:], -1, 0)
    assert np.array_equal(volume, fixture["volume_image"].numpy())
    assert np.array_equal(volume[0], fixture["train_slice_image"].numpy())  # H, W as stored, not transposed
    released = fixture["volume_label"].numpy()
    assert np.array_equal(labels, np.where(released == 421, MMWHS.class_numbers["left_atrium"], released))


@pytest.mark.parity
def test_421_is_refused_where_the_release_keeps_it(parity_around, tmp_path):
    fixture = parity_around("prep_e_sam_mmwhs")
    assert 421 in fixture["volume_label"]
    write_layout(tmp_path, "mmwhs")
    image, label = case_files(tmp_path, "mmwhs", NUMBERS["train"]["mmwhs"])
    save(image, fixture["image_hu"].numpy())
    save(label, fixture["label_raw"].numpy())
    (fault,) = verify(MMWHS, tmp_path, processes=1)
    assert (fault.case, fault.problem, fault.found) == ("ct_train_1001", "unknown label value", "[421]")
    assert fault.expected == "0, 205, 420, 500, 550, 600, 820, 850"
    with pytest.raises(InputError) as error:
        MMWHS.read_labels(MMWHS.find_cases(tmp_path)[0])
    assert label.name in str(error.value) and "write 420 in place of 421" in str(error.value)


def turned(array: np.ndarray, codes: str) -> tuple[np.ndarray, np.ndarray]:
    """An LAS volume with its axes stored in another order and direction, at the same place in the world."""
    image = nibabel.Nifti1Image(array, LAS)
    change = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("LAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    other = image.as_reoriented(change)
    return np.asarray(other.dataobj), other.affine


@pytest.mark.parametrize("codes", ["LAS", "LPS", "PIR", "ASL", "SRP"])
def test_slices_are_axial_however_a_scan_is_stored(codes, tmp_path):
    """One patient stored in two ways: the prepared volumes are the same and the last axis is up."""
    generator = np.random.default_rng(0)
    heights = 100 * np.arange(6) - 300
    image = (np.broadcast_to(heights, (9, 8, 6)) + generator.integers(0, 50, (9, 8, 6))).astype(np.int16)
    label = generator.choice([0, *MMWHS.label_values], (9, 8, 6)).astype(np.int16)
    write_scan(tmp_path, "mmwhs", 1001, image, label)
    stored, affine = turned(image, codes)
    stored_label, _ = turned(label, codes)
    assert axis_codes(affine) == codes
    write_scan(tmp_path, "mmwhs", 1003, stored, stored_label, affine)

    store = prepared(tmp_path, Preparation(clip=(-750, 750)), tmp_path / "ras")
    upright, other = store.open("ct_train_1001"), store.open("ct_train_1003")
    assert np.array_equal(upright.image[:], other.image[:]) and np.array_equal(upright.labels[:], other.labels[:])
    means = other.image[0].mean(axis=(0, 1))
    assert np.all(np.diff(means) > 0)  # slices rise along the last axis: they are axial
    restored = restore_labels(other.labels[:], other.meta)
    raw = MMWHS.read_labels(next(case for case in MMWHS.find_cases(tmp_path) if case.id == "ct_train_1003"))[0]
    assert np.array_equal(restored, raw) and np.array_equal(
        reorient(raw, codes, "LAS"), reorient(upright.labels[:], "RAS", "LAS")
    )

    as_stored = prepared(tmp_path, Preparation(clip=(-750, 750), orientation=None), tmp_path / "stored")
    assert as_stored.open("ct_train_1003").image.shape[1:] == stored.shape
    if codes[2] != "S":
        assert as_stored.open("ct_train_1003").image.shape[-1] != 6  # without an orientation they are not axial
