"""Say before a limit is reached that it will be, and how much would be enough."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import deque
from collections.abc import Iterator
from typing import Any

from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine.resources.gauges import HOST
from perfkit.engine.resources.readings import Reading
from perfkit.engine.resources.states import left_at
from perfkit.units import format_bytes, format_duration

__all__ = ["CapacityWarning", "Outlook", "Trend"]

_SECOND_NS = 10**9
_POINTS = 60
_FEWEST_POINTS = 10
_HORIZON_S = 60.0
_NEAR = 0.9
_CONFIDENCE_Z = 1.645  # of a one-sided test at 5 %


@dataclasses.dataclass(frozen=True, slots=True)
class CapacityWarning:
    """A limit is near, or reached.

    Args:
        resource: ``cpu``, ``memory`` or ``arena``.
        kind: ``reached`` (use is over the limit), ``growing`` (it will be within a minute, if it goes on like in the
            last one) or ``near`` (a tenth of the limit is left).
        share: share in use, as the mean of a second.
        limit: share from which the engine reacts.
        growth_per_s: what the share grows by in a second; None where it does not, or that cannot be told yet.
        recommended: how much would be enough: bytes, or cores for ``cpu``.
        message: all of it as a sentence, with what to do.
    """

    resource: str
    kind: str
    share: float
    limit: float
    growth_per_s: float | None
    recommended: float
    message: str

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return self.message


class Trend:
    """The means of the last 60 seconds, and how fast they grow."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=_POINTS)  # moment in seconds, mean
        self._begun_ns: int | None = None
        self._sum, self._looks = 0.0, 0
        self.growth_per_s: float | None = None  # see `_growth_per_s`

    @property
    def latest(self) -> float | None:
        """Mean of the last whole second; None before there is one."""
        return self._points[-1][1] if self._points else None

    def add(self, moment_ns: int, value: float) -> None:
        """Take a figure."""
        if self._begun_ns is None:
            self._begun_ns = moment_ns
        self._sum += value
        self._looks += 1
        if moment_ns - self._begun_ns >= _SECOND_NS:
            self._points.append(((moment_ns + self._begun_ns) / 2e9, self._sum / self._looks))
            self._begun_ns, self._sum, self._looks = moment_ns, 0.0, 0
            self.growth_per_s = self._growth_per_s()

    def _growth_per_s(self) -> float | None:
        """The slope; None with fewer than ten points, where it is not above 0, or may be chance.

        The median of the slopes from each point to the one half the time later, which one point in four cannot spoil;
        a sign test says whether they grow. Both are for a straight line with any noise around it.

        Source: H. Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950.
        """
        points = list(self._points)
        if len(points) < _FEWEST_POINTS:
            return None
        half = len(points) // 2
        slopes = [
            (later[1] - earlier[1]) / (later[0] - earlier[0])
            for earlier, later in zip(points[:half], points[-half:], strict=True)
        ]
        growing = sum(slope > 0 for slope in slopes)
        if growing < (half + _CONFIDENCE_Z * math.sqrt(half)) / 2:
            return None
        slope = statistics.median(slopes)
        return slope if slope > 0 else None


