"""The plan as people read it: ranges, method, expected latency, interval, evidence."""

from __future__ import annotations

import dataclasses
import itertools
import math
import textwrap
from collections.abc import Mapping
from typing import Any

from perfkit.engine.circumstances import NORMAL
from perfkit.engine.costs import Cost, method_cost
from perfkit.engine.decision import middle_bytes
from perfkit.engine.plan import Cell, PlanRange, Publication
from perfkit.engine.resolving import SIMPLER
from perfkit.tables import ResultTable
from perfkit.units import format_bytes, format_duration

__all__ = ["PlanView", "RangeView", "range_views"]


@dataclasses.dataclass(frozen=True, slots=True)
class RangeView:
    """One range of a plan with what is expected in its middle.

    Args:
        part: the range in the plan.
        at_bytes: size that the expectations are for.
        expected: latency of the method taken; None where nothing is known about it.
        alternatives: latency of the other methods, cheapest first.
        crossover: 95 % interval of the range's end, in bytes; None for the last range and for defaults.
    """

    part: PlanRange
    at_bytes: float
    expected: Cost | None
    alternatives: Mapping[str, Cost]
    crossover: tuple[float, float] | None

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON; an open end is None."""
        expected = self.expected
        return {
            "start_bytes": self.part.start_bytes,
            "up_to_bytes": _finite(self.part.end_bytes),
            "method": self.part.method,
            "source": self.part.source,
            "rule": self.part.rule,
            "expect_ns": expected and expected.value,
            "low_ns": expected and expected.low,
            "high_ns": expected and expected.high,
            "measured": expected is not None and expected.measured,
            "n": expected.n if expected else 0,
            "crossover_bytes": self.crossover and [_finite(size) for size in self.crossover],
            "alternatives_ns": {method: cost.value for method, cost in self.alternatives.items()},
        }


def range_views(cell: Cell) -> tuple[RangeView, ...]:
    """The ranges of a cell with what is expected in their middle."""
    views = []
    for part in cell.ranges:
        at_bytes = middle_bytes(part)
        costs = _latencies(cell, at_bytes)
        expected = costs.pop(part.method, None)
        alternatives = dict(sorted(costs.items(), key=lambda item: item[1].value))
        # In mode observe a range may end where only the default changes: the advice has no crossover there.
        ends_with_evidence = part.evidence is not None and part.evidence.end_bytes == part.end_bytes
        crossover = part.evidence.crossover if part.evidence and ends_with_evidence else None
        views.append(RangeView(part, at_bytes, expected, alternatives, crossover))
    return tuple(views)


@dataclasses.dataclass(frozen=True)
class PlanView:
    """The range tables in force, one per pool, kind of payload and signalling."""

    publication: Publication
    cells: tuple[Cell, ...]

    def to_tables(self) -> tuple[ResultTable, ...]:
        """One table per context."""
        return tuple(_cell_table(cell) for cell in self.cells)

    def to_table(self) -> ResultTable:
        """All ranges in one table, with the context in the first column."""
        rows = [(cell.name if index == 0 else "", *row) for cell in self.cells for index, row in enumerate(_rows(cell))]
        figures = tuple(index + 1 for index in _FIGURES)
        return ResultTable(self._title(), ("context", *_COLUMNS), tuple(rows), self._notes(), figures)

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "version": self.publication.version,
            "run": self.publication.run,
            "warnings": list(self._warnings()),
            "tables": [_cell_to_plain(cell) for cell in self.cells],
        }

    def _title(self) -> str:
        if self.publication.version is None:
            return "Plan: the defaults, nothing is published"
        return f"Plan: version {self.publication.version}, run {self.publication.run or 'unknown'}"

    def _warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(itertools.chain.from_iterable(cell.warnings for cell in self.cells)))

    def _notes(self) -> tuple[str, ...]:
        notes: list[str] = []
        views = [view for cell in self.cells for view in range_views(cell)]
        for now in dict.fromkeys(cell.circumstances for cell in self.cells):
            if now.state != NORMAL:
                notes.append(f"State: {now.state}; the plan of state normal may be another one.")
            if now.open_methods:
                notes.append(f"Circuit breaker open: {', '.join(sorted(now.open_methods))}.")
        if any(_named_by(cell, part) for cell in self.cells for part in cell.ranges):
            notes.append("(rule), (policy), …: who named the method, where it was not the published curves.")
        if any(view.expected for view in views):
            notes.append("expect: latency in the middle of the range; ±: wider side of its 95 % interval.")
        if any(view.expected and not view.expected.measured for view in views):
            notes.append("(?): an estimate; not measured at this size or for this kind of payload.")
        if any(view.part.rule == SIMPLER for view in views):
            notes.append("≈: cannot be told apart from a cheaper method, and is simpler.")
        if self.publication.version is None:
            notes.append("Measure this machine and publish what fits it: `perfkit run`.")
        return (*notes, *(f"Warning: {warning}" for warning in self._warnings()))

    def _repr_html_(self) -> str:
        notes = ResultTable("", (), (), self._notes()).to_html()
        return "".join([table.to_html() for table in self.to_tables()]) + notes

    def __str__(self) -> str:
        parts = [self._title(), *(table.to_text() for table in self.to_tables())]
        return "\n\n".join(parts) + "".join(f"\n{textwrap.fill(note, 80)}" for note in self._notes())


_COLUMNS = ("up to", "end, 95 %", "method", "expect", "n", "next best")
_FIGURES = (0, 1, 3, 4)


def _cell_table(cell: Cell) -> ResultTable:
    context = cell.context
    payload = f"{context.kind}/{context.format}" + ("" if context.compression == "none" else f"/{context.compression}")
    title = f"{payload}, signalling over {context.signalling} (pool {context.pool}, goal {cell.goal})"
    return ResultTable(title, _COLUMNS, tuple(_rows(cell)), (), _FIGURES)


def _rows(cell: Cell) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for view in range_views(cell):
        up_to = "" if math.isinf(view.part.end_bytes) else format_bytes(view.part.end_bytes)
        interval = "" if view.crossover is None else "–".join(_edge(size) for size in view.crossover)
        simpler = " ≈" if view.part.rule == SIMPLER else ""
        method = (
            view.part.method
            + simpler
            + _named_by(cell, view.part)
            + (f" (would: {view.part.advised})" if view.part.advised else "")
        )
        expect = "" if view.expected is None else _expectation(view.expected)
        n = str(view.expected.n) if view.expected else ""
        best = next(iter(view.alternatives.items()), None)
        next_best = f"{best[0]} {format_duration(best[1].value)}" if best else ""
        rows.append((up_to, interval, method, expect, n, next_best))
    return rows


def _named_by(cell: Cell, part: PlanRange) -> str:
    """Who named the method, where it was not the curves that are published."""
    is_usual = part.source == ("default" if cell.publication.version is None else "model")
    return "" if is_usual or part.advised else f" ({part.source})"


def _expectation(cost: Cost) -> str:
    """The cost with the wider side of its interval, as in 154us ±12% (?)."""
    estimate = "" if cost.measured else " (?)"
    if not cost.value > 0:
        return format_duration(cost.value) + estimate
    half_width = max(cost.high - cost.value, cost.value - cost.low) / cost.value
    return f"{format_duration(cost.value)} ±{half_width:.0%}{estimate}"


def _edge(size: float) -> str:
    return "?" if math.isinf(size) or size == 0 else format_bytes(size)


def _cell_to_plain(cell: Cell) -> dict[str, Any]:
    context = cell.context
    return {
        "pool": context.pool,
        "goal": cell.goal,
        "kind": context.kind,
        "format": context.format,
        "compression": context.compression,
        "signalling": context.signalling,
        "ranges": [view.to_plain() for view in range_views(cell)],
    }


def _latencies(cell: Cell, payload_bytes: float) -> dict[str, Cost]:
    curves = cell.publication.curves
    if curves is None:
        return {}
    costs = {name: method_cost(curves, name, cell.context, payload_bytes) for name in cell.context.available}
    return {name: cost for name, cost in costs.items() if cost is not None}


def _finite(size: float) -> float | None:
    return size if math.isfinite(size) else None
