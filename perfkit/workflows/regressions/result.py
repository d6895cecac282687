"""What looking for regressions shows: changes of level for the worse and for the better, series by series."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from perfkit.stats.baselines import ExpectedRange
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration
from perfkit.workflows.events import Event
from perfkit.workflows.regressions.causes import Causes
from perfkit.workflows.regressions.series import Index, Series

__all__ = ["FALSE_ALARMS", "Change", "Deviation", "Pattern", "Regressions", "SeriesSummary"]

FALSE_ALARMS = 0.05
"""Accepted chance that series that all did not change show anything; of what is shown, the share that may be wrong."""

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
        causes: what may be behind it; only of a lake.
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
    causes: Causes = dataclasses.field(default_factory=Causes)


@dataclasses.dataclass(frozen=True, slots=True)
class Deviation:
    """The newest point of one series, off by more than the tolerance from what was expected of it.

    Args:
        series: name of the series.
        index: what the newest point is called.
        value: its value.
        expected: what was expected.
        low: smallest value that was to be expected.
        high: largest value that was to be expected.
        relative: value / expected - 1.
        p_value: probability of a point this far off if nothing changed.
        points: how many of the newest points are off to the same side; 4 for 4 or more.
        is_worse: whether it is off to the side that is worse.
    """

    series: str
    index: Index
    value: float
    expected: float
    low: float
    high: float
    relative: float
    p_value: float
    points: int
    is_worse: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """Series that changed together.

    Args:
        attributes: what they have in common; empty when most series changed, with nothing to tell them apart.
        changed: series with these attributes that changed.
        members: series with these attributes.
        others_changed: other series that changed, as far as no earlier pattern explains them.
        others: other series, likewise.
        p_value: probability of it if changes fell at random, adjusted for the groups that were looked at; 1 where
            nothing tells them apart.
        relative: median of their changes.
        event: event that lies at most of the changes; empty without one.
        stage: stage that most of the changes lie in; empty without one.
        sentence: all this, for people.
    """

    attributes: Mapping[str, str]
    changed: int
    members: int
    others_changed: int
    others: int
    p_value: float
    relative: float
    event: str
    stage: str
    sentence: str


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
        expected: where its next point lies if nothing changes; None where it has too few points.
        is_frozen: the range was fixed earlier, and does not move along.
        warnings: what makes the answer less certain.
    """

    name: str
    attributes: Mapping[str, str]
    rows: int
    points: int
    level: float
    false_alarm_rate: float
    expected: ExpectedRange | None = None
    is_frozen: bool = False
    warnings: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """The summary as values that JSON can hold."""
        plain = dataclasses.asdict(self)
        if self.expected:
            plain["expected"] |= {"low": self.expected.low, "high": self.expected.high}
        return plain


