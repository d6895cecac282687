"""From series to changes, with allowance for how many series are looked at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from perfkit.stats.change_points import ChangePoint, ChangePoints, change_points
from perfkit.stats.corrections import benjamini_hochberg
from perfkit.workflows.regressions.result import Change, SeriesSummary
from perfkit.workflows.regressions.series import Series

__all__ = ["FALSE_DISCOVERIES", "Judged", "judge"]

FALSE_DISCOVERIES = 0.05
"""Accepted share of wrong findings; in series that all did not change, the chance of any."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """One series with the changes that stand after all series were looked at.

    Args:
        series: what was judged.
        found: what was found in it alone.
        kept: the changes that stand.
    """

    series: Series
    found: ChangePoints
    kept: tuple[ChangePoint, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that stand, named as the source names its rows."""
        rows, index = self.series.rows, self.series.index
        return tuple(
            Change(
                self.series.name,
                int(rows[one.index - 1]),
                index[one.index - 1],
                index[one.index],
                one.before,
                one.after,
                one.relative,
                one.p_value,
                one.confidence,
            )
            for one in self.kept
        )

    @property
    def summary(self) -> SeriesSummary:
        """What there is to say of the series itself."""
        found = self.found
        level = self.kept[-1].after if self.kept else float(np.median(self.series.values))
        warnings = (*self.series.warnings, *found.warnings)
        rate = found.false_alarm_rate
        return SeriesSummary(
            self.series.name, self.series.attributes, found.n, found.points_judged, level, rate, warnings
        )


def judge(series: Sequence[Series], minimum_change: float) -> tuple[Judged, ...]:
    """Find the changes of every series and keep those that stand.

    The chance of each series' clearest change is adjusted over the series after Benjamini and Hochberg; a change is
    kept where its own chance is within the threshold that this gives.

    Args:
        series: what to judge.
        minimum_change: smallest relative change of level that counts.
    """
    found = [change_points(one.values, _groups(one), minimum_change=minimum_change) for one in series]
    clearest = np.array([min((1 - point.confidence for point in points), default=1.0) for points in found])
    allowed = clearest[benjamini_hochberg(clearest) <= FALSE_DISCOVERIES].max(initial=0.0)
    return tuple(
        Judged(one, points, tuple(point for point in points if 1 - point.confidence <= allowed))
        for one, points in zip(series, found, strict=True)
    )


def _groups(series: Series) -> list[str] | None:
    """The points that values are repeated measurements of; None where each is one of its own."""
    names = np.asarray(series.index)
    return list(map(str, series.index)) if (names[1:] == names[:-1]).any() else None
