"""Raw cases to the store: MONAI's steps, resuming, faults; intensities of the 2-D releases."""

from __future__ import annotations

import os
import subprocess

import nibabel
import numpy as np
import pytest

from benchmark.data import prepare as module
from benchmark.data.geometry import restore_labels
from benchmark.data.prepare import prepare
from benchmark.data.prepared_grid import to_prepared_grid
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.settings import Preparation
from tests.data.conftest import AFFINE, SHAPE, write_mask

TOTALSEG = get_dataset("totalseg")
SWIN_SMT = Preparation(spacing=(1.5, 1.5, 1.5), clip=(-1024, 1024), foreground_above=0.0, pad_to_patch_multiple=True)
PATCH = (8, 8, 8)


def run(root, out, *, preparation=SWIN_SMT, processes=1, **options):
    split = make_split(TOTALSEG, TOTALSEG.find_cases(root), kind="local")
    return prepare(
        TOTALSEG, root, split, preparation, out=out / "prepared.json", patch=PATCH, processes=processes, **options
    )


def test_a_prepared_case(raw_root, tmp_path):
    info = run(raw_root, tmp_path / "store")
    store = PreparedStore(tmp_path / "store")
    assert store.cases == ("s0000", "s0001", "s0002") and store.label_names == TOTALSEG.label_names
    assert info["digest"] == store.digest and info["dataset"] == "totalseg"
    raw = np.asarray(nibabel.load(raw_root / "s0000/ct.nii.gz").dataobj)
    for case, shape in [("s0000", [16, 16, 8]), ("s0002", [10, 10, 7])]:  # the training case is enlarged to 8s
        opened = store.open(case)
        assert opened.meta["shape"] == shape and opened.meta["split"] == ("test" if case == "s0002" else "train")
        reference = nibabel.load(tmp_path / f"store/references/{case}.nii.gz")
        assert reference.shape == SHAPE and np.allclose(reference.affine, AFFINE)
        merged = np.asarray(reference.dataobj)
        assert set(np.unique(merged)) == {0, 1, 5} and merged.dtype == np.uint8
        assert np.array_equal(restore_labels(opened.labels[:], opened.meta), merged)
        assert opened.meta["volumes"] == {"1": int((merged == 1).sum()), "5": int((merged == 5).sum())}
    first = store.open("s0000")
    scaled = np.clip((raw[::-1].astype(np.float32) + 1024) / 2048, 0, 1)  # LAS to RAS flips the first axis
    padded = np.pad(scaled, 8)
    start = first.meta["crop"]["start"]
    box = tuple(slice(a + 8, a + 8 + n) for a, n in zip(start, first.meta["shape"], strict=True))
    np.testing.assert_allclose(first.image[0], padded[box], atol=1e-7)
    background = first.class_voxels[0]
    assert (first.image[0][tuple(background.T.astype(int))] > 0).all()  # air is no background centre, as in MONAI


def test_worker_processes_write_the_same(raw_root, tmp_path):
    for name, processes in (("one", 1), ("two", 2)):
        run(raw_root, tmp_path / name, processes=processes)
    one, two = PreparedStore(tmp_path / "one"), PreparedStore(tmp_path / "two")
    assert one.info == two.info
    for case in one.cases:
        mine, other = one.open(case), two.open(case)
        assert mine.meta == other.meta
        assert np.array_equal(mine.image[:], other.image[:]) and np.array_equal(mine.labels[:], other.labels[:])
        assert np.array_equal(mine.class_voxels.coordinates, other.class_voxels.coordinates)


def test_restricted_labels_are_renumbered_in_their_order(raw_root, tmp_path):
    run(raw_root, tmp_path / "store", labels=["liver", "spleen", "aorta"])
    store = PreparedStore(tmp_path / "store")
    assert store.label_names == ("liver", "spleen", "aorta")
    full = TOTALSEG.load_labels(TOTALSEG.find_cases(raw_root)[0])[0]
    reference = np.asarray(nibabel.load(tmp_path / "store/references/s0000.nii.gz").dataobj)
    assert np.array_equal(reference == 1, full == 5) and np.array_equal(reference == 2, full == 1)


def test_finished_cases_are_kept_and_changed_settings_are_not(raw_root, tmp_path, monkeypatch):
    done = []
    real = module.prepare_case

    def recorded(task):
        done.append(task.case.id)
        return real(task)

    monkeypatch.setattr(module, "prepare_case", recorded)
    out = tmp_path / "store"
    first = run(raw_root, out)
    assert run(raw_root, out) == first and done == ["s0000", "s0001", "s0002"]
    (out / "cases/s0001.json").unlink()
    (out / "references/s0002.nii.gz").unlink()
    run(raw_root, out)
    assert done[3:] == ["s0001", "s0002"]
    run(raw_root, out, preparation=SWIN_SMT.model_copy(update={"clip": (-500, 500)}))
    assert done[5:] == ["s0000", "s0001", "s0002"]


