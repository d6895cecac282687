"""Exploration: now and then another plausible method is taken, with a known probability, to learn what it costs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

from perfkit.config.engine_settings import ExplorationSettings
from perfkit.engine.costs import Cost, method_cost
from perfkit.engine.decision import Decision, Trial, middle_bytes
from perfkit.engine.plan import Cell, PlanRange
from perfkit.engine.resolving import largest_message_bytes

__all__ = ["Budget", "Work", "with_probes", "with_trials"]

_ORDERED = ("override", "rule", "policy")
"""Sources that say what to do now: what they name is not tried against."""
_BURST_S = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What is known of a plan's ranges, and how others get their turn meanwhile.

    Args:
        known: by the identity of ranges, which the plan keeps and cells share, and the start of one: what may be tried
            in it, and what it costs more.
        pause: called every now and then.
    """

    known: dict[tuple[int, float], list[tuple[str, float]]] = dataclasses.field(default_factory=dict)
    pause: Callable[[], None] = lambda: None


Diverted = tuple[tuple[int, ...], tuple[Decision, ...], float]
"""Edges, decisions, and the probability with which one of these is to be asked for its trials."""


def with_trials(
    cell: Cell,
    edges: Sequence[int],
    decisions: Sequence[Decision],
    settings: ExplorationSettings,
    work: Work | None = None,
) -> Diverted:
    """Decisions with what may be tried in their place.

    Tried is what the pool may use, what no rule avoids and no breaker or arena excludes, and what is expected to cost
    at most `max_cost` times as much. A size for which a single trial would cost more than a second's budget is left
    alone, and so is a pool whose predictions are not trusted.

    Args:
        cell: the compiled plan.
        edges: of its decisions.
        decisions: one per range of it.
        settings: share, budget and bound.
        work: what is known already.

    Returns:
        Edges and decisions, and the probability with which one of them is to be asked for a trial; 0 where nothing can
        be tried.
    """
    work = work or Work()
    limit = math.floor(largest_message_bytes(cell.publication.curves, cell.context))
    starts, made = [], []
    for start, end, decision in _slots(edges, decisions):
        tried = _with_trials(cell, decision, settings, work)
        starts.append(start)
        made.append(tried)
        if end > limit and any(trial.decision.method == "grpc" for trial in tried.trials):
            # A larger message than gRPC carries is no trial but a failure.
            if start < limit:
                starts.append(limit)
                made.append(tried)
            made[-1] = _with_trials(cell, decision, settings, work, without="grpc")
    return tuple(starts[1:]), tuple(made), settings.rate if any(one.trials for one in made) else 0.0


def _slots(edges: Sequence[int], decisions: Sequence[Decision]) -> Iterator[tuple[int, float, Decision]]:
    """Start and end of the sizes for which each decision holds."""
    return zip([0, *edges], [*edges, math.inf], decisions, strict=True)


def _with_trials(
    cell: Cell, decision: Decision, settings: ExplorationSettings, work: Work, *, without: str = ""
) -> Decision:
    if decision.source in _ORDERED or settings.rate <= 0 or not cell.circumstances.is_trusted:
        return decision
    plausible = [one for one in _plausible(cell, decision.part, settings, work) if one[0] != without]
    if not plausible:
        return decision
    propensity = settings.rate / len(plausible)
    rule = f"exploration: tried in place of {decision.method}, to learn"
    trials = tuple(
        Trial(
            dataclasses.replace(
                decision,
                method=method,
                id=f"{decision.id}~{method}",
                rule=rule,
                source="exploration",
                propensity=propensity,
            ),
            excess_ns,
            middle_bytes(decision.part),
        )
        for method, excess_ns in plausible
    )
    return dataclasses.replace(decision, propensity=1 - settings.rate, trials=trials)


def _plausible(cell: Cell, part: PlanRange, settings: ExplorationSettings, work: Work) -> list[tuple[str, float]]:
    """Methods that may be tried in a range, with the latency that each is expected to cost more."""
    key = (id(cell.ranges), part.start_bytes)
    found = work.known.get(key)
    if found is None:
        found = work.known[key] = _compared(cell, part, settings, work.pause)
    return found


