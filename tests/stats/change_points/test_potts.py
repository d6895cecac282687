"""The fit costs no more than any other piecewise constant series."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.stats.change_points.potts import potts_fit

SHORT = st.lists(st.integers(0, 20).map(float), min_size=2, max_size=8)


def cost(values: np.ndarray, fit: np.ndarray, penalty: float) -> float:
    return float(np.abs(values - fit).sum() + penalty * np.count_nonzero(np.diff(fit)))


@settings(max_examples=40)
@given(SHORT, st.floats(0.1, 20.0))
def test_no_division_into_parts_with_their_medians_costs_less(given_values: list[float], penalty: float) -> None:
    values = np.array(given_values)
    n = values.size
    least = min(
        sum(float(np.abs(part - np.median(part)).sum()) for part in np.split(values, cuts)) + penalty * len(cuts)
        for count in range(n)
        for cuts in itertools.combinations(range(1, n), count)
    )
    assert cost(values, potts_fit(values, np.ones(n), penalty), penalty) == pytest.approx(least)


def test_a_spike_is_not_worth_two_jumps() -> None:
    values = np.array([1.0, 1.0, 9.0, 1.0, 1.0, 1.0])
    assert potts_fit(values, np.ones(6), 5.0).tolist() == [1.0] * 6
    assert potts_fit(values, np.ones(6), 3.0).tolist() == values.tolist()


def test_many_different_values_are_fitted_by_their_quantiles() -> None:
    values = np.random.default_rng(1).normal(0, 0.1, 600) + np.repeat([1.0, 2.0], 300)
    fit = potts_fit(values, np.ones(600), 5.0)
    assert np.flatnonzero(np.diff(fit)).tolist() == [299]
    assert fit[0] == pytest.approx(1.0, abs=0.03)
