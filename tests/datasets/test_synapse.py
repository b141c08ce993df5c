"""Synapse: SAMed's slices made of the raw release, and TransUNet's files read as they are."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.catalog import load_catalog
from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from tests.datasets.layouts import write_scan, write_stored

SYNAPSE = get_dataset("synapse")
SIZE = (5, 12, 10)  # slices, height, width


@pytest.fixture
def preparation():
    """Window and normalisation of the paper's protocol."""
    return load_catalog().run("moe_sam/synapse-task/nnunet/seed0").preparation


def prepared(root, preparation, out):
    split = make_split(SYNAPSE, SYNAPSE.find_cases(root), kind="local")
    prepare(SYNAPSE, root, split, preparation, out=out / "prepared.json", processes=1)
    return PreparedStore(out)


def to_samed(labels: np.ndarray, reference) -> np.ndarray:
    """Our numbers to SAMed's, by the names of the structures."""
    theirs = json.loads(reference("datasets/Synapse_multiorgan.json").read_text())["labels_samed_remap"]["ids"]
    numbers = {name.replace(" ", "_"): int(number) for number, name in theirs.items()}
    table = np.array([0, *(numbers[name] for name in SYNAPSE.label_names)], np.uint8)
    return table[labels]


@pytest.mark.parity
@pytest.mark.parametrize(("orientation", "transposed"), [(None, True), ("ALS", False)])
def test_the_raw_release_becomes_samed_s_slices(
    parity_around, reference, preparation, tmp_path, orientation, transposed
):
    """SAMed stores slices transposed; so do we where an orientation exchanges the first two axes."""
    fixture = parity_around("prep_synapse_samed")
    for number in (5, 1):
        write_scan(tmp_path, "synapse", number, fixture["image_hu"].numpy(), fixture["label_raw"].numpy())
    store = prepared(tmp_path, preparation.model_copy(update={"orientation": orientation}), tmp_path / "store")
    for case, part in (("case0005", "train"), ("case0001", "test")):
        opened = store.open(case)
        image, labels = opened.image[0], to_samed(opened.labels[:], reference)
        for z, (released, released_labels) in enumerate(
            zip(fixture[f"{part}_image"].numpy(), fixture[f"{part}_label"].numpy(), strict=True)
        ):
            assert np.array_equal(image[..., z].T if transposed else image[..., z], released)
            assert np.array_equal(labels[..., z].T if transposed else labels[..., z], released_labels)


@pytest.mark.parity
def test_files_of_slices_are_the_same_images(parity_around, preparation, tmp_path):
    """What SAMed wrote, read back: the window is undone and applied again, the order of slices kept."""
    fixture = parity_around("prep_synapse_samed")
    labels = np.resize(np.arange(9), fixture["train_label"].shape).astype(np.float32)
    labels[labels == 2] = 4  # no gallbladder larger than a kidney
    paths = write_stored(tmp_path, "case0005", fixture["train_image"].numpy(), labels, volume=False)
    write_stored(tmp_path, "case0001", fixture["test_image"].numpy(), labels, volume=True)
    assert [path.name for path in paths] == fixture["train_files"]
    assert [fault for fault in verify(SYNAPSE, tmp_path, processes=1) if fault.problem != "duplicate image"] == []
    store = prepared(tmp_path, preparation, tmp_path / "store")
    for case, part in (("case0005", "train"), ("case0001", "test")):
        opened = store.open(case)
        assert np.allclose(np.moveaxis(opened.image[0], -1, 0), fixture[f"{part}_image"].numpy(), rtol=0, atol=1e-6)
        assert np.array_equal(np.moveaxis(opened.labels[:], -1, 0), labels)
    hounsfield = SYNAPSE.load_image(SYNAPSE.find_cases(tmp_path)[1])[0][0].transpose(1, 0, 2)
    assert np.allclose(hounsfield, np.clip(fixture["image_hu"].numpy(), -125, 275), atol=1e-3)


@pytest.fixture
def stored(tmp_path):
    """TransUNet's files: a case of slices, a case in one volume."""
    for number, (case, volume) in enumerate((("case0005", False), ("case0001", True))):
        generator = np.random.default_rng(number)
        labels = np.zeros(SIZE, np.float32)
        labels[:, 1:5, 1:5], labels[:, 6:8, 6:8], labels[0, 9, :8] = 4, 2, np.arange(1, 9)
        write_stored(tmp_path, case, generator.random(SIZE).astype(np.float32), labels, volume=volume)
    return tmp_path


def test_transunet_s_files_are_cases(stored):
    cases = SYNAPSE.find_cases(stored)
    assert [(case.id, case.patient, case.split, len(case.images)) for case in cases] == [
        ("case0001", "btcv_0001", "test", 1),
        ("case0005", "btcv_0005", "train", 5),
    ]
    assert verify(SYNAPSE, stored, processes=1) == []
    for case in cases:
        image, affine = SYNAPSE.load_image(case)
        labels, _, _ = SYNAPSE.read_labels(case)
        assert image.shape == (1, 12, 10, 5) and labels.shape == (12, 10, 5) and np.array_equal(affine, np.eye(4))
        assert -125 <= image.min() < image.max() <= 275 and labels[9, :8, 0].tolist() == list(range(1, 9))


