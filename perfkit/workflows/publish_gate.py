"""The gate before publication: whether the evidence carries the candidate, and if not, what to do about it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from perfkit.config.curves import CurveSet
from perfkit.config.fingerprint import differences
from perfkit.config.settings import PublishSettings
from perfkit.engine.costs import Part, compose, cost_difference
from perfkit.engine.plan import Cell
from perfkit.stats.verdicts import BETTER, EQUIVALENT
from perfkit.tables import plural
from perfkit.units import format_bytes
from perfkit.workflows.effect import MOST_UNKNOWN, CostDraws, Effect, independent
from perfkit.workflows.workload import REPLAY

if TYPE_CHECKING:  # what nobody distilled is published without loading models
    from perfkit.learn.models.fidelity import Fidelity

__all__ = ["Candidate", "Refusal", "changed_meanwhile", "gate", "unfaithful"]


_LEAST_SPAN = 16
"""Factor between the largest and the smallest measured size below which a curve says nothing of other sizes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """One reason why a candidate is not published.

    Args:
        name: ``empty``, ``launches``, ``observations``, ``sizes``, ``interval``, ``worse``, ``unknown``, ``step``,
            ``fingerprint``, ``fidelity`` or ``changed``.
        message: what is wrong, what was got, what is allowed and what to do next.
        forcible: whether ``force`` overrides it.
    """

    name: str
    message: str
    forcible: bool = True

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """What the gate judges.

    Args:
        curves: the curves to publish.
        after: the compiled plan of every context that it changes or keeps.
        before: the plan in force of the same contexts; those without evidence are defaults.
        effects: what it is expected, or was measured, to change.
        sizes: payload sizes, in bytes, over which ignorance is judged.
        host: the fingerprint of this host.
        replayed_bytes: payload sizes of the replay, in bytes; a contradiction is settled only where some lie.
    """

    curves: CurveSet
    after: tuple[Cell, ...]
    before: tuple[Cell, ...]
    effects: tuple[Effect, ...]
    sizes: tuple[float, ...]
    host: Mapping[str, str]
    replayed_bytes: tuple[float, ...] = ()


def gate(candidate: Candidate, limits: PublishSettings) -> tuple[Refusal, ...]:
    """Judge a candidate.

    Args:
        candidate: the curves with their plans and effects.
        limits: ``[publish]`` in `perfkit.toml`.

    Returns:
        Every reason against publishing it; none where it may be published.
    """
    latencies = [key for key in candidate.curves.curves if (key.stage, key.quantity) == ("transport", "latency_ns")]
    if not latencies:
        return (
            Refusal("empty", "the fit holds no latency curve of any method; measure with `perfkit bench` first", False),
        )
    checks = (_launches, _observations, _sizes, _interval, _worse, _unknown, _step, _fingerprint)
    return tuple(refusal for check in checks for refusal in check(candidate, limits))


def unfaithful(fidelity: Fidelity | None) -> tuple[Refusal, ...]:
    """The refusal of curves that do not say what the model says that they were distilled from; none for others."""
    if fidelity is None or fidelity.is_faithful:
        return ()
    said = "; ".join(fidelity.warnings)
    advice = f"the worst is {fidelity.worst_at}; publish the fit itself, or train again with more transfers like these"
    return (Refusal("fidelity", f"the curves are not what the model says: {said}; {advice}"),)


def changed_meanwhile(path: str, in_force: int, expected: int) -> Refusal:
    """The refusal of a version that was not previewed."""
    return Refusal(
        "changed",
        f"{path} holds version {in_force}, the preview was made against {expected}; look at the new preview first",
        forcible=False,
    )


def _launches(candidate: Candidate, limits: PublishSettings) -> Iterator[Refusal]:
    behind = [(candidate.curves.evidence.launches, "the fit")]
    behind += [
        (part.curve.launches, f"{cell.name} by {method}")
        for cell, method in _taken(candidate.after)
        for part in _parts(cell, method)
        if part.key.quantity != "resident_bytes"  # probed in one launch of its own; `_observations` judges it
    ]
    launches, where = min(behind)
    if launches < limits.min_launches:
        yield Refusal(
            "launches",
            f"{where} rests on {plural(launches, 'launch', ['launches'])}, must be at least {limits.min_launches}, so "
            "that one odd process does not decide; measure more with `perfkit bench`",
        )


