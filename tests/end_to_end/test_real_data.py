"""Two real CTs through the same rules: verify, prepare, train three networks, predict, score, table."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pandas as pd
import pytest
from helpers.clone import snakemake
from helpers.dry_run import make_clone

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

TRIAL = Path(__file__).with_name("trial")
NETWORKS = ("unet", "swin_unetr", "swin_smt")


@pytest.fixture(scope="module")
def trial(real_data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which the trial's table was built from the sample in RETABLE_DATA."""
    root = real_data("TotalSegmentator_v2_sample")
    folder = tmp_path_factory.mktemp("trial")
    clone = make_clone(tmp_path_factory.mktemp("clone"))
    done = snakemake(
        clone,
        "--profile", str(clone / "demo"),
        "--config", "scale=demo", f"paper_tables={TRIAL}", f"roots={{totalseg: {root}}}",
        "--", "results/demo/table_sample.md", "results/demo/training/table_sample.svg",
        directory=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "results/demo"


def mean_dsc(trial: Path, network: str, case: str) -> float:
    scores = pd.read_parquet(trial / f"runs/trial/sample/{network}/seed0/scores.parquet")
    chosen = scores[(scores.case == case) & (scores.metric == "dsc") & (scores.convention == "swin_smt")]
    return float(chosen.value.mean())


def test_a_small_unet_learns_the_training_subject(trial: Path) -> None:
    assert mean_dsc(trial, "unet", "s9001") > 0.75


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_reported_on_both_subjects(trial: Path, network: str, record_property) -> None:
    """The transformers are trained as many steps as the U-Net and reported, whatever they reach."""
    for case in ("s9001", "s9002"):
        value = mean_dsc(trial, network, case)
        record_property(f"{network} {case}", round(value, 4))
        assert 0 <= value <= 1
    lines = list(csv.DictReader((trial / f"runs/trial/sample/{network}/seed0/log.csv").open()))
    first, last = (sum(float(line["loss"]) for line in part) / 10 for part in (lines[:10], lines[-10:]))
    assert last < first


def test_predictions_lie_on_the_raw_grid(trial: Path, real_data) -> None:
    import nibabel
    import numpy as np

    for case in ("s9001", "s9002"):
        raw = nibabel.load(real_data(f"TotalSegmentator_v2_sample/{case}/ct.nii.gz"))
        predicted = nibabel.load(trial / f"runs/trial/sample/unet/seed0/predictions/{case}.nii.gz")
        assert predicted.shape == raw.shape and np.allclose(predicted.affine, raw.affine)


def test_losses_are_drawn_and_the_table_says_its_scale(trial: Path) -> None:
    assert os.path.getsize(trial / "training/table_sample.svg") > 1000
    assert "not comparable" in (trial / "table_sample.md").read_text(encoding="utf-8")
