"""M4oE on three real data sets by the rules: pre-trained, trained jointly, killed on the way, bit-equal at the end.

MR of hippocampi is a data set of the test's own, in nnU-Net's layout; MR of hearts is ACDC's, CT is TotalSegmentator's.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.clone import snakemake, snakemake_killed
from helpers.dry_run import make_clone

from benchmark.files import file_digest, read_json
from benchmark.layout import Layout

pytestmark = [pytest.mark.slow, pytest.mark.real_data]

PAPER = Path(__file__).with_name("three_sets")
LAYOUT = Layout.at("demo")
TABLE = LAYOUT.table("table_three_sets")[0]
JOBS = f"{LAYOUT.root}/logs/jobs.tsv"
TRAINING = "three_sets/joint/m4oe/seed0"
TRAINED = Path(LAYOUT.trained(TRAINING))
RUNS = {column: f"three_sets/{column.lower()}/m4oe/seed0" for column in ("Hippocampus", "Hearts", "Organs")}
STEPS, INTERVAL = 120, 40  # as in three_sets/protocols.yaml
HEARTS = [f"patient{number:03d}" for number in (4, 5, 6, 21, 22)]  # by the public split the last one tests
HIPPOCAMPI = 4


class Rebuilding(NamedTuple):
    """Two working directories: in one the joint training was killed and continued, in the other it was not."""

    disturbed: Path
    undisturbed: Path


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
def rebuilding(real_data, tmp_path_factory) -> Rebuilding:
    """Both up to the table. What came before the joint training was made once, and copied."""
    folder = tmp_path_factory.mktemp("three_sets")
    training = Path("database/training")
    for patient in HEARTS:
        shutil.copytree(real_data("ACDC") / training / patient, folder / "acdc" / training / patient)
    hippocampi = copy_cases(real_data("MSD_Task04_Hippocampus_subset"), folder / "hippocampus")
    organs = real_data("TotalSegmentator_v2_sample")
    roots = f"{{hippocampus: {hippocampi}, acdc: {folder / 'acdc'}, totalseg: {organs}}}"
    clone, disturbed, undisturbed = make_clone(folder / "clone"), folder / "disturbed", folder / "undisturbed"
    # one core: while the joint training runs, nothing else does
    profile = ("--profile", str(clone / "demo"), "--cores", "1", "--nolock")
    words = (*profile, "--config", "scale=demo", f"papers=[{PAPER}]", f"roots={roots}", "--", TABLE)
    checkpoints = disturbed / TRAINED.with_name("checkpoints")

    disturbed.mkdir()
    snakemake_killed(
        clone, *words, directory=disturbed, when=lambda: any(checkpoints.glob("step-*.json")), seconds=1800
    )
    begun = shutil.ignore_patterns("joint", "jobs.tsv")
    shutil.copytree(disturbed / "results", undisturbed / "results", ignore=begun)
    for directory in (disturbed, undisturbed):
        done = snakemake(clone, *words, directory=directory)
        assert done.returncode == 0, done.stderr[-4000:]
    return Rebuilding(disturbed, undisturbed)


def test_it_was_killed_on_the_way_and_went_on_from_a_checkpoint(rebuilding: Rebuilding) -> None:
    """Snakemake removes a job's log before the job begins again."""
    begun = []
    for directory in rebuilding:
        log = (directory / f"{LAYOUT.root}/logs/runs/{TRAINING}/train.log").read_text(encoding="utf-8")
        begun += [int(step) for step in re.findall(rf": step (\d+) of {STEPS}\b", log)]
    again, undisturbed = begun
    assert again % INTERVAL == 0 and 0 < again < STEPS and undisturbed == 0


def test_nothing_else_was_made_twice(rebuilding: Rebuilding) -> None:
    """Neither after the kill nor in the copy. `split` also checks a split, and `score-run` also scores controls."""
    disturbed, undisturbed = (pd.read_csv(directory / JOBS, sep="\t").job.tolist() for directory in rebuilding)
    stages = Counter(job.split()[0] for job in disturbed)
    once = {"fetch": 3, "verify": 3, "split": 6, "prepare": 3, "train": 5, "predict": 3, "score-run": 6, "table": 1}
    assert stages == once
    assert f"train {TRAINING}" in undisturbed and Counter(undisturbed) <= Counter(disturbed)
    assert {job.split()[0] for job in undisturbed} == {"train", "predict", "score-run", "table"}


def flat(value: object, place: str = "") -> dict[str, object]:
    """Every leaf of nested dictionaries and lists, by where it stands."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return {place: value}
    return {name: leaf for key, part in parts for name, leaf in flat(part, f"{place}/{key}").items()}


def test_weights_losses_and_the_last_checkpoint_are_equal(rebuilding: Rebuilding) -> None:
    folders = [(directory / TRAINED).parent for directory in rebuilding]
    digests = [file_digest(folder / "final.safetensors") for folder in folders]
    assert digests[0] == digests[1] == read_json(folders[0] / "trained.json")["sha256"]
    losses = [pd.read_csv(folder / "log.csv")[["step", "loss", "learning_rate"]] for folder in folders]
    assert len(losses[0]) == STEPS and losses[0].equals(losses[1])
    name = f"checkpoints/step-{STEPS:08d}.pt"
    left, right = (flat(torch.load(folder / name, weights_only=True)) for folder in folders)
    assert left.keys() == right.keys() and any(place.startswith("/optimiser/") for place in left)
    for place, value in left.items():
        same = torch.equal(value, right[place]) if isinstance(value, torch.Tensor) else value == right[place]
        assert same, place


@pytest.mark.parametrize("run", RUNS.values())
def test_predictions_and_scores_are_equal(rebuilding: Rebuilding, run: str) -> None:
    folders = [directory / LAYOUT.predictions_of(run) for directory in rebuilding]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] and names[0] == names[1]
    for name in names[0]:
        left, right = (nibabel.load(folder / name) for folder in folders)
        assert np.array_equal(left.dataobj, right.dataobj) and np.array_equal(left.affine, right.affine)
    scores = [pd.read_parquet(directory / LAYOUT.scored(run)) for directory in rebuilding]
    assert len(scores[0]) and scores[0].equals(scores[1])


def test_the_network_began_from_every_pre_training(rebuilding: Rebuilding) -> None:
    made = read_json(rebuilding.disturbed / TRAINED)["made"]
    begun = [made[f"begins_from.{part}"] for part in ("encoder", "expert0", "expert1", "expert2")]
    assert len(set(begun)) == 4


def test_the_table_has_a_value_of_each_data_set(rebuilding: Rebuilding) -> None:
    texts = [(directory / TABLE).read_text(encoding="utf-8") for directory in rebuilding]
    assert texts[0] == texts[1]
    row = next(line for line in csv.DictReader(texts[0].splitlines()) if line["row"] == "M4oE")
    for column in RUNS:
        assert 0 < float(row[column]) <= 100  # 6, 7 and 22 were seen
