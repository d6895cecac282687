"""When a limit is reached: against forecasts whose futures are known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from perfkit.errors import InputError
from perfkit.stats.capacity.demand_result import DemandForecast, DemandPoint
from perfkit.stats.capacity.limits import date_reached
from perfkit.stats.capacity.series import time_text


def growing(errors: np.ndarray, steps: int = 20, *, logged: bool = False) -> DemandForecast:
    """100, 101, 102 … with the errors of earlier forecasts."""
    points = tuple(DemandPoint(time_text(86_400 * at), 100.0 + at, 90.0, 120.0 + at) for at in range(steps))
    return DemandForecast(
        points=points,
        mase=0.5,
        mase_naive=1.0,
        coverage_backtest=0.9,
        periods=(),
        method="given",
        n=100,
        origins=len(errors),
        level=0.9,
        step_s=86_400.0,
        last_time=time_text(0),
        last_value=99.0,
        logged=logged,
        errors=errors,
    )


def test_without_errors_the_date_is_where_the_line_crosses() -> None:
    found = date_reached(growing(np.zeros((6, 20))), 110.0)
    assert found.earliest == found.median == found.latest == time_text(86_400 * 10)
    assert (found.probability, found.verdict) == (1.0, "reached")


def test_level_errors_shift_the_date_by_as_many_days() -> None:
    """A line of slope 1 whose level is off by -5 … 5 crosses that many days later or earlier."""
    errors = np.repeat(np.arange(-5.0, 6.0)[:, None], 20, axis=1)
    found = date_reached(growing(errors), 110.0)
    assert [found.earliest, found.median, found.latest] == [time_text(86_400 * day) for day in (5, 10, 15)]


def test_what_is_not_reached_has_no_date() -> None:
    errors = np.repeat(np.arange(-5.0, 6.0)[:, None], 20, axis=1)
    far = date_reached(growing(errors), 1000.0)
    assert (far.probability, far.earliest, far.median, far.latest) == (0.0, None, None, None)
    assert far.verdict == "not within the horizon"
    assert "is not reached until 1970-01-20" in far.sentence
    near = date_reached(growing(errors), 121.0)
    assert near.verdict == "possible"
    assert near.earliest is not None
    assert near.latest is None


def test_probability_is_that_of_a_random_walk_and_monotone_in_the_limit() -> None:
    """Against simulated first passages of a walk that the forecast never saw."""
    generator = np.random.default_rng(4)
    flat = growing(np.cumsum(generator.normal(size=(300, 20)), axis=1))
    points = tuple(dataclasses.replace(one, value=100.0) for one in flat.points)
    flat = dataclasses.replace(flat, points=points)
    walks = np.cumsum(np.random.default_rng(5).normal(size=(4000, 20)), axis=1).max(axis=1)
    found = [date_reached(flat, 100.0 + limit).probability for limit in (2.0, 4.0, 8.0)]
    assert found == pytest.approx([float(np.mean(walks >= limit)) for limit in (2.0, 4.0, 8.0)], abs=0.08)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("limit", [math.nan, math.inf, True, "5"])
def test_limits_that_are_no_numbers_are_refused(limit: float) -> None:
    with pytest.raises(InputError, match="must be a finite number"):
        date_reached(growing(np.zeros((6, 20))), limit)


def test_date_shows_itself() -> None:
    found = date_reached(growing(np.zeros((6, 20)), logged=True), 110.0)
    assert "1970-01-11" in str(found)
    assert max(map(len, str(found).splitlines())) <= 80
    assert found.to_plain()["verdict"] == "reached"
    assert "<table>" in found._repr_html_()
