"""Where each method wins: composed costs compiled into ranges of payload size.

At a size the cheapest method wins, unless a simpler one is *indistinguishable* from it: the 95 % interval of their
difference contains 0 and the expected loss is within a tolerance. Noise therefore never buys a real loss, and a method
that wins nowhere is in no range. Services compile their plan with this module, so it needs the standard library alone.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Composition, Context, Cost, compose, cost_at, cost_difference
from perfkit.schema import SIMPLICITY_ORDER

__all__ = ["TOLERANCE", "Range", "choose", "compile_ranges", "range_at"]

TOLERANCE = 0.05
"""Largest expected loss, as a share of the cheapest cost, for which a simpler method is taken."""

_SMALLEST_BYTES = 1.0
_EXTRAPOLATION = 64.0  # crossovers are looked for up to this many times the largest measured size
_POINTS_PER_DOUBLING = 3
_THINNEST_RANGE = 1.15  # a thinner range (end / start) would make decisions flicker
_EDGE_PRECISION = 1.002  # edges are refined until they lie within this factor


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Payload sizes for which one method is taken.

    Args:
        start_bytes: first size of the range; 0 for the first range.
        end_bytes: the range ends before this size; infinite for the last range.
        method: the method taken.
        middle_bytes: geometric middle of the range within the measured sizes.
        expected: cost of the method there, in the unit of the goal.
        crossover: sizes between which the true upper edge lies (95 %), 0 or infinite where the evidence does not bound
            it; None for the last range.
        alternatives: cost of every other method at the middle, cheapest first.
    """

    start_bytes: float
    end_bytes: float
    method: str
    middle_bytes: float
    expected: Cost
    crossover: tuple[float, float] | None
    alternatives: Mapping[str, Cost]

    @property
    def n(self) -> int:
        """Observations behind the expected cost."""
        return self.expected.n

    @property
    def measured(self) -> bool:
        """Whether the expected cost was measured; otherwise it is an estimate, printed with ``(?)``."""
        return self.expected.measured


def compile_ranges(
    curves: CurveSet,
    context: Context,
    goal: str = "latency",
    *,
    simplicity_order: Sequence[str] = SIMPLICITY_ORDER,
    tolerance: float = TOLERANCE,
) -> tuple[Range, ...]:
    """Compile the composed costs of a context into ranges of payload size, from 0 to infinity without gaps.

    Args:
        curves: what was fitted.
        context: codec, signalling, placement, load and the methods that may be taken.
        goal: ``latency``, ``throughput``, ``memory`` or ``balanced``.
        simplicity_order: methods from simple to complicated; others count as more complicated than these.
        tolerance: largest expected loss for which a simpler method is taken, 0 to 1.

    Returns:
        The ranges in order of size; empty where there is no evidence about any available method.

    Raises:
        UnknownNameError: there is no such goal.

    >>> from perfkit.config.curves import CostCurve, CurveKey, IntervalPoint, Piece
    >>> def line(fixed, per_byte):
    ...     return CostCurve((Piece(0, fixed, per_byte),), (IntervalPoint(1, 0.99, 1.01),), 1024, 2**30, 90, 3)
    >>> lines = {"uds": line(10_000, 0.3), "shm_pool": line(40_000, 0.1)}
    >>> curves = CurveSet({CurveKey("transport", "latency_ns", method): curve for method, curve in lines.items()})
    >>> [(round(part.end_bytes, -3), part.method) for part in compile_ranges(curves, Context(), tolerance=0)]
    [(150000.0, 'uds'), (inf, 'shm_pool')]
    """
    compositions = _available(curves, context, goal, simplicity_order)
    if not compositions:
        return ()
    first_bytes, last_bytes = _measured_bytes(compositions)

    settled = choose(compositions, last_bytes, tolerance).method

    def method_at(payload_bytes: float) -> str:
        method = choose(compositions, payload_bytes, tolerance).method
        if payload_bytes > last_bytes and method != settled:
            # Ignorance grows beyond the measured sizes: only a lower cost is a reason to change methods there.
            return choose(compositions, payload_bytes, 0.0).method
        return method

    grid = _grid(compositions, _SMALLEST_BYTES, last_bytes * _EXTRAPOLATION)
    edges = _edges(method_at, grid)
    edges = _without_flicker(edges, compositions, tolerance)
    starts = [0.0, *(edge for edge, _ in edges[1:])]
    methods = [method for _, method in edges]
    by_method = {composition.method: composition for composition in compositions}
    ranges = []
    for index, (start, method) in enumerate(zip(starts, methods, strict=True)):
        end = starts[index + 1] if index + 1 < len(starts) else math.inf
        middle = _middle(start, end, first_bytes, last_bytes)
        costs = {name: cost_at(composition, middle) for name, composition in by_method.items()}
        others = sorted((name for name in costs if name != method), key=lambda name: costs[name].value)
        crossover = None
        if end < math.inf:
            crossover = _crossover_interval(by_method[method], by_method[methods[index + 1]], end, grid)
        alternatives = MappingProxyType({name: costs[name] for name in others})
        ranges.append(Range(start, end, method, middle, costs[method], crossover, alternatives))
    return tuple(ranges)


