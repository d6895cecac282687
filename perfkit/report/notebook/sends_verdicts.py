"""What single sends say, without or beside a fit, as one computed sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from perfkit.engine.costs import Context
from perfkit.report.charts.cells import launch_cells, size_cells
from perfkit.report.notebook.verdicts import Verdict
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from perfkit.learn import Crossover

__all__ = ["crossover_verdict", "fastest_verdict"]


def fastest_verdict(
    observations: pa.Table,
    context: Context | None = None,
    *,
    methods: Sequence[str] | None = None,
    sizes: tuple[float, float] | None = None,
) -> Verdict:
    """Which method has the lowest median, and from which measured size on.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`.
        context: signalling and load.
        methods: only these; None for all.
        sizes: smallest and largest payload in bytes; None for all.
    """
    cells = size_cells(launch_cells(observations, context or Context(), methods=methods, sizes=sizes))
    if cells.is_empty():
        return Verdict("No transfer was measured in this setting.")
    fastest = cells.sort("payload_bytes", "latency_ns").group_by("payload_bytes", maintain_order=True).first()
    changes = fastest.filter(pl.col("method") != pl.col("method").shift(1, fill_value="")).to_dicts()
    if len(changes) > _MOST_CHANGES:
        leading = fastest["method"].value_counts(sort=True)["method"][0]
        won = fastest.filter(pl.col("method") == leading).height
        return Verdict(
            f"{leading} has the lowest median at {won} of {fastest.height} measured sizes; none leads throughout."
        )
    texts = [f"from {format_bytes(one['payload_bytes'])} on {one['method']} ({_median(one)})" for one in changes]
    return Verdict(f"The lowest median of the launches: {'; '.join(texts)}.")


def crossover_verdict(observations: pa.Table, crossover: Crossover, context: Context | None = None) -> Verdict:
    """Where one method gives way to another, and what both took at the nearest measured size.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`.
        crossover: an edge between two ranges.
        context: signalling and load.
    """
    edge = (
        f"{crossover.before} gives way to {crossover.after} at {format_bytes(crossover.payload_bytes)}; the true edge "
        f"lies between {format_bytes(crossover.low)} and {format_bytes(crossover.high)} (95 %)."
    )
    methods = (crossover.before, crossover.after)
    cells = size_cells(launch_cells(observations, context or Context(), methods=methods))
    both = cells.filter(pl.len().over("payload_bytes") == 2)
    if both.is_empty():
        return Verdict(f"{edge} No size was measured with both.")
    distance = (pl.col("payload_bytes") / crossover.payload_bytes).log().abs()
    near = both.sort(distance, "method").head(2).to_dicts()
    medians = " and ".join(f"{one['method']} took {_median(one)}" for one in near)
    return Verdict(f"{edge} At {format_bytes(near[0]['payload_bytes'])}, the nearest measured size, {medians}.")


_MOST_CHANGES = 4


def _median(cell: dict[str, Any]) -> str:
    return (
        f"{format_duration(cell['latency_ns'])}, launches {format_duration(cell['low_ns'])} to "
        f"{format_duration(cell['high_ns'])}"
    )
