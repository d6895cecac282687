"""The rows that an analysis is made of: read from the lake or from any frame, and held at what is comparable."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake
from perfkit.schema import TRANSFER_COLUMNS, ZERO_COPY_FAMILY, Column
from perfkit.units import parse_duration
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.runs import FINISHED, resolve_run, run_records

__all__ = ["DIMENSIONS", "held", "lake_of", "read_rows", "read_run", "read_since"]

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
)
"""What rows can be grouped by. `size_class` is the exponent: payloads of 2^size_class bytes up to the next power."""

_PLAIN = {"placement": "copied", "touched": False, "temperature": "warm", "in_flight": 1}
_PLAIN_CODEC = {"kind": "binary", "format": "raw", "compression": "none"}
_CODEC = (*_PLAIN_CODEC, "entropy")
_CLUSTER = ("run_id", "launch", "producer", "epoch")
_STAGES_OF_SERVICES = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "handler_ns", "decode_ns")
_NOT_READ = frozenset(
    ("interval_ns", "resident_bytes", "peak_memory_bytes", "fallback", "decision_id", "session", *_STAGES_OF_SERVICES)
)
_COLUMNS = {column.name: column for column in TRANSFER_COLUMNS if column.name not in _NOT_READ}
_TYPES = {
    "string": pl.String(),
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
    missing = [name for name, column in _COLUMNS.items() if column.required and name not in frame.columns]
    if missing:
        raise InputError(
            f"the frame lacks {', '.join(missing)}; got {', '.join(frame.columns) or 'no columns'}. "
            "Rename or add the columns (see perfkit.schema.TRANSFER_COLUMNS)"
        )
    try:
        rows = frame.select(_filled(column, frame) for column in _COLUMNS.values())
    except pl.exceptions.PolarsError as error:
        raise InputError(f"the frame does not fit perfkit.schema.TRANSFER_COLUMNS: {error}") from error
    if lacking := [name for name, column in _COLUMNS.items() if column.required and rows[name].null_count()]:
        raise InputError(f"{', '.join(lacking)} is missing in some rows; drop or repair these rows")
    return rows.with_columns(
        pl.col("latency_ns").clip(lower_bound=1),  # a clock may not see what takes less than its tick
        size_class=pl.col("payload_bytes").clip(lower_bound=1).log(2).floor().cast(pl.Int32),
        cluster=pl.struct(_CLUSTER).rank("dense").cast(pl.Int64),
    )


def _filled(column: Column, frame: pl.DataFrame) -> pl.Expr:
    if column.required:
        return pl.col(column.name).cast(_TYPES[column.type])
    if column.name not in frame.columns:
        return pl.lit(column.default).cast(_TYPES[column.type]).alias(column.name)
    values = pl.col(column.name).cast(_TYPES[column.type])
    return values if column.default is None else values.fill_null(column.default)


def _to_frame(source: Any) -> pl.DataFrame:
    while hasattr(source, "observations"):
        source = source.observations
    if isinstance(source, pl.DataFrame):
        return source
    try:
        return pl.DataFrame(source.to_pyarrow() if hasattr(source, "to_pyarrow") else source)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"a {type(source).__name__} cannot be read as a frame ({error}); give the path of a lake, an Arrow table, "
            "a polars or pandas frame, an Ibis table or a dictionary of equally long arrays"
        ) from error


def read_run(lake: Lake, run: str | None) -> tuple[pl.DataFrame, str]:
    """The rows of one run, and its name.

    Args:
        lake: where to read.
        run: the run, as `perfkit.workflows.runs.resolve_run` takes it; None takes the newest one that finished, or
            what services recorded where nothing was measured.

    Raises:
        UnknownNameError: the lake has no such run.
        InputError: several runs begin like that.
        LakeError: there is nothing to analyse, or the lake cannot be read.
    """
    is_measured = any(record.status in FINISHED for record in run_records(lake))
    chosen = resolve_run(lake, run or "latest").run_id if run or is_measured else ""
    transfers = lake.transfers
    return _read_some(transfers.filter(transfers.run_id == chosen), lake), chosen


def read_since(lake: Lake, since: str | datetime.datetime) -> pl.DataFrame:
    """The rows of a period, whoever produced them; replays, which are no traffic, are left out.

    Args:
        lake: where to read.
        since: how long ago, such as ``"24h"``, or a moment with its time zone, as ISO 8601 where it is text.

    Raises:
        InputError: the period cannot be read, or a moment has no time zone.
        LakeError: there is nothing to analyse, or the lake cannot be read.
    """
    moment = _moment(since)
    transfers = lake.transfers
    return _read_some(transfers.filter((transfers.observed_at >= moment) & (transfers.source != "replay")), lake)


def _moment(since: str | datetime.datetime) -> datetime.datetime:
    try:
        moment = datetime.datetime.fromisoformat(since) if isinstance(since, str) else since
    except ValueError:
        ago = datetime.timedelta(microseconds=parse_duration(str(since)) / 1000)
        moment = datetime.datetime.now(datetime.UTC) - ago
    if moment.tzinfo is None:
        raise InputError(f"since == {str(since)!r}, has no time zone; write such as 2026-11-21T08:00+00:00, or 24h")
    return moment


def _read_some(transfers: Any, lake: Lake) -> pl.DataFrame:
    wanted = [name for name in _COLUMNS if name in transfers.columns]
    rows = read_rows(transfers.select(wanted))
    if rows.is_empty():
        raise LakeError(f"{lake.path} has no transfers to analyse; `perfkit bench` measures some, or ask for more")
    return rows


def held(rows: pl.DataFrame, stages: Sequence[str], released: Sequence[str] = ()) -> pl.DataFrame:
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
    """
    plain = _PLAIN if set(released) & set(_CODEC) else {**_PLAIN, **_PLAIN_CODEC}
    conditions = [pl.col(name).eq(value) for name, value in plain.items() if name not in released]
    if "signalling" not in released:
        conditions.append(~pl.col("method").is_in(ZERO_COPY_FAMILY) | (pl.col("signalling") == "uds"))
    is_traffic = pl.col("source") == "service"
    if "direction" not in released:
        rows = rows.filter(pl.col("direction") == "request")
    return rows.filter(pl.col("ok"), pl.col("stage").is_in(stages), is_traffic | pl.all_horizontal(conditions))


def lake_of(source: Any) -> Lake | None:
    """The lake that a caller means, with what its journal holds when a path is given; None for a frame."""
    if isinstance(source, str | Path):
        return open_fresh_lake(source)
    return source if isinstance(source, Lake) else None
