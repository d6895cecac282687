"""Regret: how much latency is lost against the best method, estimated from traffic that explored.

Where an engine explores, the probability of each choice is known (its *propensity*), so what another method would have
cost can be estimated without bias from the few transfers that took it: each counts for as many as its propensity says.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Mapping

__all__ = ["NEEDED", "Explored", "Regret"]

NEEDED = 30
"""Transfers of a method in a size class before the method is compared there."""

_STRATA_KEPT = 5_000
_GENERATION_NS = 3600 * 10**9
_Z = 1.96

Halves = tuple["Sums", "Sums"]
"""What a method took, in either half of the transfers."""

Stratum = tuple[str, str, str, int]  # pool, the plan's method, method taken, size class


@dataclasses.dataclass(frozen=True, slots=True)
class Regret:
    """Latency lost against the best method of each size class, as a share of what was spent.

    Args:
        share: estimate, 0 or more; None where too little was explored.
        low: lower bound of the 95 % interval, 0 or more.
        high: upper bound.
        n: transfers of methods that the plan did not take.
        covered: share of the traffic with known propensity in which there was enough to compare.
    """

    share: float | None
    low: float | None
    high: float | None
    n: int
    covered: float

    def __str__(self) -> str:
        if self.share is None or self.low is None or self.high is None:
            return f"not enough explored (n = {self.n})"
        bounds = f"95 % {self.low:.1%} to {self.high:.1%}"
        return f"{self.share:.1%} ({bounds}, n = {self.n}, {self.covered:.0%} of the traffic)"


class Sums:
    """Weighted sums of log latencies; `n` transfers."""

    __slots__ = ("n", "w", "ww", "wwy", "wwyy", "wy")

    def __init__(self) -> None:
        self.n = 0
        self.w = self.wy = self.ww = self.wwy = self.wwyy = 0.0

    def add(self, log_latency: float, weight: float) -> None:
        self.n += 1
        self.w += weight
        self.wy += weight * log_latency
        squared = weight * weight
        self.ww += squared
        self.wwy += squared * log_latency
        self.wwyy += squared * log_latency * log_latency

    def merged(self, other: Sums) -> Sums:
        both = Sums()
        for name in self.__slots__:
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    @property
    def mean(self) -> float:
        """The self-normalised estimate of the mean."""
        return self.wy / self.w

    @property
    def variance(self) -> float:
        """Of the mean, by the delta method."""
        mean = self.mean
        return max(self.wwyy - 2 * mean * self.wwy + mean * mean * self.ww, 0.0) / (self.w * self.w)


class Explored:
    """Transfers whose method was taken with a known probability below 1.

    They are kept as sums per pool, size class (powers of two), method of the plan, and method taken: of this hour and
    the one before, in at most 5 000 classes.

    Args:
        seed: of the random halves into which the transfers are split.

    Source: Swaminathan and Joachims, *The self-normalized estimator for counterfactual learning*, NeurIPS 2015.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._now: dict[Stratum, Halves] = {}
        self._before: dict[Stratum, Halves] = {}
        self._begun_ns: int | None = None

    def begin(self, now_ns: int) -> None:
        """Before outcomes are added: start the next hour when one is over.

        Args:
            now_ns: monotonic nanoseconds.
        """
        if self._begun_ns is None or now_ns - self._begun_ns >= _GENERATION_NS:
            self._before, self._now, self._begun_ns = self._now, {}, now_ns

    def add(
        self, pool: str, planned: str, taken: str, payload_bytes: int, log_latency: float, propensity: float
    ) -> None:
        """Take in one transfer.

        Args:
            pool: pool of workers.
            planned: the method that the plan takes when it does not explore.
            taken: the method that was taken.
            payload_bytes: size of the payload.
            log_latency: natural logarithm of what it took.
            propensity: probability with which this method was taken, above 0 and below 1.
        """
        stratum = (pool, planned, taken, payload_bytes.bit_length())
        halves = self._now.get(stratum)
        if halves is None:
            if len(self._now) >= _STRATA_KEPT:
                return
            halves = self._now[stratum] = (Sums(), Sums())
        halves[self._random.getrandbits(1)].add(log_latency, 1 / propensity)

    def forget(self) -> None:
        """Forget everything."""
        self._now, self._before, self._begun_ns = {}, {}, None

    def regret(self) -> dict[str, Regret]:
        """The regret of each pool that explored."""
        merged: dict[tuple[str, str, int], dict[str, Halves]] = {}
        for (pool, planned, taken, size_class), (first, second) in (*self._before.items(), *self._now.items()):
            methods = merged.setdefault((pool, planned, size_class), {})
            known = methods.get(taken, (Sums(), Sums()))
            methods[taken] = (known[0].merged(first), known[1].merged(second))
        by_pool: dict[str, list[tuple[str, dict[str, Halves]]]] = {}
        for (pool, planned, _), methods in merged.items():
            by_pool.setdefault(pool, []).append((planned, methods))
        return {pool: _regret(strata) for pool, strata in sorted(by_pool.items())}


def _regret(strata: Iterable[tuple[str, Mapping[str, Halves]]]) -> Regret:
    """Sum up size classes, each with the latency spent in it as its weight."""
    spent = lost = most = variance = 0.0
    tried = 0
    transfers = covered = 0.0
    for planned, methods in strata:
        here = sum(sums.w for halves in methods.values() for sums in halves)
        transfers += here
        tried += sum(sums.n for method, halves in methods.items() if method != planned for sums in halves)
        compared = _compared(planned, methods)
        if compared is None:
            continue
        log_latency, excess, largest, excess_variance = compared
        covered += here
        cost = here * math.exp(log_latency)
        spent += cost
        lost += cost * -math.expm1(-excess)
        most += cost * -math.expm1(-largest)
        variance += (cost * math.exp(-excess)) ** 2 * excess_variance
    if not spent:
        return Regret(None, None, None, tried, 0.0)
    half_width = _Z * math.sqrt(variance) / spent
    share, high = max(lost / spent, 0.0), max(lost, most) / spent + half_width
    return Regret(share, max(lost / spent - half_width, 0.0), high, tried, covered / transfers)


def _compared(planned: str, methods: Mapping[str, Halves]) -> tuple[float, float, float, float] | None:
    """Compare the plan's method with the best one in a size class.

    The best is found in one half of the transfers and its cost taken from the other, and the other way round: a method
    that looks best by luck in one half does not in the other, so luck is not counted as regret. That errs low where two
    are close and the worse of them is found; what looks best in all transfers errs high, so the upper bound uses it.

    Returns:
        Mean log latency of the plan's method, its excess over the best, the same over what looks best in all transfers,
        and the variance of the excess; None where there is too little to compare.
    """
    enough = {name: halves for name, halves in sorted(methods.items()) if all(2 * h.n >= NEEDED for h in halves)}
    if planned not in enough or len(enough) < 2:
        return None
    taken = enough[planned][0].merged(enough[planned][1])
    excess = variance = 0.0
    for found_in, judged_in in ((0, 1), (1, 0)):
        best = min(enough, key=lambda method: enough[method][found_in].mean)
        if best != planned:
            excess += 0.5 * (taken.mean - enough[best][judged_in].mean)
            variance += 0.25 * enough[best][judged_in].variance
    others = [first.merged(second) for name, (first, second) in enough.items() if name != planned]
    largest = max(taken.mean - min(sums.mean for sums in others), 0.0)
    # Where the plan's method looks best, another may still be a little better: as much as would not have been noticed.
    return taken.mean, excess, largest, taken.variance + max(variance, min(sums.variance for sums in others))
