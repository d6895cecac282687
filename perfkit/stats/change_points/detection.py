"""Find the changes of level in a series of measurements."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.change_points.confirmation import confirmed_changes
from perfkit.stats.change_points.divisive import FEWEST
from perfkit.stats.change_points.points import Points, read_points
from perfkit.stats.change_points.result import ChangePoint, ChangePoints
from perfkit.stats.change_points.search import Search, search

__all__ = ["change_points"]

_MIDDLE_HALF = (0.25, 0.75)
_NORMAL_MIDDLE_HALF = 1.349


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
    if not 0 < minimum_change < math.inf:
        raise InputError(f"minimum_change == {minimum_change}, must be above 0, such as 0.05 for 5 %")
    if not 0 < false_alarm_rate <= 0.5:
        raise InputError(f"false_alarm_rate == {false_alarm_rate}, must be above 0 and at most 0.5, such as 0.01")
    points = read_points(values, groups)
    count = points.logs.size
    if count < 2 * FEWEST:
        few = f"{count} points are too few: a change needs {FEWEST} before it and {FEWEST} from it on."
        return ChangePoints((), points.values.size, count, minimum_change, 0.0, (*points.warnings, few))
    found = search(points.logs, points.weights, false_alarm_rate)
    changes = confirmed_changes(points.logs, points.weights, found.candidates, minimum_change)
    shown = tuple(
        ChangePoint(_row(points, one.at), one.before, one.after, one.relative, one.p_value, 1 - min(one.chance, 1.0))
        for one in changes
    )
    chance = _chance_of_any(points, found, minimum_change)
    return ChangePoints(shown, points.values.size, count, minimum_change, chance, points.warnings)


def _chance_of_any(points: Points, found: Search, minimum_change: float) -> float:
    """Chance that a replicate goes beyond the threshold, and that the change there would be large enough to count."""
    edges = [0, *(one.at for one in found.candidates), points.logs.size]
    parts = [points.logs[low:high] for low, high in itertools.pairwise(edges)]
    centred = np.concatenate([part - np.median(part) for part in parts])
    spread = float(np.subtract(*np.quantile(centred, _MIDDLE_HALF[::-1]))) / _NORMAL_MIDDLE_HALF
    large = int((found.calibration.differences * spread >= math.log1p(minimum_change)).sum())
    share = (large + 1) / (found.calibration.differences.size + 1)
    return min(found.calibration.chance * share, 1.0)


def _row(points: Points, at: int) -> int:
    return int(points.rows[points.starts[at]])
