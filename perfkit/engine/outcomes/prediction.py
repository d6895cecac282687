"""What the published curves predict for a transfer, cheap enough to ask for each outcome."""

from __future__ import annotations

import math
from typing import Protocol

from perfkit.config.curves import CurveSet
from perfkit.engine.costs import Composition, Context, compose, cost_at

__all__ = ["PlannedCell", "PlannedPublication", "Predictor"]

_POINTS_PER_DOUBLING = 2
_LARGEST_DOUBLING = 50
_CELLS_KEPT = 512


class PlannedPublication(Protocol):
    """Of a publication, what is needed here."""

    @property
    def curves(self) -> CurveSet | None: ...


class PlannedCell(Protocol):
    """Of a compiled cell, what is needed here."""

    @property
    def context(self) -> Context: ...

    @property
    def publication(self) -> PlannedPublication: ...


class _Grid:
    """The logarithm of the predicted latency on a geometric grid of sizes, computed where it is asked for."""

    __slots__ = ("_composition", "_values")

    def __init__(self, composition: Composition) -> None:
        self._composition = composition
        self._values: list[float | None] = [None] * (_POINTS_PER_DOUBLING * _LARGEST_DOUBLING + 2)

    def at(self, payload_bytes: int) -> float:
        place = min(math.log2(payload_bytes or 1), _LARGEST_DOUBLING) * _POINTS_PER_DOUBLING
        index = int(place)
        low, high = self._values[index], self._values[index + 1]
        if low is None:
            low = self._computed(index)
        if high is None:
            high = self._computed(index + 1)
        return low + (high - low) * (place - index)

    def _computed(self, index: int) -> float:
        value = cost_at(self._composition, 2.0 ** (index / _POINTS_PER_DOUBLING)).value
        self._values[index] = logarithm = math.log(value) if value > 0 else math.nan
        return logarithm


class Predictor:
    """Predicts latencies by one set of curves, as published: without any correction, which would correct itself.

    Between two sizes of a grid (two per doubling) predictions are interpolated, to within 1 % for curves as they are
    fitted. At most 512 cells are remembered, a few KiB each.
    """

    def __init__(self) -> None:
        self._cells: dict[int, tuple[PlannedCell, dict[str, _Grid | None]]] = {}

    def log_latency(self, cell: PlannedCell, method: str, payload_bytes: int) -> float | None:
        """The natural logarithm of the predicted latency in nanoseconds.

        Args:
            cell: the compiled cell of the context.
            method: transfer method.
            payload_bytes: size of the payload before encoding.

        Returns:
            The logarithm; None where nothing is known about the method.
        """
        known = self._cells.get(id(cell))
        if known is None:
            known = self._remember(cell)
        grids = known[1]
        if method not in grids:
            grids[method] = self._grid(cell, method)
        grid = grids[method]
        return None if grid is None else grid.at(payload_bytes)

    def clear(self) -> None:
        """Forget every cell."""
        self._cells.clear()

    def _remember(self, cell: PlannedCell) -> tuple[PlannedCell, dict[str, _Grid | None]]:
        if len(self._cells) >= _CELLS_KEPT:
            del self._cells[next(iter(self._cells))]
        known = self._cells[id(cell)] = (cell, {})  # the cell is held, so that no other one takes its id
        return known

    def _grid(self, cell: PlannedCell, method: str) -> _Grid | None:
        curves = cell.publication.curves
        composition = None if curves is None else compose(curves, method, cell.context, "latency")
        return None if composition is None else _Grid(composition)
