"""When a forecast reaches a limit, with how early and how late that may be."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.capacity.demand_result import DemandForecast, figure
from perfkit.stats.capacity.series import time_shown
from perfkit.tables import ResultTable

__all__ = ["LimitDate", "date_reached"]

_WIDTH = 78
_UNLIKELY, _LIKELY = 0.05, 0.95


@dataclasses.dataclass(frozen=True)
class LimitDate:
    """When demand first reaches a limit.

    Args:
        limit: in the unit of the demand.
        probability: share of plausible futures that reach it within the horizon.
        earliest: ISO time that only (1 - level) / 2 of the futures come before; None where so few reach it.
        median: time that half of the futures come before; None where fewer reach it.
        latest: time that all but (1 - level) / 2 of the futures come before; None where fewer reach it.
        horizon_end: last time of the forecast; nothing is said of later.
        n: futures.
        level: of the interval.
        warnings: those of the forecast.
        unit: of the limit, where the forecast has one.
        resource: whose limit that is; empty where nobody said.
    """

    limit: float
    probability: float
    earliest: str | int | None
    median: str | int | None
    latest: str | int | None
    horizon_end: str | int
    n: int
    level: float
    warnings: tuple[str, ...] = ()
    unit: str = ""
    resource: str = ""

    @property
    def method(self) -> str:
        """How the dates came about."""
        return "first passage of the forecast with the errors of whole earlier forecasts added"

    @property
    def verdict(self) -> str:
        """``reached``, ``possible`` or ``not within the horizon``."""
        if self.probability <= _UNLIKELY:
            return "not within the horizon"
        return "reached" if self.probability >= _LIKELY else "possible"

    @property
    def sentence(self) -> str:
        """What it means."""
        end, unit = self._shown(self.horizon_end), f" {self.unit}" if self.unit else ""
        unit += f" ({self.resource})" if self.resource else ""
        if self.verdict == "not within the horizon":
            return f"{figure(self.limit)}{unit} is not reached until {end} (probability {self.probability:.0%})."
        named = {"earliest": self.earliest, "median": self.median, "latest": self.latest}
        dates = ", ".join(f"{name} {self._shown(time)}" for name, time in named.items())
        return f"{figure(self.limit)}{unit} is reached until {end} with probability {self.probability:.0%}: {dates}."

    def _shown(self, time: str | int | None) -> str:
        known = {one for one in (self.earliest, self.median, self.latest, self.horizon_end) if one is not None}
        is_within_a_minute = len({time_shown(one) for one in known}) < len(known)
        return "not within the horizon" if time is None else time_shown(time, with_seconds=is_within_a_minute)

    def to_table(self) -> ResultTable:
        """The dates in one row."""
        row = (
            figure(self.limit),
            f"{self.probability:.0%}",
            *map(self._shown, (self.earliest, self.median, self.latest)),
        )
        notes = [self.sentence, f"{self.method}; n = {self.n}.", *(f"! {one}" for one in self.warnings)]
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        columns = ("limit", "probability", "earliest", "median", "latest")
        title = "Limit of demand" + (f": {self.resource}" if self.resource else "")
        title += f" ({self.unit})" if self.unit else ""
        return ResultTable(title, columns, (row,), wrapped, (0, 1))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            **dataclasses.asdict(self),
            "warnings": list(self.warnings),
            "method": self.method,
            "verdict": self.verdict,
            "sentence": self.sentence,
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def date_reached(forecast: DemandForecast, limit: float) -> LimitDate:
    """When demand reaches a limit for the first time.

    Bands of single steps do not answer that: a first passage is the earliest of many. Here every future is the
    forecast plus the errors of a whole earlier forecast, which keeps what belongs together.

    Args:
        forecast: of `forecast_demand`.
        limit: in the unit of the demand, finite.

    Returns:
        The quantiles of the first passage among the futures.

    Raises:
        InputError: the limit is no finite number.

    >>> from perfkit.stats.capacity.demand import forecast_demand
    >>> days = np.arange(60)
    >>> noise = np.random.default_rng(1).normal(0, 3, 60)
    >>> growing = forecast_demand(1.77e9 + 86400 * days, 100 + 2 * days + noise, horizon=15)
    >>> found = date_reached(growing, 230)
    >>> found.verdict, found.earliest <= found.median <= found.latest, date_reached(growing, 400).median
    ('reached', True, None)
    """
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise InputError(f"limit == {limit!r}, must be a finite number in the unit of the demand")
    futures = _futures(forecast)
    reaches = futures >= limit
    first = np.where(reaches.any(axis=1), reaches.argmax(axis=1), futures.shape[1])
    tail = (1 - forecast.level) / 2
    earliest, median, latest = (_time(forecast, first, share) for share in (tail, 0.5, 1 - tail))
    return LimitDate(
        limit=float(limit),
        probability=float(reaches.any(axis=1).mean()),
        earliest=earliest,
        median=median,
        latest=latest,
        horizon_end=forecast.points[-1].time,
        n=len(futures),
        level=forecast.level,
        warnings=forecast.warnings,
        unit=forecast.unit,
    )


def _futures(forecast: DemandForecast) -> npt.NDArray[np.float64]:
    """Plausible courses of demand, shape (futures, steps)."""
    steps = len(forecast.points)
    errors = np.nan_to_num(forecast.errors)
    tested = errors.shape[1]
    place = np.arange(steps)
    growth = np.sqrt(np.maximum(1.0, (place + 1) / tested))
    paths = errors[:, place % tested] * growth
    values = np.array([one.value for one in forecast.points])
    return np.asarray(values * np.exp(paths) if forecast.logged else values + paths)


def _time(forecast: DemandForecast, first: npt.NDArray[np.int64], share: float) -> str | int | None:
    index = int(np.quantile(first, share, method="inverted_cdf"))
    return forecast.points[index].time if index < len(forecast.points) else None
