"""The engine's histogram: the same buckets as everywhere else, quantiles within 1 %, bounded memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.engine.outcomes.histogram import GAMMA, LatencyHistogram, outcomes_needed
from perfkit.stats import histogram as reference
from perfkit.stats import quantiles

LATENCIES = st.lists(st.integers(1, 3600 * 10**9), min_size=1, max_size=200)


def filled(values):
    histogram = LatencyHistogram()
    for value in values:
        histogram.add(value)
    return histogram


def test_buckets_are_those_of_reports_and_rollups():
    assert GAMMA == reference.GAMMA
    assert [outcomes_needed(q) for q in quantiles.LEVELS] == [quantiles.rows_needed(q) for q in quantiles.LEVELS]


@given(LATENCIES)
def test_counts_agree_with_the_histogram_of_reports(values):
    histogram, other = filled(values), reference.LogHistogram.from_values(values)
    assert histogram.buckets() == dict(zip(other.buckets.tolist(), other.counts.tolist(), strict=True))
    assert (histogram.n, histogram.maximum_ns) == (len(values), max(values))


@given(LATENCIES, LATENCIES)
def test_merging_is_counting_together(first, second):
    merged = filled(first)
    merged.merge(filled(second))
    assert merged.buckets() == filled(first + second).buckets()
    assert merged.n == len(first) + len(second)


def test_a_copy_does_not_change_with_the_original():
    histogram = filled([5, 6])
    twin = histogram.copy()
    histogram.add(5)
    assert (twin.n, sum(twin.buckets().values())) == (2, 2)


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99, 0.999])
def test_quantiles_are_within_one_percent_or_not_given(q):
    values = np.random.default_rng(3).lognormal(12, 1.5, outcomes_needed(q))
    exact = np.quantile(values, q, method="lower")
    assert filled(values).quantile(q) == pytest.approx(exact, rel=0.0101)
    assert filled(values[1:]).quantile(q) is None


@given(st.lists(st.floats(1e-300, 2.0**62), max_size=50))
def test_whatever_is_counted_takes_at_most_12_kib(values):
    histogram = filled(values)
    assert len(histogram._counts) * histogram._counts.itemsize <= 12 * 1024
    assert sum(histogram.buckets().values()) == histogram.n == len(values)
