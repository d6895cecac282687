"""A decision: the method to take, and why."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from perfkit.config.pool_settings import Weights
from perfkit.engine.circumstances import NORMAL
from perfkit.engine.costs import Cost, compose, method_cost
from perfkit.engine.lines import UNKNOWN, Pieces, line_of
from perfkit.engine.plan import Cell, PlanRange
from perfkit.engine.sources import Loser
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

__all__ = ["Decision", "Explanation", "MethodCost", "Trial", "middle_bytes", "ready_decisions"]

ReadyDecisions = tuple[tuple[int, ...], tuple["Decision", ...]]
"""Edges in whole bytes, and one decision more than edges."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """Which method to take. Made with the plan, handed out by `decide`.

    Args:
        method: the method.
        id: names the plan's version, the context and the range: equal decisions share it.
        rule: why, in words.
        source: who named the method: override, rule, policy, model, threshold or default; ``exploration`` where another
            one is tried to learn, ``probe`` where one that failed is tried again.
        propensity: probability with which this method was taken; below 1 only where exploration was possible.
        cell: the compiled plan of the context.
        part: the range of it that holds the size.
        trials: what may be taken in its place, to learn.
    """

    method: str
    id: str
    rule: str
    cell: Cell = dataclasses.field(repr=False, compare=False)
    part: PlanRange = dataclasses.field(repr=False, compare=False)
    source: str = "default"
    propensity: float = 1.0
    trials: tuple[Trial, ...] = dataclasses.field(repr=False, compare=False, default=())
    _latency: Pieces | None = dataclasses.field(init=False, repr=False, compare=False, default=None)

    @property
    def variant(self) -> str:
        """Variant of the experiment under way; empty without one."""
        return self.cell.variant

    @property
    def experiment(self) -> str:
        """The experiment under way; empty without one."""
        return self.cell.experiment

    @property
    def state(self) -> str:
        """What the host had left: ``normal``, or a kind of pressure."""
        return self.cell.circumstances.state

    def expected_ns(self, payload_bytes: int) -> float:
        """Latency that the method is expected to take, in nanoseconds: well below a microsecond after the first call.

        It is what `explain` shows as the method's latency: from the published curves, with the corrections that were
        learned since, and an estimate where the size was not measured.

        Args:
            payload_bytes: size before encoding, 0 or more.

        Returns:
            The median that is expected; NaN where no curve knows the method in this context.
        """
        line = self._latency
        if line is None:
            line = _latency_line(self.cell, self.method)
            object.__setattr__(self, "_latency", line)  # worked out anew by two threads, it is the same
        return line.at(payload_bytes)

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
class Trial:
    """Another method that may be taken in the place of a decision's, to learn what it costs.

    Args:
        decision: the one to hand out.
        excess_ns: latency that it is expected to cost more, at `at_bytes`; 0 where it costs less.
        at_bytes: size that `excess_ns` is for.
    """

    decision: Decision
    excess_ns: float
    at_bytes: float

    def excess_at(self, payload_bytes: float) -> float:
        """Latency that it is expected to cost more at a size: in proportion to larger sizes, never less."""
        if payload_bytes <= self.at_bytes:  # on the hot path: half as long as max()
            return self.excess_ns
        return self.excess_ns * payload_bytes / self.at_bytes


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
    def losers(self) -> tuple[Loser, ...]:
        """The sources that were not followed at this size, in the order in which they are asked."""
        at_bytes = self.payload_bytes
        return tuple(one for one in self.decision.part.losers if one.start_bytes <= at_bytes < one.end_bytes)

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
        if self.decision.source == "exploration":
            part = self.decision.part
            notes.append(f"In place of: {part.source}, {part.method} ({part.rule}).")
        notes += [f"Not followed: {_said(loser)}." for loser in self.losers]
        notes += _circumstances(self.decision)
        if self.margin is not None:
            comparison = "more" if self.margin >= 0 else "less"
            notes.append(f"Margin: the next best method costs {abs(self.margin):.0%} {comparison}.")
        if publication.curves is None:
            applies = ", so the default applies" if self.decision.source == "default" else ""
            notes.append(f"Evidence: none; nothing is published{applies}. `perfkit run` measures and publishes.")
        else:
            evidence = publication.curves.evidence
            observations = plural(evidence.observations, "observation")
            launches = plural(evidence.launches, "launch", ["launches"])
            run = publication.run or "unknown"
            notes.append(f"Evidence: version {publication.version}, run {run}, {observations} in {launches}.")
        if self.decision.cell.goal == "balanced" and self.costs:
            notes.append(f"balanced: {_weighted(self.decision.cell.pool.weights)}.")
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
            "source": self.decision.source,
            "losers": [
                {"source": loser.source, "method": loser.method, "rule": loser.rule, "because": loser.because}
                for loser in self.losers
            ],
            "state": self.decision.state,
            "open_methods": sorted(cell.circumstances.open_methods),
            "corrections": dict(cell.circumstances.factors),
            "experiment": self.decision.experiment,
            "variant": self.decision.variant,
            "propensity": self.decision.propensity,
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
    name = _plan_name(cell)
    decisions = tuple(
        Decision(part.method, f"{name}#{index}", part.rule, cell, part, part.source)
        for index, part in enumerate(cell.ranges)
    )
    return _shared(tuple(math.ceil(part.end_bytes) for part in cell.ranges[:-1])), decisions


@functools.lru_cache(maxsize=4096)
def _shared(edges: tuple[int, ...]) -> tuple[int, ...]:
    """One tuple for all cells with the same edges: a large plan has a hundred times as many cells."""
    return edges


def _plan_name(cell: Cell) -> str:
    source = "default" if cell.publication.version is None else f"v{cell.publication.version}"
    return f"{source}:{cell.name}~{cell.digest:08x}"


def _costs(cell: Cell, payload_bytes: float) -> Iterator[tuple[str, MethodCost]]:
    curves = cell.publication.curves
    if curves is None:
        return
    weights, factors = cell.pool.weights, dict(cell.circumstances.factors)
    for method in cell.context.available:
        cost, latency = (
            method_cost(curves, method, cell.context, payload_bytes, goal, weights=weights, factors=factors)
            for goal in (cell.goal, "latency")
        )
        if cost is not None and latency is not None:
            yield method, MethodCost(cost, latency)


def _latency_line(cell: Cell, method: str) -> Pieces:
    """The latency of a method over the payload's size; NaN at every size where nothing is known about it."""
    curves, factors = cell.publication.curves, dict(cell.circumstances.factors)
    found = None if curves is None else compose(curves, method, cell.context, "latency", factors=factors)
    return UNKNOWN if found is None else line_of(found).terms[0]  # latency is a sum: there is one term