def _observations(candidate: Candidate, limits: PublishSettings) -> Iterator[Refusal]:
    behind = [(candidate.curves.evidence.observations, "the fit")]
    behind += [
        (part.evidence.n, f"{part.method} in {cell.name}")
        for cell in candidate.after
        for part in cell.ranges
        if part.evidence
    ]
    observations, where = min(behind)
    if observations < limits.min_observations:
        thin = len({place for n, place in behind if n < limits.min_observations})
        others = f" (and {thin - 1} more)" if thin > 1 else ""
        yield Refusal(
            "observations",
            f"{where}{others} rests on {plural(observations, 'observation')}, must be at least "
            f"{limits.min_observations}; measure longer with `perfkit bench --budget`",
        )


def _sizes(candidate: Candidate, _: PublishSettings) -> Iterator[Refusal]:
    """A range reaches over sizes that nobody measured; how cost grows with size must at least be seen."""
    spans = [
        (part.curve.max_bytes / max(part.curve.min_bytes, 1.0), part.curve, f"{cell.name} by {method}")
        for cell, method in _taken(candidate.after)
        for part in _parts(cell, method)
        if (part.key.stage, part.key.quantity) == ("transport", "latency_ns")
    ]
    span, curve, where = min(spans, key=lambda found: found[0], default=(math.inf, None, ""))
    if curve is not None and span < _LEAST_SPAN:
        yield Refusal(
            "sizes",
            f"{where} was measured from {format_bytes(curve.min_bytes)} to {format_bytes(curve.max_bytes)} only, the "
            f"largest must be at least {_LEAST_SPAN} times the smallest, so that the cost of other sizes is more than "
            "a guess; measure more sizes with `perfkit bench`",
        )


def _interval(candidate: Candidate, limits: PublishSettings) -> Iterator[Refusal]:
    """What counts is what not knowing better costs: nothing where both methods cost the same, and little where what is
    in force surely costs more than that."""
    draws = CostDraws.of(candidate.curves)
    cells = [cell for cell in candidate.after if cell.ranges[0].evidence]
    losses = {cell.name: uncertainty(cell, candidate.sizes, draws) for cell in cells}
    sure_ratio = min((effect.high for effect in candidate.effects[:1]), default=math.inf)
    wide = [name for name, loss in losses.items() if loss > limits.max_uncertainty and (1 + loss) * sure_ratio >= 1]
    if wide:
        widest = max(wide, key=losses.__getitem__)
        others = f" (and {len(wide) - 1} more)" if len(wide) > 1 else ""
        yield Refusal(
            "interval",
            f"the intervals are so wide that the choice in {widest}{others} is expected to lose {losses[widest]:.1%} "
            f"to one that knows better, must be at most {limits.max_uncertainty:.1%}; measure longer, or when the "
            "machine is quiet",
        )


def uncertainty(cell: Cell, sizes: Sequence[float], draws: CostDraws) -> float:
    """What is expected to be lost because the costs are not known better, over sizes alike.

    The expected value of perfect information: how much more the method taken costs than the cheapest one in each draw,
    beyond what the plan knowingly gives away for a simpler method. Source: Raiffa and Schlaifer, *Applied Statistical
    Decision Theory* (1961), chapter 4.

    Args:
        cell: the plan of one context.
        sizes: payload sizes in bytes, at least one.
        draws: what the methods may cost.

    Returns:
        A share of the cost: 0.02 is two percent; 0 where only one method is known.
    """
    found = {
        method: draws.log_costs(method, cell.context, cell.goal, sizes, cell.pool.weights)
        for method in cell.context.available
    }
    known = {method: costs for method, costs in found.items() if costs is not None}
    costs = np.stack(list(known.values()))
    taken = [list(known).index(cell.at(size).method) for size in sizes]
    lost = costs[taken, np.arange(len(sizes))] - costs.min(axis=0)
    return float(np.expm1(max((lost[:, 1:].mean(axis=1) - lost[:, 0]).mean(), 0.0)))


def _worse(candidate: Candidate, limits: PublishSettings) -> Iterator[Refusal]:
    for effect in candidate.effects:
        for what, ratio in (("cost of a transfer", effect.ratio), ("total cost", effect.total)):
            if ratio.low > 1 + limits.max_loss:
                yield Refusal(
                    "worse",
                    f"on the {effect.workload} the {what} changes by {ratio}, must surely lose at most "
                    f"{limits.max_loss:.1%}; keep what is in force, or measure again with every method",
                )
                break