def choose(compositions: Sequence[Composition], payload_bytes: float, tolerance: float = TOLERANCE) -> Composition:
    """The method to take at a size: the cheapest, or a simpler one that is indistinguishable from it.

    Args:
        compositions: one per method, from simple to complicated; at least one.
        payload_bytes: size of the payload.
        tolerance: largest expected loss for which a simpler method is taken.
    """
    values = [
        sum(part.weight * part.curve.at(payload_bytes * part.wire_ratio) for part in c.parts) for c in compositions
    ]
    cheapest = min(range(len(values)), key=values.__getitem__)
    for simpler in range(cheapest):
        if values[simpler] <= values[cheapest] * (1 + tolerance):
            _, low, _ = cost_difference(compositions[simpler], compositions[cheapest], payload_bytes)
            if low <= 0:
                return compositions[simpler]
    return compositions[cheapest]


def range_at(ranges: Sequence[Range], payload_bytes: float) -> Range:
    """The range that holds a size."""
    return ranges[bisect.bisect_right(ranges, payload_bytes, key=lambda part: part.start_bytes) - 1]


def _available(
    curves: CurveSet, context: Context, goal: str, simplicity_order: Sequence[str]
) -> tuple[Composition, ...]:
    rank = {method: index for index, method in enumerate(simplicity_order)}
    methods = sorted(set(context.available), key=lambda method: (rank.get(method, len(rank)), method))
    composed = (compose(curves, method, context, goal) for method in methods)
    return tuple(composition for composition in composed if composition is not None)


def _measured_bytes(compositions: Sequence[Composition]) -> tuple[float, float]:
    """The payload sizes between which at least one method was measured."""
    transports = [part for c in compositions for part in c.parts if part.stage == "transport"]
    first = min(part.curve.min_bytes / part.wire_ratio for part in transports)
    return max(first, _SMALLEST_BYTES), max(part.curve.max_bytes / part.wire_ratio for part in transports)


def _grid(compositions: Sequence[Composition], first_bytes: float, last_bytes: float) -> list[float]:
    """A geometric grid of sizes and the sizes at which a curve changes its piece."""
    count = math.ceil(_POINTS_PER_DOUBLING * math.log2(last_bytes / first_bytes)) + 1
    step = (last_bytes / first_bytes) ** (1 / max(count - 1, 1))
    sizes = {first_bytes * step**index for index in range(count)}
    for part in (part for composition in compositions for part in composition.parts):
        sizes.update(piece.start_bytes / part.wire_ratio for piece in part.curve.pieces)
    return sorted(size for size in sizes if first_bytes <= size <= last_bytes * step)


def _edges(method_at: Callable[[float], str], grid: Sequence[float]) -> list[tuple[float, str]]:
    """Start and method of every stretch of sizes with the same choice, edges refined by bisection."""
    edges = [(grid[0], method_at(grid[0]))]
    for left, right in itertools.pairwise(grid):
        method = method_at(right)
        while method != edges[-1][1]:
            low, high, before, after = left, right, edges[-1][1], method
            while high / low > _EDGE_PRECISION:
                middle = math.sqrt(low * high)
                here = method_at(middle)
                if here == before:
                    low = middle
                else:
                    high, after = middle, here
            edges.append((high, after))
            left = high
    return edges


def _without_flicker(
    edges: Sequence[tuple[float, str]], compositions: Sequence[Composition], tolerance: float
) -> list[tuple[float, str]]:
    """Let a range too thin to matter be absorbed by the one before it, where that costs at most the tolerance."""
    by_method = {composition.method: composition for composition in compositions}
    kept: list[tuple[float, str]] = []
    for index, (start, method) in enumerate(edges):
        if kept and method == kept[-1][1]:
            continue
        last = index + 1 == len(edges)
        if kept and not last and edges[index + 1][0] < start * _THINNEST_RANGE:
            end = edges[index + 1][0]
            loss = cost_at(by_method[kept[-1][1]], end).value / cost_at(by_method[method], end).value - 1
            if loss <= tolerance:
                continue
        kept.append((start, method))
    return kept


def _middle(start: float, end: float, first_measured: float, last_measured: float) -> float:
    """Geometric middle of a range, kept within the measured sizes where the two overlap."""
    low = max(start, min(first_measured, end / 2))
    high = min(end, max(last_measured, low))
    return math.sqrt(low * high)


def _crossover_interval(
    before: Composition, after: Composition, edge_bytes: float, grid: Sequence[float]
) -> tuple[float, float]:
    """The sizes around an edge at which the two methods cannot be told apart: where the true edge may lie."""

    def distinguishable(payload_bytes: float) -> bool:
        _, low, high = cost_difference(before, after, payload_bytes)
        return low > 0 or high < 0

    smaller = [size for size in reversed(grid) if size < edge_bytes]
    larger = [size for size in grid if size > edge_bytes]
    return (
        _boundary(distinguishable, edge_bytes, smaller, unbounded=0.0),
        _boundary(distinguishable, edge_bytes, larger, unbounded=math.inf),
    )


def _boundary(
    distinguishable: Callable[[float], bool], edge_bytes: float, sizes: Sequence[float], unbounded: float
) -> float:
    """Walk away from an edge to the first size at which the methods can be told apart."""
    inside = edge_bytes
    for outside in sizes:
        if distinguishable(outside):
            while max(outside / inside, inside / outside) > _EDGE_PRECISION:
                middle = math.sqrt(inside * outside)
                if distinguishable(middle):
                    outside = middle
                else:
                    inside = middle
            return outside
        inside = outside
    return unbounded
