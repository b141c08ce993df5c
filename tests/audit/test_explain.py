"""`explain`: the sentence for every kind of verdict, what bears on a cell with its outcome, listings, near names."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from helpers.own_folders import new, write_raw
from helpers.simulated_scores import simulated, write_scores

from benchmark.audit.explain import add_arguments, bearing, contents, explain
from benchmark.catalog import load_catalog
from benchmark.catalog.derivation import derivation, ledger_of
from benchmark.cli import main
from benchmark.errors import InputError, near_names
from benchmark.own import VARIABLE, use_folders

CATALOG = load_catalog()
TITLE = "Table 1 of Swin SMT: Global Sequential Modeling for Enhancing 3D Medical Image Segmentation"
UNETR = "swin_smt/totalseg/unetr/seed0"


def arguments(results: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*(words or ("table1_totalseg",)), "--results", str(results)])


def first_line(results: Path, target: str, row: str, column: str) -> str:
    return next(explain(CATALOG, CATALOG.target(target), row, column, arguments(results)))


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        ("Swin SMT (ours)", "Params (M)", "170.78 M was printed; we have 170.78 M; the verdict is within: 170.7836 is"),
        (
            "DiNTS",
            "Params (M)",
            "147.00 M was printed; we have 152.36 M; the verdict is above: 152.3648 would not be printed so; 147.00 M "
            "parameters of DiNTS: no other architecture is published.",
        ),
        ("UNETR", "Time (s)", "35 s was printed; we have nothing; the verdict is not attempted: no GPU."),
        ("UNETR", "Overall", "70.88 (*) % was printed; we have nothing; the verdict is not attempted: not run."),
    ],
)
def test_it_begins_with_one_sentence(tmp_path: Path, row: str, column: str, said: str) -> None:
    line = first_line(tmp_path, "table1_totalseg", row, column)
    assert line.startswith(f"{TITLE}, {row}, {column}: {said}") and "\n" not in line


@pytest.mark.parametrize(
    ("centre", "verdict"),
    [
        (0.70, "not separable: the interval lies neither inside nor outside the band around the printed value"),
        (0.50, "below: the difference of {delta:.4f} is larger than the band"),
    ],
)
def test_scores_of_the_results_folder_are_judged(tmp_path: Path, centre: float, verdict: str) -> None:
    values = simulated(89, centre, 1)
    write_scores(tmp_path / "runs" / UNETR / "scores.parquet", UNETR, values, config_digest="")
    line = first_line(tmp_path, "table1_totalseg", "UNETR", "Overall")
    said = verdict.format(delta=100 * values.mean() - 70.88)
    assert f"we have {100 * values.mean():.2f} % over 89 cases; the verdict is {said} (band 1, borrowed: " in line


def test_what_bears_on_a_cell_comes_with_its_outcome(tmp_path: Path) -> None:
    target = CATALOG.target("table1_abdomenmri")
    lines = list(bearing(CATALOG, target, "nnU-Net", "DSC"))
    text = "\n".join(lines)
    assert "statement   does not add up: All Mamba-based networks outperform" in text
    assert "statement   agrees: Swin-UMamba† outperforms 7 state-of-the-art" in text
    assert "check       agrees: same cell in two tables" in text
    for paper, entry in ledger_of(CATALOG, target, "nnU-Net", "DSC"):
        own = "" if paper == target.paper else f"{paper}/"
        told = f"evidence: {entry.evidence}; authors: {entry.asked_authors}"
        assert f"ledger      {own}{entry.id}: {entry.subject}; {told}" in lines
    text = "\n".join(bearing(CATALOG, CATALOG.target("table1_totalseg"), "Universal Model", "Time (s)"))
    assert "statement   agrees: 1.54 times slower than the Universal Model (printed 1.54 in" in text
    assert "1.33, 2.42" not in text


def test_a_deviation_gets_its_standard_error(tmp_path: Path) -> None:
    """0.7450 ± 0.1117 over 50 scans: 0.0158; UNETR's 0.5747 ± 0.1672 lies six of their common errors below."""
    text = "\n".join(bearing(CATALOG, CATALOG.target("table1_abdomenmri"), "nnU-Net", "DSC"))
    assert "deviation   standard error 0.0158 of the mean: ± 0.1117 over 50 cases" in text
    assert "cannot separate it from SegResNet (0.7317), " in text and "(cases not paired)" in text
    assert "UNETR (0.5747)" not in text


