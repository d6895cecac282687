"""Rows of a Delta table's files as an Ibis table: the columns of today, whatever perfkit wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from perfkit.lake.checkpoints import table_path
from perfkit.schema import Column

if TYPE_CHECKING:
    import ibis
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["as_read", "files_that_may_hold", "find_rows", "stored_rows"]


def stored_rows(
    connection: Any, files: Sequence[str], schema: pyarrow.Schema, columns: Sequence[Column], view: str = ""
) -> ibis.Table:
    """The rows of some files of one table, read when the expression is run.

    Args:
        connection: the Ibis backend that reads them.
        files: paths of Parquet files; none make an empty table.
        schema: the columns that the table has today; those that the files lack get their default.
        columns: where the defaults stand.
        view: name under which DuckDB knows the rows; one of its own without it.
    """
    import ibis

    if not files:
        return ibis.memtable(as_read(schema).empty_table())
    rows: ibis.Table = connection.read_parquet(list(files), table_name=view or None)
    types = ibis.Schema.from_pyarrow(schema)
    missing = {
        column.name: ibis.literal(column.default, types[column.name].copy(nullable=True))
        for column in columns
        if column.name not in rows.columns
    }
    return rows.mutate(**missing).select(schema.names) if missing else rows


def as_read(schema: pyarrow.Schema) -> pyarrow.Schema:
    """The schema as DuckDB reads it from files: every column is nullable."""
    import pyarrow as pa

    return pa.schema([field.with_nullable(True) for field in schema])


def find_rows(connection: Any, table: DeltaTable, key: Mapping[str, object]) -> list[dict[str, Any]]:
    """The rows of a table with these values, read from the files that can hold them.

    In DuckDB's own SQL: to compile an Ibis expression takes longer than to find a row.

    Args:
        connection: the Ibis backend that reads.
        table: at the version to read.
        key: value by column; a column that the table does not have yet has none.
    """
    if not key.keys() <= {field.name for field in table.schema().fields}:
        return []
    files = files_that_may_hold(table, key)
    if not files:
        return []
    condition = " AND ".join(f'"{name}" = ${name}' for name in key)
    query = f"SELECT * FROM read_parquet($files) WHERE {condition}"
    found: list[dict[str, Any]] = connection.con.sql(query, params={"files": files, **key}).to_arrow_table().to_pylist()
    return found


def files_that_may_hold(table: DeltaTable, key: Mapping[str, object]) -> list[str]:
    """The files of a table that can hold a row with these values, judged by the smallest and largest of each file.

    A file without statistics of a column may hold anything.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    actions = pa.table(table.get_add_actions(flatten=True))
    may = pa.repeat(True, actions.num_rows)
    for name, value in key.items():
        if f"min.{name}" in actions.column_names:
            low, high = actions.column(f"min.{name}"), actions.column(f"max.{name}")
            within = pc.and_(pc.less_equal(low, value), pc.greater_equal(high, value))
            may = pc.and_(may, pc.fill_null(within, True))
    path = table_path(table)
    return [str(path / unquote(name)) for name in actions.filter(may).column("path").to_pylist()]
