"""Forecasters of one series at even steps: the last cycle again, decomposition, harmonics, the usual cycle."""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["BASELINE", "COMBINED", "FORECASTERS", "clipped", "forecasts", "seasonal_naive"]

Array = npt.NDArray[np.float64]

_WINDOW = 35
"""Cycles over which a season may change: traffic keeps its hours for months."""
BASELINE = "seasonal naive"
COMBINED = "median of the models"
_HARMONICS = 8
"""Pairs of sine and cosine per season: enough for a working day, few enough for two cycles."""
_CLIP = 5.0
_FEWEST_CYCLES = 2
_FEWEST_HEURISTIC = 10


def seasonal_naive(values: Array, periods: tuple[int, ...], horizon: int) -> Array:
    """The last cycle again and again.

    >>> seasonal_naive(np.array([1.0, 2.0, 3.0, 4.0]), (2,), 3)
    array([3., 4., 3.])
    """
    period = periods[-1] if periods else 1
    return np.asarray(values[len(values) - period + np.arange(horizon) % period])


def _decomposed(values: Array, periods: tuple[int, ...], horizon: int) -> Array:
    """Seasons by MSTL, continued as their last cycle; what remains by simple exponential smoothing."""
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing
    from statsmodels.tsa.seasonal import MSTL

    usable = tuple(one for one in periods if len(values) > _FEWEST_CYCLES * one)
    ahead, rest = np.zeros(horizon), values
    if usable:
        # Loess at every step takes ten times as long, for a curve that differs by less than its noise.
        jumps = {"seasonal_jump": 4, "trend_jump": usable[0], "low_pass_jump": max(1, usable[0] // 2)}
        # A second pass over the seasons takes as long again, and moves them by less than their noise.
        windows = [_WINDOW] * len(usable)
        fitted = MSTL(values, periods=usable, windows=windows, iterate=1, stl_kwargs=jumps).fit()
        for period, season in zip(usable, np.asarray(fitted.seasonal).reshape(len(values), -1).T, strict=True):
            ahead += season[len(values) - period + np.arange(horizon) % period]
            rest = rest - season
    smoothing = SimpleExpSmoothing(rest, initialization_method=_start(rest)).fit(use_brute=False)
    return np.asarray(ahead + np.asarray(smoothing.forecast(horizon)))


def _start(values: Array) -> str:
    """How smoothing begins: from the first values, which takes ten of them."""
    return "heuristic" if len(values) >= _FEWEST_HEURISTIC else "estimated"


def _smoothed(values: Array, periods: tuple[int, ...], horizon: int) -> Array:
    """What is usual at each phase of the longest season; what remains by Holt's smoothing with a damped trend."""
    from statsmodels.tsa.holtwinters import Holt

    n = len(values)
    period = next((one for one in reversed(periods) if n >= _FEWEST_CYCLES * one), 1)
    usual = _usual(values, period)
    # The first level from the first values, and no search over a grid: the same minimum in a third of the time.
    model = Holt(values - usual[np.arange(n) % period], damped_trend=True, initialization_method=_start(values))
    return np.asarray(model.fit(use_brute=False).forecast(horizon)) + usual[np.arange(n, n + horizon) % period]


def _usual(values: Array, period: int) -> Array:
    """Mean of each phase, relative to the mean of its cycle."""
    if period == 1:
        return np.zeros(1)
    cycles = values[len(values) % period :].reshape(-1, period)
    profile = (cycles - cycles.mean(axis=1, keepdims=True)).mean(axis=0)
    return np.roll(profile, len(values) % period)


def _harmonic(values: Array, periods: tuple[int, ...], horizon: int) -> Array:
    """Sines and cosines of every season with autoregressive errors (least squares)."""
    from statsmodels.tsa.ar_model import AutoReg

    n = len(values)
    steps = np.arange(n + horizon)
    columns = [steps / n]
    for index, period in enumerate(periods):
        shorter = periods[:index]
        most = min(_HARMONICS, (period - 1) // 2)
        orders = [
            k for k in range(1, period // 2) if not any(period % s == 0 and k % (period // s) == 0 for s in shorter)
        ]
        for order in orders[:most]:
            angle = 2 * np.pi * order * steps / period
            columns += [np.sin(angle), np.cos(angle)]
    design = np.column_stack(columns)
    fitted = AutoReg(values, lags=2, trend="c", exog=design[:n]).fit()
    return np.asarray(fitted.predict(n, n + horizon - 1, exog_oos=design[n:]))


FORECASTERS: Mapping[str, Callable[[Array, tuple[int, ...], int], Array]] = {
    BASELINE: seasonal_naive,
    "decomposition with smoothing": _decomposed,
    "harmonics with autoregression": _harmonic,
    "usual cycle with damped smoothing": _smoothed,
}


def clipped(values: Array, periods: tuple[int, ...]) -> Array:
    """Values with single outliers pulled in to five robust standard deviations from what is usual at their time."""
    period = periods[-1] if periods else 1
    rest = values - _profile(values, period)
    around = _rolling_median(rest, max(5, min(25, period)))
    deviation = rest - around
    spread = 1.4826 * float(np.median(np.abs(deviation)))
    if spread == 0:
        return values
    return values - deviation + np.clip(deviation, -_CLIP * spread, _CLIP * spread)


def _profile(values: Array, period: int) -> Array:
    """Median of each phase, repeated."""
    if period < 2 or len(values) < _FEWEST_CYCLES * period:
        return np.zeros(len(values))
    phase = np.arange(len(values)) % period
    padded = np.full((-(-len(values) // period)) * period, np.nan)
    padded[: len(values)] = values
    return np.asarray(np.nanmedian(padded.reshape(-1, period), axis=0)[phase])


def _rolling_median(values: Array, width: int) -> Array:
    width += 1 - width % 2
    padded = np.pad(values, width // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1))


def forecasts(values: Array, periods: tuple[int, ...], horizon: int) -> tuple[dict[str, Array], set[str]]:
    """Every forecaster's answer, their median, and what went wrong.

    Args:
        values: the series, at even steps, finite.
        periods: its seasons in steps, shortest first.
        horizon: steps ahead.

    Returns:
        Forecasts by the forecaster's name (the baseline sees the values as they are, the others with outliers pulled
        in), and which fits did not converge or failed. A forecaster that fails is left out.
    """
    found = {BASELINE: seasonal_naive(values, periods, horizon)}
    said: set[str] = set()
    calm = clipped(values, periods)
    for name, forecaster in FORECASTERS.items():
        if name == BASELINE:
            continue
        with python_warnings.catch_warnings(record=True) as caught:
            python_warnings.simplefilter("always")
            try:
                ahead = forecaster(calm, periods, horizon)
            except (ValueError, np.linalg.LinAlgError, IndexError, ZeroDivisionError):
                ahead = np.full(horizon, np.nan)
        if np.all(np.isfinite(ahead)):
            found[name] = ahead
            said |= {f"the fit of {name} did not converge" for one in caught if "onverge" in str(one.message)}
        else:
            said.add(f"{name} could not be fitted and was left out")
    models = [ahead for name, ahead in found.items() if name != BASELINE]
    if models:
        found[COMBINED] = np.median(models, axis=0)
    return found, said
