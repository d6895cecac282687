"""Autocorrelation that many short series share, and what it leaves of a change in one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import rankdata
from scipy.stats import t as student

__all__ = ["FEWEST_SERIES", "chance_of_change", "pooled_correlation"]

Floats = npt.NDArray[np.float64]

FEWEST_SERIES = 10
"""Series that are pooled at least; fewer say little more than one."""
_FEWEST_POINTS = 10
_LARGEST = 0.9


def pooled_correlation(series: Sequence[Floats], changes: Sequence[Sequence[int]]) -> float:
    """Autocorrelation at lag 1 of many series together.

    One series of 30 points knows its own only to ±0.18, and from a series with much of it a level is easily imagined; a
    hundred series of one lake know what they have in common to ±0.02.

    Args:
        series: values in order of time, above 0.
        changes: of each, where its levels begin after the first; each level is taken out.

    Returns:
        From 0 to 0.9, corrected for what is lost with the levels; 0 for fewer than 10 series of 10 points.

    Source: Marriott and Pope, *Bias in the estimation of autocorrelations*, Biometrika 41 (1954).

    >>> rng = np.random.default_rng(1)
    >>> round(pooled_correlation([rng.lognormal(0, 0.1, 30) for _ in range(200)], [()] * 200), 1)
    0.0
    """
    found = [_lag_one(values, places) for values, places in zip(series, changes, strict=True)]
    known = [(raw, n, levels) for raw, n, levels in found if n >= _FEWEST_POINTS]
    if len(known) < FEWEST_SERIES:
        return 0.0
    raws, sizes, levels = (np.array(column, float) for column in zip(*known, strict=True))
    raw, lost = np.average(raws, weights=sizes), np.average(levels / sizes, weights=sizes)
    # A mean that is taken out costs (1 + 3 phi) / n of phi, as far as phi itself is concerned to first order.
    return float(np.clip((raw + lost) / (1 - 3 * min(lost, 0.2)), 0.0, _LARGEST))


def _lag_one(values: Floats, places: Sequence[int]) -> tuple[float, int, int]:
    parts = np.split(np.log(values), list(places))
    residuals = np.concatenate([part - part.mean() for part in parts])
    scores = _scores(residuals) if residuals.any() else residuals
    total = float(scores @ scores)
    # A constant series has no autocorrelation: it counts as one without points.
    return (float(scores[1:] @ scores[:-1]) / total, values.size, len(parts)) if total else (0.0, 0, len(parts))


def chance_of_change(values: Floats, place: int, correlation: float) -> float:
    """Probability that a series without a change has a step this clear at any of its places.

    Student's test of the normal scores on both sides at the effective number of points, times the number of places.

    Args:
        values: both levels, in order of time, above 0.
        place: where the second begins, from 1 to one less than the number of values.
        correlation: autocorrelation at lag 1 within the levels, 0 up to less than 1.

    >>> values = np.concatenate((np.linspace(1.0, 1.2, 15), np.linspace(1.1, 1.3, 15)))
    >>> chance_of_change(values, 15, 0.0) < 0.01 < chance_of_change(values, 15, 0.5)
    True
    """
    scores = _scores(values)
    before, after = scores[:place], scores[place:]
    inflation = (1 + correlation) / (1 - correlation)
    freedom = max(values.size / inflation - 2, 1.0)
    squares = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
    # Correlated points are nearer to their own mean than to the true level.
    spread = math.sqrt(squares / max(values.size - 2 * inflation, 1.0))
    if spread == 0:
        return 0.0 if before.mean() != after.mean() else 1.0
    error = spread * math.sqrt(inflation * (1 / before.size + 1 / after.size))
    t = abs(float(after.mean() - before.mean())) / error
    return float(min(1.0, 2 * student.sf(t, freedom) * (values.size - 1)))


def _scores(values: Floats) -> Floats:
    """What independent normal values of these ranks would be: a spike weighs no more than the largest."""
    return np.asarray(ndtri((rankdata(values) - 0.5) / values.size), float)
