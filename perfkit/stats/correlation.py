"""Rank correlation with an interval that respects clusters."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from perfkit.errors import InputError

__all__ = ["Correlation", "rank_correlation"]

Floats = npt.NDArray[np.float64]

_CONFIDENCE = 0.95
_FEWEST_PAIRS = 5  # with fewer the interval reaches from -1 to 1 whatever the pairs are
_LARGEST = 1 - 1e-9  # Fisher's transformation of 1 is infinite


@dataclasses.dataclass(frozen=True, slots=True)
class Correlation:
    """Spearman's rank correlation with its 95 % interval.

    Args:
        value: between -1 and 1; NaN where one of the two does not vary or there are too few pairs.
        low, high: bounds of the interval; NaN likewise.
        n: pairs.
        clusters: independent figures that the interval is over; 1 where it is over the pairs.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int

    @property
    def is_known(self) -> bool:
        """Whether there is a figure."""
        return not math.isnan(self.value)

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def rank_correlation(
    first: npt.ArrayLike, second: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None
) -> Correlation:
    """How far two quantities rise and fall together, whatever the shape of their relation.

    Args:
        first, second: pairs of numbers; pairs in which one is NaN are left out.
        clusters: for each pair the cluster that it belongs to, such as its launch. The correlation is then that of a
            typical cluster, with Student's interval over the clusters after Fisher's transformation. With one cluster,
            or none given, pairs are taken for independent.

    Returns:
        The correlation. It says nothing about causes.

    Raises:
        InputError: the lengths differ.

    Sources: Bonett and Wright, *Sample size requirements for estimating Pearson, Kendall and Spearman correlations*,
    Psychometrika 65 (2000), for the interval over pairs; Fisher (1921) for the transformation.

    >>> found = rank_correlation([1, 2, 3, 4, 5, 6], [1, 4, 9, 16, 25, 36])
    >>> round(found.value, 6), found.n, found.is_clear
    (1.0, 6, True)
    >>> rank_correlation([1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6]).is_known
    False
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    labels = np.zeros(one.shape, np.int64) if clusters is None else np.asarray(clusters)
    if not one.shape == other.shape == labels.shape:
        raise InputError(f"{one.size} and {other.size} values for {labels.size} clusters; give as many of each")
    known = ~(np.isnan(one) | np.isnan(other))
    one, other, labels = one[known], other[known], labels[known]
    pairs = [(one[labels == label], other[labels == label]) for label in np.unique(labels)]
    found = [(rank, left.size) for left, right in pairs if not math.isnan(rank := _spearman(left, right))]
    n = sum(size for _, size in found)
    if not found:
        return Correlation(math.nan, math.nan, math.nan, int(known.sum()), 0)
    scores = np.arctanh(np.clip([rank for rank, _ in found], -_LARGEST, _LARGEST))
    score = float(scores.mean())
    reach = _reach_over_pairs(score, n) if len(found) == 1 else _reach_over_clusters(scores)
    return Correlation(math.tanh(score), math.tanh(score - reach), math.tanh(score + reach), n, len(found))


def _spearman(left: Floats, right: Floats) -> float:
    if left.size < _FEWEST_PAIRS or np.ptp(left) == 0 or np.ptp(right) == 0:
        return math.nan
    return float(stats.spearmanr(left, right).statistic)


def _reach_over_pairs(score: float, n: int) -> float:
    variance = (1 + math.tanh(score) ** 2 / 2) / (n - 3)
    return float(stats.norm.ppf((1 + _CONFIDENCE) / 2)) * math.sqrt(variance)


def _reach_over_clusters(scores: Floats) -> float:
    quantile = stats.t.ppf((1 + _CONFIDENCE) / 2, scores.size - 1)
    return float(quantile * scores.std(ddof=1) / math.sqrt(scores.size))
