"""Regret: what choosing a method loses against an oracle, from repeated costs of every payload by every method.

The repetitions are split into two halves. The oracle takes the method that was cheapest in one half, and every cost is
read from the other, both ways round: whoever picks the luckiest figure of a half earns nothing in the other one. The
payloads are the independent units, so they are what the intervals resample.

Sources: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13, on percentile intervals; Fleming
and Wallace, *How not to lie with statistics* (CACM 1986), on geometric means of ratios; Wilson, *Probable inference,
the law of succession, and statistical inference* (JASA 1927), on the interval of a share.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.stats

from perfkit.errors import InputError

__all__ = [
    "CostTable",
    "RatioEstimate",
    "Regret",
    "best_threshold",
    "cost_table",
    "geometric_ratio",
    "ratio_over_groups",
    "regret_of",
]

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

RESOLVED_MARGIN = 0.10
"""A payload's best method is resolved when it is the same in both halves and wins by at least this share in both."""

_DRAWS = 2000
_SEED = 0


@dataclasses.dataclass(frozen=True)
class CostTable:
    """Median costs by half of the repetitions, payload and method.

    Args:
        payloads: names of the payloads, ascending.
        methods: names of the methods, ascending.
        medians: positive costs, shape ``(2, payloads, methods)``; NaN where a half has no repetition.
    """

    payloads: tuple[int, ...]
    methods: tuple[str, ...]
    medians: Floats = dataclasses.field(repr=False, compare=False)

    @property
    def best(self) -> Indices:
        """The cheapest method of every payload in each half, shape ``(2, payloads)``."""
        return np.asarray(np.nanargmin(self.medians, axis=2))

    @property
    def resolved(self) -> npt.NDArray[np.bool_]:
        """Which payloads have the same best method in both halves, by `RESOLVED_MARGIN` or more in each."""
        best = self.best
        same = np.asarray(best[0] == best[1])
        if len(self.methods) == 1:
            return same
        ordered = np.sort(self.medians, axis=2)
        return np.asarray(same & (ordered[:, :, 1] / ordered[:, :, 0] >= 1 + RESOLVED_MARGIN).all(axis=0))

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which payloads were measured with every method in both halves."""
        return np.asarray(np.isfinite(self.medians).all(axis=(0, 2)))

    def log_costs(self, choice: Indices) -> Floats:
        """Logarithm of the cost of each payload by the method chosen for it, the mean of both halves."""
        return np.asarray(np.log(self.medians[:, np.arange(len(self.payloads)), choice]).mean(axis=0))

    def of(self, rows: npt.ArrayLike) -> CostTable:
        """The table of some payloads, by index or mask."""
        chosen = np.arange(len(self.payloads))[np.asarray(rows)]
        return CostTable(tuple(self.payloads[row] for row in chosen), self.methods, self.medians[:, chosen])


@dataclasses.dataclass(frozen=True, slots=True)
class Regret:
    """What a strategy loses against the oracle.

    Args:
        value: geometric mean over payloads of chosen over oracle's cost, less 1.
        low: lower bound of its 95 % interval.
        high: upper bound of its 95 % interval.
        total_ratio: sum of the chosen costs over the sum of the oracle's.
        accuracy: share of the resolved payloads for which the strategy takes the best method; NaN without any.
        resolved: payloads whose best method is resolved.
        n: payloads.
    """

    value: float
    low: float
    high: float
    total_ratio: float
    accuracy: float
    resolved: int
    n: int

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Wilson); from 0 to 1 when no payload is resolved.

        >>> low, high = Regret(0, 0, 0, 1, accuracy=0.75, resolved=4, n=9).accuracy_interval
        >>> round(low, 3), round(high, 3)
        (0.301, 0.954)
        """
        if not self.resolved:
            return 0.0, 1.0
        right = round(self.accuracy * self.resolved)
        interval = scipy.stats.binomtest(right, self.resolved).proportion_ci(0.95, method="wilson")
        return float(interval.low), float(interval.high)


@dataclasses.dataclass(frozen=True, slots=True)
class RatioEstimate:
    """A geometric mean of ratios with its 95 % interval from resampled payloads."""

    value: float
    low: float
    high: float
    n: int


def cost_table(payload: npt.ArrayLike, method: npt.ArrayLike, half: npt.ArrayLike, cost: npt.ArrayLike) -> CostTable:
    """Reduce sends to the median cost of every half, payload and method.

    Args:
        payload: number of the payload of each send.
        method: method of each send.
        half: 0 or 1, the half of the repetitions that each send belongs to.
        cost: positive cost of each send.

    Raises:
        InputError: there is no send, or a cost is not a positive number.

    >>> table = cost_table([1, 1, 1, 1], ["a", "a", "b", "b"], [0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0])
    >>> table.medians.tolist()
    [[[1.0, 3.0]], [[2.0, 4.0]]]
    """
    costs = np.asarray(cost, float)
    if not costs.size:
        raise InputError("no sends to reduce; a cost table needs at least one")
    if not (np.isfinite(costs) & (costs > 0)).all():
        worst = costs[~(np.isfinite(costs) & (costs > 0))][0]
        raise InputError(f"cost == {worst}, must be a positive number")
    payloads, payload_index = np.unique(np.asarray(payload), return_inverse=True)
    methods, method_index = np.unique(np.asarray(method), return_inverse=True)
    shape = (2, payloads.size, methods.size)
    cell = np.ravel_multi_index((np.asarray(half, int), payload_index.reshape(-1), method_index.reshape(-1)), shape)
    order = np.lexsort((costs, cell))
    present, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    ordered = costs[order]
    medians = np.full(shape, np.nan)
    medians.reshape(-1)[present] = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2
    return CostTable(tuple(int(one) for one in payloads), tuple(str(one) for one in methods), medians)