def middle_bytes(part: PlanRange) -> float:
    """The size that stands for a range: its geometric middle, within the measured sizes where it has evidence."""
    if part.evidence is not None and part.start_bytes <= part.evidence.middle_bytes < part.end_bytes:
        return part.evidence.middle_bytes
    end_bytes = part.end_bytes if part.end_bytes < math.inf else 4 * max(part.start_bytes, 1.0)
    return math.sqrt(max(part.start_bytes, 1.0) * max(end_bytes, 1.0))


def _said(loser: Loser) -> str:
    if loser.method is None:
        return f"{loser.source} ({loser.rule})"
    return f"{loser.source}, {loser.method} ({loser.rule}), {loser.because}"


def _circumstances(decision: Decision) -> list[str]:
    """What holds now and not always, in sentences."""
    now = decision.cell.circumstances
    notes = []
    if now.state != NORMAL:
        notes.append(f"State: {now.state.replace('_', ' ')}.")
    excluded = now.exclusions(in_place=decision.cell.context.in_place)
    for reason in dict.fromkeys(excluded.values()):
        names = ", ".join(name for name in excluded if excluded[name] == reason)
        notes.append(f"Excluded: {names} ({reason}).")
    notes += [f"Corrected by what transfers take: {method} {factor:.2f} times." for method, factor in now.factors]
    if decision.variant:
        notes.append(f"Experiment {decision.experiment}, variant {decision.variant}.")
    if decision.propensity < 1:
        notes.append(f"Exploration: this method was taken with probability {decision.propensity:.3g}.")
    return notes


def _weighted(weights: Weights) -> str:
    parts = {
        f"{weights.latency:.0%} of the latency": weights.latency,
        f"{weights.cpu:.0%} of both sides' processor time": weights.cpu,
        f"{weights.memory:g} ns per byte held": weights.memory,
        f"{weights.copied:g} ns per byte copied": weights.copied,
        f"{weights.setup:.0%} of the setup": weights.setup,
    }
    counted = [text for text, weight in parts.items() if weight]
    return " and ".join([", ".join(counted[:-1]), counted[-1]] if len(counted) > 2 else counted) or "nothing counts"


def _cost_to_plain(cost: Cost) -> dict[str, Any]:
    return {
        "value": cost.value,
        "low": cost.low,
        "high": cost.high,
        "measured": cost.measured,
        "n": cost.n,
        "parts": dict(cost.parts),
    }
