"""What is made anew after which change, on two real CTs: by the jobs that a dry run plans, and by the values."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.clone import snakemake
from helpers.dry_run import job_counts, make_clone
from helpers.sample_paper import PROTOCOL

from benchmark.files import read_json

pytestmark = [pytest.mark.slow, pytest.mark.real_data, pytest.mark.xdist_group("anew")]  # they share a place

TABLE = "results/demo/table_sample.csv"
RUN = "results/demo/runs/anew/sample/mine/seed0"
MODELS = "mine: {model: mine, options: {value: {width: 4}, assumed: small}}\n"
TARGET = """\
kind: table
number: Trial
title: One small network
protocol: sample
rows:
  Mine: {model: mine}
columns:
  Params (K): {measure: parameters, unit: K, decimals: 2}
  DSC (%): {measure: score, metric: dsc, unit: "%", decimals: 2}
"""
NETWORK = '''\
"""A user's own network."""

from torch import nn

from benchmark.models.registry import register


@register("mine", demo={"width": 4}, spatial_dims=(3,))
def build(*, in_channels, out_channels, spatial_shape, width=8):
    # two convolutions
    return nn.Sequential(nn.Conv3d(in_channels, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, out_channels, 1))
'''
SCORES = {"score_run", "build_table"}
PREDICTIONS = {"predict_cases", *SCORES}
TRAINING = {"train_run", *PREDICTIONS}
DATA = {"fetch_dataset", "verify_dataset", "prepare_cases"}


class Place:
    """A clone with a paper and a network of a user's own, and a working directory in which its table was built."""

    def __init__(self, folder: Path, sample: Path) -> None:
        self.clone, self.raw, self.work = make_clone(folder / "clone"), folder / "raw", folder / "work"
        shutil.copytree(sample, self.raw)
        for path in (self.raw, *self.raw.rglob("*")):  # the sample may lie without write bits
            path.chmod(0o755 if path.is_dir() else 0o644)
        self.paper = folder / "paper_tables/anew"
        self.paper.mkdir(parents=True)
        (self.paper / "paper.yaml").write_text('paper: anew\ntitle: "T"\nauthors: [R]\nvenue: test\nyear: 2026\n')
        (self.paper / "models.yaml").write_text(MODELS)
        (self.paper / "protocols.yaml").write_text(PROTOCOL)
        (self.paper / "table_sample.yaml").write_text(TARGET)
        self.network = self.clone / "benchmark/models/mine.py"
        self.network.write_text(NETWORK)
        assert self.run().returncode == 0, self.run().stderr[-3000:]

    def run(self, *words: str, work: Path | None = None):
        """Snakemake in the working directory, or in another one."""
        config = ["scale=demo", f"paper_tables={self.paper.parent}", f"roots={{totalseg: {self.raw}}}"]
        profile = ["--profile", str(self.clone / "demo"), "--config", *config]
        (work or self.work).mkdir(exist_ok=True)
        return snakemake(self.clone, *words, *profile, "--", TABLE, directory=work or self.work)

    def planned(self, *words: str, work: Path | None = None) -> set[str]:
        """Rules of a dry run."""
        done = self.run("-n", *words, work=work)
        assert done.returncode == 0, done.stderr[-3000:]
        output = done.stdout + done.stderr
        return set() if "Nothing to be done" in output else set(job_counts(output))

    def weights(self, work: Path | None = None) -> str:
        return read_json((work or self.work) / RUN / "trained.json")["sha256"]

    def score(self, work: Path | None = None) -> pd.DataFrame:
        return pd.read_parquet((work or self.work) / RUN / "scores.parquet")


@pytest.fixture(scope="module")
def place(real_data, tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("anew"), real_data("TotalSegmentator_v2_sample"))


def edit(old: str, new: str, *path: str) -> Callable[[Place], Path]:
    """Replace text in a file of the paper, or of the clone if the path begins with benchmark."""

    def apply(place: Place) -> Path:
        file = (place.clone if path[0] == "benchmark" else place.paper).joinpath(*path)
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        return file

    return apply


def voxel(case: str, name: str) -> Callable[[Place], Path]:
    """Change one voxel; the file's size need not change with it."""

    def apply(place: Place) -> Path:
        file = place.raw / case / name
        image = nibabel.load(file)
        array = np.asanyarray(image.dataobj).copy()
        array[10, 10, 10] = 1 - array[10, 10, 10] if name.startswith("seg") else array[10, 10, 10] + 7
        nibabel.save(nibabel.Nifti1Image(array, image.affine, image.header), file)
        return file

    return apply


def touch(place: Place) -> None:
    for number, path in enumerate(sorted([*place.work.rglob("*"), *place.raw.rglob("*")], key=lambda path: path.name)):
        if path.is_file():
            os.utime(path, (1_900_000_000 + number, 1_900_000_000 + number))


def version(place: Place) -> Path:
    file = place.clone / "benchmark/result_versions.yaml"
    versions = yaml.safe_load(file.read_text())
    versions["stages"]["predict"] += 1
    file.write_text(yaml.safe_dump(versions))
    return file


CHANGES = {
    "nothing": (lambda place: None, set()),
    "times of all files": (touch, set()),
    "a comment in the protocol": (edit("sample:", "# a comment\nsample:", "protocols.yaml"), set()),
    "a comment in the network": (edit("# two", "# or three", "benchmark", "models", "mine.py"), set()),
    "a comment in the code of a stage": (edit('"""', '"""  ', "benchmark", "training", "loop.py"), set()),
    "an option": (edit("width: 4", "width: 5", "models.yaml"), {"count_cost", *TRAINING}),
    "the network": (edit("nn.ReLU()", "nn.GELU()", "benchmark", "models", "mine.py"), {"count_cost", *TRAINING}),
    "a value of training": (edit("epoch: {value: 3", "epoch: {value: 4", "protocols.yaml"), TRAINING),
    "a value of prediction": (edit("overlap: {value: 0.5", "overlap: {value: 0.25", "protocols.yaml"), PREDICTIONS),
    "the version of a stage": (version, PREDICTIONS),
    "the order of labels": (
        edit("[liver, colon,", "[colon, liver,", "protocols.yaml"),
        {"prepare_cases", "score_controls", "count_cost", *TRAINING},
    ),
    "the preparation": (
        edit("clip: {value: [-200", "clip: {value: [-100", "protocols.yaml"),
        {"prepare_cases", "score_controls", *TRAINING},
    ),
    "the convention": (
        edit("swin_smt, assumed: any", "canonical, assumed: any", "protocols.yaml"),
        {"score_controls", *SCORES},
    ),
    "an image of the test set": (voxel("s9002", "ct.nii.gz"), {*DATA, *PREDICTIONS}),
    "a label of the test set": (
        voxel("s9002", "segmentations/liver.nii.gz"),
        {*DATA, "score_controls", *SCORES},
    ),
    "an image of the training set": (voxel("s9001", "ct.nii.gz"), {*DATA, *TRAINING}),
    "a label of the training set": (
        voxel("s9001", "segmentations/liver.nii.gz"),
        {*DATA, "score_controls", *TRAINING},
    ),
    "a title": (edit("title: One", "title: A", "table_sample.yaml"), {"build_table"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_exactly_what_depends_on_it_anew(place: Place, change: str) -> None:
    apply, expected = CHANGES[change]
    if change == "times of all files":
        shutil.rmtree(place.work / ".snakemake")  # nor are Snakemake's own records needed
    before: dict[Path, bytes] = {}
    for file in [*place.paper.glob("*"), place.network, *place.raw.rglob("*.nii.gz")]:
        before[file] = file.read_bytes()
    changed = apply(place)
    kept = before.get(changed) if changed else None
    original = (
        None if changed is None or kept is not None else (Path(__file__).parents[2] / changed.relative_to(place.clone))
    )
    try:
        assert place.planned() == expected
    finally:
        if changed is not None:
            changed.write_bytes(kept if kept is not None else original.read_bytes())


def test_a_moved_results_folder_is_taken_as_it_is(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.work / "results", tmp_path / "elsewhere/results")
    assert place.planned(work=tmp_path / "elsewhere") == set()


@pytest.mark.parametrize(
    ("words", "expected"), [(("-R", "train_run"), TRAINING), (("-R", "predict_cases"), PREDICTIONS)]
)
def test_what_is_asked_for_is_made_anew_with_what_follows(place: Place, words, expected) -> None:
    assert place.planned(*words) == expected


def test_strictly_the_same_code_is_asked_for(place: Place) -> None:
    done = snakemake(
        place.clone, "-n", "--profile", str(place.clone / "demo"),
        "--config", "scale=demo", "strict=true",
        f"paper_tables={place.paper.parent}", f"roots={{totalseg: {place.raw}}}",
        "--", TABLE, directory=place.work,
    )  # fmt: skip
    assert {"train_run", "predict_cases", "score_run"} <= set(job_counts(done.stdout + done.stderr))


def test_a_corrected_training_label_gives_the_values_of_a_fresh_start(place: Place, tmp_path: Path) -> None:
    """No mixture of old and new, nothing deleted by hand; the earlier training is kept aside."""
    file = place.raw / "s9001/segmentations/liver.nii.gz"
    image = nibabel.load(file)
    nibabel.save(
        nibabel.Nifti1Image(np.roll(np.asanyarray(image.dataobj), 20, axis=0), image.affine, image.header), file
    )
    before = place.weights()
    assert place.run().returncode == 0
    assert place.run(work=tmp_path / "fresh").returncode == 0
    after, fresh = place.score(), place.score(tmp_path / "fresh")
    pd.testing.assert_frame_equal(after, fresh)
    assert before != place.weights() == place.weights(tmp_path / "fresh")  # so short a training finds nothing yet
    assert len(list((place.work / RUN / "earlier").iterdir())) == 1
    assert place.planned() == set()


def test_asked_for_a_training_is_really_made_anew(place: Place) -> None:
    times = (place.work / RUN / "final.safetensors").stat().st_mtime_ns
    earlier = len(list(place.work.glob(f"{RUN}/earlier/*")))  # none yet where this is the first test of its process
    assert place.run("-R", "train_run").returncode == 0
    assert (place.work / RUN / "final.safetensors").stat().st_mtime_ns > times
    assert len(list((place.work / RUN / "earlier").iterdir())) == earlier + 1
