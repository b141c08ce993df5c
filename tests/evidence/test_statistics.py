from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests

from benchmark.evidence.significance import paired_t
from benchmark.evidence.statistics import (
    holm,
    one_way_anova,
    paired_differences,
    paired_permutation,
    repeated_measures,
    wilcoxon,
)

SCORES = np.random.default_rng(1).normal([70, 72, 75], 5, (30, 3)) + np.random.default_rng(2).normal(0, 8, (30, 1))
FEW = st.floats(0, 1, width=16)


def test_anova_agrees_with_scipy_and_statsmodels():
    result = one_way_anova(*SCORES.T)
    scipy_result = stats.f_oneway(*SCORES.T)
    frame = pd.DataFrame({"score": SCORES.ravel(), "method": np.tile(["a", "b", "c"], 30)})
    table = sm.stats.anova_lm(ols("score ~ method", frame).fit())
    assert result.statistic == pytest.approx(scipy_result.statistic) == pytest.approx(table["F"].iloc[0])
    assert result.p == pytest.approx(scipy_result.pvalue) == pytest.approx(table["PR(>F)"].iloc[0])
    assert result.n == 90


def test_anova_by_hand():
    # means 2 and 4, total 3: between 2·3·1 = 6 on 1, within 4 on 4 degrees of freedom: F = 6 / 1
    result = one_way_anova([1, 2, 3], [3, 4, 5])
    assert result.statistic == pytest.approx(6.0)
    assert result.p == pytest.approx(stats.f.sf(6.0, 1, 4))


def test_anova_drops_missing_scores_group_by_group():
    assert one_way_anova([1, np.nan, 2, 3], [3, 4, 5]).statistic == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("groups", "p", "note"),
    [
        (([1, 1, 1], [1, 1, 1]), 1.0, "all values are equal"),
        (([1, 1, 1], [2, 2, 2]), 0.0, "no variation within groups"),
        (([1], [2]), np.nan, "too few values"),
        (([1, 2],), np.nan, "too few values"),
        (([1, 2], [np.nan, np.nan]), np.nan, "too few values"),
    ],
)
def test_anova_of_degenerate_groups(groups, p, note):
    result = one_way_anova(*groups)
    assert result.note == note
    assert result.p == p or (np.isnan(p) and np.isnan(result.p))


def test_wilcoxon_agrees_with_scipy_where_there_are_no_ties():
    first, second = SCORES[:, 0], SCORES[:, 2]
    assert wilcoxon(first, second).p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert wilcoxon(first, second).p == pytest.approx(wilcoxon(second, first).p)


def test_wilcoxon_by_hand():
    # five differences of one sign: the smallest of 2^5 sign patterns on either side
    result = wilcoxon([2, 4, 6, 8, 10], [1, 2, 3, 4, 5])
    assert result.p == pytest.approx(2 / 2**5)
    assert "cannot reach" in result.note


@pytest.mark.parametrize("zeros", [0, 5, 9, 60])
@pytest.mark.parametrize("differing", [[1, 2, 3, 4, 5], [1, 1, 1, 1, 1], [1, 1, 2, 2, 3], [1, 2, 3, 4, 5, 6]])
def test_ties_between_the_methods_do_not_make_few_differences_significant(zeros, differing):
    """All differences of one sign: exactly 2 of 2^k sign patterns are as extreme, however many pairs are equal."""
    difference = np.array([*differing, *[0.0] * zeros])
    signed = wilcoxon(difference, np.zeros_like(difference))
    permuted = paired_permutation(difference, np.zeros_like(difference))
    expected = 2 / 2 ** len(differing)
    assert signed.p == pytest.approx(expected) and signed.n == len(difference)
    assert permuted.p == pytest.approx(expected, abs=0.005)
    few = len(differing) < 6
    assert ("cannot reach" in signed.note) == ("cannot reach" in permuted.note) == few == (signed.p >= 0.05)


def test_wilcoxon_of_degenerate_pairs():
    assert wilcoxon([1, 2, 3], [1, 2, 3]).p == 1.0
    assert wilcoxon([1, 2, 3], [1, 2, 3]).note == "all differences are zero"
    assert np.isnan(wilcoxon([], []).p)
    assert np.isnan(wilcoxon([1, np.nan], [np.nan, 2]).p)
    two = wilcoxon([1, 2], [2, 4])
    assert two.n == 2 and two.p == pytest.approx(0.5)


def test_rounding_noise_is_a_tie():
    assert wilcoxon([0.1 + 0.2, 0.5], [0.3, 0.5]).note == "all differences are zero"


def test_missing_pairs_are_left_out():
    first = np.append(SCORES[:, 0], [np.nan, 50.0])
    second = np.append(SCORES[:, 1], [60.0, np.nan])
    for test in (wilcoxon, paired_permutation, paired_t):
        complete, ragged = test(SCORES[:, 0], SCORES[:, 1]), test(first, second)
        assert ragged.p == complete.p and ragged.n == 30


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="equal lengths"):
        paired_differences([1, 2], [1])


