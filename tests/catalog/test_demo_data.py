"""Datasets without a phantom: left out of the demo unless a folder is given, and the table says why."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.wiring import Wiring
from benchmark.datasets import available_datasets, get_dataset
from benchmark.evidence.cells import Evidence, build_cell
from benchmark.evidence.resolve import NO_PHANTOM, cell_sources

TARGET = SimpleNamespace(target="table3_microscopy")


def wiring(**configuration) -> Wiring:
    return Wiring({"paper_tables": str(load_catalog().folder), **configuration})


def test_the_demo_runs_what_it_has_data_for():
    assert wiring(scale="demo").scores(TARGET) == []
    with_root = wiring(scale="demo", roots={"neurips_cellseg": "/data"}).scores(TARGET)
    assert with_root == [path.replace("results/", "results/demo/") for path in wiring().scores(TARGET)] != []
    assert wiring(scale="demo", roots={"endovis17": "/data"}).scores(TARGET) == []


def test_a_cell_without_data_says_so():
    catalog = load_catalog()
    target = catalog.target("table3_microscopy")
    for scale, reason in (("demo", NO_PHANTOM), ("paper", "not run")):
        source = cell_sources(catalog, target, scale)["nnU-Net", "F1"]
        cell = build_cell("nnU-Net", "F1", target.columns["F1"], None, source, Evidence(scale=scale))
        assert cell.measured.not_attempted == reason


@pytest.mark.parametrize("name", available_datasets())
def test_there_is_always_a_way_to_the_data(name):
    dataset = get_dataset(name)
    assert dataset.layout and (dataset.archives or dataset.obtain)


def test_pre_training_does_not_stop_a_count():
    run = "swin_umamba_dagger/neurips_cellseg/swin_umamba_d-adapted/seed0"
    assert load_catalog().pending(run) == "pre-training not yet available"
    assert load_catalog().uncountable(run) is None
