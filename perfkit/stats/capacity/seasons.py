"""Which seasons a series has, and whether its spread grows with its level."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["candidate_periods", "grows_with_level", "repeating_periods", "season_filled", "supported_periods"]

Array = npt.NDArray[np.float64]

_DAY_S, _WEEK_S, _YEAR_S = 86_400.0, 604_800.0, 31_557_600.0
_SIGNIFICANT = 2.0
_LEAST_CORRELATION = 0.1
_LEAST_CYCLES = 1.5
_LEAST_SLOPE = 0.5
_FEWEST_PAIRS = 24
_LEAST_RATIO = 1.2
"""Levels closer than this tell nothing about how the spread grows, and logarithms change little there."""
_REPEATED = 4
_LEAST_SCORE = 0.25
_LEAST_DROP = 0.3
_SCORE_ERRORS = 3.5
_CHANGE_ERRORS = 2.5
_ALMOST = 0.6
"""With these, 1 in 100 series without a season (noise, autoregression, random walks) is said to have one."""
_MOST_FOUND = 2


def candidate_periods(step_s: float) -> tuple[int, ...]:
    """Steps in a day and in a week, or in a year, where these are whole.

    >>> candidate_periods(3600.0), candidate_periods(300.0), candidate_periods(86400.0), candidate_periods(604800.0)
    ((24, 168), (288, 2016), (7,), (52,))
    """
    if step_s >= _WEEK_S:
        found: tuple[float, ...] = (round(_YEAR_S / step_s),)
    else:
        found = (_DAY_S / step_s, _WEEK_S / step_s)
    return tuple(round(one) for one in found if one >= 3 and abs(one - round(one)) < 1e-6)


def supported_periods(values: Array, candidates: tuple[int, ...], horizon: int) -> tuple[tuple[int, ...], list[str]]:
    """Candidates that autocorrelation supports, each after the shorter ones were taken out.

    Args:
        values: the series, at even steps.
        candidates: periods in steps, shortest first.
        horizon: steps that a backtest holds out.

    Returns:
        The periods, and what was left out for want of data.
    """
    steps = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(steps, values, 1), steps)
    found, said = [], []
    for period in candidates:
        if len(values) - min(horizon, period) < _LEAST_CYCLES * period:
            said.append(f"{len(values)} steps are too few to learn a season of {period} steps")
            continue
        if _correlation(rest, period) > max(_LEAST_CORRELATION, _SIGNIFICANT / math.sqrt(max(1, len(values) - period))):
            found.append(period)
            rest = rest - _phase_means(rest, period)
    return tuple(found), said


def repeating_periods(values: Array) -> tuple[int, ...]:
    """Seasons of any length that no calendar names: where autocorrelation peaks, again and again.

    A period counts where it repeats 4 times or more, where autocorrelation at its multiples is high, lower in between,
    and where the changes from step to step repeat, too: those of a wandering level, which seems to swing, do not.

    Args:
        values: the series, at even steps.

    Returns:
        None, one or two periods in steps, the shortest first.

    >>> steps = np.arange(240)
    >>> repeating_periods(np.sin(steps * np.pi / 12)), repeating_periods(steps % 7.0), repeating_periods(steps * 2.0)
    ((24,), (7,), ())
    """
    steps = np.arange(len(values))
    rest = values - np.polyval(np.polyfit(steps, values, 1), steps)
    smallest = 1e-9 * float(np.ptp(values))
    found: list[int] = []
    while len(found) < _MOST_FOUND and np.ptp(rest) > smallest:
        period = _repeating(rest)
        if period is None or (found and period <= found[-1]):
            break
        found.append(period)
        rest = rest - _phase_means(rest, period)
    return tuple(found)


def _repeating(rest: Array) -> int | None:
    n = len(rest)
    longest = n // _REPEATED
    if longest < 3:
        return None
    level, change, error = _correlogram(rest), _correlogram(np.diff(rest)), 1 / math.sqrt(n)
    score = np.array([-1.0, -1.0, *(_at_multiples(level, period) for period in range(2, longest + 1))])
    found = []
    for period in range(3, longest + 1):
        width = max(1, period // 4)
        is_peak = score[period] >= score[period - width : period + width + 1].max()
        drop = level[period] - level[1:period].min()
        change_error = error / math.sqrt(len(range(period, 2 * n // 3, period)))
        if (
            is_peak
            and score[period] > max(_LEAST_SCORE, _SCORE_ERRORS * error)
            and drop > max(_LEAST_DROP, _SCORE_ERRORS * error)
            and _at_multiples(change, period) > _CHANGE_ERRORS * change_error
        ):
            found.append(period)
    best = max((score[one] for one in found), default=0.0)
    return next((one for one in found if score[one] >= _ALMOST * best), None)


def _at_multiples(correlogram: Array, period: int) -> float:
    """Mean autocorrelation at a period and its multiples, which tell 24 from 23 where one lag does not."""
    return float(correlogram[period : 2 * len(correlogram) // 3 + 1 : period].mean())


def _correlogram(values: Array) -> Array:
    """Autocorrelation of the ranks at every lag."""
    ranks = stats.rankdata(values)
    ranks = ranks - ranks.mean()
    n = len(ranks)
    spectrum = np.fft.rfft(ranks, 2 * n)
    sums = np.fft.irfft(spectrum * np.conj(spectrum))[:n]
    return np.asarray(sums / max(sums[0], 1e-300) * n / (n - np.arange(n)))


def _correlation(values: Array, lag: int) -> float:
    ahead, behind = values[lag:], values[:-lag]
    # Ranks: one outlier must not make or hide a season.
    ahead, behind = np.argsort(np.argsort(ahead)).astype(float), np.argsort(np.argsort(behind)).astype(float)
    if len(ahead) < 3 or np.ptp(values) == 0:
        return 0.0
    return float(np.corrcoef(ahead, behind)[0, 1])


def _phase_means(values: Array, period: int) -> Array:
    phase = np.arange(len(values)) % period
    return np.asarray((np.bincount(phase, values) / np.bincount(phase))[phase])


def season_filled(values: Array, observed: npt.NDArray[np.bool_], period: int) -> Array:
    """Missing values from the same phase of the cycles before and after, instead of from their neighbours."""
    filled = values.copy()
    known = np.flatnonzero(observed)
    for phase in np.unique(np.flatnonzero(~observed) % period):
        same = known[known % period == phase]
        if len(same):
            missing = np.flatnonzero(~observed & (np.arange(len(values)) % period == phase))
            filled[missing] = np.interp(missing, same, values[same])
    return filled


def grows_with_level(values: Array, periods: tuple[int, ...]) -> bool:
    """Whether to model logarithms: all values are positive, and changes are larger where the level is."""
    if np.any(values <= 0) or len(values) < _FEWEST_PAIRS:
        return False
    period = next((one for one in reversed(periods) if len(values) - one >= _FEWEST_PAIRS), 1)
    change = values[period:] - values[:-period]
    level = np.log((values[period:] + values[:-period]) / 2)
    change = np.abs(change - np.median(change))  # without what trend adds to every cycle
    moved = change > 0
    if moved.sum() < _FEWEST_PAIRS or np.exp(np.ptp(np.quantile(level, (0.1, 0.9)))) < _LEAST_RATIO:
        return False
    slope, _, correlation, _, _ = stats.linregress(level[moved], np.log(change[moved]))
    return bool(slope > _LEAST_SLOPE and correlation * math.sqrt(moved.sum()) > _SIGNIFICANT)
