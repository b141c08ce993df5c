"""Splits from files and patients from names: a csv, nnU-Net's folds, patterns, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.datasets.filed_splits import patients_by, read_splits
from benchmark.errors import InputError


def filed(tmp_path: Path, text: str, name: str = "splits.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_splits(path)


@pytest.mark.parametrize(
    "text", ["case,split\na,train\nb,test\n", "Split;CASE\r\ntraining;a.nii.gz\r\n\r\nTest; b\r\n"]
)
def test_a_split_of_cases(text: str, tmp_path: Path) -> None:
    found = filed(tmp_path, text)
    assert (found.by, found.folds, found.crossed, found.patients) == ("case", ({"a": "train", "b": "test"},), False, {})


def test_folds_of_patients_may_name_each_often(tmp_path: Path) -> None:
    found = filed(tmp_path, "\ufeffpatient\tfold\np1\t0\np1\t0\np2\t1\np3\t2\n", "folds.tsv")
    assert found.by == "patient" and found.crossed
    assert [[name for name, part in fold.items() if part == "test"] for fold in found.folds] == [["p1"], ["p2"], ["p3"]]
    assert all(set(fold.values()) == {"train", "test"} for fold in found.folds)


def test_cases_with_their_patients_and_columns_that_nobody_asks_for(tmp_path: Path) -> None:
    found = filed(tmp_path, "case,patient,age,split\na1,a,,validation\na2,a,61,val\nb1,b,70,train\n")
    assert found.by == "case" and found.patients == {"a1": "a", "a2": "a", "b1": "b"}
    assert found.folds == ({"a1": "val", "a2": "val", "b1": "train"},)


def test_nnunets_folds(tmp_path: Path) -> None:
    folds = [{"train": ["b", "c"], "val": ["a"]}, {"train": ["a"], "val": ["b", "c"]}]
    found = filed(tmp_path, json.dumps(folds), "splits_final.json")
    assert found.crossed and found.folds[1] == {"a": "train", "b": "test", "c": "test"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.csv", "case,split\na,train\na,test\n", "a case is in two splits[\\s\\S]*a \\(test, train\\)"),
        ("s.csv", "patient,split\np,train\np,val\n", "a patient is in two splits"),
        ("s.csv", "patient,fold\np,0\np,1\n", "a patient is in two folds"),
        ("s.csv", "case,patient,split\na,p,train\na,q,train\n", "a case is in two patients"),
        ("s.csv", "case,split\na,train\nb,tset\n", "unknown split[\\s\\S]*tset"),
        ("s.csv", "case,fold\na,1\nb,2\n", "numbered 0, 1"),
        ("s.csv", "case,fold\na,0\nb,0\n", "two at least"),
        ("s.csv", "case,split,fold\na,train,0\n", "no table of splits"),
        ("s.csv", "name,split\na,train\n", "no table of splits[\\s\\S]*name, split"),
        ("s.csv", "case,split\na,train\nb\n", "not whole[\\s\\S]*entry 2"),
        ("s.csv", "case,split\n", "has no line"),
        ("s.csv", "", "has no line"),
        ("s.json", '[{"train": ["a"], "val": ["a"]}]', "a case is in two splits"),
        ("s.json", '{"train": ["a"], "val": ["b"]}', "folds cannot be read"),
        ("s.json", "[{", "folds cannot be read"),
    ],
)
def test_what_is_no_split_says_why(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        filed(tmp_path, text, name)
    assert error.value.where == tmp_path / name


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file of splits"):
        read_splits(tmp_path / "nowhere.csv")
    (tmp_path / "s.csv").write_bytes(b"case,split\n\xff\xfe\xfa,train\n")
    with pytest.raises(InputError, match="cannot be read"):
        read_splits(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{patient}_*", ["p1", "p1", "p12"]),
        ("{patient}_f*_*", ["p1", "p1", "p12"]),
        (r"(p\d+)_.*", ["p1", "p1", "p12"]),
        (r"(?:p)(?P<patient>\d+)_(.*)", ["1", "1", "12"]),
    ],
)
def test_a_pattern_tells_patients(pattern: str, expected: list[str]) -> None:
    cases = ["p1_f1_a", "p1_f2_b", "p12_f1_a"]
    assert patients_by(pattern, cases) == dict(zip(cases, expected, strict=True))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{patient}-*", "matches no case[\\s\\S]*p1_f1"),
        (r"(p\d)_.*", "does not match 1 of 2 cases[\\s\\S]*p12_f1"),
        (r"(x?)p\d+_.*", "matches no case"),
        (r"p\d+_.*", "names none"),
        ("(p", "cannot be read"),
        ("{patient}_{patient}", "cannot be read"),
    ],
)
def test_a_pattern_that_tells_nothing_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        patients_by(pattern, ["p1_f1", "p12_f1"])
