"""The scores of controls follow from the convention alone; a table of them, worked out by hand."""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.label_files import AFFINE, write

from benchmark.catalog.catalog import load_catalog
from benchmark.data.store import PreparedStore
from benchmark.errors import InputError
from benchmark.files import write_json
from benchmark.jobs import score_run
from benchmark.scoring.aggregate import read_scores, summarise
from benchmark.scoring.controls import CONTROLS, class_prior, median_radii, paint_discs, spread_prior, write_control
from benchmark.scoring.conventions import get_convention
from benchmark.scoring.folders import score_folders
from benchmark.scoring.images import find_cases, read_labels
from benchmark.scoring.pairs import pair_cases

LABELS = {1: "liver", 2: "spleen", 3: "gallbladder"}

# Two cases; the second has no gallbladder. Mean DSC and HD95 of (oracle, empty).
DSC = {
    "canonical": (1, 0),
    "umamba_abdomen": (1, (0 + 0 + (0 + 1) / 2) / 3),  # both empty counts 1
    "umamba_endoscopy": (1, 0),
    "transunet": ((1 + 1 + (1 + 0) / 2) / 3, 0),  # both empty counts 0: not even the reference is perfect
    "m4oe": ((1 + 1 + (1 + 0) / 2) / 3, 0),
    "esam": (1, (0 + 0 + (0 + 1) / 2) / 3),
    "totalsegmentator": (1, 0),
    "nnunet": (1, 0),
    "swin_smt": (1, 0),
    "monai": (1, 0),
    "medpy": (1, (0 + 0 + (0 + 1) / 2) / 3),
    "medpy_0_4": ((1 + 1 + (1 + 0) / 2) / 3, 0),
    "medpy_numpy2": (1, 0),
    "surface_distance": (1, 0),
}
HD95 = {
    "canonical": (0, 400),
    "transunet": (0, 0),  # missing everything is perfect
    "m4oe": (0, 0),
    "esam": (0, 0),
    "monai": (0, math.nan),
    "medpy": (0, math.nan),
    "medpy_0_4": (0, math.nan),
    "medpy_numpy2": (0, math.nan),
    "surface_distance": (math.inf, math.inf),
}


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("controls") / "reference"
    for case in ("a", "b"):
        labels = np.zeros((12, 12, 6), np.uint8)
        labels[1:5, 1:5, 1:5], labels[6:9, 6:9, 1:4] = 1, 2
        labels[10, 10, 2:4] = 3 if case == "a" else 0
        write(folder / f"{case}.nii.gz", labels)
    return folder


def mean_score(references: Path, predictions: Path, convention: str, metric: str, out: Path) -> float:
    score_folders(
        pair_cases(references, predictions),
        out / "scores.parquet",
        labels=LABELS,
        conventions=[get_convention(convention)],
        run="control",
        metrics=[metric],
        processes=1,
    )
    return summarise(read_scores(out / "scores.parquet"), metric=metric, convention=get_convention(convention)).mean


@pytest.mark.parametrize("column", [0, 1], ids=["oracle", "empty"])
@pytest.mark.parametrize(
    ("convention", "metric", "expected"),
    [(name, "dsc", pair) for name, pair in DSC.items()] + [(name, "hd95", pair) for name, pair in HD95.items()],
)
def test_expected_scores(references, tmp_path, convention, metric, expected, column):
    control = ("oracle", "empty")[column]
    write_control(control, references=find_cases(references).values(), out=tmp_path / control, labels=tuple(LABELS))
    mean = mean_score(references, tmp_path / control, convention, metric, tmp_path)
    assert mean == pytest.approx(expected[column], nan_ok=True, abs=1e-4)


def test_controls_keep_name_grid_and_only_listed_labels(references, tmp_path):
    write_control("oracle", references=find_cases(references).values(), out=tmp_path, labels=(1, 3))
    written = read_labels(tmp_path / "a.nii.gz")
    assert (written.geometry.affine == AFFINE).all()
    assert set(np.unique(written.array)) == {0, 1, 3}


