"""What people want from the engine as a whole: how it chooses, learns, reacts and records."""

from __future__ import annotations

import dataclasses

__all__ = [
    "MODES",
    "RESOURCE_STATES",
    "SOURCES",
    "BreakerSettings",
    "CalibrationSettings",
    "EngineSettings",
    "ExplorationSettings",
    "RecorderSettings",
    "ResourceSettings",
]

MODES = ("decide", "observe")
SOURCES = ("override", "rule", "policy", "model", "threshold", "default")
"""Who may name a method, by default in this order: a pool's `override`, its `rules`, its `policy` in Python, the
published curves, its handwritten `thresholds`, and the engine's default."""

RESOURCE_STATES = ("normal", "cpu_pressure", "memory_pressure", "arena_low", "arena_exhausted")
"""What the host has left, as plans are compiled for it."""

_SECOND_NS = 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class ExplorationSettings:
    """How much is risked to learn what other methods would cost.

    Args:
        rate: share of decisions that take another plausible method, 0 to 0.5; 0 is off.
        budget_ns_per_s: latency that exploring may be expected to cost in each second, in nanoseconds.
        max_cost: another method is plausible while its expected cost is at most this many times that of the one taken,
            1 or more.
    """

    rate: float = 0.0
    budget_ns_per_s: float = 5e6
    max_cost: float = 1.5


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceSettings:
    """When the engine reacts to what the host has left.

    Args:
        react: whether it does.
        cpu: processor use that is pressure, as a share from 0 to 1 of what the host or its cgroup has.
        memory: the same for memory.
        arena: share of the arena in use from which room is kept for what needs it most.
        interval_ns: between two looks.
    """

    react: bool = True
    cpu: float = 0.8
    memory: float = 0.8
    arena: float = 0.8
    interval_ns: int = _SECOND_NS // 4


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a method that fails is left alone.

    Args:
        failures: consecutive failures that open its breaker, 1 or more.
        open_ns: how long it stays open before one transfer may try.
    """

    failures: int = 5
    open_ns: int = 60 * _SECOND_NS


@dataclasses.dataclass(frozen=True, slots=True)
class CalibrationSettings:
    """How far the plan may correct itself by what transfers really took.

    Args:
        correct: whether it does.
        max_factor: costs are corrected at most by this factor in either direction, 1 or more.
        min_outcomes: transfers of a pool and method before they count.
        max_error: typical error, as a factor of actual to predicted, beyond which the curves are not trusted and rules,
            thresholds and defaults decide; more than 1.
    """

    correct: bool = True
    max_factor: float = 2.0
    min_outcomes: int = 200
    max_error: float = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class RecorderSettings:
    """What happens to what `Engine.record` is told.

    Args:
        enabled: whether rows are written to the journal; what is counted is counted in any case.
        journal: folder of the journal, relative to the folder of `perfkit.toml`.
        buffer_rows: rows that may wait per thread; beyond, the oldest are dropped and counted.
        flush_interval_ns: how long a row waits at most.
        decision_share: share of recorded decisions whose reasons are kept as rows of ``decisions``, 0 to 1.
    """

    enabled: bool = True
    journal: str = "data/journal"
    buffer_rows: int = 10_000
    flush_interval_ns: int = _SECOND_NS // 5
    decision_share: float = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine chooses.

    Args:
        mode: ``decide``, or ``observe``: take the default, and tell what would have been taken.
        priority: `SOURCES` in the order in which they are asked; the first that names a method is followed.
        confidence: probability from 0 to 1 that a method chosen by the curves must have of being no worse, but for the
            pool's tolerance, than what would be taken without them.
        policy_modules: modules to import for their `perfkit.policy` functions.
        exploration: what is risked to learn.
        resources: reaction to what the host has left.
        breaker: reaction to failures.
        calibration: correction by what transfers took.
        recorder: what is kept.
    """

    mode: str = "decide"
    priority: tuple[str, ...] = SOURCES
    confidence: float = 0.5
    policy_modules: tuple[str, ...] = ()
    exploration: ExplorationSettings = ExplorationSettings()
    resources: ResourceSettings = ResourceSettings()
    breaker: BreakerSettings = BreakerSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    recorder: RecorderSettings = RecorderSettings()
