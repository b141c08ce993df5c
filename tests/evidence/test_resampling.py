from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark.evidence.resampling import (
    average,
    bootstrap_average,
    draw_weights,
    paired_effect,
    rank_stability,
    seed_interval,
)
from benchmark.scoring import aggregate
from benchmark.scoring.conventions import load_conventions

RAGGED = np.where(np.random.default_rng(3).random((40, 6)) < 0.3, np.nan, np.random.default_rng(4).beta(8, 2, (40, 6)))


@pytest.mark.parametrize("name", sorted(load_conventions()))
def test_average_is_that_of_the_scoring_package(name):
    convention = load_conventions()[name].model_copy(update={"rounding": None})
    expected = aggregate.average(pd.DataFrame(RAGGED), convention=convention)
    assert average(RAGGED, convention.averaging) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", sorted(load_conventions()))
def test_an_infinite_distance_is_no_missing_score(name):
    """A missed structure must not leave the mean: the table and `benchmark score` say the same of it."""
    convention = load_conventions()[name].model_copy(update={"rounding": None})
    scores = np.where(RAGGED > 0.95, np.inf, RAGGED)
    assert np.isinf(aggregate.average(pd.DataFrame(scores), convention=convention))
    assert average(scores, convention.averaging) == np.inf
    estimate = bootstrap_average(scores, convention.averaging)
    assert estimate.value == np.inf and not np.isnan(estimate.lower) and estimate.upper == np.inf


def test_one_infinite_case_is_in_two_thirds_of_the_resamples():
    """P(a given case is drawn) is 1 - (1 - 1/n)^n; the 90 % interval reaches from a number to infinity."""
    scores = np.array([np.inf, *np.linspace(1, 2, 9)])
    estimate = bootstrap_average(scores, level=0.9)
    assert 1 < estimate.lower < 2 and estimate.upper == np.inf
    assert rank_stability(np.column_stack([scores, np.full(10, 30.0)]), higher_is_better=False).ranks.tolist() == [2, 1]


def test_orders_differ_by_hand():
    scores = [[1.0, np.nan], [0.0, 0.5]]
    assert average(scores, "cases_then_classes") == pytest.approx((0.5 + 0.5) / 2)
    assert average(scores, "classes_then_cases") == pytest.approx((1.0 + 0.25) / 2)


def test_average_of_nothing_is_nan():
    assert np.isnan(average([[np.nan, np.nan]]))
    assert np.isnan(bootstrap_average([[np.nan]]).value)


def test_weights_are_resamples():
    weights = draw_weights(7, 500, np.random.default_rng(0))
    assert weights.shape == (500, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert weights.mean() == pytest.approx(1.0)


def test_interval_agrees_with_scipy_bootstrap():
    values = np.random.default_rng(5).normal(80, 6, 60)
    oracle = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, random_state=1)
    estimate = bootstrap_average(values)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.lower == pytest.approx(oracle.confidence_interval.low, abs=0.1)
    assert estimate.upper == pytest.approx(oracle.confidence_interval.high, abs=0.1)


@pytest.mark.parametrize("order", ["cases_then_classes", "classes_then_cases"])
def test_resampling_a_matrix_is_resampling_its_rows(order):
    """The weighted form gives what averaging drawn rows gives."""
    generator = np.random.default_rng(6)
    drawn = [average(RAGGED[generator.integers(0, 40, 40)], order) for _ in range(2000)]
    estimate = bootstrap_average(RAGGED, order)
    assert estimate.lower == pytest.approx(np.quantile(drawn, 0.025), abs=0.004)
    assert estimate.upper == pytest.approx(np.quantile(drawn, 0.975), abs=0.004)


def test_intervals_are_deterministic_and_depend_on_the_seed():
    assert bootstrap_average(RAGGED) == bootstrap_average(RAGGED)
    assert bootstrap_average(RAGGED) != bootstrap_average(RAGGED, seed=1)


def test_one_case_has_a_point_interval():
    estimate = bootstrap_average([0.7])
    assert estimate.lower == estimate.value == estimate.upper == 0.7


