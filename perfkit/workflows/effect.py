"""What another plan is expected to cost or save on a workload, with an interval."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveKey, CurveSet
from perfkit.config.fingerprint import differences
from perfkit.config.gate_record import EffectRecord
from perfkit.config.pool_settings import Weights
from perfkit.engine.costs import Context, compose, goal_in_force
from perfkit.engine.goals import DEFAULT_WEIGHTS
from perfkit.engine.plan import Cell
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from perfkit.tables import ResultTable
from perfkit.workflows.workload import Workload

__all__ = [
    "BETTER",
    "EQUIVALENT",
    "INCONCLUSIVE",
    "MOST_UNKNOWN",
    "WORSE",
    "CostDraws",
    "Effect",
    "Ratio",
    "expected_effect",
    "independent",
]

Floats = npt.NDArray[np.float64]
CompiledPlan = Callable[[Context], Cell]

MOST_UNKNOWN = 0.05
"""Share of the transfers with a cost of which nothing is known: with more, the rest says nothing about all of them."""
EXPECTED = "expected: drawn from the intervals of the cost curves"
_DRAWS = 400
_SEED = 20_113
_NORMAL_95 = 1.959964
_STEEPEST = 50.0  # an interval of e±50 is as good as none, and its powers are still numbers


@dataclasses.dataclass(frozen=True, slots=True)
class Ratio:
    """A cost over another one, with its 95 % interval: 0.9 is a tenth cheaper."""

    value: float
    low: float
    high: float

    def verdict(self, margin: float) -> str:
        """``better`` where it is surely below 1, ``equivalent`` where it is surely within `margin` of 1, ``worse``
        where it is surely above 1, perhaps by more than the margin: a loss that is surely small is no alarm.

        >>> [Ratio(1, *bounds).verdict(0.05) for bounds in ((0.8, 0.9), (1.01, 1.2), (1.01, 1.02), (0.9, 1.1))]
        ['better', 'worse', 'equivalent', 'inconclusive']
        """
        if self.high < 1:
            return BETTER
        if 1 - margin <= self.low and self.high <= 1 + margin:
            return EQUIVALENT
        return WORSE if self.low > 1 else INCONCLUSIVE

    def to_plain(self) -> dict[str, float | None]:
        """Everything as plain data for JSON; a bound that is infinite is None."""
        return {name: bound if math.isfinite(bound) else None for name, bound in dataclasses.asdict(self).items()}

    def __str__(self) -> str:
        if math.isinf(self.high):
            return "unknown"
        return f"{self.value - 1:+.1%} ({self.low - 1:+.1%} to {self.high - 1:+.1%})"


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """What a new plan does to the cost of a workload, in each pool's own goal.

    Args:
        workload: what it was judged on: recorded traffic, even mix or replay.
        ratio: geometric-mean cost with the new plan over that with the plan before.
        total: total cost with the new plan over that with the plan before.
        n: transfers or payloads that it was judged on.
        share_changed: share of the transfers that take another method, 0 to 1.
        share_of_bytes_changed: the same by bytes.
        share_unknown: share of the transfers that change to or from a method of unknown cost; left out of the ratios.
        method: how the ratios came about.
        verdict: better, worse, equivalent or inconclusive, by the interval of `ratio`.
    """

    workload: str
    ratio: Ratio
    total: Ratio
    n: int
    share_changed: float
    share_of_bytes_changed: float
    share_unknown: float
    method: str
    verdict: str

    @property
    def value(self) -> float:
        """The ratio of geometric-mean costs."""
        return self.ratio.value

    @property
    def low(self) -> float:
        """Lower bound of its 95 % interval."""
        return self.ratio.low

    @property
    def high(self) -> float:
        """Upper bound of its 95 % interval."""
        return self.ratio.high

    def record(self) -> EffectRecord:
        """The figures that a published file keeps."""
        return EffectRecord(self.workload, self.value, self.low, self.high, self.n, self.share_changed, self.verdict)

    def cells(self) -> tuple[str, ...]:
        """The effect as one row of a table; see `EFFECT_COLUMNS`."""
        changed = f"{self.share_changed:.0%} ({self.share_of_bytes_changed:.0%})"
        return (
            self.workload,
            f"{self.n:,}",
            changed,
            str(self.ratio),
            f"{'' if math.isinf(self.total.high) else f'{self.total.value - 1:+.1%}'}",
            self.verdict,
        )

    def to_table(self) -> ResultTable:
        """One row, and how it came about."""
        title = "Effect on the cost, against the plan in force"
        return ResultTable(title, EFFECT_COLUMNS, (self.cells(),), (f"{self.method}.",), align_right=(1, 2, 4))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON; an interval without an end is None there."""
        ratios = {"ratio": self.ratio.to_plain(), "total": self.total.to_plain()}
        return {**dataclasses.asdict(self), **ratios, **self.ratio.to_plain()}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


EFFECT_COLUMNS = ("workload", "n", "changed (bytes)", "cost (95 %)", "total", "verdict")


