from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.data import split as module
from benchmark.data.source import source_kind, write_source
from benchmark.data.split import check_split, load_split, make_split, read_split, split_digest
from benchmark.datasets import Case, get_dataset
from benchmark.errors import InputError
from benchmark.files import write_json

TOTALSEG = get_dataset("totalseg")


def case(name: str, split: str | None, patient: str | None = None) -> Case:
    return Case(name, patient or name, (Path(name),), (), split)


def complete_set() -> list[Case]:
    """1228 cases with the official counts and test cases."""
    others = [name for name in (f"s{k:04d}" for k in range(1500)) if name not in TOTALSEG.test_cases][: 1082 + 57]
    cases = [case(name, "test") for name in TOTALSEG.test_cases]
    return cases + [case(name, "train" if k < 1082 else "val") for k, name in enumerate(others)]


FEW = [case("a", "train"), case("b", "train"), case("c", "val"), case("d", "test")]


def test_the_complete_set_is_the_official_split():
    split = make_split(TOTALSEG, complete_set(), kind="download")
    assert split["source"] == "official"
    assert [len(split[part]) for part in ("train", "val", "test")] == [1082, 57, 89]


def test_test_cases_are_the_references(reference):
    facts = json.loads(reference("datasets/TotalSegmentator_v2.json").read_text())
    assert set(TOTALSEG.test_cases) == set(facts["split"]["test_ids"]) and len(TOTALSEG.test_cases) == 89


def test_other_counts_are_refused():
    cases = complete_set()
    cases[-1] = case(cases[-1].id, "train")
    with pytest.raises(InputError, match="not the official split"):
        make_split(TOTALSEG, cases, kind="download")


def test_other_test_cases_are_refused():
    cases = complete_set()
    cases[0], cases[-1] = case(cases[0].id, "val"), case(cases[-1].id, "test")
    with pytest.raises(InputError, match="test cases are not the official ones"):
        make_split(TOTALSEG, cases, kind="local")


def test_an_incomplete_download_is_refused_and_a_local_part_is_not():
    with pytest.raises(InputError, match="download is incomplete"):
        make_split(TOTALSEG, FEW, kind="download")
    assert make_split(TOTALSEG, FEW, kind="local")["source"] == "local"
    assert make_split(TOTALSEG, FEW, kind="phantom")["source"] == "phantom"


def test_the_digest_tells_splits_apart_and_not_the_order():
    one = make_split(TOTALSEG, FEW, kind="local")
    assert one["digest"] == make_split(TOTALSEG, FEW[::-1], kind="local")["digest"]
    moved = [*FEW[:3], case("d", "test"), case("e", "test")]
    assert one["digest"] != make_split(TOTALSEG, moved, kind="local")["digest"]


@pytest.mark.parametrize(
    ("cases", "problem"),
    [
        ([case("a", "train", "p"), case("b", "test", "p")], "patient is in two splits"),
        ([case("a", "train"), case("b", "val")], "test split is empty"),
        ([case("a", "test"), case("b", "val")], "train split is empty"),
        ([case("a", "train"), case("b", None), case("c", "test")], "no split"),
        ([], "train split is empty"),
    ],
)
def test_a_bad_split_is_not_made(cases, problem):
    with pytest.raises(InputError, match=problem):
        make_split(TOTALSEG, cases, kind="local")


def spoiled(**changes) -> dict:
    split = make_split(TOTALSEG, FEW, kind="local") | changes
    return split | {"digest": changes.get("digest", split_digest(split))}


@pytest.mark.parametrize(
    ("split", "known", "problem"),
    [
        (spoiled(test=["d", "a"]), None, "in the split twice"),
        (spoiled(patients={"a": "p", "b": "q", "c": "r", "d": "p"}), None, "patient is in two splits"),
        (spoiled(patients={"a": "p"}), None, "no patient"),
        (spoiled(test=[]), None, "test split is empty"),
        (spoiled(digest="0"), None, "digest is wrong"),
        (spoiled(), ["a", "b", "c"], "unknown cases"),
    ],
)
def test_the_leak_check_names_the_leak(split, known, problem):
    with pytest.raises(InputError, match=problem):
        check_split(split, known)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"dataset": "totalseg"}'])
def test_a_missing_or_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    for read in (read_split, load_split):
        with pytest.raises(InputError, match=r"split\.json"):
            read(path)


def test_what_was_checked_before_needs_no_patients(tmp_path):
    path = tmp_path / "split.json"
    write_json(path, {"train": ["a"], "val": [], "test": ["b"]})
    assert load_split(path)["test"] == ["b"]
    with pytest.raises(InputError, match="lacks keys"):
        read_split(path)


def test_the_command_writes_and_checks(raw_root, tmp_path, capsys):
    source, out = tmp_path / "source.json", tmp_path / "split.json"
    write_source(source, dataset=TOTALSEG, root=raw_root, kind="local")
    namespace = {"dataset": "totalseg", "source": source, "out": None, "check": None, "record": None}
    module.main(argparse.Namespace(**namespace | {"out": out}))
    assert "2 train, 0 val, 1 test (local)" in capsys.readouterr().err
    module.main(argparse.Namespace(**namespace | {"check": out}))
    module.main(argparse.Namespace(**namespace | {"check": out, "source": None}))
    leak = read_split(out)
    leak["patients"]["s0002"] = "s0000"
    write_json(out, leak | {"digest": split_digest(leak)})
    with pytest.raises(InputError, match="two splits"):
        module.main(argparse.Namespace(**namespace | {"check": out}))


def test_the_raw_folder_must_be_there(raw_root, tmp_path):
    source = tmp_path / "source.json"
    arguments = argparse.Namespace(dataset="totalseg", source=source, out=tmp_path / "split.json", check=None)
    with pytest.raises(InputError, match=r"no source\.json"):
        module.main(arguments)
    write_source(source, dataset=TOTALSEG, root=raw_root, kind="local")
    raw_root.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="no longer there"):
        module.main(arguments)
    assert source_kind(source, "totalseg") == "local"  # which predictions of a prepared store still say
    write_source(source, dataset=replace(TOTALSEG, name="acdc"), root=tmp_path / "moved", kind="local")
    for read in (module.main, lambda _: source_kind(source, "totalseg")):
        with pytest.raises(InputError, match="another data set"):
            read(arguments)