def test_the_derivation_follows(tmp_path: Path) -> None:
    target = CATALOG.target("table1_totalseg")
    lines = list(explain(CATALOG, target, "UNETR", "Overall", arguments(tmp_path)))
    own = list(derivation(CATALOG, target, "UNETR", "Overall", "paper"))
    assert lines[-len(own) :] == own


def test_a_target_lists_its_rows_and_columns() -> None:
    target = CATALOG.target("table1_totalseg")
    lines = "\n".join(contents(CATALOG, target)).splitlines()
    assert lines[0].startswith(TITLE)
    assert [line.split("|")[1].strip() for line in lines[3:-1]] == list(target.rows)
    assert [cell.strip() for cell in lines[1].split("|")[2:-1]] == list(target.columns)
    (row,) = "\n".join(contents(CATALOG, target, "UNETR")).splitlines()[3:-1]
    assert "70.88 (*)" in row


@pytest.mark.parametrize("target", CATALOG.targets)
def test_every_target_is_listed(target: str) -> None:
    assert len(list(contents(CATALOG, CATALOG.target(target)))) >= 2


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["table1_totalsg"], "did you mean 'table1_totalseg'?"),
        (["table1"], "'table1_"),
        (["table1_totalseg", "swin smt"], "did you mean 'Swin SMT (ours)'?"),
        (["table1_totalseg", "UNETR", "overal"], "did you mean 'Overall'?"),
    ],
)
def test_near_names_and_beginnings_are_offered(words: list[str], offered: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["explain", *words]) == 2
    assert offered in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["explan", "table1_totalseg"], "there is no command 'explan'; did you mean 'explain'?"),
        (["fetch", "acd", "--out", "nowhere/source.json"], "unknown data set 'acd'; did you mean 'acdc'?"),
        (["export", "swin_smt/totalseg/unter/seed0", "nowhere", "--to", "nnunet"], "did you mean 'unetr'?"),
    ],
)
def test_near_names_are_offered_by_every_command(words: list[str], offered: str, capsys: pytest.CaptureFixture) -> None:
    assert main(words) == 2
    assert offered in capsys.readouterr().err


def test_near_names_by_hand() -> None:
    choices = ["table1_totalseg", "table1_design", "table2_experts", "fig3", "Overall"]
    assert near_names("tabel1_totalseg", choices) == ["table1_totalseg"]
    assert near_names("table1", choices)[:2] == ["table1_design", "table1_totalseg"]
    assert near_names("OVERALL", choices) == ["Overall"]
    assert near_names("experts", choices) == ["table2_experts"]
    assert near_names("x", choices) == near_names("quite another", choices) == []


def test_a_name_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="no column"):
        list(explain(CATALOG, CATALOG.target("table1_totalseg"), "UNETR", "x", arguments(Path("nowhere"))))


def test_folds_stand_in_a_line_and_their_recipe_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    root, folder = write_raw(tmp_path / "Blobs", cases=6), tmp_path / "mine"
    assert new("dataset", root, "--in", folder, "--folds", "3") == 0
    use_folders([folder])
    catalog, results = load_catalog(seeds=2), tmp_path / "results"
    target = catalog.target("blobs_table")
    words = ("blobs_table", "nnU-Net", "Mean (%)")
    _, line = islice(explain(catalog, target, *words[1:], arguments(results, *words)), 2)
    assert line == "folds       each of 3: not attempted (not run)"
    for fold, value in enumerate((0.5, 0.6, 0.8)):
        for seed in range(2):
            run, values = f"mine/blobs-fold{fold}/nnunet/seed{seed}", np.full((2, 2), value)
            path = results / "runs" / run / "scores.parquet"
            own = {"convention": "canonical", "classes": ("left", "right"), "first": 2 * fold}
            write_scores(path, run, values, config_digest=catalog.run(run).digest, **own)
    lines = list(explain(catalog, target, *words[1:], arguments(results, *words)))
    assert "we have 63.33 % over 6 cases and 3 folds" in lines[0]
    assert lines[1] == "folds       0: 50.00, 1: 60.00, 2: 80.00; sd over folds 15.28"  # of 50, 60, 80: 15.275
    starts = [line[:12] for line in lines]
    assert starts.count(f"{'run':<12}") == 6
    assert "            6 runs of one recipe, which differ by fold or seed alone" in lines
    for once in ("network", "convention", "files", "command"):
        assert starts.count(f"{once:<12}") == 1
    assert sum(line.startswith("  training.patch: ") for line in lines) == 1
    assert sum(line.startswith("run  ") for line in derivation(catalog, target, "nnU-Net", "Params (M)", "paper")) == 1