def test_permutation_is_exact_for_few_pairs():
    first, second = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0]), np.array([2.0, 7.0, 1.0, 8.0, 2.0, 8.0])
    oracle = stats.permutation_test(
        (first, second), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_permutation(first, second).p == pytest.approx(oracle.pvalue)


def test_permutation_of_many_pairs_is_seeded_close_to_exact_and_never_zero():
    first, second = SCORES[:14, 0], SCORES[:14, 1]
    exact = paired_permutation(first, second, permutations=2**14)
    drawn = paired_permutation(first, second, permutations=10_000)
    assert drawn.p == pytest.approx(exact.p, abs=0.02)
    assert drawn == paired_permutation(first, second, permutations=10_000)
    assert paired_permutation(np.arange(40) + 100.0, np.arange(40)).p == pytest.approx(1 / 20_001)


def test_permutation_of_degenerate_pairs():
    assert paired_permutation([1, 2], [1, 2]).p == 1.0
    assert paired_permutation([1, 2], [0, 0]).p == 0.5
    assert np.isnan(paired_permutation([np.nan], [1.0]).p)


@settings(max_examples=60, deadline=None)
@given(arrays(float, 7, elements=FEW), arrays(float, 7, elements=FEW))
def test_paired_tests_are_symmetric_and_always_probabilities(first, second):
    for test in (wilcoxon, paired_permutation, paired_t):
        forward, backward = test(first, second), test(second, first)
        assert 0 <= forward.p <= 1
        assert forward.p == pytest.approx(backward.p)


def test_paired_t_agrees_with_scipy():
    assert paired_t(SCORES[:, 0], SCORES[:, 1]).p == pytest.approx(stats.ttest_rel(SCORES[:, 0], SCORES[:, 1]).pvalue)
    assert paired_t([2, 3], [1, 2]).note == "constant difference"
    assert np.isnan(paired_t([1], [2]).p)


def test_holm_by_hand():
    # sorted .01 .02 .04 times 3, 2, 1, made monotone
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_holm_agrees_with_statsmodels():
    p_values = np.random.default_rng(0).uniform(0, 0.2, 50).round(2)  # with ties
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=0)


def test_holm_leaves_missing_tests_out_of_the_family():
    adjusted = holm([0.04, np.nan, 0.01])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.02])
    assert np.isnan(adjusted[1])
    assert np.isnan(holm([np.nan])).all() and holm([]).shape == (0,)


def test_repeated_measures_agrees_with_statsmodels_and_corrects_for_sphericity():
    case, method = np.indices(SCORES.shape)
    frame = pd.DataFrame({"case": case.ravel(), "method": method.ravel(), "score": SCORES.ravel()})
    table = AnovaRM(frame, "score", "case", within=["method"]).fit().anova_table
    result = repeated_measures(SCORES)
    assert result.statistic == pytest.approx(table["F Value"].iloc[0])
    assert result.p >= table["Pr > F"].iloc[0]
    assert 0.5 < float(result.note.split()[-1]) <= 1.0


def test_repeated_measures_of_two_methods_is_the_paired_t_test():
    result = repeated_measures(SCORES[:, :2])
    assert result.p == pytest.approx(stats.ttest_rel(SCORES[:, 0], SCORES[:, 1]).pvalue)
    assert result.note == "Greenhouse-Geisser 1.000"


def test_missing_scores_go_to_a_mixed_model_that_sees_what_the_complete_data_show():
    ragged = SCORES.copy()
    ragged[3, 1] = np.nan
    result = repeated_measures(ragged)
    assert result.name.startswith("mixed model")
    assert result.n == 30
    assert np.log10(result.p) == pytest.approx(np.log10(repeated_measures(SCORES).p), abs=1.5)


@pytest.mark.parametrize(
    ("scores", "p", "note"),
    [
        ([[1.0, 1.0], [2.0, 2.0]], 1.0, "all methods score alike"),
        ([[1.0, 2.0], [2.0, 3.0]], 0.0, "every case shows the same differences"),
        ([[1.0, 2.0]], np.nan, "needs two cases and two methods"),
        ([[1.0], [2.0]], np.nan, "needs two cases and two methods"),
        ([[1.0, 1.0], [1.0, np.nan]], np.nan, "no variation, or a single method has scores"),
        ([[1.0, np.nan], [2.0, np.nan]], np.nan, "no variation, or a single method has scores"),
    ],
)
def test_repeated_measures_of_degenerate_scores(scores, p, note):
    result = repeated_measures(scores)
    assert result.note == note
    assert result.p == p or (np.isnan(p) and np.isnan(result.p))
