"""Whatever is given: an answer that says what was left out, or a refusal that says what to give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfkit.errors import InputError
from perfkit.stats.change_points import change_points

STEP = np.random.default_rng(5).normal(100, 2, 150) * np.where(np.arange(150) < 100, 1.0, 1.15)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no values"),
        (["fast", "slow"], "no numbers"),
        ([[1.0, 2.0]], "2 dimensions"),
        (3.0, "0 dimensions"),
        ([1j, 2j], "complex"),
        (np.array(["2026-01-01"], "datetime64[D]"), "datetime64"),
        ([float("nan")] * 20, "none of the 20 values is a positive number"),
        ([-1.0, -2.0], "none of the 2 values is a positive number"),
    ],
)
def test_what_is_no_series_of_positive_numbers_is_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        change_points(values)


@pytest.mark.parametrize("wrong", [0.0, -0.1, float("nan"), float("inf")])
def test_a_minimum_change_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match="minimum_change"):
        change_points(STEP, minimum_change=wrong)


@pytest.mark.parametrize("wrong", [0.0, 0.6, float("nan")])
def test_a_false_alarm_rate_out_of_range_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match="false_alarm_rate"):
        change_points(STEP, false_alarm_rate=wrong)


def test_groups_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"groups has the shape \(2,\), must be \(3,\)"):
        change_points([1.0, 2.0, 3.0], ["a", "b"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -5.0, 0.0])
def test_unusable_values_are_left_out_with_a_warning_and_indices_still_count_them(bad: float) -> None:
    values = np.insert(STEP, [0, 0, 0, 50], bad)
    found = change_points(values)
    assert [point.index for point in found] == [104]
    assert found.n == 150
    assert found.warnings[0].startswith("4 values of 154 left out")


@pytest.mark.parametrize("values", [[7.0], [7.0, 8.0], [1.0] * 4 + [2.0] * 5])
def test_too_few_points_are_answered_with_a_warning(values: list[float]) -> None:
    found = change_points(values)
    assert not found
    assert "too few" in found.warnings[0]


def test_a_constant_series_has_no_change_and_ties_everywhere_hide_none() -> None:
    assert not change_points([5.0] * 100)
    random = np.random.default_rng(2)
    assert not change_points(random.choice([10.0, 11.0], 200))
    ties = np.concatenate([random.integers(9, 12, 100), random.integers(11, 14, 60)])
    found = change_points(ties)
    assert len(found) == 1
    assert abs(found[0].index - 100) <= 3


def test_a_step_without_any_noise_is_found() -> None:
    assert [point.index for point in change_points([100.0] * 30 + [110.0] * 5)] == [30]


def test_groups_that_come_back_are_warned_about() -> None:
    found = change_points(STEP, ["a", "b"] * 75)
    assert "2 groups in several places" in found.warnings[0]


@pytest.mark.parametrize("kind", [list, pa.array, lambda values: [str(one) for one in values]])
def test_a_series_may_be_of_any_kind(kind: Any) -> None:
    assert list(change_points(kind(STEP))) == list(change_points(STEP))


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_extreme_units_change_nothing(scale: float) -> None:
    assert [point.index for point in change_points(STEP * scale)] == [100]


def test_a_very_long_series_is_condensed_and_its_change_still_found_in_its_place() -> None:
    values = np.random.default_rng(1).normal(100, 2, 30_000)
    values[20_003:] *= 1.1
    found = change_points(values)
    assert len(found) == 1
    assert abs(found[0].index - 20_003) <= 3
    assert found.points_judged == 5_000
    assert "6 neighbours count as one point" in found.warnings[0]