def change(path, **arrays):
    with np.load(path) as file:
        np.savez(path, **{"image": file["image"], "label": file["label"], **arrays})


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.unlink(), "slice missing"),
        (lambda path: path.write_bytes(b"PK"), "unreadable"),
        (lambda path: np.savez(path, image=np.zeros(SIZE[1:])), "unreadable"),
        (lambda path: change(path, image=np.full(SIZE[1:], 60.0)), "the image is not mapped to [0, 1]"),
        (lambda path: change(path, image=np.zeros((2, 2, *SIZE[1:]))), "image is neither a slice nor a volume"),
        (lambda path: change(path, label=np.full(SIZE[1:], 9)), "unknown label value"),
        (lambda path: change(path, label=np.zeros((5, 5))), "shape differs"),
        (lambda path: change(path, image=np.full(SIZE[1:], np.nan)), "not finite"),
    ],
    ids=["missing", "damaged", "no label", "not mapped", "axes", "label", "geometry", "not finite"],
)
def test_faults_of_slices(stored, spoil, problem):
    path = stored / "train_npz/case0005_slice002.npz"
    spoil(path)
    found = verify(SYNAPSE, stored, processes=1)
    assert problem in {fault.problem for fault in found} and {fault.case for fault in found} == {"case0005"}


def test_what_cannot_be_read_is_said_when_it_is_prepared_too(stored):
    case = SYNAPSE.find_cases(stored)[1]
    change(stored / "train_npz/case0005_slice002.npz", image=np.full(SIZE[1:], 60.0))
    with pytest.raises(InputError, match=r"not mapped to \[0, 1\]"):
        SYNAPSE.load_image(case)
    change(stored / "train_npz/case0005_slice002.npz", image=np.zeros((5, 5)), label=np.full(SIZE[1:], 9))
    with pytest.raises(InputError, match="differ in size"):
        SYNAPSE.load_image(case)
    with pytest.raises(InputError, match="unknown label value"):
        SYNAPSE.read_labels(case)


def test_samed_s_numbers_in_files_of_the_same_name_are_noticed(stored):
    for path in stored.glob("*/*.npz"):
        with np.load(path) as file:
            labels = file["label"]
        change(path, label=np.where(labels == 4, 2, np.where(labels == 2, 4, labels)))
    (fault,) = verify(SYNAPSE, stored, processes=1)
    assert fault.problem == "another label order, probably SAMed's" and "2 gallbladder" in fault.expected


def test_a_case_in_both_parts_or_in_no_list_is_refused(stored):
    zeros = np.zeros(SIZE, np.float32)
    write_stored(stored, "case0011", zeros, zeros, volume=True)
    assert ("case0011", "case in no list") in {(f.case, f.problem) for f in verify(SYNAPSE, stored, processes=1)}
    write_stored(stored, "case0005", zeros, zeros, volume=True)
    with pytest.raises(InputError, match="training and test"):
        SYNAPSE.find_cases(stored)


def test_an_h5_file_without_h5py_says_what_to_do(stored, monkeypatch):
    path = stored / "test_vol_h5/case0001.npz"
    path.rename(path.with_name("case0001.npy.h5"))
    monkeypatch.setitem(sys.modules, "h5py", None)  # as where it is not installed
    case = SYNAPSE.find_cases(stored)[0]
    with pytest.raises(InputError, match="h5py is not installed") as error:
        SYNAPSE.load_image(case)
    assert "case0001.npz" in str(error.value) and "savez" in str(error.value)
    found = verify(SYNAPSE, stored, processes=1)
    problem = "a .h5 file cannot be read here: h5py is not installed"
    assert {(fault.case, fault.problem, fault.found) for fault in found} == {("case0001", problem, "no h5py")}


def test_an_h5_file_is_read_where_h5py_is(stored, monkeypatch):
    """With a stand-in for h5py: the arrays are taken by name from the opened file."""
    path = stored / "test_vol_h5/case0001.npz"
    expected = SYNAPSE.load_image(SYNAPSE.find_cases(stored)[0])[0]
    path.rename(path.with_name("case0001.npy.h5"))
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda file, mode: np.load(file)))
    case = SYNAPSE.find_cases(stored)[0]
    assert np.array_equal(SYNAPSE.load_image(case)[0], expected)
    assert SYNAPSE.read_labels(case)[0].max() == 8
    path.with_name("case0001.npz").write_bytes(case.images[0].read_bytes())
    assert [fault.problem for fault in verify(SYNAPSE, stored, processes=1)] == ["second file of a case"]
