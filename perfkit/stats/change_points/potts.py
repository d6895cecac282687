"""L1 Potts: the levels that fit a whole series best, when every jump costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["potts_fit"]

Floats = npt.NDArray[np.float64]

_MOST_LEVELS = 256


def potts_fit(values: Floats, weights: Floats, penalty: float) -> Floats:
    """The piecewise constant series closest to `values` in the sum of absolute deviations, when every jump costs.

    Minimises ``sum(weights * abs(values - fit)) + penalty * jumps``. A level of the best fit is one of the values, so
    the search over levels is exact up to 256 different values; above that, it takes as many quantiles.

    Args:
        values: the series.
        weights: of its points.
        penalty: cost of one jump, in the unit of the values.

    Returns:
        The fitted level at each point.

    Source: Storath, Weinmann and Unser, *Jump-penalized least absolute values estimation of scalar or circle-valued
    signals*, Information and Inference 6 (2017).

    >>> potts_fit(np.array([1.0, 1.1, 1.0, 1.0, 2.0, 2.1, 2.0, 2.0]), np.ones(8), 1.5).tolist()
    [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    """
    levels = np.unique(values)
    if levels.size > _MOST_LEVELS:
        levels = np.unique(np.quantile(values, np.linspace(0, 1, _MOST_LEVELS), method="nearest"))
    n = values.size
    jumped = np.zeros((n, levels.size), bool)
    cheapest = np.zeros(n, np.int64)
    cost = weights[0] * np.abs(values[0] - levels)
    for index in range(1, n):
        cheapest[index] = cost.argmin()
        change = cost[cheapest[index]] + penalty
        jumped[index] = cost > change
        cost = np.minimum(cost, change) + weights[index] * np.abs(values[index] - levels)
    fitted = np.empty(n)
    level = int(cost.argmin())
    for index in range(n - 1, -1, -1):
        fitted[index] = levels[level]
        if jumped[index, level]:
            level = int(cheapest[index])
    return fitted
