"""E-divisive: where a series splits best in two, and how clear that split is."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.special import ndtri, stdtr
from scipy.stats import rankdata

__all__ = ["FEWEST", "Splits", "correlation", "inflation_of", "lag_one", "normal_scores", "strongest_splits"]

Floats = npt.NDArray[np.float64]

FEWEST = 5
"""Points that a level must have."""

_LARGEST_CORRELATION = 0.97
_FFT_FROM = 400


@dataclasses.dataclass(frozen=True)
class Splits:
    """The best split of each of several series.

    Args:
        at: first point of the second part.
        difference: absolute difference of the two means.
        t: Student's statistic of the two parts, at the effective number of points.
        z: the normal deviate as improbable as `t`.
        inflation: how many points say as much as one that is independent of the others.
        residuals: the series without the two levels.
    """

    at: npt.NDArray[np.int64]
    difference: Floats
    t: Floats
    z: Floats
    inflation: Floats
    residuals: Floats


def normal_scores(values: Floats) -> Floats:
    """What independent normal values of these ranks would be: outliers and skew lose their weight, order stays.

    >>> normal_scores(np.array([3.0, 1000.0, 2.0])).round(3).tolist()
    [0.0, 0.967, -0.967]
    """
    return np.asarray(ndtri((rankdata(values, axis=-1) - 0.5) / values.shape[-1]), float)


def strongest_splits(series: Floats, weights: Floats) -> Splits:
    """The split of each series with the largest energy statistic.

    For the exponent 2, the energy distance of two samples is twice the squared difference of their means, so the scaled
    statistic is a squared t without its variance: it answers to the level alone, not to a change of spread. Its
    variance is that of the residuals, inflated by their autocorrelation: the larger of what lag 1 implies, corrected
    for its bias, and a Bartlett window. Negative correlation is taken for none.

    Args:
        series: one series per row, of at least ``2 * FEWEST`` points.
        weights: of the points of each series, or of all, mean 1.

    Source: Matteson and James, *A nonparametric approach for multiple change point analysis of multivariate data*,
    JASA 109 (2014); Andrews, *Heteroskedasticity and autocorrelation consistent covariance matrix estimation*,
    Econometrica 59 (1991).
    """
    n = series.shape[-1]
    mass = np.cumsum(weights, axis=-1)
    total = mass[..., -1:]
    sums = np.cumsum(series * weights, axis=-1)
    whole = sums[..., -1:]
    inside = slice(FEWEST - 1, n - FEWEST)
    left = mass[..., inside]
    scale = np.sqrt(total / (left * (total - left)))
    gains = np.abs(sums[..., inside] * scale - whole * (scale * left / total))
    best = gains.argmax(axis=-1)
    at = best + FEWEST
    last = (at - 1)[..., None]
    left = np.take_along_axis(np.broadcast_to(mass, series.shape), last, axis=-1)
    first = np.take_along_axis(sums, last, axis=-1)
    before, after = first / left, (whole - first) / (total - left)
    levels = np.where(np.arange(n) < at[..., None], before, after)
    residuals = (series - levels) * np.sqrt(weights)
    inflation = inflation_of(residuals)
    variance = _products(residuals, residuals) / (n - 2) * inflation
    gain = np.take_along_axis(gains, best[..., None], axis=-1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(gain > 0, gain / np.sqrt(variance), 0.0)
    freedom = np.maximum(n / inflation - 2, 1)
    z = -ndtri(np.maximum(stdtr(freedom, -statistic), 1e-300))
    return Splits(at, np.abs(after - before)[..., 0], statistic, np.asarray(z, float), inflation, residuals)


def correlation(residuals: Floats) -> Floats:
    """Autocorrelation at lag 1, without what is lost to the two levels that were taken out; from 0 to 0.97."""
    n = residuals.shape[-1]
    raw = lag_one(residuals)
    return np.asarray(np.clip(raw + (2 + 4 * np.maximum(raw, 0)) / n, 0, _LARGEST_CORRELATION), float)


def lag_one(residuals: Floats) -> Floats:
    """Autocorrelation at lag 1, as it is."""
    power = _products(residuals, residuals)
    return np.asarray(_products(residuals[..., 1:], residuals[..., :-1]) / np.where(power > 0, power, 1.0), float)


def _products(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.einsum("...i,...i->...", first, second), float)


def inflation_of(residuals: Floats) -> Floats:
    """How many correlated points say as much as one that is independent of the others; at least 1."""
    n = residuals.shape[-1]
    carried = correlation(residuals)
    reach = round(n**0.5 / 1.4)
    shares = 1 - np.arange(1, reach + 1) / (reach + 1)
    power = _products(residuals, residuals)
    power = np.where(power > 0, power, 1.0)
    if n >= _FFT_FROM:
        size = fft.next_fast_len(n + reach, real=True)
        spectrum = np.abs(fft.rfft(residuals, size, axis=-1)) ** 2
        lags = fft.irfft(spectrum, size, axis=-1)[..., 1 : reach + 1]
        window = 2 * (lags @ shares)
    else:
        window = np.zeros(residuals.shape[:-1])
        for lag, share in enumerate(shares, start=1):
            window += 2 * share * _products(residuals[..., lag:], residuals[..., :-lag])
    return np.asarray(np.maximum((1 + carried) / (1 - carried), 1 + window / power), float)
