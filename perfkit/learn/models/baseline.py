"""The cost curves that a model starts from, adjusted to the transfers that it learns from."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.engine.composing import Composition, Context, compose
from perfkit.learn.models.features import TransferRows
from perfkit.stats.medians import group_medians

__all__ = ["ADJUSTED", "CODEC", "FLOORS", "Adjustment", "Baseline", "fit_baseline", "log_target"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

FLOORS: Mapping[str, float] = {"latency_ns": 1.0, "cpu_ns": 1000.0, "resident_bytes": 4096.0}
"""What clocks and pages cannot tell from nothing: below it, a target counts as this much."""
_GOALS: Mapping[str, str] = {"latency_ns": "latency", "cpu_ns": "cpu", "resident_bytes": "memory"}
ADJUSTED = ("method", "signalling", "placement", "source")
"""What tells adjustments apart at first."""
CODEC = ("kind", "format", "compression")
_COARSE, _FINE = len(ADJUSTED), len(ADJUSTED) + len(CODEC)
_PARENT = {_COARSE: 0, _FINE: _COARSE, _FINE + 1: _FINE}
_CONTEXT = ("method", "signalling", "placement", "kind", "format", "compression")
_CLASSES_PER_DOUBLING = 2
_FEWEST_IN_CELL = 3
_CELL_SD = 0.03
"""How far, relatively, even the exact median of a size class may be from its curve: sizes within a class differ."""
_PRIOR_SD = 0.5
"""How far from the curves as they are an adjustment goes without evidence."""


@dataclasses.dataclass(frozen=True)
class Adjustment:
    """``fixed + factor * composed curves + per_byte * bytes``, none of them negative.

    Attributes:
        fixed: in the target's unit.
        factor: on the composed curves.
        per_byte: in the target's unit.
        n: observations that it was fitted to.
    """

    fixed: float
    factor: float
    per_byte: float
    n: int


_AS_MEASURED = Adjustment(0.0, 1.0, 0.0, 0)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The usual cost by the curves, nondecreasing in size.

    Attributes:
        target: ``latency_ns``, ``cpu_ns`` or ``resident_bytes``.
        curves: cost curves.
        adjustments: by method, signalling, placement and source; of some also by codec (kind, format, compression),
            and by codec and load (logarithm to base 2, rounded, as text).
    """

    target: str
    curves: CurveSet
    adjustments: Mapping[tuple[str, ...], Adjustment]

    def log_cost(self, rows: TransferRows) -> Floats:
        """Logarithm of the expected median cost of each row; NaN where nothing is known about its method."""
        composed = composed_cost(self.curves, self.target, rows)
        position, keys = _keys(rows)
        has_curves = np.isfinite(composed)
        without = np.bincount(position, ~has_curves, minlength=len(keys)) > 0
        found = [self._adjustment(key, not without[at]) for at, key in enumerate(keys)]
        nothing = (math.nan, math.nan, math.nan)
        figures = [nothing if one is None else (one.fixed, one.factor, one.per_byte) for one in found]
        fixed, factor, per_byte = np.array(figures).reshape(-1, 3).T[:, position]
        cost = fixed + factor * np.where(has_curves, composed, 0.0) + per_byte * rows.numbers["payload_bytes"]
        return np.asarray(np.log(np.maximum(cost, FLOORS[self.target])))

    def scaled(self, factors: Mapping[tuple[str, ...], float]) -> Baseline:
        """With costs multiplied.

        Args:
            factors: by method, signalling, placement and source, for every codec and load of these; or also by kind,
                format and compression, for every load.
        """
        adjustments = dict(self.adjustments)
        for key in factors:
            found = self._adjustment(key, True)
            if found is not None:
                adjustments.setdefault(key, found)
        for key, one in adjustments.items():
            factor = math.prod(factors.get(key[:length], 1.0) for length in (_COARSE, _FINE) if len(key) >= length)
            adjustments[key] = Adjustment(one.fixed * factor, one.factor * factor, one.per_byte * factor, one.n)
        return dataclasses.replace(self, adjustments=adjustments)

    def _adjustment(self, key: tuple[str, ...], has_curves: bool) -> Adjustment | None:
        """That of the key, as finely as it is known, at the nearest load.

        Without any the curves as they were measured; without curves that of the nearest key of the method.
        """
        loads = self._loads.get(key[:_FINE])
        if loads and len(key) > _FINE:
            nearest = min(loads, key=lambda load: (abs(load - int(key[_FINE])), load))
            return self.adjustments[(*key[:_FINE], str(nearest))]
        found = self.adjustments.get(key[:_FINE]) or self.adjustments.get(key[:_COARSE])
        if found is not None or has_curves:
            return found or _AS_MEASURED
        near = [other for other in self.adjustments if len(other) == _COARSE and other[0] == key[0]]
        if not near:
            return None
        alike = max(near, key=lambda other: (sum(a == b for a, b in zip(other, key, strict=False)), other))
        return self.adjustments[alike]

    @functools.cached_property
    def _loads(self) -> Mapping[tuple[str, ...], list[int]]:
        """Classes of load with an adjustment of their own, by method and codec."""
        found: dict[tuple[str, ...], list[int]] = {}
        for key in self.adjustments:
            if len(key) > _FINE:
                found.setdefault(key[:_FINE], []).append(int(key[_FINE]))
        return found


