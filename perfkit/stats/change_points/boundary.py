"""How far the largest of all split statistics goes by chance, where the points are independent and normal."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from perfkit.stats.change_points.divisive import FEWEST

__all__ = ["chance_anywhere", "exceeded_with"]

Floats = npt.NDArray[np.float64]

_HIGHEST = 40.0


def chance_anywhere(z: float, n: int) -> float:
    """Probability that the largest of all split statistics of n independent normal points exceeds z.

    Source: James, James and Siegmund, *Tests for a change-point*, Biometrika 74 (1987).

    >>> round(chance_anywhere(3.8, 200), 4)
    0.0049
    """
    if z < 1:
        return 1.0
    share = np.arange(FEWEST, n - FEWEST + 1) / n
    width = share * (1 - share)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    return float(min(1.0, z * density * np.sum(_overshoot(z / np.sqrt(n * width)) / width) / n))


def _overshoot(x: Floats) -> Floats:
    """Correction for a walk that jumps over the boundary instead of touching it."""
    density = np.exp(-x * x / 8) / np.sqrt(2 * np.pi)
    return np.asarray((2 / x) * (ndtr(x / 2) - 0.5) / (x / 2 * ndtr(x / 2) + density), float)


@functools.lru_cache(maxsize=4096)
def exceeded_with(chance: float, n: int) -> float:
    """The statistic that is exceeded anywhere among n independent normal points with this chance.

    >>> round(exceeded_with(0.005, 200), 2)
    3.8
    """
    low, high = 1.0, _HIGHEST
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if chance_anywhere(middle, n) > chance else (low, middle)
    return high
