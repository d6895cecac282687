"""The bootstrap of launches and rounds: closed forms, properties, and its coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfkit.stats.hierarchical import median_of_launches, ratio_of_groups, ratio_of_launches

latencies = st.lists(st.lists(st.floats(1.0, 1e9), min_size=1, max_size=6), min_size=1, max_size=5)


def test_without_noise_the_interval_is_a_point():
    estimate = median_of_launches([[5.0] * 4] * 3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((5, 5, 5))
    assert (estimate.n, estimate.launches, estimate.relative_half_width) == (12, 3, pytest.approx(0))


def test_value_and_interval_are_those_of_scipy():
    """The interval is Student's on the logs of the launches' medians."""
    launches = [[90.0, 100.0, 110.0], [120.0, 121.0, 125.0], [95.0, 97.0, 99.0], [101.0, 105.0, 109.0]]
    logs = np.log([100.0, 121.0, 97.0, 105.0])
    expected = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    estimate = median_of_launches(launches)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.exp(expected)))
    assert estimate.value == pytest.approx(np.exp(logs.mean()))


def test_single_launch_speaks_of_its_rounds_only():
    estimate = median_of_launches([[1.0, 2.0, 3.0]])
    assert (estimate.value, estimate.launches, estimate.n) == (pytest.approx(2), 1, 3)
    assert estimate.low < 2 < estimate.high


def test_single_round_has_no_interval():
    estimate = median_of_launches([[7.0]])
    assert estimate.value == pytest.approx(7)
    assert (estimate.low, estimate.high, estimate.relative_half_width) == (0, np.inf, np.inf)


def test_ratio_is_paired_by_round():
    """What slows both sides of a round cancels: the interval is a point although both sides vary tenfold."""
    slow = np.array([1.0, 10.0, 3.0, 7.0])
    estimate = ratio_of_launches([slow * 3, slow * 3], [slow, slow])
    assert (estimate.low, estimate.high) == pytest.approx((3, 3))


@settings(deadline=None)
@given(latencies)
def test_interval_holds_the_value(launches):
    estimate = median_of_launches(launches)
    assert estimate.low <= estimate.value * (1 + 1e-9)
    assert estimate.value <= estimate.high * (1 + 1e-9)


@settings(deadline=None)
@given(latencies, st.floats(0.001, 1000))
def test_scaling_the_data_scales_the_estimate(launches, factor):
    estimate = median_of_launches(launches)
    scaled = median_of_launches([[value * factor for value in rounds] for rounds in launches])
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx(
        (estimate.value * factor, estimate.low * factor, estimate.high * factor)
    )


@pytest.mark.parametrize("launch_sd", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("launches", [3, 5])
def test_coverage_by_simulation(launches, launch_sd):
    """The 95 % interval holds the truth in 95 % of runs, whether or not launches differ (2 000 runs, +-1.5 points)."""
    random = np.random.default_rng(20261120)
    runs = 2000
    worlds = 100 * np.exp(
        random.normal(0, launch_sd, (runs, launches, 1)) + random.normal(0, 0.10, (runs, launches, 9))
    )
    estimates = [median_of_launches(list(world)) for world in worlds]
    hits = sum(estimate.low <= 100 <= estimate.high for estimate in estimates)
    assert hits / runs == pytest.approx(0.95, abs=0.015)


def test_ratio_of_groups_is_welchs():
    above, below = [22.0, 20.0, 21.0, 25.0], [10.0, 11.0, 10.5]
    expected = stats.ttest_ind(np.log(above), np.log(below), equal_var=False).confidence_interval(0.95)
    estimate = ratio_of_groups(above, below)
    assert (estimate.low, estimate.high) == pytest.approx((np.exp(expected.low), np.exp(expected.high)))
    assert (ratio_of_groups([3.0], [2.0]).low, ratio_of_groups([3.0], [2.0]).high) == (0, np.inf)
    assert ratio_of_groups([3.0, 3.0], [2.0, 2.0]).high == pytest.approx(1.5)
