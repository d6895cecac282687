"""How far composed costs are from transfers that were measured whole, from encode to decode."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from perfkit.config.curves import ANY, CurveSet
from perfkit.engine.costs import Context, method_cost
from perfkit.learn.cells import collect_cells
from perfkit.learn.frames import read_observations
from perfkit.schema import SIGNALLINGS
from perfkit.stats.medians import smooth_median
from perfkit.tables import ResultTable
from perfkit.units import format_bytes, format_duration

__all__ = ["CompositionError", "CrossedCell", "composition_error", "summarise_cells"]


_NOTHING = (
    "no transfer was measured whole with a method of this fit, so it is not known how well the parts add up; presets "
    "of `perfkit bench` measure some"
)


@dataclasses.dataclass(frozen=True, slots=True)
class CrossedCell:
    """One cell measured whole: what was measured and what was composed, in nanoseconds."""

    method: str
    codec: str
    signalling: str
    payload_bytes: float
    measured_ns: float
    composed_ns: float
    n: int

    @property
    def error(self) -> float:
        """Absolute error as a share of what was measured."""
        return abs(self.composed_ns / self.measured_ns - 1)


@dataclasses.dataclass(frozen=True)
class CompositionError:
    """Errors of composed costs over the crossed cells.

    Args:
        p50: median error, as a share of the measured cost; NaN without cells.
        p90: error that nine of ten cells stay below; NaN without cells.
        n: crossed cells.
        cells: all of them, the worst first.
    """

    p50: float
    p90: float
    n: int
    cells: tuple[CrossedCell, ...]

    def to_table(self) -> ResultTable:
        """The worst cells."""
        title = "Composed against measured whole"
        rows = tuple(
            (
                cell.method,
                cell.codec,
                cell.signalling,
                format_bytes(cell.payload_bytes),
                format_duration(cell.measured_ns),
                format_duration(cell.composed_ns),
                f"{cell.error:.0%}",
                str(cell.n),
            )
            for cell in self.cells[:10]
        )
        if not self.n:
            return ResultTable(title, (), (), (_NOTHING,))
        columns = ("method", "codec", "signalling", "payload", "measured", "composed", "error", "n")
        note = f"half of {self.n} crossed cells are within {self.p50:.0%}, nine of ten within {self.p90:.0%}"
        return ResultTable(title, columns, rows, (note,), align_right=(3, 4, 5, 6, 7))

    def to_plain(self) -> dict[str, Any]:
        """The errors as JSON-able data."""
        return {
            "p50": self.p50 if self.n else None,
            "p90": self.p90 if self.n else None,
            "n": self.n,
            "worst": [{**dataclasses.asdict(cell), "error": cell.error} for cell in self.cells[:10]],
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def composition_error(curves: CurveSet, frame: Any) -> CompositionError:
    """Compare composed latencies with the medians of transfers that were measured whole.

    Args:
        curves: what was fitted.
        frame: observations with rows of stage ``whole``; anything that `perfkit.fit` accepts.

    Returns:
        The errors; none where no transfer was measured whole with a method that the curves know.

    Raises:
        FitError: the frame cannot be used.
    """
    crossed: list[CrossedCell] = []
    for cells in collect_cells(read_observations(frame), stages=("whole",)):
        key = cells.key
        if key.quantity != "latency_ns":
            continue
        signalling = SIGNALLINGS[0] if key.signalling == ANY else key.signalling
        in_place = key.placement == "in_place"
        codec = (key.kind, key.format, key.compression)
        context = Context("default", *codec, signalling, (key.method,), in_place, key.in_flight)
        medians = np.exp(smooth_median(smooth_median(cells.log_medians, axis=1), axis=0))
        for size, measured, n in zip(cells.sizes, medians, cells.n_by_size, strict=True):
            cost = method_cost(curves, key.method, context, float(size))
            if cost is not None:
                names = (key.method, "/".join(codec), signalling)
                crossed.append(CrossedCell(*names, float(size), float(measured), cost.value, n))
    return summarise_cells(crossed)


def summarise_cells(cells: Sequence[CrossedCell]) -> CompositionError:
    """The errors of crossed cells."""
    if not cells:
        return CompositionError(math.nan, math.nan, 0, ())
    p50, p90 = (float(share) for share in np.quantile([cell.error for cell in cells], (0.5, 0.9)))
    return CompositionError(p50, p90, len(cells), tuple(sorted(cells, key=lambda cell: -cell.error)))
