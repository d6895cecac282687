"""What a transfer costs: encode + transport + decode, composed from fitted curves.

Codecs and transports are measured apart. A method of the serialization family encodes a payload, moves the encoded
bytes and decodes them; a method of the zero-copy family encodes straight into its block where the codec can, and a
payload that was born in a block of the pool needs no encoding at all. Services compile their plan with this module, so
it needs the standard library alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.composing import AS_MEASURED, Composition, Context, Part, compose
from perfkit.engine.goals import DEFAULT_WEIGHTS, GOALS, PRESSURE_GOALS, goal_in_force, goal_notes, goal_weights

__all__ = [
    "AS_MEASURED",
    "GOALS",
    "PRESSURE_GOALS",
    "Composition",
    "Context",
    "Cost",
    "Difference",
    "Part",
    "compose",
    "cost_at",
    "cost_difference",
    "goal_in_force",
    "goal_notes",
    "goal_weights",
    "method_cost",
]

_STAGES = ("encode", "transport", "decode")
_SIDAK = (0.0, 1.0, 1.142, 1.220)
"""By what the distance to a lower 97.5 % bound is multiplied so that it holds for 1, 2 or 3 figures at once."""

Figure = tuple[float, float, float]
"""A value, and how far its 95 % interval reaches below and above it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What one transfer is expected to cost, in the unit of the goal (nanoseconds; bytes for ``memory``).

    Args:
        value: point estimate.
        low: lower bound of the 95 % interval.
        high: upper bound of the 95 % interval.
        measured: every part was measured at this size, in this context; otherwise an estimate, printed with ``(?)``.
        n: observations behind the thinnest part.
        parts: the value of ``encode``, ``transport`` and ``decode``.
    """

    value: float
    low: float
    high: float
    measured: bool
    n: int
    parts: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """What two compositions differ in; parts that both share cancel.

    Args:
        first: parts of the first one alone.
        second: parts of the second one alone.
        shared: parts of both.
        slowest_stage: costs are those of the slowest stage; otherwise the sum of all.
    """

    first: tuple[Part, ...]
    second: tuple[Part, ...]
    shared: tuple[Part, ...]
    slowest_stage: bool

    @staticmethod
    def of(first: Composition, second: Composition) -> Difference:
        """The difference of two compositions for the same goal."""
        shared = tuple(part for part in first.parts if part in second.parts)
        own = [tuple(part for part in one.parts if part not in shared) for one in (first, second)]
        return Difference(own[0], own[1], shared, first.slowest_stage or second.slowest_stage)

    def at(self, payload_bytes: float, scales: tuple[float, float] = (1.0, 1.0)) -> Figure:
        """The difference at a size with the bounds of its 95 % interval.

        Args:
            payload_bytes: size of the payload before encoding.
            scales: what the whole cost of the first and of the second is multiplied by.
        """
        if self.slowest_stage:
            first, second, shared = (_figures(parts, payload_bytes) for parts in (self.first, self.second, self.shared))
            return _between_slowest(first, second, shared, scales)
        value = below = above = 0.0
        for parts, scale in ((self.first, scales[0]), (self.second, -scales[1]), (self.shared, scales[0] - scales[1])):
            if scale == 0:
                continue
            for part in parts:
                one, one_below, one_above = part.value_and_half_widths(payload_bytes)
                if scale < 0:
                    one_below, one_above = one_above, one_below
                value += scale * one
                below += (scale * one_below) ** 2
                above += (scale * one_above) ** 2
        return value, value - math.sqrt(below), value + math.sqrt(above)


def cost_at(composition: Composition, payload_bytes: float) -> Cost:
    """The composed cost at a size; the half-widths of independent parts are added in quadrature.

    Of a composition that takes the slowest stage, the interval reaches from the largest lower to the largest upper
    bound of a stage, the lower ones moved out so that they hold together.
    """
    figures = _figures(composition.parts, payload_bytes)
    by_stage = {stage: math.fsum(figure[0] for name, figure in figures if name == stage) for stage in _STAGES}
    value, below, above = (_slowest if composition.slowest_stage else _sum)(figures)
    measured = composition.exact and all(
        part.curve.is_measured(payload_bytes * part.wire_ratio) for part in composition.parts
    )
    n = min(part.curve.n for part in composition.parts)
    return Cost(value, max(value - below, 0.0), value + above, measured, n, MappingProxyType(by_stage))


def cost_difference(first: Composition, second: Composition, payload_bytes: float) -> Figure:
    """Cost of `first` minus cost of `second` with its 95 % interval; parts that both share cancel.

    Returns:
        The difference, its lower and its upper bound, in the unit of the goal.
    """
    return Difference.of(first, second).at(payload_bytes)


def method_cost(
    curves: CurveSet,
    method: str,
    context: Context,
    payload_bytes: float,
    goal: str = "latency",
    *,
    weights: Weights = DEFAULT_WEIGHTS,
    factors: Mapping[str, float] = AS_MEASURED,
) -> Cost | None:
    """What moving a payload with a method is expected to cost.

    Args:
        curves: what was fitted.
        method: transfer method.
        context: codec, signalling, placement and load.
        payload_bytes: size of the payload before encoding, 0 or more.
        goal: ``latency``, ``throughput``, ``memory``, ``balanced`` or ``cpu``.
        weights: of the goal ``balanced``.
        factors: by method, by what the latency and the processor time of its transport are multiplied; 1 by default.

    Returns:
        The composed cost with its interval, or None where there is no evidence about this method.

    Raises:
        UnknownNameError: there is no such goal.

    >>> from perfkit.config.curves import CostCurve, CurveKey, IntervalPoint, Piece
    >>> line = CostCurve((Piece(0, 10_000, 0.5),), (IntervalPoint(1, 0.9, 1.1),), 1024, 2**20, n=90, launches=3)
    >>> curves = CurveSet({CurveKey("transport", "latency_ns", "uds", placement="copied"): line})
    >>> method_cost(curves, "uds", Context(), 2000).value
    11000.0
    >>> method_cost(curves, "grpc", Context(), 2000) is None
    True
    """
    composition = compose(curves, method, context, goal, weights=weights, factors=factors)
    return None if composition is None else cost_at(composition, payload_bytes)


Figures = Sequence[tuple[str, Figure]]
"""Figures of parts, each with the name of its stage."""


def _figures(parts: Sequence[Part], payload_bytes: float) -> Figures:
    return [(part.stage, part.value_and_half_widths(payload_bytes)) for part in parts]


def _sum(figures: Figures) -> Figure:
    """The sum of independent figures: half-widths are added in quadrature."""
    value = below = above = 0.0
    for _, (one, one_below, one_above) in figures:
        value += one
        below += one_below * one_below
        above += one_above * one_above
    return value, math.sqrt(below), math.sqrt(above)


def _slowest(figures: Figures) -> Figure:
    """The largest sum of a stage. Whichever stage truly is the slowest, its upper bound is not above the largest one.

    The lower bounds must hold together: the largest of several that are each too high now and then is so more often.
    """
    by_stage = [_sum([one for one in figures if one[0] == stage]) for stage in {name: None for name, _ in figures}]
    if not by_stage:
        return 0.0, 0.0, 0.0
    value = max(one for one, _, _ in by_stage)
    highest = max(one + above for one, _, above in by_stage)
    surely = max(one - below for one, below, _ in by_stage)
    contenders = [(one, below) for one, below, above in by_stage if one + above >= surely]
    lowest = max(one - _SIDAK[len(contenders)] * below for one, below in contenders)
    return value, value - lowest, highest - value


def _between_slowest(first: Figures, second: Figures, shared: Figures, scales: tuple[float, float]) -> Figure:
    """The difference of two slowest stages.

    Its bounds are those of the two methods' own stages, at the point of the ellipse that quadrature stands for, and
    whatever the shared stages may be within their interval: these can only hide a difference.
    """
    (one, one_below, one_above), (two, two_below, two_above) = _slowest(first), _slowest(second)
    common, common_below, common_above = _slowest(shared)

    def least_and_most(own_one: float, own_two: float, low: float, high: float) -> tuple[float, float]:
        turns = (low, high, min(max(own_one, low), high), min(max(own_two, low), high))
        found = [scales[0] * max(own_one, turn) - scales[1] * max(own_two, turn) for turn in turns]
        return min(found), max(found)

    low, high = common - common_below, common + common_above
    to_low = _steps(one_below * scales[0], two_above * scales[1])
    to_high = _steps(one_above * scales[0], two_below * scales[1])
    value = least_and_most(one, two, common, common)[0]
    lower = least_and_most(one - to_low[0] * one_below, two + to_low[1] * two_above, low, high)[0]
    upper = least_and_most(one + to_high[0] * one_above, two - to_high[1] * two_below, low, high)[1]
    return value, min(lower, value), max(upper, value)


def _steps(first: float, second: float) -> tuple[float, float]:
    """How far along two half-widths the point lies at which their sum is that of quadrature."""
    both = math.hypot(first, second)
    return (first / both, second / both) if both > 0 else (0.0, 0.0)
