"""Spreads of slices: their own where they truly differ, common where chance explains the difference."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.learn.models import TransferRows, rows_of
from perfkit.learn.models.intervals import calibrate_thinned, fit_spread

QUANTILE = 1.2816
"""The 80 % quantile of the absolute value of a standard normal figure."""
Floats = npt.NDArray[np.float64]


def _rows(method: npt.NDArray[np.str_], group: npt.NDArray[np.int64] | None = None) -> TransferRows:
    rows = rows_of(np.full(method.size, 1024), method=method)
    return rows if group is None else dataclasses.replace(rows, group=group)


def _spread_of(rows: TransferRows, error: Floats, methods: list[str]) -> Floats:
    return fit_spread(rows, error).spread(rows_of([1024] * len(methods), method=methods))


def test_slices_that_truly_differ_keep_their_own_spread() -> None:
    method = np.repeat(["uds", "shm"], [4000, 4000])
    error = np.random.default_rng(2).normal(0, np.repeat([0.1, 0.4], [4000, 4000]))
    assert _spread_of(_rows(method), error, ["uds", "shm"]) == pytest.approx([0.1 * QUANTILE, 0.4 * QUANTILE], rel=0.1)


def test_slices_that_differ_by_chance_share_one_spread() -> None:
    """Twenty slices of 40 rows: their own quantiles are off by a fifth, the common one by a few percent."""
    rng = np.random.default_rng(3)
    methods = [f"method{at}" for at in range(20)]
    off_own, off_drawn = [], []
    for _ in range(20):
        error = rng.normal(0, 0.2, 800)
        drawn = _spread_of(_rows(np.repeat(methods, 40)), error, methods)
        own = np.quantile(np.abs(error.reshape(20, 40)), 0.8, axis=1)
        off_own.append(np.std(np.log(own / (0.2 * QUANTILE))))
        off_drawn.append(np.sqrt(np.mean(np.log(drawn / (0.2 * QUANTILE)) ** 2)))
    assert np.mean(off_drawn) < 0.5 * np.mean(off_own)


def test_a_slice_of_few_rows_is_drawn_further_than_one_of_many() -> None:
    rng = np.random.default_rng(4)
    methods, sizes = [f"method{at}" for at in range(12)], [5, 3000, *([200] * 10)]
    spreads = np.exp(rng.normal(np.log(0.2), 0.3, 12))
    spreads[:2] = 0.6
    error = rng.normal(0, np.repeat(spreads, sizes))
    error[:5] = [-0.9, -0.6, 0.3, 0.7, 1.0]
    few, many = _spread_of(_rows(np.repeat(methods, sizes)), error, methods)[:2]
    own = float(np.quantile(np.abs(error[:5]), 0.8))
    assert many == pytest.approx(0.6 * QUANTILE, rel=0.1)
    assert 0.2 * QUANTILE < few < 0.95 * own


def test_the_luck_of_launches_widens_a_slice_of_little_noise() -> None:
    """Three launches tell next to nothing about one slice's luck; ten slices together do."""
    rng = np.random.default_rng(5)
    methods = [f"method{at}" for at in range(10)]
    method, launch = np.repeat(methods, 300), np.tile(np.repeat(np.arange(3), 100), 10)
    noise = np.repeat([0.02, *([0.2] * 9)], 300)
    found = []
    for _ in range(30):
        luck = rng.normal(0, 0.1, (10, 3))[np.repeat(np.arange(10), 300), launch]
        found.append(_spread_of(_rows(method, launch), luck + rng.normal(0, noise), methods[:2]))
    quiet, noisy = np.array(found).T
    assert np.median(quiet) == pytest.approx(np.hypot(0.02, 0.1) * QUANTILE, rel=0.15)
    assert np.median(noisy) == pytest.approx(np.hypot(0.2, 0.1) * QUANTILE, rel=0.1)
    assert np.std(np.log(quiet)) < 0.3  # of its own three launches alone: about 0.45


def test_the_worst_slice_of_new_launches_is_covered() -> None:
    """Ten slices with the same noise, three launches: intervals for new ones."""
    rng = np.random.default_rng(6)
    methods = [f"method{at}" for at in range(10)]
    method, launch = np.repeat(methods, 300), np.tile(np.repeat(np.arange(3), 100), 10)
    all_slices, worst = [], []
    for _ in range(30):
        # Held-out errors: each launch against what the two others say.
        luck = rng.normal(0, 0.05, (10, 3))
        off = 1.5 * (luck - luck.mean(axis=1, keepdims=True))
        error = off[np.repeat(np.arange(10), 300), launch] + rng.normal(0, 0.2, 3000)
        spread = fit_spread(_rows(method, launch), error)
        low, high = calibrate_thinned(error / spread.spread(_rows(method, launch)), 0.9).bounds()
        new = rng.normal(0, 0.05, (10, 40)) - luck.mean(axis=1, keepdims=True)
        fresh = new[:, :, None] + rng.normal(0, 0.2, (10, 40, 25))
        scale = spread.spread(rows_of([1024] * 10, method=methods))[:, None, None]
        inside = ((low * scale <= fresh) & (fresh <= high * scale)).mean(axis=(1, 2))
        all_slices.append(inside.mean())
        worst.append(inside.min())
    assert np.mean(all_slices) == pytest.approx(0.90, abs=0.01)
    assert np.mean(np.array(worst) >= 0.85) > 0.85


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.floats(-3, 3)), min_size=1, max_size=80),
    st.floats(0.5, 20),
)
def test_spreads_are_positive_and_follow_the_unit(drawn: list[tuple[str, int, float]], factor: float) -> None:
    method, group, error = (np.array(column) for column in zip(*drawn, strict=True))
    rows = _rows(method, group)
    spread = fit_spread(rows, error).spread(rows)
    assert (spread > 0).all()
    assert np.isfinite(spread).all()
    is_above_floors = np.abs(error).min() > 0.1
    if is_above_floors and max(Counter((one, at) for one, at, _ in drawn).values()) < 8:  # no luck of groups
        scaled = fit_spread(rows, factor * error).spread(rows)
        assert scaled == pytest.approx(factor * spread, rel=1e-6)
