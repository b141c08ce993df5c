"""Datasets without a phantom: left out of the demo unless a folder is given, and the table says why."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.catalog.catalog import load_catalog
from benchmark.datasets import available_datasets, base, get_dataset
from benchmark.evidence.cells import build_cell
from benchmark.evidence.measured import Evidence
from benchmark.evidence.resolve import NO_PHANTOM, cell_sources
from benchmark.jobs.products import Products
from benchmark.jobs.wiring import Wiring
from benchmark.settings import ReceptiveField

TARGET = SimpleNamespace(target="table3_microscopy")


@pytest.fixture
def without_phantoms(monkeypatch, tmp_path):
    """No data set has a generator, as somebody's own may have none."""
    monkeypatch.setattr(base, "PHANTOMS", tmp_path)


def products(**configuration) -> Products:
    return Products(Wiring({"paper_tables": str(load_catalog().folder), **configuration}))


def test_the_demo_runs_every_dataset_that_has_a_phantom():
    assert products(scale="demo").scores(TARGET) == [
        path.replace("results/", "results/demo/") for path in products().scores(TARGET)
    ]


def test_the_demo_runs_what_it_has_data_for(without_phantoms):
    assert products(scale="demo").scores(TARGET) == []
    with_root = products(scale="demo", roots={"neurips_cellseg": "/data"}).scores(TARGET)
    assert with_root == [path.replace("results/", "results/demo/") for path in products().scores(TARGET)] != []
    assert products(scale="demo", roots={"endovis17": "/data"}).scores(TARGET) == []


def test_a_figure_of_receptive_fields_waits_for_the_maps_of_its_runs(without_phantoms):
    figure = SimpleNamespace(target="fig7_receptive_field")
    runs = [f"swin_umamba/abdomen_mri-{name}/{name}" for name in ("segresnet", "nnunet", "unetr")]
    runs.append("swin_umamba_dagger/abdomen_mri/swin_umamba_d-adapted")
    maps = [f"runs/{run}/seed0/receptive_field.npy" for run in runs]
    assert products().receptive_fields(figure) == [f"results/{path}" for path in maps]
    assert products(scale="demo").receptive_fields(figure) == []
    with_root = products(scale="demo", roots={"abdomen_mri": "/data"})
    assert with_root.receptive_fields(figure) == [f"results/demo/{path}" for path in maps]
    assert products(start_from="scores", scores="scores").receptive_fields(figure) == []
    assert products().receptive_fields(SimpleNamespace(target="fig1_score_vs_flops")) == []


def test_maps_are_made_as_their_figure_says():
    drawn = SimpleNamespace(run="swin_umamba/abdomen_mri-unetr/unetr/seed0")
    assert products().receptive_field_options(drawn) == ["--samples", "1000", "--contribution", "positive"]
    assert products(scale="demo").receptive_field_options(drawn) == ["--samples", "100", "--contribution", "positive"]
    other = SimpleNamespace(run="swin_umamba/endovis17-unetr/unetr/seed0")
    assert products().receptive_field_options(other) == ReceptiveField().options.split()


@pytest.mark.parametrize("dataset", ["abdomen_mri", "endovis17", "neurips_cellseg"])
def test_networks_of_pictures_and_slices_have_a_demo(dataset):
    """Small patches, few steps, numbers that a CPU can: for a folder given as root."""
    catalog = load_catalog()
    runs = {run for target in catalog.targets.values() for run in catalog.runs(target)}
    configs = [catalog.run(run, "demo") for run in runs if catalog.run(run).dataset == dataset]
    assert configs
    for config in configs:
        training = config.training
        assert np.prod(training.patch) * training.batch <= 2**18 and training.batch == 4
        assert training.total_steps(1) <= 2400
        published = catalog.run(config.run).training.loss.deep_supervision
        assert training.loss.deep_supervision in (None, published)
        assert training.precision == config.inference.precision == "32-true" and training.freeze_epochs == 0
        assert training.schedule.total_epochs is None


@pytest.mark.parametrize("paper", ["swin_umamba", "swin_umamba_dagger"])
def test_no_network_of_the_demo_is_trained_longer_than_the_others_of_its_table(paper):
    """An adaptation comes before, as in the paper; what follows it is as long as the other rows' training."""
    catalog = load_catalog()
    for target in (target for target in catalog.targets.values() if target.paper == paper):
        configs = [catalog.run(run, "demo") for run in catalog.runs(target)]
        lengths = {config.dataset: set() for config in configs}
        for config in configs:
            lengths[config.dataset].add(config.training.total_steps(1))
        assert all(len(found) == 1 for found in lengths.values())


def test_trainings_on_hidden_parts_of_one_datasets_images_show_what_they_fill_in():
    """Ten adaptations of the Swin-UMamba papers, four pre-trainings of M4oE; none of a run that segments."""
    found = products(scale="demo").filling_images()
    assert len(found) == len(set(found)) == 14
    assert {name.split("/")[1].split("_")[0] for name in found if name.startswith("m4oe/")} == {"mae"}
    sheets = [f"results/demo/runs/{name}/reconstruction.png" for name in found]
    assert set(sheets) <= set(products(scale="demo").before_the_page())


def test_a_cell_without_data_says_so(without_phantoms):
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
