"""What a transfer costs: encode + transport + decode, composed from fitted curves.

Codecs and transports are measured apart. A method of the serialization family encodes a payload, moves the encoded
bytes and decodes them; a method of the zero-copy family encodes straight into its block where the codec can, and a
payload that was born in a block of the pool needs no encoding at all. Services compile their plan with this module, so
it needs the standard library alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perfkit.config.curves import ANY, CodecEntry, CostCurve, CurveKey, CurveSet
from perfkit.errors import UnknownNameError
from perfkit.schema import SIMPLICITY_ORDER, ZERO_COPY_FAMILY

__all__ = [
    "GOALS",
    "Composition",
    "Context",
    "Cost",
    "Part",
    "compose",
    "cost_at",
    "cost_difference",
    "goal_weights",
    "method_cost",
]

GOALS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "latency": {"latency_ns": 1.0},
        "throughput": {"cpu_ns": 1.0},
        "memory": {"resident_bytes": 1.0, "latency_ns": 1e-6},  # latency only breaks ties
        "balanced": {"latency_ns": 0.7, "cpu_ns": 0.3},
    }
)
"""What each goal minimises: the weight of every quantity in its cost."""


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What a decision depends on beside the payload's size.

    Args:
        pool: pool of workers that the service named.
        kind: tensor, dataframe, binary or text.
        format: numpy, arrow, pickle, msgpack, json or raw.
        compression: none, lz4 or zstd.
        signalling: how a shared-memory block is announced: uds or grpc.
        available: methods that may be taken.
        in_place: the payload was born in a block of the pool.
        in_flight: sends under way at once, 1 or more.
    """

    pool: str = "default"
    kind: str = "binary"
    format: str = "raw"
    compression: str = "none"
    signalling: str = "uds"
    available: tuple[str, ...] = SIMPLICITY_ORDER
    in_place: bool = False
    in_flight: int = 1


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
class Part:
    """One curve of a composition: `weight` times the curve at `wire_ratio` times the payload's size."""

    stage: str  # encode | transport | decode
    key: CurveKey
    curve: CostCurve
    wire_ratio: float
    weight: float

    def value_and_half_widths(self, payload_bytes: float) -> tuple[float, float, float]:
        """The weighted cost at a size, and how far its 95 % interval reaches below and above it."""
        curve_bytes = payload_bytes * self.wire_ratio
        value = self.weight * self.curve.at(curve_bytes)
        low, high = self.curve.relative_interval(max(curve_bytes, 1.0))
        return value, value * (1 - low), value * (high - 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Composition:
    """The curves that make up a method's cost in a context; `exact` is False where a neighbour's curve stands in."""

    method: str
    parts: tuple[Part, ...]
    exact: bool


def goal_weights(curves: CurveSet, goal: str = "latency") -> Mapping[str, float]:
    """The weight of each quantity in the cost of a goal, as far as the quantities were measured.

    Without curves for one of its quantities (a frame with nothing but latencies), a goal falls back to latency.

    Raises:
        UnknownNameError: there is no such goal.

    >>> dict(goal_weights(CurveSet({}), "throughput"))
    {'latency_ns': 1.0}
    """
    if goal not in GOALS:
        raise UnknownNameError("goal", goal, GOALS)
    measured = {key.quantity for key in curves.curves if key.stage == "transport"}
    return GOALS[goal] if measured.issuperset(GOALS[goal]) else GOALS["latency"]


def compose(curves: CurveSet, method: str, context: Context, goal: str = "latency") -> Composition | None:
    """Find the curves that make up the cost of a method in a context.

    Returns:
        The composition, or None where there is no evidence about this method.

    Raises:
        UnknownNameError: there is no such goal.
    """
    weights = goal_weights(curves, goal)
    codec = _find_codec(curves, context)
    parts: list[Part] = []
    exact = codec is not None or (context.format, context.compression) == ("raw", "none")
    for quantity, weight in weights.items():
        for stage, placement, ratio in _stages(method, context, codec):
            if stage == "transport":
                found = _find_transport(curves, quantity, method, placement, context)
                if found is None:
                    return None
            else:
                found = _find_codec_curve(curves, quantity, stage, context)
            exact = exact and found is not None and found[1]
            if found is not None:
                name = "encode" if stage == "encode_into" else stage
                parts.append(Part(name, found[0], curves.curves[found[0]], ratio, weight))
    return Composition(method, tuple(parts), exact)


def cost_at(composition: Composition, payload_bytes: float) -> Cost:
    """The composed cost at a size; the half-widths of independent parts are added in quadrature."""
    value = below = above = 0.0
    by_stage = {"encode": 0.0, "transport": 0.0, "decode": 0.0}
    measured = composition.exact
    for part in composition.parts:
        part_value, part_below, part_above = part.value_and_half_widths(payload_bytes)
        value += part_value
        below += part_below * part_below
        above += part_above * part_above
        by_stage[part.stage] += part_value
        measured = measured and part.curve.is_measured(payload_bytes * part.wire_ratio)
    n = min(part.curve.n for part in composition.parts)
    low, high = max(value - math.sqrt(below), 0.0), value + math.sqrt(above)
    return Cost(value, low, high, measured, n, MappingProxyType(by_stage))


def cost_difference(first: Composition, second: Composition, payload_bytes: float) -> tuple[float, float, float]:
    """Cost of `first` minus cost of `second` with its 95 % interval; parts that both share cancel.

    Returns:
        The difference, its lower and its upper bound, in the unit of the goal.
    """
    value = below = above = 0.0
    for part in first.parts:
        if part not in second.parts:
            part_value, part_below, part_above = part.value_and_half_widths(payload_bytes)
            value += part_value
            below += part_below * part_below
            above += part_above * part_above
    for part in second.parts:
        if part not in first.parts:
            part_value, part_below, part_above = part.value_and_half_widths(payload_bytes)
            value -= part_value
            below += part_above * part_above
            above += part_below * part_below
    return value, value - math.sqrt(below), value + math.sqrt(above)


def method_cost(
    curves: CurveSet, method: str, context: Context, payload_bytes: float, goal: str = "latency"
) -> Cost | None:
    """What moving a payload with a method is expected to cost.

    Args:
        curves: what was fitted.
        method: transfer method.
        context: codec, signalling, placement and load.
        payload_bytes: size of the payload before encoding, 0 or more.
        goal: ``latency``, ``throughput``, ``memory`` or ``balanced``.

    Returns:
        The composed cost with its interval, or None where there is no evidence about this method.

    Raises:
        UnknownNameError: there is no such goal.

    >>> from perfkit.config.curves import IntervalPoint, Piece
    >>> line = CostCurve((Piece(0, 10_000, 0.5),), (IntervalPoint(1, 0.9, 1.1),), 1024, 2**20, n=90, launches=3)
    >>> curves = CurveSet({CurveKey("transport", "latency_ns", "uds", placement="copied"): line})
    >>> method_cost(curves, "uds", Context(), 2000).value
    11000.0
    >>> method_cost(curves, "grpc", Context(), 2000) is None
    True
    """
    composition = compose(curves, method, context, goal)
    return None if composition is None else cost_at(composition, payload_bytes)


@functools.lru_cache(maxsize=8)
def _codecs_by_name(codecs: tuple[CodecEntry, ...]) -> Mapping[tuple[str, str, str], CodecEntry]:
    return {(codec.kind, codec.format, codec.compression): codec for codec in codecs}


def _find_codec(curves: CurveSet, context: Context) -> CodecEntry | None:
    by_name = _codecs_by_name(curves.codecs)
    name = (context.kind, context.format, context.compression)
    return by_name.get(name) or by_name.get((ANY, context.format, context.compression))


def _stages(method: str, context: Context, codec: CodecEntry | None) -> Iterator[tuple[str, str, float]]:
    """The stages of a transfer as (stage, placement, size on which its curve runs / payload's size)."""
    ratio = codec.wire_ratio if codec else 1.0
    if context.in_place and method == "shm_pool":
        yield "transport", "in_place", 1.0  # nothing is encoded: the block holds the payload itself
    elif codec and codec.into_block and method in ZERO_COPY_FAMILY:
        yield "encode_into", ANY, 1.0
        yield "transport", "in_place", ratio
    else:
        if codec:
            yield "encode", ANY, 1.0
        yield "transport", "copied", ratio
    if codec:
        yield "decode", ANY, 1.0


def _find_transport(
    curves: CurveSet, quantity: str, method: str, placement: str, context: Context
) -> tuple[CurveKey, bool] | None:
    """The nearest transport curve, and whether it is the one asked for (a wildcard is; another load is not)."""
    for in_flight in dict.fromkeys((context.in_flight, 1)):
        for place in dict.fromkeys((placement, ANY, "copied")):
            for signalling in (context.signalling, ANY):
                key = CurveKey("transport", quantity, method, signalling, place, in_flight)
                if key in curves.curves:
                    return key, in_flight == context.in_flight and place in (placement, ANY)
    return None


def _find_codec_curve(curves: CurveSet, quantity: str, stage: str, context: Context) -> tuple[CurveKey, bool] | None:
    """The nearest codec curve, and whether it is the one asked for.

    Encoding and decoding run on the processor, so their latency stands in for processor time that was not measured;
    `encode` and `encode_into` do the same work and stand in for each other.
    """
    stages = {"encode": ("encode", "encode_into"), "encode_into": ("encode_into", "encode")}.get(stage, (stage,))
    quantities = (quantity, "latency_ns") if quantity == "cpu_ns" else (quantity,)
    for nearest_quantity, nearest_stage, kind in itertools.product(quantities, stages, (context.kind, ANY)):
        key = CurveKey(
            nearest_stage, nearest_quantity, kind=kind, format=context.format, compression=context.compression
        )
        if key in curves.curves:
            return key, (nearest_quantity, nearest_stage) == (quantity, stage)
    return None
