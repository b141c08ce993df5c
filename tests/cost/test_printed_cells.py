"""Parameters and FLOPs that the Swin-UMamba papers print, against what is counted at their three input sizes."""

from __future__ import annotations

import csv
from collections import Counter
from functools import lru_cache

import pytest

from benchmark.catalog.catalog import Catalog, load_catalog
from benchmark.catalog.published import parse_published
from benchmark.cost.cost import RunCost, cost_of
from benchmark.evidence.cells import format_number

CATALOG = load_catalog()
TARGETS = ("table2_umamba", "table1_abdomenmri", "table2_endoscopy", "table3_microscopy", "table4_structure")
UNITS = {"parameters": 1e6, "flops": 1e9}
MATCHING = (  # rows of reference/models/README_2d.md whose figures the printed ones are
    "nnU-Net", "SegResNet", "UNETR", "SwinUNETR", "U-Mamba_Bot", "Swin-UMamba", "Swin-UMamba†", "w/ symmetric decoder",
)  # fmt: skip
# 27,497,720 is printed 28 M and 27,492,300 27 M: rounded twice, by way of 27.50 and 27.49 (our inference)
ROUNDED_TWICE = "Swin-UMamba†"
DIFFERENT = {  # (network, measure) → counted at the three inputs, where it is not what is printed
    ("nnFormer", "parameters"): (114_194_514, 114_067_200, 113_959_665),
    ("nnFormer", "flops"): (50.135, 124.093, 136.281),
    ("U-Mamba_Enc", "flops"): (51.494, 123.635, 132.782),
}
INPUTS = ("1x1x320x320", "1x3x384x640", "1x3x512x512")


def network(row: str) -> str:
    return row.split(" (w/")[0]


@lru_cache
def counted(run: str) -> RunCost:
    """One count for all rows that differ in initialisation or recipe alone."""
    return cost_of(CATALOG, run)


def cells():
    """(target, row, column, measure, run, printed) of every number of parameters or FLOPs."""
    for name in TARGETS:
        target = CATALOG.target(name)
        for claim in target.published:
            column = target.columns[claim.column]
            printed = parse_published(claim.value)
            runs = CATALOG.cell_runs(target, claim.row, claim.column)
            if column.measure in UNITS and runs and printed.value is not None:
                yield name, claim.row, claim.column, column.measure, runs[0], printed


CELLS = list(cells())
PRINTED = [
    pytest.param(*cell[3:], id=f"{cell[0]}-{cell[1]}-{cell[2]}")
    for cell in CELLS
    if network(cell[1]) in MATCHING or (network(cell[1]) == "U-Mamba_Enc" and cell[3] == "parameters")
    if not (network(cell[1]) == ROUNDED_TWICE and cell[3] == "parameters")
]


def test_no_cell_is_forgotten():
    assert len(PRINTED) >= 60
    rest = {(network(row), measure) for _, row, _, measure, *_ in CELLS} - {
        (network(row), measure) for _, row, _, measure, *_ in CELLS if network(row) in MATCHING
    }
    assert rest == {*DIFFERENT, ("U-Mamba_Enc", "parameters")}


@pytest.mark.parametrize(("measure", "run", "printed"), PRINTED)
def test_a_printed_cell_is_reproduced(measure, run, printed):
    value = getattr(counted(run), measure) / UNITS[measure]
    assert f"{value:.{printed.decimals}f}" == f"{printed.value:.{printed.decimals}f}"


@pytest.mark.parametrize(("name", "measure"), DIFFERENT)
def test_what_differs_is_known(name, measure):
    costs = [counted(cell[4]) for cell in CELLS if network(cell[1]) == name and cell[3] == measure]
    assert len(costs) >= 3
    for cost in costs:
        value = cost.parameters if measure == "parameters" else round(cost.flops / 1e9, 3)
        assert value == DIFFERENT[name, measure][INPUTS.index(cost.input)]


def committed(catalog: Catalog) -> dict[str, dict[str, str]]:
    """Run id → line of paper_tables/<paper>/measured/flops.csv."""
    files = [catalog.folder / paper / "measured" / "flops.csv" for paper in catalog.papers]
    return {line["run"]: line for path in files for line in csv.DictReader(path.open(encoding="utf-8"))}


def test_each_counted_cell_that_differs_has_a_reading():
    """Of all papers: the printed value is what is counted, or the ledger says why not; the table prints the reading."""
    costs, differing, equal = committed(CATALOG), Counter(), Counter()
    for name, target in CATALOG.targets.items():
        for claim in target.published:
            column, printed = target.columns[claim.column], parse_published(claim.value)
            runs = CATALOG.cell_runs(target, claim.row, claim.column)
            if column.measure not in UNITS or not runs or printed.value is None or not costs[runs[0]][column.measure]:
                continue
            value = int(costs[runs[0]][column.measure]) / UNITS[column.measure]
            shown = format_number(value, printed.decimals, truncate=column.rounding == "truncate")
            differs = shown != f"{printed.value:.{printed.decimals}f}"
            assert CATALOG.reading(target, claim.row, claim.column) or not differs, (name, claim.row, claim.column)
            (differing if differs else equal)[target.paper] += 1
    assert differing == {"m4oe": 4, "swin_smt": 8, "swin_umamba": 5, "swin_umamba_dagger": 13}
    assert equal.total() == 81
    assert sum(differing[paper] + equal[paper] for paper in ("swin_umamba", "swin_umamba_dagger")) == len(CELLS)


def test_the_small_ones_round_twice():
    for _, row, _, measure, run, printed in CELLS:
        if network(row) == ROUNDED_TWICE and measure == "parameters":
            once = round(counted(run).parameters / 1e6, 2)
            assert int(once + 0.5) == printed.value


def test_the_symmetric_encoder_has_the_count_of_the_reference():
    (row,) = [row for row in CATALOG.target("table4_structure").rows if "encoder" in row]
    cost = counted(CATALOG.cell_runs(CATALOG.target("table4_structure"), row, "FLOPs")[0])
    assert (cost.parameters, round(cost.flops / 1e9, 3)) == (19_127_288, 14.466)
