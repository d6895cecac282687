"""Latency quantiles by window of time: exact while there are rows, from rollups once retention has deleted them."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from perfkit.errors import InputError, UnknownNameError
from perfkit.lake import Lake
from perfkit.lake.rollup_expressions import ROLLED_UP_BY, dated
from perfkit.lake.rollups import quantiles as rollup_quantiles
from perfkit.stats.histogram import LogHistogram
from perfkit.stats.quantiles import LEVELS, Quantile, quantile_name, quantiles, rows_needed
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration, parse_duration
from perfkit.workflows.analyse_selection import parse_moment
from perfkit.workflows.fresh import open_fresh_lake

if TYPE_CHECKING:
    import ibis

__all__ = ["Window", "WindowQuantiles", "window_quantiles"]

_MINUTE_NS = 60 * 10**9
_CLUSTER = ("run_id", "launch", "producer", "epoch")
_BY = tuple(name for name in ROLLED_UP_BY if name != "minute")


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The latencies of one window and group.

    Args:
        begin: its first moment, UTC.
        group: value of each column that the transfers were grouped by.
        latency_ns: p50, p95, p99 and p99.9 in nanoseconds; each says whether there is data enough, and its method:
            from rows, or ``histogram``, which is within 1 %.
        n: transfers that succeeded.
    """

    begin: datetime.datetime
    group: Mapping[str, Any]
    latency_ns: tuple[Quantile, ...]
    n: int

    def to_plain(self) -> dict[str, Any]:
        """The window as values that JSON can hold."""
        quantities = {one.name: one.to_plain() for one in self.latency_ns}
        return {"begin": self.begin.isoformat(), "group": dict(self.group), "n": self.n, "latency_ns": quantities}


