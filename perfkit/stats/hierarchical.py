"""Estimates from nested repetitions: rounds within launches of fresh processes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["Estimate", "median_of_launches", "ratio_of_groups", "ratio_of_launches"]

_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, the number of rounds and of launches behind it."""

    value: float
    low: float
    high: float
    n: int
    launches: int

    @property
    def relative_half_width(self) -> float:
        """The wider side of the interval, relative to the value; infinite where the interval is unknown."""
        if self.low <= 0:
            return math.inf
        return max(self.high / self.value, self.value / self.low) - 1


def median_of_launches(launches: Sequence[npt.ArrayLike]) -> Estimate:
    """What one round typically shows, and how sure a few launches make of it.

    Args:
        launches: for each launch the median of every round, positive.

    Returns:
        The geometric mean of the launches' medians with Student's interval over the launches, on the log scale. A
        launch is one independent experiment, however many rounds it has: a bootstrap over launches *and* rounds counts
        the rounds' noise twice and covers 100 % instead of 95 % when launches differ little. With a single launch the
        interval is over its rounds and says nothing about other launches; with a single round it is unknown: 0 to
        infinity.

    Source: Kalibera and Jones, *Rigorous benchmarking in reasonable time*, ISMM 2013; Davison and Hinkley, *Bootstrap
    Methods and their Application*, 1997, section 3.8.

    >>> estimate = median_of_launches([[10, 11, 12], [9, 10, 11], [10, 10, 12]])
    >>> round(estimate.value, 2), estimate.low < 10 < estimate.high, estimate.n
    (10.32, True, 9)
    """
    rounds = [np.log(np.asarray(values, float)) for values in launches if np.size(values)]
    units = np.array([np.median(values) for values in rounds]) if len(rounds) > 1 else rounds[0]
    value = float(np.mean(units) if len(rounds) > 1 else np.median(units))
    half_width = math.inf
    if len(units) > 1:
        quantile = stats.t.ppf((1 + _CONFIDENCE) / 2, len(units) - 1)
        half_width = float(quantile * np.std(units, ddof=1) / np.sqrt(len(units)))
    middle, low, high = np.exp([value, value - half_width, value + half_width]).tolist()
    return Estimate(middle, low, high, n=sum(map(len, rounds)), launches=len(rounds))


def ratio_of_launches(numerator: Sequence[npt.ArrayLike], denominator: Sequence[npt.ArrayLike]) -> Estimate:
    """Ratio of two things that were measured in the same rounds: paired, so that what slows both cancels.

    Args:
        numerator, denominator: for each launch the medians of the same rounds, in the same order.

    >>> round(ratio_of_launches([[20, 22]], [[10, 11]]).value, 6)
    2.0
    """
    pairs = zip(numerator, denominator, strict=True)
    return median_of_launches([np.asarray(above, float) / np.asarray(below, float) for above, below in pairs])


def ratio_of_groups(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> Estimate:
    """Ratio of the geometric means of two independent groups, with Welch's interval on the log scale.

    Args:
        numerator, denominator: positive values. With a single value in a group the interval is unknown: 0 to infinity.

    >>> estimate = ratio_of_groups([22, 20, 21], [10, 11, 10])
    >>> round(estimate.value, 2), estimate.low < 2 < estimate.high
    (2.03, True)
    """
    above, below = np.log(np.asarray(numerator, float)), np.log(np.asarray(denominator, float))
    value = float(np.exp(above.mean() - below.mean()))
    n = above.size + below.size
    if min(above.size, below.size) < 2:
        return Estimate(value, 0.0, float("inf"), n, 1)
    if above.std() == below.std() == 0:
        return Estimate(value, value, value, n, 1)
    interval = stats.ttest_ind(above, below, equal_var=False).confidence_interval(_CONFIDENCE)
    return Estimate(value, float(np.exp(interval.low)), float(np.exp(interval.high)), n, 1)
