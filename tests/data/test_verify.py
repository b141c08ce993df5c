"""Each fault by itself, and all at once: one report that lists them all."""

from __future__ import annotations

import argparse
import csv
import errno
import shutil

import nibabel
import numpy as np
import pytest
import tifffile

from benchmark.data import verify as module
from benchmark.data.source import write_source
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from tests.data.conftest import AFFINE, SHAPE, write_case, write_mask, write_meta

TOTALSEG = get_dataset("totalseg")
SPLITS = {"s0000": "train", "s0001": "train", "s0002": "test"}


def truncated_image(root):
    path = root / "s0001/ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-300])


def truncated_mask(root):
    path = root / "s0001/segmentations/liver.nii.gz"
    path.write_bytes(path.read_bytes()[:60])


def not_an_image(root):
    (root / "s0001/ct.nii.gz").write_text("<html>")


def missing_image(root):
    (root / "s0001/ct.nii.gz").unlink()


def flat_image(root):
    nibabel.Nifti1Image(np.zeros(SHAPE[:2], np.int16), AFFINE).to_filename(root / "s0001/ct.nii.gz")


def nan_voxels(root):
    image = np.random.default_rng(9).random(SHAPE).astype(np.float32)
    image[0, 0, :2] = np.nan, np.inf
    nibabel.Nifti1Image(image, AFFINE).to_filename(root / "s0001/ct.nii.gz")


def mask_of_another_shape(root):
    write_mask(root / "s0001/segmentations/liver.nii.gz", np.ones((3, 4, 5)))


def affine_that_differs(root):
    shifted = AFFINE.copy()
    shifted[0, 3] += 1.5
    write_mask(root / "s0001/segmentations/liver.nii.gz", np.ones(SHAPE), shifted)


def unknown_class_file(root):
    write_mask(root / "s0001/segmentations/tail.nii.gz", np.ones(SHAPE))


def mask_not_binary(root):
    write_mask(root / "s0001/segmentations/liver.nii.gz", np.full(SHAPE, 7))


def missing_mask(root):
    (root / "s0001/segmentations/colon.nii.gz").unlink()


def no_labelled_voxel(root):
    for name in ("liver", "spleen"):
        write_mask(root / f"s0001/segmentations/{name}.nii.gz", np.zeros(SHAPE))


def no_label_file(root):
    shutil.rmtree(root / "s0001/segmentations")


def duplicate_image(root):
    image = nibabel.load(root / "s0000/ct.nii.gz")
    copy = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)
    copy.to_filename(root / "s0001/ct.nii.gz")  # other file, same voxels


