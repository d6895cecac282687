"""Ranks of unit means: by what factor a typical unit changes, whatever a few wild ones do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.stats.experiments.doubts import few_units
from perfkit.stats.experiments.estimates import Estimate, satterthwaite, unknown
from perfkit.stats.experiments.units import Arm

__all__ = ["estimate_rank"]

Floats = npt.NDArray[np.float64]

_METHOD = "Mann-Whitney test on unit means, unequal spreads allowed for"
_STEPS = 60
_ROUNDING = 1e-9


def estimate_rank(control: Arm, variant: Arm, alpha: float = 0.05) -> Estimate:
    """The shift of unit means (Hodges and Lehmann's) with the bounds that a Mann-Whitney test gives it.

    The variance of the test is Brunner and Munzel's, so that variants may differ in spread as well.

    Args:
        control, variant: the arms.
        alpha: the errors are such that Student's interval at this level has the right bounds.

    Returns:
        The estimate, on the log scale where all unit means are above zero; the values are medians of unit means.

    Sources: Hodges and Lehmann, *Estimates of location based on rank tests*, Annals of Mathematical Statistics 34
    (1963); Brunner and Munzel, *The nonparametric Behrens-Fisher problem*, Biometrical Journal 42 (2000).
    """
    if min(control.n_units, variant.n_units) < 2:
        return unknown(control, variant, _METHOD, "not enough data for ranks: a variant has a single unit")
    first, second = np.sort(control.means), np.sort(variant.means)
    medians = float(np.median(first)), float(np.median(second))
    is_log = bool(first[0] > 0 and second[0] > 0)
    if is_log:
        first, second = np.log(first), np.log(second)

    def slower(shift: float) -> float:
        """Share of the pairs in which the variant's unit is the slower one."""
        return int(_places(first, second - shift).sum()) / (2 * first.size * second.size)

    ends = float(second[0] - first[-1]) - 1.0, float(second[-1] - first[0]) + 1.0
    effect = _crossing(slower, 0.5, ends)
    aligned = second - effect
    variances = _spread(aligned, first), _spread(first, aligned)
    freedom = satterthwaite(variances, (first.size - 1.0, second.size - 1.0))
    reach = float(special.stdtrit(freedom, 1 - alpha / 2))
    width = reach * math.sqrt(sum(variances))
    low, high = _crossing(slower, 0.5 + width, ends), _crossing(slower, 0.5 - width, ends)
    below, above = ((one + _ROUNDING) / reach for one in (effect - low, high - effect))
    return Estimate(
        control_value=medians[0],
        variant_value=medians[1],
        effect=effect,
        standard_error=(below + above) / 2,
        error_below=below,
        error_above=above,
        freedom=freedom,
        units_control=control.n_units,
        units_variant=variant.n_units,
        n_rows=control.n_rows + variant.n_rows,
        method=_METHOD,
        is_log=is_log,
        warnings=few_units(control.n_units, variant.n_units),
    )


def _places(ordered: Floats, values: Floats) -> npt.NDArray[np.int64]:
    """For each value twice how many of `ordered` are smaller, ties by half: whole numbers, which add up exactly."""
    return np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")


def _spread(ordered: Floats, values: Floats) -> float:
    """Variance of the mean of each value's share of `ordered` that is smaller."""
    return float(_places(ordered, values).var(ddof=1)) / (2 * ordered.size) ** 2 / values.size


def _crossing(share: Callable[[float], float], level: float, ends: tuple[float, float]) -> float:
    """Where a falling step function passes a level: the middle of where it equals it."""
    sides = []
    for above in (True, False):
        low, high = ends
        for _ in range(_STEPS):
            middle = (low + high) / 2
            is_left = share(middle) > level if above else share(middle) >= level
            low, high = (middle, high) if is_left else (low, middle)
        sides.append((low + high) / 2)
    found = sum(sides) / 2
    return 0.0 if abs(found) < _ROUNDING else found
