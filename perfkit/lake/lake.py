"""The lake: one folder with a Delta table of transfers and one of runs.

Readers never lock anybody out: Delta's files are read by a DuckDB that lives in this process' memory, so that a
notebook may stay open while a scheduled run appends.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import LakeError
from perfkit.lake.delta import append_rows, conform, open_table
from perfkit.lake.records import RunRecord, run_schema
from perfkit.schema import TRANSFER_COLUMNS, arrow_schema
from perfkit.tables import ResultTable

if TYPE_CHECKING:
    import ibis
    import pyarrow

__all__ = ["DEFAULT_LAKE_PATH", "Lake", "open_lake"]

DEFAULT_LAKE_PATH = "data/lake"


class Lake:
    """Append and query; made by `open_lake`.

    `transfers` and `runs` are Ibis tables of the version that is newest when they are asked for: they stay at that
    version, however much is appended afterwards.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

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
        return self._snapshot("transfers", arrow_schema())

    @property
    def runs(self) -> ibis.Table:
        """The state of every run, newest first: the columns of `RunRecord`.

        Raises:
            LakeError: the table on disk cannot be read.
        """
        import ibis

        rows = self._snapshot("runs", run_schema())
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
        rows: pyarrow.Table = transfers.filter(transfers.run_id.isin(run_ids)).to_pyarrow()
        return rows

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

    def versions(self) -> dict[str, int]:
        """The newest version of every table; -1 where nothing was ever appended."""
        tables = {name: open_table(self.path / name) for name in ("transfers", "runs")}
        return {name: -1 if table is None else int(table.version()) for name, table in tables.items()}

    def _snapshot(self, name: str, schema: pyarrow.Schema) -> ibis.Table:
        import ibis
        import pyarrow as pa

        table = open_table(self.path / name)
        uris = [] if table is None else table.file_uris()
        if table is None or not uris:
            # DuckDB reads every column of a file as nullable: so the empty table is, too.
            return ibis.memtable(pa.schema([field.with_nullable(True) for field in schema]).empty_table())
        # The version is part of the view's name: an expression made earlier keeps reading what it was made on.
        return self._connection.read_parquet(uris, table_name=f"{name}_{table.version()}")

    def to_table(self) -> ResultTable:
        """The newest runs, at most ten."""
        columns = ("run", "status", "recorded", "preset", "launches", "observations")
        newest = self.runs.limit(10).to_pyarrow().to_pylist()
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


def open_lake(path: str | Path = DEFAULT_LAKE_PATH) -> Lake:
    """Open a lake; a folder that does not exist yet is an empty lake and is made by the first append.

    Args:
        path: folder of the tables, relative to the current folder.

    Returns:
        The lake. Opening it touches no table yet.

    Raises:
        LakeError: `path` is a file.

    >>> lake = open_lake("a/folder/that/does/not/exist")
    >>> lake.versions(), lake.transfers.count().to_pyarrow().as_py()
    ({'transfers': -1, 'runs': -1}, 0)
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise LakeError(f"lake {folder} is a file, must be a folder; give the folder that holds transfers/ and runs/")
    return Lake(folder)
