"""A level that wanders off without a step: no change point, and not what people mean by "no change" either."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfkit.stats.change_points.divisive import inflation_of, normal_scores
from perfkit.stats.change_points.levels import level

__all__ = ["drift"]

Floats = npt.NDArray[np.float64]

_CLEAR = 5.0
"""Standard errors, at the effective number of points, from which on a slope is one."""


def drift(logs: Floats, minimum_change: float) -> float | None:
    """Relative change from the first to the last fifth of a series, where ranks rise or fall steadily; else None.

    Args:
        logs: logarithms of at least ten points.
        minimum_change: smallest relative change that counts.

    >>> drift(np.log(np.linspace(100, 110, 100)), 0.05)
    0.08...
    >>> drift(np.log([100.0, 101.0, 99.0, 100.0] * 10), 0.05)
    """
    n = logs.size
    time = np.arange(n) - (n - 1) / 2
    scores = normal_scores(logs)
    slope = float(scores @ time) / float(time @ time)
    residuals = scores - slope * time
    variance = float(residuals @ residuals) / (n - 2) * float(inflation_of(residuals)) / float(time @ time)
    fifth = n // 5
    change = level(np.exp(logs[-fifth:])) / level(np.exp(logs[:fifth])) - 1
    return change if abs(slope) > _CLEAR * variance**0.5 and abs(change) >= minimum_change else None
