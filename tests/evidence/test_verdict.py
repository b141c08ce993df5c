"""The verdict's behaviour is the table verdict_cases.csv; here it is run, and its statistics are checked."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.catalog.published import parse_published
from benchmark.evidence.resampling import seed_interval
from benchmark.evidence.verdict import (
    INTERVAL_LEVEL,
    Band,
    Outcome,
    Rebuilt,
    band_from_spread,
    borrowed_band,
    judge,
)

CASES = list(csv.DictReader((Path(__file__).parent / "verdict_cases.csv").open(encoding="utf-8")))


@pytest.mark.parametrize("case", CASES, ids=[case["case"] for case in CASES])
def test_hand_made_cases(case):
    rebuilt = None
    if case["value"]:
        value = float(case["value"])
        rebuilt = Rebuilt(value, float(case["lower"] or value), float(case["upper"] or value), int(case["runs"] or 1))
    verdict = judge(
        parse_published(case["published"]),
        rebuilt,
        mode=case["mode"],
        rounding=case["rounding"],
        band=Band(float(case["band"]), "hand made") if case["band"] else None,
        not_attempted=case["not_attempted"],
        not_comparable=case["not_comparable"],
        contradiction=case["contradiction"],
    )
    assert str(verdict) == case["verdict"]


def test_the_table_has_every_outcome():
    assert {case["verdict"].partition(" (")[0] for case in CASES} == set(Outcome)


def test_delta_is_rebuilt_minus_published():
    verdict = judge(parse_published("83.70"), Rebuilt.point(83.2), mode="score", band=Band(1, "x"))
    assert verdict.delta == -0.5
    assert judge(parse_published("-"), Rebuilt.point(1.0), mode="count").delta is None


@pytest.mark.parametrize("value", np.linspace(80, 90, 41))
def test_one_run_without_a_band_never_says_within(value):
    verdict = judge(parse_published("85"), Rebuilt.point(float(value)), mode="score")
    assert verdict.outcome is Outcome.NOT_SEPARABLE


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.55, 0.9, 1.5])
@pytest.mark.parametrize("scatter", [0.1, 0.4, 1.0])
def test_within_equals_two_one_sided_tests(shift, scatter):
    """`within` if and only if both one-sided t tests against the edges of the zone reject at 5 %."""
    values = 85 + shift + scatter * np.array([-1.2, -0.4, 0.1, 0.5, 1.0])
    estimate = seed_interval(values, level=INTERVAL_LEVEL)
    verdict = judge(
        parse_published("85.00"),
        Rebuilt(estimate.value, estimate.lower, estimate.upper, len(values)),
        mode="score",
        band=Band(1.0, "given"),
    )
    above = stats.ttest_1samp(values, 85 - 1.005, alternative="greater").pvalue
    below = stats.ttest_1samp(values, 85 + 1.005, alternative="less").pvalue
    assert (verdict.outcome is Outcome.WITHIN) == (max(above, below) <= 0.05)


def test_bands_name_their_source():
    spread = band_from_spread(0.094, 100)
    assert spread.half_width == pytest.approx(2.7718 * 0.0094, rel=1e-4)
    assert "100 cases" in spread.source
    assert band_from_spread(0.1, 1) is None
    assert borrowed_band(1.0, "somebody").source == "borrowed: somebody"
