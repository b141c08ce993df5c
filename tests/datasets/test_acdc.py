"""ACDC: two frames of a patient, the film left out, Info.cfg, both splits, and the 20 real patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from benchmark.cli import main
from benchmark.data.fetch import find_root
from benchmark.data.prepare import prepare
from benchmark.data.split import make_split
from benchmark.data.store import PreparedStore
from benchmark.data.unpack import unpack
from benchmark.data.verify import verify
from benchmark.datasets import get_dataset
from benchmark.datasets.acdc import read_info
from benchmark.errors import InputError
from benchmark.settings import Preparation
from tests.datasets.layouts import write_layout, write_scan

ACDC = get_dataset("acdc")
RUN = "moe_sam/acdc-task/nnunet/seed0"


@pytest.fixture
def root(tmp_path):
    return write_layout(tmp_path / "database", "acdc", [1, 2, 101])


def faults(root: Path) -> list[tuple[str, str, str, str]]:
    return [(f.case, f.problem, f.expected, f.found) for f in verify(ACDC, root, processes=1)]


def test_frames_are_cases_of_one_patient_and_the_film_is_none(root):
    cases = ACDC.find_cases(root.parent)
    assert [(case.id, case.patient, case.split, case.attributes["phase"]) for case in cases] == [
        ("patient001_frame01", "patient001", "train", "ED"),
        ("patient001_frame12", "patient001", "train", "ES"),
        ("patient002_frame01", "patient002", "train", "ED"),
        ("patient002_frame12", "patient002", "train", "ES"),
        ("patient101_frame01", "patient101", "test", "ED"),
        ("patient101_frame12", "patient101", "test", "ES"),
    ]
    assert {case.attributes["pathology"] for case in cases} == {"DCM"}
    assert (root / "training/patient001/patient001_4d.nii.gz").exists()
    assert not any("4d" in path.name for case in cases for path in (*case.images, *case.labels))


def test_ed_need_not_be_the_smaller_frame(root):
    info = root / "training/patient001/Info.cfg"
    info.write_text("ED: 12\nES: 1\n")
    assert [case.attributes for case in ACDC.find_cases(root)[:2]] == [{"phase": "ES"}, {"phase": "ED"}]
    assert faults(root) == []


@pytest.mark.parametrize(
    ("info", "case", "problem", "expected", "found"),
    [
        ("ED: 1\nES: 12\n", None, None, None, None),
        (
            "ED: 1\nES: 9\n",
            "patient001_frame09",
            "frame of Info.cfg is not there",
            "patient001_frame09.nii.gz",
            "patient001_frame01, patient001_frame12",
        ),
        ("ED: 1\n", "patient001", "frames not named", "ED: and ES: with a frame each", "ED: 1"),
        ("ED: one\nES: 12\n", "patient001", "frames not named", "ED: and ES: with a frame each", "ED: one, ES: 12"),
        ("\0\xff", "patient001", "frames not named", "ED: and ES: with a frame each", "neither"),
        (None, "patient001", "frames not named", "ED: and ES: with a frame each", "neither"),
    ],
)
def test_frames_of_info_that_are_not_there(root, info, case, problem, expected, found):
    path = root / "training/patient001/Info.cfg"
    path.unlink() if info is None else path.write_text(info, encoding="latin-1")
    assert [fault for fault in faults(root) if "not in Info" not in fault[1]] == (
        [] if case is None else [(case, problem, expected, found)]
    )
    assert [case.id for case in ACDC.find_cases(root)[:2]] == ["patient001_frame01", "patient001_frame12"]


def test_a_third_frame_and_a_patient_without_frames_are_faults(root):
    folder = root / "training/patient001"
    for ending in ("", "_gt"):
        source = folder / f"patient001_frame12{ending}.nii.gz"
        (folder / f"patient001_frame13{ending}.nii.gz").write_bytes(source.read_bytes())
    for path in (root / "training/patient002").glob("*frame*"):
        path.unlink()
    assert [(case, problem) for case, problem, _, _ in faults(root)] == [
        ("patient001_frame13", "frame is not in Info.cfg"),
        ("patient001_frame13", "duplicate image"),
        ("patient002_frame01", "frame of Info.cfg is not there"),
        ("patient002_frame12", "frame of Info.cfg is not there"),
    ]


def test_a_patient_of_the_other_part_is_a_fault(root):
    (root / "training/patient002").rename(root / "testing/patient002")
    assert faults(root) == [("patient002", "not a patient of testing", "patient101 to patient150", "patient002")]


def test_without_testing_the_public_split_of_the_100_is_taken(tmp_path):
    root = write_layout(tmp_path, "acdc", [1, 2, 3])
    cases = ACDC.find_cases(root)
    assert {case.patient: case.split for case in cases} == {
        "patient001": "test",
        "patient002": "val",
        "patient003": "train",
    }
    assert make_split(ACDC, cases, kind="local")["source"] == "local"
    with pytest.raises(InputError, match="download is incomplete"):
        make_split(ACDC, cases, kind="download")


def test_the_archive_is_unpacked_without_the_films(tmp_path):
    """In folders as the challenge's archive has them."""
    write_layout(tmp_path / "written/ACDC/database", "acdc", [1, 2, 101])
    zipped = shutil.make_archive(str(tmp_path / "ACDC"), "zip", tmp_path / "written")
    (archive,) = ACDC.archives
    count = unpack(Path(zipped), archive, tmp_path / "raw/ACDC")
    assert count == 3 * (1 + 4)  # Info.cfg, two frames and their labels
    root = find_root(ACDC, tmp_path / "raw")
    assert len(ACDC.find_cases(root)) == 6 and faults(root) == [] and not list(root.rglob("*4d*"))


