"""From readings to one state: entered and left with hysteresis, the gravest first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from perfkit.config.engine_settings import RESOURCE_STATES, ResourceSettings
from perfkit.engine.resources.readings import Reading
from perfkit.units import format_bytes, format_duration

__all__ = ["EXHAUSTED_SHARE", "STALLED_SHARE", "StateStatistics", "StateTracker", "left_at"]

EXHAUSTED_SHARE = 0.95
"""Share in use of all arenas together beyond which they count as exhausted: what is left hardly makes one block."""

STALLED_SHARE = 0.1
"""Share of time in which tasks wait for memory that is pressure, whatever share of it is in use."""

_BAND = 0.1
_LOOKS = 2
_NORMAL = RESOURCE_STATES[0]


def left_at(limit: float) -> float:
    """The share down to which use must fall again: ten points below the limit, but not below its half.

    >>> round(left_at(0.8), 3), left_at(0.1)
    (0.7, 0.05)
    """
    return max(limit - _BAND, limit / 2)


@dataclasses.dataclass(frozen=True, slots=True)
class StateStatistics:
    """What became of a tracker so far.

    Args:
        state: the state in force.
        since_ns: moment of the reading that brought it; None before the first change.
        cause: why, as a sentence; empty before the first change.
        transitions: changes of state.
        time_ns: time spent in each state, up to the last reading.
    """

    state: str
    since_ns: int | None
    cause: str
    transitions: int
    time_ns: Mapping[str, int]

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "state": self.state,
            "since_ns": self.since_ns,
            "cause": self.cause,
            "transitions": self.transitions,
            "time_ns": dict(self.time_ns),
        }

    def __str__(self) -> str:
        times = ", ".join(f"{format_duration(spent_ns)} {state}" for state, spent_ns in self.time_ns.items())
        return f"{self.state}{f' ({self.cause})' if self.cause else ''}; {self.transitions} changes; {times}"


class StateTracker:
    """Follows one engine's resources; pure.

    A condition is entered when its figure is over the limit in two looks in a row (an exhausted arena: in one), and
    left when it is ten points below in two looks in a row. What is not known is no pressure.

    Args:
        settings: the limits, and whether to react at all.

    >>> tracker = StateTracker(ResourceSettings(cpu=0.8))
    >>> [tracker.update(Reading(look, cpu_share=0.93, cpu_cores=2)) for look in range(3)]
    ['normal', 'cpu_pressure', 'cpu_pressure']
    >>> tracker.statistics().cause
    'processor use 93% of 2 cores, limit 80%'
    """

    def __init__(self, settings: ResourceSettings) -> None:
        self.state = _NORMAL
        self._cause, self._transitions = "", 0
        self._since_ns: int | None = None
        self._gravest: _Condition | None = None
        self._moment_ns: int | None = None
        self._time_ns = dict.fromkeys(RESOURCE_STATES, 0)
        self._conditions = [_Condition(figure) for figure in _FIGURES]
        self.use(settings)

    def use(self, settings: ResourceSettings) -> None:
        """Follow other limits from the next reading on; what was counted stays."""
        self._reacts = settings.react
        for condition in self._conditions:
            condition.limit = condition.figure.limit(settings)

    def update(self, reading: Reading) -> str:
        """Take a reading; the state from now on, one of `RESOURCE_STATES`."""
        if self._moment_ns is not None:
            self._time_ns[self.state] += max(reading.moment_ns - self._moment_ns, 0)
        self._moment_ns = reading.moment_ns
        for condition in self._conditions:
            condition.update(reading)
        held = [condition for condition in self._conditions if condition.holds] if self._reacts else []
        gravest = max(held, key=lambda condition: RESOURCE_STATES.index(condition.figure.state), default=None)
        state = gravest.figure.state if gravest else _NORMAL
        if state != self.state:
            self._cause = self._sentence(gravest, reading)
            self.state, self._since_ns = state, reading.moment_ns
            self._transitions += 1
        self._gravest = gravest
        return state

    def statistics(self) -> StateStatistics:
        """What became of it so far."""
        times = MappingProxyType(dict(self._time_ns))
        return StateStatistics(self.state, self._since_ns, self._cause, self._transitions, times)

    def _sentence(self, gravest: _Condition | None, reading: Reading) -> str:
        if gravest is not None:
            return f"{gravest.figure.sentence(reading)}, limit {gravest.limit:.0%}"
        left = self._gravest  # what held until now
        if left is None or not self._reacts:
            return "resources.react is off"
        return f"{left.figure.sentence(reading)}, no more than {left_at(left.limit):.0%}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Figure:
    """One figure of a reading that brings a state when it is over its limit."""

    state: str
    value: Callable[[Reading], float | None]
    limit: Callable[[ResourceSettings], float]
    sentence: Callable[[Reading], str]
    looks: int = _LOOKS


class _Condition:
    """Whether a figure is over its limit, slow to believe either."""

    __slots__ = ("_contrary", "figure", "holds", "limit")

    def __init__(self, figure: _Figure) -> None:
        self.figure, self.limit = figure, 1.0
        self.holds = False
        self._contrary = 0  # looks in a row that speak against `holds`

    def update(self, reading: Reading) -> None:
        value = self.figure.value(reading)
        if self.holds:
            speaks_against, enough = value is None or value <= left_at(self.limit), _LOOKS
        else:
            speaks_against, enough = value is not None and value > self.limit, self.figure.looks
        self._contrary = self._contrary + 1 if speaks_against else 0
        if self._contrary >= enough:
            self.holds, self._contrary = not self.holds, 0


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.0%}"


def _processor(reading: Reading) -> str:
    cores = f" of {reading.cpu_cores:.3g} cores" if reading.cpu_cores else ""
    return f"processor use {_percent(reading.cpu_share)}{cores}"


def _memory(reading: Reading) -> str:
    total = f" of {format_bytes(reading.memory_total_bytes)}" if reading.memory_total_bytes else ""
    source = f" ({reading.memory_source})" if reading.memory_source else ""
    return f"memory use {_percent(reading.memory_share)}{total}{source}"


def _waits(reading: Reading) -> str:
    return f"tasks waited for memory {_percent(reading.psi_memory)} of the time"


def _arena(reading: Reading) -> str:
    total = f" of {format_bytes(reading.arena_capacity_bytes)}" if reading.arena_capacity_bytes else ""
    return f"arena use {_percent(reading.arena_share)}{total}"


def _arenas(reading: Reading) -> str:
    return f"use of all arenas {_percent(_share_of_arenas(reading))}"


def _share_of_arenas(reading: Reading) -> float | None:
    return reading.arena_share if reading.arenas_share is None else reading.arenas_share


_FIGURES = (
    _Figure("cpu_pressure", lambda reading: reading.cpu_share, lambda settings: settings.cpu, _processor),
    _Figure("memory_pressure", lambda reading: reading.memory_share, lambda settings: settings.memory, _memory),
    _Figure("memory_pressure", lambda reading: reading.psi_memory, lambda settings: STALLED_SHARE, _waits),
    _Figure("arena_low", lambda reading: reading.arena_share, lambda settings: settings.arena, _arena),
    _Figure("arena_exhausted", _share_of_arenas, lambda settings: EXHAUSTED_SHARE, _arenas, looks=1),
)
