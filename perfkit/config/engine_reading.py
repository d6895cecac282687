"""`[engine]`, `[resources]`, `[breaker]`, `[calibration]` and `[recorder]` of `perfkit.toml`."""

from __future__ import annotations

import dataclasses

from perfkit.config.engine_settings import (
    MODES,
    SOURCES,
    BreakerSettings,
    CalibrationSettings,
    EngineSettings,
    ExplorationSettings,
    RecorderSettings,
    ResourceSettings,
)
from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.values import Choice, Duration, Flag, Modules, Number, Ordered, Share, Text, Whole

__all__ = [
    "BREAKER_KEYS",
    "CALIBRATION_KEYS",
    "ENGINE_KEYS",
    "EXPLORATION_KEYS",
    "RECORDER_KEYS",
    "RESOURCE_KEYS",
    "read_engine",
]

_MS, _S = 10**6, 10**9

ENGINE_KEYS = (
    Key("mode", Choice(MODES), "`observe`: take the defaults, and let `explain()` say what would be decided"),
    Key(
        "priority",
        Ordered("source", SOURCES),
        "who is asked first for a method; those that are left out follow in this order",
    ),
    Key(
        "confidence",
        Share(),
        "probability that a method chosen by the curves must have of being no worse than what would be taken else",
    ),
    Key("policies", Modules(), "Python modules with `@perfkit.policy` functions", field="policy_modules"),
)
EXPLORATION_KEYS = (
    Key("exploration_rate", Share(0.5), "share of decisions that try another method, to learn", field="rate"),
    Key(
        "exploration_budget",
        Duration(0, _S, "5ms"),
        "latency that trying others may be expected to cost in each second",
        field="budget_ns_per_s",
    ),
    Key(
        "exploration_max_cost",
        Number("factor", 1, 100, 1.5),
        "another method is tried only where it is expected to cost at most this many times as much",
        field="max_cost",
    ),
)
RESOURCE_KEYS = (
    Key("react", Flag(), "whether decisions follow what the host has left"),
    Key("cpu", Share(positive=True), "processor use that is pressure, of what the host or its cgroup has"),
    Key("memory", Share(positive=True), "the same for memory"),
    Key("arena", Share(positive=True), "share of the arena in use from which room is kept for what needs it most"),
    Key("interval", Duration(50 * _MS, 10 * _S, "250ms"), "time between two looks", field="interval_ns"),
)
BREAKER_KEYS = (
    Key("failures", Whole(1, 10**6, 5), "failures in a row after which a method is left alone"),
    Key("open", Duration(10 * _MS, 3600 * _S, "60s"), "for how long, before one transfer may try it", field="open_ns"),
)
CALIBRATION_KEYS = (
    Key("correct", Flag(), "whether the plan is corrected by what transfers really took"),
    Key("max_factor", Number("factor", 1, 100, 2), "costs are corrected at most by this factor, up or down"),
    Key("min_outcomes", Whole(1, 10**9, 200), "transfers of a pool and method before they count"),
    Key(
        "max_error",
        Number("factor", 1, 1000, 4, inclusive=False),
        "typical error of the curves beyond which rules, thresholds and defaults decide",
    ),
)
RECORDER_KEYS = (
    Key("enabled", Flag(), "whether what a service records is written to the journal"),
    Key("journal", Text("a folder", 1000), "folder of the journal, from the folder of this file"),
    Key("buffer_rows", Whole(1, 10**7, 10_000), "rows that may wait in each thread; beyond, the oldest are dropped"),
    Key(
        "flush_interval",
        Duration(10 * _MS, 60 * _S, "200ms"),
        "how long a row waits at most",
        field="flush_interval_ns",
    ),
    Key("decision_share", Share(), "share of decisions whose reasons are kept, too"),
)


def read_engine(whole: Section) -> EngineSettings:
    """What the file says of the engine.

    Args:
        whole: the file.

    Raises:
        ConfigError: a key or value that does not exist, with its place.
    """
    engine = whole.inner("engine")
    engine.refuse_unknown((*ENGINE_KEYS, *EXPLORATION_KEYS))
    resources, breaker = whole.inner("resources"), whole.inner("breaker")
    calibration, recorder = whole.inner("calibration"), whole.inner("recorder")
    resources.refuse_unknown(RESOURCE_KEYS)
    breaker.refuse_unknown(BREAKER_KEYS)
    calibration.refuse_unknown(CALIBRATION_KEYS)
    recorder.refuse_unknown(RECORDER_KEYS)
    settings = EngineSettings(
        exploration=ExplorationSettings(**read_keys(engine, EXPLORATION_KEYS)),
        resources=ResourceSettings(**read_keys(resources, RESOURCE_KEYS)),
        breaker=BreakerSettings(**read_keys(breaker, BREAKER_KEYS)),
        calibration=CalibrationSettings(**read_keys(calibration, CALIBRATION_KEYS)),
        recorder=RecorderSettings(**read_keys(recorder, RECORDER_KEYS)),
    )
    return dataclasses.replace(settings, **read_keys(engine, ENGINE_KEYS))
