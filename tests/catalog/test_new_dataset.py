"""`new dataset` with folds, files of splits and patterns of patients; what does not fit is said at once."""

from __future__ import annotations

import shutil

import pytest
from helpers.own_folders import new, write_raw

from benchmark.catalog import load_catalog
from benchmark.data.split import check_split, make_split
from benchmark.datasets import get_dataset
from benchmark.errors import EXIT_INPUT
from benchmark.own import VARIABLE, use_folders


@pytest.fixture(autouse=True)
def nothing_is_used_before(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--folds", "1"), "one fold is no cross-validation"),
        (("--splits", "nowhere.json"), "no such file of splits"),
        (("--splits", "dataset.json"), "the folds cannot be read"),
        (("--folds", "3"), "nobody to learn from in blobs.fold0"),
        (("--splits", "one.csv", "--folds", "2"), "other folds than asked for"),
        (("--splits", "one.csv"), "nobody to test"),
        (("--splits", "parted.csv"), "a patient is in two splits"),
        (("--splits", "unknown.csv"), "only in the file: p8_scan0; not in the file: p0_scan1"),
        (("--patient", "{patient}-*"), "the pattern of patients matches no case"),
        (("--patient", "{patient}_*"), "nobody to learn from"),
    ],
)
def test_splits_that_cannot_be_are_said_before_anything_is_written(words, message, tmp_path, capsys):
    root = write_raw(tmp_path / "Blobs", cases=2)
    for name, other, part in (
        ("one", "p0_scan1", "train"),
        ("parted", "p0_scan1", "test"),
        ("unknown", "p8_scan0", ""),
    ):
        (root / f"{name}.csv").write_text(f"case,split\np0_scan0,train\n{other},{part or 'test'}\n")
    assert new("dataset", root, "--in", tmp_path / "mine", *words) == EXIT_INPUT
    assert message in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("by", ["case", "patient"])
def test_a_csv_says_who_is_tested(by, tmp_path, monkeypatch):
    """Given from where one stands, and about cases of imagesTs too, which test where it says nothing."""
    root, folder = write_raw(tmp_path / "Blobs", cases=6), tmp_path / "mine"
    for name in ("p9_scan0", "x"):
        for part in ("images", "labels"):
            target = root / f"{part}Ts/{name}{'_0000' if part == 'images' else ''}.nii.gz"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(root / "labelsTr/p0_scan0.nii.gz", target)
    said = {"p0": "train", "p1": "val", "p2": "test", "p9": "test"}
    names = {patient: [f"{patient}_scan{n}" for n in range(1 if patient == "p9" else 2)] for patient in said}
    lines = [f"{name},{said[p]}" for p in said for name in (names[p] if by == "case" else [p])]
    (tmp_path / "who.csv").write_text("\n".join([f"{by},split", *lines]))
    monkeypatch.chdir(tmp_path)
    assert new("dataset", root, "--in", folder, "--splits", "who.csv") == 0
    use_folders([folder])
    dataset = get_dataset("blobs")
    cases = dataset.find_cases(root)
    assert {case.id: case.split for case in cases} == {"x": "test"} | {n: said[p] for p in said for n in names[p]}
    check_split(make_split(dataset, cases, kind="local"))
    assert not load_catalog().papers["mine"].protocols["blobs"].cross_validate


def test_a_csv_of_folds_is_cross_validated_and_its_patients_never_part(tmp_path):
    root, folder = write_raw(tmp_path / "Blobs", cases=6), tmp_path / "mine"
    ids = sorted(path.name.removesuffix(".nii.gz") for path in (root / "labelsTr").iterdir())
    patients = dict(zip(ids, ["a", "a", "a", "b", "b", "c"], strict=True))  # scans of p1 are of two people
    lines = [f"{case},{patient},{'abc'.index(patient)}" for case, patient in patients.items()]
    (root / "folds.csv").write_text("\n".join(["case,patient,fold", *lines]))
    assert new("dataset", root, "--in", folder, "--splits", "folds.csv") == 0
    use_folders([folder])
    for fold, name in enumerate("abc"):
        dataset = get_dataset(f"blobs.fold{fold}")
        split = make_split(dataset, dataset.find_cases(root), kind="local")
        check_split(split)
        assert split["patients"] == patients and split["test"] == [case for case in ids if patients[case] == name]
    assert load_catalog().papers["mine"].protocols["blobs"].cross_validate


def test_a_pattern_keeps_the_cases_of_a_patient_together(tmp_path):
    root, folder = write_raw(tmp_path / "Blobs", cases=6), tmp_path / "mine"
    for path in sorted(root.rglob("*.nii.gz")):
        path.rename(path.with_name(path.name.replace("_scan", "-x").replace("p", "s", 1)))
    assert new("dataset", root, "--in", folder, "--patient", "{patient}-*", "--folds", "3") == 0
    use_folders([folder])
    tested = []
    for fold in range(3):
        dataset = get_dataset(f"blobs.fold{fold}")
        split = make_split(dataset, dataset.find_cases(root), kind="local")
        check_split(split)
        assert set(split["patients"].values()) == {"s0", "s1", "s2"}
        tested.append(split["test"])
    assert sorted(tested) == [[f"s{person}-x0", f"s{person}-x1"] for person in range(3)]
    assert get_dataset("blobs").patient_by_name("s0") == "s0"
