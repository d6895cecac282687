"""Did something change between two groups of launches? Relative changes, their intervals, verdicts for many at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import stats

from perfkit.stats.corrections import holm
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

__all__ = ["Changes", "common_levels", "compare_launches"]

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-12
"""Differences of logarithms below this are what floating point makes of equal values."""


@dataclasses.dataclass(frozen=True)
class Changes:
    """Relative changes from a group of launches to another; arrays of the same shape, one element per comparison.

    Args:
        value: after / before - 1, of the geometric means of the launches.
        low: lower bound of its interval; -1 where a group has a single launch.
        high: upper bound of its interval; infinite where a group has a single launch.
        p_different: probability of a difference this large if nothing changed; NaN where a group has a single launch.
        p_equivalent: probability of a difference this small if the true change were at the margin or beyond; NaN as
            above.
    """

    value: Floats
    low: Floats
    high: Floats
    p_different: Floats
    p_equivalent: Floats

    def adjusted(self) -> Changes:
        """The same with p-values that allow for the number of comparisons along the last axis: `holm`."""
        return dataclasses.replace(self, p_different=holm(self.p_different), p_equivalent=holm(self.p_equivalent))

    def verdicts(self, alpha: float) -> npt.NDArray[np.str_]:
        """``better`` (smaller) or ``worse`` where a change is significant, ``equivalent`` where one as large as the
        margin is ruled out, else ``inconclusive``: which is not the same as equal.

        Args:
            alpha: share of wrong verdicts to accept, between 0 and 1.

        >>> changes = compare_launches([[10, 11, 10]] * 3, [[20, 21, 20], [10, 11, 10], [9, 12, 14]], margin=0.2)
        >>> changes.adjusted().verdicts(0.05).tolist()
        ['worse', 'equivalent', 'inconclusive']
        """
        is_different = self.p_different <= alpha  # NaN compares as False
        chosen = [is_different & (self.value < 0), is_different & (self.value > 0), self.p_equivalent <= alpha]
        return np.select(chosen, [BETTER, WORSE, EQUIVALENT], INCONCLUSIVE)


def compare_launches(
    before: npt.ArrayLike, after: npt.ArrayLike, *, margin: float, confidence: float = 0.95
) -> Changes:
    """Relative changes between two groups of launches, with Welch's interval and tests on the log scale.

    Args:
        before: positive values, one per launch along the last axis; NaN where a launch has none. A launch of fresh
            processes is one independent experiment, however often it repeats: its median is its value.
        after: as `before`, with the same leading axes; it may have another number of launches.
        margin: largest relative change that does not matter, above 0 and below 1.
        confidence: of the intervals, between 0 and 1.

    Returns:
        The changes, without allowance for how many they are. `p_equivalent` is that of two one-sided tests against
        ``1 - margin`` and ``1 + margin``.

    Sources: Welch, *The generalization of "Student's" problem*, Biometrika 34 (1947); Schuirmann, *A comparison of the
    two one-sided tests procedure*, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).

    >>> change = compare_launches([10.0, 11.0, 10.0], [20.0, 22.0, 21.0], margin=0.05)
    >>> round(float(change.value), 2), bool(change.low < 1 < change.high)
    (1.03, True)
    """
    (n_before, mean_before, squared_before), (n_after, mean_after, squared_after) = map(_moments, (before, after))
    difference = _rounded(mean_after - mean_before)
    squared = squared_before + squared_after
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = squared**2 / (squared_before**2 / (n_before - 1) + squared_after**2 / (n_after - 1))
        freedom = np.where(squared == 0, 1.0, freedom)
        error = np.sqrt(squared)
        too_low, too_high, centre = (
            _statistic(difference - limit, error) for limit in (np.log1p(-margin), np.log1p(margin), 0.0)
        )
    half_width = stats.t.ppf((1 + confidence) / 2, freedom) * error
    is_known = np.isfinite(error)
    return Changes(
        value=np.expm1(difference),
        low=np.where(is_known, np.expm1(difference - half_width), -1.0),
        high=np.where(is_known, np.expm1(difference + half_width), np.inf),
        p_different=np.asarray(2 * stats.t.sf(np.abs(centre), freedom)),
        p_equivalent=np.maximum(stats.t.sf(too_low, freedom), stats.t.cdf(too_high, freedom)),
    )


def common_levels(before: npt.ArrayLike, after: npt.ArrayLike) -> tuple[Floats, Floats]:
    """What each launch has in common over all comparisons: one value per launch, for one comparison of everything.

    Args:
        before: positive values by comparison (first axis) and launch; NaN where a launch has none.
        after: as `before`; it may have another number of launches.

    Returns:
        The level of each launch of `before` and of `after`: the geometric mean of its values, each relative to the
        middle of its comparison, so that a launch that lacks an expensive one does not look fast. NaN for a launch
        without values, and where no comparison has both groups.

    >>> levels = common_levels([[10, 10], [1000, float("nan")]], [[20, 20], [2000, 2000]])
    >>> [level.round(3).tolist() for level in levels]
    [[0.707, 0.707], [1.414, 1.414]]
    """
    first, second = np.log(np.asarray(before, float)), np.log(np.asarray(after, float))
    middle = (_mean(first, axis=1) + _mean(second, axis=1))[:, None] / 2
    return np.exp(_mean(first - middle, axis=0)), np.exp(_mean(second - middle, axis=0))


def _moments(values: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Number of launches, mean of their logarithms, squared standard error of that mean (NaN for one launch)."""
    logs = np.log(np.asarray(values, float))
    n = np.isfinite(logs).sum(axis=-1).astype(float)
    mean = _mean(logs, axis=-1)
    deviations = _rounded(logs - mean[..., None])
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = np.nansum(deviations**2, axis=-1) / (n - 1) / n
    return n, mean, np.where(n > 1, squared, np.nan)


def _mean(values: Floats, axis: int) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nansum(values, axis=axis) / np.isfinite(values).sum(axis=axis))


def _rounded(differences: Floats) -> Floats:
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def _statistic(difference: Floats, error: Floats) -> Floats:
    """Difference over its standard error; without any spread infinite, or 0 where there is no difference."""
    return np.where((error == 0) & (difference == 0), 0.0, difference / error)
