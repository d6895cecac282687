"""Changes between groups of launches: SciPy's own tests, properties, and error rates by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfkit.stats.comparison import common_levels, compare_launches

MARGIN = 0.05
group = st.lists(st.floats(50.0, 200.0), min_size=1, max_size=6)


def test_interval_and_p_value_are_those_of_scipy():
    """Groups of different size: Welch's test on the logs."""
    before, after = np.array([100.0, 121.0, 97.0, 105.0]), np.array([120.0, 118.0, 131.0])
    expected = stats.ttest_ind(np.log(after), np.log(before), equal_var=False)
    interval = expected.confidence_interval(0.9)
    change = compare_launches(before, after, margin=MARGIN, confidence=0.9)
    assert change.p_different == pytest.approx(expected.pvalue)
    assert (change.low, change.high) == pytest.approx((np.expm1(interval.low), np.expm1(interval.high)))
    assert change.value == pytest.approx(np.exp(np.log(after).mean() - np.log(before).mean()) - 1)


def test_equivalence_is_two_one_sided_tests_of_scipy():
    before, after = np.array([100.0, 101.0, 99.5]), np.array([100.5, 101.0, 102.0])
    sides = [
        stats.ttest_ind(np.log(after) - limit, np.log(before), equal_var=False, alternative=side).pvalue
        for limit, side in ((np.log1p(-MARGIN), "greater"), (np.log1p(MARGIN), "less"))
    ]
    change = compare_launches(before, after, margin=MARGIN)
    assert change.p_equivalent == pytest.approx(max(sides))
    assert change.verdicts(0.05) == "equivalent"


def test_a_missing_launch_is_one_launch_less():
    before, after = [10.0, 11.0, np.nan, 10.5], [12.0, 12.5, 13.0]
    missing = compare_launches(before, after, margin=MARGIN)
    less = compare_launches([10.0, 11.0, 10.5], after, margin=MARGIN)
    assert (missing.low, missing.high, missing.p_different) == (less.low, less.high, less.p_different)


def test_single_launch_says_nothing_about_launches():
    change = compare_launches([10.0], [20.0, 21.0, 22.0], margin=MARGIN)
    assert change.value == pytest.approx(21 / 10 - 1, rel=0.01)
    assert (change.low, change.high) == (-1, np.inf)
    assert np.isnan(change.p_different)
    assert change.verdicts(0.05) == "inconclusive"


def test_without_any_spread_equal_is_equal_and_different_is_different():
    """Memory of a method is the same number in every launch; rounding of its logarithm is no change."""
    changes = compare_launches([[0.1] * 3, [3.0] * 3, [7.0] * 3], [[0.1] * 5, [3.0] * 5, [8.0] * 5], margin=MARGIN)
    assert changes.verdicts(0.05).tolist() == ["equivalent", "equivalent", "worse"]
    assert changes.low.tolist() == changes.high.tolist() == changes.value.tolist()


@settings(deadline=None)
@given(group, group)
def test_the_interval_holds_the_value_and_agrees_with_the_test(before, after):
    change = compare_launches(before, after, margin=MARGIN)
    assert change.low <= change.value <= change.high
    if not np.isnan(change.p_different) and abs(change.p_different - 0.05) > 1e-6:
        assert bool(change.p_different < 0.05) == (not change.low <= 0 <= change.high)


@settings(deadline=None)
@given(group, group)
def test_what_is_compared_the_other_way_round_changes_by_the_inverse(before, after):
    there = compare_launches(before, after, margin=MARGIN)
    back = compare_launches(after, before, margin=MARGIN)
    assert (1 + there.value) * (1 + back.value) == pytest.approx(1)
    assert there.p_different == pytest.approx(back.p_different, nan_ok=True)
    if np.isfinite(there.high):
        assert np.log1p(there.high) == pytest.approx(-np.log1p(back.low), rel=1e-3, abs=1e-9)


@settings(deadline=None)
@given(group, group, st.floats(0.001, 1000))
def test_the_unit_does_not_matter(before, after, factor):
    change = compare_launches(before, after, margin=MARGIN)
    scaled = compare_launches(np.array(before) * factor, np.array(after) * factor, margin=MARGIN)
    assert scaled.value == pytest.approx(change.value, rel=1e-6, abs=1e-9)
    assert scaled.p_different == pytest.approx(change.p_different, abs=1e-6, nan_ok=True)


def test_common_levels_ignore_which_comparisons_a_launch_lacks():
    """The second launch never measured what is expensive: it is as fast as the others all the same."""
    before = [[10.0, 10.0, 10.0], [5000.0, np.nan, 5000.0]]
    first, second = common_levels(before, [[11.0, 11.0], [5500.0, 5500.0]])
    assert first == pytest.approx([first[0]] * 3)
    assert second / first[:2] == pytest.approx([1.1, 1.1])


def simulated(rng, worlds, scenarios, launches, change=0.0, spread=0.03):
    """Launch medians of two runs: every scenario has a spread of its own, and launches share a part of theirs."""
    spreads = spread * rng.lognormal(0, 0.7, (worlds, scenarios, 1))
    runs = []
    for shift in (0.0, np.log1p(change)):
        shared = rng.normal(0, 0.5, (worlds, 1, launches))
        own = rng.normal(0, 1, (worlds, scenarios, launches))
        runs.append(np.exp(shift + spreads * (shared + own)))
    return runs


@pytest.mark.parametrize("launches", [3, 5])
def test_runs_of_the_same_machine_rarely_differ_in_any_scenario(launches):
    """Twenty scenarios, 4000 pairs of identical runs: any wrong better or worse in at most 5 % of them."""
    rng = np.random.default_rng(launches)
    verdicts = compare_launches(*simulated(rng, 4000, 20, launches), margin=MARGIN).adjusted().verdicts(0.05)
    wrong = np.isin(verdicts, ["better", "worse"]).any(axis=1).mean()
    assert 0.001 < wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize("launches", [3, 5])
def test_a_change_as_large_as_the_margin_is_rarely_called_equivalent(launches):
    rng = np.random.default_rng(10 + launches)
    runs = simulated(rng, 4000, 20, launches, change=MARGIN, spread=0.01)
    verdicts = compare_launches(*runs, margin=MARGIN).adjusted().verdicts(0.05)
    assert (verdicts == "equivalent").any(axis=1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize(("launches", "change"), [(3, 0.0), (3, 0.2), (5, -0.1), (5, 0.5)])
def test_intervals_cover_the_true_change(launches, change):
    rng = np.random.default_rng(20 + launches)
    changes = compare_launches(*simulated(rng, 400, 100, launches, change=change), margin=MARGIN)
    covered = ((changes.low <= change) & (change <= changes.high)).mean()
    assert 0.945 <= covered <= 0.985  # Welch is cautious where one of few launches stands out


def test_a_real_change_is_found():
    """The other side: twenty scenarios, five launches that vary by 3 %, all 20 % slower."""
    runs = simulated(np.random.default_rng(30), 400, 20, 5, change=0.2)
    verdicts = compare_launches(*runs, margin=MARGIN).adjusted().verdicts(0.05)
    assert (verdicts == "worse").mean() > 0.8
    levels = [np.array(level) for level in zip(*(common_levels(a, b) for a, b in zip(*runs, strict=True)), strict=True)]
    assert (compare_launches(*levels, margin=MARGIN).verdicts(0.05) == "worse").mean() > 0.95
