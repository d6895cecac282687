"""Times and values as they come, on an even grid: duplicates averaged, gaps named."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.tables import plural

__all__ = ["EvenSeries", "even_series", "time_shown", "time_text"]

_FEWEST = 8
_OFF_GRID = 0.1
"""Distance from the grid, as a share of a step, up to which a time counts as on it: clocks jitter."""
_ON_GRID_SHARE = 0.9
_FEWEST_FILLED = 0.5
_STEPS_S = (1, 5, 10, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400, 604_800)
"""Steps that people use; irregular times are gathered into the next larger of them."""
_LATEST_S = 253_402_300_799  # the year 9999, the last that a datetime can hold
_EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))
_MOST_POINTS = 200_000
_HIGHEST_FIRST_INDEX = 1e6
_SHORTEST_MONTH_DAYS = 28
_SHORTEST_MONTH_S = _SHORTEST_MONTH_DAYS * 86_400


@dataclasses.dataclass(frozen=True)
class EvenSeries:
    """Values at even steps.

    Args:
        start_s: time of the first, seconds since 1970-01-01 UTC.
        step_s: seconds from one to the next.
        values: one per step; missing ones interpolated.
        observed: whether the value was given.
        warnings: what was done to the series.
        step_months: calendar months per step; 0 where steps are of even length.
        is_index: whether times are numbers 0, 1, 2, … without a calendar; ``start_s`` and ``step_s`` then are such.
    """

    start_s: float
    step_s: float
    values: npt.NDArray[np.float64]
    observed: npt.NDArray[np.bool_]
    warnings: tuple[str, ...] = ()
    step_months: int = 0
    is_index: bool = False

    def time(self, index: int) -> str | int:
        """Time of one step as ISO text; of an index its number."""
        if self.is_index:
            return round(self.start_s) + index
        if self.step_months:
            return _months_later(self.start_s, index * self.step_months)
        return time_text(self.start_s + index * self.step_s)

    def newest(self, n: int) -> EvenSeries:
        """The last n steps; all where there are fewer."""
        dropped = max(0, len(self.values) - n)
        start = _second(self.time(dropped), 1) if self.step_months else self.start_s + dropped * self.step_s
        return dataclasses.replace(self, start_s=start, values=self.values[dropped:], observed=self.observed[dropped:])


def time_text(seconds: float) -> str:
    """A time as ISO text in UTC, to the second.

    >>> time_text(0)
    '1970-01-01T00:00:00+00:00'
    """
    whole = datetime.datetime.fromtimestamp(min(max(seconds, 0.0), _LATEST_S), datetime.UTC)
    return whole.isoformat(timespec="seconds")


def time_shown(time: str | int, *, with_seconds: bool = False) -> str:
    """A time of a series as people read it.

    >>> time_shown("2026-03-02T14:00:05+00:00"), time_shown(720)
    ('2026-03-02 14:00', '720')
    """
    return str(time)[: 19 if with_seconds else 16].replace("T", " ")


def _months_later(start_s: float, months: int) -> str:
    start = datetime.datetime.fromtimestamp(start_s, datetime.UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return start.replace(year=min(year, 9999), month=month + 1).isoformat(timespec="seconds")


def even_series(times: Sequence[Any] | npt.NDArray[Any], values: Sequence[Any] | npt.NDArray[Any]) -> EvenSeries:
    """Put a series on an even grid.

    Args:
        times: datetimes, ISO text (without a zone: UTC), or seconds, milliseconds, microseconds or nanoseconds since
            1970; in any order. Whole numbers with steps of 1 that begin below 1 million are an index without a
            calendar. Times on the same day of every month, quarter or year are steps of the calendar.
        values: one finite number per time; NaN and None count as missing.

    Returns:
        The series. Values of the same time are averaged. Missing steps are interpolated and marked. Irregular times
        are gathered into buckets of a common step, if at least half of the buckets have a value.

    Raises:
        InputError: the lengths differ, a time or value cannot be read, fewer than 8 values remain, or the times are
            too irregular.

    >>> days = ["2026-01-01", "2026-01-02", "2026-01-04", *range(1767571200, 1768000000, 86400)]
    >>> found = even_series(days, range(8))
    >>> found.step_s, len(found.values), found.warnings
    (86400.0, 9, ('1 of 9 steps had no value (the first at 2026-01-03T00:00:00+00:00) and was filled',))
    """
    seconds, numbers, warnings = _known(_seconds(times), _numbers(values))
    order = np.argsort(seconds, kind="stable")
    if np.any(np.diff(seconds) < 0):
        warnings.append("the times were not in order and were sorted")
    moments, place, counts = np.unique(seconds[order], return_inverse=True, return_counts=True)
    means = np.bincount(place, numbers[order]) / counts
    if np.any(counts > 1):
        warnings.append(f"{plural(int(np.sum(counts > 1)), 'time')} had several values, which were averaged")
    if len(moments) < _FEWEST:
        verb = "is" if len(moments) == 1 else "are"
        raise InputError(
            f"{plural(len(moments), 'value')} at different times {verb} too few to forecast from; "
            f"give {_FEWEST} or more" + "".join(f" ({one})" for one in warnings)
        )
    if _is_index(moments):
        warnings.append("the times are whole numbers in steps of 1: an index, of which no calendar is known")
        return _even(float(moments[0]), 1.0, moments - moments[0], means, warnings, is_index=True)
    step_months, months = _months(moments)
    if step_months:
        step = float((moments[-1] - moments[0]) / months[-1])
        return _even(float(moments[0]), step, months, means, warnings, step_months=step_months)
    return _on_grid(moments, means, warnings)


def _is_index(moments: npt.NDArray[np.float64]) -> bool:
    """Numbers that would be consecutive seconds of January 1970: nobody has values of these."""
    is_whole = bool(np.all(moments == np.rint(moments)))
    return is_whole and moments[0] < _HIGHEST_FIRST_INDEX and float(np.median(np.diff(moments))) == 1


def _months(moments: npt.NDArray[np.float64]) -> tuple[int, npt.NDArray[np.float64]]:
    """Months per step and the step of each time, where all are on the same day and time of a month; else 0."""
    nothing = 0, moments
    if float(np.median(np.diff(moments))) < _SHORTEST_MONTH_S or moments[-1] > _LATEST_S:
        return nothing
    dates = [datetime.datetime.fromtimestamp(one, datetime.UTC) for one in moments.tolist()]
    if len({(one.day, one.time()) for one in dates}) > 1 or dates[0].day > _SHORTEST_MONTH_DAYS:
        return nothing
    months = np.array([12 * one.year + one.month for one in dates])
    step = int(np.median(np.diff(months)))
    steps = (months - months[0]) / max(step, 1)
    return (step, steps) if step and np.all(steps == np.rint(steps)) else nothing


def _known(
    seconds: npt.NDArray[np.float64], numbers: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[str]]:
    if len(seconds) != len(numbers):
        raise InputError(f"{len(seconds)} times and {len(numbers)} values; give one value per time")
    if np.any(np.isinf(numbers)):
        raise InputError(f"value {int(np.flatnonzero(np.isinf(numbers))[0]) + 1} is infinite; give finite numbers")
    missing = np.isnan(numbers)
    gone = int(missing.sum())
    said = [f"{plural(gone, 'value')} {'is' if gone == 1 else 'are'} missing: counted as gaps"] if gone else []
    return seconds[~missing], numbers[~missing], said


def _on_grid(moments: npt.NDArray[np.float64], means: npt.NDArray[np.float64], warnings: list[str]) -> EvenSeries:
    step = float(np.median(np.diff(moments)))
    steps = (moments - moments[0]) / step
    # A median of jittered times is a little off, and over many steps that adds up: the line through them is exact.
    rounded = np.cumsum(np.r_[0, np.rint(np.diff(moments) / step)])
    if rounded[-1] > 0:
        step = float((moments[-1] - moments[0]) / rounded[-1])
        steps = (moments - moments[0]) / step
    regular = np.mean(np.abs(steps - np.rint(steps)) <= _OFF_GRID) >= _ON_GRID_SHARE
    start = float(moments[0])
    if not regular:
        step = _bucket(float(np.median(np.diff(moments))))
        start = float(moments[0] // step * step)
        steps = np.floor((moments - start) / step)
        warnings.append(f"the times are irregular; values were averaged over steps of {step:g} s")
    else:
        nearest = min(_STEPS_S, key=lambda one: abs(one - step))
        step = float(nearest) if abs(nearest - step) <= 0.001 * nearest else step
    return _even(start, step, steps, means, warnings)


def _even(
    start: float,
    step: float,
    steps: npt.NDArray[np.float64],
    means: npt.NDArray[np.float64],
    warnings: list[str],
    *,
    step_months: int = 0,
    is_index: bool = False,
) -> EvenSeries:
    """The series of values whose place is known."""
    index = np.rint(steps).astype(np.int64)
    size = int(index[-1]) + 1
    of_step = "" if is_index else f" of {step:g} s"
    if size > _MOST_POINTS:
        raise InputError(f"the series has {size} steps{of_step}; give at most {_MOST_POINTS}: average it first")
    counts = np.bincount(index, minlength=size)
    observed = counts > 0
    if observed.mean() < _FEWEST_FILLED or observed.sum() < _FEWEST:
        raise InputError(
            f"only {observed.mean():.0%} of the {size} steps{of_step} have a value; give a series with even steps"
        )
    totals = np.bincount(index, means, minlength=size)
    values = np.interp(np.arange(size), np.flatnonzero(observed), totals[observed] / counts[observed])
    found = EvenSeries(start, step, values, observed, (), step_months, is_index)
    if not observed.all():
        first = found.time(int(np.flatnonzero(~observed)[0]))
        number = int((~observed).sum())
        verb = "was" if number == 1 else "were"
        warnings.append(f"{number} of {size} steps had no value (the first at {first}) and {verb} filled")
    return dataclasses.replace(found, warnings=tuple(warnings))


def _bucket(step_s: float) -> float:
    return float(next((one for one in _STEPS_S if one >= step_s), _STEPS_S[-1]))


def _numbers(values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    try:
        array = np.asarray([np.nan if one is None else float(one) for one in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"the values cannot be read as numbers: {error}") from None
    return array


def _seconds(times: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if isinstance(times, str | bytes) or not hasattr(times, "__len__"):
        raise InputError(f"the times are of type {type(times).__name__}; give one time per value")
    array = times if isinstance(times, np.ndarray) else None
    if array is not None and array.dtype.kind == "M":
        if np.isnat(array).any():
            raise InputError("a time is missing; give one time per value")
        return array.astype("datetime64[us]").astype(np.int64) / 1e6
    return np.asarray([_second(one, row) for row, one in enumerate(times, 1)], dtype=np.float64)


def _second(value: Any, row: int) -> float:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        text = value.strip()
        try:
            value = float(text) if text.replace(".", "", 1).isdigit() else datetime.datetime.fromisoformat(text)
        except ValueError:
            raise InputError(f"time {row} is {value!r}; write ISO times such as 2026-03-02T14:00:00+00:00") from None
    if isinstance(value, datetime.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=datetime.UTC)).timestamp()
    if isinstance(value, np.datetime64):
        value = float(value.astype("datetime64[us]").astype(np.int64)) / 1e6 if not np.isnat(value) else np.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if isinstance(value, bool) or not 0 <= number < np.inf:
        raise InputError(f"time {row} is {value!r}; give a datetime, ISO text, or seconds since 1970")
    return number / next(unit for limit, unit in _EPOCH_UNITS if number < limit)
