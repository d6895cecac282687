"""Is a candidate slower than what is released? One decision with stated error rates, from launches of both.

Sends of one launch of fresh processes share its luck: page placement, the clock, neighbours. Some of this luck hits one
method, some hits all methods of the launch alike. With three launches a side it cannot be told for sure which, so the
decision weighs both: were all luck shared, three launches would count as three; were none of it, every method of every
launch would count by itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from perfkit.errors import InputError
from perfkit.stats.corrections import holm

__all__ = ["BLOCK", "INCONCLUSIVE", "PASS", "ReleaseJudgement", "Slowdown", "judge_release", "launches_needed"]

Floats = npt.NDArray[np.float64]

PASS, BLOCK, INCONCLUSIVE = "pass", "block", "inconclusive"

INTERVAL_CONFIDENCE = 0.90
"""Of the intervals: each bound by itself holds in 95 of 100 cases, as a test for non-inferiority asks for."""
FEWEST_LAUNCHES = 2
"""Launches a side without which nothing is known about how launches differ."""

_POWER = 0.9
_SHARE_OF_GROUPS = 0.1
"""Of the accepted rate of false blocks: for single methods. The rest is for the overall change, which sees more."""
_NONE_SHARED = 0.8
"""Prior weight of launches having nothing in common over methods; the rest is spread evenly over how much they have."""
_SHARED_STEPS, _MOST_SHARED = 30, 1000.0
_FEWEST_TO_MODERATE = 3
_TAILS = ((1 - INTERVAL_CONFIDENCE) / 2, (1 + INTERVAL_CONFIDENCE) / 2)
_MOST_LAUNCHES = 1000
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, slots=True)
class Slowdown:
    """How much slower the candidate is, over all or in one group.

    Args:
        name: ``overall``, or the group.
        value: candidate / baseline - 1; NaN where nothing is known about how launches differ.
        low: lower bound of its 90 % interval; -1 where nothing is known.
        high: upper bound of its 90 % interval; infinite where nothing is known.
        standard_error: of the logarithm of candidate / baseline; NaN where nothing is known.
        freedom: degrees of freedom behind it.
        p_slower: probability of a slow-down this large if nothing changed; NaN where nothing is known.
        p_adjusted: the same, adjusted after Holm for the number of groups.
        level: largest `p_adjusted` that blocks.
        launches: of the baseline and of the candidate.
        detectable: the true slow-down that would be blocked nine times in ten; infinite where nothing is known.
        verdict: ``block``, ``pass`` (a slow-down above the tolerance is ruled out) or ``inconclusive``.
    """

    name: str
    value: float
    low: float
    high: float
    standard_error: float
    freedom: float
    p_slower: float
    p_adjusted: float
    level: float
    launches: tuple[int, int]
    detectable: float
    verdict: str


@dataclasses.dataclass(frozen=True, slots=True)
class ReleaseJudgement:
    """The decision, and what it rests on.

    Args:
        overall: geometric mean over the groups, each counting once.
        groups: each group by itself, by name; what blocks is adjusted for their number.
        shared: share of the spread between launches that all groups of a launch have in common, 0 to 1; NaN where there
            is one group.
    """

    overall: Slowdown
    groups: tuple[Slowdown, ...]
    shared: float

    @property
    def verdict(self) -> str:
        """``block`` where anything blocks, else the verdict over all."""
        blocks = any(one.verdict == BLOCK for one in (self.overall, *self.groups))
        return BLOCK if blocks else self.overall.verdict


def judge_release(
    before: Mapping[str, npt.ArrayLike],
    after: Mapping[str, npt.ArrayLike],
    *,
    tolerance: float = 0.05,
    false_block_rate: float = 0.01,
) -> ReleaseJudgement:
    """Decide whether a candidate's slow-down blocks its release.

    A slow-down blocks where it is significant *and* its estimate is above the tolerance; a candidate passes where the
    upper bound of its interval is not above the tolerance; else the launches are too few to tell.

    Args:
        before: of the baseline, for each group (a method) one positive level per launch, in the same order of launches
            in every group; NaN where a launch lacks the group. Less is better.
        after: likewise of the candidate; it may have another number of launches. Groups that only one side has are left
            out.
        tolerance: largest slow-down that never blocks, from 0 to below 1.
        false_block_rate: accepted share of unchanged candidates that are blocked, above 0 and below 0.5. Nine tenths
            are spent on the overall change, one tenth on the groups together.

    Returns:
        The change over all groups and of each one, with 90 % intervals and verdicts. The rate holds where the luck of
        launches differs from method to method, by about the same amount. Simulated with 3 launches a side, 5 methods, a
        rate of 1 % and no tolerance: 0.9 % of unchanged candidates are blocked; 1.5 % where the launches of one method
        differ four times as much; up to 3.3 % where all methods of a launch share half of its luck or more.

    Raises:
        InputError: the sides share no group, a level is not positive, or a rate is out of range.

    Sources: Kalibera and Jones, *Rigorous benchmarking in reasonable time*, ISMM 2013 (launches as units); Box and
    Tiao, *Bayesian Inference in Statistical Analysis*, 1973, chapter 5 (a mean over random effects, weighed); Smyth,
    *Linear models and empirical Bayes methods*, SAGMB 3 (2004) (variances of few launches, moderated by those of the
    other groups).

    >>> before = {"uds": [100, 104, 98], "grpc": [900, 880, 930], "shm": [50, 51, 49]}
    >>> after = {name: [1.3 * level for level in levels] for name, levels in before.items()}
    >>> judge_release(before, after).verdict, judge_release(before, before).overall.value
    ('block', 0.0)
    """
    _check(tolerance, false_block_rate)
    names = sorted(before.keys() & after.keys())
    if not names:
        raise InputError("baseline and candidate have no group in common; measure both with the same scenarios")
    sides = _logs(before, names), _logs(after, names)
    fewest = np.minimum(*(np.isfinite(side).sum(axis=1) for side in sides))
    known = np.asarray(fewest >= FEWEST_LAUNCHES)
    several = len(names) > 1
    of_groups = _SHARE_OF_GROUPS * false_block_rate if several else 0.0
    overall, shared = _overall(sides, known, _Rule(tolerance, false_block_rate - of_groups))
    groups = _groups(names, sides, known, _Rule(tolerance, of_groups)) if several else ()
    return ReleaseJudgement(overall, groups, shared)


def launches_needed(found: Slowdown, slowdown: float, tolerance: float = 0.05) -> int:
    """Launches a side with which a true slow-down would be blocked nine times in ten.

    Args:
        found: what a few launches showed.
        slowdown: such as 0.1 for a tenth slower.
        tolerance: as `judge_release` was given it.

    Returns:
        The number, at least 2; 0 where no number would do (the slow-down is within the tolerance) or nothing is known
        about how launches differ.

    >>> judgement = judge_release({"uds": [100, 104, 98]}, {"uds": [101, 96, 105]})
    >>> launches_needed(judgement.overall, 0.1), launches_needed(judgement.overall, 0.05)
    (6, 0)
    """
    if slowdown <= tolerance or not math.isfinite(found.detectable):
        return 0
    now = 2 / sum(1 / count for count in found.launches)
    rule, launches = _Rule(tolerance, found.level), FEWEST_LAUNCHES
    while launches < _MOST_LAUNCHES:
        scale, freedom = found.standard_error * math.sqrt(now / launches), found.freedom * (launches - 1) / (now - 1)
        if rule.detectable(scale, freedom, found.level) <= slowdown:
            return launches
        launches += 1
    return 0


def _check(tolerance: float, false_block_rate: float) -> None:
    if not 0 <= tolerance < 1:
        raise InputError(f"tolerance == {tolerance}, must be from 0 to below 1, for example 0.05")
    if not 0 < false_block_rate < 0.5:
        raise InputError(f"false_block_rate == {false_block_rate}, must be above 0 and below 0.5, for example 0.01")


def _logs(levels: Mapping[str, npt.ArrayLike], names: list[str]) -> Floats:
    """Logarithms by group and launch."""
    rows = [np.asarray(levels[name], float) for name in names]
    if len({row.shape for row in rows}) > 1 or rows[0].ndim != 1:
        raise InputError("the groups have different numbers of launches; give NaN where a launch lacks a group")
    values = np.stack(rows)
    if (np.isinf(values) | (values <= 0)).any():
        raise InputError("a level is zero, negative or infinite; durations and sizes are positive numbers")
    return np.asarray(np.log(values))


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
    tolerance: float
    level: float

    def verdict(self, value: float, high: float, p_adjusted: float) -> str:
        if p_adjusted <= self.level and value > self.tolerance:  # NaN compares as False
            return BLOCK
        return PASS if high <= self.tolerance else INCONCLUSIVE

    def detectable(self, scale: float, freedom: float, level: float) -> float:
        """The true slow-down that is both significant and above the tolerance nine times in ten."""
        by_chance, significant = -special.stdtrit(freedom, [1 - _POWER, level])
        needed = max(significant * scale, math.log1p(self.tolerance))
        return float(np.expm1(needed + by_chance * scale))


def _unknown(name: str, launches: tuple[int, int], level: float) -> Slowdown:
    nan = math.nan
    return Slowdown(name, nan, -1.0, math.inf, nan, nan, nan, nan, level, launches, math.inf, INCONCLUSIVE)


# --- over all groups --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _Posterior:
    """What is known about a difference of logarithms: Student distributions around it, weighted."""

    difference: float
    scales: Floats
    weights: Floats
    freedom: float

    def below(self, bound: float) -> float:
        """Probability of a difference below `bound`."""
        return float(self.weights @ special.stdtr(self.freedom, (bound - self.difference) / self.scales))

    def bound(self, probability: float) -> float:
        """The difference that the true one is below with a probability."""
        reach = float(-special.stdtrit(self.freedom, min(probability, 1 - probability)) * self.scales.max()) + _ROUNDING
        low, high = self.difference - reach, self.difference + reach
        return float(optimize.brentq(lambda bound: self.below(bound) - probability, low, high, xtol=1e-9))

    @property
    def scale(self) -> float:
        return float(self.weights @ self.scales)


def _overall(sides: tuple[Floats, Floats], known: npt.NDArray[np.bool_], rule: _Rule) -> tuple[Slowdown, float]:
    """The geometric mean over the groups, and the share of the spread that the groups of a launch have in common."""
    first, second = (side[known] for side in sides)
    if not known.any():
        launches = tuple(int(np.isfinite(side).any(axis=0).sum()) for side in sides)
        return _unknown("overall", (launches[0], launches[1]), rule.level), math.nan
    if np.isnan(first).any() or np.isnan(second).any():  # a launch without some groups: only whole launches compare
        first, second = _launch_means(first, second)
    posterior, shared = _posterior(first, second)
    p_slower = posterior.below(0.0)
    value, low, high = np.expm1([posterior.difference, *map(posterior.bound, _TAILS)]).tolist()
    return Slowdown(
        name="overall",
        value=value,
        low=low,
        high=high,
        standard_error=posterior.scale,
        freedom=posterior.freedom,
        p_slower=p_slower,
        p_adjusted=p_slower,
        level=rule.level,
        launches=(first.shape[1], second.shape[1]),
        detectable=rule.detectable(posterior.scale, posterior.freedom, rule.level),
        verdict=rule.verdict(value, high, p_slower),
    ), shared


def _launch_means(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """One row: what the groups of a launch that were measured have in common, relative to each group's middle."""
    middle = ((np.nanmean(first, axis=1) + np.nanmean(second, axis=1)) / 2)[:, None]
    means = []
    for side in (first, second):
        present = np.isfinite(side).any(axis=0)
        means.append(np.nanmean((side - middle)[:, present], axis=0)[None])
    return means[0], means[1]


