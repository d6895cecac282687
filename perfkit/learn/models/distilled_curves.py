"""One transport curve that says what a model says of whole transfers, as far as straight pieces can."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CostCurve, CurveKey, IntervalPoint, Piece
from perfkit.engine.composing import Composition, Context, Part
from perfkit.learn.pieces import straight_pieces

__all__ = ["NORMAL", "TOLERANCE", "Job"]

Floats = npt.NDArray[np.float64]

NORMAL = "normal"
TOLERANCE = 0.02
"""How far from the model straight pieces may be, as a share of the whole transfer; and what counts as no difference."""

_SMALLEST_SHARE = 1e-3
"""Of the whole: a transport costs at least this much, even where the codec's curves alone exceed the model."""
_POINTS_PER_DOUBLING = 1
_Z95 = 1.96


@dataclasses.dataclass(frozen=True)
class Job:
    """One transport curve to distil.

    Args:
        key: what it is to be looked up by.
        context: whose whole transfers it is for.
        base: the composition that is there.
        part: its transport.
        asked: what the model is asked with, beside the state.
        sizes: payload sizes in bytes, ascending.
        doubt: standard deviation of the logarithm of the true median around the model's; None where it is not known.
    """

    key: CurveKey
    context: Context
    base: Composition
    part: Part
    asked: Mapping[str, Any]
    sizes: Floats
    doubt: float | None = None

    def distilled(self, medians: Mapping[str, Floats]) -> dict[CurveKey, CostCurve]:
        """Curves for every state in which the model differs from what is there."""
        at = [float(size) for size in self.sizes]
        others = np.array([sum(one.value_and_half_widths(size)[0] for one in self._others) for size in at])
        before = np.array([self.part.value_and_half_widths(size)[0] for size in at])
        # Without a curve for this load, plans would take that of one in flight, which is distilled, too.
        is_there = self.part.key.in_flight == self.key.in_flight
        found: dict[CurveKey, CostCurve] = {}
        for state, whole in medians.items():
            if not np.isfinite(whole).all():
                continue  # a method that the model never met
            values = np.maximum.accumulate(np.maximum(whole - others, _SMALLEST_SHARE * whole))
            if is_there and (np.abs(values - before) <= TOLERANCE * whole).all():
                continue
            key = self.key if state == NORMAL else dataclasses.replace(self.key, state=state)
            found[key] = self._curve(values, whole)
            if state == NORMAL:
                before, is_there = values, True  # what holds in every other state, unless it says otherwise
        return found

    @property
    def _others(self) -> tuple[Part, ...]:
        return tuple(one for one in self.base.parts if one is not self.part)

    def _curve(self, values: Floats, whole: Floats) -> CostCurve:
        base, wire_sizes = self.part.curve, self.sizes * self.part.wire_ratio
        inner = straight_pieces(wire_sizes, values, TOLERANCE * whole)
        first, last = float(wire_sizes[0]), float(wire_sizes[-1])
        below = [one for one in base.pieces if one.start_bytes < first]
        inside = [one for one in base.pieces if one.start_bytes <= last][-1:] or list(base.pieces[:1])
        above = [dataclasses.replace(inside[0], start_bytes=last), *(p for p in base.pieces if p.start_bytes > last)]
        pieces = (
            *_scaled(below, _ratio(float(values[0]), base.at(first))),
            *inner,
            *_scaled(above, _ratio(float(values[-1]), base.at(last))),
        )
        if not below:
            pieces = (Piece(0.0, float(values[0]), 0.0), *pieces)
        low, high = min(base.min_bytes, first), max(base.max_bytes, last)
        return CostCurve(pieces, self._interval(whole / values), low, high, base.n, base.launches)

    def _interval(self, share: Floats) -> tuple[IntervalPoint, ...]:
        """That of the model's whole transfers, which cost `share` times what their transport does.

        Where the model saw nothing, or does not know how far it may be off, that of the curve that was there counts.
        """
        base, wire_sizes = self.part.curve, self.sizes * self.part.wire_ratio
        first, last = float(wire_sizes[0]), float(wire_sizes[-1])
        at = [point.payload_bytes for point in base.interval_points]
        if self.doubt is not None:
            steps = max(round(_POINTS_PER_DOUBLING * math.log2(last / first)), 1)
            at = [*(size for size in at if not first <= size <= last), *np.geomspace(first, last, steps + 1).tolist()]
        points = []
        for size in sorted(at):
            off = math.hypot(_Z95 * (self.doubt or 0.0), TOLERANCE)
            factor = float(np.interp(math.log(size), np.log(wire_sizes), share)) if self.doubt is not None else 1.0
            below, above = -math.expm1(-off) * factor, math.expm1(off) * factor
            if self.doubt is None or not first <= size <= last:
                low, high = base.relative_interval(size)
                below, above = math.hypot(below, 1.0 - low), math.hypot(above, high - 1.0)
            points.append(IntervalPoint(size, max(1.0 - below, 0.0), 1.0 + above))
        return tuple(points)


def _scaled(pieces: Sequence[Piece], factor: float) -> Iterator[Piece]:
    for piece in pieces:
        yield Piece(piece.start_bytes, piece.fixed * factor, piece.per_byte * factor)


def _ratio(value: float, base: float) -> float:
    return value / base if base > 0 else 1.0
