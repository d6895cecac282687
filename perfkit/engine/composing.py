"""Which curves make up the cost of a method: found by context, each with a weight."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perfkit.config.curves import ANY, CodecEntry, CostCurve, CurveKey, CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.goals import DEFAULT_WEIGHTS, MAY_BE_MISSING, goal_weights, takes_slowest_stage
from perfkit.engine.memo import PerCurves
from perfkit.schema import SIMPLICITY_ORDER, ZERO_COPY_FAMILY

__all__ = [
    "AS_MEASURED",
    "Composition",
    "Context",
    "Part",
    "compose",
    "find_codec",
    "has_own_curves",
    "transport_placement",
]

AS_MEASURED: Mapping[str, float] = MappingProxyType({})
_TIMES = ("latency_ns", "cpu_ns")
_STANDS_IN = {"encode": ("encode", "encode_into"), "encode_into": ("encode_into", "encode")}

Found = tuple[CurveKey, CostCurve, bool]
"""A curve, and whether it is the one that was asked for."""


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

    def born_in_block(self, method: str) -> bool:
        """Whether a method sends the payload from where it lies, without encoding or copying it."""
        return self.in_place and method == "shm_pool"


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
    """The curves that make up a method's cost in a context.

    Args:
        method: transfer method.
        parts: one or several per stage; their values in a stage are added up.
        exact: False where a neighbour's curve stands in.
        slowest_stage: the cost is that of the slowest stage; otherwise the sum of all.
    """

    method: str
    parts: tuple[Part, ...]
    exact: bool
    slowest_stage: bool = False


def compose(
    curves: CurveSet,
    method: str,
    context: Context,
    goal: str = "latency",
    *,
    weights: Weights = DEFAULT_WEIGHTS,
    factors: Mapping[str, float] = AS_MEASURED,
) -> Composition | None:
    """Find the curves that make up the cost of a method in a context.

    Args:
        curves: what was fitted.
        method: transfer method.
        context: codec, signalling, placement and load.
        goal: one of `GOALS` or `PRESSURE_GOALS`.
        weights: of the goal ``balanced``.
        factors: by method, by what the latency and the processor time of its transport are multiplied; 1 by default.

    Returns:
        The composition, or None where there is no evidence about this method.

    Raises:
        UnknownNameError: there is no such goal.
    """
    index = _index(curves)
    codec = index.codec(context)
    factor = factors.get(method, 1.0)
    parts: list[Part] = []
    exact = codec is not None or (context.format, context.compression) == ("raw", "none")
    for quantity, weight in goal_weights(curves, goal, weights).items():
        for stage, placement, ratio in _stages(method, context, codec):
            if stage == "transport":
                found = index.transport(quantity, method, placement, context, has_own=not context.born_in_block(method))
                if found is None and quantity not in MAY_BE_MISSING:
                    return None
                exact = exact and found is not None and found[2]
            else:
                found = index.codec_stage(quantity, stage, context)
                # Copied bytes and setup belong to transports: a codec without them lacks nothing.
                exact = exact and (quantity in MAY_BE_MISSING if found is None else found[2])
            if found is not None:
                is_corrected = stage == "transport" and quantity in _TIMES
                name = "encode" if stage == "encode_into" else stage
                parts.append(Part(name, found[0], found[1], ratio, weight * factor if is_corrected else weight))
    return Composition(method, tuple(parts), exact, takes_slowest_stage(goal)) if parts else None


def find_codec(curves: CurveSet, context: Context) -> CodecEntry | None:
    """What is known about a context's codec; None where nothing is, so that the payload counts as raw bytes."""
    return _index(curves).codec(context)


def transport_placement(curves: CurveSet, method: str, context: Context) -> str:
    """How the bytes that a method transports come into a block in a context: ``copied`` or ``in_place``."""
    stages = _stages(method, context, find_codec(curves, context))
    return next(placement for stage, placement, _ in stages if stage == "transport")


def has_own_curves(curves: CurveSet, context: Context) -> bool:
    """Whether transports of a context's codec have curves of their own: distilled ones."""
    return _index(curves).own_transports(context) is not None


def _stages(method: str, context: Context, codec: CodecEntry | None) -> Iterator[tuple[str, str, float]]:
    """The stages of a transfer as (stage, placement, size on which its curve runs / payload's size)."""
    ratio = codec.wire_ratio if codec else 1.0
    if context.born_in_block(method):
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


_Transports = dict[tuple[str, str, str, str, int], tuple[CurveKey, CostCurve]]
"""Curves by quantity, method, signalling, placement and load."""


class _Index:
    """The curves of a set by what they are looked up with. Those of one state alone are no part of it."""

    def __init__(self, curves: CurveSet) -> None:
        self._codecs = {(codec.kind, codec.format, codec.compression): codec for codec in curves.codecs}
        self._transports: _Transports = {}
        self._own: dict[tuple[str, str, str], _Transports] = {}
        self._stages: dict[tuple[str, str, str, str, str], tuple[CurveKey, CostCurve]] = {}
        for key, curve in curves.curves.items():
            if key.state != ANY:
                continue
            if key.stage == "transport":
                place = (key.quantity, key.method, key.signalling, key.placement, key.in_flight)
                codec = (key.kind, key.format, key.compression)
                transports = self._transports if codec == (ANY, ANY, ANY) else self._own.setdefault(codec, {})
                transports[place] = key, curve
            elif (key.method, key.signalling, key.placement, key.in_flight) == (ANY, ANY, ANY, 1):
                self._stages[key.stage, key.quantity, key.kind, key.format, key.compression] = key, curve

    def codec(self, context: Context) -> CodecEntry | None:
        """The entry of the context's codec, or of any kind of payload in this format and compression."""
        found = self._codecs.get((context.kind, context.format, context.compression))
        return found or self._codecs.get((ANY, context.format, context.compression))

    def own_transports(self, context: Context) -> _Transports | None:
        """The transport curves for the context's codec alone; None where there are none."""
        return self._own.get((context.kind, context.format, context.compression))

    def transport(self, quantity: str, method: str, placement: str, context: Context, *, has_own: bool) -> Found | None:
        """The nearest transport curve; a wildcard is what was asked for, another load is not.

        At each distance the codec's own curve comes first, unless nothing is encoded.
        """
        own = self.own_transports(context) if has_own else None
        tables = (self._transports,) if own is None else (own, self._transports)
        for in_flight in dict.fromkeys((context.in_flight, 1)):
            for place in dict.fromkeys((placement, ANY, "copied")):
                for signalling, table in itertools.product((context.signalling, ANY), tables):
                    found = table.get((quantity, method, signalling, place, in_flight))
                    if found is not None:
                        return *found, in_flight == context.in_flight and place in (placement, ANY)
        return None

    def codec_stage(self, quantity: str, stage: str, context: Context) -> Found | None:
        """The nearest codec curve.

        Encoding and decoding run on the processor, so their latency stands in for processor time that was not measured;
        `encode` and `encode_into` do the same work and stand in for each other.
        """
        stages = _STANDS_IN.get(stage, (stage,))
        quantities = (quantity, "latency_ns") if quantity == "cpu_ns" else (quantity,)
        for near_quantity, near_stage, kind in itertools.product(quantities, stages, (context.kind, ANY)):
            found = self._stages.get((near_stage, near_quantity, kind, context.format, context.compression))
            if found is not None:
                return *found, (near_quantity, near_stage) == (quantity, stage)
        return None


_index = PerCurves(_Index)