def _posterior(first: Floats, second: Floats) -> tuple[_Posterior, float]:
    """Weigh how much of the spread between launches their groups share, and give the difference under each amount.

    With groups m of launch l at ``mean + shared_l + own_lm``, the mean square between launches expects
    ``own + groups * shared`` and the mean square within launches ``own``; each ratio of the two gives another Student
    distribution, and a likelihood.
    """
    groups = first.shape[0]
    inverse = 1 / first.shape[1] + 1 / second.shape[1]
    between = sum(float(((side.mean(axis=0) - side.mean()) ** 2).sum()) for side in (first, second)) * groups
    every = [side - side.mean(axis=1, keepdims=True) for side in (first, second)]
    of_groups = sum((deviations**2).sum(axis=1) for deviations in every)
    within = max(float(np.sum(of_groups)) - between, 0.0)
    freedom = float(first.shape[1] + second.shape[1] - 2)
    whole = freedom * groups
    ratios, prior = np.ones(1), np.ones(1)
    if groups > 1:
        ratios = np.geomspace(1, _MOST_SHARED, _SHARED_STEPS)
        prior = np.append(_NONE_SHARED, np.full(_SHARED_STEPS - 1, (1 - _NONE_SHARED) / (_SHARED_STEPS - 1)))
    squares = np.maximum(within + between / ratios, _ROUNDING**2)
    likelihood = np.log(prior) - freedom / 2 * np.log(ratios) - whole / 2 * np.log(squares)
    weights = special.softmax(likelihood)
    scales = np.sqrt(squares / whole * ratios / groups * inverse)
    difference = float(second.mean() - first.mean())
    if abs(difference) < _ROUNDING:
        difference = 0.0
    shared = math.nan if groups == 1 else float(weights @ ((ratios - 1) / (ratios - 1 + groups)))
    return _Posterior(difference, scales, weights, _freedom(of_groups, freedom)), shared


