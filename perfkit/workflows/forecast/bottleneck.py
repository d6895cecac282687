"""Which resource reaches its limit first: demand against what workers, cores, memory and the ladder allow."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any

from perfkit.stats.capacity.demand import DemandForecast
from perfkit.stats.capacity.demand_result import figure
from perfkit.stats.capacity.limits import LimitDate, date_reached
from perfkit.stats.capacity.queues import queue
from perfkit.stats.capacity.scalability import Bounded, Scalability
from perfkit.stats.capacity.series import time_shown
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration
from perfkit.workflows.forecast.host import Change, Host

__all__ = ["Bottleneck", "Resource", "Units", "bottleneck", "carried_by"]

_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One resource against the demand.

    Args:
        name: ``ladder``, ``workers``, ``cores`` or ``memory``.
        capacity_per_s: demand that it carries at most, in the unit of the demand.
        low: lower bound of the capacity, where it has an interval.
        high: upper bound.
        used_now: demand now as a share of the capacity.
        used_now_low: likewise at the lower bound of the demand now.
        used_now_high: likewise at its upper bound.
        used_at_peak: likewise at the peak of the forecast.
        used_at_most: likewise at the upper bound of the peak.
        reached: when demand reaches the capacity; None without a forecast over time.
    """

    name: str
    capacity_per_s: float
    low: float
    high: float
    used_now: float
    used_now_low: float
    used_now_high: float
    used_at_peak: float
    used_at_most: float
    reached: LimitDate | None


@dataclasses.dataclass(frozen=True)
class Bottleneck:
    """What gives way first.

    Args:
        resources: that are known, the tightest first.
        change: what is supposed to be otherwise; None for the present.
        demand_now: what is usual now, with the change: what the forecast expects of the step after the last, where
            chance of a single value is averaged out.
        demand_peak: the largest of the forecast, likewise.
        mean_wait_s: how long a transfer waits for a worker at the peak; infinite where the workers do not keep up,
            None where they are not known.
        warnings: what is left out.
        unit: of demand and capacities; empty where the demand's is not known.
    """

    resources: tuple[Resource, ...]
    change: Change | None
    demand_now: float
    demand_peak: float
    mean_wait_s: float | None
    warnings: tuple[str, ...] = ()
    unit: str = ""

    @property
    def first(self) -> Resource:
        """The resource that carries the least."""
        return self.resources[0]

    @property
    def verdict(self) -> str:
        """``carries`` where the peak stays below every capacity, also at its upper bound; ``tight``; ``overloaded``."""
        if self.first.used_at_peak >= 1:
            return "overloaded"
        return "tight" if self.first.used_at_most >= 1 else "carries"

    @property
    def sentence(self) -> str:
        """What it means."""
        first = self.first
        when = f" {first.reached.sentence}" if first.reached else ""
        supposed = f"With {self.change}: " if self.change else ""
        unit = f" {self.unit}" if self.unit else ""
        give = "give" if first.name in ("workers", "cores") else "gives"
        return (
            f"{supposed}{first.name} {give} way first, at {figure(first.capacity_per_s)}{unit}: now "
            f"{first.used_now:.0%} used ({first.used_now_low:.0%} to {first.used_now_high:.0%}), "
            f"{first.used_at_peak:.0%} at the forecast's peak ({first.used_at_most:.0%} at its upper bound).{when}"
        )

    def to_table(self) -> ResultTable:
        """Demand, capacity, utilisation and date of every resource."""
        rows = tuple(
            (
                one.name,
                figure(self.demand_now),
                figure(self.demand_peak),
                figure(one.capacity_per_s),
                f"{one.used_now:.0%}",
                f"{one.used_at_peak:.0%}",
                _date(one.reached),
            )
            for one in self.resources
        )
        notes = [self.sentence]
        if self.mean_wait_s is not None:
            wait = "without end" if math.isinf(self.mean_wait_s) else format_duration(self.mean_wait_s * 1e9)
            notes.append(f"At the peak a transfer waits {wait} for a worker on average (Poisson arrivals).")
        notes += [f"! {one}" for one in self.warnings]
        wrapped = tuple(line for note in notes for line in textwrap.wrap(note, _WIDTH))
        title = f"Capacity with {self.change}" if self.change else "Capacity"
        title += f" ({self.unit})" if self.unit else ""
        columns = ("resource", "now", "peak", "capacity", "used", "at peak", "reached")
        return ResultTable(title, columns, rows, wrapped, (1, 2, 3, 4, 5))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "first": self.first.name,
            "verdict": self.verdict,
            "resources": [
                {**dataclasses.asdict(one), "reached": one.reached.to_plain() if one.reached else None}
                for one in self.resources
            ],
            "change": dataclasses.asdict(self.change) if self.change else None,
            "demand_now": self.demand_now,
            "demand_peak": self.demand_peak,
            "unit": self.unit,
            "mean_wait_s": self.mean_wait_s,
            "sentence": self.sentence,
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _date(reached: LimitDate | None) -> str:
    if reached is None:
        return "unknown"
    return "not in horizon" if reached.median is None else time_shown(reached.median)


@dataclasses.dataclass(frozen=True, slots=True)
class Units:
    """What one transfer counts in the unit of the demand.

    Args:
        transfer: one that services send; 1 where demand is in transfers per second.
        rung: one that the ladder sent.
        name: of the unit.
        is_size: whether it is one of size, so that larger transfers count more.
    """

    transfer: float = 1.0
    rung: float = 1.0
    name: str = ""
    is_size: bool = False

    def transfer_of(self, change: Change) -> float:
        """What one transfer counts under a change."""
        return self.transfer * change.size if self.is_size else self.transfer


