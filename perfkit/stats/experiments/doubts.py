"""What makes a test on unit means hard to believe: too few units, no noise at all, a lopsided or a lonely few."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["FEW_UNITS", "few_units", "of_influences"]

Floats = npt.NDArray[np.float64]

FEW_UNITS = 30
"""Units of a variant below which the noise between units is not known well."""
_SKEWNESS = 0.2
"""Skewness of the estimate's error at which an interval of 95 % misses on one side in about 4 %, on the other
in 1 %."""
_DOMINATED = 0.25
"""Share of the noise that comes from one unit."""


def few_units(control: int, variant: int) -> tuple[str, ...]:
    """A warning where a variant has few units.

    >>> few_units(12, 40)
    ('a variant has 12 units; below 30 the noise between units is not known well',)
    """
    fewest = min(control, variant)
    if fewest >= FEW_UNITS:
        return ()
    return (f"a variant has {fewest} units; below {FEW_UNITS} the noise between units is not known well",)


def of_influences(control: Floats, variant: Floats) -> tuple[str, ...]:
    """Warnings about how the units make up an effect.

    Args:
        control: for each unit of the control its distance from the mean, as a share of the mean.
        variant: likewise.
    """
    doubts = few_units(control.size, variant.size)
    squares = [one @ one / one.size**2 for one in (control, variant)]
    total = float(sum(squares))
    if total <= 0:
        return (*doubts, "all units of a variant have the same value: without noise, there is nothing to test by")
    largest = max(float(np.max(np.abs(one))) ** 2 / one.size**2 for one in (control, variant))
    if largest / total > _DOMINATED:
        doubts = (*doubts, f"a single unit makes {largest / total:.0%} of the noise; look at it")
    cubes = [float(np.sum(one**3)) / one.size**3 for one in (control, variant)]
    skewness = abs(cubes[1] - cubes[0]) / math.sqrt(total) ** 3
    if skewness > _SKEWNESS:
        doubts = (
            *doubts,
            f"the units are heavily skewed (skewness {skewness:.2f} of the effect): an interval misses on one side "
            "more often than on the other; more units help",
        )
    return doubts
