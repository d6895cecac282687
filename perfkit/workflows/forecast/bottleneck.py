"""Which resource reaches its limit first: demand against what workers, cores, memory and the ladder allow."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping
from typing import Any

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.capacity.demand import DemandForecast
from perfkit.stats.capacity.demand_result import figure
from perfkit.stats.capacity.limits import LimitDate, date_reached
from perfkit.stats.capacity.queues import queue
from perfkit.stats.capacity.scalability import Scalability
from perfkit.tables import ResultTable
from perfkit.units import format_bytes, format_duration, parse_bytes

__all__ = ["Bottleneck", "Change", "Host", "Resource", "bottleneck", "parse_change"]

_WIDTH = 78
_CHANGES = ("rate", "size", "workers", "cores", "memory")


@dataclasses.dataclass(frozen=True, slots=True)
class Host:
    """What serves the demand, as far as it is known; None where it is not.

    Args:
        workers: how many transfers are served at once.
        cores: processor cores.
        memory_bytes: memory that payloads under way may take.
        latency_s: mean time of one transfer.
        cpu_s: processor time of one transfer, both sides.
        resident_bytes: memory of one transfer while it is under way.
    """

    workers: int | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    latency_s: float | None = None
    cpu_s: float | None = None
    resident_bytes: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What would be otherwise.

    Args:
        rate: factor of the demand.
        size: factor of the sizes.
        workers: workers instead of the present ones; None for no change.
        cores: likewise.
        memory_bytes: likewise.
    """

    rate: float = 1.0
    size: float = 1.0
    workers: int | None = None
    cores: int | None = None
    memory_bytes: int | None = None

    def __str__(self) -> str:
        said = [f"{name} {value:g}x" for name, value in (("rate", self.rate), ("size", self.size)) if value != 1]
        said += [f"{name} {value}" for name, value in (("workers", self.workers), ("cores", self.cores)) if value]
        return ", ".join([*said, *([f"memory {format_bytes(self.memory_bytes)}"] if self.memory_bytes else [])])


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One resource against the demand.

    Args:
        name: ``ladder``, ``workers``, ``cores`` or ``memory``.
        capacity_per_s: demand that it carries at most, in the unit of the demand.
        low: lower bound of the capacity, where it has an interval.
        high: upper bound.
        used_now: demand now as a share of the capacity.
        used_at_peak: likewise at the peak of the forecast.
        used_at_most: likewise at the upper bound of the peak.
        reached: when demand reaches the capacity; None without a forecast over time.
    """

    name: str
    capacity_per_s: float
    low: float
    high: float
    used_now: float
    used_at_peak: float
    used_at_most: float
    reached: LimitDate | None


@dataclasses.dataclass(frozen=True)
class Bottleneck:
    """What gives way first.

    Args:
        resources: that are known, the tightest first.
        change: what is supposed to be otherwise; None for the present.
        demand_now: the last value of demand, with the change.
        demand_peak: the largest of the forecast, likewise.
        mean_wait_s: how long a transfer waits for a worker at the peak; infinite where the workers do not keep up,
            None where they are not known.
        warnings: what is left out.
    """

    resources: tuple[Resource, ...]
    change: Change | None
    demand_now: float
    demand_peak: float
    mean_wait_s: float | None
    warnings: tuple[str, ...] = ()

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
        return (
            f"{supposed}{first.name} gives way first, at {figure(first.capacity_per_s)}: now {first.used_now:.0%} used,"
            f" {first.used_at_peak:.0%} at the forecast's peak ({first.used_at_most:.0%} at its upper bound).{when}"
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
    return (reached.median or "not in horizon")[:16].replace("T", " ")


def parse_change(text: str | Mapping[str, Any]) -> Change:
    """Read what would be otherwise.

    Args:
        text: ``rate=2x,size=1.5x,workers=8,cores=4,memory=4GiB``, each optional, or a mapping of the same.

    Raises:
        UnknownNameError: there is nothing of that name to change.
        InputError: a value cannot be read, or is not above 0.

    >>> str(parse_change("rate=2x, workers=8, memory=4GiB"))
    'rate 2x, workers 8, memory 4GiB'
    """
    pairs = text.items() if isinstance(text, Mapping) else _split(text)
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in _CHANGES:
            raise UnknownNameError("change", name, _CHANGES, "For example rate=2x,workers=8.")
        if name == "memory":
            found["memory_bytes"] = parse_bytes(value)
        else:
            found[name] = _number(name, value, whole=name in ("workers", "cores"))
    if found.get("memory_bytes") == 0:
        raise InputError("memory=0 leaves nothing; give a size above 0")
    return Change(**found)


def _split(text: str) -> list[tuple[str, str]]:
    parts = [part.strip() for part in str(text).split(",") if part.strip()]
    if not parts:
        raise InputError("the what-if names no change; write rate=2x,size=1.5x,workers=8,memory=4GiB")
    for part in parts:
        if "=" not in part:
            raise InputError(f"what-if {part!r} has no value; write it as {part}=2x or as workers=8")
    return [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in parts)]


def _number(name: str, value: Any, *, whole: bool) -> float | int:
    text = str(value).strip()
    try:
        number = float(text if whole else text.removesuffix("x"))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0) or (whole and number != int(number)):
        allowed = "a whole number of 1 or more" if whole else "a factor above 0 such as 2x"
        raise InputError(f"{name}={value} cannot be used; give {allowed}")
    return int(number) if whole else number


def bottleneck(
    demand: DemandForecast, host: Host, law: Scalability | None = None, change: Change | None = None
) -> Bottleneck | None:
    """Which resource reaches its limit first.

    Workers are busy for the latency of a transfer, cores for its processor time; memory is taken by the transfers
    that are under way, which by Little's law are rate x latency. The ladder says what was really carried at most.

    Args:
        demand: transfers per second over time, forecast.
        host: what serves it.
        law: of a ladder in the unit of the demand.
        change: what would be otherwise; sizes scale time and memory of a transfer in proportion.

    Returns:
        The resources, tightest first; None where none is known.
    """
    supposed = change or Change()
    capacities, warnings = _capacities(_changed(host, supposed), law, supposed)
    if not capacities:
        return None
    now, peak = demand.last_value * supposed.rate, demand.peak.value * supposed.rate
    most = max(one.high for one in demand.points) * supposed.rate
    resources = tuple(
        Resource(
            name,
            capacity,
            low,
            high,
            now / capacity,
            peak / capacity,
            most / capacity,
            dataclasses.replace(date_reached(demand, capacity / supposed.rate), limit=capacity, warnings=()),
        )
        for name, (capacity, low, high) in sorted(capacities.items(), key=lambda item: item[1][0])
    )
    wait = _wait(peak, _changed(host, supposed))
    return Bottleneck(resources, change, now, peak, wait, tuple(warnings))


def _changed(host: Host, change: Change) -> Host:
    def scaled(value: float | None) -> float | None:
        return None if value is None else value * change.size

    return Host(
        workers=change.workers or host.workers,
        cores=change.cores or host.cores,
        memory_bytes=change.memory_bytes or host.memory_bytes,
        latency_s=scaled(host.latency_s),
        cpu_s=scaled(host.cpu_s),
        resident_bytes=scaled(host.resident_bytes),
    )


def _capacities(
    host: Host, law: Scalability | None, change: Change
) -> tuple[dict[str, tuple[float, float, float]], list[str]]:
    found: dict[str, tuple[float, float, float]] = {}
    warnings = []
    if law is not None:
        carried = law.peak_throughput
        if host.workers is not None and host.workers < law.peak_concurrency.value:
            carried = law.at(host.workers)
        found["ladder"] = (carried.value, carried.low, carried.high)
        if change.size != 1:
            warnings.append("the ladder holds for the sizes that it was measured with, not for changed ones")
    if host.workers and host.latency_s:
        found["workers"] = (host.workers / host.latency_s,) * 3
    if host.cores and host.cpu_s:
        found["cores"] = (host.cores / host.cpu_s,) * 3
    if host.memory_bytes and host.resident_bytes and host.latency_s:
        found["memory"] = (host.memory_bytes / (host.resident_bytes * host.latency_s),) * 3
    given = (("workers", change.workers), ("cores", change.cores), ("memory", change.memory_bytes))
    for name, value in given:
        if value and name not in found and not (name == "workers" and law is not None):
            warnings.append(f"{name} were changed, but what one transfer takes of them is not known")
    if change.size != 1 and not {"workers", "cores", "memory"} & set(found):
        warnings.append("sizes were changed, but what one transfer costs is not known")
    return found, warnings


def _wait(rate: float, host: Host) -> float | None:
    if not host.workers or not host.latency_s:
        return None
    if rate * host.latency_s >= host.workers:
        return math.inf
    return queue(max(rate, 0.0), host.latency_s, host.workers).mean_wait_s
