"""Intervals from past errors miss as often as they say, and find back after a shift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from perfkit.errors import InputError
from perfkit.stats.conformal import WINDOW, Adaptive, Calibration, calibrate, expected_errors, follow, start_adaptive

SHIFT = np.log(1.2) / 0.20


def held(errors: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> float:
    return float(np.mean((low <= errors) & (errors <= high)))


def test_bounds_are_the_ranks_of_finite_samples():
    assert calibrate(np.arange(1, 20)).bounds() == (1, 19)
    assert calibrate(np.arange(1, 19)).bounds() == (-np.inf, np.inf)
    assert calibrate(np.arange(1, 200)[::-1], level=0.95).bounds() == (5, 195)
    assert calibrate([]).bounds() == (-np.inf, np.inf)


def test_the_average_miss_of_each_tail_is_exact():
    # For continuous errors the chance of a miss is rank / (n + 1), whatever their distribution: here 2 / 50.
    rng = np.random.default_rng(3)
    below, above = [], []
    for _ in range(4000):
        low, high = calibrate(rng.standard_exponential(49)).bounds()
        below.append(-np.expm1(-low))
        above.append(np.exp(-high))
    assert np.mean(below) == pytest.approx(2 / 50, abs=0.002)
    assert np.mean(above) == pytest.approx(2 / 50, abs=0.002)


def test_tails_are_apart():
    low, high = calibrate(np.random.default_rng(4).lognormal(0, 1, 20_000)).bounds()
    assert low == pytest.approx(np.exp(-1.645), rel=0.05)
    assert high == pytest.approx(np.exp(1.645), rel=0.08)


def test_a_shift_breaks_fixed_bounds_and_adaptive_ones_find_back():
    rng = np.random.default_rng(5)
    fixed, back = [], []
    for _ in range(12):
        calibration = calibrate(rng.normal(0, 1, 5000))
        errors = rng.normal(SHIFT, 1, 2000)
        fixed.append(held(errors, *calibration.bounds()))
        _, low, high = follow(start_adaptive(calibration), errors)
        back.append(held(errors[1000:], low[1000:], high[1000:]))
    known = norm.cdf(norm.ppf(0.95) - SHIFT) - norm.cdf(norm.ppf(0.05) - SHIFT)
    assert np.mean(fixed) == pytest.approx(known, abs=0.015)
    assert known < 0.80
    assert np.mean(back) >= 0.87


CASES = {
    "steady": lambda rng, n: rng.normal(0, 1, n),
    "slow cycle": lambda rng, n: rng.normal(0, 1, n) + np.sin(np.arange(n) / 500),
    "heavy tail": lambda rng, n: rng.standard_t(2, n),
    "stalls": lambda rng, n: rng.normal(0, 1, n) + 20 * (rng.random(n) < 0.01),
}


@pytest.mark.parametrize("case", CASES)
def test_adaptive_bounds_hold_their_share_in_the_long_run(case):
    rng = np.random.default_rng(6)
    start = start_adaptive(calibrate(CASES[case](rng, 3000)))
    errors = CASES[case](rng, 20_000)
    after, low, high = follow(start, errors)
    assert 0.885 <= held(errors, low, high) <= 0.915
    assert np.mean(errors < low) == pytest.approx(0.05, abs=0.012)
    assert after.seen == errors.size
    assert after.window.tolist() == errors[-WINDOW:].tolist()


def test_ties_are_held():
    start = start_adaptive(calibrate(np.repeat([0.0, 1.0], 200)))
    _, low, high = follow(start, np.tile([0.0, 1.0], 1000))
    assert (held(np.tile([0.0, 1.0], 1000), low, high)) >= 0.89
    constant = start_adaptive(calibrate(np.zeros(100)))
    _, low, high = follow(constant, np.zeros(50))
    assert (low == 0).all()
    assert (high == 0).all()


@given(st.integers(0, 60), st.lists(st.floats(-5, 5), max_size=60))
def test_following_in_parts_is_following_at_once(split, values):
    start = start_adaptive(calibrate(np.linspace(-2, 2, 40)))
    once, low, high = follow(start, values)
    first, low_a, high_a = follow(start, values[:split])
    second, low_b, high_b = follow(first, values[split:])
    assert np.array_equal(np.concatenate((low_a, low_b)), low)
    assert np.array_equal(np.concatenate((high_a, high_b)), high)
    assert (second.miss_low, second.miss_high, second.seen) == (once.miss_low, once.miss_high, once.seen)
    assert (low <= high).all()


def test_no_error_is_judged_by_itself_or_by_later_ones():
    rng = np.random.default_rng(7)
    errors = rng.normal(0, 1, 100)
    changed = errors.copy()
    changed[50:] += 9
    start = start_adaptive(calibrate(rng.normal(0, 1, 500)))
    _, low, high = follow(start, errors)
    _, low_changed, high_changed = follow(start, changed)
    assert np.array_equal(low[:51], low_changed[:51])
    assert np.array_equal(high[:51], high_changed[:51])


def test_a_window_without_history_says_nothing_until_it_is_long_enough():
    after, low, high = follow(start_adaptive(calibrate([])), np.arange(30.0))
    assert np.isinf(low[:19]).all()
    assert np.isinf(high[:19]).all()
    assert np.isfinite(low[19:]).all()
    assert isinstance(after, Adaptive)


def test_the_window_begins_as_the_calibration_is_and_forgets_both_tails_alike():
    calibration = calibrate(np.random.default_rng(8).normal(0, 1, 9000))
    window = start_adaptive(calibration).window
    assert np.quantile(window, [0.05, 0.95]) == pytest.approx(np.quantile(calibration.errors, [0.05, 0.95]), abs=0.02)
    assert abs(np.median(window[:300]) - np.median(window[300:])) < 0.2


@pytest.mark.parametrize("errors", [[np.nan], [1.0, np.inf], [[1.0, 2.0]], 3.0, ["slow"], None])
def test_what_is_no_column_of_finite_numbers_is_refused(errors):
    with pytest.raises(InputError, match="errors"):
        calibrate(errors)
    with pytest.raises(InputError, match="errors"):
        follow(start_adaptive(Calibration(np.zeros(30))), errors)


@pytest.mark.parametrize("level", [0, 1, -0.1, 1.5, np.nan, "0.9", None, True])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(InputError, match="level"):
        calibrate([1.0], level)


def one_of_five_moves(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    streams = rng.integers(0, 5, 1000)
    return rng.normal(0, 1, 1000) + SHIFT * (streams == 2), streams


def test_a_stream_that_moves_alone_is_held_again_and_the_others_as_before():
    moved, others = [], []
    for seed in range(15):
        errors, streams = one_of_five_moves(seed)
        start = start_adaptive(calibrate(np.random.default_rng(100 + seed).normal(0, 1, 1000)))
        surprise = errors - expected_errors(errors, streams)
        _, low, high = follow(start, surprise)
        inside = (low <= surprise) & (surprise <= high)
        moved.append(inside[streams == 2].mean())
        others.append(inside[streams != 2].mean())
    assert np.mean(moved) >= 0.87
    assert np.mean(others) == pytest.approx(0.90, abs=0.015)


@given(st.integers(0, 2**32 - 1), st.integers(1, 199))
def test_nothing_is_expected_from_what_comes_later_or_of_others(seed, at):
    errors, streams = (column[:200] for column in one_of_five_moves(seed))
    other = np.where((np.arange(200) < at) & (streams == streams[at]), errors, 50.0)
    assert expected_errors(other, streams)[at] == expected_errors(errors, streams)[at]
    assert np.abs(expected_errors(errors * 1e6, streams)).max() <= 3


def test_a_stream_that_keeps_its_errors_is_expected_to():
    expected = expected_errors(np.full(2000, 0.8), np.zeros(2000))
    # The closed form: so many errors count as 1 / (1 - 0.97), against ten of 0.
    assert expected[-1] == pytest.approx(0.8 * (1 / 0.03) / (1 / 0.03 + 10))
    assert expected_errors([], []).size == 0
    with pytest.raises(InputError, match="streams"):
        expected_errors([1.0, 2.0], ["uds"])
