"""From what was given to the points that are judged: bad values left out, repeated measurements made one point."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.change_points.divisive import FEWEST
from perfkit.tables import plural

__all__ = ["LARGEST", "Points", "read_points"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LARGEST = 5_000
"""Points that are judged at most; neighbours of a longer series are put together first."""

_DEVIATION = 1.4826
"""Standard deviation over median absolute deviation, for normal values."""


@dataclasses.dataclass(frozen=True)
class Points:
    """A series ready to be judged.

    Args:
        values: what was given and can be used, in its unit and order.
        rows: where each of `values` stood in what was given.
        starts: where each point begins in `values`.
        logs: logarithm of each point's level.
        weights: what each point says, mean 1: less for a build that was measured once than for one measured ten times.
        boundaries: where a new level may begin in `values`: `starts`, and more where neighbours were put together.
        warnings: what was left out or looks wrong.
    """

    values: Floats
    rows: Integers
    starts: Integers
    logs: Floats
    weights: Floats
    boundaries: Integers
    warnings: tuple[str, ...]


def read_points(values: npt.ArrayLike, groups: npt.ArrayLike | None) -> Points:
    """Check a series and put repeated measurements together.

    Args:
        values: measurements in order of time.
        groups: what each is a repeated measurement of; None: each is a point.

    Raises:
        InputError: no series of numbers, nothing usable in it, or groups of another length.

    >>> read_points([10.0, 12.0, float("nan"), 20.0], ["a", "a", "b", "b"]).starts.tolist()
    [0, 2]
    """
    given = _as_numbers(values)
    usable = np.isfinite(given) & (given > 0)
    kept, rows = given[usable], np.flatnonzero(usable)
    if kept.size == 0:
        raise InputError(
            f"none of the {plural(given.size, 'value')} is a positive number; a change of level is relative, so give "
            "durations, sizes or rates above 0"
        )
    warnings = []
    if kept.size < given.size:
        left_out = plural(given.size - kept.size, "value")
        warnings.append(f"{left_out} of {given.size} left out: not a number, infinite, zero or negative.")
    if groups is None:
        starts = np.arange(kept.size)
    else:
        starts, recurring = _runs(groups, given.size, usable)
        if recurring:
            warnings.append(
                f"{plural(recurring, 'group')} in several places: each place counts as a point of its own. Sort the "
                "values by time and group if they are not."
            )
    boundaries = starts
    if starts.size > LARGEST:
        together = -(-starts.size // LARGEST)
        warnings.append(
            f"{starts.size} points are many: {together} neighbours count as one point, so a new level needs "
            f"{FEWEST * together}."
        )
        starts = starts[::together]
    logs, weights = _levels(np.log(kept), starts)
    return Points(kept, rows, starts, logs, weights, boundaries, tuple(warnings))


def _as_numbers(values: npt.ArrayLike) -> Floats:
    try:
        given = np.asarray(values)
        if given.ndim == 1 and given.size == 0:
            raise InputError("there are no values; give at least one, in order of time")
        if given.dtype.kind in "OUS" and given.ndim == 1:
            given = np.array([np.nan if one is None else float(one) for one in given])
        if given.dtype.kind not in "iuf":
            raise TypeError(f"they are of type {given.dtype}")
        given = given.astype(float)
    except InputError:
        raise
    except (OverflowError, TypeError, ValueError) as error:
        raise InputError(f"the values are no numbers ({error}); give one number per measurement") from error
    if given.ndim != 1:
        raise InputError(f"the values have {given.ndim} dimensions, must have 1: one number per measurement")
    return given


def _runs(groups: npt.ArrayLike, count: int, usable: npt.NDArray[np.bool_]) -> tuple[Integers, int]:
    names = np.asarray(groups)
    if names.shape != (count,):
        raise InputError(f"groups has the shape {names.shape}, must be ({count},): one name per value")
    names = names[usable]
    changes = np.asarray(names[1:] != names[:-1], bool)
    starts = np.flatnonzero(np.concatenate(([True], changes)))
    places = Counter(str(name) for name in names[starts])
    return starts, sum(count > 1 for count in places.values())


def _levels(logs: Floats, starts: Integers) -> tuple[Floats, Floats]:
    """Median of each point's measurements and, from the variance within and between, what each says."""
    counts = np.diff(np.append(starts, logs.size))
    if starts.size == logs.size:
        return logs, np.ones(logs.size)
    point = np.repeat(np.arange(starts.size), counts)
    order = np.lexsort((logs, point))
    ordered = logs[order]
    levels = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2
    repeated = counts > 1
    if not repeated.any():
        return levels, np.ones(starts.size)
    deviations = np.abs(logs - levels[point])[repeated[point]]
    freedom = deviations.size / (deviations.size - repeated.sum())
    within = freedom * (_DEVIATION * float(np.median(deviations))) ** 2
    steps = np.diff(levels)
    total = (_DEVIATION * float(np.median(np.abs(steps - np.median(steps))))) ** 2 / 2 if steps.size else 0.0
    between = max(total - within * float(np.mean(1 / counts)), 0.25 * within)
    weights = 1 / (between + within / counts) if between > 0 else np.ones(starts.size)
    return levels, weights / weights.mean()