def _compared(
    cell: Cell, part: PlanRange, settings: ExplorationSettings, pause: Callable[[], None]
) -> list[tuple[str, float]]:
    at_bytes = middle_bytes(part)
    largest = part.end_bytes if part.end_bytes < math.inf else at_bytes
    taken, taken_latency = (_cost(cell, part.method, at_bytes, goal) for goal in (cell.goal, "latency"))
    if taken is None or taken_latency is None:
        return []
    found = []
    for method in part.candidates:
        if method == part.method:
            continue
        pause()
        cost = _cost(cell, method, at_bytes, cell.goal)
        if cost is None or cost.value > settings.max_cost * taken.value:
            continue
        latency = cost if cell.goal == "latency" else _cost(cell, method, at_bytes, "latency")
        if latency is None:
            continue
        excess_ns = max(latency.value - taken_latency.value, 0.0)
        if excess_ns * max(1.0, largest / at_bytes) <= settings.budget_ns_per_s * _BURST_S:
            found.append((method, excess_ns))
    return found


def _cost(cell: Cell, method: str, payload_bytes: float, goal: str) -> Cost | None:
    curves = cell.publication.curves
    if curves is None:
        return None
    factors = dict(cell.circumstances.factors)
    return method_cost(curves, method, cell.context, payload_bytes, goal, weights=cell.pool.weights, factors=factors)


def with_probes(edges: Sequence[int], decisions: Sequence[Decision], whole: Cell, probing: frozenset[str]) -> Diverted:
    """Decisions that may be replaced once by a method whose breaker is half open.

    Args:
        edges: of the decisions.
        decisions: of the plan without the methods that failed, one per range of it.
        whole: the plan with them.
        probing: methods that one transfer may try.

    Returns:
        Edges and decisions, cut wherever the whole plan changes its method, and 1.0 where one of them may try, so that
        the next one does; otherwise 0.0.
    """
    starts, made = [], []
    for start, end, decision in _slots(edges, decisions):
        for part in whole.ranges:
            first, last = max(start, math.ceil(part.start_bytes)), min(end, part.end_bytes)
            if first < last:
                starts.append(first)
                made.append(_with_probe(decision, part, whole) if part.method in probing else decision)
    return tuple(starts[1:]), tuple(made), 1.0 if any(decision.trials for decision in made) else 0.0


def _with_probe(decision: Decision, part: PlanRange, whole: Cell) -> Decision:
    rule = f"probe: its circuit breaker is half open, so one transfer tries it in place of {decision.method}"
    probe = dataclasses.replace(
        decision,
        method=part.method,
        id=f"{decision.id}?{part.method}",
        rule=rule,
        source="probe",
        cell=whole,
        part=part,
    )
    return dataclasses.replace(decision, trials=(Trial(probe, 0.0, middle_bytes(part)),))


class Budget:
    """How much latency exploring may still cost: it fills by so many nanoseconds in each second.

    Trials are handed out with their full probability as long as exploring is on; the budget says when it goes off. It
    may be overdrawn between two looks, which keeps every propensity true.

    Args:
        ns_per_s: what exploring may be expected to cost in each second.
    """

    def __init__(self, ns_per_s: float) -> None:
        self._ns_per_s = ns_per_s
        self._left_ns = ns_per_s * _BURST_S
        self._spent_ns = 0.0
        self._looked_ns: int | None = None
        self.total_spent_ns = 0.0

    def use(self, ns_per_s: float) -> None:
        """Follow another budget from now on."""
        self._ns_per_s = ns_per_s
        self._left_ns = min(self._left_ns, ns_per_s * _BURST_S)

    def spend(self, excess_ns: float) -> None:
        """A trial was handed out that is expected to cost this much more."""
        self._spent_ns += excess_ns  # threads may lose an addition: it is a budget, not a bill

    def allows(self, now_ns: int, *, was_exploring: bool) -> bool:
        """Whether exploring may go on: while something is left; once it was off, from half a second's budget on."""
        if self._looked_ns is not None:
            passed_s = max(now_ns - self._looked_ns, 0) / 1e9
            spent, self._spent_ns = self._spent_ns, 0.0
            self.total_spent_ns += spent
            most = self._ns_per_s * _BURST_S
            self._left_ns = min(self._left_ns + passed_s * self._ns_per_s - spent, most)
        self._looked_ns = now_ns
        return self._left_ns > (0 if was_exploring else self._ns_per_s * _BURST_S / 2)
