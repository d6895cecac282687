"""Expected ranges: coverage by simulation, the closed form, and what a newest point says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from perfkit.errors import InputError
from perfkit.stats.baselines import FEWEST, WINDOW, ExpectedRange, expected_range, judge_newest

LEVELS = st.lists(st.floats(1e-3, 1e12), min_size=FEWEST, max_size=40)


def test_the_next_point_is_inside_as_often_as_promised():
    draws = np.random.default_rng(1).lognormal(3.0, 0.2, (2000, 11))
    inside = 0
    for *before, following in draws.tolist():
        found = expected_range(before, confidence=0.9)
        inside += found is not None and found.low <= following <= found.high
    assert inside / 2000 == pytest.approx(0.9, abs=0.025)  # nearly 4 standard errors


def test_one_more_point_is_a_t_test_of_unequal_sizes():
    before, newest = [100.0, 104.0, 98.0, 101.0, 97.0], 112.0
    found = expected_range(before)
    assert found is not None
    assert found.p_value(newest) == pytest.approx(ttest_ind(np.log(before), np.log([newest])).pvalue)


@given(LEVELS, st.floats(1e-3, 1e3))
def test_a_range_scales_with_its_unit(values, factor):
    found, scaled = expected_range(values), expected_range([value * factor for value in values])
    assert found is not None
    assert scaled is not None
    assert scaled.level == pytest.approx(found.level * factor, rel=1e-6)
    assert found.low <= found.level * (1 + 1e-9)
    assert found.level <= found.high * (1 + 1e-9)


@given(LEVELS)
def test_only_the_newest_points_count(values):
    recent = [*[50.0, 51.0] * (WINDOW // 2)]
    assert expected_range([*values, *recent]) == expected_range(recent)


def test_too_few_points_have_no_range():
    assert expected_range([1.0] * (FEWEST - 1)) is None
    assert judge_newest([1.0] * FEWEST) is None
    assert judge_newest([]) is None


def test_a_constant_series_expects_what_it_is():
    found = expected_range([5.0] * 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((5.0, 5.0))
    assert (found.p_value(5.0), found.p_value(6.0)) == (1.0, 0.0)


@pytest.mark.parametrize(("after", "points"), [([130.0], 1), ([130.0, 128.0, 131.0], 3), ([130.0] * 6, 4)])
def test_points_that_are_off_together_do_not_widen_their_own_range(after, points):
    history = (100 * np.random.default_rng(1).lognormal(0, 0.03, 20)).tolist()
    found = judge_newest([*history, *after])
    assert found is not None
    assert found.points == points
    assert (found.p_value < 0.001) == (points < 4)
    assert found.value == after[-1]


def test_what_is_within_the_tolerance_is_no_deviation_however_narrow_the_range():
    found = judge_newest([100.0, 100.1, 99.9, 100.0] * 5 + [90.0])
    assert found is not None
    assert found.points == 0
    assert found.p_value < 0.001


def test_a_fixed_range_is_not_moved_by_what_follows():
    found = judge_newest([130.0] * 30, expected=ExpectedRange(100.0, 0.03, 12))
    assert found is not None
    assert found.points == 4
    assert found.relative == pytest.approx(0.3)
    assert found.p_value < 1e-4


def test_stationary_series_rarely_have_a_newest_point_that_is_off():
    draws = np.random.default_rng(2).lognormal(0, 0.15, (1000, 25))
    found = [judge_newest(row) for row in draws]
    share = np.mean([one is not None and one.points > 0 and one.p_value <= 0.01 for one in found])
    assert 0.001 < share < 0.012


@pytest.mark.parametrize("values", [[1.0, math.nan], [1.0, -1.0], [0.0], [math.inf], [[1.0, 2.0]]])
def test_what_is_no_level_is_refused(values):
    with pytest.raises(InputError, match="above 0"):
        expected_range(values)


def test_shares_out_of_range_are_refused():
    with pytest.raises(InputError, match="between 0 and 1"):
        expected_range([1.0] * 9, confidence=1.0)
    with pytest.raises(InputError, match="above 0"):
        judge_newest([1.0] * 9, tolerance=0.0)
