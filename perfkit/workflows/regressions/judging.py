"""From series to changes and deviations, with allowance for how many series are looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from perfkit.stats.baselines import WINDOW, ExpectedRange, Newest, expected_range, judge_newest
from perfkit.stats.change_points import ChangePoint, ChangePoints, change_points
from perfkit.stats.corrections import benjamini_hochberg
from perfkit.stats.pooled import chance_of_change, pooled_correlation
from perfkit.workflows.regressions.causes import Surroundings, find_causes
from perfkit.workflows.regressions.frozen import Frozen
from perfkit.workflows.regressions.result import FALSE_ALARMS, Change, Deviation, SeriesSummary
from perfkit.workflows.regressions.series import Series

__all__ = ["Judged", "RegressionsProgress", "judge"]

_FOR_DEVIATIONS = 0.2
"""Share of the accepted false alarms that the newest points get; the changes of level get the rest."""
_RECENT = 4
"""Newest points that are judged, and therefore no past."""


@dataclasses.dataclass(frozen=True, slots=True)
class RegressionsProgress:
    """How far a search has come: series done, of how many, and the one under way."""

    done: float
    total: float
    label: str
    seconds_left: float | None = None


@dataclasses.dataclass(frozen=True)
class Judged:
    """One series with what stands after all series were looked at.

    Args:
        series: what was judged.
        found: what was found in it alone.
        kept: the changes that stand.
        newest: its newest point beside what was expected of it; None where there is too little before it.
        is_off: whether that point is a deviation.
        expected: where the next point lies.
        is_frozen: whether that was fixed earlier.
    """

    series: Series
    found: ChangePoints
    kept: tuple[ChangePoint, ...]
    newest: Newest | None
    is_off: bool
    expected: ExpectedRange | None
    is_frozen: bool

    def changes(self, around: Surroundings | None) -> list[Change]:
        """The changes that stand, named as the source names its rows, with what may be behind them."""
        series = self.series
        edges = [0, *(one.index for one in self.kept), series.values.size]
        found = []
        for position, one in enumerate(self.kept, 1):
            change = Change(
                series.name,
                int(series.rows[one.index - 1]),
                series.index[one.index - 1],
                series.index[one.index],
                one.before,
                one.after,
                one.relative,
                one.p_value,
                one.confidence,
            )
            if around:
                causes = find_causes(series, one.index, (edges[position - 1], edges[position + 1]), around)
                change = dataclasses.replace(change, causes=causes)
            found.append(change)
        return found

    def deviation(self, better: str) -> Deviation | None:
        """The newest point where it is off."""
        newest = self.newest
        if newest is None or not self.is_off:
            return None
        return Deviation(
            self.series.name,
            self.series.index[-1],
            newest.value,
            newest.expected.level,
            newest.expected.low,
            newest.expected.high,
            newest.relative,
            newest.p_value,
            newest.points,
            (newest.relative > 0) == (better == "lower"),
        )

    @property
    def summary(self) -> SeriesSummary:
        """What there is to say of the series itself."""
        found, series = self.found, self.series
        return SeriesSummary(
            series.name,
            series.attributes,
            found.n,
            found.points_judged,
            self.kept[-1].after if self.kept else float(np.median(series.values)),
            found.false_alarm_rate,
            self.expected,
            self.is_frozen,
            (*series.warnings, *found.warnings),
        )


def judge(
    series: Sequence[Series],
    minimum_change: float,
    tolerance: float,
    frozen: Frozen | None,
    progress: Callable[[RegressionsProgress], None] | None = None,
) -> tuple[Judged, ...]:
    """Find the changes of every series, compare its newest point with its range, and keep what stands.

    The chance of each series' clearest change is adjusted over the series after Benjamini and Hochberg; a change is
    kept where its own chance is within the threshold that this gives. Likewise the p-values of the newest points. The
    chance is that of the series alone or, where it is larger, the one at the autocorrelation that all series share.

    Args:
        series: what to judge.
        minimum_change: smallest relative change of level that counts.
        tolerance: relative deviation of the newest point that does not matter.
        frozen: ranges that were fixed earlier; None takes all of them from the newest level.
        progress: called before every series.
    """
    found = []
    for done, one in enumerate(series):
        if progress is not None:
            progress(RegressionsProgress(done, len(series), one.name))
        found.append(change_points(one.values, _groups(one), minimum_change=minimum_change))
    chances = _chances(series, found)
    clearest = np.array([min(of_one, default=1.0) for of_one in chances])
    allowed = clearest[_stands(clearest, FALSE_ALARMS * (1 - _FOR_DEVIATIONS))].max(initial=0.0)
    kept = [
        tuple(point for point, chance in zip(points, of_one, strict=True) if chance <= allowed)
        for points, of_one in zip(found, chances, strict=True)
    ]
    levels = [_newest_level(one, points) for one, points in zip(series, kept, strict=True)]
    fixed = [frozen.range_of(one.attributes) if frozen else None for one in series]
    newest = [judge_newest(level, tolerance, ranged) for level, ranged in zip(levels, fixed, strict=True)]
    p_values = _newest_chances(levels, newest)
    is_off = _stands(np.array(p_values), FALSE_ALARMS * _FOR_DEVIATIONS)
    expected = [ranged or expected_range(level) for ranged, level in zip(fixed, levels, strict=True)]
    is_frozen = [ranged is not None for ranged in fixed]
    columns = (series, found, kept, newest, is_off.tolist(), expected, is_frozen)
    return tuple(Judged(*row) for row in zip(*columns, strict=True))


def _chances(series: Sequence[Series], found: Sequence[ChangePoints]) -> list[list[float]]:
    """Of each change, how often a series without any shows one as clear: by itself, and at what all have in common."""
    alone = [[1 - point.confidence for point in points] for points in found]
    places = [[point.index for point in points] for points in found]
    correlation = pooled_correlation([one.values for one in series], places)
    if correlation == 0:
        return alone
    for values, at, chances in zip((one.values for one in series), places, alone, strict=True):
        edges = [0, *at, values.size]
        for number, place in enumerate(at):
            low, high = edges[number], edges[number + 2]
            together = chance_of_change(values[low:high], place - low, correlation)
            chances[number] = max(chances[number], together)
    return alone


def _newest_chances(levels: Sequence[npt.NDArray[np.float64]], newest: Sequence[Newest | None]) -> list[float]:
    """How often a newest point is as far off: by its own range or, where the past of any series has more, as it did.

    A stall that hits one run in fifty is nothing new in the newest one; twice in a row it is.
    """
    past = np.sort(np.concatenate([np.abs(np.log(one[:-_RECENT] / np.median(one))) for one in levels]))
    chances = []
    for one in newest:
        if one is None or not one.points:
            chances.append(1.0)
            continue
        as_far = past.size - int(np.searchsorted(past, abs(np.log1p(one.relative))))
        seen = (as_far / past.size) ** one.points if as_far > 1 else 0.0
        chances.append(max(one.p_value, seen))
    return chances


def _stands(p_values: npt.NDArray[np.float64], alpha: float) -> npt.NDArray[np.bool_]:
    return (benjamini_hochberg(p_values) <= alpha) & (p_values < 1) if p_values.size else np.zeros(0, bool)


def _newest_level(series: Series, kept: Sequence[ChangePoint]) -> npt.NDArray[np.float64]:
    """The newest points since the last change: the median of what was measured of each."""
    start = kept[-1].index if kept else 0
    groups = _groups(series)
    if groups is None:
        return series.values[start:]
    begins = np.flatnonzero(np.diff(groups[start:], prepend=groups[start] - 1))[-2 * WINDOW :]
    parts = np.split(series.values[start + begins[0] :], begins[1:] - begins[0])
    return np.array([np.median(part) for part in parts])


def _groups(series: Series) -> npt.NDArray[np.int64] | None:
    """A number for the point that each value is a measurement of; None where each is one of its own."""
    numbers = pl.Series(series.index).rank("dense").cast(pl.Int64).to_numpy()
    return numbers if (numbers[1:] == numbers[:-1]).any() else None
