"""Twenty real patients of ACDC by the rules: a U-Net, SAMed, MoE-SAM, and SAM-Med2D told a point, tuned and not."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.clone import snakemake
from helpers.dry_run import make_clone

from benchmark.files import file_digest, read_json
from benchmark.layout import Layout
from benchmark.models.layers.sam.sizes import DEMO_SIZE
from benchmark.models.registry import build

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

PAPER = Path(__file__).with_name("hearts")
LAYOUT = Layout.at("paper")
UNET = "hearts/unprompted-nnunet/nnunet/seed0"
TUNED, UNTUNED = (f"hearts/{protocol}/sam_med2d/seed0" for protocol in ("prompted", "prompted-untuned"))
TRAINED = (UNET, "hearts/unprompted-samed/samed/seed0", "hearts/unprompted/moe_sam/seed0", TUNED)
TESTED = {"patient001", "patient022", "patient065", "patient083", "patient084"}  # the public split's, of these twenty
CPU_MINUTES = 8


def place_weights(path: Path) -> None:
    """Numbers at random in the form in which SAM-Med2D's `train.py` writes a network."""
    torch.manual_seed(0)
    network = build("sam_med2d", in_channels=3, out_channels=2, spatial_shape=(128, 128), size=DEMO_SIZE)
    path.parent.mkdir()
    torch.save({"model": network.state_dict()}, path)


@pytest.fixture(scope="module")
def hearts(real_data, tmp_path_factory) -> Path:
    """A working directory in which the table and the figure were built, by one command."""
    folder = tmp_path_factory.mktemp("hearts")
    place_weights(folder / "given/sam-med2d_b.pth")
    config = [f"papers=[{PAPER}]", f"roots={{acdc: {real_data('ACDC')}}}", "weights=given"]
    # One core: one thread for every job, so that each number is the same wherever the test runs.
    words = ["--cores", "1", "--config", *config, "--", "results/table_hearts.csv", "results/fig_hearts.png"]
    done = snakemake(make_clone(folder / "clone"), *words, directory=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def cells(hearts) -> dict[str, float]:
    """Row → mean DSC of the three structures in per cent."""
    with (hearts / "results/table_hearts.csv").open(encoding="utf-8") as stream:
        return {line["row"]: float(line["DSC"]) for line in csv.DictReader(stream)}


def test_a_small_unet_learns_hearts_within_minutes(hearts, cells, record_property) -> None:
    jobs = [hearts / f"results/benchmarks/runs/{UNET}/{job}.tsv" for job in ("train", "predict")]
    used = sum(pd.read_csv(job, sep="\t")["cpu_time"].sum() for job in jobs)
    record_property("CPU seconds of the U-Net", float(used))  # pytest-xdist sends no number of numpy's
    assert cells["nnU-Net"] > max(60, cells["control: class prior"])
    assert 0 < used < 60 * CPU_MINUTES


def test_no_patient_is_on_both_sides(hearts) -> None:
    split = read_json(hearts / LAYOUT.split("acdc"))
    parts = {part: {split["patients"][case] for case in split[part]} for part in ("train", "val", "test")}
    assert parts["test"] == TESTED and len(split["test"]) == 2 * len(TESTED)
    assert not parts["test"] & (parts["train"] | parts["val"])
    assert {case.rpartition("_")[0] for case in pd.read_parquet(hearts / LAYOUT.scored(UNET)).case} == TESTED


@pytest.mark.parametrize("run", TRAINED)
def test_every_network_learns_something(hearts, run: str) -> None:
    loss = pd.read_csv((hearts / LAYOUT.trained(run)).with_name("log.csv")).loss
    assert loss.tail(20).mean() < loss.head(20).mean()


def test_every_row_is_reported_whatever_it_reaches(cells, record_property) -> None:
    rows = ("nnU-Net", "SAMed", "MoE-SAM", "SAM-Med2D (1 pt)", "SAM-Med2D (1 pt), untuned")
    for row in rows:
        record_property(row, cells[row])
        assert cells["control: empty"] <= cells[row] <= cells["control: oracle"]


def test_the_prompted_network_was_told_the_same_points_with_and_without_training(hearts, cells) -> None:
    predicted = [read_json(hearts / LAYOUT.predicted(run)) for run in (TUNED, UNTUNED)]
    assert predicted[0]["made"]["prompts"] == predicted[1]["made"]["prompts"]
    assert predicted[1]["weights_sha256"] == file_digest(hearts / "given/sam-med2d_b.pth")
    assert not (hearts / LAYOUT.trained(UNTUNED)).exists()
    assert cells["SAM-Med2D (1 pt)"] > cells["SAM-Med2D (1 pt), untuned"]


def test_predictions_lie_on_the_raw_grid_and_are_drawn(hearts, real_data) -> None:
    for case in ("patient001_frame01", "patient084_frame10"):
        raw = nibabel.load(real_data(f"ACDC/database/training/{case.partition('_')[0]}/{case}.nii.gz"))
        for run in (UNET, TUNED):
            predicted = nibabel.load(hearts / LAYOUT.predictions_of(run) / f"{case}.nii.gz")
            assert predicted.shape == raw.shape and np.allclose(predicted.affine, raw.affine)
    assert (hearts / "results/fig_hearts.png").stat().st_size > 10_000