@dataclasses.dataclass(frozen=True)
class Regressions:
    """Where measurements became worse, or better, for good.

    Args:
        source: file or lake that was read.
        regressions: changes for the worse, the largest first.
        improvements: changes for the better, the largest first.
        deviations: newest points that are not what was expected, the farthest first.
        patterns: what the changed series have in common; of a lake, and of files with groups.
        steps: what to do next.
        series: every series that was judged.
        better: ``lower`` or ``higher`` values are better.
        unit: ``ns``, or empty where only the file's author knows it.
        minimum_change: smallest relative change of level that counts.
        tolerance: relative deviation of a newest point that does not matter.
        baselines: where the expected ranges come from: ``moving``, or the name under which they were frozen.
        warnings: what concerns every series.
        histories: the measurements of the series, in their order; for pictures, and in no file.
        events: what the lake was told, in order of time; likewise.
    """

    source: str
    regressions: tuple[Change, ...]
    improvements: tuple[Change, ...]
    deviations: tuple[Deviation, ...]
    patterns: tuple[Pattern, ...]
    steps: tuple[str, ...]
    series: tuple[SeriesSummary, ...]
    better: str
    unit: str
    minimum_change: float
    tolerance: float
    baselines: str
    warnings: tuple[str, ...] = ()
    histories: tuple[Series, ...] = dataclasses.field(default=(), repr=False, compare=False)
    events: tuple[Event, ...] = dataclasses.field(default=(), repr=False, compare=False)

    @property
    def n(self) -> int:
        """Series that were judged."""
        return len(self.series)

    @property
    def is_worse(self) -> bool:
        """Whether anything became worse: a regression, or a newest point that is worse than was to be expected."""
        return bool(self.regressions) or any(one.is_worse for one in self.deviations)

    @property
    def method(self) -> str:
        """How the changes came about, for people."""
        return (
            "E-divisive on ranks, confirmed by L1 Potts, calibrated by a block bootstrap of each series; with 10 "
            "series or more, at the autocorrelation that they share. The newest "
            f"points against a prediction interval ({self.baselines} baselines). Both adjusted after Benjamini and "
            f"Hochberg over {self._counted()}: where nothing changed, at most {FALSE_ALARMS:.0%} of looks show "
            "anything"
        )

    @property
    def sentence(self) -> str:
        """What it means."""
        found = (plural(len(self.regressions), "regression"), plural(len(self.improvements), "improvement"))
        points = sum(one.points for one in self.series)
        said = f"{found[0]} and {found[1]} of {self.minimum_change:.0%} or more in {self._counted()}"
        said += f" of {plural(points, 'point')}" if self.n == 1 else ""
        if self.regressions:
            worst = self.regressions[0]
            said += f"; the largest: {worst.series} {worst.relative:+.1%} after {worst.index}"
        worse = sum(one.is_worse for one in self.deviations)
        if worse:
            said += f". In {plural(worse, 'series', ['series'])} the newest point is worse by over {self.tolerance:.0%}"
        return f"{said}."

    def _counted(self) -> str:
        return plural(self.n, "series", ["series"])

    def to_table(self) -> ResultTable:
        """The changes, the worst first, then the newest points that are off."""
        changes = [*self.regressions[:_SHOWN], *self.improvements[:_SHOWN]]
        rows = [self._cells(one.series, one.index, one.before, one.after, one.relative, one.p_value) for one in changes]
        rows += [
            self._cells(f"{one.series} (newest)", one.index, one.expected, one.value, one.relative, one.p_value)
            for one in self.deviations[:_SHOWN]
        ]
        columns = ("series", "last before", "before", "after", "change", "p") if rows else ()
        title = f"Regressions in {self.source}"
        return ResultTable(title, columns, tuple(rows), self._notes(), align_right=(2, 3, 4, 5))

    def _cells(
        self, series: str, index: Index, before: float, after: float, relative: float, p_value: float
    ) -> tuple[str, ...]:
        return series, _short(index), self._level(before), self._level(after), f"{relative:+.1%}", f"{p_value:.1g}"

    def _notes(self) -> tuple[str, ...]:
        listed = (self.regressions, self.improvements, self.deviations)
        hidden = sum(max(len(one) - _SHOWN, 0) for one in listed)
        notes = [self.sentence, *(one.sentence for one in self.patterns), *self._told_causes()]
        notes += [f"Next: {step}" for step in self.steps]
        if hidden:
            notes.append(f"Not shown: {plural(hidden, 'smaller change')}; --json has every one.")
        notes += [f"{self.method}.", *(f"! {warning}" for warning in self.warnings)]
        told = {warning: one.name for one in reversed(self.series) for warning in one.warnings}
        notes += [f"! {name}: {warning}" for warning, name in reversed(told.items())][:_SHOWN]
        return tuple(notes)

    def _told_causes(self) -> list[str]:
        """What lies at the worst regression; the others' causes are in `regressions`."""
        if not self.regressions:
            return []
        worst = self.regressions[0]
        causes = worst.causes
        told = [f"event {one}" for one in causes.events] + [f"host {one}" for one in causes.host]
        told += [f"commit {one}" for one in causes.commits]
        told += [f"stage {causes.stage}"] if causes.stage else []
        return [f"At {worst.series} after {worst.index}: {'; '.join(told)}."] if told else []

    def _level(self, level: float) -> str:
        return format_duration(level) if self.unit == "ns" else f"{level:.4g}"

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        plain = dataclasses.asdict(dataclasses.replace(self, histories=(), events=()))
        del plain["histories"], plain["events"]
        return {
            **plain,
            "series": {one.name: one.to_plain() for one in self.series},
            "n": self.n,
            "method": self.method,
            "sentence": self.sentence,
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _short(index: Index) -> str:
    """What a point is called, in a table: a run by as much of its name as commands need.

    >>> _short("20261114-000000-aaaa"), _short(510230)
    ('20261114-000000', '510230')
    """
    return re.sub(r"^(\d{8}-\d{6})-[0-9a-f]{4}$", r"\1", str(index))
