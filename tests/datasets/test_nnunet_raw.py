"""nnU-Net's raw layout, in which U-Mamba publishes AbdomenMRI and Endoscopy."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.errors import InputError
from benchmark.settings import Preparation

ABDOMEN, ENDOVIS = get_dataset("abdomen_mri"), get_dataset("endovis17")
AFFINE = np.diag([-1.5, 1.5, 6.0, 1.0])


@pytest.fixture
def volumes(tmp_path):
    generator = np.random.default_rng(0)
    for case, part in (("amos_0507", "Tr"), ("amos_0508", "Tr"), ("mr_01", "Ts")):
        for folder in ("images", "labels"):
            (tmp_path / f"{folder}{part}").mkdir(exist_ok=True)
        image = generator.integers(0, 900, (9, 8, 5)).astype(np.int16)
        labels = generator.integers(0, 14, (9, 8, 5)).astype(np.uint8)
        nibabel.Nifti1Image(image, AFFINE).to_filename(tmp_path / f"images{part}/{case}_0000.nii.gz")
        nibabel.Nifti1Image(labels, AFFINE).to_filename(tmp_path / f"labels{part}/{case}.nii.gz")
    return tmp_path


@pytest.fixture
def frames(tmp_path):
    generator = np.random.default_rng(0)
    for case, part in (("seq_1_frame000", "Tr"), ("seq_1_frame225", "Ts")):
        for folder in ("images", "labels"):
            (tmp_path / f"{folder}{part}").mkdir(exist_ok=True)
        picture = generator.integers(0, 255, (12, 20, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"images{part}/{case}_0000.png")
        Image.fromarray(np.zeros((12, 20), np.uint8)).save(tmp_path / f"labels{part}/{case}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("dataset", "file", "classes"), [(ABDOMEN, "AbdomenMRI_UMamba", 14), (ENDOVIS, "EndoVis2017", 8)]
)
def test_label_order_is_the_reference(reference, dataset, file, classes):
    facts = json.loads(reference(f"datasets/{file}.json").read_text())
    names = [facts["labels"][str(number)].lower().replace(" ", "_") for number in range(1, classes)]
    assert [name.split("_('other'")[0] for name in names] == list(dataset.label_names)


def test_table_1_of_swin_umamba_is_these_facts():
    assert ABDOMEN.counts == {"train_images": 5615, "test_images": 3357}
    assert ABDOMEN.split_counts == {"train": 60, "val": 0, "test": 50}
    assert ENDOVIS.split_counts == {"train": 1800, "val": 0, "test": 1200}


def test_cases_of_both_parts(volumes):
    cases = ABDOMEN.find_cases(volumes)
    assert [(case.id, case.split) for case in cases] == [
        ("amos_0507", "train"),
        ("amos_0508", "train"),
        ("mr_01", "test"),
    ]
    assert verify(ABDOMEN, volumes, processes=1) == []
    image, affine = ABDOMEN.load_image(cases[0])
    assert image.shape == (1, 9, 8, 5) and np.array_equal(affine, AFFINE)


def test_a_film_given_as_a_volume_is_refused(volumes):
    film = volumes / "imagesTr/amos_0507_0000.nii.gz"
    nibabel.Nifti1Image(np.zeros((9, 8, 5, 3), np.int16), AFFINE).to_filename(film)
    with pytest.raises(InputError, match="not one 3-D image") as error:
        ABDOMEN.load_image(ABDOMEN.find_cases(volumes)[0])
    assert film.name in str(error.value) and "3 of shape (9, 8, 5)" in str(error.value)


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="no imagesTr"):
        ABDOMEN.find_cases(tmp_path)


def test_faults(volumes):
    (volumes / "labelsTr/amos_0508.nii.gz").rename(volumes / "labelsTr/amos_0509.nii.gz")
    labels = np.full((9, 8, 5), 14, np.uint8)
    nibabel.Nifti1Image(labels, AFFINE).to_filename(volumes / "labelsTs/mr_01.nii.gz")
    found = {(fault.case, fault.problem) for fault in verify(ABDOMEN, volumes, processes=1)}
    assert found == {
        ("amos_0508", "no label file"),
        ("amos_0509", "label without an image"),
        ("mr_01", "unknown label value"),
    }
    with pytest.raises(InputError, match="unknown label value"):
        ABDOMEN.read_labels(ABDOMEN.find_cases(volumes)[-1])


@pytest.mark.parametrize("version", [1, 2])
def test_a_copy_in_the_order_of_amos_is_noticed(volumes, version):
    labels = {"background": 0, "spleen": 1, "Right kidney": 2, "left kidney": 3, "tail": 4}
    content = {str(v): k for k, v in labels.items()} if version == 1 else labels
    (volumes / "dataset.json").write_text(json.dumps({"labels": content}))
    found = {(fault.problem, fault.expected, fault.found) for fault in verify(ABDOMEN, volumes, processes=1)}
    assert found == {
        ("another label order", "left kidney is 13", "left kidney is 3"),
        ("another label order", "spleen is 3", "spleen is 1"),
    }


def test_a_case_in_both_parts_is_refused(frames):
    (frames / "imagesTs/seq_1_frame225_0000.png").rename(frames / "imagesTs/seq_1_frame000_0000.png")
    with pytest.raises(InputError, match="training and test"):
        ENDOVIS.find_cases(frames)


def test_frames_without_an_instrument_are_no_fault_and_grey_ones_are(frames):
    assert verify(ENDOVIS, frames, processes=1) == []
    Image.fromarray(np.ones((12, 20), np.uint8)).save(frames / "imagesTr/seq_1_frame000_0000.png")
    assert [fault.problem for fault in verify(ENDOVIS, frames, processes=1)] == ["not 2-D"]


@pytest.mark.real_data
def test_real_frames_through_prepare(real_data, tmp_path):
    root = real_data("Endoscopy_cholec_video01")
    assert verify(ENDOVIS, root, processes=1) == []
    cases = ENDOVIS.find_cases(root)
    split = make_split(ENDOVIS, cases, kind="local")
    assert (len(split["train"]), len(split["test"])) == (14, 6)
    split |= {"train": split["train"][:1], "test": split["test"][:1]}
    prepare(ENDOVIS, root, split, Preparation(normalise="zscore"), out=tmp_path / "prepared.json", processes=1)
    case = PreparedStore(tmp_path).open(split["test"][0])
    assert case.image.shape == (3, 360, 640) and case.meta["raw"]["shape"] == [360, 640]
    reference = nibabel.load(tmp_path / f"references/{case.case}.nii.gz")
    assert np.array_equal(np.asarray(reference.dataobj), np.asarray(case.labels[:]))
