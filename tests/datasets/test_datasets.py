"""What holds for every data set, and TotalSegmentator's facts."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from benchmark.data.fetch import use_download
from benchmark.datasets import available_datasets, get_dataset
from benchmark.datasets.base import Dataset
from benchmark.errors import InputError
from benchmark.exchange.check import dataset_problem


@pytest.mark.parametrize("name", available_datasets())
def test_facts_hold_together(name):
    dataset = get_dataset(name)
    assert dataset_problem(name) == ("", "")
    assert dataset.homepage.startswith("http")
    for group in dataset.groups:
        assert group in dataset.group_sources, f"{group}: where does the grouping come from?"
    for archive in dataset.archives:
        assert archive.url.startswith("https://")
        assert archive.hash is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", archive.hash)
        assert archive.bytes is None or archive.bytes > 0
        assert archive.hash or archive.unpacked_bytes, "nothing but the declared size stops a bomb"
    for part, cases in (("test", dataset.test_cases), ("val", dataset.val_cases)):
        assert not cases or len(cases) == len(set(cases)) == dataset.split_counts[part]
    assert not set(dataset.test_cases) & set(dataset.val_cases)


def test_listing_imports_no_data_set_and_reading_no_torch():
    code = (
        "import sys; from benchmark.datasets import available_datasets, get_dataset;"
        "assert 'totalseg' in available_datasets();"
        "found = {m for m in sys.modules if m.startswith('benchmark.datasets.')};"
        "assert found <= {'benchmark.datasets.base', 'benchmark.datasets.facts'};"
        "get_dataset('totalseg'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_data_set_is_named():
    with pytest.raises(InputError, match="'totalsag'") as error:
        get_dataset("totalsag")
    assert "totalseg" in str(error.value)


def test_totalsegmentator_is_the_reference(reference):
    facts = json.loads(reference("datasets/TotalSegmentator_v2.json").read_text())
    dataset = get_dataset("totalseg")
    assert list(dataset.label_names) == list(facts["labels"].values())
    assert dataset.split_counts == {"train": 1082, "val": 57, "test": 89}
    (archive,) = dataset.archives
    published = facts["downloads"][0]
    assert (archive.url, archive.bytes, archive.hash) == (
        published["url"],
        published["bytes"],
        "md5:" + published["md5"],
    )
    parts = facts["groups_class_map_5_parts"]
    assert {name: list(names) for name, names in dataset.groups.items()} == {
        "vessels" if name == "cardiac" else name: names for name, names in parts.items()
    }
    assert sorted(name for names in dataset.groups.values() for name in names) == sorted(dataset.label_names)


THORAX = {f"vertebrae_T{level}": 900 for level in range(1, 13)}
ABDOMEN = {"vertebrae_T12": 5, "sacrum": 5} | {f"vertebrae_L{level}": 5 for level in range(1, 6)}


@pytest.mark.parametrize(
    ("volumes", "extent", "body"),
    [
        (THORAX, (360, 360, 350), "entire"),
        (ABDOMEN, (360, 360, 350), "entire"),
        (THORAX | ABDOMEN, (360, 360, 800), "entire"),
        (THORAX | {"vertebrae_T5": 0}, (360, 360, 350), "partial"),
        ({k: v for k, v in ABDOMEN.items() if k != "sacrum"}, (360, 360, 350), "partial"),
        (THORAX, (90, 120, 350), "partial"),
        (THORAX, (360, 360, 190), "partial"),
        ({"brain": 9000}, (360, 360, 350), "partial"),
        ({}, (360, 360, 350), "partial"),
    ],
)
def test_partial_and_entire_bodies(volumes, extent, body):
    assert get_dataset("totalseg").describe(volumes, extent) == {"body": body}


def test_restriction_refuses_unknown_structures():
    dataset = get_dataset("totalseg")
    with pytest.raises(InputError, match="no such structure"):
        dataset.restrict(None, ["liver", "tail"])


@pytest.mark.parametrize(
    ("line", "problem"), [("colour: red", "unknown key"), ("groups: {all: [tail]}", "not in label_names")]
)
def test_a_typo_in_the_facts_is_named(tmp_path, line, problem):
    facts = {
        "title": "t",
        "licence": "l",
        "homepage": "h",
        "modality": "CT",
        "spatial_dims": "3",
        "channels": "[CT]",
        "label_names": "[liver]",
        "groups": "{}",
    }
    key, value = line.split(": ", 1)
    (tmp_path / "mine.yaml").write_text("\n".join(f"{k}: {v}" for k, v in (facts | {key: value}).items()))
    with pytest.raises(InputError, match=problem):
        Dataset.from_yaml(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("name", [name for name in available_datasets() if not get_dataset(name).archives])
def test_what_cannot_be_downloaded_says_where_it_is(name, tmp_path):
    dataset = get_dataset(name)
    with pytest.raises(InputError) as error:
        use_download(dataset, tmp_path / "source.json")
    for words in (dataset.obtain, dataset.layout, dataset.licence, f"roots={{{name}: FOLDER}}"):
        assert words in str(error.value)
