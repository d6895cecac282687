"""What the gate said when a version was published: a few figures that the thresholds file keeps for its history."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from perfkit.config.source import Source, shown

__all__ = ["EffectRecord", "GateRecord", "gate_from_toml", "gate_to_plain"]

_KEYS = ("forced", "effects", "regret")
_EFFECT_KEYS = ("on", "ratio", "ci", "n", "changed", "verdict")


@dataclasses.dataclass(frozen=True, slots=True)
class EffectRecord:
    """The effect that was expected, or measured, on one workload.

    Args:
        workload: what it was judged on.
        ratio: geometric-mean cost of the new version over that of the version before.
        low: lower bound of its 95 % interval.
        high: upper bound of its 95 % interval.
        n: transfers or payloads that it was judged on.
        share_changed: share of them that take another method than before, 0 to 1.
        verdict: better, worse, equivalent or inconclusive.
    """

    workload: str
    ratio: float
    low: float
    high: float
    n: int
    share_changed: float
    verdict: str


@dataclasses.dataclass(frozen=True, slots=True)
class GateRecord:
    """What was judged, and what was overridden.

    Args:
        forced: names of the refusals that were overridden; empty for a version that the gate let pass.
        effects: expected and measured effects.
        regret: measured regret of the new version by setting of the replay, as a share; empty without a replay.
    """

    forced: tuple[str, ...] = ()
    effects: tuple[EffectRecord, ...] = ()
    regret: Mapping[str, float] = dataclasses.field(default_factory=lambda: MappingProxyType({}))


def gate_to_plain(gate: GateRecord) -> dict[str, Any]:
    """The record as the values that its table in the file holds.

    >>> effect = EffectRecord("replay", 0.91234, 0.9, 0.95, 96, 0.5, "better")
    >>> gate_to_plain(GateRecord(("step",), (effect,)))["effects"]
    [{'on': 'replay', 'ratio': 0.9123, 'ci': [0.9, 0.95], 'n': 96, 'changed': 0.5, 'verdict': 'better'}]
    """
    effects = [
        {
            "on": one.workload,
            "ratio": _rounded(one.ratio),
            "ci": [_rounded(one.low), _rounded(one.high)],
            "n": one.n,
            "changed": _rounded(one.share_changed),
            "verdict": one.verdict,
        }
        for one in gate.effects
    ]
    regret = {setting: _rounded(value) for setting, value in gate.regret.items()}
    return {"forced": list(gate.forced), "effects": effects, "regret": regret}


def gate_from_toml(source: Source, table: Mapping[str, Any]) -> GateRecord:
    """Read what `gate_to_plain` made.

    Raises:
        ConfigError: a key or value is not one that `perfkit publish` writes.
    """
    source.refuse_unknown("gate", table, _KEYS)
    effects, forced, regret = table.get("effects", []), table.get("forced", []), table.get("regret", {})
    if not (isinstance(forced, list) and all(isinstance(name, str) for name in forced)):
        source.refuse("gate", "forced", f" == {shown(forced)}; must be a list of names")
    if not (isinstance(effects, list) and all(_is_effect(one) for one in effects)):
        source.refuse("gate", "effects", f" == {shown(effects)}; must be inline tables of {', '.join(_EFFECT_KEYS)}")
    if not (isinstance(regret, dict) and all(_is_number(value) for value in regret.values())):
        source.refuse("gate", "regret", f" == {shown(regret)}; must be settings with numbers")
    records = (
        EffectRecord(
            workload=one["on"],
            ratio=float(one["ratio"]),
            low=float(one["ci"][0]),
            high=float(one["ci"][1]),
            n=int(one["n"]),
            share_changed=float(one["changed"]),
            verdict=one["verdict"],
        )
        for one in effects
    )
    return GateRecord(tuple(forced), tuple(records), {name: float(value) for name, value in regret.items()})


def _is_effect(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(_EFFECT_KEYS)
        and all(isinstance(value[key], str) for key in ("on", "verdict"))
        and all(_is_number(value[key]) for key in ("ratio", "changed"))
        and isinstance(value["n"], int)
        and isinstance(value["ci"], list)
        and len(value["ci"]) == 2
        and all(map(_is_number, value["ci"]))
    )


def _is_number(value: object) -> bool:
    """Whether it is a number that Python can compute with; an interval may be open, so it may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**63) < value < 2**63 or value in (math.inf, -math.inf)


def _rounded(value: float) -> float:
    """Four significant figures: the file is read by people."""
    return float(f"{value:.4g}") if math.isfinite(value) else value
