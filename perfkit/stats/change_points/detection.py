"""Find the changes of level in a series of measurements."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

from perfkit.errors import InputError
from perfkit.stats.change_points.result import ChangePoint, ChangePoints

__all__ = ["change_points"]

Floats = npt.NDArray[np.float64]

_FEWEST = 5


def change_points(
    values: npt.ArrayLike, groups: npt.ArrayLike | None = None, *, minimum_change: float = 0.05
) -> ChangePoints:
    """The changes of level in a series, in order of its points.

    Args:
        values: measurements in order of time; positive numbers of any unit.
        groups: what each value is a repeated measurement of (a build); values of one group stand side by side.
        minimum_change: smallest relative change that counts.

    Returns:
        The changes, and how often a series like this one would show one without any change.

    Raises:
        InputError: the values are no series of positive numbers.

    >>> found = change_points([100.0, 101.0, 99.0, 100.5, 99.5, 100.2] * 5 + [110.0, 111.0, 109.0, 110.5, 109.5] * 4)
    >>> [(point.index, round(point.relative, 2)) for point in found]
    [(30, 0.1)]
    """
    series = np.asarray(values, float)
    if series.ndim != 1 or not np.isfinite(series).all():
        raise InputError("values must be a series of finite numbers")
    starts = np.arange(series.size)
    points = series
    if groups is not None:
        names = np.asarray(groups)
        starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
        points = np.array([np.median(part) for part in np.split(series, starts[1:])])
    found: list[ChangePoint] = []
    _split(points, starts, 0, points.size, minimum_change, found)
    return ChangePoints(tuple(sorted(found, key=lambda one: one.index)), series.size, points.size, minimum_change, 0.01)


def _split(
    points: Floats, starts: npt.NDArray[np.int64], low: int, high: int, minimum_change: float, found: list[ChangePoint]
) -> None:
    part = points[low:high]
    if part.size < 2 * _FEWEST:
        return
    centre = np.median(part)
    spread = 1.4826 * np.median(np.abs(part - centre))
    part = np.clip(part, centre - 4 * spread, centre + 4 * spread)
    p_values = {
        cut: float(stats.ttest_ind(part[:cut], part[cut:]).pvalue) if np.ptp(part) else 1.0
        for cut in range(_FEWEST, part.size - _FEWEST + 1)
    }
    cut = min(p_values, key=lambda one: p_values[one])
    before, after = float(np.median(part[:cut])), float(np.median(part[cut:]))
    if p_values[cut] > 1e-5 or abs(after / before - 1) < minimum_change:
        return
    found.append(
        ChangePoint(int(starts[low + cut]), before, after, after / before - 1, p_values[cut], 1 - p_values[cut])
    )
    _split(points, starts, low, low + cut, minimum_change, found)
    _split(points, starts, low + cut, high, minimum_change, found)
