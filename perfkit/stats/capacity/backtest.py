"""How far forecasts were off, from many earlier origins, and the bands that follow from it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from perfkit.stats.capacity.demand_models import BASELINE, COMBINED, forecasts

__all__ = ["Backtest", "backtest", "bands", "coverage"]

Array = npt.NDArray[np.float64]

_ORIGINS = 18
_SPARED = 0.98
"""The median of the models is kept unless a single one is better by more than this: it fails less."""
_FEWEST_APART = 4


@dataclasses.dataclass(frozen=True)
class Backtest:
    """Errors of every forecaster from rolling origins.

    Args:
        origins: length of the history that each forecast was made from.
        errors: actual - forecast by forecaster, shape (origins, horizon), on the scale of the models; NaN where
            nothing was observed.
        chosen: the forecaster with the smallest mean absolute error.
        said: which fits did not converge or failed.
    """

    origins: Array
    errors: Mapping[str, Array]
    chosen: str
    said: frozenset[str]


def backtest(
    values: Array, observed: npt.NDArray[np.bool_], periods: tuple[int, ...], horizon: int, shortest: int, offset: int
) -> Backtest:
    """Forecast from up to 18 earlier origins, each with what was known then, and compare with what came.

    Args:
        values: the series on the scale of the models.
        observed: which values were given; the others judge nothing.
        periods: seasons in steps.
        horizon: steps ahead.
        shortest: least history of a forecast.
        offset: where in the span between two origins the first lies, 0 or more (a seed).
    """
    last = len(values) - horizon
    span = last - shortest
    count = max(1, min(_ORIGINS, span + 1))
    origins = np.unique(np.rint(last - np.linspace(0, span, count)).astype(int)) if span > 0 else np.array([last])
    if len(origins) > 2 and offset:
        origins = np.unique(np.r_[np.maximum(origins[:-1] - offset % np.diff(origins).min(), shortest), last])
    rows: dict[str, list[Array]] = {}
    said: set[str] = set()
    for origin in origins:
        found, remarks = forecasts(values[:origin], periods, horizon)
        said |= remarks
        known = observed[origin : origin + horizon]
        actual = np.where(known, values[origin : origin + horizon], np.nan)
        for name, ahead in found.items():
            rows.setdefault(name, []).append(actual - ahead)
    errors = {name: np.array(one) for name, one in rows.items() if len(one) == len(origins)}
    means = {
        name: float(np.nanmean(np.abs(one))) if np.isfinite(one).any() else math.inf for name, one in errors.items()
    }
    best = min(means, key=lambda name: means[name])
    chosen = COMBINED if COMBINED in means and means[best] >= _SPARED * means[COMBINED] else best
    if means[chosen] >= means[BASELINE]:
        chosen = BASELINE
    return Backtest(origins.astype(np.float64), errors, chosen, frozenset(said))


def _mean_absolute(errors: Array) -> float:
    return float(np.nanmean(np.abs(errors))) if np.isfinite(errors).any() else math.inf


def bands(errors: Array, level: float, season: int) -> tuple[Array, Array]:
    """Bounds of the error at every step ahead.

    Errors of neighbouring steps are pooled. Each tail has its own quantile, with the rank of a finite sample.

    Args:
        errors: shape (origins, horizon); NaN is left out.
        level: share of errors between the bounds.
        season: shortest season in steps; steps further apart are not pooled.

    Returns:
        Lowest and highest, one per step. Where the errors are too few for the level, the extremes.

    >>> low, high = bands(np.arange(-50.0, 51.0)[:, None], 0.9, 1)
    >>> low, high
    (array([-46.]), array([46.]))
    """
    horizon = errors.shape[1]
    low, high = np.empty(horizon), np.empty(horizon)
    for step in range(horizon):
        width = min(step // 2, max(1, season // 2)) if horizon > 1 else 0
        pooled = errors[:, max(0, step - width) : min(horizon, step + width + 1)]
        low[step], high[step] = _tails(np.sort(pooled[np.isfinite(pooled)]), level)
    return low, high


def _tails(ordered: Array, level: float) -> tuple[float, float]:
    n = len(ordered)
    if not n:
        return -math.inf, math.inf
    tail = (1 - level) / 2
    low = max(1, math.floor((n + 1) * tail))
    return float(ordered[low - 1]), float(ordered[n - low])


def coverage(errors: Array, origins: Array, level: float, season: int) -> float:
    """Share of errors within bands that were made from other origins.

    The band of an origin is made from those whose targets do not overlap with its own, or, where these are fewer than
    four, from all others.
    """
    horizon = errors.shape[1]
    inside = total = 0
    for index, origin in enumerate(origins):
        apart = np.abs(origins - origin) >= horizon
        others = apart if apart.sum() >= _FEWEST_APART else np.arange(len(origins)) != index
        if not others.any():
            return math.nan
        low, high = bands(errors[others], level, season)
        known = np.isfinite(errors[index])
        inside += int(np.sum((errors[index] >= low)[known] & (errors[index] <= high)[known]))
        total += int(known.sum())
    return inside / total if total else math.nan