def test_the_class_prior_is_the_most_frequent_label_per_place(tmp_path):
    shapes = [(48, 48), (96, 24), (24, 96)]
    for number, (rows, columns) in enumerate(shapes):
        labels = np.zeros((rows, columns), np.uint8)
        labels[: rows // 2] = 4  # upper half in all three
        labels[rows // 2 :, : columns // 2] = 9 if number else 0  # lower left in two of three
        labels[rows // 2 :, columns // 2 :] = 0 if number else 9  # lower right in one of three
        write(tmp_path / f"{number}.png", labels)
    prior = class_prior(find_cases(tmp_path).values(), labels=(4, 9))
    spread = spread_prior(prior, (10, 20))
    expected = np.zeros((10, 20), np.uint8)
    expected[:5], expected[5:, :10] = 4, 9
    assert (spread == expected).all()
    write_control(
        "class_prior",
        references=find_cases(tmp_path).values(),
        out=tmp_path / "prior",
        labels=(4, 9),
        training=find_cases(tmp_path).values(),
    )
    assert (read_labels(tmp_path / "prior" / "1.png").array == read_labels(tmp_path / "1.png").array).all()


def test_the_oracle_of_instances_is_perfect_where_cells_keep_an_interior(tmp_path):
    instances = np.zeros((40, 40), np.uint16)
    instances[5:15, 5:15], instances[5:15, 15:25], instances[25:35, 5:15] = 1, 2, 3
    write(tmp_path / "reference" / "cell_1_label.tiff", instances)
    references = find_cases(tmp_path / "reference").values()
    for control, expected in (("oracle", 1.0), ("empty", 0.0)):
        write_control(control, references=references, out=tmp_path / control, labels=(1, 2), instances=True)
        assert mean_score(tmp_path / "reference", tmp_path / control, "canonical", "f1", tmp_path) == expected
        assert mean_score(tmp_path / "reference", tmp_path / control, "umamba_microscopy", "f1", tmp_path) == expected


def test_wrong_controls_are_refused(references, tmp_path):
    with pytest.raises(InputError, match="Unknown control"):
        write_control("random", references=[], out=tmp_path, labels=(1,))
    with pytest.raises(InputError, match="training references"):
        write_control("class_prior", references=[], out=tmp_path, labels=(1,))


def test_one_job_scores_all_controls_of_a_protocol(references, tmp_path, monkeypatch):
    """The files that a table reads, by the protocol's own convention."""
    shutil.copytree(references, tmp_path / "store/references")
    volume = np.zeros((1, 4, 4, 4)), np.zeros((4, 4, 4), np.uint8), {}
    PreparedStore.create(tmp_path / "store", {"a": volume, "b": volume}, label_names=list(LABELS.values()))
    write_json(tmp_path / "store/labels.json", {str(value): name for value, name in LABELS.items()})
    write_json(tmp_path / "split.json", {"train": ["a"], "val": [], "test": ["b", "a"]})
    config = load_catalog().run("swin_umamba/abdomen_mri-scratch/swin_umamba-scratch/seed0", "paper")
    monkeypatch.setattr(score_run, "run_config", lambda arguments: config)
    parser = argparse.ArgumentParser()
    score_run.add_arguments(parser)
    words = [config.run, "--store", str(tmp_path / "store/prepared.json"), "--split", str(tmp_path / "split.json")]
    score_run.main(parser.parse_args([*words, "--controls", "--out", str(tmp_path / "controls")]))
    expected = dict(zip(("oracle", "empty"), DSC[config.convention], strict=True))
    assert {path.parent.name for path in tmp_path.glob("controls/*/scores.parquet")} == set(CONTROLS)
    for control, mean in expected.items():
        table = read_scores(tmp_path / "controls" / control / "scores.parquet")
        assert set(table["run"]) == {f"control/{control}"} and set(table["case"]) == {"a", "b"}
        summary = summarise(table, metric="dsc", convention=get_convention(config.convention))
        assert summary.mean == pytest.approx(mean)


def test_discs_have_the_median_area_and_the_deeper_one_wins():
    labels = np.zeros((20, 20, 4), np.uint8)
    for number, side in enumerate((3, 5, 9)):
        labels[2 : 2 + side, 2 : 2 + side, number] = 1
    labels[15, 15, 3] = 2
    radii = median_radii([labels], 2)
    assert radii == pytest.approx({1: np.sqrt(25 / np.pi), 2: np.sqrt(1 / np.pi)})
    points = {1: {1: (6, 9), 2: (8, 9), 3: (0, 19)}}
    painted = paint_discs(points, radii | {2: 1.5}, (20, 20, 4), 2)
    assert not painted[..., [0, 2, 3]].any()
    rows, columns = np.indices((20, 20))
    first, second = radii[1] - np.hypot(columns - 6, rows - 9), 1.5 - np.hypot(columns - 8, rows - 9)
    expected = np.where((second > first) & (second > 0), 2, np.where(first > 0, 1, 0))
    expected[19, 0] = 3  # a class that no training slice shows is its point
    assert np.array_equal(painted[..., 1], expected)
    assert np.array_equal(paint_discs(points, radii | {2: 1.5}, (4, 20, 20), 0)[1], expected)
