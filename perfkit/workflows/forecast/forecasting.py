"""The capacity forecast: reads what was measured and what is asked, and puts the answers together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError
from perfkit.stats.capacity.demand import DemandForecast, forecast_demand
from perfkit.stats.capacity.limits import date_reached
from perfkit.stats.capacity.scalability import Scalability, scalability
from perfkit.stats.capacity.series import even_series
from perfkit.units import parse_duration
from perfkit.workflows.forecast.bottleneck import Host, bottleneck, parse_change
from perfkit.workflows.forecast.reading import read_pairs
from perfkit.workflows.forecast.result import Forecast

__all__ = ["forecast"]


def forecast(
    *,
    ladder: Any = None,
    demand: Any = None,
    at: float | None = None,
    limit: float | None = None,
    horizon: str | int | None = None,
    what_if: str | Mapping[str, Any] | None = None,
    host: Host | None = None,
    level: float = 0.90,
    seed: int = 0,
) -> Forecast:
    """How far this host carries: scalability, demand, the date of a limit, and what gives way first.

    Args:
        ladder: a CSV file, frame or dictionary with the columns ``concurrency`` and ``throughput``, or what
            `perfkit.bench_ladder` returned.
        demand: a CSV file, frame or dictionary with the columns ``time`` and ``value``.
        at: concurrency whose throughput is asked for; at most 1.3 times what the ladder measured.
        limit: demand whose date is asked for; default: the ladder's highest throughput.
        horizon: how far ahead, such as ``"30d"``, or a number of steps.
        what_if: such as ``"rate=2x,size=1.5x,workers=8,memory=4GiB"``.
        host: workers, cores, memory and what one transfer takes of them, as far as they are known.
        level: share of values within a band.
        seed: of what is drawn.

    Returns:
        What could be answered with what was given.

    Raises:
        InputError: neither ladder nor demand was given, an option lacks what it needs, or a source cannot be read.

    >>> found = forecast(ladder={"concurrency": [1, 2, 4, 8], "throughput": [10, 18, 30, 40]}, at=6)
    >>> 30 < found.at[1].value < 40
    True
    """
    if ladder is None and demand is None:
        raise InputError(
            "nothing to forecast from; give a ladder (columns concurrency, throughput) or demand (columns time, value)"
        )
    _check(ladder, demand, at=at, limit=limit, horizon=horizon, what_if=what_if)
    change = None if what_if is None else parse_change(what_if)
    law = None if ladder is None else _law(ladder, seed)
    throughput = None if at is None or law is None else (float(at), law.at(at))
    coming = None if demand is None else _demand(demand, horizon, level, seed)
    reached = None
    if coming is not None:
        if limit is not None:
            reached = date_reached(coming, float(limit))
        elif law is not None:
            reached = date_reached(coming, law.peak_throughput.value)
    served = host or Host()
    return Forecast(
        usl=law,
        demand=coming,
        limit=reached,
        at=throughput,
        bottleneck=None if coming is None else bottleneck(coming, served, law),
        what_if=None if coming is None or change is None else bottleneck(coming, served, law, change),
        warnings=()
        if change is None or law is not None or served != Host()
        else ("what if: nothing is known of workers, cores or memory; give a ladder, or what one transfer takes",),
    )


def _check(ladder: Any, demand: Any, **given: Any) -> None:
    if given["at"] is not None and ladder is None:
        raise InputError("at asks for a throughput, which needs a ladder")
    for name in ("limit", "horizon", "what_if"):
        if given[name] is not None and demand is None:
            raise InputError(f"{name} is about demand over time; give demand too")
    if given["limit"] is not None and not (_is_number(given["limit"]) and given["limit"] > 0):
        raise InputError(f"limit == {given['limit']!r}, must be a finite number above 0, in the unit of the demand")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _law(ladder: Any, seed: int) -> Scalability:
    if isinstance(ladder, Scalability):
        return ladder
    if hasattr(ladder, "points") and not isinstance(ladder, str | Path):
        pairs = [(one.concurrency, one.throughput_per_s) for one in ladder.points]
        return scalability([one for one, _ in pairs], [other for _, other in pairs], seed=seed)
    concurrency, throughput = read_pairs(ladder, ("concurrency", "throughput"), "the ladder")
    numbers = [_number(value, row) for row, value in enumerate(concurrency, 1)]
    return scalability(numbers, throughput, seed=seed)


def _number(value: Any, row: int) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"the ladder: concurrency of row {row} is {value!r}, no number") from None


def _demand(demand: Any, horizon: str | int | None, level: float, seed: int) -> DemandForecast:
    if isinstance(demand, DemandForecast):
        return demand
    times, values = read_pairs(demand, ("time", "value"), "demand")
    steps = horizon if horizon is None or isinstance(horizon, int) else _steps(horizon, times, values)
    return forecast_demand(times, values, horizon=steps, level=level, seed=seed)


def _steps(horizon: str, times: list[Any], values: list[float]) -> int:
    step_s = even_series(times, values).step_s
    steps = math.floor(parse_duration(horizon) / 1e9 / step_s + 1e-9)
    if steps < 1:
        raise InputError(f"horizon {horizon} is shorter than one step of {step_s:g} s; ask for more")
    return steps