def _unknown(candidate: Candidate, limits: PublishSettings) -> Iterator[Refusal]:
    """What was published with evidence is not replaced by what cannot be compared with it."""
    is_first = all(cell.publication.curves is None for cell in candidate.before)
    is_replayed = any(effect.workload == REPLAY for effect in candidate.effects)
    share = min((effect.share_unknown for effect in candidate.effects), default=0.0)
    if is_first or is_replayed or share <= MOST_UNKNOWN:
        return
    measured = {key.method for key in candidate.curves.curves if key.stage == "transport"}
    taken = {part.method for cell in candidate.before for part in cell.ranges}
    yield Refusal(
        "unknown",
        f"{share:.0%} of the transfers change from or to a method of unknown cost, at most {MOST_UNKNOWN:.0%} may: "
        f"{', '.join(sorted(taken - measured)) or 'some methods'} was not measured in these contexts; measure with "
        "every method, or let `perfkit publish --replay` compare both",
    )


def _step(candidate: Candidate, limits: PublishSettings) -> Iterator[Refusal]:
    """Two measurements that are sure of the opposite are a reason to look twice; a replay that went well has looked,
    where it sent payloads of the sizes in question."""
    went_well = any(one.workload == REPLAY and one.verdict in (BETTER, EQUIVALENT) for one in candidate.effects)
    looked_at = candidate.replayed_bytes if went_well else ()
    steps = [
        step
        for before, after in zip(candidate.before, candidate.after, strict=True)
        for step in _steps(before, after, candidate.sizes)
        if step.factor > limits.max_step and not any(step.start_bytes <= size <= step.end_bytes for size in looked_at)
    ]
    if steps:
        widest = max(steps, key=lambda step: step.factor)
        others = f" (and {len(steps) - 1} more)" if len(steps) > 1 else ""
        yield Refusal(
            "step",
            f"from {format_bytes(widest.start_bytes)} to {format_bytes(widest.end_bytes)} in {widest.context}{others} "
            f"what is in force is sure that {widest.before} is cheaper, and the candidate that {widest.after} is: an "
            f"edge moves {widest.factor:.0f} times, at most {limits.max_step:g} are taken without a second look; "
            "`perfkit publish --replay` measures which holds",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """Sizes that an edge moved over and that lie in neither of its intervals."""

    context: str
    before: str
    after: str
    start_bytes: float
    end_bytes: float

    @property
    def factor(self) -> float:
        return self.end_bytes / self.start_bytes


def _steps(before: Cell, after: Cell, sizes: Sequence[float]) -> Iterator[_Step]:
    """The stretches that change hands although both measurements are sure, and of the opposite."""
    in_force, new = before.publication.curves, after.publication.curves
    if in_force is None or new is None or not independent(new, in_force):
        return  # a first publication, or a host that changed: no wonder that edges move
    for (old_method, new_method), stretch in itertools.groupby(
        sizes, key=lambda size: (before.at(size).method, after.at(size).method)
    ):
        sure = [
            size
            for size in stretch
            if old_method != new_method
            and _is_cheaper(in_force, before, old_method, new_method, size)
            and _is_cheaper(new, after, new_method, old_method, size)
        ]
        if sure:
            yield _Step(after.name, old_method, new_method, sure[0], sure[-1])


def _is_cheaper(curves: CurveSet, cell: Cell, method: str, other: str, payload_bytes: float) -> bool:
    """Whether a measurement is sure that a method costs less than another one."""
    weights = cell.pool.weights
    first, second = (compose(curves, name, cell.context, cell.goal, weights=weights) for name in (method, other))
    return first is not None and second is not None and cost_difference(first, second, payload_bytes)[2] < 0


def _fingerprint(candidate: Candidate, _: PublishSettings) -> Iterator[Refusal]:
    found = differences(candidate.curves.fingerprint, candidate.host)
    if found:
        yield Refusal(
            "fingerprint",
            f"the evidence is of another host than this one ({'; '.join(found)}); measure here with `perfkit bench`, "
            "or publish on the host that it is for",
        )


def _taken(cells: Sequence[Cell]) -> Iterator[tuple[Cell, str]]:
    for cell in cells:
        for method in dict.fromkeys(part.method for part in cell.ranges if part.evidence):
            yield cell, method


def _parts(cell: Cell, method: str) -> tuple[Part, ...]:
    curves = cell.publication.curves or CurveSet({})
    composition = compose(curves, method, cell.context, cell.goal, weights=cell.pool.weights)
    return composition.parts if composition else ()
