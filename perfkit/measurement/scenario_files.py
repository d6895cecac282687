"""Scenario files: one's own workload, written in TOML.

launches = 3
budget = "2min"

[[scenario]]
method = ["uds", "shm_pool"]        # a list stands for every one of its values
payload = ["64KiB", "1MiB"]
kind = "tensor"
format = "numpy"
in_flight = 4
interval = "1ms"                    # pause between two sends
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.config.source import read_source
from perfkit.errors import ConfigError, InputError, UnknownNameError
from perfkit.measurement.scenarios import Scenario, Scheduled, Sweep, controls
from perfkit.units import parse_bytes, parse_duration

__all__ = ["load_sweep"]

_TOP_KEYS = ("launches", "budget", "min_rounds", "max_rounds", "scenario")
_SCENARIO_KEYS = (
    "payload",
    "method",
    "signalling",
    "placement",
    "touched",
    "temperature",
    "in_flight",
    "interval",
    "kind",
    "format",
    "compression",
    "entropy",
)


def load_sweep(path: str | Path) -> Sweep:
    """Read a scenario file.

    Args:
        path: the TOML file; see the module's description for its form.

    Returns:
        The sweep: the file's scenarios, crossed where values are lists, and the controls.

    Raises:
        ConfigError: the file cannot be read or says something that is not allowed; with path and, for malformed TOML,
            line and column.
    """
    path = Path(path)
    content = read_source(path, advice="give the path of a scenario file").body
    try:
        return _read_sweep(content, path)
    except InputError as error:
        raise ConfigError(str(error), path=path) from None


def _read_sweep(content: Mapping[str, Any], path: Path) -> Sweep:
    _check_keys("key", content, _TOP_KEYS)
    entries = content.get("scenario", [])
    if not isinstance(entries, list) or not entries:
        raise InputError("has no [[scenario]]; write at least one with a method and a payload")
    scenarios = [scenario for entry in entries for scenario in _read_scenarios(entry)]
    return Sweep(
        name=path.name,
        scheduled=(*controls(), *(Scheduled(scenario) for scenario in dict.fromkeys(scenarios))),
        launches=_whole(content, "launches", 3),
        budget_s=parse_duration(content.get("budget", "1min")) / 1e9,
        min_rounds=_whole(content, "min_rounds", 3),
        max_rounds=_whole(content, "max_rounds", 40),
    )


def _read_scenarios(entry: Mapping[str, Any]) -> list[Scenario]:
    _check_keys("key of a scenario", entry, _SCENARIO_KEYS)
    for key in ("payload", "method"):
        if key not in entry:
            raise InputError(f"a [[scenario]] lacks {key!r}; every scenario needs a method and a payload")
    values = {key: value if isinstance(value, list) else [value] for key, value in entry.items()}
    return [
        _read_scenario(dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
    ]


def _read_scenario(fields: dict[str, Any]) -> Scenario:
    payload_bytes = parse_bytes(fields.pop("payload"))
    interval_ns = parse_duration(fields.pop("interval", 0))
    for key, expected in (("in_flight", int), ("touched", bool)):
        if key in fields and type(fields[key]) is not expected:
            raise InputError(f"{key} == {fields[key]!r}, must be of type {expected.__name__}")
    encoded = fields.get("kind", "binary"), fields.get("format", "raw"), fields.get("compression", "none")
    stage = "transport" if encoded == ("binary", "raw", "none") else "whole"
    scenario = Scenario(payload_bytes, stage=stage, interval_ns=interval_ns, **fields)
    scenario.check()
    return scenario


def _check_keys(what: str, content: Any, allowed: tuple[str, ...]) -> None:
    if not isinstance(content, dict):
        raise InputError(f"[[scenario]] is a {type(content).__name__}, must be a table of keys and values")
    for key in content:
        if key not in allowed:
            raise UnknownNameError(what, key, allowed)


def _whole(content: Mapping[str, Any], key: str, default: int) -> int:
    value = content.get(key, default)
    if type(value) is not int or value < 1:
        raise InputError(f"{key} == {value!r}, must be a whole number of at least 1")
    return value
