"""M4oE on three real data sets by the rules: pre-trained, trained jointly, killed on the way, bit-equal at the end.

MR of hippocampi is a data set of the test's own, in nnU-Net's layout; MR of hearts is ACDC's, CT is TotalSegmentator's.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from helpers.clone import snakemake, snakemake_killed
from helpers.dry_run import make_clone

from benchmark.files import file_digest, read_json
from benchmark.layout import Layout

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

PAPER = Path(__file__).with_name("three_sets")
TABLE = "results/table_three_sets.csv"
LAYOUT = Layout.at("paper")
TRAINING = LAYOUT.trained("three_sets/joint/m4oe/seed0")
RUNS = {column: f"three_sets/{column.lower()}/m4oe/seed0" for column in ("Hippocampus", "Hearts", "Organs")}
STEPS, INTERVAL = 120, 40  # as in three_sets/protocols.yaml
HEARTS = ("patient004", "patient021", "patient022")  # the last one tests, by the public split
HIPPOCAMPI = 8


class Rebuilding:
    """A clone and two working directories beside it: in one the joint training was killed and continued."""

    def __init__(self, folder: Path, roots: dict[str, Path]) -> None:
        self.clone, self.disturbed, self.undisturbed = make_clone(folder / "clone"), folder / "a", folder / "b"
        given = ", ".join(f"{name}: {root}" for name, root in roots.items())
        self.words = ("--cores", "2", "--config", f"papers=[{PAPER}]", f"roots={{{given}}}", "--", TABLE)

    def kill_between_checkpoints(self) -> None:
        """The beginning, and beside it a copy of all that was made, the joint training apart."""
        self.disturbed.mkdir()
        where = {"directory": self.disturbed, "when": self.has_a_checkpoint}
        snakemake_killed(self.clone, *self.words, **where, seconds=900)
        shutil.copytree(self.disturbed / "results", self.undisturbed / "results")
        shutil.rmtree((self.undisturbed / TRAINING).parent)

    def has_a_checkpoint(self) -> bool:
        return any((self.disturbed / TRAINING).parent.glob("checkpoints/step-*.json"))

    def finish(self, directory: Path) -> None:
        done = snakemake(self.clone, "--nolock", "--rerun-incomplete", *self.words, directory=directory)
        assert done.returncode == 0, done.stderr[-4000:]


def copy_cases(source: Path, target: Path) -> Path:
    """The first cases of a folder in nnU-Net's layout."""
    for label in sorted((source / "labelsTr").iterdir())[:HIPPOCAMPI]:
        for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
            (target / folder).mkdir(parents=True, exist_ok=True)
            name = label.name.removesuffix(".nii.gz") + ending
            shutil.copyfile(source / folder / name, target / folder / name)
    shutil.copyfile(source / "dataset.json", target / "dataset.json")
    return target


@pytest.fixture(scope="module")
def killed(real_data, tmp_path_factory) -> Iterator[tuple[Rebuilding, list[int]]]:
    """Both directories up to the table, and the steps of the checkpoints that the kill left."""
    folder = tmp_path_factory.mktemp("three_sets")
    training = Path("database/training")
    for patient in HEARTS:
        shutil.copytree(real_data("ACDC") / training / patient, folder / "acdc" / training / patient)
    roots = {
        "hippocampus": copy_cases(real_data("MSD_Task04_Hippocampus_subset"), folder / "hippocampus"),
        "acdc": folder / "acdc",
        "totalseg": real_data("TotalSegmentator_v2_sample"),
    }
    rebuilding = Rebuilding(folder, roots)
    rebuilding.kill_between_checkpoints()
    left = [int(path.stem[5:]) for path in (rebuilding.disturbed / TRAINING).parent.glob("checkpoints/step-*.json")]
    for directory in (rebuilding.disturbed, rebuilding.undisturbed):
        rebuilding.finish(directory)
    return rebuilding, left


def test_it_was_killed_on_the_way_and_went_on_from_a_checkpoint(killed) -> None:
    rebuilding, left = killed
    assert left and INTERVAL <= max(left) < STEPS
    log = (rebuilding.disturbed / "results/logs/runs/three_sets/joint/m4oe/seed0/train.log").read_text()
    assert f"step {max(left)} of {STEPS}" in log


def test_weights_and_losses_are_those_of_the_undisturbed_training(killed) -> None:
    folders = [(directory / TRAINING).parent for directory in (killed[0].disturbed, killed[0].undisturbed)]
    digests = [file_digest(folder / "final.safetensors") for folder in folders]
    assert digests[0] == digests[1] == read_json(folders[0] / "trained.json")["sha256"]
    losses = [pd.read_csv(folder / "log.csv")[["step", "loss", "learning_rate"]] for folder in folders]
    assert len(losses[0]) == STEPS and losses[0].equals(losses[1])


@pytest.mark.parametrize("run", RUNS.values())
def test_scores_are_equal_too(killed, run: str) -> None:
    scores = [pd.read_parquet(d / LAYOUT.scored(run)) for d in (killed[0].disturbed, killed[0].undisturbed)]
    assert len(scores[0]) and scores[0].equals(scores[1])


def test_the_network_began_from_every_pre_training(killed) -> None:
    made = read_json(killed[0].disturbed / TRAINING)["made"]
    begun = [made[f"begins_from.{part}"] for part in ("encoder", "expert0", "expert1", "expert2")]
    assert len(set(begun)) == 4


def test_the_table_has_a_value_of_each_data_set(killed) -> None:
    directories = (killed[0].disturbed, killed[0].undisturbed)
    texts = [(directory / TABLE).read_text(encoding="utf-8") for directory in directories]
    assert texts[0] == texts[1]
    row = next(line for line in csv.DictReader(texts[0].splitlines()) if line["row"] == "M4oE")
    for column, run in RUNS.items():
        scores = pd.read_parquet(directories[0] / LAYOUT.scored(run))
        assert 0 <= float(row[column]) <= 100 and len(scores)