def bottleneck(
    demand: DemandForecast,
    host: Host,
    law: Scalability | None = None,
    change: Change | None = None,
    *,
    factors: Mapping[str, float] | None = None,
    units: Units | None = None,
    ladder_workers: int | None = None,
) -> Bottleneck | None:
    """Which resource reaches its limit first.

    Workers are busy for the latency of a transfer, cores for its processor time; memory is taken by the transfers
    that are under way, which by Little's law are rate x latency. The ladder says what was really carried at most.

    Args:
        demand: forecast.
        host: what serves it.
        law: of a ladder, in transfers per second.
        change: what would be otherwise.
        factors: how much more latency_s, cpu_s and resident_bytes are with the changed sizes; None: in proportion.
        units: of the demand; None for transfers per second.
        ladder_workers: sends that may be under way at once, where fewer than at the ladder's peak; None: as many as
            the host has workers.

    Returns:
        The resources, tightest first; None where none is known.
    """
    supposed, counted = change or Change(), units or Units()
    served = _changed(host, supposed, (factors or {}) if supposed.size != 1 else {})
    at_once = supposed.workers or ladder_workers
    capacities, warnings = _capacities(served, law, supposed, counted, at_once)
    if not capacities:
        return None
    each = counted.transfer_of(supposed)
    factor = supposed.rate * each / counted.transfer
    first, peak = demand.points[0], demand.peak.value * factor
    now = (first.value * factor, first.low * factor, first.high * factor)
    most = max(one.high for one in demand.points) * factor
    resources = tuple(
        Resource(
            name,
            capacity,
            low,
            high,
            now[0] / capacity,
            now[1] / capacity,
            now[2] / capacity,
            peak / capacity,
            most / capacity,
            _reached(demand, capacity, factor, _named(name, law, at_once)),
        )
        for name, (capacity, low, high) in sorted(capacities.items(), key=lambda item: item[1][0])
    )
    wait = _wait(peak / each, served)
    return Bottleneck(resources, change, now[0], peak, wait, tuple(warnings), counted.name)


def _named(name: str, law: Scalability | None, at_once: int | None) -> str:
    """A resource, and of a ladder that too few workers keep below its peak their number."""
    if (
        name != "ladder"
        or law is None
        or at_once is None
        or at_once >= min(law.peak_concurrency.value, law.measured[-1])
    ):
        return name
    return f"ladder with {plural(at_once, 'worker')}"


def _reached(demand: DemandForecast, capacity: float, factor: float, resource: str) -> LimitDate:
    found = date_reached(demand, capacity / factor)
    return dataclasses.replace(found, limit=capacity, warnings=(), resource=resource)


def _changed(host: Host, change: Change, factors: Mapping[str, float]) -> Host:
    def scaled(name: str) -> float | None:
        value: float | None = getattr(host, name)
        return None if value is None else value * factors.get(name, change.size)

    return Host(
        workers=change.workers or host.workers,
        cores=change.cores or host.cores,
        memory_bytes=change.memory_bytes or host.memory_bytes,
        latency_s=scaled("latency_s"),
        cpu_s=scaled("cpu_s"),
        resident_bytes=scaled("resident_bytes"),
    )


def _capacities(
    host: Host, law: Scalability | None, change: Change, units: Units, at_once: int | None
) -> tuple[dict[str, tuple[float, float, float]], list[str]]:
    found: dict[str, tuple[float, float, float]] = {}
    warnings = []
    if law is not None:
        carried, remarks = carried_by(law, at_once)
        warnings += remarks
        found["ladder"] = (carried.value * units.rung, carried.low * units.rung, carried.high * units.rung)
        if change.size != 1:
            warnings.append("the ladder holds for the sizes that it was measured with, not for changed ones")
    each = units.transfer_of(change)
    if host.workers and host.latency_s:
        found["workers"] = (each * host.workers / host.latency_s,) * 3
    if host.cores and host.cpu_s:
        found["cores"] = (each * host.cores / host.cpu_s,) * 3
    if host.memory_bytes and host.resident_bytes and host.latency_s:
        found["memory"] = (each * host.memory_bytes / (host.resident_bytes * host.latency_s),) * 3
    given = (("workers", change.workers), ("cores", change.cores), ("memory", change.memory_bytes))
    for name, value in given:
        if value and name not in found and not (name == "workers" and law is not None):
            warnings.append(f"{name} changed, but what one transfer takes of them is not known")
    if change.size != 1 and not {"workers", "cores", "memory"} & set(found):
        warnings.append("sizes were changed, but what one transfer costs is not known")
    return found, warnings


def carried_by(law: Scalability, at_once: int | None = None) -> tuple[Bounded, list[str]]:
    """The highest throughput that a ladder vouches for: at its peak, or as far as it was measured.

    Args:
        law: of the ladder.
        at_once: sends under way at most; None for as many as are best.

    Returns:
        The throughput, and a remark where more may be possible than was measured.
    """
    farthest = min(law.peak_concurrency.value, math.inf if at_once is None else float(at_once))
    measured = law.measured[-1]
    if farthest <= measured:
        return (law.peak_throughput if farthest == law.peak_concurrency.value else law.at(farthest)), []
    remark = f"the ladder was measured up to {measured:g} at once and had not peaked: it may carry more than it says"
    return law.at(measured), [remark]


def _wait(rate: float, host: Host) -> float | None:
    if not host.workers or not host.latency_s:
        return None
    if rate * host.latency_s >= host.workers:
        return math.inf
    return queue(max(rate, 0.0), host.latency_s, host.workers).mean_wait_s