@dataclasses.dataclass(frozen=True)
class CostDraws:
    """Costs as they may truly be: the curves of one or two independent measurements, drawn from their intervals.

    Every curve is off by one draw for all sizes, so that what two methods or two sizes share cancels, as in
    `perfkit.engine.costs.cost_difference`. Where two measurements know a cost, they are averaged by their precision: a
    candidate that is judged by its own curves alone can only look good. Where they disagree by more than their
    intervals allow, the interval grows by that factor.

    Sources: Smith and Winkler, *The optimizer's curse*, Management Science 52 (2006), on judging a choice by what it
    was chosen by; Birge, *The calculation of errors by the method of least squares*, Physical Review 40 (1932), on
    measurements that disagree.

    Args:
        evidence: the candidate's curves; then those in force, where they are of the same host.
        averaged: whether both count where both know a cost; otherwise those in force only fill gaps.
        deviates: standard normal draws by set and curve; the first one is 0, the point estimate.
    """

    evidence: tuple[CurveSet, ...]
    averaged: bool
    deviates: Mapping[tuple[int, CurveKey], Floats] = dataclasses.field(repr=False)

    @staticmethod
    def of(candidate: CurveSet, in_force: CurveSet | None = None) -> CostDraws:
        """The draws of a candidate and of what is in force."""
        evidence = (candidate,) if in_force is None or not _same_host(candidate, in_force) else (candidate, in_force)
        random = np.random.default_rng(_SEED)
        keys = ((index, key) for index, curves in enumerate(evidence) for key in sorted(curves.curves, key=str))
        averaged = in_force is not None and independent(candidate, in_force)
        return CostDraws(evidence, averaged, {key: _deviates(random) for key in keys})

    def log_costs(
        self,
        method: str,
        context: Context,
        goal: str,
        sizes: Sequence[float],
        weights: Weights = DEFAULT_WEIGHTS,
    ) -> Floats | None:
        """Logarithms of the cost by size and draw; the first draw is the estimate. None where no curve knows it."""
        found = (self._log_costs(index, method, context, goal, sizes, weights) for index in range(len(self.evidence)))
        known = [costs for costs in found if costs is not None]
        if not known:
            return None
        return _averaged(*known) if self.averaged and len(known) == 2 else known[0]

    def _log_costs(
        self, index: int, method: str, context: Context, goal: str, sizes: Sequence[float], weights: Weights
    ) -> Floats | None:
        curves = self.evidence[index]
        if goal_in_force(curves, goal, weights) != goal:
            return None  # it never measured what this goal is about
        composition = compose(curves, method, context, goal, weights=weights)
        if composition is None:
            return None
        stages = {part.stage: np.zeros((len(sizes), _DRAWS + 1)) for part in composition.parts}
        for part in composition.parts:
            wire_sizes = [max(size * part.wire_ratio, 1.0) for size in sizes]
            values = np.array([part.weight * part.curve.at(size) for size in wire_sizes])
            bounds = np.array([part.curve.relative_interval(size) for size in wire_sizes])
            spread = np.clip(np.log(np.maximum(bounds, 1e-300)), -_STEEPEST, _STEEPEST) / _NORMAL_95
            deviates = self.deviates[index, part.key]
            steps = np.where(deviates < 0, -deviates * spread[:, :1], deviates * spread[:, 1:])
            stages[part.stage] += values[:, None] * np.exp(steps)
        costs = np.stack(list(stages.values()))
        costs = costs.max(axis=0) if composition.slowest_stage else costs.sum(axis=0)
        return np.asarray(np.log(np.maximum(costs, 1e-300)))


def expected_effect(
    workload: Workload, before: CompiledPlan, after: CompiledPlan, costs: CostDraws, *, margin: float
) -> Effect:
    """What a workload is expected to cost with a new plan, relative to the plan before.

    Args:
        workload: contexts, sizes and how often; at least one transfer.
        before: the plan that is in force, by context.
        after: the plan that would be, by context.
        costs: what transfers may cost.
        margin: how far from 1 a ratio still counts as equivalent, as a share from 0 to 1.

    Returns:
        Ratios with the 2.5th and 97.5th percentile of the draws as their interval.
    """
    sums = _Sums.empty()
    for context, sends in itertools.groupby(workload.sends, key=lambda one: one.context):
        group = list(sends)
        sizes = [one.payload_bytes for one in group]
        weights = np.array([float(one.transfers) for one in group])
        sums = sums.plus(_context_sums(before(context), after(context), sizes, weights, costs))
    known = sums.transfers - sums.unknown
    ratio = _ratio(sums.log_ratio / known) if known else Ratio(1.0, 0.0, math.inf)
    share_unknown = sums.unknown / sums.transfers
    method = f"{EXPECTED} and of those in force" if costs.averaged else EXPECTED
    if share_unknown:
        method += f"; {share_unknown:.0%} of the transfers change from or to a method of unknown cost, and are left out"
    return Effect(
        workload=workload.name,
        ratio=ratio,
        total=_ratio(sums.log_total()) if sums.totals else ratio,
        n=workload.transfers,
        share_changed=sums.changed / sums.transfers,
        share_of_bytes_changed=sums.changed_bytes / max(sums.payload_bytes, 1.0),
        share_unknown=share_unknown,
        method=method,
        verdict=ratio.verdict(margin) if share_unknown <= MOST_UNKNOWN else INCONCLUSIVE,
    )


