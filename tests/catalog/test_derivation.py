"""Any published cell is derived, and `list` shows the conventions that the protocols name."""

from __future__ import annotations

import re

import pytest

from benchmark.catalog import load_catalog
from benchmark.catalog.derivation import DECIDED_BY, WITHOUT_A_RUN, derivation, ledger_of
from benchmark.catalog.list import list_conventions
from benchmark.errors import InputError
from benchmark.scoring.conventions import load_conventions

CATALOG = load_catalog()
# Of every table: each column once, walking down its rows, so that all kinds of cells come up.
SAMPLE = [
    (target.target, list(target.rows)[number % len(target.rows)], column)
    for target in CATALOG.targets.values()
    if target.published
    for number, column in enumerate(target.columns)
]


@pytest.mark.parametrize(("name", "row", "column"), SAMPLE)
@pytest.mark.parametrize("scale", ["paper", "demo"])
def test_any_cell_is_derived(name: str, row: str, column: str, scale: str) -> None:
    target = CATALOG.target(name)
    lines = list(derivation(CATALOG, target, row, column, scale))
    text = "\n".join(lines)
    claim = target.claim(row, column)
    measure = target.columns[column].measure
    assert claim is not None and f"published   {claim.value or '(empty)'}" in text
    assert f"measure     {measure}" in text
    assert not any(line != line.rstrip() for line in lines)
    assert lines[-1].startswith("command     snakemake ") and lines[-1].endswith(f"{name}.csv")
    for run in CATALOG.rests_on(target, row, column) if measure in ("score", "average") else ():
        assert f"run         {run}, configuration " in text
        assert "convention  " in text and "scores.parquet" in text


@pytest.mark.parametrize(("name", "row", "column"), SAMPLE)
def test_a_cell_without_training_claims_none(name: str, row: str, column: str) -> None:
    """Counts, settings, sizes and words rest on no training, no score file and no optimiser."""
    target = CATALOG.target(name)
    if target.columns[column].measure not in ("score", "average"):
        text = "\n".join(derivation(CATALOG, target, row, column, "paper"))
        assert "trained.json" not in text and "training.optimiser" not in text and "scores.parquet" not in text


def test_every_setting_is_shown_with_its_value() -> None:
    """Values that are no part of the run's settings (initialisation, edges) were once shown as a dash."""
    text = "\n".join(derivation(CATALOG, CATALOG.target("table3_atlas"), "Ours", "DSC (%) Liver", "paper"))
    assert "  begins_from.expert1: swin_mae — paper: Section 2" in text
    assert "  trained_by: joint — code: trainer.py" in text and "trained by  m4oe/mae_atlas2023/swin_mae/seed0" in text
    text = "\n".join(derivation(CATALOG, CATALOG.target("table1_datasets"), "Endoscopy", "Epochs", "paper"))
    assert "  training.epochs: 350 — paper: Table 1" in text


def test_what_the_demo_changes_is_not_the_papers() -> None:
    target = CATALOG.target("table1_totalseg")
    text = "\n".join(derivation(CATALOG, target, "UNETR", "Overall", "demo"))
    assert "  training.patch: [32, 32, 32] — demo scale, ours; the paper's scale has [128, 128, 128] — paper:" in text
    assert "  inference.weighting: gaussian — paper: Section 3" in text
    assert "demo scale, ours" not in "\n".join(derivation(CATALOG, target, "UNETR", "Overall", "paper"))


def test_a_mean_over_datasets_names_the_run_of_each() -> None:
    text = "\n".join(derivation(CATALOG, CATALOG.target("table2_umamba"), "nnU-Net", "AVG", "paper"))
    for dataset in ("abdomen_mri", "endovis17", "neurips_cellseg"):
        assert f"run         swin_umamba/{dataset}-nnunet/nnunet/seed0, configuration " in text


def shown() -> dict[tuple[str, str], set[tuple[str, str, str]]]:
    """(paper, entry) → the cells (target, row, column) at which it is shown."""
    cells: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
    for target in CATALOG.targets.values():
        for row in target.rows:
            for column in target.columns:
                for paper, entry in ledger_of(CATALOG, target, row, column):
                    cells.setdefault((paper, entry.id), set()).add((target.target, row, column))
    return cells


SHOWN = shown()


@pytest.mark.parametrize("paper", CATALOG.papers)
def test_every_ledger_entry_is_shown_where_it_bears(paper: str) -> None:
    """Somewhere at all, and somewhere in every target that it names and that has cells."""
    for entry in CATALOG.papers[paper].ledger:
        targets = {name for name in entry.concerns if name in CATALOG.targets and CATALOG.target(name).columns}
        assert {name for name, _, _ in SHOWN[paper, entry.id]} >= targets, entry.id


@pytest.mark.parametrize(
    ("entry", "cell", "bears"),
    [
        (("swin_smt", "nnunet-parameters"), ("table1_totalseg", "nnU-Net", "Params (M)"), True),
        (("swin_smt", "nnunet-parameters"), ("table1_totalseg", "Swin SMT (ours)", "Params (M)"), False),
        (("swin_smt", "warm-up-length"), ("table1_totalseg", "nnU-Net", "Overall"), True),
        (("swin_smt", "warm-up-length"), ("table1_totalseg", "nnU-Net", "Params (M)"), False),
        (("swin_umamba", "endoscopy-labels-scored"), ("table2_umamba", "nnU-Net", "Endoscopy NSD"), True),
        (("swin_umamba", "endoscopy-labels-scored"), ("table2_umamba", "nnU-Net", "AbdomenMRI NSD"), False),
        (("swin_umamba", "umamba-enc-flops"), ("table3_microscopy", "U-Mamba_Enc", "FLOPs"), True),
        (("m4oe", "gate"), ("table2_multimodal", "FLARE22: DoDNet", "Mean"), False),
    ],
)
def test_ledger_entries_go_to_their_own_cells(entry: tuple, cell: tuple, bears: bool) -> None:
    assert (cell in SHOWN[entry]) is bears


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [("Swin SMT", "Overall", "no row 'Swin SMT'; did you mean 'Swin SMT (ours)'"), ("UNETR", "Overal", "'Overall'")],
)
def test_a_cell_that_does_not_exist_names_the_nearest(row: str, column: str, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        list(derivation(CATALOG, CATALOG.target("table1_totalseg"), row, column, "paper"))


def test_ledgers_are_kept() -> None:
    assert all(len(folder.ledger) >= 15 for folder in CATALOG.papers.values())
    assert set(DECIDED_BY).isdisjoint(WITHOUT_A_RUN)


def test_explained_cells_exist() -> None:
    for folder in CATALOG.papers.values():
        for entry in folder.ledger:
            targets = [CATALOG.target(name) for name in entry.concerns if name in CATALOG.targets]
            for row, columns in entry.cells.items():
                explained = [target for target in targets if row in target.rows and {*columns} <= {*target.columns}]
                assert explained, (entry.id, row)


def test_every_convention_is_listed_and_every_protocol_names_one() -> None:
    _, rows = list_conventions(CATALOG)
    assert [row[0] for row in rows] == list(load_conventions())
    named = {protocol.convention for folder in CATALOG.papers.values() for protocol in folder.protocols.values()}
    assert named <= set(load_conventions())
