"""Which rows are compared, by which unit, and what becomes of a star; oracles are scipy and statsmodels."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest
from helpers.simulated_scores import CLASSES, simulated, sources_of, write_scores
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from benchmark.catalog.catalog import load_catalog
from benchmark.evidence.comparisons import compared, unit_scores
from benchmark.evidence.csv_files import compare_csv
from benchmark.evidence.markdown import table_markdown
from benchmark.evidence.measured import Evidence
from benchmark.evidence.rebuilt import build_table
from benchmark.evidence.resolve import cell_sources
from benchmark.evidence.scores import ScoreMatrix, read_scores
from benchmark.evidence.significance import star_verdict
from benchmark.evidence.statistics import Test

CATALOG = load_catalog()
TABLE_2 = CATALOG.target("table2_experts")
ROWS = list(TABLE_2.rows)
TABLES = [
    target
    for target in CATALOG.targets.values()
    if target.kind == "table"
    and any(column.measure == "score" for column in target.columns.values())
    and sum(row.model is not None for row in target.rows.values()) > 1
]


@pytest.fixture
def scores(tmp_path):
    """All rows of Table 2 on 89 cases: the first four alike but for noise, n = 32 far above them."""
    paths = []
    for index, row in enumerate(ROWS):
        run = CATALOG.runs(TABLE_2, rows=[row])[0]
        values = simulated(89, 0.90 if index == 4 else 0.70, index)
        paths.append(write_scores(tmp_path / f"{index}.parquet", run, values))
    return read_scores(paths)


def reports_of(scores, unit="cases"):
    return build_table(TABLE_2, sources_of(TABLE_2), Evidence(scores=scores), unit=unit).significance


@pytest.mark.parametrize("target", TABLES, ids=lambda target: target.target)
def test_every_table_of_several_methods_is_compared(target):
    specs = compared(target, cell_sources(CATALOG, target, "paper"))
    assert specs and len({(spec.column, spec.against) for spec in specs}) == len(specs)
    for spec in specs:
        rows = spec.rows or tuple(target.rows)
        assert spec.against in rows and len(rows) > 1
        datasets = {CATALOG.run(CATALOG.rests_on(target, row, spec.column)[0]).dataset for row in rows}
        assert len(datasets) == 1  # rows that were scored on other scans are not compared


def test_the_mean_stands_for_its_organs_and_each_dataset_for_itself():
    target = CATALOG.target("table2_multimodal")
    specs = compared(target, cell_sources(CATALOG, target, "paper"))
    assert [(spec.column, spec.against, len(spec.rows)) for spec in specs] == [
        ("Mean", "FLARE22: Ours", 6), ("Mean", "AMOS-CT: Ours", 5), ("Mean", "AMOS-CT+MRI: Ours", 5),
    ]  # fmt: skip


def test_units_by_hand():
    values = np.array([[0.2, 0.4, np.nan], [0.6, np.nan, np.nan]])
    matrix = ScoreMatrix(values, ("one", "two"), ("liver", "spleen", "aorta"))
    assert unit_scores([matrix], "cases") == pytest.approx({"one": 0.3, "two": 0.6})
    by_class = {"liver": 0.4, "spleen": 0.4, "aorta": np.nan}
    assert unit_scores([matrix], "classes") == pytest.approx(by_class, nan_ok=True)
    both = unit_scores([matrix, matrix], "both")
    assert both["one/liver"] == 0.2 and np.isnan(both["two/aorta"]) and len(both) == 6


@pytest.mark.parametrize(("unit", "axis"), [("cases", 1), ("classes", 0), ("both", None)])
def test_the_published_test_by_each_unit_is_scipys(scores, unit, axis):
    caption, _ = reports_of(scores, unit)
    tables = [100 * simulated(89, 0.90 if index == 4 else 0.70, index) for index in range(5)]
    groups = [table.ravel() if axis is None else table.mean(axis=axis) for table in tables]
    assert caption.unit == unit and caption.anova.n == sum(map(len, groups))
    for comparison, group in zip(caption.comparisons, groups, strict=False):
        oracle = stats.f_oneway(groups[4], group)
        assert comparison.as_published.p == pytest.approx(oracle.pvalue, rel=1e-6)
        assert comparison.wilcoxon.p == pytest.approx(stats.wilcoxon(groups[4] - group).pvalue, rel=1e-3, abs=1e-300)


def test_all_rows_together_by_the_plain_analysis_of_variance(scores):
    caption, text = reports_of(scores)
    tables = [100 * simulated(89, 0.90 if index == 4 else 0.70, index).mean(axis=1) for index in range(5)]
    frame = pd.DataFrame({"score": np.concatenate(tables), "row": np.repeat(ROWS, 89)})
    oracle = anova_lm(ols("score ~ row", frame).fit())
    assert caption.anova.statistic == pytest.approx(oracle["F"].iloc[0])
    assert caption.anova.p == pytest.approx(oracle["PR(>F)"].iloc[0])
    assert text.anova == caption.anova and caption.anova.name == "one-way ANOVA"


def test_the_comparison_of_table_2s_text_stands_beside_that_of_its_caption(scores):
    caption, text = reports_of(scores)
    assert (caption.against, text.against) == (ROWS[4], "Baseline")
    assert [item.row for item in text.comparisons] == ROWS[1:]
    assert all(item.published_star for item in text.comparisons)
    assert [item.star for item in caption.comparisons] == ["agrees"] * 4
    assert text.comparisons[3].star == "agrees"  # n = 32 is far above; the others are not
    alike = [100 * simulated(89, 0.70, index).mean(axis=1) for index in range(4)]
    for item, other in zip(text.comparisons[:3], alike[1:], strict=True):
        differs = stats.f_oneway(alike[0], other).pvalue < 0.05
        assert item.star == ("agrees" if differs else "disagrees")
    page = table_markdown(build_table(TABLE_2, sources_of(TABLE_2), Evidence(scores=scores)))
    assert "### DSC (%), against Baseline" in page and "the text (ablation study)" in page


@pytest.mark.parametrize(
    ("published", "p", "reason", "verdict"),
    [
        (True, 0.01, "", "agrees"),
        (True, 0.05, "", "disagrees"),
        (False, 0.3, "", "agrees"),
        (False, 0.001, "", "disagrees"),
        (True, 0.01, "demo scale", "not comparable (demo scale)"),
        (True, np.nan, "demo scale", "not attempted (too few values)"),
    ],
)
def test_a_star_has_a_verdict_of_its_own(published, p, reason, verdict):
    test = Test("one-way ANOVA", 1.0, p, 10, "too few values" if np.isnan(p) else "")
    assert star_verdict(published, test, 0.05, reason) == verdict


@pytest.mark.parametrize(("cases", "scale", "words"), [(89, "demo", "demo scale"), (12, "paper", "12 of the 89")])
def test_a_star_is_not_held_against_other_scores(tmp_path, cases, scale, words):
    runs = [CATALOG.runs(TABLE_2, rows=[row])[0] for row in (ROWS[0], ROWS[4])]
    paths = [write_scores(tmp_path / f"{i}.parquet", run, simulated(cases, 0.7, i)) for i, run in enumerate(runs)]
    table = build_table(TABLE_2, sources_of(TABLE_2), Evidence(scale=scale, scores=read_scores(paths)))
    assert words in table.star("Baseline", "DSC (%)") and "not comparable" in table.star("Baseline", "DSC (%)")
    lines = {line["row"]: line["star"] for line in csv.DictReader(io.StringIO(compare_csv(table))) if line["star"]}
    assert lines == {"Baseline": table.star("Baseline", "DSC (%)")}


def test_without_a_published_test_there_is_no_star():
    assert len(CLASSES) > 1
    target = CATALOG.target("table1_abdomenmri")
    assert all(spec.test is None for spec in compared(target, cell_sources(CATALOG, target, "paper")))