@dataclasses.dataclass(frozen=True)
class _Sums:
    """Sums over the transfers of a workload; arrays hold one value per draw."""

    transfers: float
    changed: float
    unknown: float
    payload_bytes: float
    changed_bytes: float
    log_ratio: Floats
    totals: Mapping[str, tuple[float, Floats, Floats]]  # by unit: transfers, cost before, cost after

    @staticmethod
    def empty() -> _Sums:
        return _Sums(0.0, 0.0, 0.0, 0.0, 0.0, np.zeros(_DRAWS + 1), {})

    def plus(self, other: _Sums) -> _Sums:
        totals = dict(self.totals)
        for unit, added in other.totals.items():
            mine = totals.get(unit, (0.0, 0.0, 0.0))
            totals[unit] = (mine[0] + added[0], mine[1] + added[1], mine[2] + added[2])
        names = ("transfers", "changed", "unknown", "payload_bytes", "changed_bytes", "log_ratio")
        return _Sums(**{name: getattr(self, name) + getattr(other, name) for name in names}, totals=totals)

    def log_total(self) -> Floats:
        """Logarithm of the ratio of totals; bytes and nanoseconds are no one sum, so units are averaged."""
        transfers = sum(count for count, _, _ in self.totals.values())
        logs = [count * np.log(after / before) for count, before, after in self.totals.values()]
        return np.asarray(sum(logs) / transfers)


def _context_sums(before: Cell, after: Cell, sizes: Sequence[float], weights: Floats, costs: CostDraws) -> _Sums:
    pairs = [(before.at(size).method, after.at(size).method) for size in sizes]
    methods = dict.fromkeys(itertools.chain(*pairs))
    found = {
        method: costs.log_costs(method, after.context, after.goal, sizes, after.pool.weights) for method in methods
    }
    changed = np.array([old != new for old, new in pairs])
    known = np.array([found[old] is not None and found[new] is not None for old, new in pairs])
    payload_bytes = weights * np.asarray(sizes)
    log_ratio, old_total, new_total = (np.zeros(_DRAWS + 1) for _ in range(3))
    for row in np.flatnonzero(known):
        old, new = (found[method][row] for method in pairs[row])  # type: ignore[index]  # both are known
        log_ratio += weights[row] * (new - old)
        old_total += weights[row] * np.exp(old)
        new_total += weights[row] * np.exp(new)
    totals = {"bytes" if after.goal == "memory" else "ns": (float(weights[known].sum()), old_total, new_total)}
    return _Sums(
        transfers=float(weights.sum()),
        changed=float(weights[changed].sum()),
        unknown=float(weights[changed & ~known].sum()),
        payload_bytes=float(payload_bytes.sum()),
        changed_bytes=float(payload_bytes[changed].sum()),
        log_ratio=log_ratio,
        totals=totals if known.any() else {},
    )


def _ratio(log_ratios: Floats) -> Ratio:
    low, high = np.quantile(log_ratios[1:], [0.025, 0.975])
    value, low, high = np.exp([log_ratios[0], min(low, log_ratios[0]), max(high, log_ratios[0])]).tolist()
    return Ratio(value, low, high)


def independent(candidate: CurveSet, in_force: CurveSet) -> bool:
    """Whether both are measurements of one host, and not of one run."""
    return _same_host(candidate, in_force) and not set(candidate.evidence.runs) & set(in_force.evidence.runs)


def _same_host(candidate: CurveSet, in_force: CurveSet) -> bool:
    return not differences(in_force.fingerprint, candidate.fingerprint)


def _deviates(random: np.random.Generator) -> Floats:
    """0, then draws in pairs of opposite sign: their mean is that of the distribution."""
    half = random.standard_normal(_DRAWS // 2)
    return np.concatenate([[0.0], half, -half])


def _averaged(first: Floats, second: Floats) -> Floats:
    """Two measurements of the same costs, weighted by their precision."""
    precisions = [1 / np.maximum(costs[:, 1:].var(axis=1), 1e-12) for costs in (first, second)]
    weight = (precisions[0] / (precisions[0] + precisions[1]))[:, None]
    mean = weight * first + (1 - weight) * second
    gap = np.abs(first[:, 0] - second[:, 0])
    scale = np.maximum(gap / np.sqrt(1 / precisions[0] + 1 / precisions[1]), 1.0)[:, None]
    return np.asarray(mean[:, :1] + scale * (mean - mean[:, :1]))
