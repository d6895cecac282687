"""Rollups: per minute, and whatever else distinguishes transfers, a histogram of their latency, made of the rows.

They are rebuilt from rows, whole days at a time and in one commit, and never counted up: a roll-up that runs twice, or
that was killed in the middle, leaves the same table. Days whose rows retention has deleted are frozen.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfkit.errors import UnknownNameError
from perfkit.lake.checkpoints import checkpoint_if_due
from perfkit.lake.delta import commit_rows, open_or_create, open_table
from perfkit.lake.durability import sync_table
from perfkit.lake.lake import Lake, open_lake
from perfkit.lake.rewriting import replace_rows
from perfkit.lake.rollup_expressions import ROLLED_UP_BY, dated, day_of
from perfkit.lake.rollup_gaps import left_out
from perfkit.schema import arrow_schema
from perfkit.stats.histogram import GAMMA, ZERO_BUCKET, LogHistogram
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration

if TYPE_CHECKING:
    import ibis
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["ROLLED_UP_BY", "RolledUp", "RollupQuantiles", "RollupResult", "day_number", "quantiles", "roll_up"]

_EPOCH = datetime.date(1970, 1, 1)
_TRANSFERS_MARK = "transfers"
_FROZEN_MARK = "frozen before day"
_SHOWN_QUANTILES = (0.5, 0.95, 0.99, 0.999)
_CHECKED = ("transfers", "failures", "payload_bytes", "latency_sum_ns")


@dataclasses.dataclass(frozen=True)
class RollupResult:
    """What a roll-up did.

    Args:
        rebuilt: days (UTC) that were built from their rows, ascending.
        frozen: how many days are frozen, because their rows were deleted.
        transfers: rows that were rolled up now.
        rollups: rows that the rollups of these days have.
        version: version of the `rollups` table; -1 where nothing was ever rolled up.
        warnings: what is not in the rollups, and why.
    """

    rebuilt: tuple[datetime.date, ...]
    frozen: int
    transfers: int
    rollups: int
    version: int
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """One row per day that was rebuilt."""
        rows = tuple((day.isoformat(),) for day in self.rebuilt)
        made = f"{plural(self.transfers, 'transfer')} rolled up into {plural(self.rollups, 'row')}"
        notes = (made, f"{plural(self.frozen, 'day')} frozen", *self.warnings)
        return ResultTable("Rollups", ("day",), rows, notes)

    def to_plain(self) -> dict[str, Any]:
        """The result as values that JSON can hold."""
        return {**dataclasses.asdict(self), "rebuilt": [day.isoformat() for day in self.rebuilt]}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def roll_up(
    lake: Lake, *, first_day: datetime.date = _EPOCH, freeze_before: datetime.date = _EPOCH, dry_run: bool = False
) -> RollupResult:
    """Build the rollups of the days whose rows have changed.

    A day is rebuilt when its rollups do not add up to its rows. Rows without a time are in no minute, and in no rollup.

    Args:
        lake: the lake; nobody else may roll it up at the same time (`perfkit maintain` holds the lake's lock).
            Whatever versions it was opened at, it is the newest rows that are rolled up.
        first_day: days before it are left out.
        freeze_before: days before it are rebuilt once more, and never again once they have rollups: their rows are
            about to be deleted. Days that an earlier roll-up froze stay frozen.
        dry_run: only say which days would be rebuilt.

    Returns:
        What was done. The table is durable on disk.

    Raises:
        LakeError: a table cannot be read or written; the rollups are as they were.
    """
    lake = open_lake(lake.path)
    table = open_table(lake.path / "rollups") if dry_run else _open_for_writing(lake)
    version_read = lake.versions()[
        "transfers"
    ]  # or an earlier one than is read: what comes meanwhile is seen next time
    transfers = lake.transfers
    rows, kept = _sums(dated(transfers), "observed_at"), _sums(lake.rollups, "minute")
    # Days that are frozen now still have all their rows: what came since they were rolled up last is built in first.
    already_frozen = _mark(table, _FROZEN_MARK)
    frozen = sorted(day for day in kept if day < already_frozen)
    differing = (day for day in {*rows, *kept} if rows.get(day) != kept.get(day))
    changed = sorted(day for day in differing if day >= day_number(first_day) and day not in frozen)
    built = 0
    if table is not None and not dry_run:
        marks = {_TRANSFERS_MARK: version_read, _FROZEN_MARK: max(already_frozen, day_number(freeze_before))}
        built = _commit(transfers, table, changed, marks)
    return RollupResult(
        rebuilt=tuple(_EPOCH + datetime.timedelta(day) for day in changed),
        frozen=len(frozen),
        transfers=sum(rows[day]["transfers"] + rows[day]["failures"] for day in changed if day in rows),
        rollups=built,
        version=-1 if table is None else int(table.version()),
        warnings=left_out(transfers, lake.rollups, [day for day in frozen if day in rows and rows[day] != kept[day]]),
    )


def _open_for_writing(lake: Lake) -> DeltaTable:
    return open_or_create(lake.path / "rollups", arrow_schema("rollups"))


def _mark(table: DeltaTable | None, name: str) -> int:
    return 0 if table is None else int(table.transaction_version(name) or 0)


def _commit(transfers: ibis.Table, table: DeltaTable, days: Sequence[int], marks: Mapping[str, int]) -> int:
    """Replace the rollups of some days by what their rows say, and say how many they are."""
    import pyarrow as pa

    built = 0

    def build() -> Iterator[pyarrow.RecordBatch]:
        nonlocal built
        for day in days:  # one at a time: memory is bounded by a day's rollups, not by what there is
            rollups = _build(transfers, day)
            built += rollups.num_rows
            yield from rollups.to_batches()

    schema = arrow_schema("rollups")
    if days:
        reader = pa.RecordBatchReader.from_batches(schema, build())
        replace_rows(table, reader, predicate=_within(days), marks=marks)
    elif any(_mark(table, name) < mark for name, mark in marks.items()):
        commit_rows(table, schema.empty_table(), marks)
    checkpoint_if_due(table)
    sync_table(table)  # only now may the rows be deleted
    return built


@dataclasses.dataclass(frozen=True)
class RolledUp:
    """Rollups that were merged.

    Args:
        group: what they agree in, by column.
        histogram: their latencies in nanoseconds.
        failures: transfers that failed.
        payload_bytes: bytes moved by those that succeeded.
    """

    group: Mapping[str, Any]
    histogram: LogHistogram
    failures: int
    payload_bytes: int


@dataclasses.dataclass(frozen=True)
class RollupQuantiles:
    """Latency quantiles by group, each within 1 % of the exact one.

    Args:
        by: the columns that make a group.
        groups: in the order of their values.
    """

    by: tuple[str, ...]
    groups: tuple[RolledUp, ...]

    def to_table(self) -> ResultTable:
        """One row per group."""
        rows = tuple(
            (
                *(str(one.group[name]) for name in self.by),
                *(format_duration(one.histogram.quantile(q)) for q in _SHOWN_QUANTILES),
                f"{one.histogram.count:,}",
                f"{one.failures:,}",
            )
            for one in self.groups
        )
        columns = (*self.by, *(f"p{100 * q:g}" for q in _SHOWN_QUANTILES), "n", "failed")
        right = tuple(range(len(self.by), len(columns)))
        return ResultTable("Latency from rollups", columns, rows, ("Within 1 % of the rows' quantiles.",), right)

    def to_plain(self) -> dict[str, Any]:
        """The quantiles in nanoseconds as values that JSON can hold."""
        return {
            "by": list(self.by),
            "groups": [
                {
                    **{name: _plain(value) for name, value in one.group.items()},
                    **{f"p{100 * q:g}": one.histogram.quantile(q) for q in _SHOWN_QUANTILES},
                    "n": one.histogram.count,
                    "failures": one.failures,
                    "payload_bytes": one.payload_bytes,
                }
                for one in self.groups
            ],
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def quantiles(rollups: ibis.Table, by: Sequence[str] = ("method",)) -> RollupQuantiles:
    """Merge rollups to the latency quantiles of any grouping.

    Args:
        rollups: `Lake.rollups`, or what a filter leaves of it.
        by: columns of `ROLLED_UP_BY`; none of them gives one group of everything.

    Returns:
        The groups with their histograms: p50, p95, p99 and p99.9 at a glance, `histogram.quantile` for any other.

    Raises:
        UnknownNameError: the rollups are not distinguished by a column.
    """
    for name in by:
        if name not in ROLLED_UP_BY:
            raise UnknownNameError("column", name, ROLLED_UP_BY)
    keys = list(by)
    pairs = rollups.mutate(pair=rollups.bucket.zip(rollups.bucket_transfers).unnest())
    number, filled = (pairs.pair[name] for name in pairs.pair.type().names)
    pairs = pairs.select(*keys, number=number, filled=filled)
    merged = pairs.group_by([*keys, "number"]).agg(filled=pairs.filled.sum().cast("int64"))
    histograms = _grouped(merged, keys).agg(
        numbers=merged.number.collect(order_by=merged.number), counts=merged.filled.collect(order_by=merged.number)
    )
    totals = _grouped(rollups, keys).agg(
        failures=rollups.failures.sum().cast("int64"),
        payload_bytes=rollups.payload_bytes.sum().cast("int64"),
        minimum=rollups.latency_min_ns.min(),
        maximum=rollups.latency_max_ns.max(),
    )
    joined = totals.left_join(histograms, keys) if keys else totals.cross_join(histograms)
    table = (joined.order_by(keys) if keys else joined).to_pyarrow()
    groups = tuple(_merged(table, row, by) for row in range(table.num_rows))
    return RollupQuantiles(tuple(by), tuple(one for one in groups if one.histogram.count or one.failures))


def _grouped(table: ibis.Table, keys: Sequence[str]) -> Any:
    return table.group_by(list(keys)) if keys else table


def _merged(table: pyarrow.Table, row: int, by: Sequence[str]) -> RolledUp:
    values = {name: table.column(name)[row] for name in table.column_names}
    if values["numbers"].is_valid:
        numbers, counts = (values[name].values.to_numpy(zero_copy_only=False) for name in ("numbers", "counts"))
        histogram = LogHistogram(numbers, counts, values["minimum"].as_py(), values["maximum"].as_py())
    else:
        histogram = LogHistogram.from_values(())
    return RolledUp(
        group={name: values[name].as_py() for name in by},
        histogram=histogram,
        failures=values["failures"].as_py() or 0,
        payload_bytes=values["payload_bytes"].as_py() or 0,
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime.datetime) else value


def day_number(day: datetime.date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


@functools.cache
def _histogram() -> Any:
    """DuckDB's aggregate: how often each value occurs. Grouping by bucket, too, would keep millions of long keys."""
    import ibis

    @ibis.udf.agg.builtin  # type: ignore[untyped-decorator]
    def histogram(value: int) -> dict[int, int]:
        raise NotImplementedError("DuckDB knows it by this name")

    return histogram


def _bucket(latency_ns: ibis.Value) -> ibis.Value:
    """The bucket of `LogHistogram`."""
    import ibis

    logarithm = latency_ns.cast("float64").nullif(0.0).ln()
    return ibis.ifelse(latency_ns <= 0, ZERO_BUCKET, (logarithm / math.log(GAMMA)).ceil().cast("int32"))


def _sums(rows: ibis.Table, moment: str) -> dict[int, dict[str, int]]:
    """What each day adds up to, by the number of the day."""
    sums = {name: rows[name].sum().cast("int64") for name in _CHECKED}
    found = rows.group_by(day=day_of(rows[moment])).agg(**sums).to_pyarrow().to_pylist()
    return {row.pop("day"): row for row in found}


def _build(transfers: ibis.Table, day: int) -> pyarrow.Table:
    """The rollups of a day, in the order of its minutes."""
    import ibis
    import pyarrow as pa

    schema = arrow_schema("rollups")
    begin = datetime.datetime.combine(_EPOCH, datetime.time(), datetime.UTC) + datetime.timedelta(day)
    observed_at = transfers.observed_at  # compared as it is stored: only the files of that day are read
    rows = dated(transfers.filter(observed_at >= begin, observed_at < begin + datetime.timedelta(1)))
    rows = rows.mutate(minute=rows.observed_at.truncate("minute"), bucket=_bucket(rows.latency_ns))
    # What failed has no bucket; where everything failed, there is no histogram at all.
    buckets = _histogram()(rows.ok.ifelse(rows.bucket, ibis.null()))
    built = rows.group_by(list(ROLLED_UP_BY)).agg(
        **{name: rows[name].sum().cast("int64") for name in _CHECKED},
        latency_min_ns=rows.latency_ns.min(where=rows.ok),
        latency_max_ns=rows.latency_ns.max(where=rows.ok),
        buckets=buckets,
    )
    built = built.mutate(bucket=built.buckets.keys(), bucket_transfers=built.buckets.values())
    table = built.order_by(list(ROLLED_UP_BY)).select(schema.names).to_pyarrow()
    filled = [_empty_for_null(column) for column in table.columns]
    return pa.table(filled, names=table.column_names).cast(schema)


def _empty_for_null(column: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """DuckDB collects nothing to null; a rollup of failures only has an empty histogram."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(column, pa.scalar([], column.type)) if pa.types.is_list(column.type) else column


def _within(days: Sequence[int]) -> str:
    """The minutes of some days, as SQL for deltalake; neighbouring days become one range."""
    begins = [day for day in days if day - 1 not in days]
    ends = [day + 1 for day in days if day + 1 not in days]
    return " or ".join(
        f"(minute >= '{_midnight(begin)}' and minute < '{_midnight(end)}')"
        for begin, end in zip(begins, ends, strict=True)
    )


def _midnight(day: int) -> str:
    return f"{(_EPOCH + datetime.timedelta(day)).isoformat()}T00:00:00Z"
