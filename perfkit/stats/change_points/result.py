"""What looking for changes of level shows: each change, and how often a series without any would show one."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any, overload

from perfkit.tables import ResultTable, plural

__all__ = ["ChangePoint", "ChangePoints"]

_WIDTH = 78
_SMALLEST_SHARE = 0.001  # what is calibrated on some hundred series is not known better


@dataclasses.dataclass(frozen=True, slots=True)
class ChangePoint:
    """One change of level.

    Args:
        index: the first of the new level, counted from 0 into the values that were given.
        before: level before it, in the unit of the values: of the segment that ends there, after Hodges and Lehmann
            (median of the means of all pairs).
        after: level from it on, likewise of the segment that begins there.
        relative: after / before - 1.
        p_value: probability of a step this clear at this very place if nothing changed, at the effective number of
            points.
        confidence: 1 - the probability of a step this clear *anywhere* in a series like this one without a change;
            0 to 1.
    """

    index: int
    before: float
    after: float
    relative: float
    p_value: float
    confidence: float


@dataclasses.dataclass(frozen=True)
class ChangePoints(Sequence[ChangePoint]):
    """The changes of level in one series, in order; a sequence of `ChangePoint`.

    Args:
        points: the changes.
        n: values that were used.
        points_judged: independent points that these are: groups where groups were given, else the values.
        minimum_change: smallest relative change that counts.
        false_alarm_rate: chance that a series like this one, without any change, shows at least one; 0 to 1.
        warnings: what makes the answer less certain.

    >>> found = ChangePoints((ChangePoint(120, 100.0, 110.0, 0.1, 1e-9, 0.999),), 200, 200, 0.05, 0.005)
    >>> len(found), found[0].index, [point.relative for point in found]
    (1, 120, [0.1])
    """

    points: tuple[ChangePoint, ...]
    n: int
    points_judged: int
    minimum_change: float
    false_alarm_rate: float
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, index: int) -> ChangePoint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ChangePoint, ...]: ...
    def __getitem__(self, index: int | slice) -> ChangePoint | tuple[ChangePoint, ...]:
        return self.points[index]

    @property
    def method(self) -> str:
        """How the changes came about, for people."""
        return (
            "E-divisive on ranks, confirmed by L1 Potts; p at the effective number of points, threshold from a block "
            "bootstrap of the series itself"
        )

    @property
    def sentence(self) -> str:
        """What it means."""
        series = plural(self.n, "value")
        if self.points_judged != self.n:
            series += f" of {plural(self.points_judged, 'group')}"
        rate = f"{self.false_alarm_rate:.1%}" if self.false_alarm_rate >= _SMALLEST_SHARE else "under 0.1%"
        certain = f"a series like this one without a change shows one in {rate} of cases"
        if not self.points:
            return f"No change of {self.minimum_change:.0%} or more in {series}; {certain}."
        shown = ", ".join(f"{point.relative:+.1%} from value {point.index} on" for point in self.points[:5])
        more = f" and {len(self) - 5} more" if len(self) > 5 else ""
        return f"{plural(len(self), 'change')} of level in {series}: {shown}{more}; {certain}."

    def to_table(self) -> ResultTable:
        """Every change with its levels and certainty."""
        rows = tuple(
            (
                str(point.index),
                f"{point.before:.4g}",
                f"{point.after:.4g}",
                f"{point.relative:+.1%}",
                f"{point.p_value:.1g}",
                f"{point.confidence:.1%}" if point.confidence <= 1 - _SMALLEST_SHARE else ">99.9%",
            )
            for point in self.points
        )
        notes = (self.sentence, f"{self.method}.", *(f"! {warning}" for warning in self.warnings))
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        columns = ("from value", "before", "after", "change", "p", "confidence") if rows else ()
        return ResultTable("Changes of level", columns, rows, wrapped, align_right=tuple(range(6)))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**dataclasses.asdict(self), "method": self.method, "sentence": self.sentence}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()
