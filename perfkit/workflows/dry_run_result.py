"""What a dry run shows: which decisions of the recorded traffic would change, and what that is expected to cost."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration
from perfkit.workflows.effect import Effect

__all__ = ["DryRun", "TrafficChange"]

_HEAVIEST = 10
_DAY_NS = 86_400 * 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficChange:
    """Recorded transfers of one context, and of sizes between two edges, that would take another method.

    Args:
        context: pool, kind, format, compression and signalling; and whether in place, or how many in flight.
        start_bytes: smallest of the sizes that were recorded.
        end_bytes: largest of the sizes that were recorded.
        before: method of the old plan.
        after: method of the new plan.
        source: who names the new method.
        rule: why, in words.
        transfers: how many were recorded.
        payload_bytes: how many bytes they carried.
        goal: what the pool minimises with the new plan.
        cost_change: expected change of the goal's cost of all of them, in its unit (nanoseconds, or bytes for
            ``memory``); None where no curve knows one of the methods.
        latency_change_ns: expected change of their latency in all, in nanoseconds; None as well.
    """

    context: str
    start_bytes: int
    end_bytes: int
    before: str
    after: str
    source: str
    rule: str
    transfers: int
    payload_bytes: int
    goal: str
    cost_change: float | None
    latency_change_ns: float | None

    @property
    def weight(self) -> float:
        """What it matters: the size of the expected change of latency; 0 where it is unknown."""
        return abs(self.latency_change_ns or 0.0)


@dataclasses.dataclass(frozen=True)
class DryRun:
    """What another plan would have decided on recorded traffic.

    Args:
        old: what the old plan rests on, in words.
        new: what the new plan rests on, in words.
        lake: folder of the lake.
        window_ns: how far back traffic counts, in nanoseconds.
        oldest: when the oldest transfer that counts ended; None without traffic.
        transfers: how many transfers were recorded.
        payload_bytes: how many bytes they carried.
        otherwise: transfers that took another method than the old plan names: by another version, a fallback, a variant
            or exploration.
        changes: everything that would change, the heaviest first.
        effect: cost of the whole traffic with the new plan against the old one, with its interval; None where no curves
            are published, or nothing was recorded.
    """

    old: str
    new: str
    lake: str
    window_ns: int
    oldest: datetime.datetime | None
    transfers: int
    payload_bytes: int
    otherwise: int
    changes: tuple[TrafficChange, ...]
    effect: Effect | None

    @property
    def changed(self) -> int:
        """How many decisions would change."""
        return sum(one.transfers for one in self.changes)

    @property
    def moves(self) -> Mapping[tuple[str, str], int]:
        """How many decisions would change from one method to another one, most first."""
        moves: dict[tuple[str, str], int] = {}
        for one in self.changes:
            moves[one.before, one.after] = moves.get((one.before, one.after), 0) + one.transfers
        return dict(sorted(moves.items(), key=lambda item: -item[1]))

    @property
    def latency_change_ns(self) -> float:
        """Expected change of the latency of all transfers of the window together, as far as it is known."""
        return sum(one.latency_change_ns or 0.0 for one in self.changes)

    @property
    def cost_changes(self) -> Mapping[str, float]:
        """Expected change of the cost by goal, each in its own unit, as far as it is known."""
        changes: dict[str, float] = {}
        for one in self.changes:
            if one.cost_change is not None:
                changes[one.goal] = changes.get(one.goal, 0.0) + one.cost_change
        return changes

    @property
    def unknown(self) -> int:
        """How many decisions would change from or to a method of which no curve knows the cost."""
        return sum(one.transfers for one in self.changes if one.cost_change is None)

    def to_table(self) -> ResultTable:
        """The ten heaviest changes, and sentences with what all of them do."""
        rows = tuple(_cells(one) for one in self.changes[:_HEAVIEST])
        return ResultTable(self._title(), _COLUMNS if rows else (), rows, self._notes(), align_right=(3, 4))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON, the ten heaviest changes one by one."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return plain | {
            "oldest": self.oldest and self.oldest.isoformat(),
            "changed": self.changed,
            "moves": [{"before": old, "after": new, "transfers": n} for (old, new), n in self.moves.items()],
            "latency_change_ns": self.latency_change_ns,
            "latency_change_ns_per_day": self.latency_change_ns * _DAY_NS / self.window_ns,
            "cost_changes": dict(self.cost_changes),
            "unknown": self.unknown,
            "changes": [dataclasses.asdict(one) for one in self.changes[:_HEAVIEST]],
            "effect": self.effect and self.effect.to_plain(),
        }

    def _title(self) -> str:
        if not self.transfers:
            return f"Dry run of {self.new}: no service recorded a transfer within {format_window(self.window_ns)}"
        share = self.changed / self.transfers
        return (
            f"Dry run of {self.new} instead of {self.old}: {self.changed:,} of {counted_transfers(self.transfers)} "
            f"({_percent(share)}) would take another method"
        )

    def _notes(self) -> tuple[str, ...]:
        if not self.transfers or self.oldest is None:
            looked = f"Looked for in {self.lake} and the journal beside it."
            advice = (
                "Services record through `Engine.record` or a channel; `perfkit plan --diff` compares without traffic."
            )
            return looked, advice
        notes = [f"{counted_transfers(n)} {old} → {new}." for (old, new), n in self.moves.items()]
        if self.effect is not None and self.changes:
            notes.append(f"Cost of all transfers, each by its pool's goal: {self.effect.ratio}, {self.effect.verdict}.")
        notes += self._sums()
        if len(self.changes) > _HEAVIEST:
            notes.append(f"The {_HEAVIEST} heaviest of {len(self.changes)} changes are shown.")
        notes.append(f"Recorded since {self.oldest:%Y-%m-%d %H:%M} UTC, within {format_window(self.window_ns)}.")
        if self.otherwise:
            notes.append(
                f"{counted_transfers(self.otherwise)} took another method than {self.old} names: by another version, a "
                "fallback, a variant or exploration."
            )
        return tuple(notes)

    def _sums(self) -> list[str]:
        window = format_window(self.window_ns)
        known = [one for one in self.changes if one.latency_change_ns is not None]
        a_day = _signed(self.latency_change_ns * _DAY_NS / self.window_ns, format_duration)
        a_day = "" if self.window_ns == _DAY_NS else f", {a_day} a day"
        notes = [f"Latency in all, expected: {_signed(self.latency_change_ns, format_duration)} in {window}{a_day}."]
        for goal, change in self.cost_changes.items():
            write = format_bytes if goal == "memory" else format_duration
            if goal != "latency":
                notes.append(f"Cost by goal {goal}, expected: {_signed(change, write)} in {window}.")
        if self.unknown:
            notes.append(
                f"{counted_transfers(self.unknown)} of unknown cost are left out: no curve knows one of their methods."
            )
        return notes if known else notes[-1:] if self.unknown else []

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


_COLUMNS = ("context", "sizes", "method", "transfers", "latency in all")


def _cells(one: TrafficChange) -> tuple[str, ...]:
    first, last = format_bytes(one.start_bytes), format_bytes(one.end_bytes)
    sizes = first if first == last else f"{first}–{last}"
    latency = "unknown" if one.latency_change_ns is None else _signed(one.latency_change_ns, format_duration)
    return one.context, sizes, f"{one.before} → {one.after} ({one.source})", f"{one.transfers:,}", latency


def _signed(value: float, write: Any) -> str:
    return f"{'-' if value < 0 else '+'}{write(abs(value))}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def counted_transfers(transfers: int) -> str:
    """A count of transfers with thousands apart."""
    return plural(transfers, "transfer").replace(str(transfers), f"{transfers:,}", 1)


def format_window(window_ns: int) -> str:
    """A window as people say it.

    >>> format_window(86_400 * 10**9), format_window(7 * 86_400 * 10**9), format_window(90 * 10**9)
    ('the last day', 'the last 7 days', 'the last 90s')
    """
    for unit, factor in (("day", _DAY_NS), ("hour", 3600 * 10**9), ("minute", 60 * 10**9)):
        if window_ns % factor == 0:
            count = window_ns // factor
            return f"the last {unit if count == 1 else f'{count} {unit}s'}"
    return f"the last {format_duration(window_ns)}"
