"""The split statistic is a pooled t on normal scores, and goes by chance as far as its closed form says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from perfkit.stats.change_points.boundary import chance_anywhere, exceeded_with
from perfkit.stats.change_points.divisive import FEWEST, normal_scores, strongest_splits

SERIES = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=60))


@settings(max_examples=25)
@given(SERIES)
def test_the_split_is_where_the_energy_statistic_is_largest(series: np.ndarray) -> None:
    scores = normal_scores(series)

    def energy(cut: int) -> float:
        first, second = scores[:cut], scores[cut:]
        across = np.mean((first[:, None] - second) ** 2)
        within = sum(np.mean((part[:, None] - part) ** 2) for part in (first, second))
        return cut * second.size / scores.size * float(2 * across - within)

    at = int(strongest_splits(scores, np.ones(60)).at)
    assert energy(at) == pytest.approx(max(energy(cut) for cut in range(FEWEST, 61 - FEWEST)))


@settings(max_examples=25)
@given(SERIES)
def test_its_statistic_is_student_s_t_at_the_effective_number_of_points(series: np.ndarray) -> None:
    found = strongest_splits(series, np.ones(60))
    at = int(found.at)
    expected = abs(ttest_ind(series[:at], series[at:], equal_var=True).statistic)
    assert float(found.t) == pytest.approx(expected / np.sqrt(float(found.inflation)))
    assert float(found.inflation) >= 1


def test_a_point_of_weight_two_counts_as_two() -> None:
    series = np.random.default_rng(1).normal(size=40)
    weights = np.where(np.arange(40) % 3 == 0, 2.0, 1.0)
    found = strongest_splits(series, weights)
    at = int(found.at)
    before, after = (np.average(series[part], weights=weights[part]) for part in (slice(at), slice(at, None)))
    assert float(found.difference) == pytest.approx(abs(after - before))


@pytest.mark.parametrize("n", [50, 200])
def test_independent_points_exceed_the_boundary_as_often_as_it_says(n: int) -> None:
    """5 000 series: the standard error of 5 % is 0.3 points; the approximation itself is good to a tenth."""
    series = np.random.default_rng(n).normal(size=(5_000, n))
    sums = np.cumsum(series, axis=1)
    cuts = np.arange(FEWEST, n - FEWEST + 1)
    gains = np.abs(sums[:, cuts - 1] - sums[:, -1:] * cuts / n) / np.sqrt(cuts * (n - cuts) / n)
    z = exceeded_with(0.05, n)
    assert chance_anywhere(z, n) == pytest.approx(0.05, rel=0.01)
    assert 0.035 < (gains.max(axis=1) > z).mean() < 0.065


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_autocorrelation_does_not_make_changes(correlation: float) -> None:
    """Share of 2 000 series of 200 points beyond the 1 % boundary: not too many, and not none."""
    random = np.random.default_rng(7)
    noise = random.normal(size=(2_000, 300))
    for index in range(1, 300):
        noise[:, index] += correlation * noise[:, index - 1]
    scores = normal_scores(noise[:, 100:])
    beyond = (strongest_splits(scores, np.ones(200)).z > exceeded_with(0.01, 200)).mean()
    assert 0.003 < beyond < 0.025


def test_the_inflation_of_a_long_series_is_that_of_the_direct_sum() -> None:
    """Above 400 points the autocovariances come by the Fourier transform."""
    series = np.cumsum(np.random.default_rng(3).normal(size=500)) * 0.1 + np.random.default_rng(4).normal(size=500)
    found = strongest_splits(series, np.ones(500))
    residuals = found.residuals
    reach = round(500**0.5 / 1.4)
    power = residuals @ residuals
    direct = 1 + 2 * sum(
        (1 - lag / (reach + 1)) * (residuals[lag:] @ residuals[:-lag]) / power for lag in range(1, reach + 1)
    )
    assert float(found.inflation) == pytest.approx(direct)


def test_the_scores_forget_how_far_an_outlier_is_out() -> None:
    near, far = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 400.0])
    assert np.array_equal(normal_scores(near), normal_scores(far))
    assert np.array_equal(normal_scores(np.array([5.0, 5.0, 5.0])), np.zeros(3))
