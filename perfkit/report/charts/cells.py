"""Aggregate observations before they are charted: a chart shows cells, never single sends."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from perfkit.engine.costs import Context
from perfkit.schema import TRANSFER_COLUMNS, ZERO_COPY_FAMILY

__all__ = ["launch_cells", "size_cells"]


def launch_cells(observations: pa.Table, context: Context) -> pl.DataFrame:
    """The median latency of every method and size within every launch.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; optional ones may be absent.
        context: whose signalling and load are shown; payloads are what the transport carried, without a codec.

    Returns:
        Columns method, payload_bytes, launch, latency_ns (median), n; sorted.
    """
    frame = pl.from_arrow(observations)
    assert isinstance(frame, pl.DataFrame)  # a table never becomes a series
    absent = [column for column in TRANSFER_COLUMNS if not column.required and column.name not in frame.columns]
    frame = frame.with_columns(pl.lit(column.default).alias(column.name) for column in absent)
    return (
        frame.filter(
            pl.col("ok"),
            pl.col("method") != "",
            pl.col("stage") == "transport",
            pl.col("temperature") == "warm",
            pl.col("placement") == ("in_place" if context.in_place else "copied"),
            ~pl.col("touched"),
            pl.col("in_flight") == context.in_flight,
            ~pl.col("method").is_in(ZERO_COPY_FAMILY) | (pl.col("signalling") == context.signalling),
        )
        .group_by("method", "payload_bytes", "run_id", "launch")
        .agg(pl.col("latency_ns").median(), pl.len().alias("n"))
        .sort("method", "payload_bytes", "run_id", "launch")
    )


def size_cells(cells: pl.DataFrame) -> pl.DataFrame:
    """The median of the launches for every method and size, between the fastest and the slowest launch.

    Returns:
        Columns method, payload_bytes, latency_ns, low_ns, high_ns, n, launches; sorted.
    """
    latency = pl.col("latency_ns")
    return (
        cells.group_by("method", "payload_bytes")
        .agg(
            latency.median(),
            latency.min().alias("low_ns"),
            latency.max().alias("high_ns"),
            pl.col("n").sum(),
            pl.len().alias("launches"),
        )
        .sort("method", "payload_bytes")
    )