def _freedom(of_groups: Floats, each: float) -> float:
    """Degrees of freedom of a mean of groups that may spread by different amounts (Satterthwaite, without his bias)."""
    fourth = float((of_groups**2).sum())
    most = each * of_groups.size
    return most if fourth == 0 else float(np.clip(of_groups.sum() ** 2 * (each + 2) / fourth, each, most))


# --- group by group ---------------------------------------------------------------------------------------------------


def _groups(
    names: list[str], sides: tuple[Floats, Floats], known: npt.NDArray[np.bool_], rule: _Rule
) -> tuple[Slowdown, ...]:
    counts = np.array([np.isfinite(side).sum(axis=1) for side in sides])
    difference, error, freedom = (np.full(len(names), np.nan) for _ in range(3))
    if known.any():
        first, second = (side[known] for side in sides)
        difference[known] = np.nanmean(second, axis=1) - np.nanmean(first, axis=1)
        each = counts[:, known].sum(axis=0) - 2.0
        squares = sum(np.nansum((side - np.nanmean(side, axis=1)[:, None]) ** 2, axis=1) for side in (first, second))
        variances, freedom[known] = _moderated(np.asarray(squares) / each, each)
        error[known] = np.sqrt(variances * (1 / counts[:, known]).sum(axis=0))
    p_slower = special.stdtr(freedom, -difference / error)
    return tuple(
        _group(name, rule, figures, (int(before), int(after)), rule.level / max(int(known.sum()), 1))
        for name, *figures, before, after in zip(
            names, difference, error, freedom, p_slower, holm(p_slower), *counts, strict=True
        )
    )


