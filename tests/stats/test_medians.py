"""The smooth median estimates the median, with less noise than the middle value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.stats.medians import group_medians, smooth_median


def test_symmetric_values_give_their_centre():
    assert smooth_median([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(3.0)


def test_one_value_is_its_own_median():
    assert smooth_median([7.0]) == pytest.approx(7.0)


def test_missing_values_are_left_out_and_all_missing_is_missing():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    assert smooth_median(values, axis=1) == pytest.approx([2.0, np.nan], nan_ok=True)


def test_reduces_along_the_axis_asked_for():
    values = np.arange(24.0).reshape(2, 3, 4)
    assert smooth_median(values, axis=1).shape == (2, 4)
    assert smooth_median(values, axis=1)[0] == pytest.approx([4.0, 5.0, 6.0, 7.0])


def test_a_stall_among_nine_moves_it_less_than_a_tenth_of_what_it_moves_the_mean():
    calm = np.arange(1.0, 10.0)
    stalled = np.append(calm[:-1], 1009.0)
    assert smooth_median(stalled) - smooth_median(calm) < (stalled.mean() - calm.mean()) / 10


def test_has_less_variance_than_the_middle_value():
    samples = np.random.default_rng(5).normal(size=(4000, 9))
    assert smooth_median(samples, axis=1).var() < 0.92 * np.median(samples, axis=1).var()


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(0, 70_000)), max_size=60))
def test_medians_of_groups_are_those_of_numpy(pairs: list[tuple[float, int]]) -> None:
    values, group = np.array([value for value, _ in pairs]), np.array([name for _, name in pairs], int)
    found = group_medians(values, group)
    assert found.size == (max(group) + 1 if pairs else 0)
    for name in range(found.size) if found.size < 100 else np.unique(group):
        mine = values[group == name]
        assert np.isnan(found[name]) if not mine.size else found[name] == pytest.approx(np.median(mine))
