"""Rank correlation: scipy's value, closed forms, properties, and its coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfkit.errors import InputError
from perfkit.stats.correlation import rank_correlation

pairs = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=5, max_size=60)


def test_the_value_is_that_of_scipy_and_the_interval_that_of_bonett_and_wright():
    random = np.random.default_rng(4)
    first = random.normal(size=50)
    second = first + random.normal(size=50)
    found = rank_correlation(first, second)
    expected = stats.spearmanr(first, second).statistic
    reach = stats.norm.ppf(0.975) * math.sqrt((1 + expected**2 / 2) / 47)
    assert found.value == pytest.approx(expected)
    assert (found.low, found.high) == pytest.approx(tuple(np.tanh(np.arctanh(expected) + np.array([-reach, reach]))))
    assert (found.n, found.clusters) == (50, 1)


def test_over_clusters_the_interval_is_students_on_fishers_scores():
    random = np.random.default_rng(4)
    first = random.normal(size=(3, 40))
    second = first + random.normal(size=(3, 40))
    found = rank_correlation(first.ravel(), second.ravel(), clusters=np.repeat(range(3), 40))
    scores = np.arctanh([stats.spearmanr(*pair).statistic for pair in zip(first, second, strict=True)])
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(np.tanh(expected)))
    assert (found.n, found.clusters) == (120, 3)


def test_what_shifts_a_whole_cluster_makes_no_correlation():
    """Within each cluster the two are unrelated; over all rows they seem to be related."""
    random = np.random.default_rng(6)
    shift = np.arange(8.0)[:, None] * 5
    first, second = random.normal(size=(2, 8, 60)) + shift
    labels = np.repeat(range(8), 60)
    assert rank_correlation(first.ravel(), second.ravel()).value > 0.9
    assert abs(rank_correlation(first.ravel(), second.ravel(), clusters=labels).value) < 0.1


@pytest.mark.parametrize("second", [[1.0] * 9, [math.nan] * 9, [1.0, 2.0] + [math.nan] * 7])
def test_what_does_not_vary_or_is_unknown_has_no_correlation(second):
    found = rank_correlation(range(9), second)
    assert not found.is_known
    assert not found.is_clear


def test_missing_values_are_left_out():
    first, second = np.arange(12.0), np.arange(12.0) ** 2
    second[3] = math.nan
    found = rank_correlation(first, second)
    assert (found.value, found.n) == (pytest.approx(1), 11)


def test_as_many_values_of_each_are_asked_for():
    with pytest.raises(InputError, match="3 and 2 values"):
        rank_correlation([1, 2, 3], [1, 2])


@settings(deadline=None)
@given(pairs)
def test_it_is_symmetric_and_within_its_interval(drawn):
    first, second = zip(*drawn, strict=True)
    found, swapped = rank_correlation(first, second), rank_correlation(second, first)
    assert found.is_known == swapped.is_known
    if found.is_known:
        assert swapped.value == pytest.approx(found.value)
        assert -1 <= found.low <= found.value <= found.high <= 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=5, max_size=60))
def test_only_the_order_matters(drawn):
    first, second = np.array(drawn, float).T
    found, curved = rank_correlation(first, second), rank_correlation(np.exp(first / 10), second**3)
    assert found == curved or not found.is_known


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("clusters", [1, 3, 5])
def test_it_covers_the_true_correlation(correlation, clusters):
    """Pairs of normal numbers, whose true rank correlation is known in closed form."""
    random = np.random.default_rng((int(correlation * 10), clusters))
    truth = 6 / math.pi * math.asin(correlation / 2)
    labels = np.repeat(range(clusters), 200)
    hits = []
    for _ in range(300):
        first = random.normal(size=labels.size)
        second = correlation * first + math.sqrt(1 - correlation**2) * random.normal(size=labels.size)
        found = rank_correlation(first, second, clusters=labels)
        hits.append(found.low <= truth <= found.high)
    assert 0.93 <= np.mean(hits) <= 0.98
