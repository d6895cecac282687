"""A decision: the method to take, and why."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from perfkit.engine.costs import GOALS, Cost, method_cost
from perfkit.engine.plan import Cell, PlanRange
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

__all__ = ["Decision", "Explanation", "MethodCost", "middle_bytes", "ready_decisions"]

ReadyDecisions = tuple[tuple[int, ...], tuple["Decision", ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """Which method to take. Made with the plan, handed out by `decide`.

    `id` names the plan's version, the context and the range; `cell` and `part` are where in the plan it stands.
    """

    method: str
    id: str
    rule: str
    cell: Cell = dataclasses.field(repr=False, compare=False)
    part: PlanRange = dataclasses.field(repr=False, compare=False)

    def explain(self, payload_bytes: float | None = None) -> Explanation:
        """Say what each method would cost, the margin, the evidence and the rule.

        Args:
            payload_bytes: size to explain it for; without it, the middle of the range in which the decision holds.

        Returns:
            The explanation; print it, or show it in a notebook. Figures with ``(?)`` are estimates.
        """
        if payload_bytes is None:
            payload_bytes = middle_bytes(self.part)
        costs = dict(_costs(self.cell, payload_bytes))
        costs = dict(sorted(costs.items(), key=lambda item: item[1].cost.value))
        return Explanation(self, payload_bytes, costs)

    def to_table(self) -> ResultTable:
        """What is taken and by which rule; `explain` tells what the others would cost."""
        return ResultTable(f"Take {self.method}: {self.rule}", (), (), (f"{self.id}; explain() says more.",))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True, slots=True)
class MethodCost:
    """What one method would cost: in the goal's own unit, and as latency in nanoseconds."""

    cost: Cost
    latency: Cost


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """Why a decision was taken: `costs` of every method with evidence, cheapest first."""

    decision: Decision
    payload_bytes: float
    costs: Mapping[str, MethodCost]

    @property
    def margin(self) -> float | None:
        """How much more the next best method would cost, as a share; negative where a cheaper one was passed over.

        None without evidence about two methods.
        """
        taken = self.costs.get(self.decision.method)
        others = [entry.cost.value for method, entry in self.costs.items() if method != self.decision.method]
        if taken is None or not others or not taken.cost.value > 0:
            return None
        return min(others) / taken.cost.value - 1

    def to_table(self) -> ResultTable:
        """One row per method with evidence, and sentences with the rule, the margin and the evidence."""
        goal = self.decision.cell.goal
        write = format_bytes if goal == "memory" else format_duration
        rows: list[tuple[str, ...]] = []
        for method, entry in self.costs.items():
            cost = entry.cost
            interval = f"{write(cost.low)} … {write(cost.high)}"
            parts = [format_duration(entry.latency.parts[name]) for name in ("encode", "transport", "decode")]
            mark = "→ " if method == self.decision.method else "  "
            estimate = "" if cost.measured else " (?)"
            rows.append((mark + method, write(cost.value) + estimate, interval, *parts, str(cost.n)))
        title = f"{format_bytes(self.payload_bytes)}, {self.decision.cell.name}: take {self.decision.method}"
        if not rows:
            return ResultTable(title, (), (), self._notes())
        if self.decision.method not in self.costs:
            rows.append((f"→ {self.decision.method}", "unknown", *[""] * 5))
        columns = ("method", goal, "95 % interval", "encode", "transport", "decode", "n")
        return ResultTable(title, columns, tuple(rows), self._notes(), align_right=(1, 2, 3, 4, 5, 6))

    def _notes(self) -> tuple[str, ...]:
        publication = self.decision.cell.publication
        notes = [f"Why: {self.decision.rule}."]
        if self.margin is not None:
            comparison = "more" if self.margin >= 0 else "less"
            notes.append(f"Margin: the next best method costs {abs(self.margin):.0%} {comparison}.")
        if publication.curves is None:
            notes.append(
                "Evidence: none; nothing is published, so the default applies. `perfkit run` measures and publishes."
            )
        else:
            evidence = publication.curves.evidence
            observations = plural(evidence.observations, "observation")
            launches = plural(evidence.launches, "launch", ["launches"])
            run = publication.run or "unknown"
            notes.append(f"Evidence: version {publication.version}, run {run}, {observations} in {launches}.")
        if self.decision.cell.goal == "balanced" and self.costs:
            latency, processor = (f"{weight:.0%}" for weight in GOALS["balanced"].values())
            notes.append(f"balanced: {latency} of the latency and {processor} of both sides' processor time.")
        if any(not entry.cost.measured for entry in self.costs.values()):
            notes.append("(?): an estimate; this size or this kind of payload was not measured.")
        return (*notes, *(f"Warning: {warning}" for warning in self.decision.cell.warnings))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        cell = self.decision.cell
        return {
            "method": self.decision.method,
            "id": self.decision.id,
            "rule": self.decision.rule,
            "payload_bytes": self.payload_bytes,
            "pool": cell.context.pool,
            "goal": cell.goal,
            "kind": cell.context.kind,
            "format": cell.context.format,
            "compression": cell.context.compression,
            "signalling": cell.context.signalling,
            "margin": self.margin,
            "costs": {
                method: {"cost": _cost_to_plain(entry.cost), "latency_ns": _cost_to_plain(entry.latency)}
                for method, entry in self.costs.items()
            },
            "version": cell.publication.version,
            "run": cell.publication.run,
            "warnings": list(cell.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def ready_decisions(cell: Cell) -> ReadyDecisions:
    """The decisions of a cell: ``decisions[bisect_right(edges, payload_bytes)]`` is the one for a size.

    The edges are whole bytes, so that the comparison on the hot path is one between integers.
    """
    source = "default" if cell.publication.version is None else f"v{cell.publication.version}"
    decisions = tuple(
        Decision(part.method, f"{source}:{cell.name}#{index}", part.rule, cell, part)
        for index, part in enumerate(cell.ranges)
    )
    return tuple(math.ceil(part.end_bytes) for part in cell.ranges[:-1]), decisions


def _costs(cell: Cell, payload_bytes: float) -> Iterator[tuple[str, MethodCost]]:
    curves = cell.publication.curves
    if curves is None:
        return
    for method in cell.context.available:
        cost = method_cost(curves, method, cell.context, payload_bytes, cell.goal)
        latency = method_cost(curves, method, cell.context, payload_bytes, "latency")
        if cost is not None and latency is not None:
            yield method, MethodCost(cost, latency)


def middle_bytes(part: PlanRange) -> float:
    """The size that stands for a range: its geometric middle, within the measured sizes where it has evidence."""
    if part.evidence is not None and part.start_bytes <= part.evidence.middle_bytes < part.end_bytes:
        return part.evidence.middle_bytes
    end_bytes = part.end_bytes if part.end_bytes < math.inf else 4 * max(part.start_bytes, 1.0)
    return math.sqrt(max(part.start_bytes, 1.0) * max(end_bytes, 1.0))


def _cost_to_plain(cost: Cost) -> dict[str, Any]:
    return {
        "value": cost.value,
        "low": cost.low,
        "high": cost.high,
        "measured": cost.measured,
        "n": cost.n,
        "parts": dict(cost.parts),
    }
