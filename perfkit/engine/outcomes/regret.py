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

Stratum = tuple[str, int, str]  # pool, size class, the plan's method


@dataclasses.dataclass(frozen=True, slots=True)
class Regret:
    """Latency lost against the best method of each size class, as a share of what was spent.

    Args:
        share: estimate; None where too little was explored.
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
        bounds = f"95 % {max(self.low, 0):.1%} to {self.high:.1%}"
        return f"{max(self.share, 0):.1%} ({bounds}, n = {self.n}, {self.covered:.0%} of the traffic)"


class _Sums:
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

    def merged(self, other: _Sums) -> _Sums:
        both = _Sums()
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


Halves = dict[tuple[str, int], _Sums]  # by method, and half of the data: 0 or 1


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

    def add(
        self, pool: str, planned: str, taken: str, payload_bytes: int, latency_ns: float, propensity: float, now_ns: int
    ) -> None:
        """Take in one transfer.

        Args:
            pool: pool of workers.
            planned: the method that the plan takes when it does not explore.
            taken: the method that was taken.
            payload_bytes: size of the payload.
            latency_ns: what it took, above 0.
            propensity: probability with which this method was taken, above 0 and below 1.
            now_ns: monotonic nanoseconds.
        """
        if self._begun_ns is None or now_ns - self._begun_ns >= _GENERATION_NS:
            self._before, self._now, self._begun_ns = self._now, {}, now_ns
        stratum = (pool, payload_bytes.bit_length(), planned)
        halves = self._now.get(stratum)
        if halves is None:
            if len(self._now) >= _STRATA_KEPT:
                return
            halves = self._now[stratum] = {}
        half = (taken, self._random.getrandbits(1))
        sums = halves.get(half)
        if sums is None:
            sums = halves[half] = _Sums()
        sums.add(math.log(latency_ns), 1 / propensity)

    def forget(self) -> None:
        """Forget everything."""
        self._now, self._before, self._begun_ns = {}, {}, None

    def regret(self) -> dict[str, Regret]:
        """The regret of each pool that explored."""
        merged: dict[Stratum, Halves] = {}
        for stratum, halves in (*self._before.items(), *self._now.items()):
            known = merged.setdefault(stratum, {})
            for half, sums in halves.items():
                known[half] = known[half].merged(sums) if half in known else sums
        by_pool: dict[str, list[tuple[str, Halves]]] = {}
        for (pool, _, planned), halves in merged.items():
            by_pool.setdefault(pool, []).append((planned, halves))
        return {pool: _regret(strata) for pool, strata in sorted(by_pool.items())}


def _regret(strata: Iterable[tuple[str, Halves]]) -> Regret:
    """Sum up size classes, each with the latency spent in it as its weight."""
    spent = lost = variance = 0.0
    tried = 0
    transfers = covered = 0.0
    for planned, halves in strata:
        here = sum(sums.w for sums in halves.values())
        transfers += here
        tried += sum(sums.n for (method, _), sums in halves.items() if method != planned)
        compared = _compared(planned, halves)
        if compared is None:
            continue
        log_latency, excess, excess_variance = compared
        covered += here
        cost = here * math.exp(log_latency)
        spent += cost
        lost += cost * -math.expm1(-excess)
        variance += (cost * math.exp(-excess)) ** 2 * excess_variance
    if not spent:
        return Regret(None, None, None, tried, 0.0)
    share, half_width = lost / spent, _Z * math.sqrt(variance) / spent
    return Regret(share, share - half_width, share + half_width, tried, covered / transfers)


def _compared(planned: str, halves: Mapping[tuple[str, int], _Sums]) -> tuple[float, float, float] | None:
    """Compare the plan's method with the best one in a size class.

    The best is found in one half of the transfers and its cost taken from the other, and the other way round: a method
    that looks best by luck in one half does not in the other, so luck is not counted as regret.

    Returns:
        Mean log latency of the plan's method, its excess over the best, and the variance of that; or None.
    """
    names = {name for name, _ in halves}
    methods = [m for m in names if all((m, half) in halves and halves[m, half].n * 2 >= NEEDED for half in (0, 1))]
    if planned not in methods or len(methods) < 2:
        return None
    taken = halves[planned, 0].merged(halves[planned, 1])
    excess = variance = 0.0
    for found_in, judged_in in ((0, 1), (1, 0)):
        best = min(sorted(methods), key=lambda method: halves[method, found_in].mean)
        if best != planned:
            excess += 0.5 * (taken.mean - halves[best, judged_in].mean)
            variance += 0.25 * halves[best, judged_in].variance
    others = [halves[m, 0].merged(halves[m, 1]).variance for m in sorted(methods) if m != planned]
    # Where the plan's method looks best, another may still be a little better: as much as would not have been noticed.
    return taken.mean, excess, taken.variance + max(variance, min(others))