def test_a_fault_loses_nothing_that_is_done(raw_root, tmp_path):
    (raw_root / "s0001/ct.nii.gz").write_bytes((raw_root / "s0001/ct.nii.gz").read_bytes()[:200])
    with pytest.raises(InputError, match="s0001"):
        run(raw_root, tmp_path / "store")
    assert (tmp_path / "store/cases/s0000.json").exists()
    assert not (tmp_path / "store/prepared.json").exists()
    assert not list((tmp_path / "store").rglob(".tmp*"))


def test_image_and_masks_of_different_geometry_are_refused(raw_root, tmp_path):
    for path in (raw_root / "s0000/segmentations").iterdir():
        write_mask(path, np.zeros(SHAPE, np.uint8), np.eye(4))
    with pytest.raises(InputError, match="geometry"):
        run(raw_root, tmp_path / "store")


def test_overlapping_masks_are_counted_and_the_later_structure_wins(raw_root, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:6, 3:5, 4:6] = 1  # inside the liver, class 5
    write_mask(raw_root / "s0000/segmentations/stomach.nii.gz", mask)  # class 6
    write_mask(raw_root / "s0000/segmentations/kidney_left.nii.gz", mask)  # class 3
    run(raw_root, tmp_path / "store")
    merged = np.asarray(nibabel.load(tmp_path / "store/references/s0000.nii.gz").dataobj)
    assert (merged[mask > 0] == 6).all() and not (merged == 3).any()
    assert PreparedStore(tmp_path / "store").open("s0000").meta["overlapping_voxels"] == 16


def test_a_case_of_the_split_that_is_gone_is_named(raw_root, tmp_path):
    split = make_split(TOTALSEG, TOTALSEG.find_cases(raw_root), kind="local")
    split["train"].append("s0009")
    with pytest.raises(InputError, match="s0009"):
        prepare(TOTALSEG, raw_root, split, SWIN_SMT, out=tmp_path / "store/prepared.json", patch=PATCH)


def test_a_full_disk_is_said_and_work_continues_on_a_larger_one(raw_root, tmp_path):
    """A tmpfs of 44 KB holds one case at most."""
    out = tmp_path / "small"
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=44k", "tmpfs", str(out)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        with pytest.raises(InputError, match="disk is full") as error:
            run(raw_root, out / "store")
        assert "free space and run again" in str(error.value)
        assert not list(out.rglob(".tmp*")) and not (out / "store/prepared.json").exists()
        kept = {path.name for path in out.rglob("cases/*.json")}
        subprocess.run(["mount", "-o", "remount,size=4m", str(out)], check=True)
        run(raw_root, out / "store")
        assert kept < {"s0000.json", "s0001.json", "s0002.json"}
        store = PreparedStore(out / "store")
        assert all(store.open(case).labels[:].any() for case in store.cases)
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


@pytest.mark.parity
def test_synapse_slices_are_those_of_samed(parity_around):
    """Whose files hold them transposed."""
    facts = parity_around("prep_synapse_samed")
    settings = Preparation(clip=tuple(facts["window"]), orientation=None)
    image, labels = facts["image_hu"].numpy()[None], facts["label_raw"].numpy().astype(np.uint8)
    prepared, _, _ = to_prepared_grid(image, labels, np.eye(4), preparation=settings)
    for number, expected in enumerate(facts["train_image"].numpy()):
        np.testing.assert_allclose(prepared[0, :, :, number].T, expected, atol=1e-7)
    np.testing.assert_allclose(prepared[0].transpose(2, 1, 0), facts["test_image"].numpy(), atol=1e-7)


@pytest.mark.parity
def test_mmwhs_slices_are_those_of_e_sam(parity_around):
    facts = parity_around("prep_e_sam_mmwhs")
    settings = Preparation(clip=(-750, 750), orientation=None)
    image = facts["image_hu"].numpy()[None]
    prepared, _, _ = to_prepared_grid(image, np.zeros(image.shape[1:]), np.eye(4), preparation=settings)
    np.testing.assert_allclose(prepared[0].transpose(2, 0, 1), facts["volume_image"].numpy(), atol=1e-7)
    distance = np.abs(prepared[0] - facts["train_slice_image"].numpy()[..., None]).max(axis=(0, 1))
    assert distance.min() < 1e-7 < np.sort(distance)[1]


def test_a_2d_network_has_its_slices_stored_one_by_one(raw_root, tmp_path):
    split = make_split(TOTALSEG, TOTALSEG.find_cases(raw_root), kind="local")
    for planes in (None, 2):
        out = tmp_path / str(planes) / "prepared.json"
        prepare(TOTALSEG, raw_root, split, Preparation(), out=out, planes=planes, processes=1)
    cubes, slices = (PreparedStore(tmp_path / name).open("s0001") for name in ("None", "2"))
    assert slices.image.chunks == (1, *slices.meta["shape"][:2], 1) and cubes.image.chunks == (1, *cubes.meta["shape"])
    assert np.array_equal(cubes.image[:], slices.image[:]) and np.array_equal(cubes.labels[:], slices.labels[:])
    assert cubes.meta["digests"]["image"] != slices.meta["digests"]["image"]
