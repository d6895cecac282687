"""What the scoreboard shows: figures with n and interval, each held against its target."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

__all__ = ["MET", "NOT_MET", "SHARE", "UNDECIDED", "Failure", "Figure", "Scoreboard"]

MET, NOT_MET, UNDECIDED = "met", "not met", "not decided at this n"
SHARE, RATIO, SECONDS, BYTES = "share", "ratio", "s", "bytes"
_NOTE = "Intervals are 95 % ones. ?: it reaches over the target's bound, so that more runs must decide (--full)."


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One figure about one statistic.

    Args:
        entry: entry of the scoreboard that it belongs to.
        what: what it is, for people.
        value: the estimate.
        low: lower bound of its 95 % interval; equal to the value where it is a measurement without one.
        high: upper bound.
        n: independent runs that it rests on.
        target_low: what it must be at least; minus infinite where there is no such bound.
        target_high: what it must be at most; infinite where there is no such bound.
        unit: ``share``, ``ratio``, ``s`` or ``bytes``.
    """

    entry: str
    what: str
    value: float
    low: float
    high: float
    n: int
    target_low: float
    target_high: float
    unit: str

    @property
    def verdict(self) -> str:
        """``met`` where the whole interval is within the target, ``not met`` where it is outside, else neither."""
        if not self.n:
            return UNDECIDED
        if self.target_low <= self.low and self.high <= self.target_high:
            return MET
        is_outside = self.high < self.target_low or self.target_high < self.low
        return NOT_MET if is_outside else UNDECIDED

    @property
    def target(self) -> str:
        """The target, for people."""
        if math.isinf(self.target_low):
            return f"<= {_shown(self.target_high, self.unit)}"
        if math.isinf(self.target_high):
            return f">= {_shown(self.target_low, self.unit)}"
        return _shown_range(self.target_low, self.target_high, self.unit)

    @property
    def shown(self) -> str:
        """The value, for people."""
        return _shown(self.value, self.unit) if self.n else "-"

    @property
    def interval(self) -> str:
        """The interval, for people; empty where there is none."""
        if not self.n or self.low == self.high:
            return ""
        return _shown_range(self.low, self.high, self.unit)

    def to_plain(self) -> dict[str, Any]:
        """The figure as values that JSON can hold; what is not known or has no bound is None."""
        plain = dataclasses.asdict(self)
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in plain.items()
        }
        return {**finite, "verdict": self.verdict}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """An entry that could not be run.

    Args:
        entry: its name.
        message: the error.
    """

    entry: str
    message: str


@dataclasses.dataclass(frozen=True)
class Scoreboard:
    """How often the statistics err on worlds with known truth.

    Args:
        figures: in the order of the entries.
        failures: entries that raised an error.
        titles: what each entry simulates, by name.
        seconds: of processor time that each entry took, by name.
        seed: of all worlds.
        is_full: whether each rate rests on as many runs as it needs to be claimed.
        recorded_at: when it was made, as ISO 8601 in UTC.
        fingerprint: of the host and its software.

    >>> figure = Figure("ab", "A/A rejections, mean", 0.05, 0.046, 0.054, 10_000, 0.04, 0.06, "share")
    >>> board = Scoreboard((figure,), (), {"ab": "an A/A"}, {"ab": 1.0}, 1, False, "2026-01-01T00:00:00Z", {})
    >>> board.verdict, board.sentence
    ('met', '1 of 1 target met, 0 not met, 0 not decided at this n.')
    """

    figures: tuple[Figure, ...]
    failures: tuple[Failure, ...]
    titles: dict[str, str]
    seconds: dict[str, float]
    seed: int
    is_full: bool
    recorded_at: str
    fingerprint: dict[str, str]

    @property
    def verdict(self) -> str:
        """``not met`` where any target is missed or an entry failed; ``met`` where all are met; else undecided."""
        verdicts = {figure.verdict for figure in self.figures}
        if self.failures or NOT_MET in verdicts:
            return NOT_MET
        return MET if verdicts == {MET} else UNDECIDED

    @property
    def sentence(self) -> str:
        """What it comes to."""
        count = {verdict: sum(one.verdict == verdict for one in self.figures) for verdict in (MET, NOT_MET, UNDECIDED)}
        counted = ", ".join(f"{count[verdict]} {verdict}" for verdict in (NOT_MET, UNDECIDED))
        failed = f" {plural(len(self.failures), 'entry', ['entries'])} failed." if self.failures else ""
        return f"{count[MET]} of {plural(len(self.figures), 'target')} met, {counted}.{failed}"

    def figure(self, entry: str, what: str) -> Figure:
        """One figure by its entry and name.

        Raises:
            KeyError: there is none.
        """
        found = [one for one in self.figures if (one.entry, one.what) == (entry, what)]
        if not found:
            raise KeyError(f"{entry}: {what}")
        return found[0]

    def to_table(self) -> ResultTable:
        """One row per figure, below a row with what its entry simulates."""
        rows: list[tuple[str, ...]] = []
        for entry, title in self.titles.items():
            figures = [one for one in self.figures if one.entry == entry]
            if figures:
                rows.append((f"{title} [{entry}]", "", "", "", "", ""))
            rows += [
                (f"  {one.what}", one.shown, one.interval, f"{one.n:,}", one.target, _short(one.verdict))
                for one in figures
            ]
        columns = ("what", "value", "interval", "n", "target", "")
        failed = tuple(f"! {one.entry} failed: {one.message}" for one in self.failures)
        notes = (self.sentence, *failed, _NOTE)
        return ResultTable("Scoreboard: error rates where the truth is known", columns, tuple(rows), notes, (1, 3))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        plain = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return {
            **plain,
            "figures": [one.to_plain() for one in self.figures],
            "failures": [dataclasses.asdict(one) for one in self.failures],
            "verdict": self.verdict,
            "sentence": self.sentence,
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _short(verdict: str) -> str:
    return "?" if verdict == UNDECIDED else verdict


def _shown_range(low: float, high: float, unit: str) -> str:
    shown, until = _shown(low, unit), _shown(high, unit)
    return f"{shown.removesuffix('%')} to {until}"


def _shown(value: float, unit: str) -> str:
    if math.isinf(value):
        return "unknown"
    if unit == SHARE:
        return f"{100 * value:.3g}%"
    if unit == SECONDS:
        return format_duration(value * 1e9)
    return format_bytes(value) if unit == BYTES else f"{value:.3g}"
