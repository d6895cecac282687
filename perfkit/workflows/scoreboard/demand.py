"""Simulated seasonal traffic: how far forecasts of demand are off, and how often their bands hold."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from perfkit.stats.capacity.demand import forecast_demand
from perfkit.workflows.scoreboard.claims import Claim, Entry, at_most_mean, mean

__all__ = ["ENTRIES"]

Floats = npt.NDArray[np.float64]

_START_S = 1_772_409_600
_HOUR_S, _DAY_S = 3600, 86_400


def judge(seed: int, *, days: bool) -> dict[str, float]:
    """Forecast the end of one series: scaled error, and the share of what came that lay within the bands."""
    generator = np.random.default_rng(seed)
    step_s, ahead = (_DAY_S, 28) if days else (_HOUR_S, 48)
    n = 365 if days else 168 * int(generator.integers(3, 9))
    values = _traffic(generator, n + ahead, step_s)
    times = _START_S + step_s * np.arange(n)
    found = forecast_demand(times, values[:n], horizon=ahead)
    truth = values[n:]
    period = found.period or 1
    naive = float(np.mean(np.abs(values[period:n] - values[: n - period])))
    predicted = np.array([one.value for one in found.points])
    inside = [one.low <= actual <= one.high for one, actual in zip(found.points, truth, strict=True)]
    return {
        "mase": float(np.mean(np.abs(truth - predicted))) / naive,
        "coverage": float(np.mean(inside)),
        "coverage_backtest": found.coverage_backtest,
    }


def _traffic(generator: np.random.Generator, n: int, step_s: int) -> Floats:
    """Level, trend, day, week, noise that lasts, and in some series outliers."""
    steps = np.arange(n)
    hour, weekday = steps * step_s / _HOUR_S % 24, steps * step_s // _DAY_S % 7
    course = generator.normal(0, 0.1) * steps / n - generator.uniform(0.05, 0.5) * (weekday >= 5)
    if step_s == _HOUR_S:
        course += generator.uniform(0.1, 0.7) * np.sin(2 * np.pi * (hour / 24 + generator.random()))
    lasting = generator.uniform(0, 0.9)
    noise = generator.normal(size=n)
    for step in range(1, n):
        noise[step] = lasting * noise[step - 1] + np.sqrt(1 - lasting**2) * noise[step]
    values = 1000 * np.exp(course + generator.uniform(0.03, 0.2) * noise)
    if generator.random() < 0.4:
        values *= np.where(generator.random(n) < 0.01, generator.uniform(1.5, 4, n), 1.0)
    return np.asarray(values)


def _entry(name: str, title: str, *, days: bool, run_s: float) -> Entry:
    return Entry(
        name,
        title,
        functools.partial(judge, days=days),
        (
            at_most_mean("error over the in-sample error of the seasonal naive forecast (MASE)", "mase", 0.9),
            Claim("90 % bands hold what came", ("coverage",), mean, 0.87, 0.93),
            Claim("90 % bands hold in the backtest", ("coverage_backtest",), mean, 0.87, 0.93),
        ),
        run_s=run_s,
        small_runs=10,
        full_runs=60,
    )


ENTRIES = (
    _entry("demand-hours", "hourly traffic of 3 to 8 weeks with day and week, 48 hours ahead", days=False, run_s=2.5),
    _entry("demand-days", "daily traffic of a year with a week, 28 days ahead", days=True, run_s=1.5),
)