def duplicate_case_id(root):
    lines = (root / "meta.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "meta.csv").write_text("".join([*lines, lines[2]]), encoding="utf-8")


def missing_in_meta(root):
    write_meta(root, {case: split for case, split in SPLITS.items() if case != "s0001"})


def unknown_split(root):
    write_meta(root, SPLITS | {"s0001": "holdout"})


FAULTS = {
    truncated_image: ("unreadable", "s0001/ct.nii.gz"),
    truncated_mask: ("unreadable", "liver.nii.gz"),
    not_an_image: ("unreadable", "s0001/ct.nii.gz"),
    missing_image: ("unreadable", "s0001/ct.nii.gz"),
    flat_image: ("not 3-D", "s0001/ct.nii.gz"),
    nan_voxels: ("not finite", "s0001/ct.nii.gz"),
    mask_of_another_shape: ("shape differs", "liver.nii.gz"),
    affine_that_differs: ("affine differs", "liver.nii.gz"),
    unknown_class_file: ("unknown structure", "tail.nii.gz"),
    mask_not_binary: ("unknown label value", "liver.nii.gz"),
    missing_mask: ("missing mask", "segmentations"),
    no_labelled_voxel: ("no label", "segmentations"),
    no_label_file: ("no label file", "s0001"),
    duplicate_image: ("duplicate image", "s0001/ct.nii.gz"),
    duplicate_case_id: ("duplicate case id", "meta.csv"),
    missing_in_meta: ("case missing in meta.csv", "meta.csv"),
    unknown_split: ("unknown split", "meta.csv"),
}


def test_whole_data_has_no_fault(raw_root):
    assert verify(TOTALSEG, raw_root, processes=1) == []


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_each_fault_is_found(raw_root, spoil):
    spoil(raw_root)
    problem, file = FAULTS[spoil]
    faults = verify(TOTALSEG, raw_root, processes=1)
    assert [fault for fault in faults if fault.problem == problem and fault.file.endswith(file)], faults
    assert {fault.case for fault in faults} == {"s0001"}
    if spoil not in (flat_image,):  # a flat image differs from every mask, too
        assert len(faults) == 1 and faults[0].expected and faults[0].found


def test_all_faults_of_all_cases_are_in_one_report(raw_root, tmp_path, capsys):
    for spoil in (truncated_image, unknown_class_file, mask_not_binary):
        spoil(raw_root)
    write_case(raw_root, "s0003", seed=3)
    nan = np.full(SHAPE, np.nan, np.float32)
    nibabel.Nifti1Image(nan, AFFINE).to_filename(raw_root / "s0002/ct.nii.gz")
    out, source = tmp_path / "verified.json", tmp_path / "source.json"
    write_source(source, dataset=TOTALSEG, root=raw_root, kind="local")
    arguments = argparse.Namespace(dataset="totalseg", source=source, out=out, processes=2)
    with pytest.raises(InputError, match="5 faults in 3 cases"):
        module.main(arguments)
    assert not out.exists()
    with out.with_name("verify.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["problem"]) for row in rows] == [
        ("s0001", "unreadable"),
        ("s0001", "unknown label value"),
        ("s0001", "unknown structure"),
        ("s0002", "not finite"),
        ("s0003", "case missing in meta.csv"),
    ]
    assert "s0003" in capsys.readouterr().err
    shutil.rmtree(raw_root / "s0003")
    for case in ("s0001", "s0002"):
        shutil.rmtree(raw_root / case)
        write_case(raw_root, case, seed=int(case[-1]))
    module.main(arguments)
    assert out.with_name("verify.csv").read_text() == "case,file,problem,expected,found\n"
    assert out.exists()


def test_zero_cases_are_a_fault(tmp_path):
    write_meta(tmp_path, {})
    (fault,) = verify(TOTALSEG, tmp_path, processes=1)
    assert fault.problem == "0 cases"


@pytest.mark.parametrize("content", [None, "a;b\n1;2\n"])
def test_a_folder_in_another_layout_is_refused(tmp_path, content):
    if content:
        (tmp_path / "meta.csv").write_text(content)
    with pytest.raises(InputError, match=r"meta\.csv"):
        verify(TOTALSEG, tmp_path)


def test_a_damaged_file_hides_no_fault_of_others(tmp_path):
    """One label with a damaged strip, one in another shape, one that is missing: three faults."""
    dataset, random = get_dataset("neurips_cellseg"), np.random.default_rng(0)
    for part in ("Training-labeled", "Tuning"):
        for folder in ("images", "labels"):
            (tmp_path / part / folder).mkdir(parents=True)
        for number in range(3):
            picture = random.integers(0, 255, (40, 44)).astype(np.uint8)
            tifffile.imwrite(tmp_path / part / f"images/c{number}.tif", picture, compression="zlib")
            tifffile.imwrite(tmp_path / part / f"labels/c{number}_label.tiff", picture, compression="lzw")
    damaged = tmp_path / "Tuning/labels/c0_label.tiff"
    content = bytearray(damaged.read_bytes())
    with tifffile.TiffFile(damaged) as file:
        start, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    content[start : start + count] = bytes(count)
    damaged.write_bytes(bytes(content))
    tifffile.imwrite(tmp_path / "Tuning/labels/c1_label.tiff", np.ones((40, 43), np.uint8))
    (tmp_path / "Tuning/images/c2.tif").write_bytes(b"II*")
    assert [(fault.case, fault.problem) for fault in verify(dataset, tmp_path, processes=1)] == [
        ("c0", "unreadable"),
        ("c1", "shape differs"),
        ("c2", "unreadable"),
    ]


def test_a_full_disk_is_said_with_the_faults(raw_root, tmp_path, capsys, monkeypatch):
    truncated_image(raw_root)
    source = tmp_path / "source.json"
    write_source(source, dataset=TOTALSEG, root=raw_root, kind="local")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("benchmark.files.os.fsync", full)
    arguments = argparse.Namespace(dataset="totalseg", source=source, out=tmp_path / "verified.json", processes=1)
    with pytest.raises(InputError, match="disk is full"):
        module.main(arguments)
    assert "s0001/ct.nii.gz: unreadable" in capsys.readouterr().err
    assert not list(tmp_path.glob(".tmp-*"))
