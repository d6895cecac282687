"""What looking for regressions shows: changes of level for the worse and for the better, series by series."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration
from perfkit.workflows.regressions.series import Index

__all__ = ["Change", "Regressions", "SeriesSummary"]

_WIDTH = 78
_SHOWN = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One change of level in one series.

    Args:
        series: name of the series.
        row: last row before the change, counted from 1: a row of the file, or a point of a series in the lake.
        index: what that row is called: a build, a run, a time.
        index_after: what the first row of the new level is called.
        before: level before it; nanoseconds in a lake, else the unit of the file.
        after: level from it on.
        relative: after / before - 1.
        p_value: probability of a step this clear at this place if nothing changed.
        confidence: 1 - the probability of a step this clear anywhere in the series without a change.
    """

    series: str
    row: int
    index: Index
    index_after: Index
    before: float
    after: float
    relative: float
    p_value: float
    confidence: float


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesSummary:
    """One series that was judged.

    Args:
        name: what people call it.
        attributes: what tells it from other series.
        rows: values that were used.
        points: independent points that these are.
        level: its present level.
        false_alarm_rate: chance that a series like it, without any change, shows at least one.
        warnings: what makes the answer less certain.
    """

    name: str
    attributes: Mapping[str, str]
    rows: int
    points: int
    level: float
    false_alarm_rate: float
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Regressions:
    """Where measurements became worse, or better, for good.

    Args:
        source: file or lake that was read.
        regressions: changes for the worse, the largest first.
        improvements: changes for the better, the largest first.
        series: every series that was judged.
        better: ``lower`` or ``higher`` values are better.
        unit: ``ns``, or empty where only the file's author knows it.
        minimum_change: smallest relative change of level that counts.
        warnings: what concerns every series.
    """

    source: str
    regressions: tuple[Change, ...]
    improvements: tuple[Change, ...]
    series: tuple[SeriesSummary, ...]
    better: str
    unit: str
    minimum_change: float
    warnings: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Series that were judged."""
        return len(self.series)

    @property
    def method(self) -> str:
        """How the changes came about, for people."""
        return (
            "E-divisive on ranks, confirmed by L1 Potts, calibrated by a block bootstrap of each series; adjusted "
            f"after Benjamini-Hochberg over {plural(self.n, 'series', ['series'])}"
        )

    @property
    def sentence(self) -> str:
        """What it means."""
        found = (plural(len(self.regressions), "regression"), plural(len(self.improvements), "improvement"))
        said = f"{found[0]} and {found[1]} of {self.minimum_change:.0%} or more in {self._judged()}"
        if not self.regressions:
            return f"{said}."
        worst = self.regressions[0]
        return f"{said}; the largest: {worst.series} {worst.relative:+.1%} after {worst.index}."

    def _judged(self) -> str:
        points = sum(one.points for one in self.series)
        return f"{plural(self.n, 'series', ['series'])} of {plural(points, 'point')}"

    def to_table(self) -> ResultTable:
        """The changes, the worst first."""
        changes = [*self.regressions[:_SHOWN], *self.improvements[:_SHOWN]]
        rows = tuple(
            (
                one.series,
                str(one.index),
                self._level(one.before),
                self._level(one.after),
                f"{one.relative:+.1%}",
                f"{one.p_value:.1g}",
            )
            for one in changes
        )
        columns = ("series", "last before", "before", "after", "change", "p") if rows else ()
        title = f"Regressions in {self.source}"
        return ResultTable(title, columns, rows, self._notes(), align_right=(2, 3, 4, 5))

    def _notes(self) -> tuple[str, ...]:
        hidden = max(len(self.regressions) - _SHOWN, 0) + max(len(self.improvements) - _SHOWN, 0)
        notes = [self.sentence]
        if hidden:
            notes.append(f"Not shown: {plural(hidden, 'smaller change')}; --json has every one.")
        notes += [f"{self.method}.", *(f"! {warning}" for warning in self.warnings)]
        told = {warning: one.name for one in reversed(self.series) for warning in one.warnings}
        notes += [f"! {name}: {warning}" for warning, name in reversed(told.items())][:_SHOWN]
        return tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))

    def _level(self, level: float) -> str:
        return format_duration(level) if self.unit == "ns" else f"{level:.4g}"

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            **dataclasses.asdict(self),
            "series": {one.name: dataclasses.asdict(one) for one in self.series},
            "n": self.n,
            "method": self.method,
            "sentence": self.sentence,
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()
