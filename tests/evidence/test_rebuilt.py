"""A rebuilt table: its cells, intervals, bands, controls, failures and significance, from simulated scores."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.simulated_scores import CLASSES, GROUPS, simulated, sources_of, write_scores
from pydantic import ValidationError
from scipy import stats

from benchmark.catalog.catalog import load_catalog
from benchmark.catalog.published import UNITS
from benchmark.catalog.targets import Claim, Column
from benchmark.errors import InputError
from benchmark.evidence.cells import build_cell, format_number
from benchmark.evidence.csv_files import compare_csv, table_csv
from benchmark.evidence.markdown import DEMO_BANNER, aligned, table_markdown
from benchmark.evidence.measured import CellSource, Evidence
from benchmark.evidence.rebuilt import build_table
from benchmark.evidence.resampling import bootstrap_average
from benchmark.evidence.scores import read_scores

TARGET = load_catalog().target("table1_totalseg")
UNETR, SWIN_SMT = "swin_smt/totalseg/unetr/seed0", "swin_smt/totalseg/swin_smt-n32/seed0"
OVERALL = TARGET.columns["Overall"]


@pytest.fixture
def scores(tmp_path):
    """Two rows of Table 1, scored on 89 cases."""
    paths = [
        write_scores(tmp_path / "unetr.parquet", UNETR, simulated(89, 0.70, 1)),
        write_scores(tmp_path / "smt.parquet", SWIN_SMT, simulated(89, 0.85, 2)),
    ]
    return read_scores(paths)


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def cell_of(evidence: Evidence, source: CellSource, *, published: str = "70.88", column: Column = OVERALL):
    claim = Claim(row="UNETR", column="Overall", value=published)
    return build_cell("UNETR", "Overall", column, claim, source, evidence)


def test_a_table_without_any_file_is_built_and_says_why():
    sources = sources_of(TARGET)
    sources["DiNTS", "Overall"] = replace(sources["DiNTS", "Overall"], without_scores="no phantom")
    table = build_table(TARGET, sources, Evidence())
    rows = {line["row"]: line for line in lines_of(table_csv(table))}
    assert list(rows) == list(TARGET.rows)
    assert rows["DiNTS"]["Overall"] == "not attempted (no phantom)"
    assert rows["UNETR"]["Overall"] == "not attempted (not run)"
    assert rows["UNETR"]["Time (s)"] == "not attempted (no GPU)"
    assert rows["UNETR"]["Params (M)"] == "not attempted (not counted)"
    assert table.significance == () and table.failures == ()
    assert "docs/verdicts.md" in table_markdown(table)


def test_a_table_by_the_canonical_convention_has_no_second_one(tmp_path):
    path = write_scores(tmp_path / "own.parquet", UNETR, simulated(89, 0.70, 1), convention="canonical")
    own = replace(sources_of(TARGET)["UNETR", "Overall"], convention="canonical", order="cases_then_classes")
    sources = sources_of(TARGET) | {("UNETR", "Overall"): own}
    table = build_table(TARGET, sources, Evidence(scores=read_scores([path])))
    assert table.cells["UNETR", "Overall"].measured.rebuilt.value == pytest.approx(100 * simulated(89, 0.70, 1).mean())
    assert ("UNETR", "Overall") not in table.canonical


def test_groups_average_their_own_structures(scores):
    table = build_table(TARGET, sources_of(TARGET), Evidence(scores=scores))
    values = simulated(89, 0.70, 1)[:, [CLASSES.index(name) for name in GROUPS["organs"]]]
    assert table.cells["UNETR", "Organs"].measured.rebuilt.value == pytest.approx(100 * values.mean())


def test_counts_are_exact_to_the_printed_precision_at_any_scale():
    cost = {UNETR: {"parameters": 102_028_918.0}, SWIN_SMT: {"parameters": 170_783_560.0}}
    table = build_table(TARGET, sources_of(TARGET), Evidence(scale="demo", cost=cost))
    assert str(table.cells["UNETR", "Params (M)"].verdict) == "within"
    assert table.cells["Swin SMT (ours)", "Params (M)"].text == "170.78"
    cost[UNETR]["parameters"] += 10_000
    table = build_table(TARGET, sources_of(TARGET), Evidence(cost=cost))
    assert str(table.cells["UNETR", "Params (M)"].verdict) == "above"


def test_settings_are_counts():
    target = load_catalog().target("table2_experts")
    table = build_table(target, sources_of(target), Evidence())
    row = "+ Soft MoE (n = 32)"
    assert str(table.cells[row, "Experts (n)"].verdict) == "within"
    assert table.cells[row, "Experts (n)"].text == "32"


def test_measured_time_is_named_and_not_judged():
    table = build_table(TARGET, sources_of(TARGET), Evidence(latency={UNETR: (21.4, "NVIDIA H200")}))
    cell = table.cells["UNETR", "Time (s)"]
    assert str(cell.verdict) == "not comparable (measured on NVIDIA H200)"
    assert cell.text == "21" and cell.verdict.delta == pytest.approx(-13.6)


def test_demo_scores_are_shown_and_never_judged(scores):
    table = build_table(TARGET, sources_of(TARGET), Evidence(scale="demo", scores=scores))
    assert str(table.cells["UNETR", "Overall"].verdict) == "not comparable (demo scale)"
    page = table_markdown(table)
    assert DEMO_BANNER in page
    assert DEMO_BANNER not in table_markdown(build_table(TARGET, sources_of(TARGET), Evidence(scores=scores)))


def test_other_cases_than_the_published_ones_widen_the_interval(scores):
    same = build_table(TARGET, sources_of(TARGET), Evidence(scores=scores)).cells["UNETR", "Overall"]
    other = build_table(TARGET, sources_of(TARGET, published_cases=False), Evidence(scores=scores))
    assert same.measured.interval_over == "" and same.measured.rebuilt.lower == same.measured.rebuilt.value
    cell = other.cells["UNETR", "Overall"]
    assert cell.measured.interval_over == "cases"
    assert cell.measured.rebuilt.lower < cell.measured.rebuilt.value < cell.measured.rebuilt.upper


def test_three_seeds_bring_their_own_band(tmp_path):
    runs = [UNETR.replace("seed0", f"seed{seed}") for seed in range(3)]
    paths = [
        write_scores(tmp_path / f"{i}.parquet", run, np.full((4, len(CLASSES)), 0.70 + 0.002 * i))
        for i, run in enumerate(runs)
    ]
    own = frozenset(f"s{number:04d}" for number in range(4))
    source = replace(sources_of(TARGET)["UNETR", "Overall"], runs=tuple(runs), test_cases=own)
    cell = cell_of(Evidence(scores=read_scores(paths)), source, published="72.88")
    assert cell.measured.band.source == "prediction interval of 3 seeds"
    assert cell.measured.rebuilt.runs == 3 and cell.measured.interval_over == "seeds"
    assert cell.measured.rebuilt.value == pytest.approx(70.2)
    assert str(cell.verdict) == "below"


@pytest.mark.parametrize("cases", [1, 2, 5, 19, 20])
def test_a_handful_of_other_cases_shows_little(tmp_path, cases):
    """A single case that happens to score the published value reproduces nothing."""
    values = simulated(cases, 0.70, 1)
    scores = read_scores([write_scores(tmp_path / "a.parquet", UNETR, values)])
    source = replace(sources_of(TARGET)["UNETR", "Overall"], test_cases=frozenset(), order="classes_then_cases")
    cell = cell_of(Evidence(scores=scores), source, published=f"{100 * values.mean():.2f}")
    rebuilt, means = cell.measured.rebuilt, 100 * values.mean(axis=1)
    if cases == 1:
        assert rebuilt.lower == -np.inf and rebuilt.upper == np.inf and str(cell.verdict) == "not separable"
    elif cases < 20:
        expected = stats.t.interval(0.9, cases - 1, means.mean(), stats.sem(means))
        assert (rebuilt.lower, rebuilt.upper) == pytest.approx(expected)
    else:
        assert rebuilt.lower == pytest.approx(100 * bootstrap_average(values, level=0.9).lower)
    assert rebuilt.value == pytest.approx(means.mean()) and cell.measured.interval_over == "cases"


def test_seeds_on_other_cases_have_the_noise_of_both(tmp_path):
    runs = [UNETR.replace("seed0", f"seed{seed}") for seed in range(3)]
    matrices = [simulated(30, 0.70 + 0.01 * seed, 1) for seed in range(3)]
    paths = [
        write_scores(tmp_path / f"{i}.parquet", run, values)
        for i, (run, values) in enumerate(zip(runs, matrices, strict=True))
    ]
    scores = read_scores(paths)
    cells = {}
    for name, cases in (("same", frozenset(f"s{number:04d}" for number in range(30))), ("other", frozenset())):
        source = replace(sources_of(TARGET)["UNETR", "Overall"], runs=tuple(runs), test_cases=cases)
        cells[name] = cell_of(Evidence(scores=scores), source).measured
    alone = bootstrap_average(np.mean(matrices, axis=0), "cases_then_classes", level=0.9)
    assert (cells["same"].interval_over, cells["other"].interval_over) == ("seeds", "seeds and cases")
    seeds, both = cells["same"].rebuilt, cells["other"].rebuilt
    assert both.value == pytest.approx(seeds.value) == pytest.approx(100 * alone.value)
    assert both.upper - both.value == pytest.approx(
        np.hypot(seeds.upper - seeds.value, 100 * (alone.upper - alone.value))
    )
    assert both.value - both.lower == pytest.approx(
        np.hypot(seeds.value - seeds.lower, 100 * (alone.value - alone.lower))
    )


def test_a_published_spread_is_the_last_resort_for_a_band(tmp_path):
    column = Column(measure="score", metric="dsc", unit="", decimals=4)
    source = CellSource(runs=(UNETR,), convention="swin_smt", dataset="somewhere")
    evidence = Evidence(scores=read_scores([write_scores(tmp_path / "a.parquet", UNETR, simulated(50, 0.77, 1))]))
    assert "nnU-Net" in cell_of(evidence, source, published="0.7767±0.0940", column=column).measured.band.source
    unknown = Column(measure="score", metric="nsd", unit="", decimals=4)
    table = read_scores([tmp_path / "a.parquet"])[UNETR]
    renamed = table.table.set_column(3, "metric", [["nsd"] * len(table.table)])
    evidence = Evidence(scores={UNETR: replace(table, table=renamed)})
    assert cell_of(evidence, source, published="0.7767±0.0940", column=unknown).measured.band.source == (
        "published ± over 50 cases"
    )
    assert cell_of(evidence, source, published="0.7767", column=unknown).verdict.reason == "no noise band"


def lost(path, cases: int, *, value: float) -> dict:
    """Scores of 89 cases of which the first `cases` have no prediction and score `value`."""
    values = simulated(89, 0.70, 1)
    values[:cases] = value
    scores = read_scores([write_scores(path, UNETR, values)])[UNETR]
    status = ["missing_prediction"] * cases * len(CLASSES) + ["ok"] * (89 - cases) * len(CLASSES)
    return {UNETR: replace(scores, table=scores.table.set_column(6, "status", [status]))}


def test_a_mean_without_the_missing_predictions_is_no_reproduction(tmp_path):
    """A convention that leaves such cases out would let a run choose its own test set."""
    source = sources_of(TARGET)["UNETR", "Overall"]
    cell = cell_of(Evidence(scores=lost(tmp_path / "a.parquet", 9, value=np.nan)), source, published="70.0")
    assert str(cell.verdict) == "not comparable (no prediction of 9 of 89 cases)"
    assert cell.measured.cases == 80
    whole = cell_of(Evidence(scores=lost(tmp_path / "b.parquet", 0, value=np.nan)), source, published="70.0")
    assert str(whole.verdict) == "within" and whole.measured.cases == 89
    counted = cell_of(Evidence(scores=lost(tmp_path / "c.parquet", 9, value=0.0)), source, published="70.0")
    assert str(counted.verdict) == "below" and counted.measured.cases == 89
    nothing = cell_of(Evidence(scores=lost(tmp_path / "d.parquet", 89, value=np.nan)), source, published="70.0")
    assert str(nothing.verdict) == "not attempted (no value)"


def test_a_structure_that_a_case_lacks_is_no_missing_prediction(tmp_path):
    values = simulated(89, 0.70, 1)
    values[:30, CLASSES.index("rib_left_1")] = np.nan
    scores = read_scores([write_scores(tmp_path / "a.parquet", UNETR, values)])
    cell = build_table(TARGET, sources_of(TARGET), Evidence(scores=scores)).cells["UNETR", "Ribs"]
    assert cell.measured.cases == 59 and cell.verdict.outcome != "not comparable"


def test_scores_of_the_demo_are_known_by_their_file(tmp_path, scores):
    table = scores[UNETR].table
    demo = tmp_path / "demo.parquet"
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"scale": b"demo"}), demo)
    cell = cell_of(Evidence(scale="paper", scores=read_scores([demo])), sources_of(TARGET)["UNETR", "Overall"])
    assert str(cell.verdict) == "not comparable (demo scale)"


def test_infinite_distances_are_printed_and_judged(tmp_path):
    values = simulated(89, 0.70, 1)
    values[3, 0] = np.inf
    scores = read_scores([write_scores(tmp_path / "a.parquet", UNETR, values, metric="hd95")])
    columns = {name: column.model_copy(update={"metric": "hd95"}) for name, column in TARGET.columns.items()}
    target = TARGET.model_copy(update={"columns": columns})
    table = build_table(target, sources_of(target), Evidence(scores=scores))
    cell = table.cells["UNETR", "Overall"]
    assert cell.text == "inf" and str(cell.verdict) == "not separable (no noise band)"
    line = next(line for line in lines_of(compare_csv(table)) if (line["row"], line["column"]) == ("UNETR", "Overall"))
    assert line["rebuilt"] == "inf" and line["spread"] == ""
    assert "| UNETR" in table_markdown(table)
    other = UNETR.replace("seed0", "seed1")
    finite = write_scores(tmp_path / "b.parquet", other, simulated(89, 0.7, 1), metric="hd95")
    source = replace(sources_of(TARGET)["UNETR", "Overall"], runs=(UNETR, other))
    seeds = Evidence(scores={**scores, **read_scores([finite])})
    assert cell_of(seeds, source, column=columns["Overall"]).text == "inf"


def test_conventions_that_round_each_case(tmp_path):
    path = write_scores(tmp_path / "a.parquet", UNETR, np.array([[1 / 3] * len(CLASSES)]))
    source = CellSource(runs=(UNETR,), convention="swin_smt", order="classes_then_cases", case_decimals=2)
    assert cell_of(Evidence(scores=read_scores([path])), source).measured.rebuilt.value == pytest.approx(33.0)


@pytest.mark.parametrize(("statistic", "expected"), [("mean", 75.0), ("median", 80.0), ("sd", 100 * np.sqrt(0.07))])
def test_statistics_over_cases(tmp_path, statistic, expected):
    values = np.array([0.4, 0.8, 0.8, 1.0])
    path = write_scores(tmp_path / "a.parquet", UNETR, np.tile(values[:, None], (1, len(CLASSES))))
    source = CellSource(runs=(UNETR,), convention="swin_smt")
    column = OVERALL.model_copy(update={"statistic": statistic})
    value = cell_of(Evidence(scores=read_scores([path])), source, column=column).measured.rebuilt.value
    assert value == pytest.approx(expected if statistic != "sd" else 100 * values.std(ddof=1))


def test_a_source_that_contradicts_itself_is_named(scores):
    evidence = Evidence(scores=scores, contradictions={("UNETR", "Overall"): "Table 2"})
    table = build_table(TARGET, sources_of(TARGET), evidence)
    assert str(table.cells["UNETR", "Overall"].verdict) == "within"
    assert str(table.cells["UNETR", "Ribs"].verdict) != "inconsistent source"
    evidence = replace(evidence, contradictions={("UNETR", "Ribs"): "Table 2"})
    table = build_table(TARGET, sources_of(TARGET), evidence)
    assert str(table.cells["UNETR", "Ribs"].verdict) == "inconsistent source (Table 2)"


def test_significance_is_recomputed_beside_the_published_star(scores):
    (report,) = build_table(TARGET, sources_of(TARGET), Evidence(scores=scores)).significance
    (comparison,) = report.comparisons
    assert comparison.row == "UNETR" and comparison.published_star
    first, second = 100 * simulated(89, 0.85, 2).mean(axis=1), 100 * simulated(89, 0.70, 1).mean(axis=1)
    assert comparison.effect.difference.value == pytest.approx((first - second).mean())
    assert comparison.as_published.name == "one-way ANOVA" and comparison.as_published.p < 1e-6
    assert comparison.wilcoxon_holm >= comparison.wilcoxon.p
    assert report.ranks.ranks.tolist() == [2, 1]


def test_controls_stand_below_the_table(scores, tmp_path):
    path = write_scores(tmp_path / "oracle.parquet", "control/oracle", np.ones((89, len(CLASSES))))
    control = read_scores([path])["control/oracle"]
    table = build_table(
        TARGET,
        sources_of(TARGET),
        Evidence(scores=scores),
        controls={"control: oracle": {"swin_smt/totalseg": control}, "control: empty": {"another/protocol": control}},
    )
    last = lines_of(table_csv(table))[-1]
    assert last["row"] == "control: oracle" and last["Overall"] == "100.00" and last["Params (M)"] == ""
    assert table.control_rows == ("control: oracle",)
    assert "control: oracle" not in compare_csv(table)


def test_failure_rates_and_the_canonical_convention_are_shown(tmp_path):
    path = write_scores(tmp_path / "a.parquet", UNETR, simulated(10, 0.7, 1), status="empty_prediction")
    scores = read_scores([path])[UNETR]
    table = build_table(TARGET, sources_of(TARGET), Evidence(scores={UNETR: scores}))
    assert table.failures[0].rates[0].missed == 1.0
    assert "100.0 %" in table_markdown(table)
    assert not table.canonical
    both = scores.table.set_column(5, "convention", [["canonical"] * len(scores.table)])
    table = build_table(TARGET, sources_of(TARGET), Evidence(scores={UNETR: replace(scores, table=both, _matrices={})}))
    assert table.canonical["UNETR", "Overall"].text == format_number(100 * simulated(10, 0.7, 1).mean(), 2)
    assert "canonical convention" in table_markdown(table)


def test_a_method_of_your_own_gets_a_row_without_claims(scores, tmp_path):
    run = "swin_smt/totalseg/mine/seed0"
    mine = read_scores([write_scores(tmp_path / "mine.parquet", run, simulated(89, 0.9, 5))])
    target = TARGET.model_copy(update={"rows": {**TARGET.rows, "Mine": TARGET.rows["UNETR"]}})
    sources = sources_of(TARGET)
    sources |= {("Mine", name): replace(sources["UNETR", name], runs=(run,)) for name in TARGET.columns}
    table = build_table(target, sources, Evidence(scores={**scores, **mine}))
    row = lines_of(table_csv(table))[-1]
    assert row["row"] == "Mine" and float(row["Overall"]) == pytest.approx(90, abs=2)
    (line,) = [line for line in table_markdown(table).splitlines() if line.startswith("| Mine")][:1]
    assert row["Overall"] in line
    assert table.significance[0].ranks.ranks.tolist() == [3, 2, 1]


def test_a_column_that_averages_others(scores):
    columns = {**TARGET.columns, "AVG": Column(measure="average", of=("Organs", "Ribs"), unit="%", decimals=2)}
    target = TARGET.model_copy(update={"columns": columns})
    sources = sources_of(TARGET)
    sources |= {(row, "AVG"): sources[row, "Overall"] for row in TARGET.rows}
    table = build_table(target, sources, Evidence(scores=scores))
    parts = [table.cells["UNETR", name].measured.rebuilt.value for name in ("Organs", "Ribs")]
    assert table.cells["UNETR", "AVG"].measured.rebuilt.value == pytest.approx(np.mean(parts))
    assert table.cells["DiNTS", "AVG"].text == "not attempted (not run)"


def test_unknown_units_and_structures_are_refused(scores):
    source = sources_of(TARGET)["UNETR", "Overall"]
    with pytest.raises(ValidationError, match="unit"):
        Column.model_validate({**OVERALL.model_dump(), "unit": "furlong"})
    assert set(UNITS) == set(get_args(Column.model_fields["unit"].annotation))  # each allowed unit has its size
    with pytest.raises(InputError, match="structures that the scores do not have") as caught:
        cell_of(Evidence(scores=scores), replace(source, classes=("spleen", "antler")))
    assert caught.value.where == UNETR and caught.value.found == "antler"


def test_bad_score_files_are_refused(tmp_path, scores):
    with pytest.raises(InputError, match="missing"):
        read_scores([tmp_path / "nothing.parquet"])
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "smt.parquet").read_bytes()[:200])
    with pytest.raises(InputError, match="not a readable parquet"):
        read_scores([tmp_path / "cut.parquet"])
    with pytest.raises(InputError, match="two score files hold run"):
        read_scores([tmp_path / "smt.parquet", tmp_path / "smt.parquet"])
    with pytest.raises(InputError, match="missing") as caught:
        read_scores([tmp_path])
    assert caught.value.found == "a folder"
    table = scores[UNETR].table
    for column, kept, message in (
        ("value", [100 * value for value in table["value"].to_pylist()], "out of bounds"),
        ("value", ["high"] * len(table), "another type"),
        ("class", [None] * len(table), "without a name"),
    ):
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, [kept]), tmp_path / "other.parquet")
        with pytest.raises(InputError, match=message) as caught:
            read_scores([tmp_path / "other.parquet"])
        assert caught.value.where == tmp_path / "other.parquet"
    nothing = table.set_column(4, "value", [[np.nan] * len(table)])
    pq.write_table(nothing, tmp_path / "nothing.parquet")
    assert np.isnan(read_scores([tmp_path / "nothing.parquet"])[UNETR].matrix("dsc", "swin_smt").values).all()
    values = simulated(2, 0.7, 1)[:, :2]
    twice = write_scores(tmp_path / "twice.parquet", UNETR, values, classes=("spleen", "spleen"))
    with pytest.raises(InputError, match="scored twice"):
        read_scores([twice])[UNETR].matrix("dsc", "swin_smt")


def test_columns_line_up_in_plain_text():
    lines = aligned([["row", "a"], ["Swin-UMamba†", "±1"], ["x|y", "100.00"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert "x\\|y" in lines[-1]