@pytest.mark.parity
def test_min_max_of_a_volume_and_the_order_of_slices(parity_around, tmp_path):
    """SSL4MIS reads [slices, y, x] through SimpleITK, which is the reverse of nibabel's axes."""
    fixture = parity_around("prep_acdc")
    image, label = (fixture[key].numpy().transpose(2, 1, 0) for key in ("volume", "label"))
    for number in (1, 101):
        write_scan(tmp_path, "acdc", number, image, label.astype(np.uint8))
    split = make_split(ACDC, ACDC.find_cases(tmp_path), kind="local")
    minmax = Preparation(normalise="unit", orientation=None)
    prepare(ACDC, tmp_path, split, minmax, out=tmp_path / "store/prepared.json", processes=1)
    case = PreparedStore(tmp_path / "store").open("patient001_frame01")
    assert np.array_equal(case.image[0].transpose(2, 1, 0), fixture["ssl4mis_per_volume_min_max"].numpy())
    assert np.array_equal(case.labels[:].transpose(2, 1, 0), fixture["label"].numpy())


def call(command: str) -> None:
    assert main(command.split()) == 0, command


@pytest.mark.real_data
def test_the_real_patients_are_whole_and_split_by_patient(real_data, tmp_path):
    """fetch, verify, split and split --check as a user calls them, on all 20."""
    call(f"fetch acdc --root {real_data('ACDC')} --out {tmp_path}/source.json")
    call(f"verify acdc --source {tmp_path}/source.json --out {tmp_path}/verified.json --processes 1")
    call(f"split acdc --source {tmp_path}/source.json --out {tmp_path}/split.json")
    call(f"split acdc --source {tmp_path}/source.json --check {tmp_path}/split.json")
    assert len((tmp_path / "verify.csv").read_text().splitlines()) == 1  # the header: no fault
    split = json.loads((tmp_path / "split.json").read_text())
    assert [len(split[part]) for part in ("train", "val", "test")] == [24, 6, 10]
    assert {split["patients"][case] for case in split["test"]} == {f"patient{n:03d}" for n in (1, 22, 65, 83, 84)}


@pytest.mark.real_data
def test_real_patients_from_folder_to_store(real_data, tmp_path, reference):
    root, store = tmp_path / "database", tmp_path / "store"
    (root / "training").mkdir(parents=True)
    for patient in ("patient001", "patient005", "patient045"):  # test, training and validation
        (root / "training" / patient).symlink_to(real_data(f"ACDC/database/training/{patient}"))
    call(f"fetch acdc --root {root} --out {tmp_path}/source.json")
    call(f"split acdc --source {tmp_path}/source.json --out {tmp_path}/split.json")
    inputs = f"--source {tmp_path}/source.json --split {tmp_path}/split.json"
    call(f"prepare {RUN} {inputs} --out {store}/prepared.json --processes 1")

    facts = json.loads(reference("datasets/ACDC.json").read_text())
    opened = PreparedStore(store)
    assert len(opened.cases) == 6
    for name in ("patient001_frame01", "patient045_frame13"):
        case, folder = opened.open(name), root / "training" / name[:10]
        raw, label = (nibabel.load(folder / f"{name}{ending}.nii.gz") for ending in ("", "_gt"))
        assert case.meta["shape"] == list(raw.shape) and case.image.shape == (1, *raw.shape)
        assert np.array_equal(case.labels[:], np.asarray(label.dataobj))
        assert case.meta["spacing"][::-1] == pytest.approx(facts["spacing_zyx_by_volume"][name], rel=1e-6)
        assert case.meta["attributes"] == {"phase": "ED" if name.endswith("01") else "ES"}
        assert set(case.meta["volumes"]) == {"1", "2", "3"}


@pytest.mark.real_data
def test_info_of_the_real_patients_names_their_frames(real_data, reference):
    facts = json.loads(reference("datasets/ACDC.json").read_text())["ed_es_frames"]
    folders = sorted(real_data("ACDC").glob("database/training/*"))
    assert len(folders) == 20
    for folder in folders:
        assert {key: int(value) for key, value in read_info(folder).items()} == facts[folder.name]


def test_a_film_in_place_of_a_frame_is_named(root):
    case = ACDC.find_cases(root.parent)[0]
    frame = nibabel.load(case.images[0])
    film = np.stack([np.asarray(frame.dataobj)] * 3, axis=-1)
    nibabel.Nifti1Image(film, frame.affine).to_filename(case.images[0])
    with pytest.raises(InputError) as error:
        ACDC.load_image(case)
    assert case.images[0].name in str(error.value) and "a film (4-D) has to be cut into its frames" in str(error.value)
