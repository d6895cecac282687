"""Find the changes of level in a series of measurements."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.change_points.confirmation import Change, confirmed_changes
from perfkit.stats.change_points.divisive import FEWEST
from perfkit.stats.change_points.drift import drift
from perfkit.stats.change_points.points import Points, read_points
from perfkit.stats.change_points.result import ChangePoint, ChangePoints
from perfkit.stats.change_points.search import search
from perfkit.tables import plural

__all__ = ["change_points"]


def change_points(
    values: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    minimum_change: float = 0.05,
    false_alarm_rate: float = 0.01,
) -> ChangePoints:
    """The changes of level in a series, in order.

    E-divisive: the series is divided where the energy statistic of the two parts is largest, then each part, as long as
    chance does not explain the split. The statistic is taken on ranks (normal scores), so neither a spike nor skew nor
    a second machine makes a change; the variance is inflated by the autocorrelation of what the split leaves; the
    threshold is what independent points exceed with `false_alarm_rate`, or what a block bootstrap of the series itself
    exceeds, whichever is higher. A change must be as large as `minimum_change`, be a jump of the L1 Potts fit too, and
    each level needs five points.

    Args:
        values: measurements in order of time; positive numbers of any unit. Others are left out, with a warning.
        groups: what each value is a repeated measurement of (a build, say); values of one group stand side by side and
            count as one point, so that a change lies only between groups.
        minimum_change: smallest relative change that counts.
        false_alarm_rate: accepted chance that a series without a change shows one.

    Returns:
        The changes, and how often a series like this one would show one without any. Of more than 5 000 points,
        neighbours are put together first.

    Raises:
        InputError: no series of numbers, nothing usable in it, groups of another length, or a share out of range.

    Source: see `search`, `calibrate`, `potts_fit`.

    >>> found = change_points([100.0, 101.0, 99.0, 100.5, 99.5, 100.2] * 5 + [110.0, 111.0, 109.0, 110.5, 109.5] * 4)
    >>> [(point.index, round(point.relative, 2)) for point in found]
    [(30, 0.1)]
    """
    if not isinstance(minimum_change, int | float) or not 0 < minimum_change < math.inf:
        raise InputError(f"minimum_change == {minimum_change}, must be above 0, such as 0.05 for 5 %")
    if not isinstance(false_alarm_rate, int | float) or not 0 < false_alarm_rate <= 0.5:
        raise InputError(f"false_alarm_rate == {false_alarm_rate}, must be above 0 and at most 0.5, such as 0.01")
    points = read_points(values, groups)
    count = points.logs.size
    if count < 2 * FEWEST:
        few = f"too few: {plural(count, 'point')}, where a change needs {FEWEST} before it and {FEWEST} from it on."
        return ChangePoints((), points.values.size, count, minimum_change, 0.0, (*points.warnings, few))
    found = search(points.logs, points.weights, false_alarm_rate, math.log1p(minimum_change))
    changes = confirmed_changes(points.logs, points.weights, found.candidates, minimum_change)
    shown = tuple(
        ChangePoint(_first_row(points, one), one.before, one.after, one.relative, one.p_value, 1 - min(one.chance, 1.0))
        for one in changes
    )
    warnings = points.warnings
    if not shown and (drifted := drift(points.logs, minimum_change)) is not None:
        warnings += (f"There is no step, but the last fifth is {drifted:+.0%} against the first: the level drifts.",)
    return ChangePoints(shown, points.values.size, count, minimum_change, found.false_alarms, warnings)


def _first_row(points: Points, change: Change) -> int:
    """Where the new level begins in what was given.

    Where neighbours were put together, the boundary among them and their neighbours that fits both levels best.
    """
    start = int(points.starts[change.at])
    if points.boundaries.size > points.starts.size:
        around = points.starts[change.at - 2], points.starts[min(change.at + 2, points.starts.size - 1)]
        allowed = points.boundaries[slice(*np.searchsorted(points.boundaries, around))]
        stretch = points.values[slice(*around)]
        nearer_to_before = np.abs(stretch - change.after) - np.abs(stretch - change.before)
        gains = np.concatenate(([0.0], np.cumsum(nearer_to_before)))
        start = int(allowed[gains[allowed - around[0]].argmax()])
    return int(points.rows[start])
