"""Mergeable histograms: exact quantiles within 1 %, the laws of merging, and seeded worlds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError
from perfkit.stats.histogram import GAMMA, RELATIVE_ERROR, ZERO_BUCKET, LogHistogram, merge_all
from perfkit.stats.quantiles import quantiles

values = st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e15)), max_size=30)
histograms = values.map(LogHistogram.from_values)
QUANTILES = (0, 0.001, 0.05, 0.5, 0.95, 0.99, 0.999, 1)


def lower_order_statistic(data: list[float], q: float) -> float:
    return float(np.quantile(np.array(data), q, method="lower"))


def test_a_bucket_reaches_from_one_power_of_gamma_to_the_next() -> None:
    """The definition of DDSketch, worked by hand: bucket i holds (gamma^(i-1), gamma^i]."""
    assert pytest.approx(1.0202, abs=1e-4) == GAMMA
    histogram = LogHistogram.from_values([1, GAMMA * 0.999, GAMMA * 1.001, GAMMA**10 * 0.999])
    assert histogram.buckets.tolist() == [0, 1, 2, 10]
    assert histogram.counts.tolist() == [1, 1, 1, 1]


def test_zeros_are_counted_and_are_zero() -> None:
    histogram = LogHistogram.from_values([0, 0, 0, 5])
    assert histogram.buckets[0] == ZERO_BUCKET
    assert (histogram.quantile(0.5), histogram.quantile(1)) == (0, 5)


def test_extremes_are_exact() -> None:
    histogram = LogHistogram.from_values([123_457, 1_000_003, 999])
    assert (histogram.quantile(0), histogram.quantile(1)) == (999, 1_000_003)
    assert (histogram.minimum, histogram.maximum) == (999, 1_000_003)


def test_the_empty_histogram_has_no_quantile() -> None:
    assert math.isnan(LogHistogram.from_values([]).quantile(0.5))
    assert LogHistogram.from_values([]).to_plain()["minimum"] is None
    assert "0 values" in str(LogHistogram.from_values([]))


def test_it_renders_itself_and_is_a_value() -> None:
    one, same = LogHistogram.from_values([1, 2, 3]), LogHistogram.from_values([3, 2, 1])
    assert one == same
    assert len({one, same, LogHistogram.from_values([1, 2])}) == 2
    assert "p99.9" in one._repr_html_()
    with pytest.raises(ValueError, match="read-only"):
        one.counts[0] = 7


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_has_no_place_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="cannot be counted"):
        LogHistogram.from_values([1.0, value])


@pytest.mark.parametrize(
    ("buckets", "counts", "said"),
    [([1, 2], [1], "2 buckets have 1 count"), ([2, 1], [1, 1], "not ascending"), ([1], [0], "must be 1 or more")],
)
def test_a_histogram_that_means_nothing_is_refused(buckets: list[int], counts: list[int], said: str) -> None:
    with pytest.raises(InputError, match=said):
        LogHistogram(np.array(buckets), np.array(counts))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_share_outside_0_to_1_is_refused(q: float) -> None:
    with pytest.raises(InputError, match="must be from 0 to 1"):
        LogHistogram.from_values([1]).quantile(q)


@settings(deadline=None)
@given(values.filter(bool), st.floats(0, 1))
def test_every_quantile_is_within_1_percent_of_the_exact_one(data: list[float], q: float) -> None:
    exact = lower_order_statistic(data, q)
    # NumPy takes the lower of two neighbours by the same rank; at a rounding of q * (n - 1) either one is right.
    rank = q * (len(data) - 1)
    neighbours = {sorted(data)[round(rank)], exact} if abs(rank - round(rank)) < 1e-9 else {exact}
    value = LogHistogram.from_values(data).quantile(q)
    assert any(value == pytest.approx(one, rel=RELATIVE_ERROR * (1 + 1e-6), abs=0) for one in neighbours)


@settings(deadline=None)
@given(histograms, histograms, histograms)
def test_merging_is_associative_and_commutative_and_has_an_identity(
    one: LogHistogram, two: LogHistogram, three: LogHistogram
) -> None:
    assert one.merge(two).merge(three) == one.merge(two.merge(three)) == merge_all((three, one, two))
    assert one.merge(two) == two.merge(one)
    assert one.merge(LogHistogram.from_values([])) == one
    assert merge_all([]) == LogHistogram.from_values([])


@settings(deadline=None)
@given(values, values)
def test_merged_parts_are_the_histogram_of_the_whole(one: list[float], two: list[float]) -> None:
    assert LogHistogram.from_values(one).merge(LogHistogram.from_values(two)) == LogHistogram.from_values(one + two)


@pytest.mark.parametrize("seed", range(3))
def test_seeded_worlds_of_latencies(seed: int) -> None:
    """A lognormal body, a heavy tail and two modes: 300 000 values in 30 parts, every quantile within 1 %."""
    random = np.random.default_rng(seed)
    worlds = [
        random.lognormal(10, 1, 100_000),
        1e4 * (1 + random.pareto(1.5, 100_000)),
        np.where(random.random(100_000) < 0.9, random.normal(2e4, 1e3, 100_000), random.normal(9e6, 1e5, 100_000)),
    ]
    data = np.concatenate(worlds)
    histogram = merge_all(LogHistogram.from_values(part) for part in np.array_split(data, 30))
    assert histogram.count == data.size
    for q in QUANTILES:
        exact = np.quantile(data, q, method="lower")
        assert histogram.quantile(q) == pytest.approx(exact, rel=RELATIVE_ERROR * (1 + 1e-6))


@settings(deadline=None)
@given(values, st.sampled_from((0.05, 0.5, 0.95)))
def test_an_interval_from_buckets_holds_the_one_of_the_rows(data: list[float], q: float) -> None:
    """Wider by the bounds of two buckets at most; and it is silent exactly where the rows are."""
    data = [value + 1 for value in data] * 20
    histogram, exact = LogHistogram.from_values(data), quantiles(data, (q,))[0]
    found = histogram.interval(q)
    assert (found.enough, found.n) == (exact.enough, exact.n)
    if exact.enough:
        assert found.low <= exact.low <= found.low * GAMMA * (1 + 1e-9)
        assert found.high * (1 - 1e-9) / GAMMA <= exact.high <= found.high
        assert found.low <= found.value <= found.high


def test_a_quantile_from_too_few_values_is_not_given() -> None:
    histogram = LogHistogram.from_values(range(1, 3001))
    assert histogram.interval(0.99).enough
    assert math.isnan(histogram.interval(0.999).value)
    assert "too few values" in str(histogram)
    assert histogram.merge(histogram).interval(0.999).enough


def test_the_interval_of_zeros_is_zero() -> None:
    found = LogHistogram.from_values([0.0] * 50).interval(0.5)
    assert (found.low, found.value, found.high) == (0, 0, 0)


def test_an_interval_from_buckets_covers_the_true_quantile() -> None:
    """A distribution with a heavy tail; the rate is at least the nominal 95 %."""
    random = np.random.default_rng(14)
    levels = (0.5, 0.95, 0.99)
    hits = []
    for _ in range(400):
        histogram = LogHistogram.from_values(1 + random.pareto(1.5, 1000))
        hits.append([one.low <= (1 - one.q) ** (-1 / 1.5) <= one.high for one in map(histogram.interval, levels)])
    coverage = np.mean(hits, axis=0)
    assert (coverage >= 0.93).all()
    assert coverage[2] < 1  # wide, but not without bounds
