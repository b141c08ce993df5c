"""A raw data set of nnU-Net's, real MR: from its folder to a table, by two commands and no edit."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from helpers.clone import snakemake
from helpers.dry_run import make_clone

from benchmark.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.real_data]


@pytest.fixture(scope="module")
def results(tmp_path_factory, real_data) -> Path:
    folder = tmp_path_factory.mktemp("own")
    data = real_data("MSD_Task04_Hippocampus_subset")
    assert main(["new", "dataset", str(data), "--name", "hippocampus", "--in", str(folder / "mine")]) == 0
    clone = make_clone(folder / "clone")
    words = ("--profile", "demo", "--config", "scale=demo", f"papers=[{folder / 'mine'}]", "--")
    done = snakemake(clone, *words, "results/demo/hippocampus_table.csv")
    assert done.returncode == 0, done.stderr[-3000:]
    return clone / "results/demo"


def test_every_structure_is_learned_better_than_its_place(results):
    with (results / "hippocampus_table.csv").open(encoding="utf-8") as stream:
        rows = {line["row"]: line for line in csv.DictReader(stream)}
    for column in ("Anterior (%)", "Posterior (%)", "Mean (%)"):
        network, oracle, prior, empty = (
            float(rows[name][column])
            for name in ("nnU-Net", "control: oracle", "control: class prior", "control: empty")
        )
        assert oracle == 100 and empty == 0
        assert network > max(60, prior)  # 78 per cent was seen, against 44 of the prior


def test_its_test_cases_are_a_fifth_of_the_patients(results):
    text = (results / "hippocampus_table.md").read_text(encoding="utf-8")
    assert "Demo scale, not comparable" in text and re.search(r"\| nnU-Net +\| +10 \|", text)