def _keys(rows: TransferRows) -> tuple[Integers, list[tuple[str, ...]]]:
    """Method, signalling, placement, source, codec and class of load: a position per row, and what they stand for."""
    position, names = rows.combined((*ADJUSTED, *CODEC))
    load = np.round(np.log2(rows.numbers["in_flight"])).astype(np.int64)
    found, position = np.unique(position * 64 + load, return_inverse=True)
    return position, [(*names[at // 64], str(at % 64)) for at in found.tolist()]


def log_target(rows: TransferRows, target: str) -> Floats:
    """Logarithm of what the rows cost; NaN where unknown."""
    return np.asarray(np.log(np.maximum(rows.targets[target], FLOORS[target])))


def composed_cost(curves: CurveSet, target: str, rows: TransferRows) -> Floats:
    """Composed cost curves at each row's size, in the target's unit; NaN without curves."""
    cost = np.full(len(rows), np.nan)
    loads = {key.in_flight for key in curves.curves if key.stage == "transport"} - {1}
    in_flight = rows.numbers["in_flight"]
    load = np.where(np.isin(in_flight, list(loads)), in_flight, 1.0)
    position, keys = rows.combined(_CONTEXT)
    found_loads, load_position = np.unique(load, return_inverse=True)
    position = position * found_loads.size + load_position
    for at in np.unique(position).tolist():
        key, under_way = keys[at // found_loads.size], int(found_loads[at % found_loads.size])
        method, signalling, placement, kind, format_name, compression = key
        context = Context(
            kind=kind, format=format_name, compression=compression, signalling=signalling,
            in_place=placement == "in_place", in_flight=under_way,
        )  # fmt: skip
        composition = compose(curves, method, context, _GOALS[target])
        if composition is not None:
            mine = np.flatnonzero(position == at)
            cost[mine] = _composition_at(composition, rows.numbers["payload_bytes"][mine])
    return cost


def _composition_at(composition: Composition, sizes: Floats) -> Floats:
    total = np.zeros(sizes.shape)
    for part in composition.parts:
        pieces = part.curve.pieces
        at_bytes = sizes * part.wire_ratio
        index = np.maximum(np.searchsorted([piece.start_bytes for piece in pieces], at_bytes, "right") - 1, 0)
        fixed, per_byte = (np.array([getattr(piece, name) for piece in pieces]) for name in ("fixed", "per_byte"))
        total += part.weight * (fixed[index] + per_byte[index] * at_bytes)
    return total


def fit_baseline(curves: CurveSet, rows: TransferRows, target: str) -> Baseline:
    """Adjust curves to rows: nonnegative least squares on the relative error of medians by size class.

    First per method, then per codec and per load around that, where there are several: boosted trees that are to be
    nondecreasing in size learn such effects only in part.

    Args:
        curves: cost curves; methods without any get a straight line.
        rows: with this target; rows where it is unknown are left out.
        target: one of `FLOORS`.
    """
    rows = rows.take(np.isfinite(rows.targets[target]))
    position, keys = _keys(rows)
    size_class = np.round(_CLASSES_PER_DOUBLING * np.log2(np.maximum(rows.numbers["payload_bytes"], 1)))
    _, cell, counts = np.unique(position * 256 + size_class.astype(np.int64), return_inverse=True, return_counts=True)
    of_cell = np.zeros(counts.size, np.int64)
    of_cell[cell] = position
    composed = composed_cost(curves, target, rows)
    cells = _cells(cell, counts, composed, rows.numbers["payload_bytes"], log_target(rows, target))
    adjustments: dict[tuple[str, ...], Adjustment] = {}
    for length in (_COARSE, _FINE, _FINE + 1):
        groups: dict[tuple[str, ...], list[int]] = {}
        for at, key in enumerate(keys):
            groups.setdefault(key[:length], []).append(at)
        siblings = collections.Counter(key[: _PARENT[length]] for key in groups)
        for key, members in groups.items():
            around = adjustments.get(key[:_FINE]) or adjustments.get(key[:_COARSE])
            if length > _COARSE and siblings[key[: _PARENT[length]]] == 1:
                continue  # the same rows as around it
            mine = np.isin(of_cell, members)
            if mine.any():
                adjustments[key] = _adjust(cells[mine], int(counts[mine].sum()), around)
    return Baseline(target, curves, adjustments)


def _cells(cell: Integers, counts: Integers, composed: Floats, sizes: Floats, log_cost: Floats) -> Floats:
    """One row per cell: composed cost (NaN without curves), size, median cost, its relative standard error."""
    middle = group_medians(log_cost, cell)
    deviation = 1.4826 * group_medians(np.abs(log_cost - middle[cell]), cell)
    spread = np.where(counts >= _FEWEST_IN_CELL, deviation, 0.3)
    # Ratios to the composed cost, not the costs, are taken the median of: sizes within a class differ.
    log_composed = np.log(np.maximum(composed, 1e-9))
    log_base = np.bincount(cell, log_composed) / counts
    log_median = np.where(np.isfinite(log_base), group_medians(log_cost - log_composed, cell) + log_base, middle)
    errors = 1.25 * np.maximum(spread, 0.05) / np.sqrt(counts)
    return np.stack([np.exp(log_base), np.bincount(cell, sizes) / counts, np.exp(log_median), errors], axis=1)


def _adjust(cells: Floats, count: int, around: Adjustment | None) -> Adjustment:
    """Fit to cells; what they do not say is as around them, or as measured."""
    from scipy.optimize import nnls

    composed, sizes, medians, errors = cells.T
    has_curves = bool(np.isfinite(composed).all())
    weight = 1 / np.hypot(errors, _CELL_SD)
    base = composed if has_curves else np.zeros(sizes.size)
    # Columns are scaled so that 1 is a typical share of the cost: nanoseconds and bytes differ by orders of magnitude.
    scales = np.array([medians.min(), 1.0, np.median(medians) / max(float(np.median(sizes)), 1.0)])
    design = np.stack([scales[0] / medians, base / medians, scales[2] * sizes / medians], axis=1)
    if around is not None:
        wanted = np.array([around.fixed, around.factor if has_curves else 0.0, around.per_byte]) / scales
    else:
        wanted = np.array([0.0, 1.0 if has_curves else 0.0, 0.0])
    prior = np.eye(3) / _PRIOR_SD if has_curves or around is not None else np.eye(3) * 1e-6
    solution, _ = nnls(np.vstack([design * weight[:, None], prior]), np.concatenate([weight, prior @ wanted]))
    fixed, factor, per_byte = (solution * scales).tolist()
    return Adjustment(fixed, factor if has_curves else 0.0, per_byte, count)