class Outlook:
    """Warns of limits; pure. The same readings give the same warnings, in every look for which they hold.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: ResourceSettings) -> None:
        self._settings = settings
        self._trends: dict[str, tuple[object, Trend]] = {}

    def use(self, settings: ResourceSettings) -> None:
        """Warn of other limits from the next reading on."""
        self._settings = settings

    def update(self, reading: Reading) -> tuple[CapacityWarning, ...]:
        """Take a reading; what there is to warn of."""
        return tuple(self._warnings(reading))

    def _warnings(self, reading: Reading) -> Iterator[CapacityWarning]:
        known = (
            ("cpu", reading.cpu_share, self._settings.cpu, (reading.cpu_source, reading.cpu_cores)),
            (
                "memory",
                reading.memory_share,
                self._settings.memory,
                (reading.memory_source, reading.memory_total_bytes),
            ),
            ("arena", reading.arena_share, self._settings.arena, reading.arena_capacity_bytes),
        )
        for resource, share, limit, measure in known:
            if share is None:
                self._trends.pop(resource, None)
                continue
            trend = self._trend(resource, measure)
            trend.add(reading.moment_ns, share)
            latest = trend.latest
            if latest is not None and (warning := _judge(resource, latest, limit, trend.growth_per_s, reading)):
                yield warning

    def _trend(self, resource: str, measure: object) -> Trend:
        """The trend of a resource; a share of something else cannot be compared, so that it begins anew then."""
        known = self._trends.get(resource)
        if known is None or known[0] != measure:
            known = self._trends[resource] = measure, Trend()
        return known[1]


def _judge(resource: str, share: float, limit: float, growth: float | None, reading: Reading) -> CapacityWarning | None:
    reached_in_s = (limit - share) / growth if growth else math.inf
    if share > limit:
        kind = "reached"
    elif reached_in_s <= _HORIZON_S:
        kind = "growing"
    elif share >= _NEAR * limit and limit < 1:
        kind = "near"
    else:
        return None
    expected = share + (growth or 0.0) * _HORIZON_S
    needed = expected / max(left_at(limit), 0.01)  # so that in a minute it is where pressure would be left
    state = f"limit {limit:.0%}"
    if growth:
        times = [f"reached in {format_duration(reached_in_s * 1e9)}"] if kind != "reached" else []
        state += f", {' and '.join([*times, f'full in {format_duration((1 - share) / growth * 1e9)}'])}"
    recommended, use, advice = _SAID[resource](share, growth, needed, reading)
    return CapacityWarning(resource, kind, share, limit, growth, recommended, f"{use}: {state}; {advice}")


def _say_cpu(share: float, growth: float | None, needed: float, reading: Reading) -> tuple[float, str, str]:
    cores = reading.cpu_cores or 1.0
    recommended = math.ceil(cores * needed * 4) / 4
    growing = f", growing {growth * cores:.2g} cores a second" if growth else ""
    use = f"processor use {share * cores:.2f} of {cores:.3g} cores ({_source(reading.cpu_source)}){growing}"
    return recommended, use, f"{_raise(reading.cpu_source)} at least {recommended:g} cores, or move work elsewhere"


def _say_memory(share: float, growth: float | None, needed: float, reading: Reading) -> tuple[float, str, str]:
    total_bytes = reading.memory_total_bytes or 0
    recommended = _round_up(total_bytes * needed)
    use = _use_of_bytes("memory", share, growth, total_bytes, _source(reading.memory_source))
    advice = f"{_raise(reading.memory_source)} at least {format_bytes(recommended)}, or lower the arenas' size"
    return recommended, use, advice


def _say_arena(share: float, growth: float | None, needed: float, reading: Reading) -> tuple[float, str, str]:
    total_bytes = reading.arena_capacity_bytes or 0
    recommended = _round_up(total_bytes * needed)
    use = _use_of_bytes("arena", share, growth, total_bytes, "the fullest one")
    return recommended, use, f"raise arena_bytes to at least {format_bytes(recommended)}, or release blocks sooner"


_SAID = {"cpu": _say_cpu, "memory": _say_memory, "arena": _say_arena}


def _use_of_bytes(what: str, share: float, growth: float | None, total_bytes: int, source: str) -> str:
    growing = f", growing {format_bytes(growth * total_bytes)}/s" if growth else ""
    return f"{what} {format_bytes(share * total_bytes)} of {format_bytes(total_bytes)} ({source}){growing}"


def _source(source: str | None) -> str:
    return HOST if source in (None, HOST) else f"cgroup limit {source}"


def _raise(source: str | None) -> str:
    return "give the host" if source in (None, HOST) else f"raise {str(source).rpartition('/')[2]} to"


def _round_up(wanted_bytes: float) -> int:
    """To three binary digits, as people buy memory: at most an eighth more.

    >>> _round_up(8.2 * 2**30) // 2**30, _round_up(900)
    (9, 960)
    """
    wanted = math.ceil(wanted_bytes)
    step = 1 << max(wanted.bit_length() - 4, 0)
    return -(-wanted // step) * step