def test_seeds_widen_the_interval_over_cases():
    cases = np.random.default_rng(7).normal(0.8, 0.05, (1, 50, 1))
    seeds = cases + np.array([-0.05, 0.0, 0.05])[:, None, None]
    alone, crossed = bootstrap_average(seeds[1]), bootstrap_average(seeds)
    assert crossed.value == pytest.approx(alone.value)
    assert crossed.upper - crossed.lower > 1.5 * (alone.upper - alone.lower)


def test_seed_interval_is_students():
    values = [84.0, 85.0, 86.5]
    oracle = stats.t.interval(0.9, 2, np.mean(values), stats.sem(values))
    estimate = seed_interval(values, level=0.9)
    assert (estimate.lower, estimate.upper) == pytest.approx(oracle)
    assert seed_interval([85.0]).lower == -np.inf


def test_effect_sizes_by_hand():
    effect = paired_effect([3, 5, 4, 2], [1, 2, 5, 2])  # differences 2, 3, -1, 0
    assert effect.difference.value == pytest.approx(1.0)
    assert effect.cohen_dz == pytest.approx(1.0 / np.std([2, 3, -1, 0], ddof=1))
    assert effect.rank_biserial == pytest.approx((2 + 3 - 1) / 6)
    assert effect.better == pytest.approx((2 + 0.5) / 4)
    assert effect.n == 4


@pytest.mark.parametrize(
    ("first", "second", "dz", "biserial", "better"),
    [([1, 2], [1, 2], 0.0, 0.0, 0.5), ([2, 3], [1, 2], np.inf, 1.0, 1.0), ([1, 2], [2, 3], -np.inf, -1.0, 0.0)],
)
def test_effect_of_constant_differences(first, second, dz, biserial, better):
    effect = paired_effect(first, second)
    assert (effect.cohen_dz, effect.rank_biserial, effect.better) == (dz, biserial, better)


def test_effect_without_pairs_is_nan():
    assert np.isnan(paired_effect([np.nan], [1.0]).difference.value)
    assert np.isnan(paired_effect([2.0], [1.0]).cohen_dz)  # one pair has no deviation


def test_a_clear_order_is_stable():
    scores = np.random.default_rng(8).normal([0.9, 0.5, 0.7], 0.01, (50, 3))
    ranks = rank_stability(scores)
    assert ranks.ranks.tolist() == ranks.lower.tolist() == ranks.upper.tolist() == [1, 3, 2]
    assert ranks.first.tolist() == [1, 0, 0]
    assert ranks.kendall == 1.0
    assert rank_stability(scores, higher_is_better=False).ranks.tolist() == [3, 1, 2]


def test_equal_methods_share_first_place():
    column = np.random.default_rng(9).random((20, 1))
    ranks = rank_stability(np.hstack([column, column]))
    assert ranks.ranks.tolist() == [1.5, 1.5]
    assert ranks.first.tolist() == [0.5, 0.5]
    assert np.isnan(ranks.kendall)  # no order to agree on


def test_a_toss_up_is_shown_as_one():
    scores = np.random.default_rng(10).normal(0.8, 0.1, (30, 2))
    ranks = rank_stability(scores)
    assert ranks.lower.tolist() == [1, 1] and ranks.upper.tolist() == [2, 2]
    assert 0.02 < ranks.first.min() < 0.5
    assert ranks.first.sum() == pytest.approx(1.0)


def test_kendall_agrees_with_scipy():
    scores = np.random.default_rng(11).random((12, 5))
    ranks = rank_stability(scores, resamples=200)
    generator = np.random.default_rng(0)
    weights = draw_weights(12, 200, generator)
    taus = [stats.kendalltau(scores.mean(axis=0), row).statistic for row in weights @ scores]
    assert ranks.kendall == pytest.approx(np.mean(taus), abs=1e-9)


def test_a_method_without_scores_ranks_last():
    assert rank_stability(np.column_stack([np.full(5, np.nan), np.arange(5.0)])).ranks.tolist() == [2, 1]
