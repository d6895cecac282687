"""The lake: one folder with a Delta table of transfers, and one each of runs, decisions, events and rollups.

Readers never lock anybody out and never write: Delta's files are read by a DuckDB that lives in this process' memory,
so that a notebook may stay open while a scheduled run appends.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from perfkit.errors import InputError, LakeError, UnknownNameError
from perfkit.lake.delta import append_rows, conform, data_files, open_table, refuse_newer
from perfkit.lake.places import DEFAULT_LAKE_PATH, journal_folder, refuse_unusable_folder
from perfkit.lake.reading import explained_reading, read_compact
from perfkit.lake.records import RunRecord, run_schema
from perfkit.lake.snapshots import as_read, find_rows, stored_rows
from perfkit.lake.undrained import read_undrained
from perfkit.schema import JOURNALLED_TABLES, TABLES, TRANSFER_COLUMNS, arrow_schema
from perfkit.tables import ResultTable

if TYPE_CHECKING:
    import ibis
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["DEFAULT_LAKE_PATH", "LAKE_TABLES", "Lake", "open_lake"]

LAKE_TABLES = ("transfers", "runs", *(name for name in TABLES if name != "transfers"))
"""Every table of a lake."""

_READ_ATTEMPTS = 100
"""A drain between the looks at lake and journal is rare: so many in a row are not."""

_NEWEST: Mapping[str, int] = MappingProxyType({})


class Lake:
    """Append and query; made by `open_lake`.

    Every table is an Ibis table of the version that is newest when it is asked for, or of the version that the lake was
    opened at: it stays at that version, however much is appended afterwards.
    """

    def __init__(self, path: Path, *, versions: Mapping[str, int] = _NEWEST, undrained: bool = False) -> None:
        self.path = path
        self._versions = MappingProxyType(dict(versions))
        self._undrained = undrained
        self._opened: dict[str, tuple[object, DeltaTable]] = {}

    @functools.cached_property
    def _connection(self) -> Any:
        import ibis

        return ibis.duckdb.connect(":memory:")

    @property
    def transfers(self) -> ibis.Table:
        """Every observation: the columns of `perfkit.schema.TRANSFER_COLUMNS`.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        return self._snapshot("transfers")

    @property
    def decisions(self) -> ibis.Table:
        """What engines decided, as far as they record it: the columns of `perfkit.schema.DECISION_COLUMNS`.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        return self._snapshot("decisions")

    @property
    def events(self) -> ibis.Table:
        """What happened - published, rows lost, run deleted: the columns of `perfkit.schema.EVENT_COLUMNS`.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        return self._snapshot("events")

    @property
    def rollups(self) -> ibis.Table:
        """Histograms per minute, made of transfers: the columns of `perfkit.schema.ROLLUP_COLUMNS`.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        return self._snapshot("rollups")

    @property
    def runs(self) -> ibis.Table:
        """The state of every run, newest first: the columns of `RunRecord`.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        import ibis

        rows = self._snapshot("runs")
        # Within one microsecond an end comes after its start.
        order = [rows.recorded_at.desc(), (rows.status == "running").asc()]
        newest = ibis.row_number().over(ibis.window(group_by=rows.run_id, order_by=order))
        return rows.filter(newest == 0).order_by(ibis.desc("recorded_at"))

    def observations_of(self, *run_ids: str) -> pyarrow.Table:
        """The observations of some runs in memory: what a fit and the charts take.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        transfers = self.transfers
        return self.read(transfers.filter(transfers.run_id.isin(run_ids)))

    def read(self, rows: ibis.Table) -> pyarrow.Table:
        """Rows of this lake's tables in memory, a quarter as large as `to_pyarrow` makes them.

        Args:
            rows: an expression of `transfers` or any other table of this lake.

        Returns:
            The rows; text comes as dictionaries, for each row only the number of its text.

        Raises:
            LakeError: a file on disk cannot be read.
        """
        with explained_reading(self.path):
            return read_compact(self._connection, rows)

    def append_transfers(self, table: pyarrow.Table) -> int:
        """Append observations in one commit.

        Args:
            table: columns of `perfkit.schema.TRANSFER_COLUMNS`; those with a default may be left out.

        Returns:
            The version of the `transfers` table that holds them.

        Raises:
            LakeError: the columns do not fit the schema, or the rows could not be written; nothing was appended.
        """
        return append_rows(self.path / "transfers", conform(table, arrow_schema(), TRANSFER_COLUMNS))

    def append_run(self, record: RunRecord) -> int:
        """Append the state of a run and return the version of the `runs` table that holds it.

        Raises:
            LakeError: the row could not be written.
        """
        import dataclasses

        import pyarrow as pa

        row = pa.Table.from_pylist([dataclasses.asdict(record)], schema=run_schema())
        return append_rows(self.path / "runs", row)

    def find_transfer(self, producer: str, epoch: int, producer_sequence: int) -> dict[str, Any] | None:
        """One transfer by what makes it unique; None when the lake has no such row.

        Reads only the files whose statistics allow the row: much less than a filter of `transfers`.

        Args:
            producer: journal slot that the row came through.
            epoch: which holder of the slot wrote it.
            producer_sequence: number of the row within its epoch, from 1.

        Raises:
            LakeError: the table on disk cannot be read, or with undrained rows the journal.
        """
        key = {"producer": producer, "epoch": epoch, "producer_sequence": producer_sequence}
        for _ in range(_READ_ATTEMPTS):
            table = self._open("transfers")
            found = [] if table is None else find_rows(self._connection, table, key)
            if found or not self._undrained:
                return found[0] if found else None
            rows = self._undrained_rows("transfers", table)
            found = rows.filter([rows[name] == value for name, value in key.items()]).to_pyarrow().to_pylist()
            if found or self._is_newest("transfers", table):
                return found[0] if found else None
        raise self._overtaken("transfers")

    def versions(self) -> dict[str, int]:
        """The version of every table that this lake reads; -1 where nothing was ever appended.

        Raises:
            LakeError: a table on disk cannot be read.
        """
        tables = {name: self._open(name) for name in LAKE_TABLES}
        return {name: -1 if table is None else int(table.version()) for name, table in tables.items()}

    def _open(self, name: str) -> DeltaTable | None:
        """The table as it is now, only to be read: opening it takes longer than finding a row in it."""
        version = self._versions.get(name)
        if version == -1:
            return None
        # Whatever changes a table adds an entry to its log; what replaces it, a migration's backup, has another folder.
        state = _state_of_log(self.path / name / "_delta_log")
        if name in self._opened and self._opened[name][0] == state:
            return self._opened[name][1]
        table = open_table(self.path / name, version)
        if table is None and version is not None:
            raise LakeError(f"version {version} of table {self.path / name} cannot be read: there is no such table")
        if table is not None:
            refuse_newer(table)
            self._opened[name] = (state, table)
        return table

    def _snapshot(self, name: str) -> ibis.Table:
        schema = run_schema() if name == "runs" else arrow_schema(name)
        for _ in range(_READ_ATTEMPTS):
            table = self._open(name)
            files = [] if table is None else data_files(table)
            if name in self._versions:
                _refuse_removed(self.path / name, self._versions[name], files)
            # The version is part of the view's name: an expression made earlier keeps reading what it was made on.
            view = "" if table is None else f"{name}_{table.version()}"
            with explained_reading(self.path):
                rows = stored_rows(self._connection, files, schema, TABLES.get(name, ()), view)
            if not (self._undrained and name in JOURNALLED_TABLES):
                return rows
            waiting = self._undrained_rows(name, table)
            if self._is_newest(name, table):
                return rows.union(waiting)
            # A drain moved rows meanwhile: they may have been trimmed before they were looked for in the journal.
        raise self._overtaken(name)

    def _overtaken(self, name: str) -> LakeError:
        return LakeError(
            f"table {self.path / name} changed {_READ_ATTEMPTS} times while what waits in the journal was read; "
            "try again, or open the lake without undrained rows"
        )

    def _undrained_rows(self, name: str, table: DeltaTable | None) -> ibis.Table:
        import ibis

        rows = read_undrained(journal_folder(self.path), name, table)
        return ibis.memtable(rows.cast(as_read(rows.schema)))

    def _is_newest(self, name: str, table: DeltaTable | None) -> bool:
        newest = self._open(name)
        return (newest and newest.version()) == (table and table.version())

    def to_table(self) -> ResultTable:
        """The newest runs, at most ten."""
        columns = ("run", "status", "recorded", "preset", "launches", "observations")
        newest = self.read(self.runs.limit(10)).to_pylist()
        rows = tuple(
            (
                run["run_id"],
                run["status"],
                f"{run['recorded_at']:%Y-%m-%d %H:%M:%S}",
                run["preset"],
                str(run["launches"]),
                f"{run['observations']:,}",
            )
            for run in newest
        )
        notes = () if rows else ("Nothing was measured yet: run `perfkit bench`.",)
        return ResultTable(f"Runs in {self.path}", columns, rows, notes, align_right=(4, 5))

    def __repr__(self) -> str:
        return f"Lake({str(self.path)!r}, versions={self.versions()})"

    def _repr_html_(self) -> str:
        return self.to_table().to_html()


def _state_of_log(log: Path) -> object:
    """What differs after every commit, and when the folder is another one."""
    try:
        state = log.stat()
        # The number of a folder that was removed is given again: its time tells the two apart.
        return state.st_ino, state.st_ctime_ns, sorted(os.listdir(log))  # noqa: PTH208 - only the names: a path each takes as long
    except FileNotFoundError:
        return None


def _refuse_removed(path: Path, version: int, files: list[str]) -> None:
    """Say that a version is gone before a query fails on the first file that is not there."""
    gone = [file for file in files if not Path(file).exists()]
    if gone:
        raise LakeError(
            f"version {version} of table {path} cannot be read any more: {len(gone)} of its {len(files)} files were "
            "removed, by `perfkit maintain` or by hand. Pin versions that you need later, or read the newest; where "
            "that is the newest, restore the folder from a copy"
        )


def open_lake(
    path: str | Path = DEFAULT_LAKE_PATH, *, versions: Mapping[str, int] | None = None, undrained: bool = False
) -> Lake:
    """Open a lake; a folder that does not exist yet is an empty lake and is made by the first append.

    Args:
        path: folder of the tables, relative to the current folder.
        versions: version by table to read instead of the newest, as `Lake.versions` gave them: time travel.
        undrained: also show rows that wait in the journal beside the lake, each row once; only of the newest versions.

    Returns:
        The lake. Opening it touches no table yet.

    Raises:
        LakeError: `path` is a file, or its name has characters that the Delta library cannot open.
        UnknownNameError: `versions` names a table that a lake does not have.
        InputError: a version is below -1, or earlier versions shall be read with what is not drained yet.

    >>> lake = open_lake("a/folder/that/does/not/exist")
    >>> lake.versions()
    {'transfers': -1, 'runs': -1, 'decisions': -1, 'events': -1, 'rollups': -1}
    >>> lake.transfers.count().to_pyarrow().as_py()
    0
    """
    folder = Path(path)
    refuse_unusable_folder(folder)
    if folder.exists() and not folder.is_dir():
        raise LakeError(f"lake {folder} is a file, must be a folder; give the folder that holds transfers/ and runs/")
    if versions and undrained:
        raise InputError(
            "versions= and undrained=True exclude each other: what waits in the journal follows the newest versions, "
            "and rows that were drained since an earlier one are in neither. Give one of the two"
        )
    for name, version in (versions or {}).items():
        if name not in LAKE_TABLES:
            raise UnknownNameError("table", name, LAKE_TABLES)
        if version < -1:
            raise InputError(f"version of {name} == {version}, must be 0 or more, or -1 for a table without rows")
    return Lake(folder, versions=versions or _NEWEST, undrained=undrained)
