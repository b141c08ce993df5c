"""Data sets as other sites have them: other endings and names, holes, litter of file systems, labels of other kinds."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from benchmark.data.prepare import prepare
from benchmark.data.raw_files import raw_cases
from benchmark.data.split import check_split, make_split
from benchmark.data.split import main as split_command
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.datasets.base import IGNORED, Dataset
from benchmark.errors import InputError
from benchmark.files import write_json
from benchmark.images.label_names import LabelNames, read_labels_file
from benchmark.settings import Preparation
from tests.data.conftest import AFFINE, SHAPE, write_mask, write_meta

ABDOMEN, ENDOVIS, CELLSEG, TOTALSEG = map(get_dataset, ("abdomen_mri", "endovis17", "neurips_cellseg", "totalseg"))
LITTER = bytes.fromhex("00051607000200004d6163204f5320582020202020202020") + bytes(3000)


def volume(path: Path, seed: int = 0, largest: int = 14, kind: type = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, largest, (9, 8, 5)).astype(kind)
    nibabel.Nifti1Image(array, AFFINE).to_filename(path)
    return path


def abdomen(
    root: Path, cases=(("amos_1", "Tr"), ("mr_1", "Ts")), endings=(".nii.gz", ".nii.gz"), suffix="_0000"
) -> Path:
    for number, (case, part) in enumerate(cases):
        volume(root / f"images{part}/{case}{suffix}{endings[number % 2]}", number, 900, np.int16)
        volume(root / f"labels{part}/{case}{endings[number % 2]}", number + 50)
    return root


def problems(dataset: Dataset, root: Path) -> set[tuple[str, str]]:
    return {(fault.problem, Path(fault.file).name) for fault in verify(dataset, root, processes=1)}


def prepared(dataset: Dataset, root: Path, out: Path) -> PreparedStore:
    split = make_split(dataset, dataset.find_cases(root), kind="local")
    preparation = Preparation(normalise="zscore", orientation="LAS")  # that of AFFINE
    prepare(dataset, root, split, preparation, out=out / "prepared.json", processes=1)
    return PreparedStore(out)


@pytest.mark.parametrize("endings", [(".nii", ".nii"), (".nii.gz", ".nii"), (".NII.GZ", ".nii")])
def test_both_endings_of_nifti_are_cases(tmp_path, endings):
    root = abdomen(tmp_path, endings=(".nii.gz", endings[1]))
    for path in [path for path in root.rglob("*.nii.gz") if endings[0] != ".nii.gz"]:
        if endings[0] == ".nii":
            nibabel.load(path).to_filename(path.with_name(path.name[:-3]))
            path.unlink()
        else:
            path.rename(path.with_name(path.name[: -len(".nii.gz")] + endings[0]))
    assert [case.id for case in ABDOMEN.find_cases(root)] == ["amos_1", "mr_1"]
    assert verify(ABDOMEN, root, processes=1) == []


def test_two_files_of_one_name_and_unread_formats_are_faults(tmp_path):
    root = abdomen(tmp_path)
    volume(root / "imagesTr/amos_1_0000.nii", 9, 900, np.int16)
    volume(root / "labelsTr/amos_1.nii", 9)
    (root / "imagesTr/b_0000.mgz").touch()
    found = problems(ABDOMEN, root)
    assert {
        ("several files of one name", "amos_1_0000.nii.gz"),
        ("several files of one name", "amos_1.nii.gz"),
    } <= found
    assert ("format is not read", "b_0000.mgz") in found
    with pytest.raises(InputError, match=r"not one 3-D image|several label files"):
        prepared(ABDOMEN, root, tmp_path / "store")


def test_a_set_in_another_format_is_refused_with_its_name(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr/a_0000.mhd").touch()
    with pytest.raises(InputError, match=r"a_0000\.mhd"):
        ABDOMEN.find_cases(tmp_path)


def test_names_of_amos_are_cases_and_not_channels(tmp_path):
    names = ["amos_0000", "amos_0001", "amos_0507", "amos_0508"]
    root = abdomen(tmp_path, [(name, "Tr") for name in names], suffix="")
    assert [case.id for case in ABDOMEN.find_cases(root)] == names
    assert verify(ABDOMEN, root, processes=1) == []
    for path in (root / "labelsTr").iterdir():
        path.unlink()
    (root / "imagesTr/amos_0000.nii.gz").unlink()
    assert [case.id for case in ABDOMEN.find_cases(root)] == names[1:]  # test scans come without labels


def test_a_second_channel_is_a_fault_and_is_not_prepared(tmp_path):
    root = abdomen(tmp_path)
    volume(root / "imagesTr/amos_1_0001.nii.gz", 7, 900, np.int16)
    assert problems(ABDOMEN, root) == {("channels differ", "amos_1_0000.nii.gz")}
    with pytest.raises(InputError, match="not one 3-D image"):
        prepared(ABDOMEN, root, tmp_path / "store")


def litter(root: Path) -> Path:
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(LITTER)
    for folder in [path for path in root.rglob("*") if path.is_dir()]:
        (folder / ".DS_Store").write_bytes(LITTER)
    return root


def test_what_macos_leaves_behind_is_no_data(tmp_path, raw_root):
    cells = tmp_path / "cells"
    for part in ("Training-labeled", "Tuning"):
        for folder in ("images", "labels"):
            (cells / part / folder).mkdir(parents=True)
        colours = np.random.default_rng(len(part)).integers(0, 255, (32, 34, 3)).astype(np.uint8)
        Image.fromarray(colours).save(cells / part / "images/cell_1.png")
        tifffile.imwrite(cells / part / "labels/cell_1_label.tiff", np.eye(32, 34, dtype=np.uint16))
    for dataset, root in ((ABDOMEN, abdomen(tmp_path / "abdomen")), (CELLSEG, cells), (TOTALSEG, raw_root)):
        assert verify(dataset, litter(root), processes=1) == []


def test_a_preview_beside_a_label_is_a_fault_and_not_the_label(tmp_path):
    for part in ("Training-labeled", "Tuning"):
        for folder in ("images", "labels"):
            (tmp_path / part / folder).mkdir(parents=True)
        Image.fromarray(np.eye(32, 34, dtype=np.uint8) * 9).save(tmp_path / part / "images/c [1].png")
        tifffile.imwrite(tmp_path / part / "labels/c [1]_label.tiff", np.eye(32, 34, dtype=np.uint16))
    Image.fromarray(np.full((32, 34), 200, np.uint8)).save(tmp_path / "Tuning/labels/c [1]_label.png")
    assert ("several labels of one name", "c [1]_label.png") in problems(CELLSEG, tmp_path)
    for case in CELLSEG.find_cases(tmp_path):
        assert np.array_equal(CELLSEG.read_reference(case)[0], np.eye(32, 34))


def test_holes_of_a_set_are_faults(raw_root):
    shutil.rmtree(raw_root / "s0001")
    shutil.rmtree(raw_root / "s0002")
    (raw_root / "s0002").mkdir()
    write_meta(raw_root, {"s0000": "train", "s0001": "train", "s0002": "test", "s0003": "test"})
    faults = verify(TOTALSEG, raw_root, processes=1)
    assert [(f.case, f.problem, f.found) for f in faults] == [
        ("s0001", "case not on disk", "no folder"),
        ("s0002", "case not on disk", "an empty folder"),
        ("s0003", "case not on disk", "no folder"),
    ]


@pytest.mark.parametrize(
    ("low", "high", "problem"),
    [(0, 0, "one value everywhere"), (-9758, 30000, "impossible values"), (-3024, 30000, None)],
)
def test_scans_of_nothing_and_impossible_values_are_faults(raw_root, low, high, problem):
    image = np.full(SHAPE, low, np.int16)
    image[3:6] = high
    nibabel.Nifti1Image(image, AFFINE).to_filename(raw_root / "s0001/ct.nii.gz")
    assert problems(TOTALSEG, raw_root) == ({(problem, "ct.nii.gz")} if problem else set())


def test_masks_of_other_values_are_not_prepared(raw_root):
    write_mask(raw_root / "s0001/segmentations/liver.nii.gz", np.full(SHAPE, 3))
    (case,) = (case for case in TOTALSEG.find_cases(raw_root) if case.id == "s0001")
    with pytest.raises(InputError, match="not a mask"):
        TOTALSEG.read_labels(case)


@pytest.mark.parametrize("stored", [np.uint8, np.int16])
def test_float_labels_with_a_slope_keep_their_class(tmp_path, stored):
    root = abdomen(tmp_path)
    labels = np.random.default_rng(5).integers(0, 14, (9, 8, 5))
    image = nibabel.Nifti1Image(labels.astype(np.float32), AFFINE)
    image.set_data_dtype(stored)
    image.to_filename(root / "labelsTr/amos_1.nii.gz")
    raw = np.asarray(nibabel.load(root / "labelsTr/amos_1.nii.gz").dataobj)
    assert (raw.astype(np.uint8) != labels).any()  # what truncation would make of it
    assert verify(ABDOMEN, root, processes=1) == []
    store = prepared(ABDOMEN, root, tmp_path / "store")
    assert np.array_equal(np.asarray(store.open("amos_1").labels[:]), labels)


@pytest.mark.parametrize("value", [0.9999, np.nan, -1])
def test_other_values_are_a_fault_and_are_not_truncated(tmp_path, value):
    root = abdomen(tmp_path)
    labels = np.full((9, 8, 5), value, np.float32)
    nibabel.Nifti1Image(labels, AFFINE).to_filename(root / "labelsTr/amos_1.nii.gz")
    assert {file for _, file in problems(ABDOMEN, root)} == {"amos_1.nii.gz"}
    with pytest.raises(InputError, match="integers from 0"):
        prepared(ABDOMEN, root, tmp_path / "store")


def test_an_image_that_is_not_finite_is_not_prepared(tmp_path):
    root = abdomen(tmp_path)
    nibabel.Nifti1Image(np.full((9, 8, 5), np.nan, np.float32), AFFINE).to_filename(
        root / "imagesTr/amos_1_0000.nii.gz"
    )
    with pytest.raises(InputError, match="not finite"):
        prepared(ABDOMEN, root, tmp_path / "store")


@pytest.mark.parametrize("shape", [(9, 8, 5, 1), (9, 8, 5, 1, 1)])
def test_axes_of_length_one_are_read_by_verify_and_prepare(tmp_path, shape):
    root = abdomen(tmp_path)
    for path in root.rglob("*.nii.gz"):
        array = np.asarray(nibabel.load(path).dataobj)
        nibabel.Nifti1Image(array.reshape(shape), AFFINE).to_filename(path)
    assert verify(ABDOMEN, root, processes=1) == []
    assert prepared(ABDOMEN, root, tmp_path / "store").open("mr_1").image.shape == (1, 9, 8, 5)


def test_palette_labels_are_read_by_verify_and_prepare(tmp_path):
    for case, part in (("a", "Tr"), ("b", "Ts")):
        for folder in ("images", "labels"):
            (tmp_path / f"{folder}{part}").mkdir()
        colours = np.random.default_rng(ord(case)).integers(0, 255, (32, 34, 3)).astype(np.uint8)
        Image.fromarray(colours).save(tmp_path / f"images{part}/{case}_0000.png")
        labels = Image.fromarray(colours[..., 0] % 8, "P")
        labels.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128, 1, 2, 3])
        labels.save(tmp_path / f"labels{part}/{case}.png")
    assert verify(ENDOVIS, tmp_path, processes=1) == []
    found = prepared(ENDOVIS, tmp_path, tmp_path / "store").open("a").labels[:]
    expected = np.asarray(Image.open(tmp_path / "imagesTr/a_0000.png"))[..., 0] % 8
    assert np.array_equal(np.asarray(found), expected)


def test_lossy_labels_are_a_fault(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    colours = np.random.default_rng(0).integers(0, 255, (32, 34, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "imagesTr/a_0000.png")
    Image.fromarray(np.kron(np.eye(2, dtype=np.uint8), np.ones((16, 17), np.uint8))).save(tmp_path / "labelsTr/a.jpg")
    assert problems(ENDOVIS, tmp_path) == {("a label map in a lossy format", "a.jpg")}


def test_voxels_that_nobody_labelled_through_verify_and_prepare(tmp_path):
    root = abdomen(tmp_path)
    content = {"labels": {"background": 0, **ABDOMEN.class_numbers, "ignore": 14}}
    labels = np.random.default_rng(5).integers(0, 14, (9, 8, 5)).astype(np.uint8)
    labels[:, 5:] = 14
    nibabel.Nifti1Image(labels, AFFINE).to_filename(root / "labelsTr/amos_1.nii.gz")
    assert ("unknown label value", "amos_1.nii.gz") in problems(ABDOMEN, root)  # without a dataset.json that says so
    (root / "dataset.json").write_text(json.dumps(content))
    assert verify(ABDOMEN, root, processes=1) == []
    store = prepared(ABDOMEN, root, tmp_path / "store")
    case = store.open("amos_1")
    assert store.ignore_label == IGNORED
    assert np.array_equal(np.asarray(case.labels[:]), np.where(labels == 14, IGNORED, labels))
    assert set(case.class_voxels.classes) <= set(range(14))
    for number in range(14):  # no patch is centred on what nobody labelled
        assert (labels[tuple(case.class_voxels[number].T)] == number).all()
    names = dict(enumerate(ABDOMEN.label_names, start=1))
    assert read_labels_file(tmp_path / "store/labels.json") == LabelNames(names, IGNORED)
    written = np.asarray(nibabel.load(tmp_path / "store/references/amos_1.nii.gz").dataobj)
    assert np.array_equal(written, np.where(labels == 14, IGNORED, labels))


@pytest.mark.parametrize(
    "content", [b"[1, 2", b"\xff\xfe{", b'{"labels": ["a"]}', b'{"labels": {"a": [1, 2]}}', b"\x00\x01"]
)
def test_a_dataset_json_that_cannot_be_read_is_one_fault(tmp_path, content):
    root = abdomen(tmp_path)
    (root / "dataset.json").write_bytes(content)
    assert {file for _, file in problems(ABDOMEN, root)} == {"dataset.json"}
    ABDOMEN.find_cases(root)


@pytest.mark.parametrize("bom", [b"\xef\xbb\xbf", b""])
def test_a_dataset_json_of_windows_is_compared(tmp_path, bom):
    root = abdomen(tmp_path)
    (root / "dataset.json").write_bytes(bom + b'{"labels": {"background": 0, "spleen": 1,}}')
    assert problems(ABDOMEN, root) == {("another label order", "dataset.json")}


def test_frames_of_one_patient_never_land_in_two_splits(tmp_path):
    root = abdomen(tmp_path, [("patient001_frame01", "Tr"), ("patient002_frame01", "Tr"), ("patient001_frame12", "Ts")])
    cases = ABDOMEN.find_cases(root)
    assert [case.patient for case in cases] == ["patient001", "patient001", "patient002"]
    with pytest.raises(InputError, match="a patient is in two splits"):
        make_split(ABDOMEN, cases, kind="local")
    split = make_split(replace(ABDOMEN, frame_suffix=""), [replace(c, patient=c.id) for c in cases], kind="local")
    check_split(split)  # each case its own patient: nothing in the file says otherwise
    write_json(tmp_path / "split.json", split)
    arguments = argparse.Namespace(dataset="abdomen_mri", source=None, out=None, check=tmp_path / "split.json")
    with pytest.raises(InputError, match="a patient is in two splits"):
        split_command(arguments)  # but the names do


def test_black_frames_are_no_fault(tmp_path):
    for case, part in (("a", "Tr"), ("b", "Ts")):
        for folder in ("images", "labels"):
            (tmp_path / f"{folder}{part}").mkdir()
        Image.fromarray(np.full((32, 34, 3), ord(case) - 97, np.uint8)).save(tmp_path / f"images{part}/{case}_0000.png")
        Image.fromarray(np.zeros((32, 34), np.uint8)).save(tmp_path / f"labels{part}/{case}.png")
    assert verify(ENDOVIS, tmp_path, processes=1) == []


FACTS = {
    "without groups": lambda facts: facts.pop("groups"),
    "without title": lambda facts: facts.pop("title"),
    "an unknown key": lambda facts: facts.update(colour="red"),
    "labels in one text": lambda facts: facts.update(label_names="liver"),
    "groups in a list": lambda facts: facts.update(groups=["a"]),
    "an archive in one text": lambda facts: facts.update(archives=["a.zip"]),
    "no regular expression": lambda facts: facts.update(frame_suffix="("),
    "a group in one text": lambda facts: facts.update(groups={"a": "liver"}),
    "an unknown structure": lambda facts: facts.update(groups={"a": ["tail"]}),
}


@pytest.mark.parametrize("change", FACTS.values(), ids=list(FACTS))
def test_facts_of_a_data_set(tmp_path, change):
    facts = yaml.safe_load(Path(f"{Path(__file__).parents[2]}/benchmark/datasets/abdomen_mri.yaml").read_text())
    change(facts)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(facts))
    if "groups" not in facts:
        assert Dataset.from_yaml(str(tmp_path / "mine.py")).groups == {}
    else:
        with pytest.raises(InputError, match=r"mine\.yaml"):
            Dataset.from_yaml(str(tmp_path / "mine.py"))


def test_another_ignore_label_makes_cases_anew(tmp_path):
    """Files of equal size and time, but other voxels are left out."""
    root = abdomen(tmp_path)
    write = (root / "dataset.json").write_text
    write(json.dumps({"labels": {"background": 0, "liver": 1, "ignore": 14}}))
    first = raw_cases(ABDOMEN, root)
    assert raw_cases(ABDOMEN, root, first) == first
    write(json.dumps({"labels": {"background": 0, "liver": 1, "ignore": 15}}))
    second = raw_cases(ABDOMEN, root, first)
    for case, digests in first.items():
        assert digests.images == second[case].images and digests.labels != second[case].labels
