"""Where each method wins: composed costs compiled into ranges of payload size.

At a size the cheapest method wins, unless a simpler one is *indistinguishable* from it: the 95 % interval of their
difference contains 0 and the expected loss is within a tolerance. Noise therefore never buys a real loss, and a method
that wins nowhere is in no range. Below a margin, the simpler method is taken however sure the benefit is. Services
compile their plan with this module, so it needs the standard library alone.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.composing import find_codec, has_own_curves
from perfkit.engine.costs import AS_MEASURED, Composition, Context, Cost, Difference, cost_at
from perfkit.engine.goals import DEFAULT_WEIGHTS
from perfkit.engine.lines import EXTRAPOLATION, SMALLEST_BYTES, Line, Setting, known_methods, line_of, make_setting
from perfkit.engine.memo import Bounded, PerCurves
from perfkit.schema import SIMPLICITY_ORDER

__all__ = [
    "CHEAPEST",
    "INDISTINGUISHABLE",
    "MARGINAL",
    "ONLY",
    "PENALISED",
    "TOLERANCE",
    "Range",
    "choose",
    "codec_name",
    "compile_ranges",
    "compose_all",
    "range_at",
]

TOLERANCE = 0.05
"""Largest expected loss, as a share of the cheapest cost, for which a simpler method is taken."""

ONLY = "the only method with evidence"
CHEAPEST = "the cheapest"
INDISTINGUISHABLE = "indistinguishable from the cheapest, and simpler"
MARGINAL = "simpler than the cheapest, which is hardly better"
PENALISED = "the cheapest but for methods that there is little room for"

_THINNEST_RANGE = 1.15  # a thinner range (end / start) would make decisions flicker
_EDGE_PRECISION = 1.002  # edges are refined until they lie within this factor
_SETTINGS_KEPT = 256
_COMPILED_KEPT = 8192
_POINTS_PER_PAUSE = 24
_PLAIN = (1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Range:
    """Payload sizes for which one method is taken.

    Args:
        start_bytes: first size of the range; 0 for the first range.
        end_bytes: the range ends before this size; infinite for the last range.
        method: the method taken.
        middle_bytes: geometric middle of the range within the measured sizes.
        reason: why the method is taken there, in words: `ONLY`, `CHEAPEST`, `INDISTINGUISHABLE`, `MARGINAL` or
            `PENALISED`.
        basis: the costs that it rests on.
    """

    start_bytes: float
    end_bytes: float
    method: str
    middle_bytes: float
    reason: str
    basis: Basis = dataclasses.field(repr=False)

    @functools.cached_property
    def expected(self) -> Cost:
        """Cost of the method in the middle, in the unit of the goal."""
        return cost_at(self.basis.compositions[self.method], self.middle_bytes)

    @functools.cached_property
    def alternatives(self) -> Mapping[str, Cost]:
        """Cost of every other method in the middle, cheapest first."""
        others = {
            method: cost_at(composition, self.middle_bytes)
            for method, composition in self.basis.compositions.items()
            if method != self.method
        }
        return MappingProxyType(dict(sorted(others.items(), key=lambda item: item[1].value)))

    @functools.cached_property
    def crossover(self) -> tuple[float, float] | None:
        """Sizes between which the true upper edge lies (95 %), None for the last range.

        It is 0 or infinite where the evidence does not bound it.
        """
        return self.basis.crossover(self.method, self.end_bytes)

    @property
    def n(self) -> int:
        """Observations behind the expected cost."""
        return self.expected.n

    @property
    def measured(self) -> bool:
        """Whether the expected cost was measured; otherwise it is an estimate, printed with ``(?)``."""
        return self.expected.measured


@dataclasses.dataclass(frozen=True, slots=True)
class Basis:
    """What the evidence of a range is worked out from when somebody asks for it.

    Args:
        compositions: by method, from simple to complicated.
        following: the method of the next range; None in the last one.
        scales: what the costs of the range's method and of the following one are multiplied by in choosing.
        limit_bytes: the evidence is asked up to here.
        grid: sizes to walk along.
    """

    compositions: Mapping[str, Composition]
    following: str | None
    scales: tuple[float, float]
    limit_bytes: float
    grid: array[float] = dataclasses.field(repr=False, compare=False)

    def crossover(self, method: str, edge_bytes: float) -> tuple[float, float] | None:
        """The sizes around an edge at which two methods cannot be told apart: where the true edge may lie."""
        if self.following is None:
            return None
        difference = Difference.of(self.compositions[method], self.compositions[self.following])

        def distinguishable(payload_bytes: float) -> bool:
            _, low, high = difference.at(payload_bytes, self.scales)
            return low > 0 or high < 0

        smaller = [size for size in reversed(self.grid) if size < edge_bytes]
        larger = [size for size in self.grid if edge_bytes < size <= self.limit_bytes]
        return (
            _boundary(distinguishable, edge_bytes, smaller, unbounded=0.0),
            _boundary(distinguishable, edge_bytes, larger, unbounded=math.inf),
        )


def compile_ranges(
    curves: CurveSet,
    context: Context,
    goal: str = "latency",
    *,
    simplicity_order: Sequence[str] = SIMPLICITY_ORDER,
    tolerance: float = TOLERANCE,
    margin: float = 0.0,
    weights: Weights = DEFAULT_WEIGHTS,
    factors: Mapping[str, float] = AS_MEASURED,
    penalties: Mapping[str, float] = AS_MEASURED,
    pause: Callable[[], None] | None = None,
) -> tuple[Range, ...]:
    """Compile the composed costs of a context into ranges of payload size, from 0 to infinity without gaps.

    What was compiled is kept: the same curves, wishes and setting give the same tuple, whatever the pool is called.

    Args:
        curves: what was fitted.
        context: codec, signalling, placement, load and the methods that may be taken.
        goal: ``latency``, ``throughput``, ``memory``, ``balanced``, or ``cpu`` for a host short of processors.
        simplicity_order: methods from simple to complicated; others count as more complicated than these.
        tolerance: largest expected loss for which a simpler method is taken when the evidence cannot tell the two
            apart, 0 to 1.
        margin: benefit below which a simpler method is taken in any case, 0 to 1.
        weights: of the goal ``balanced``.
        factors: by method, by what the latency and the processor time of its transport are multiplied; 1 by default.
        penalties: by method, by what its whole cost is multiplied in choosing; 1 by default.
        pause: called at least every 100 us of work, for a thread that must let others run.

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
    >>> [part.method for part in compile_ranges(curves, Context(), margin=1.0, tolerance=0)]
    ['uds', 'shm_pool']
    """
    return _memo(curves).ranges(
        curves,
        context,
        (goal, weights, _frozen(factors)),
        _Wishes(tuple(simplicity_order), tolerance, margin, _frozen(penalties)),
        pause or _no_pause,
    )


def choose(
    compositions: Sequence[Composition], payload_bytes: float, tolerance: float = TOLERANCE, margin: float = 0.0
) -> Composition:
    """The method to take at a size: the cheapest, or a simpler one that is indistinguishable from it.

    Args:
        compositions: one per method, from simple to complicated; at least one.
        payload_bytes: size of the payload.
        tolerance: largest expected loss for which a simpler method is taken.
        margin: benefit below which a simpler method is taken in any case.
    """
    lines = [line_of(one) for one in compositions]
    setting = Setting(MappingProxyType({}), array("d"))
    contest = _Contest(lines, [1.0] * len(lines), setting, margin, _no_pause)
    return compositions[contest.winner([line.at(payload_bytes) for line in lines], payload_bytes, tolerance)]


def compose_all(
    curves: CurveSet,
    context: Context,
    goal: str = "latency",
    *,
    weights: Weights = DEFAULT_WEIGHTS,
    factors: Mapping[str, float] = AS_MEASURED,
    pause: Callable[[], None] | None = None,
) -> Setting:
    """The costs of every method in a context's setting, worked out once and kept; arguments as in `compile_ranges`.

    Raises:
        UnknownNameError: there is no such goal.
    """
    return _memo(curves).setting(curves, context, (goal, weights, _frozen(factors)), pause or _no_pause)


def codec_name(curves: CurveSet, context: Context) -> tuple[str, str, str]:
    """What a codec's curves are looked up by: contexts with the same name have the same costs.

    It is one for all codecs that nobody measured, as their payloads count as raw bytes.
    """
    return _memo(curves).codec_name(curves, context)


def range_at(ranges: Sequence[Range], payload_bytes: float) -> Range:
    """The range that holds a size."""
    return ranges[bisect.bisect_right(ranges, payload_bytes, key=lambda part: part.start_bytes) - 1]


Frozen = tuple[tuple[str, float], ...]


def _frozen(by_method: Mapping[str, float]) -> Frozen:
    return tuple(sorted((name, factor) for name, factor in by_method.items() if factor != 1.0)) if by_method else ()


def _no_pause() -> None:
    """Nobody else is waiting."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Wishes:
    """What a pool wants beside its goal."""

    simplicity_order: tuple[str, ...]
    tolerance: float
    margin: float
    penalties: Frozen


