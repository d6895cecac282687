"""The decision about a release: closed forms, what holds for any launches, and error rates where the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfkit.errors import InputError
from perfkit.stats.release import BLOCK, INCONCLUSIVE, PASS, judge_release, launches_needed

METHODS = ("grpc", "grpc_stream", "shm", "shm_pool", "uds")


def launches(rng, *, slower=0.0, count=3, methods=METHODS, own=0.05, shared=0.0):
    """Levels of a run: a factor per launch and method, and one per launch that all its methods share."""
    common = shared * rng.normal(size=count)
    slower = dict.fromkeys(methods, slower) if isinstance(slower, float) else slower
    return {
        name: 1000 * (1 + slower.get(name, 0.0)) * np.exp(own * rng.normal(size=count) + common) for name in methods
    }


def most(share, n):
    """The count that a true share of `n` exceeds once in a thousand times."""
    return stats.binom.ppf(0.999, n, share)


def blocked(n, seed, *, slower=0.0, tolerance=0.05, **world):
    rng = np.random.default_rng(seed)
    return sum(
        judge_release(launches(rng, **world), launches(rng, slower=slower, **world), tolerance=tolerance).verdict
        == BLOCK
        for _ in range(n)
    )


def test_one_method_is_students_test_on_the_logarithms_of_launches():
    before, after = [100.0, 104.0, 97.0, 101.0], [108.0, 115.0, 111.0]
    found = judge_release({"uds": before}, {"uds": after}).overall
    reference = stats.ttest_ind(np.log(after), np.log(before), alternative="greater")
    interval = stats.ttest_ind(np.log(after), np.log(before)).confidence_interval(0.90)
    assert found.p_slower == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(np.expm1([interval.low, interval.high])), rel=1e-6)


def test_what_all_methods_of_a_launch_share_makes_launches_the_units():
    rng = np.random.default_rng(1)
    before, after = (launches(rng, own=1e-4, shared=0.05) for _ in range(2))
    judgement = judge_release(before, after)
    means = [np.log(np.stack(list(side.values()))).mean(axis=0) for side in (before, after)]
    reference = stats.ttest_ind(means[1], means[0], alternative="greater")
    assert judgement.overall.p_slower == pytest.approx(reference.pvalue, rel=0.05)
    assert judgement.shared > 0.95


def test_an_unchanged_candidate_is_blocked_at_most_as_often_as_stated():
    n = 250
    assert blocked(n, 2, tolerance=0.0) <= most(0.01, n)
    assert blocked(100, 3, tolerance=0.0, shared=0.04) <= most(0.035, 100)


def test_a_tenth_slower_is_blocked_nine_times_in_ten():
    n = 120
    assert blocked(n, 4, slower=0.1) >= n - most(0.1, n)


def test_the_noise_of_one_method_does_not_block_unchanged_candidates():
    rng, n = np.random.default_rng(5), 120

    def side():
        return {**launches(rng, methods=METHODS[:4], own=0.03), **launches(rng, methods=METHODS[4:], own=0.2)}

    assert sum(judge_release(side(), side(), tolerance=0.0).verdict == BLOCK for _ in range(n)) <= most(0.015, n)


def test_a_single_method_that_became_half_as_fast_again_is_blocked_and_named():
    rng = np.random.default_rng(6)
    judgement = judge_release(launches(rng), launches(rng, slower={"grpc": 0.5}))
    assert {one.name for one in judgement.groups if one.verdict == BLOCK} == {"grpc"}


def test_more_launches_see_smaller_changes_and_the_advice_holds():
    rng = np.random.default_rng(7)
    few = judge_release(launches(rng, methods=("uds",)), launches(rng, methods=("uds",)))
    needed = launches_needed(few.overall, 0.1)
    assert few.overall.detectable > 0.1
    assert needed > 3
    found = blocked(100, 8, slower=0.1, methods=("uds",), count=launches_needed_for_five_percent(needed))
    assert found >= 100 - most(0.1, 100)


def launches_needed_for_five_percent(at_least):
    """What launches that truly differ by 5 % need, by the noncentral t distribution."""
    for count in range(2, 60):
        noncentral = math.log(1.1) / (0.05 * math.sqrt(2 / count))
        if stats.nct.sf(stats.t.isf(0.01, 2 * count - 2), 2 * count - 2, noncentral) >= 0.92:
            return max(count, 3)
    return at_least


def test_a_candidate_passes_only_where_a_slow_down_is_ruled_out():
    rng = np.random.default_rng(9)
    assert judge_release(launches(rng, own=0.005), launches(rng, own=0.005)).verdict == PASS
    assert judge_release(launches(rng, own=0.3), launches(rng, own=0.3)).verdict == INCONCLUSIVE


def test_a_proven_slow_down_within_the_tolerance_does_not_block():
    rng = np.random.default_rng(10)
    judgement = judge_release(launches(rng, own=0.002), launches(rng, own=0.002, slower=0.03))
    assert judgement.overall.p_slower < 1e-4
    assert judgement.verdict == PASS


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(2, 4), st.floats(1e-6, 1e6))
def test_units_and_the_order_of_launches_and_methods_change_nothing(seed, count, methods, unit):
    rng = np.random.default_rng(seed)
    before, after = (launches(rng, count=count, methods=METHODS[:methods]) for _ in range(2))
    found = judge_release(before, after)
    order = rng.permutation(count)
    scaled = [{name: unit * side[name][order] for name in reversed(list(side))} for side in (before, after)]
    again = judge_release(*scaled)
    assert again.verdict == found.verdict
    assert (again.overall.value, again.overall.low, again.overall.high) == pytest.approx(
        (found.overall.value, found.overall.low, found.overall.high), rel=1e-6, abs=1e-9
    )
    assert found.overall.low <= found.overall.value <= found.overall.high
    assert 0 <= found.overall.p_slower <= 1


def test_a_launch_that_lacks_a_method_still_counts():
    rng = np.random.default_rng(11)
    before, after = launches(rng, count=4), launches(rng, slower=0.5, count=4)
    after["grpc"][1] = np.nan
    judgement = judge_release(before, after)
    assert judgement.verdict == BLOCK
    assert judgement.overall.launches == (4, 4)
    assert {one.name: one.launches for one in judgement.groups}["grpc"] == (4, 3)


def test_a_method_of_a_single_launch_is_not_judged():
    before, after = {"a": [1.0, 1.1, 1.0], "b": [1.0, np.nan, np.nan]}, {"a": [1.0, 1.1, 1.1], "b": [9.0, 9.0, 9.1]}
    judgement = judge_release(before, after)
    (_, b) = judgement.groups
    assert b.verdict == INCONCLUSIVE
    assert math.isinf(b.high)
    assert math.isnan(b.value)
    alone = judge_release({"b": before["b"]}, {"b": after["b"]})
    assert alone.verdict == INCONCLUSIVE
    assert launches_needed(alone.overall, 0.1) == 0


def test_levels_without_any_spread_are_judged_by_the_change_alone():
    same, slower = {"a": [2.0] * 3, "b": [3.0] * 3}, {"a": [4.0] * 3, "b": [6.0] * 3}
    assert judge_release(same, same).verdict == PASS
    assert judge_release(same, slower).verdict == BLOCK
    assert judge_release(slower, same).verdict == PASS


@pytest.mark.parametrize(
    ("before", "after", "named", "message"),
    [
        ({"a": [1, 2]}, {"b": [1, 2]}, {}, "no group in common"),
        ({"a": [1, 0]}, {"a": [1, 2]}, {}, "zero, negative or infinite"),
        ({"a": [1, math.inf]}, {"a": [1, 2]}, {}, "zero, negative or infinite"),
        ({"a": [1, 2], "b": [1]}, {"a": [1, 2], "b": [1, 2]}, {}, "different numbers of launches"),
        ({"a": [1, 2]}, {"a": [1, 2]}, {"tolerance": -0.1}, "tolerance == -0.1"),
        ({"a": [1, 2]}, {"a": [1, 2]}, {"false_block_rate": 0.0}, r"false_block_rate == 0\.0"),
    ],
)
def test_what_cannot_be_judged_is_refused(before, after, named, message):
    with pytest.raises(InputError, match=message):
        judge_release(before, after, **named)