def _group(name: str, rule: _Rule, figures: list[float], launches: tuple[int, int], strictest: float) -> Slowdown:
    difference, error, freedom, p_slower, p_adjusted = map(float, figures)
    if math.isnan(difference):
        return _unknown(name, launches, rule.level)
    reach = -special.stdtrit(freedom, _TAILS[0]) * error
    value, low, high = np.expm1([difference, difference - reach, difference + reach]).tolist()
    return Slowdown(
        name=name,
        value=value,
        low=low,
        high=high,
        standard_error=error,
        freedom=freedom,
        p_slower=p_slower,
        p_adjusted=p_adjusted,
        level=rule.level,
        launches=launches,
        detectable=rule.detectable(error, freedom, strictest),
        verdict=rule.verdict(value, high, p_adjusted),
    )


def _moderated(variances: Floats, freedom: Floats) -> tuple[Floats, Floats]:
    """Variances of few launches, drawn towards what is usual in the other groups as far as these agree.

    Returns:
        The variances, and their degrees of freedom, which count what the other groups tell: at most as many as they
        have.
    """
    floor = np.maximum(variances, _ROUNDING**2)
    others = freedom.sum() - freedom
    if floor.size < _FEWEST_TO_MODERATE:
        return floor, freedom
    logs = np.log(floor) - special.digamma(freedom / 2) + np.log(freedom / 2)
    spread = float(logs.var(ddof=1) - special.zeta(2, freedom / 2).mean())
    prior = np.minimum(2 * _trigamma_inverse(spread) if spread > 0 else math.inf, others)
    usual = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    return (prior * usual + freedom * floor) / (prior + freedom), prior + freedom


def _trigamma_inverse(value: float) -> float:
    return float(optimize.brentq(lambda x: special.zeta(2, x) - value, 1e-6, 1e9))  # trigamma is Hurwitz' zeta at 2
