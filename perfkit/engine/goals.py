"""What each goal minimises, as weights of the quantities that were measured.

What a transfer costs are its latency, the processor time of both sides, the memory that it holds, the bytes that are
copied for it, and its setup: what the first use of fresh memory takes longer. Cleanup needs no quantity of its own: the
release of a block lies within the boundary of a measurement, so it is part of the latency.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.memo import PerCurves
from perfkit.errors import UnknownNameError

__all__ = [
    "DEFAULT_WEIGHTS",
    "GOALS",
    "MAY_BE_MISSING",
    "PRESSURE_GOALS",
    "goal_in_force",
    "goal_notes",
    "goal_weights",
    "takes_slowest_stage",
]

GOALS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "latency": MappingProxyType({"latency_ns": 1.0}),
        "throughput": MappingProxyType({"latency_ns": 1.0}),  # of the slowest stage
        "memory": MappingProxyType(
            {"resident_bytes": 1.0, "copied_bytes": 1.0, "latency_ns": 1e-6}  # latency only breaks ties
        ),
        "balanced": MappingProxyType({"latency_ns": 0.7, "cpu_ns": 0.3}),
    }
)
"""What people may ask for, and the weight of every quantity in its cost; of ``balanced`` those that hold by default."""

PRESSURE_GOALS: Mapping[str, Mapping[str, float]] = MappingProxyType({"cpu": MappingProxyType({"cpu_ns": 1.0})})
"""Goals of the engine itself, for when the host runs short of something."""

DEFAULT_WEIGHTS = Weights()
_LATENCY = GOALS["latency"]
MAY_BE_MISSING = ("copied_bytes", "setup_ns")
"""Quantities that count as nothing where they were not measured, instead of making a goal impossible."""
_NAMES = {"copied_bytes": "copied bytes", "setup_ns": "setup"}


def takes_slowest_stage(goal: str) -> bool:
    """Whether a goal counts the slowest of encode, transport and decode instead of their sum.

    Where stages overlap, because one payload is encoded while another one is on its way, the slowest stage alone says
    how many transfers there are in a second. It is judged by latency, not by processor time: a stage that waits for the
    other side lets nobody through either. Who runs short of processors gets the goal ``cpu`` for as long as that lasts.
    """
    return goal == "throughput"


def goal_weights(curves: CurveSet, goal: str = "latency", weights: Weights = DEFAULT_WEIGHTS) -> Mapping[str, float]:
    """The weight of each quantity in the cost of a goal, as far as the quantities were measured.

    Copied bytes and setup count as nothing where nobody measured them, as in curves of an earlier perfkit. Without any
    other of its quantities (a frame with nothing but latencies), a goal falls back to latency.

    Args:
        curves: what was fitted.
        goal: one of `GOALS` or `PRESSURE_GOALS`.
        weights: of the goal ``balanced``.

    Raises:
        UnknownNameError: there is no such goal.

    >>> dict(goal_weights(CurveSet({}), "memory"))
    {'latency_ns': 1.0}
    """
    wanted = _wanted(goal, weights)
    measured = _measured(curves)
    if wanted and measured.issuperset(wanted):
        return wanted
    left = {name: weight for name, weight in wanted.items() if name in measured or name not in MAY_BE_MISSING}
    return left if left and measured.issuperset(left) else _LATENCY


def goal_in_force(curves: CurveSet, goal: str, weights: Weights = DEFAULT_WEIGHTS) -> str:
    """The goal, or ``latency`` where it falls back to that; arguments and errors as in `goal_weights`."""
    return "latency" if goal_weights(curves, goal, weights) is _LATENCY else goal


def goal_notes(curves: CurveSet, goal: str, weights: Weights = DEFAULT_WEIGHTS) -> tuple[str, ...]:
    """One sentence for what a goal asks for and nobody measured; arguments and errors as in `goal_weights`."""
    if goal_in_force(curves, goal, weights) != goal:
        fallback = f"goal {goal}: its quantities were not measured, so latency decides; measure with `perfkit run`"
        return (fallback,)
    missing = [_NAMES[name] for name in _wanted(goal, weights) if name not in _measured(curves)]
    if not missing:
        return ()
    return (f"goal {goal}: {' and '.join(missing)} not measured, counted as nothing; measure with `perfkit run`",)


def _wanted(goal: str, weights: Weights) -> Mapping[str, float]:
    if goal == "balanced" and weights != DEFAULT_WEIGHTS:
        by_quantity = {
            "latency_ns": weights.latency,
            "cpu_ns": weights.cpu,
            "resident_bytes": weights.memory,
            "copied_bytes": weights.copied,
            "setup_ns": weights.setup,
        }
        return {name: weight for name, weight in by_quantity.items() if weight > 0}
    found = GOALS.get(goal) or PRESSURE_GOALS.get(goal)
    if found is None:
        raise UnknownNameError("goal", goal, GOALS)
    return found


def _measured_quantities(curves: CurveSet) -> frozenset[str]:
    return frozenset(key.quantity for key in curves.curves if key.stage == "transport")


_measured = PerCurves(_measured_quantities)
