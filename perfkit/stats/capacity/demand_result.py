"""A forecast of demand, as data and as a table."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.stats.capacity.series import time_shown
from perfkit.tables import ResultTable, plural

__all__ = ["DemandForecast", "DemandPoint", "figure"]

_WIDTH = 78
_SHOWN = 14
_HOUR_S = 3600


def figure(value: float) -> str:
    """A quantity to four figures, or whole where larger.

    >>> figure(1234567.8), figure(12.3456), figure(float("nan"))
    ('1,234,568', '12.35', 'unknown')
    """
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "unlimited"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


@dataclasses.dataclass(frozen=True, slots=True)
class DemandPoint:
    """Demand at one time.

    Args:
        time: ISO text in UTC; of an index its number.
        value: forecast.
        low: lower bound of its band.
        high: upper bound.
    """

    time: str | int
    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class DemandForecast:
    """What demand is expected to be.

    Args:
        points: one per step ahead.
        mase: mean absolute error of the backtest, relative to the in-sample error of the seasonal naive forecast
            with the longest season; below 1 is better. NaN where that error is 0.
        mase_naive: the same of the seasonal naive forecast itself in the backtest.
        coverage_backtest: share of actual values within bands made from other origins.
        periods: seasons in steps, shortest first; none where the series shows none.
        method: the forecaster that was best in the backtest.
        n: values that were given.
        origins: earlier forecasts in the backtest.
        level: share of values that a band is to hold.
        step_s: seconds per step.
        last_time: time of the last value.
        last_value: the last value.
        logged: whether the models saw logarithms.
        errors: actual - forecast of the backtest, shape (origins, steps), on the scale of the models.
        warnings: what limits the forecast.
        unit: of the values, such as ``transfers per second``; empty where nobody said.
    """

    points: tuple[DemandPoint, ...]
    mase: float
    mase_naive: float
    coverage_backtest: float
    periods: tuple[int, ...]
    method: str
    n: int
    origins: int
    level: float
    step_s: float
    last_time: str | int
    last_value: float
    logged: bool
    errors: npt.NDArray[np.float64]
    warnings: tuple[str, ...] = ()
    unit: str = ""

    @property
    def period(self) -> int | None:
        """The longest season in steps; None without one."""
        return self.periods[-1] if self.periods else None

    @property
    def peak(self) -> DemandPoint:
        """The step with the largest expected demand."""
        return max(self.points, key=lambda one: one.value)

    @property
    def verdict(self) -> str:
        """``better`` than repeating the last cycle, ``no better``, or ``unknown``."""
        if math.isnan(self.mase):
            return "unknown"
        return "better" if self.mase < self.mase_naive else "no better"

    @property
    def sentence(self) -> str:
        """What it means."""
        peak = self.peak
        unit = f" {self.unit}" if self.unit else ""
        when = f"{'at' if isinstance(peak.time, int) else 'on'} {self._short(peak.time)}"
        return (
            f"Demand peaks at {figure(peak.value)}{unit} ({figure(peak.low)} to {figure(peak.high)}) "
            f"{when}, last seen {figure(self.last_value)}."
        )

    def to_table(self) -> ResultTable:
        """Every step where there are few; of more the step of each day (or of each part) with the largest demand."""
        shown, what = self._shown()
        rows = tuple((self._short(one.time), figure(one.value), figure(one.low), figure(one.high)) for one in shown)
        seasons = f"seasons of {' and '.join(map(str, self.periods))} steps" if self.periods else "no season"
        notes = [
            self.sentence,
            f"{self.method}, {seasons}, n = {self.n}. Backtest from {plural(self.origins, 'origin')}: "
            f"error {_number(self.mase)} of the seasonal naive's (itself {_number(self.mase_naive)}); "
            f"{self.level:.0%} bands held {_percent(self.coverage_backtest)} of values.",
            *(f"! {warning}" for warning in self.warnings),
        ]
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        if self.unit:
            what += f" ({self.unit})"
        return ResultTable(f"Demand forecast, {what}", ("time", "value", "low", "high"), rows, wrapped, (1, 2, 3))

    def _short(self, time: str | int) -> str:
        return time_shown(time, with_seconds=self.step_s % 60 != 0 and self.step_s < _HOUR_S)

    def _shown(self) -> tuple[list[DemandPoint], str]:
        if len(self.points) <= _SHOWN:
            return list(self.points), "every step"
        per_day = max(1, round(86_400 / self.step_s))
        width = per_day if len(self.points) / per_day >= 2 else 1
        width *= max(1, -(-len(self.points) // (width * _SHOWN)))
        parts = [self.points[at : at + width] for at in range(0, len(self.points), width)]
        return [max(part, key=lambda one: one.value) for part in parts], f"peak of every {width} steps"

    def to_plain(self) -> dict[str, Any]:
        """Everything but the single errors of the backtest, as values that JSON can hold."""
        fields = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        del fields["errors"]
        return {
            **fields,
            "points": [dataclasses.asdict(one) for one in self.points],
            "periods": list(self.periods),
            "period": self.period,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "an unknown share" if math.isnan(value) else f"{value:.0%}"
