"""Aggregate observations before they are charted: a chart shows cells, and single sends only of a few sizes."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from perfkit.engine.costs import Context
from perfkit.schema import TRANSFER_COLUMNS, ZERO_COPY_FAMILY

__all__ = ["launch_cells", "single_sends", "size_cells"]


def launch_cells(
    observations: pa.Table,
    context: Context,
    *,
    methods: Sequence[str] | None = None,
    sizes: tuple[float, float] | None = None,
) -> pl.DataFrame:
    """The median latency of every method and size within every launch.

    Args:
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; optional ones may be absent.
        context: whose signalling and load are shown; payloads are what the transport carried, without a codec.
        methods: only these; None for all.
        sizes: smallest and largest payload in bytes; None for all.

    Returns:
        Columns method, payload_bytes, launch, latency_ns (median), n; sorted.
    """
    return (
        _sends(observations, context, methods, sizes)
        .group_by("method", "payload_bytes", "run_id", "launch")
        .agg(pl.col("latency_ns").median(), pl.len().alias("n"))
        .sort("method", "payload_bytes", "run_id", "launch")
        .collect()
    )


def single_sends(
    observations: pa.Table,
    context: Context,
    methods: Sequence[str],
    sizes: tuple[float, float],
    at_most: int,
) -> pl.DataFrame:
    """Single sends, for a closer look at a few sizes; of many, equally many of each method and size.

    Args:
        observations: as in `launch_cells`, like all that follow.
        context: whose signalling and load are shown.
        methods: only these.
        sizes: smallest and largest payload in bytes.
        at_most: how many rows there may be; evenly spread over the time of the measurement.

    Returns:
        Columns method, payload_bytes, launch, round, latency_ns, n (sends of this method and size, drawn or not).
    """
    cell = ("method", "payload_bytes")
    sends = _sends(observations, context, methods, sizes)
    chosen = sends.with_columns(pl.len().over(cell).alias("n"), pl.int_range(pl.len()).over(cell).alias("turn"))
    found = chosen.select(*cell, "launch", "round", "latency_ns", "n", "turn").collect()
    share = max(at_most // max(found.select(cell).n_unique(), 1), 1)
    turn, n = pl.col("turn"), pl.col("n")
    # Every k-th, as far as k is no whole number: the send at which the count of those to show goes up by one.
    keeps = (turn * share // n) != ((turn + 1) * share // n)
    return found.filter((n <= share) | keeps).drop("turn").sort(*cell, "launch", "round")


def _sends(
    observations: pa.Table,
    context: Context,
    methods: Sequence[str] | None,
    sizes: tuple[float, float] | None,
) -> pl.LazyFrame:
    frame = pl.from_arrow(observations)
    assert isinstance(frame, pl.DataFrame)  # a table never becomes a series
    absent = [column for column in TRANSFER_COLUMNS if not column.required and column.name not in frame.columns]
    conditions = [
        pl.col("ok"),
        pl.col("method") != "",
        pl.col("stage") == "transport",
        pl.col("temperature") == "warm",
        pl.col("placement") == ("in_place" if context.in_place else "copied"),
        ~pl.col("touched"),
        pl.col("in_flight") == context.in_flight,
        ~pl.col("method").is_in(ZERO_COPY_FAMILY) | (pl.col("signalling") == context.signalling),
    ]
    if methods is not None:
        conditions.append(pl.col("method").is_in(list(methods)))
    if sizes is not None:
        conditions.append(pl.col("payload_bytes").is_between(*sizes))
    defaults = (pl.lit(column.default).alias(column.name) for column in absent)
    # A lake hands out texts as categories, which do not compare with those of another table.
    return frame.lazy().with_columns(*defaults).filter(*conditions).with_columns(pl.col("method").cast(pl.String))


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
