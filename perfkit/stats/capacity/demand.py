"""Demand over time: what comes next, with bands that backtests back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.capacity.backtest import Backtest, backtest, bands, coverage
from perfkit.stats.capacity.demand_models import BASELINE, forecasts
from perfkit.stats.capacity.demand_result import DemandForecast, DemandPoint
from perfkit.stats.capacity.seasons import (
    candidate_periods,
    grows_with_level,
    repeating_periods,
    season_filled,
    supported_periods,
)
from perfkit.stats.capacity.series import EvenSeries, even_series
from perfkit.tables import plural

__all__ = ["DemandForecast", "DemandPoint", "forecast_demand"]

Array = npt.NDArray[np.float64]

_DAY_S = 86_400.0
_MOST_MODELLED = 4032
"""Newest steps that the models see: two weeks of 5 minutes, half a year of hours."""
_FEW_ORIGINS = 8
_USUAL_OF_INDEX = 48


def forecast_demand(
    times: Sequence[Any] | npt.NDArray[Any],
    values: Sequence[Any] | npt.NDArray[Any],
    *,
    horizon: int | None = None,
    level: float = 0.90,
    period: int | Sequence[int] | None = None,
    seed: int = 0,
) -> DemandForecast:
    """Forecast a series from its level, trend and seasons.

    A decomposition with smoothing, harmonics with autoregressive errors, the usual cycle with a damped trend, and
    their median are compared with the seasonal naive forecast from up to 18 earlier origins; the best is used. Bands
    are quantiles of the errors that it made there, so they hold without assumptions about the noise.

    Args:
        times: datetimes, ISO text, or seconds to nanoseconds since 1970; in any order, at even steps up to gaps.
        values: demand at these times: requests per second, bytes, users.
        horizon: steps ahead, 1 or more and at most the length of the series; default: two days, 28 days of daily
            values, 48 of an index, at most a quarter of the series.
        level: share of values between the bounds of a band, 0.5 to 0.99.
        period: steps of one season, or several; default: day and week (of weekly values: year) where the series
            shows them; otherwise, and of times without a calendar, what repeats in it.
        seed: moves the origins of the backtest a little.

    Returns:
        The forecast, with its error relative to the seasonal naive forecast and how often its bands held.

    Raises:
        InputError: an argument is out of range, or `even_series` refuses the series.

    Source: Hyndman & Koehler (2006), Another look at measures of forecast accuracy (MASE); Bandara, Hyndman &
    Bergmeir (2021), MSTL; Vovk, Gammerman & Shafer (2005), Algorithmic Learning in a Random World (ranks).

    >>> hours = np.arange(24 * 6)
    >>> noise = np.random.default_rng(1).normal(0, 5, len(hours))
    >>> found = forecast_demand(1.77e9 + 3600 * hours, 100 + 50 * np.sin(hours * np.pi / 12) + noise)
    >>> found.periods, len(found.points), found.mase < 0.9, found.coverage_backtest > 0.8
    ((24,), 36, True, True)
    """
    _check(horizon, level, seed)
    series = even_series(times, values)
    said = list(series.warnings)
    series = _newest(series, said)
    n = len(series.values)
    steps = _steps_ahead(horizon, series)
    if np.ptp(series.values) == 0:
        return _constant(series, steps, level, said)
    periods, remarks = _periods(period, series, steps)
    said += remarks
    raw = season_filled(series.values, series.observed, periods[0]) if periods else series.values
    logged = grows_with_level(raw, periods)
    scaled = np.log(raw) if logged else raw
    shortest = _shortest_history(n, periods)
    tested = max(1, min(steps, n - shortest, max(1, (n - shortest) * 2 // 3)))
    found = backtest(scaled, series.observed, periods, tested, shortest, seed)
    return _assemble(series, raw, scaled, logged, periods, steps, level, found, said)


def _check(horizon: int | None, level: float, seed: int) -> None:
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1):
        raise InputError(f"horizon == {horizon!r}, must be a whole number of steps, 1 or more")
    if not isinstance(level, int | float) or not 0.5 <= level <= 0.99:
        raise InputError(f"level == {level!r}, must be from 0.5 to 0.99")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed == {seed!r}, must be a whole number, 0 or more")


def _newest(series: EvenSeries, said: list[str]) -> EvenSeries:
    n = len(series.values)
    if n <= _MOST_MODELLED:
        return series
    said.append(f"of {n} steps the newest {_MOST_MODELLED} were used")
    return series.newest(_MOST_MODELLED)


def _steps_ahead(horizon: int | None, series: EvenSeries) -> int:
    n = len(series.values)
    if horizon is None:
        usual = 28 if series.step_s >= _DAY_S else max(1, round(2 * _DAY_S / series.step_s))
        usual = _USUAL_OF_INDEX if series.is_index else usual
        return max(1, min(usual, n // 4))
    if horizon > n:
        raise InputError(f"horizon == {horizon} steps, must be at most the {n} steps of the series; forecast less far")
    return horizon


def _periods(given: int | Sequence[int] | None, series: EvenSeries, horizon: int) -> tuple[tuple[int, ...], list[str]]:
    if given is None:
        candidates = () if series.is_index else candidate_periods(series.step_s)
        found, remarks = supported_periods(series.values, candidates, horizon)
        return found or repeating_periods(series.values), remarks
    asked = [given] if isinstance(given, int) else list(given)
    for one in asked:
        if isinstance(one, bool) or not isinstance(one, int | np.integer) or not 2 <= one <= len(series.values) // 2:
            raise InputError(f"period == {one!r}, must be from 2 to half of the {len(series.values)} steps")
    return tuple(sorted({int(one) for one in asked})), []


def _shortest_history(n: int, periods: tuple[int, ...]) -> int:
    """Least history of a backtest: two cycles where the series has three, never less than one and a bit."""
    if not periods:
        return max(6, n // 3)
    longest = periods[-1]
    cycles = 2 * longest + periods[0] if n >= 3 * longest else longest + periods[0]
    return min(max(cycles, n // 3), n - 1)


def _assemble(
    series: EvenSeries,
    raw: Array,
    scaled: Array,
    logged: bool,
    periods: tuple[int, ...],
    steps: int,
    level: float,
    found: Backtest,
    said: list[str],
) -> DemandForecast:
    ahead, remarks = forecasts(scaled, periods, steps)
    method = found.chosen if found.chosen in ahead else BASELINE
    errors = found.errors[method]
    low, high = _stretched(*bands(errors, level, periods[0] if periods else 1), steps)
    back = np.exp if logged else np.asarray
    lines = [back(ahead[method]), back(ahead[method] + np.minimum(low, 0)), back(ahead[method] + np.maximum(high, 0))]
    if np.all(raw >= 0):
        lines = [np.maximum(one, 0.0) for one in lines]
    n = len(raw)
    points = tuple(
        DemandPoint(series.time(n + step), float(lines[0][step]), float(lines[1][step]), float(lines[2][step]))
        for step in range(steps)
    )
    scale = _naive_error(raw, series.observed, periods[-1] if periods else 1)
    mase = _scaled_error(raw, scaled, logged, found, method, scale)
    said += _cautions(errors, steps, found, remarks, mase)
    one_sided = int(np.sum((low >= 0) | (high <= 0)))
    if one_sided and len(found.origins) < _FEW_ORIGINS:
        said.append(
            f"at {one_sided} of {plural(steps, 'step')} all errors were on one side, so that the band ends at the "
            f"forecast itself: from {plural(len(found.origins), 'earlier forecast')} it is hardly a {level:.0%} band"
        )
    return DemandForecast(
        points=points,
        mase=mase,
        mase_naive=_scaled_error(raw, scaled, logged, found, BASELINE, scale),
        coverage_backtest=coverage(errors, found.origins, level, periods[0] if periods else 1),
        periods=periods,
        method=_named(method, logged),
        n=int(series.observed.sum()),
        origins=len(found.origins),
        level=level,
        step_s=series.step_s,
        last_time=series.time(n - 1),
        last_value=float(raw[-1]),
        logged=logged,
        errors=errors,
        warnings=tuple(dict.fromkeys(said)),
    )


def _named(method: str, logged: bool) -> str:
    return f"{method} (of logarithms)" if logged else method


def _stretched(low: Array, high: Array, steps: int) -> tuple[Array, Array]:
    """Bands beyond the backtested steps grow with the square root of time, as those of a random walk."""
    tested = len(low)
    if tested >= steps:
        return low[:steps], high[:steps]
    growth = np.sqrt(np.arange(tested + 1, steps + 1) / tested)
    return np.r_[low, low[-1] * growth], np.r_[high, high[-1] * growth]


def _cautions(errors: Array, steps: int, found: Backtest, remarks: set[str], mase: float) -> list[str]:
    said = []
    if mase > 1:
        said.append(f"mase is {mase:.2f}: no better than repeating the last season was within the series")
    if errors.shape[1] < steps:
        said.append(
            f"only {errors.shape[1]} of {steps} steps ahead could be backtested; bands beyond them are extrapolated"
        )
    if len(found.origins) < _FEW_ORIGINS:
        said.append(f"the bands rest on {plural(len(found.origins), 'earlier forecast')}; give a longer series")
    if found.chosen == BASELINE:
        said.append("no model was better than repeating the last cycle")
    return said + sorted(found.said | remarks)


def _naive_error(raw: Array, observed: npt.NDArray[np.bool_], period: int) -> float:
    both = observed[period:] & observed[:-period]
    change = np.abs(raw[period:] - raw[:-period])[both]
    return float(change.mean()) if len(change) else math.nan


def _scaled_error(raw: Array, scaled: Array, logged: bool, found: Backtest, method: str, scale: float) -> float:
    if not scale > 0:
        return math.nan
    absolute = []
    for origin, errors in zip(found.origins.astype(int), found.errors[method], strict=True):
        actual = raw[origin : origin + len(errors)]
        predicted = np.exp(scaled[origin : origin + len(errors)] - errors) if logged else actual - errors
        absolute.append(np.abs(actual - predicted))
    known = np.concatenate(absolute)
    known = known[np.isfinite(known)]
    return float(known.mean()) / scale if len(known) else math.nan


def _constant(series: EvenSeries, steps: int, level: float, said: list[str]) -> DemandForecast:
    value, n = float(series.values[0]), len(series.values)
    return DemandForecast(
        points=tuple(DemandPoint(series.time(n + step), value, value, value) for step in range(steps)),
        mase=math.nan,
        mase_naive=math.nan,
        coverage_backtest=math.nan,
        periods=(),
        method="constant",
        n=int(series.observed.sum()),
        origins=0,
        level=level,
        step_s=series.step_s,
        last_time=series.time(n - 1),
        last_value=value,
        logged=False,
        errors=np.zeros((1, steps)),
        warnings=(*said, f"every value is {value:g}: the bands say nothing about a change"),
    )