class _Memo:
    """Everything that was compiled from one curve set."""

    def __init__(self, curves: CurveSet) -> None:
        self._methods = known_methods(curves)
        self._codecs: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        self._settings: Bounded[Setting] = Bounded(_SETTINGS_KEPT)
        self._compiled: Bounded[tuple[Range, ...]] = Bounded(_COMPILED_KEPT)

    def ranges(
        self,
        curves: CurveSet,
        context: Context,
        goal: tuple[str, Weights, Frozen],
        wishes: _Wishes,
        pause: Callable[[], None],
    ) -> tuple[Range, ...]:
        """What was compiled for the same setting and wishes, or is compiled now."""
        key = (self._place(curves, context, goal), context.available, wishes)
        found = self._compiled.get(key)
        if found is None:
            pause()
            setting = self.setting(curves, context, goal, pause)
            found = self._compiled.keep(key, _compile(setting, context.available, wishes, pause))
        return found

    def setting(
        self, curves: CurveSet, context: Context, goal: tuple[str, Weights, Frozen], pause: Callable[[], None]
    ) -> Setting:
        """The costs of all methods."""
        place = self._place(curves, context, goal)
        found = self._settings.get(place)
        if found is None:
            made = make_setting(curves, self._methods, context, goal[0], goal[1], dict(goal[2]), pause)
            found = self._settings.keep(place, made)
        return found

    def codec_name(self, curves: CurveSet, context: Context) -> tuple[str, str, str]:
        """What a codec is looked up by."""
        codec = (context.kind, context.format, context.compression)
        return self._codecs.get(codec) or self._codecs.setdefault(codec, _codec_name(curves, context))

    def _place(self, curves: CurveSet, context: Context, goal: tuple[str, Weights, Frozen]) -> tuple[object, ...]:
        name = self.codec_name(curves, context)
        return (name, context.signalling, context.in_place, context.in_flight, *goal)


