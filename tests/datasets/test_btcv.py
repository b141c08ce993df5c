"""BTCV: MONAI's copy, and the scans that it shares with Synapse."""

from __future__ import annotations

import shutil

import pytest

from benchmark.data.split import make_split
from benchmark.data.verify import verify
from benchmark.datasets import available_datasets, get_dataset
from benchmark.errors import InputError
from tests.datasets.layouts import write_layout

BTCV, SYNAPSE = get_dataset("btcv"), get_dataset("synapse")


def test_monai_s_folders_are_the_same_cases(tmp_path):
    release = BTCV.find_cases(write_layout(tmp_path / "release", "btcv"))
    for ours, theirs in (("img", "imagesTr"), ("label", "labelsTr")):
        shutil.copytree(tmp_path / "release/RawData/Training" / ours, tmp_path / "monai" / theirs)
    copy = BTCV.find_cases(tmp_path / "monai")
    assert [(case.id, case.patient, case.split) for case in copy] == [(c.id, c.patient, c.split) for c in release]
    assert verify(BTCV, tmp_path / "monai", processes=1) == []


def test_one_scan_is_one_patient_in_both_data_sets(tmp_path):
    write_layout(tmp_path, "btcv", [1, 35])
    assert [case.patient for case in BTCV.find_cases(tmp_path)] == ["btcv_0001", "btcv_0035"]
    assert [case.patient for case in SYNAPSE.find_cases(tmp_path)] == ["btcv_0001", "btcv_0035"]


@pytest.mark.parametrize("name", [name for name in available_datasets() if get_dataset(name).shared_scans])
def test_shared_scans_are_said_on_both_sides(name):
    for other in get_dataset(name).shared_scans:
        assert name in get_dataset(other).shared_scans


def test_the_numbers_of_the_leak_are_those_of_the_lists():
    def patients(dataset, cases):
        return {dataset.patient_of(case) for case in cases}

    train = {"btcv": patients(BTCV, BTCV.train_cases), "synapse": patients(SYNAPSE, SYNAPSE.train_cases)}
    test = {"btcv": patients(BTCV, BTCV.test_cases), "synapse": patients(SYNAPSE, SYNAPSE.test_cases)}
    assert (
        train["btcv"] | test["btcv"] == train["synapse"] | test["synapse"] and len(train["btcv"] | test["btcv"]) == 30
    )
    trained_by_btcv, trained_by_synapse = len(test["synapse"] & train["btcv"]), len(test["btcv"] & train["synapse"])
    assert (trained_by_btcv, trained_by_synapse) == (9, 3)
    assert "9 of the 12 test" in BTCV.shared_scans["synapse"] and "3 of the 6 test" in BTCV.shared_scans["synapse"]
    assert "9 of the 12 test" in SYNAPSE.shared_scans["btcv"] and "3 of the 6 test" in SYNAPSE.shared_scans["btcv"]


def test_the_leak_check_knows_them_in_one_split(tmp_path):
    """Both data sets in one training: the patients' names are what the leak check compares."""
    write_layout(tmp_path, "btcv", [1, 5])
    both = [*BTCV.find_cases(tmp_path), *SYNAPSE.find_cases(tmp_path)]
    assert [(case.id, case.split) for case in both] == [
        ("img0001", "train"),
        ("img0005", "train"),
        ("case0001", "test"),
        ("case0005", "train"),
    ]
    with pytest.raises(InputError, match="a patient is in two splits") as error:
        make_split(BTCV, both, kind="local")
    assert "btcv_0001" in str(error.value) and "btcv_0005" not in str(error.value)
