"""The band of few seeds: a further run lies inside it as often as it says, and verdicts err as rarely as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.catalog.published import parse_published
from benchmark.evidence.noise import band_from_seeds, band_of, prediction_factor
from benchmark.evidence.resampling import seed_interval
from benchmark.evidence.verdict import INTERVAL_LEVEL, REPEATABILITY, Outcome, Rebuilt, judge

EXPERIMENTS = 200_000
# t(0.975, n - 1)·√(1 + 1/n) with t of printed tables: 12.706, 4.303, 2.776, 2.262
FACTORS = {2: 15.56, 3: 4.97, 5: 3.04, 10: 2.37}


def experiments(seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of `seeds` runs [experiments, seeds] and of one further run, all of one normal distribution."""
    values = np.random.default_rng(seeds).normal(85.0, 0.7, (EXPERIMENTS, seeds + 1))
    return values[:, :-1], values[:, -1]


def coverage(seeds: int, factor: float) -> float:
    """Share of further runs that lie within `factor` standard deviations of the mean of the others."""
    values, further = experiments(seeds)
    return float((abs(further - values.mean(axis=1)) <= factor * values.std(axis=1, ddof=1)).mean())


@pytest.mark.parametrize(("seeds", "factor"), FACTORS.items())
def test_a_further_run_lies_in_the_band_in_95_of_100_experiments(seeds, factor):
    assert prediction_factor(seeds) == pytest.approx(factor, abs=0.005)
    assert coverage(seeds, prediction_factor(seeds)) == pytest.approx(0.95, abs=0.002)  # 4 standard errors


def test_the_limit_for_a_known_deviation_is_too_narrow_for_three_seeds_and_too_wide_for_many():
    """Why the band is not 1.96·√2 times the deviation any more."""
    assert coverage(3, REPEATABILITY) == pytest.approx(0.861, abs=0.003)
    assert coverage(5, REPEATABILITY) == pytest.approx(0.935, abs=0.003)
    assert coverage(10, REPEATABILITY) > 0.97
    assert prediction_factor(10_000) == pytest.approx(1.96, abs=0.001)


@pytest.mark.parametrize("seeds", [3, 5])
def test_an_honest_publication_is_rarely_called_above_or_below(seeds):
    """Of experiments in which the published run is one of the same procedure, at most 5 % are judged otherwise."""
    values, published = experiments(seeds)
    wrong, right = 0, 0
    for runs, printed in zip(values[:2000], published[:2000], strict=True):
        estimate = seed_interval(runs, level=INTERVAL_LEVEL)
        rebuilt = Rebuilt(estimate.value, estimate.lower, estimate.upper, seeds)
        claim = parse_published(f"{printed:.2f}")
        band = band_of(runs, claim, cases=89, dataset="totalseg", metric="dsc", unit=0.01)
        outcome = judge(claim, rebuilt, mode="score", band=band).outcome
        wrong += outcome in (Outcome.ABOVE, Outcome.BELOW)
        right += outcome is Outcome.WITHIN
    assert wrong / 2000 < 0.05 and right / 2000 > 0.75


def test_bands_of_seeds():
    assert band_from_seeds(0.5, 2) is None and band_from_seeds(math.nan, 5) is None
    assert prediction_factor(1) == math.inf
    band = band_from_seeds(0.5, 3)
    assert band.half_width == pytest.approx(2.4842, abs=1e-4)
    assert band.source == "prediction interval of 3 seeds"


def test_two_seeds_borrow_a_band():
    band = band_of([85.0, 85.4], parse_published("85"), cases=89, dataset="totalseg", metric="dsc", unit=0.01)
    assert band.half_width == 1.0 and band.source.startswith("borrowed")
