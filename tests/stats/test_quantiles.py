"""Quantiles of rows: scipy's and closed forms, properties, and their coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfkit.errors import InputError
from perfkit.stats.quantiles import LEVELS, quantiles, rows_needed

rows = st.lists(st.floats(1.0, 1e9), min_size=8, max_size=200)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [80, 200, 1001])
def test_the_interval_of_independent_rows_is_that_of_scipys_quantile_test(n, q):
    values = np.random.default_rng(n).lognormal(0, 1, n)
    (found,) = quantiles(values, (q,))
    below, above = (stats.quantile_test(values, p=q, alternative=side) for side in ("greater", "less"))
    assert found.low == below.confidence_interval(0.975).low
    assert found.high == above.confidence_interval(0.975).high
    assert found.method == "order statistics"


def test_the_interval_over_clusters_is_students_on_the_logs_of_their_quantiles():
    clusters = np.random.default_rng(3).lognormal(3, 0.4, (4, 101))
    (found,) = quantiles(clusters.ravel(), (0.5,), clusters=np.repeat(range(4), 101))
    logs = np.log(np.median(clusters, axis=1))
    assert (found.low, found.high) == pytest.approx(tuple(np.exp(stats.ttest_1samp(logs, 0).confidence_interval(0.95))))
    assert found.value == pytest.approx(stats.gmean(np.median(clusters, axis=1)))
    assert (found.method, found.groups, found.n) == ("over clusters", 4, 404)


@pytest.mark.parametrize("q", LEVELS)
def test_a_figure_is_given_from_four_rows_beyond_the_quantile_on(q):
    least = rows_needed(q)
    assert least * (1 - q) == pytest.approx(4)
    too_few, enough = (quantiles(np.arange(1, n + 1), (q,))[0] for n in (least - 1, least))
    assert not too_few.enough
    assert math.isnan(too_few.value)
    assert too_few.to_plain()["value"] is None
    assert enough.enough
    assert enough.low < enough.value < enough.high


def test_clusters_with_too_few_rows_are_joined_with_their_neighbours():
    values = np.random.default_rng(1).lognormal(0, 0.3, 7 * 200)
    labels = np.repeat(range(7), 200)
    found = dict(zip(LEVELS, quantiles(values, clusters=labels), strict=True))
    assert (found[0.5].method, found[0.5].groups) == ("over clusters", 7)
    assert (found[0.99].method, found[0.99].groups) == ("over joined clusters", 3)  # of 400, 400 and 600 rows
    assert not found[0.999].enough


def test_one_large_cluster_does_not_make_up_for_a_second_one():
    values = np.random.default_rng(1).lognormal(0, 0.3, 5000)
    labels = np.where(np.arange(5000) < 4990, 0, 1)
    assert not any(found.enough for found in quantiles(values, (0.95, 0.99), clusters=labels))


def test_clusters_need_not_be_sorted():
    random = np.random.default_rng(5)
    values, labels = random.lognormal(0, 0.3, 900), random.integers(0, 3, 900)
    order = np.argsort(labels, kind="stable")
    assert quantiles(values, clusters=labels) == quantiles(values[order], clusters=labels[order])


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, math.nan], [1.0, -2.0], [math.inf, 1.0]])
def test_what_has_no_logarithm_is_refused(values):
    with pytest.raises(InputError, match="positive numbers"):
        quantiles(values, (0.5,))


@pytest.mark.parametrize("q", [0, 1, -0.1, 1.5])
def test_a_level_outside_its_range_is_refused(q):
    with pytest.raises(InputError, match="must be above 0 and below 1"):
        quantiles([1.0] * 10, (q,))


def test_a_cluster_for_each_value_is_asked_for():
    with pytest.raises(InputError, match="clusters for 2"):
        quantiles([1.0] * 3, (0.5,), clusters=[0, 1])


@settings(deadline=None)
@given(rows, st.integers(1, 4))
def test_the_interval_holds_the_value_and_lies_within_reach(values, count):
    labels = np.arange(len(values)) % count
    for found in quantiles(values, (0.5, 0.9), clusters=labels):
        if found.enough:
            assert found.low <= found.value * (1 + 1e-9)
            assert found.value <= found.high * (1 + 1e-9)
            assert min(values) * (1 - 1e-9) <= found.value <= max(values) * (1 + 1e-9)


@settings(deadline=None)
@given(rows, st.floats(0.001, 1000))
def test_another_unit_changes_nothing_but_the_unit(values, factor):
    (before,), (after,) = quantiles(values, (0.5,)), quantiles(np.multiply(values, factor), (0.5,))
    assert (after.value, after.low, after.high) == pytest.approx(
        (before.value * factor, before.low * factor, before.high * factor)
    )


@settings(deadline=None)
@given(rows)
def test_a_higher_level_has_no_lower_value(values):
    found = [one for one in quantiles(values, (0.3, 0.5, 0.7, 0.9)) if one.enough]
    assert [one.value for one in found] == sorted(one.value for one in found)
    assert [one.low for one in found] == sorted(one.low for one in found)


@pytest.mark.parametrize("rows_per_world", [400, 5000])
def test_it_covers_the_true_quantile_of_independent_rows(rows_per_world):
    """Skewed rows with stalls; the true quantiles are those of five million."""
    random = np.random.default_rng(20261121)

    def world(n):
        return random.lognormal(0, 0.3, n) + np.where(random.random(n) < 0.01, random.exponential(5, n), 0)

    truth = np.quantile(world(5_000_000), LEVELS)
    hits = {q: [] for q in LEVELS}
    for _ in range(400):
        for found, true in zip(quantiles(world(rows_per_world)), truth, strict=True):
            if found.enough:
                hits[found.q].append(found.low <= true <= found.high)
    assert sum(map(len, hits.values())) >= 1200
    assert all(np.mean(share) >= 0.93 for share in hits.values() if share)


@pytest.mark.parametrize("launch_sd", [0.0, 0.2])
@pytest.mark.parametrize(("launches", "rows_each"), [(3, 100), (5, 80), (8, 200)])
def test_it_covers_the_quantile_of_a_typical_launch(launches, rows_each, launch_sd):
    """Launches have a factor of their own; p99 of 200 rows is read from launches joined in pairs."""
    random = np.random.default_rng((launches, rows_each, int(launch_sd * 100)))
    hits = {q: [] for q in LEVELS}
    labels = np.repeat(range(launches), rows_each)
    for _ in range(400):
        logs = random.normal(0, 0.3, (launches, rows_each)) + random.normal(0, launch_sd, (launches, 1))
        for found in quantiles(np.exp(logs).ravel(), clusters=labels):
            if found.enough:
                each = launches / found.groups  # of joined launches: their mixture
                true = np.exp(stats.norm.ppf(found.q) * math.hypot(0.3, launch_sd * math.sqrt(1 - 1 / each)))
                hits[found.q].append(found.low <= true <= found.high)
    coverage = {q: np.mean(share) for q, share in hits.items() if share}
    assert set(coverage) >= {0.5, 0.95}
    # 95 % of 400 is seen as 91.7 % or more with 99.9 %; the scoreboard holds it over thousands of worlds.
    assert all(0.917 <= share <= 0.985 for share in coverage.values()), coverage


def test_rows_taken_for_independent_although_launches_differ_cover_far_too_little():
    """Why clusters are asked for: the same rows without them."""
    random = np.random.default_rng(8)
    hits = []
    for _ in range(200):
        logs = random.normal(0, 0.3, (5, 200)) + random.normal(0, 0.2, (5, 1))
        (found,) = quantiles(np.exp(logs).ravel(), (0.5,))
        hits.append(found.low <= 1 <= found.high)
    assert np.mean(hits) < 0.5