_memo = PerCurves(_Memo)


def _codec_name(curves: CurveSet, context: Context) -> tuple[str, str, str]:
    if find_codec(curves, context) is not None or has_own_curves(curves, context):
        return context.kind, context.format, context.compression
    is_raw = (context.format, context.compression) == ("raw", "none")
    return "", "raw" if is_raw else "unknown", "none"


def _compile(
    setting: Setting, available: Sequence[str], wishes: _Wishes, pause: Callable[[], None]
) -> tuple[Range, ...]:
    rank = {method: index for index, method in enumerate(wishes.simplicity_order)}
    methods = sorted(set(available), key=lambda method: (rank.get(method, len(rank)), method))
    lines = [setting.lines[method] for method in methods if method in setting.lines]
    if not lines:
        return ()
    penalties = dict(wishes.penalties)
    contest = _Contest(lines, [penalties.get(line.method, 1.0) for line in lines], setting, wishes.margin, pause)
    edges = contest.edges(wishes.tolerance)
    pause()
    edges = contest.without_flicker(edges, max(wishes.tolerance, wishes.margin))
    pause()
    return contest.ranges(edges)


class _Contest:
    """The available methods of a setting, from simple to complicated, with what their costs are multiplied by."""

    def __init__(
        self,
        lines: Sequence[Line],
        scales: Sequence[float],
        setting: Setting,
        margin: float,
        pause: Callable[[], None],
    ) -> None:
        self.lines, self.scales, self.setting, self.margin, self.pause = lines, scales, setting, margin, pause

    def winner(self, values: Sequence[float], payload_bytes: float, tolerance: float) -> int:
        """The number of the method to take, given all (scaled) costs at a size."""
        least = min(values)
        limit = least * (1 + max(tolerance, self.margin))
        for index, value in enumerate(values):
            if value <= limit and (
                value == least
                or value <= least * (1 + self.margin)
                or self._low(index, values.index(least), payload_bytes) <= 0
            ):
                return index
        raise ValueError(f"a cost at {payload_bytes} bytes is no number: {values}")

    def edges(self, tolerance: float) -> list[tuple[float, int]]:
        """Start and method of every stretch of sizes with the same choice, edges refined by bisection."""
        last_bytes = max(line.last_bytes for line in self.lines)
        settled = self.winner(self._values_at(last_bytes), last_bytes, tolerance)

        def winner_of(values: Sequence[float], payload_bytes: float) -> int:
            winner = self.winner(values, payload_bytes, tolerance)
            if payload_bytes > last_bytes and winner != settled:
                # Ignorance grows beyond the measured sizes: only a lower cost is a reason to change methods there.
                return self.winner(values, payload_bytes, 0.0)
            return winner

        grid = self.setting.grid[: bisect.bisect_right(self.setting.grid, last_bytes * EXTRAPOLATION)]
        within = 1 + max(tolerance, self.margin)
        edges: list[tuple[float, int]] = []
        left = SMALLEST_BYTES
        for number, (size, values) in enumerate(zip(grid, self._rows(grid), strict=True)):
            if number % _POINTS_PER_PAUSE == 0:
                self.pause()
            least = min(values)
            limit = least * within
            for winner, value in enumerate(values):  # noqa: B007 - the first one that is within the limit
                if value <= limit:
                    break
            if value != least or size > last_bytes:
                winner = winner_of(values, size)
            if not edges:
                edges.append((size, winner))
            while winner != edges[-1][1]:
                low, high, before, after = left, size, edges[-1][1], winner
                while high / low > _EDGE_PRECISION:
                    middle = math.sqrt(low * high)
                    here = winner_of(self._values_at(middle), middle)
                    low, high, after = (middle, high, after) if here == before else (low, middle, here)
                edges.append((high, after))
                left = high
                self.pause()
            left = size
        return edges

    def without_flicker(self, edges: Sequence[tuple[float, int]], tolerance: float) -> list[tuple[float, int]]:
        """Let a range too thin to matter be absorbed by the one before it, where that costs at most the tolerance."""
        kept: list[tuple[float, int]] = []
        for (start, method), following in itertools.zip_longest(edges, edges[1:]):
            if kept and method == kept[-1][1]:
                continue
            if kept and following is not None and following[0] < start * _THINNEST_RANGE:
                values = self._values_at(following[0])
                if values[kept[-1][1]] / values[method] - 1 <= tolerance:
                    continue
            kept.append((start, method))
        return kept

    def ranges(self, edges: Sequence[tuple[float, int]]) -> tuple[Range, ...]:
        """The ranges between edges, with what their evidence is worked out from."""
        first = max(min(line.first_bytes for line in self.lines), SMALLEST_BYTES)
        last = max(line.last_bytes for line in self.lines)
        compositions = MappingProxyType({line.method: line.composition for line in self.lines})
        starts = [0.0, *(edge for edge, _ in edges[1:])]
        ranges = []
        for index, (start, (_, number)) in enumerate(zip(starts, edges, strict=True)):
            following = edges[index + 1][1] if index + 1 < len(edges) else None
            end = math.inf if following is None else starts[index + 1]
            scales = (self.scales[number], 1.0 if following is None else self.scales[following])
            scales = _PLAIN if scales == _PLAIN else scales  # one object for most ranges
            next_method = None if following is None else self.lines[following].method
            basis = Basis(compositions, next_method, scales, last * EXTRAPOLATION, self.setting.grid)
            middle = _middle(start, end, first, last)
            method = self.lines[number].method
            ranges.append(Range(start, end, method, middle, self._reason(number, middle), basis))
            self.pause()
        return tuple(ranges)

    def _reason(self, number: int, payload_bytes: float) -> str:
        if len(self.lines) == 1:
            return ONLY
        plain = [line.at(payload_bytes) for line in self.lines]
        if plain[number] <= min(plain):
            return CHEAPEST
        scaled = [value * scale for value, scale in zip(plain, self.scales, strict=True)]
        if scaled[number] <= min(scaled):
            return PENALISED
        return MARGINAL if scaled[number] <= min(scaled) * (1 + self.margin) else INDISTINGUISHABLE

    def _rows(self, grid: Sequence[float]) -> zip[tuple[float, ...]]:
        """The (scaled) costs of all methods at ascending sizes."""
        columns = []
        for line, scale in zip(self.lines, self.scales, strict=True):
            values = line.on(grid)
            columns.append(values if scale == 1.0 else [scale * value for value in values])
            self.pause()
        return zip(*columns, strict=True)

    def _values_at(self, payload_bytes: float) -> list[float]:
        return [line.at(payload_bytes) * scale for line, scale in zip(self.lines, self.scales, strict=True)]

    def _low(self, simpler: int, cheapest: int, payload_bytes: float) -> float:
        """The lower bound of what the simpler method costs more."""
        first, second = self.lines[simpler], self.lines[cheapest]
        scales = (self.scales[simpler], self.scales[cheapest])
        key = (first.method, second.method, scales, payload_bytes)
        low = self.setting.lows.get(key)
        if low is None:
            difference = self.setting.difference(first.composition, second.composition)
            low = self.setting.lows[key] = difference.at(payload_bytes, scales)[1]
            self.pause()
        return low


def _middle(start: float, end: float, first_measured: float, last_measured: float) -> float:
    """Geometric middle of a range, kept within the measured sizes where the two overlap."""
    low = max(start, min(first_measured, end / 2))
    high = min(end, max(last_measured, low))
    return math.sqrt(low * high)


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
