"""The capacity forecast: reads what was measured and what is asked, and puts the answers together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake
from perfkit.stats.capacity.demand import DemandForecast, forecast_demand
from perfkit.stats.capacity.limits import LimitDate, date_reached
from perfkit.stats.capacity.series import even_series
from perfkit.units import format_bytes, parse_bytes, parse_duration
from perfkit.workflows.forecast.bottleneck import Bottleneck, Units, bottleneck
from perfkit.workflows.forecast.costs import Mix, costs_of, growth, with_costs
from perfkit.workflows.forecast.host import Change, Host, completed, described, parse_change
from perfkit.workflows.forecast.ladders import Ladder, ladder_from, newest_ladder
from perfkit.workflows.forecast.reading import read_pairs
from perfkit.workflows.forecast.result import Forecast
from perfkit.workflows.forecast.traffic import Traffic, traffic_of
from perfkit.workflows.fresh import open_fresh_lake

__all__ = ["forecast"]

_LAKE = "data/lake"
_QUANTITIES = ("transfers", "bytes")
_MEBIBYTE = 2**20
_ALIKE = 2.0
"""Factor between sizes up to which a ladder of one speaks for the other."""


def forecast(
    *,
    ladder: Any = None,
    demand: Any = None,
    lake: Lake | str | Path | None = None,
    run: str | None = None,
    method: str | None = None,
    size: int | str | None = None,
    quantity: str = "transfers",
    at: float | None = None,
    limit: float | None = None,
    horizon: str | int | None = None,
    what_if: str | Mapping[str, Any] | None = None,
    host: Host | None = None,
    workers: int | None = None,
    cores: int | None = None,
    memory: int | str | None = None,
    latency: int | str | None = None,
    cpu: int | str | None = None,
    resident: int | str | None = None,
    models: str | Path | None = None,
    thresholds: str | Path = "thresholds.toml",
    level: float = 0.90,
    seed: int = 0,
) -> Forecast:
    """How far this host carries: scalability, demand, the date of a limit, and what gives way first.

    Args:
        ladder: a CSV file, frame or dictionary with the columns ``concurrency`` and ``throughput`` (of several methods
            and sizes also ``method`` and ``payload_bytes``), or what `perfkit.bench_ladder` returned.
        demand: a CSV file, frame or dictionary with the columns ``time`` and ``value``.
        lake: the lake, or its folder, where what is not given is read: the newest ladder of this host, and the traffic
            of services by the hour.
            None: ``data/lake`` where neither ladder nor demand is given, otherwise no lake.
        run: run of the lake whose ladder counts, or the beginning of its name.
        method: whose ladder counts, and whose costs where demand is not read from a lake.
        size: payload size of the ladder, and of transfers where demand is not read from a lake, such as ``"64KiB"``.
        quantity: of the lake's traffic: ``transfers`` (per second) or ``bytes`` (MiB per second).
        at: concurrency whose throughput is asked for; at most 1.3 times what the ladder measured.
        limit: demand whose date is asked for; default: what gives way first.
        horizon: how far ahead, such as ``"30d"``, or a number of steps, such as 48.
        what_if: such as ``"rate=2x,size=1.5x,workers=8,memory=4GiB"``.
        host: workers, cores, memory and what one transfer takes of them, as far as they are known. What a transfer
            takes is otherwise predicted by the cost model in force or the published curves, and what there is read
            from this host; `Forecast.notes` says so. Instead of it the next six may be given.
        workers: transfers that are served at once.
        cores: processor cores.
        memory: that payloads under way may take, such as ``"2GiB"``.
        latency: mean time of one transfer, such as ``"3ms"`` (a number: nanoseconds).
        cpu: processor time of one transfer, both sides, likewise.
        resident: memory of one transfer while it is under way, such as ``"10MiB"``.
        models: a cost model, or the folder of its versions; None for ``data/models``.
        thresholds: what is published.
        level: share of values within a band.
        seed: of what is drawn.

    Returns:
        What could be answered with what was given.

    Raises:
        InputError: an option lacks what it needs, or a source cannot be read.
        LakeError: the lake has neither ladder nor traffic, or not what was asked for.

    >>> found = forecast(ladder={"concurrency": [1, 2, 4, 8], "throughput": [10, 18, 30, 40]}, at=6)
    >>> 30 < found.at[1].value < 40
    True
    """
    wanted = {"at": at, "limit": limit, "horizon": horizon, "what_if": what_if}
    host = described(host, workers=workers, cores=cores, memory=memory, latency=latency, cpu=cpu, resident=resident)
    payload_bytes = None if size is None else parse_bytes(size)
    if lake is None and ladder is None and demand is None:
        lake = _LAKE
    _check(ladder, demand, lake, quantity, **wanted)
    change = None if what_if is None else parse_change(what_if)
    opened = lake if lake is None or isinstance(lake, Lake) else open_fresh_lake(lake)
    known, traffic, warnings = _sources(opened, ladder, demand, (run, method, payload_bytes), seed, wanted)
    series, unit = (demand, "") if traffic is None else _series(traffic, quantity)
    coming = None if series is None else _demand(series, horizon, level, seed)
    if coming is not None and unit:
        coming = dataclasses.replace(coming, unit=unit)
    units = _units(traffic, known, quantity, unit)
    mix = _mix(traffic, known, method, payload_bytes)
    served, factors, notes = _served(host or Host(), mix, change, coming, models, thresholds)
    law = None if known is None or (quantity == "bytes" and known.payload_bytes is None) else known.law

    def first_limit(supposed: Change | None) -> Bottleneck | None:
        if coming is None:
            return None
        return bottleneck(
            coming, served, law, supposed, factors=factors, units=units, ladder_workers=host.workers if host else None
        )

    first, supposed = first_limit(None), None if change is None else first_limit(change)
    parts = (None if known is None else known.law, coming, first, supposed)
    warnings = (*warnings, *_other_sizes(traffic, known), *_unknown(change, known, served))
    warnings += tuple(one for part in parts if part is not None for one in part.warnings)
    return Forecast(
        usl=None if known is None else known.law,
        demand=coming,
        limit=_limit(coming, limit, first),
        at=None if at is None or known is None else (float(at), known.law.at(at)),
        bottleneck=first,
        what_if=supposed,
        warnings=tuple(dict.fromkeys(warnings)),
        notes=(*(known.notes if known else ()), *(traffic.notes if traffic else ()), *notes),
        unit=unit,
    )


def _check(ladder: Any, demand: Any, lake: Any, quantity: str, **given: Any) -> None:
    if quantity not in _QUANTITIES:
        raise InputError(f"quantity == {quantity!r}, must be {' or '.join(_QUANTITIES)}")
    if quantity == "bytes" and (demand is not None or lake is None):
        raise InputError("quantity is about a lake's traffic; leave demand out and name the lake, or leave it out")
    if given["at"] is not None and ladder is None and lake is None:
        raise InputError("at asks for a throughput, which needs a ladder")
    for name in ("limit", "horizon", "what_if"):
        if given[name] is not None and demand is None and lake is None:
            raise InputError(f"{name} is about demand over time; give demand too, or a lake with traffic")
    if given["limit"] is not None and not (_is_number(given["limit"]) and given["limit"] > 0):
        raise InputError(f"limit == {given['limit']!r}, must be a finite number above 0, in the unit of the demand")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _sources(
    lake: Lake | None,
    ladder: Any,
    demand: Any,
    wish: tuple[str | None, str | None, int | None],
    seed: int,
    wanted: Mapping[str, Any],
) -> tuple[Ladder | None, Traffic | None, tuple[str, ...]]:
    """The ladder and the traffic, of the lake where they are not given; one of them may be missing there."""
    run, method, payload_bytes = wish
    known = None if ladder is None else ladder_from(ladder, method, payload_bytes, seed)
    if lake is None:
        return known, None, ()
    traffic, problems = None, []
    if demand is None:
        try:
            traffic = traffic_of(lake)
        except LakeError as error:
            problems.append(error)
            if any(wanted[name] is not None for name in ("limit", "horizon", "what_if")):
                raise InputError(f"demand over time is missing: {error}") from error
    if ladder is None:
        try:
            known = newest_ladder(lake, run, method, payload_bytes, seed)
        except LakeError as error:
            problems.append(error)
            if wanted["at"] is not None or run is not None:
                raise InputError(f"a ladder is missing: {error}") from error
    if known is None and traffic is None and demand is None:
        raise InputError("nothing to forecast from: " + "; and ".join(map(str, problems)))
    return known, traffic, tuple(map(str, problems))


def _series(traffic: Traffic, quantity: str) -> tuple[dict[str, Any], str]:
    if quantity == "bytes":
        return {"time": traffic.times, "value": traffic.bytes_per_s / _MEBIBYTE}, "MiB per second"
    return {"time": traffic.times, "value": traffic.transfers_per_s}, "transfers per second"


def _units(traffic: Traffic | None, known: Ladder | None, quantity: str, unit: str) -> Units:
    if quantity != "bytes" or traffic is None:
        return Units(name=unit)
    rung = (known.payload_bytes if known else None) or 0
    return Units(traffic.mix.mean_bytes / _MEBIBYTE, rung / _MEBIBYTE, unit, is_size=True)


def _mix(traffic: Traffic | None, known: Ladder | None, method: str | None, size: int | None) -> Mix | None:
    """What the transfers are: those of the lake, else as asked for, else those of the ladder."""
    if traffic is not None:
        return traffic.mix
    named, sized = method or (known.method if known else None), size or (known.payload_bytes if known else None)
    if named is None or sized is None:
        return None
    source = "what was asked for" if method and size else "transfers as of the ladder"
    return Mix({"method": [named], "payload_bytes": [sized]}, np.ones(1), source)


def _served(
    host: Host,
    mix: Mix | None,
    change: Change | None,
    coming: DemandForecast | None,
    models: str | Path | None,
    thresholds: str | Path,
) -> tuple[Host, Mapping[str, float], tuple[str, ...]]:
    """The host with what is predicted and read, how costs grow with the changed sizes, and what that rests on."""
    if coming is None:
        return host, {}, ()
    notes: list[str] = []
    factors: dict[str, float] = {}
    is_resized = change is not None and change.size != 1
    if mix is not None and (is_resized or None in (host.latency_s, host.cpu_s, host.resident_bytes)):
        costs = costs_of(mix, models, thresholds)
        host, said = with_costs(host, costs, mix)
        notes += said
        if change is not None and is_resized:
            factors, said = growth(costs, costs_of(mix.resized(change.size), models, thresholds), change.size)
            notes += said
    elif is_resized:
        notes.append(
            "what if: costs are taken in proportion to the size, as no transfer is known; name --method and --size"
        )
    host, said = completed(host)
    return host, factors, (*notes, *said)


def _limit(coming: DemandForecast | None, limit: float | None, first: Bottleneck | None) -> LimitDate | None:
    """The date of what was asked for, else of what gives way first."""
    if coming is None:
        return None
    if limit is None:
        return None if first is None else first.first.reached
    # The forecast's own table says what it warns of.
    return dataclasses.replace(date_reached(coming, float(limit)), warnings=())


def _other_sizes(traffic: Traffic | None, known: Ladder | None) -> tuple[str, ...]:
    """A ladder says little of payloads of quite another size."""
    if traffic is None or known is None or not known.payload_bytes:
        return ()
    mean_bytes = traffic.mix.mean_bytes
    if 1 / _ALIKE <= mean_bytes / known.payload_bytes <= _ALIKE:
        return ()
    sizes = f"{format_bytes(known.payload_bytes)} and services send {format_bytes(round(mean_bytes))} on average"
    return (f"the ladder was measured with {sizes}: measure one with that size (perfkit bench --ladder --sizes …)",)


def _unknown(change: Change | None, known: Ladder | None, served: Host) -> tuple[str, ...]:
    if change is None or known is not None or served != Host():
        return ()
    return ("what if: nothing is known of workers, cores or memory; give a ladder, or what one transfer takes",)


def _demand(demand: Any, horizon: str | int | None, level: float, seed: int) -> DemandForecast:
    if isinstance(demand, DemandForecast):
        return demand
    times, values = read_pairs(demand, ("time", "value"), "demand")
    below = next((row for row, value in enumerate(values, 1) if value < 0), None)
    if below is not None:
        raise InputError(
            f"demand: value of row {below} is {values[below - 1]:g}, must be 0 or more: how much is asked for, such as "
            "transfers per second"
        )
    steps = horizon if horizon is None or isinstance(horizon, int) else _steps(horizon, times, values)
    return forecast_demand(times, values, horizon=steps, level=level, seed=seed)


def _steps(horizon: str, times: list[Any], values: list[float]) -> int:
    series = even_series(times, values)
    step_s = series.step_s
    if horizon.strip().isdigit():
        return int(horizon)
    if series.is_index:
        raise InputError(f"horizon {horizon}: the times are an index without a calendar; give a number of steps")
    steps = math.floor(parse_duration(horizon) / 1e9 / step_s + 1e-9)
    if steps < 1:
        raise InputError(f"horizon {horizon} is shorter than one step of {step_s:g} s; ask for more")
    return steps
