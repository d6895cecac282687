"""What many short series share: their autocorrelation, and how clear a step is with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import ttest_ind

from perfkit.stats.pooled import chance_of_change, pooled_correlation


def correlated(series: int, n: int, phi: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 1, (series, n))
    for at in range(1, n):
        noise[:, at] = phi * noise[:, at - 1] + noise[:, at] * np.sqrt(1 - phi * phi)
    return np.exp(0.05 * noise)


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6])
def test_the_correlation_of_many_short_series_is_known(phi):
    assert pooled_correlation(list(correlated(150, 30, phi)), [()] * 150) == pytest.approx(phi, abs=0.08)


def test_levels_are_no_correlation():
    values = correlated(300, 30, 0.0) * np.repeat((1.0, 2.0), 15)
    assert pooled_correlation(list(values), [(15,)] * 300) < 0.05
    assert pooled_correlation(list(values), [()] * 300) > 0.5


def test_few_or_short_series_say_nothing():
    assert pooled_correlation(list(correlated(9, 30, 0.6)), [()] * 9) == 0
    assert pooled_correlation(list(correlated(30, 9, 0.6)), [()] * 30) == 0
    assert pooled_correlation([np.ones(30)] * 20, [()] * 20) == 0
    assert pooled_correlation([], []) == 0


def test_without_correlation_it_is_students_test_at_every_place():
    values = correlated(1, 20, 0.0)[0] * np.repeat((1.0, 1.05), (12, 8))
    ranks = np.argsort(np.argsort(values))
    scores = ndtri((ranks + 0.5) / 20)
    expected = ttest_ind(scores[:12], scores[12:]).pvalue * 19
    assert chance_of_change(values, 12, 0.0) == pytest.approx(min(1.0, expected))


@pytest.mark.parametrize("phi", [0.0, 0.5])
def test_stationary_series_rarely_look_changed_anywhere(phi):
    found = [
        min(chance_of_change(values, place, phi) for place in range(5, 16))
        for values in correlated(60, 20, phi, seed=3)
    ]
    assert np.mean(np.array(found) <= 0.05) <= 0.08


@given(st.integers(1, 11), st.floats(0, 0.8), st.floats(1e-3, 1e3))
def test_the_chance_is_one_of_the_ranks_and_no_smaller_with_correlation(place, correlation, factor):
    values = np.linspace(1.0, 2.0, 12)
    found = chance_of_change(values, place, correlation)
    assert 0 <= chance_of_change(values, place, 0.0) <= found + 1e-12 <= 1 + 1e-9
    assert chance_of_change(values * factor, place, correlation) == pytest.approx(found)
