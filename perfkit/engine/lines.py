"""Composed costs as straight lines between knees: worked out once per setting and goal, used by every plan."""

from __future__ import annotations

import bisect
import dataclasses
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from perfkit.config.curves import ANY, CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.composing import Composition, Context, Part, compose
from perfkit.engine.costs import Difference

__all__ = [
    "EXTRAPOLATION",
    "SMALLEST_BYTES",
    "UNKNOWN",
    "Line",
    "Pieces",
    "Setting",
    "known_methods",
    "line_of",
    "make_setting",
]

SMALLEST_BYTES = 1.0
EXTRAPOLATION = 64.0
"""Crossovers are looked for up to this many times the largest measured size."""
_POINTS_PER_DOUBLING = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Pieces:
    """``fixed + per_byte * bytes`` from each start on; the first start is 0."""

    starts: tuple[float, ...]
    fixed: tuple[float, ...]
    per_byte: tuple[float, ...]

    def at(self, payload_bytes: float) -> float:
        """The cost at a size, 0 or more bytes."""
        index = bisect.bisect_right(self.starts, payload_bytes) - 1
        return self.fixed[index] + self.per_byte[index] * payload_bytes

    def on(self, grid: Sequence[float]) -> list[float]:
        """The cost at ascending sizes."""
        values: list[float] = []
        ends = [*(bisect.bisect_left(grid, start) for start in self.starts[1:]), len(grid)]
        for fixed, per_byte, end in zip(self.fixed, self.per_byte, ends, strict=True):
            values += [fixed + per_byte * size for size in grid[len(values) : end]]
        return values


UNKNOWN = Pieces((0.0,), (math.nan,), (math.nan,))
"""A cost of which nothing is known, at any size."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """The cost of a method over the payload's size.

    Args:
        composition: what it is made of.
        terms: the cost is the largest of these; there is one only unless the slowest stage counts.
        first_bytes: smallest payload for which its transport was measured.
        last_bytes: the largest one.
    """

    composition: Composition
    terms: tuple[Pieces, ...]
    first_bytes: float
    last_bytes: float

    @property
    def method(self) -> str:
        """The method."""
        return self.composition.method

    def at(self, payload_bytes: float) -> float:
        """The cost at a size, in the unit of the goal."""
        if len(self.terms) == 1:
            return self.terms[0].at(payload_bytes)
        return max(term.at(payload_bytes) for term in self.terms)

    def on(self, grid: Sequence[float]) -> list[float]:
        """The cost at ascending sizes."""
        if len(self.terms) == 1:
            return self.terms[0].on(grid)
        return list(map(max, *(term.on(grid) for term in self.terms)))


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """What every plan for a codec, signalling, placement, load and goal has in common.

    Args:
        lines: costs by method, for all with evidence.
        grid: sizes at which methods are compared first: geometric, and where a line has a knee.
        differences: what two methods differ in, by their names; filled as it is needed.
        lows: lower bounds of differences, by methods, scales and position on the grid; filled as it is needed.
    """

    lines: Mapping[str, Line]
    grid: array[float]
    differences: dict[tuple[str, str], Difference] = dataclasses.field(default_factory=dict)
    lows: dict[tuple[str, str, tuple[float, float], float], float] = dataclasses.field(default_factory=dict)

    def difference(self, first: Composition, second: Composition) -> Difference:
        """What two methods differ in."""
        names = (first.method, second.method)
        found = self.differences.get(names)
        if found is None:
            found = self.differences[names] = Difference.of(first, second)
        return found


def make_setting(
    curves: CurveSet,
    methods: Sequence[str],
    context: Context,
    goal: str,
    weights: Weights,
    factors: Mapping[str, float],
    pause: Callable[[], None],
) -> Setting:
    """Compose the costs of methods and lay them over a grid.

    Args:
        curves: what was fitted.
        methods: all that a plan may ask for.
        context: codec, signalling, placement and load.
        goal: what is minimised.
        weights: of the goal ``balanced``.
        factors: corrections by method.
        pause: called between two pieces of work.
    """
    lines: dict[str, Line] = {}
    for method in methods:
        composition = compose(curves, method, context, goal, weights=weights, factors=factors)
        pause()
        if composition is not None:
            lines[method] = line_of(composition)
            pause()
    grid = _grid(list(lines.values()))
    pause()
    return Setting(MappingProxyType(lines), grid)


def line_of(composition: Composition) -> Line:
    """The cost of a composition as straight lines."""
    parts = composition.parts
    groups: list[tuple[Part, ...]] = [parts]
    if composition.slowest_stage:
        stages = dict.fromkeys(part.stage for part in parts)
        groups = [tuple(part for part in parts if part.stage == stage) for stage in stages]
    transports = [part for part in parts if part.stage == "transport"]
    return Line(
        composition,
        tuple(map(_sum, groups)),
        min(part.curve.min_bytes / part.wire_ratio for part in transports),
        max(part.curve.max_bytes / part.wire_ratio for part in transports),
    )


def known_methods(curves: CurveSet) -> tuple[str, ...]:
    """The methods that a curve set knows."""
    return tuple(sorted({key.method for key in curves.curves if key.stage == "transport"} - {ANY}))


def _sum(parts: Sequence[Part]) -> Pieces:
    knees = [[piece.start_bytes / part.wire_ratio for piece in part.curve.pieces] for part in parts]
    starts = sorted({0.0, *(knee for own in knees for knee in own if knee > 0)})
    fixed, per_byte = [0.0] * len(starts), [0.0] * len(starts)
    for part, own in zip(parts, knees, strict=True):
        for index, start in enumerate(starts):
            piece = part.curve.pieces[max(bisect.bisect_right(own, start) - 1, 0)]
            fixed[index] += part.weight * piece.fixed
            per_byte[index] += part.weight * part.wire_ratio * piece.per_byte
    return Pieces(tuple(starts), tuple(fixed), tuple(per_byte))


def _grid(lines: Sequence[Line]) -> array[float]:
    """A geometric grid of sizes and the sizes at which a line has a knee."""
    if not lines:
        return array("d")
    first, last = SMALLEST_BYTES, max(max(line.last_bytes for line in lines), SMALLEST_BYTES) * EXTRAPOLATION
    count = math.ceil(_POINTS_PER_DOUBLING * math.log2(last / first)) + 1
    step = (last / first) ** (1 / max(count - 1, 1))
    sizes = {first * step**index for index in range(count)}
    for line in lines:
        for term in line.terms:
            sizes.update(start for start in term.starts if first <= start <= last)
    return array("d", sorted(sizes))
