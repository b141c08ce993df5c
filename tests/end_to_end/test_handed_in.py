"""A lab that trained with other code sees its verdict and its picture: label maps in, real rules, values by hand."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from helpers.clone import snakemake
from helpers.dry_run import job_counts, make_clone
from helpers.sample_paper import LABELS, PROTOCOL

from benchmark.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

# A network that does not exist here: nothing of these rows can be trained.
MODELS = "theirs: {model: elsewhere}\nnobodys: {model: elsewhere}\n"
TARGET = """\
kind: table
number: Trial
title: Two networks that are not here
protocol: sample
rows:
  Theirs: {model: theirs}
  Nobody's: {model: nobodys}
columns:
  DSC (%): {measure: score, metric: dsc, unit: "%", decimals: 2}
"""
FIGURE = TARGET.replace("kind: table", "kind: figure").replace("protocol:", "figure: {style: qualitative}\nprotocol:")
PUBLISHED = "row,column,value,stars,marking\nTheirs,DSC (%),50.00,,\nNobody's,DSC (%),70.00,,\n"
FILES = ("results/table_trial.csv", "results/fig_trial.svg")


class Lab:
    """A clone, a paper of one protocol, and a folder of label maps of the sample's test case without its colon."""

    def __init__(self, folder: Path, sample: Path) -> None:
        self.clone, self.work, self.predictions = make_clone(folder / "clone"), folder / "work", folder / "their maps"
        self.paper, self.sample = folder / "paper_tables/lab", sample
        for path in (self.paper, self.work, self.predictions):
            path.mkdir(parents=True)
        (self.paper / "paper.yaml").write_text('paper: lab\ntitle: "T"\nauthors: [R]\nvenue: test\nyear: 2026\n')
        (self.paper / "models.yaml").write_text(MODELS)
        (self.paper / "protocols.yaml").write_text(PROTOCOL)
        (self.paper / "table_trial.yaml").write_text(TARGET)
        (self.paper / "table_trial.published.csv").write_text(PUBLISHED)
        (self.paper / "fig_trial.yaml").write_text(FIGURE)
        self.write("s9002")

    @property
    def by_hand(self) -> float:
        """Mean Dice in percent over the structures that the test case shows: 1, for the colon 0."""
        files = [self.sample / "s9002/segmentations" / f"{name}.nii.gz" for name in LABELS]
        liver, colon, bowel = (bool(np.asanyarray(nibabel.load(file).dataobj).any()) for file in files)
        assert liver and colon
        return 100 * (liver + bowel) / (liver + colon + bowel)

    def write(self, case: str, shift: int = 0) -> Path:
        """The reference of a case as somebody's prediction: everything right, but no colon."""
        folder = self.sample / case / "segmentations"
        images = {name: nibabel.load(folder / f"{name}.nii.gz") for name in ("liver", "small_bowel")}
        labels = np.zeros(images["liver"].shape, np.uint8)
        for name, image in images.items():
            labels[np.asanyarray(image.dataobj) > 0] = LABELS.index(name) + 1
        path = self.predictions / f"{case}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.roll(labels, shift, axis=0), images["liver"].affine), path)
        return path

    def run(self, *words: str):
        rows = f"Theirs: {self.predictions}, Nobody's: {self.predictions.parent}/nowhere"
        config = [
            f"paper_tables={self.paper.parent}", f"roots={{totalseg: {self.sample}}}", "start_from=predictions",
            f"predictions={{table_trial: {{{rows}}}}}",
        ]  # fmt: skip
        options = ["--cores", "2", "--config", *config, "--", *FILES]
        done = snakemake(self.clone, *words, *options, directory=self.work)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout + done.stderr

    def planned(self) -> set[str]:
        output = self.run("-n")
        return set() if "Nothing to be done" in output else set(job_counts(output))


@pytest.fixture(scope="module")
def lab(real_data, tmp_path_factory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("lab"), real_data("TotalSegmentator_v2_sample"))
    lab.run()
    return lab


def compared(lab: Lab) -> dict[str, dict[str, str]]:
    with (lab.work / "results/table_trial.compare.csv").open(encoding="utf-8", newline="") as stream:
        return {line["row"]: line for line in csv.DictReader(stream)}


def test_the_cell_has_its_value_its_verdict_and_where_it_is_from(lab: Lab) -> None:
    line = compared(lab)["Theirs"]
    assert float(line["rebuilt"]) == pytest.approx(lab.by_hand)
    assert line["verdict"] == "not separable"  # one case of the published 89 shows nothing
    record = read_json(lab.work / "results/runs/lab/sample/theirs/seed0/scores.json")
    assert line["origin"] == f"handed in, by whom is not known, SHA-256 {record['made']['predictions'][:16]}"
    assert set(record["handed_in"]) == {"s9002.nii.gz"}
    assert not line["config_digest"]  # of no configuration of ours
    page = (lab.work / "results/table_trial.md").read_text(encoding="utf-8")
    assert f"- Theirs: {line['origin']}." in page and "control: oracle" in page


def test_a_missing_folder_is_said_in_its_cell_and_in_the_figure(lab: Lab) -> None:
    reason = f"no predictions in {lab.predictions.parent}/nowhere"
    assert compared(lab)["Nobody's"]["verdict"] == f"not attempted ({reason})"
    drawn = (lab.work / "results/fig_trial.svg").read_text(encoding="utf-8")
    assert "s9002, slice" in drawn and "not run" not in drawn and "no predictions in" in drawn


def test_times_make_nothing_anew_and_another_voxel_does(lab: Lab) -> None:
    file = lab.predictions / "s9002.nii.gz"
    assert lab.planned() == set()
    os.utime(file, (2e9, 2e9))
    assert lab.planned() == set()
    lab.write("s9002", shift=1)
    assert lab.planned() == {"score_run", "build_table", "build_figure"}
    lab.run()
    assert float(compared(lab)["Theirs"]["rebuilt"]) < lab.by_hand
    assert lab.planned() == set()
