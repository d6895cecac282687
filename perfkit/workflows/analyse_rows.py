"""The rows that an analysis is made of: any frame as compact columns, and held at what is comparable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from perfkit.errors import InputError
from perfkit.measurement.scenarios import CONTROL_COPY
from perfkit.schema import TRANSFER_COLUMNS, ZERO_COPY_FAMILY, Column

__all__ = ["COLUMNS", "DIMENSIONS", "FITTED", "MEASURED", "control_rounds", "held", "keep_measured", "read_rows"]

DIMENSIONS = (
    "method",
    "size_class",
    "stage",
    "kind",
    "format",
    "compression",
    "entropy",
    "signalling",
    "placement",
    "in_flight",
    "touched",
    "temperature",
    "source",
    "pool",
    "direction",
    "experiment",
    "variant",
)
"""What rows can be grouped by. `size_class` is the exponent: payloads of 2^size_class bytes up to the next power."""

_PLAIN = {"placement": "copied", "touched": False, "temperature": "warm", "in_flight": 1}
_PLAIN_CODEC = {"kind": "binary", "format": "raw", "compression": "none"}
_CODEC = (*_PLAIN_CODEC, "entropy")
_CLUSTER = ("run_id", "launch", "producer", "epoch")
_STAGES_OF_SERVICES = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "handler_ns", "decode_ns")
MEASURED = ("bench", "background")
"""Sources of rows that were measured; the others are traffic, or held out."""
FITTED = (
    *("run_id", "source", "observed_at", "launch", "round", "stage", "method", "signalling", "placement", "touched"),
    *("temperature", "in_flight", "kind", "format", "compression", "payload_bytes", "wire_bytes", "latency_ns", "ok"),
    "direction",
)
"""Columns that a fit of latencies takes."""
_NOT_READ = frozenset(
    (
        *("scenario", "sequence", "interval_ns", "resident_bytes", "peak_memory_bytes", "fallback", "decision_id"),
        *("session", "propensity", "plan_version", "producer_sequence", *_STAGES_OF_SERVICES),
    )
)
COLUMNS = {column.name: column for column in TRANSFER_COLUMNS if column.name not in _NOT_READ}
"""Columns that an analysis reads."""
_CATEGORIES = pl.Categories("perfkit_transfers", physical=pl.UInt16)  # two bytes a row; pl.String takes sixteen
_FREE_TEXT = ("run_id", "pool", "error", "producer")  # of which there may be more than two bytes can tell apart
_TYPES = {
    "string": pl.Categorical(_CATEGORIES),
    "bool": pl.Boolean(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "timestamp[us, tz=UTC]": pl.Datetime("us", "UTC"),
}


def read_rows(source: Any) -> pl.DataFrame:
    """A frame of observations as the columns that an analysis needs.

    Args:
        source: an Arrow table, a polars or pandas frame, an Ibis table, a dictionary of arrays, or a result of
            `perfkit.bench`. ``method``, ``payload_bytes`` and ``latency_ns`` are required; the other columns have the
            defaults of `perfkit.schema.TRANSFER_COLUMNS`.

    Returns:
        The rows with two more columns: `size_class`, and `cluster`, a number for each launch of a run and each process
        of a service: rows of different clusters are independent.

    Raises:
        InputError: it is no such frame, a column is missing, or a value does not fit its column.
    """
    frame = _to_frame(source)
    given: Sequence[str] = frame.columns if isinstance(frame, pl.DataFrame) else frame.column_names
    missing = [name for name, column in COLUMNS.items() if column.required and name not in given]
    if missing:
        raise InputError(
            f"the frame lacks {', '.join(missing)}; got {', '.join(given) or 'no columns'}. "
            "Rename or add the columns (see perfkit.schema.TRANSFER_COLUMNS)"
        )
    try:
        # Column by column: ten million rows fit into the memory once, not several times.
        rows = pl.DataFrame(
            [_filled(column, frame[name] if name in given else None, len(frame)) for name, column in COLUMNS.items()]
        )
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(f"the frame does not fit perfkit.schema.TRANSFER_COLUMNS: {error}") from error
    if lacking := [name for name, column in COLUMNS.items() if column.required and rows[name].null_count()]:
        raise InputError(f"{', '.join(lacking)} is missing in some rows; drop or repair these rows")
    return rows.with_columns(
        pl.col("latency_ns").clip(lower_bound=1),  # a clock may not see what takes less than its tick
        _clusters(rows),
        size_class=pl.col("payload_bytes").clip(lower_bound=1).log(2).floor().cast(pl.Int8),
    ).drop("producer", "epoch")


def _filled(column: Column, values: Any, count: int) -> pl.Series:
    """A column with the type that an analysis works on; its default where the frame lacks it."""
    kind = pl.Categorical() if column.name in _FREE_TEXT else _TYPES[column.type]
    if values is None:
        return pl.repeat(column.default, count, dtype=kind, eager=True).alias(column.name)
    found = (values if isinstance(values, pl.Series) else _series(values)).alias(column.name).cast(kind)
    if column.required or column.default is None or not found.null_count():
        return found
    return found.fill_null(column.default)


def _series(values: pa.ChunkedArray) -> pl.Series:
    """The column without a copy, where polars has the same layout."""
    found = pl.from_arrow(values, rechunk=False)
    assert isinstance(found, pl.Series)  # an array never becomes a frame
    return found


def _clusters(rows: pl.DataFrame) -> pl.Series:
    """The number of the launch or process of every row, told by the few rows at which it changes."""
    keys = rows.select(_CLUSTER)
    changes = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift()) for name in _CLUSTER)
    begins = keys.select(changes.alias("begins")).to_series()
    numbers = keys.filter(begins).select(cluster=pl.struct(_CLUSTER).rank("dense").cast(pl.Int32)).to_series()
    return numbers.gather(begins.cum_sum() - 1)


def _to_frame(source: Any) -> pl.DataFrame | pa.Table:
    while hasattr(source, "observations"):
        source = source.observations
    if isinstance(source, pl.DataFrame | pa.Table):
        return source
    try:
        return source.to_pyarrow() if hasattr(source, "to_pyarrow") else pl.DataFrame(source)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"a {type(source).__name__} cannot be read as a frame ({error}); give the path of a lake, an Arrow table, "
            "a polars or pandas frame, an Ibis table or a dictionary of equally long arrays"
        ) from error


def keep_measured(rows: pl.DataFrame) -> pa.Table:
    """What a fit of latencies takes of rows that `read_rows` gave: those that were measured."""
    return rows.lazy().filter(pl.col("source").is_in(MEASURED)).select(FITTED).collect().to_arrow()


def held(rows: pl.DataFrame, stages: Sequence[str], released: Sequence[str] = ()) -> pl.LazyFrame:
    """The successful transfers of some stages that may be compared with each other.

    A sweep measures every method in many settings, and how many sends each of them gets is the sweep's choice: a
    mixture of them would say nothing. So measured rows are held at the plain setting (raw bytes, copied, warm, not
    touched, one in flight, announced over a Unix socket). Rows of services are traffic: all requests are taken, and
    replies where their direction is looked at.

    Args:
        rows: what `read_rows` gave.
        stages: stages to keep.
        released: dimensions that are looked at, and therefore not held; codecs are released as a whole, since no format
            has every kind.

    Returns:
        The rows, not yet collected: only the columns that are selected from them are copied.
    """
    plain = _PLAIN if set(released) & set(_CODEC) else {**_PLAIN, **_PLAIN_CODEC}
    conditions = [pl.col(name).eq(value) for name, value in plain.items() if name not in released]
    if "signalling" not in released:
        conditions.append(~pl.col("method").is_in(ZERO_COPY_FAMILY) | (pl.col("signalling") == "uds"))
    is_traffic = pl.col("source") == "service"
    directions = ("request", "reply") if "direction" in released else ("request",)
    return rows.lazy().filter(
        pl.col("ok"),
        pl.col("stage").is_in(stages),
        pl.col("direction").is_in(directions),
        is_traffic | pl.all_horizontal(conditions),
    )


def control_rounds(rows: pl.DataFrame, *figures: pl.Expr) -> pl.LazyFrame:
    """Figures of the smallest control copy in each round: what it does in time is the machine's doing, not a method's.

    Args:
        rows: what `read_rows` gave.
        figures: aggregations, such as ``pl.col("latency_ns").median()``.

    Returns:
        A row per cluster and round, not yet collected.
    """
    controls = rows.lazy().filter(pl.col("ok"), pl.col("stage") == "control", pl.col("method") == CONTROL_COPY)
    smallest = controls.filter(pl.col("payload_bytes") == pl.col("payload_bytes").min())
    return smallest.group_by("cluster", "round").agg(figures)
