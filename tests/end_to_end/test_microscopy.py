"""Real microscopy through the rules: raw images → store → Swin-UMamba† → predictions → scores → table and picture.

What a network of the demo's size reaches on all images is in docs/microscopy.md; here a quarter of them and fewer
steps show that it learns.
"""

from __future__ import annotations

import csv
import importlib.util
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from helpers.dry_run import make_clone, run

from benchmark.catalog import load_catalog
from benchmark.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[2]

RUN = "swin_umamba_dagger/neurips_cellseg-scratch/swin_umamba_d-scratch/seed0"
IMAGES = {
    "Training-labeled": ["00001", "00002", "00004", "00005", "00007", "00008", "00010", "00011"],
    "Tuning": ["00003", "00006", "00009"],
}
pytestmark = [pytest.mark.real_data, pytest.mark.slow]


@pytest.fixture(scope="module")
def controls():
    """speed/microscopy.py as a module."""
    spec = importlib.util.spec_from_file_location("microscopy", REPOSITORY / "speed" / "microscopy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images(real_data, tmp_path_factory) -> Path:
    """Eight training and three test images of nuclei that glow."""
    source, root = real_data("DSB2018_CellSegLayout"), tmp_path_factory.mktemp("images")
    for part, numbers in IMAGES.items():
        for folder, ending in (("images", ".png"), ("labels", "_label.tiff")):
            (root / part / folder).mkdir(parents=True)
            for number in numbers:
                name = f"cell_{number}{ending}"
                shutil.copyfile(source / part / folder / name, root / part / folder / name)
    return root


@pytest.fixture(scope="module")
def results(images, tmp_path_factory) -> Path:
    """A clone in which the run was trained for 200 steps and scored by the rules."""
    clone = make_clone(tmp_path_factory.mktemp("clone"))
    protocols = clone / "paper_tables/swin_umamba_dagger/protocols.yaml"
    text = protocols.read_text(encoding="utf-8")
    assert "iterations_per_epoch: 70" in text
    protocols.write_text(text.replace("iterations_per_epoch: 70", "iterations_per_epoch: 200"))
    wanted = f"results/demo/runs/{RUN}/scores.parquet"
    done = run(f'snakemake --profile demo {wanted} --config scale=demo roots={{"neurips_cellseg":"{images}"}}', clone)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return clone


def mean_f1(path: Path, convention: str) -> float:
    scores = pq.read_table(path).to_pandas()
    chosen = scores[(scores["metric"] == "f1") & (scores["convention"] == convention)]
    assert len(chosen) == len(IMAGES["Tuning"])
    return float(chosen["value"].mean())


def test_training_beats_the_untrained_network(results, images, controls):
    cases = [case for case in controls.CELLSEG.find_cases(images) if case.split == "test"]
    tables = str(results / "paper_tables")
    before = [controls.score(case, controls.untrained(case, paper_tables=tables)) for case in cases]
    for convention in ("umamba_microscopy", "canonical"):
        untrained = np.mean([score[convention, "f1"] for score in before])
        trained = mean_f1(results / f"results/demo/runs/{RUN}/scores.parquet", convention)
        assert trained > untrained + 0.2, convention


def test_predictions_lie_on_the_pixels_and_references_are_the_instances(results, images):
    layout = Layout.at("demo")
    config = load_catalog(results / "paper_tables").run(RUN, "demo")
    store = results / Path(layout.prepared_for(config)).parent
    for number in IMAGES["Tuning"]:
        instances = tifffile.imread(images / f"Tuning/labels/cell_{number}_label.tiff")
        kept = nibabel.load(store / f"references/cell_{number}.nii.gz")
        assert np.array_equal(np.asarray(kept.dataobj), instances)
        predicted = nibabel.load(results / layout.predictions_of(RUN) / f"cell_{number}.nii.gz")
        assert predicted.shape == instances.shape and set(np.unique(predicted.dataobj)) <= {0, 1, 2}


def test_the_table_has_the_value_and_says_why_others_are_missing(results):
    command = "python -m benchmark table table3_microscopy --scale demo --paper-tables paper_tables"
    done = run(command, results)
    assert done.returncode == 0, done.stderr
    with (results / "results/demo/table3_microscopy.compare.csv").open(encoding="utf-8", newline="") as stream:
        lines = {line["row"]: line for line in csv.DictReader(stream) if line["column"] == "F1"}
    ours = lines["Swin-UMamba† (w/o foundation model)"]
    expected = mean_f1(results / f"results/demo/runs/{RUN}/scores.parquet", "umamba_microscopy")
    assert float(ours["rebuilt"]) == pytest.approx(expected, abs=1e-4) and "demo scale" in ours["verdict"]
    assert "not run" in lines["nnU-Net"]["verdict"]
    assert "not run" in lines["Swin-UMamba† (w/ foundation model)"]["verdict"]