def regret_of(table: CostTable, choice: Sequence[int] | Indices) -> Regret:
    """Geometric-mean relative regret of a choice, with an interval, the ratio of totals, and accuracy.

    Args:
        table: costs; every payload measured with every method in both halves.
        choice: index of the method taken for each payload.

    >>> table = cost_table([1, 1, 1, 1], ["a", "a", "b", "b"], [0, 1, 0, 1], [1.0, 1.0, 2.0, 2.0])
    >>> regret_of(table, [1]).value, regret_of(table, [0]).accuracy
    (1.0, 1.0)
    """
    taken = np.asarray(choice, int)
    rows = np.arange(len(table.payloads))
    best = table.best
    # Oracle on one half, costs from the other.
    chosen_costs = np.stack([table.medians[1, rows, taken], table.medians[0, rows, taken]])
    oracle_costs = np.stack([table.medians[1, rows, best[0]], table.medians[0, rows, best[1]]])
    lost = np.log(chosen_costs / oracle_costs).mean(axis=0)
    low, high = _interval(lost)
    resolved = table.resolved
    return Regret(
        value=float(np.expm1(lost.mean())),
        low=float(low),
        high=float(high),
        total_ratio=float(chosen_costs.sum() / oracle_costs.sum()),
        accuracy=float((taken == best[0])[resolved].mean()) if resolved.any() else float("nan"),
        resolved=int(resolved.sum()),
        n=rows.size,
    )


def best_threshold(sizes: npt.ArrayLike, log_costs: Floats) -> tuple[int, float, int]:
    """The threshold between two methods that costs least in hindsight.

    Args:
        sizes: size of each payload in bytes.
        log_costs: logarithm of the cost of each payload by each method, shape ``(payloads, methods)``.

    Returns:
        The method below the threshold, the threshold in bytes (payloads of that size or more lie above it; infinite
        where one method is best everywhere), the method above it.

    >>> best_threshold([10, 20, 30], np.log([[1, 5], [1, 5], [9, 5]]))
    (0, 30.0, 1)
    """
    order = np.argsort(np.asarray(sizes, float), kind="stable")
    ordered = np.asarray(sizes, float)[order]
    below = np.concatenate([np.zeros((1, log_costs.shape[1])), np.cumsum(log_costs[order], axis=0)])
    above = below[-1] - below
    # Payloads of one size cannot be told apart: a threshold lies between sizes that differ.
    cuts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > 0, [True]]))
    totals = below[cuts].min(axis=1) + above[cuts].min(axis=1)
    cut = int(cuts[np.argmin(totals)])
    small, large = int(np.argmin(below[cut])), int(np.argmin(above[cut]))
    if cut == 0:
        return large, float("inf"), large
    return small, float(ordered[cut]) if cut < ordered.size else float("inf"), large if cut < ordered.size else small


def geometric_ratio(log_above: npt.ArrayLike, log_below: npt.ArrayLike) -> RatioEstimate:
    """Geometric mean of paired ratios with a 95 % interval over the pairs.

    Args:
        log_above, log_below: logarithms of numerator and denominator, one per payload.

    >>> geometric_ratio(np.log([2.0, 8.0]), np.log([1.0, 1.0])).value
    4.0
    """
    return ratio_over_groups((np.asarray(log_above, float) - np.asarray(log_below, float))[None, :])


def ratio_over_groups(log_ratios: Floats) -> RatioEstimate:
    """Geometric mean of ratios over groups that count alike and share their payloads.

    Args:
        log_ratios: logarithm of the ratio by group and payload; NaN where a group lacks a payload.

    Returns:
        The estimate; payloads are resampled together with what all groups know about them. A single payload says
        nothing about others: its interval is from 0 to infinity.
    """
    log_ratios = log_ratios[:, np.isfinite(log_ratios).any(axis=0)]  # every draw then tells about some group
    picks = np.random.default_rng(_SEED).integers(0, log_ratios.shape[1], (_DRAWS, log_ratios.shape[1]))
    known = np.isfinite(log_ratios)
    filled = np.where(known, log_ratios, 0.0)
    counts = np.stack([row[picks].sum(axis=1) for row in known.astype(float)])
    sums = np.stack([row[picks].sum(axis=1) for row in filled])
    with np.errstate(invalid="ignore"):
        draws = np.nanmean(sums / np.where(counts > 0, counts, np.nan), axis=0)
    low, high = np.quantile(draws, (0.025, 0.975))
    value = np.mean([row[mask].mean() for row, mask in zip(log_ratios, known, strict=True)])
    if log_ratios.shape[1] == 1:
        low, high = -np.inf, np.inf
    middle, lower, upper = np.exp([value, low, high]).tolist()
    return RatioEstimate(middle, lower, upper, log_ratios.shape[1])


def _interval(lost: Floats) -> Floats:
    """95 % percentile interval of the regret that follows from independent log losses."""
    picks = np.random.default_rng(_SEED).integers(0, lost.size, (_DRAWS, lost.size))
    return np.asarray(np.quantile(np.expm1(lost[picks].mean(axis=1)), (0.025, 0.975)))