@dataclasses.dataclass(frozen=True)
class WindowQuantiles:
    """Latency quantiles of all windows in which something was transferred.

    Args:
        every: length of a window.
        by: columns that make a group.
        windows: in order of time, then of the groups' values.
    """

    every: str
    by: tuple[str, ...]
    windows: tuple[Window, ...]

    def to_table(self) -> ResultTable:
        """One row per window and group."""
        rows = tuple(
            (
                f"{one.begin:%Y-%m-%d %H:%M}",
                *(str(one.group[name]) for name in self.by),
                *(format_duration(level.value) if level.enough else "too few" for level in one.latency_ns),
                f"{one.n:,}",
            )
            for one in self.windows
        )
        columns = ("from (UTC)", *self.by, *(quantile_name(level) for level in LEVELS), "n")
        needed = ", ".join(f"{rows_needed(level):,} for {quantile_name(level)}" for level in LEVELS[2:])
        notes = [f"{plural(len(self.windows), 'window')} of {self.every}; intervals are in to_plain() and --json."]
        if any(not level.enough for one in self.windows for level in one.latency_ns):
            notes.append(f"too few: not enough data ({needed}; of several launches or services, in each of two).")
        if any(level.method == "histogram" for one in self.windows for level in one.latency_ns):
            notes.append("Windows whose rows were deleted are read from rollups, within 1 %.")
        right = tuple(range(1 + len(self.by), len(columns)))
        return ResultTable(f"Latency per {self.every}", columns if rows else (), rows, tuple(notes), right)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; what is not known is None."""
        return {"every": self.every, "by": list(self.by), "windows": [one.to_plain() for one in self.windows]}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def window_quantiles(
    lake: Lake | str | Path = "data/lake",
    *,
    every: str = "1h",
    since: str | datetime.datetime | None = None,
    by: Sequence[str] = (),
) -> WindowQuantiles:
    """p50, p95, p99 and p99.9 of latency for every window of time.

    Args:
        lake: the lake, or its folder; what waits in its journal is drained before.
        every: length of a window, whole minutes, such as ``1min``, ``1h`` or ``1 day``; windows begin at multiples of
            it since 1970-01-01 UTC.
        since: only what was recorded since then: how long ago, such as ``24h``, or a moment with its time zone. Windows
            that began before are shown with what is left of them.
        by: columns of the rollups that tell groups apart, such as ``method`` or ``size_class``.

    Returns:
        The windows with their quantiles. Rows are read where there are any, each launch or service a cluster; days
        whose rows were deleted come from the rollups (`perfkit maintain` makes them before it deletes).

    Raises:
        InputError: `every` is not a number of whole minutes, or `since` cannot be read.
        UnknownNameError: there is no such column.
        LakeError: the lake cannot be read.

    >>> window_quantiles("a/folder/that/does/not/exist").windows
    ()
    """
    length_ns = parse_duration(every)
    if length_ns < _MINUTE_NS or length_ns % _MINUTE_NS:
        raise InputError(f"every == {every!r}, must be one or more whole minutes, such as 1min, 1h or 1 day")
    for name in by:
        if name not in _BY:
            raise UnknownNameError("column", name, _BY)
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    length_s = length_ns // 10**9
    oldest, rows = _read_rows(opened, since, length_s, by)
    old = _read_rollups(opened, since, length_s, by, oldest)
    found = []
    for key in sorted({*rows, *old}):
        if key in old:
            merged = old[key].merge(LogHistogram.from_values(rows[key]["latency_ns"] if key in rows else ()))
            latency, n = tuple(merged.interval(level) for level in LEVELS), merged.count
        else:
            values, n = rows[key]["latency_ns"], rows[key]["latency_ns"].size
            latency = quantiles(values, LEVELS, clusters=rows[key]["cluster"])
        begin = datetime.datetime.fromtimestamp(key[0] * length_s, datetime.UTC)
        found.append(Window(begin, dict(zip(by, key[1:], strict=True)), latency, n))
    return WindowQuantiles(every, tuple(by), tuple(found))


def _since(table: ibis.Table, column: str, since: str | datetime.datetime | None) -> ibis.Table:
    return table if since is None else table.filter(table[column] >= parse_moment(since))


def _read_rows(
    lake: Lake, since: str | datetime.datetime | None, length_s: int, by: Sequence[str]
) -> tuple[datetime.date | None, dict[tuple[Any, ...], dict[str, np.ndarray[Any, Any]]]]:
    """The day of the oldest row, and latencies with clusters by window and group."""
    transfers = dated(lake.transfers)
    oldest = transfers.observed_at.min().to_pyarrow().as_py()
    wanted = _since(transfers.filter(transfers.ok & (transfers.latency_ns > 0)), "observed_at", since)
    window = (wanted.observed_at.epoch_seconds() // length_s).cast("int64").name("window")
    frame = wanted.select(window, *by, *_CLUSTER, latency_ns=wanted.latency_ns.cast("float64")).to_polars()
    keys = ["window", *by]
    numbered = frame.with_columns(cluster=pl.struct(_CLUSTER).rank("dense"))
    groups = numbered.group_by(keys).agg("latency_ns", "cluster")
    found = {
        tuple(row[name] for name in keys): {name: np.asarray(row[name], float) for name in ("latency_ns", "cluster")}
        for row in groups.iter_rows(named=True)
    }
    return None if oldest is None else oldest.date(), found


def _read_rollups(
    lake: Lake,
    since: str | datetime.datetime | None,
    length_s: int,
    by: Sequence[str],
    oldest: datetime.date | None,
) -> dict[tuple[Any, ...], LogHistogram]:
    """Histograms by window and group of the days before the oldest row."""
    rollups = _since(lake.rollups, "minute", since)
    if oldest is not None:
        midnight = datetime.datetime.combine(oldest, datetime.time(), datetime.UTC)
        rollups = rollups.filter(rollups.minute < midnight)
    begin = (rollups.minute.epoch_seconds() // length_s * length_s).cast("int64").as_timestamp("s")
    merged = rollup_quantiles(rollups.mutate(minute=begin), ("minute", *by))
    found = {}
    for one in merged.groups:
        if one.histogram.count:
            moment = one.group["minute"].replace(tzinfo=datetime.UTC)
            key = (int(moment.timestamp()) // length_s, *(one.group[name] for name in by))
            found[key] = one.histogram
    return found
