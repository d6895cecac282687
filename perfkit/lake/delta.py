"""Open, create and append to one Delta table; everything that deltalake can raise leaves here as a `LakeError`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from perfkit.errors import LakeError
from perfkit.lake.checkpoints import TABLE_PROPERTIES, table_path
from perfkit.schema import SCHEMA_VERSION, Column
from perfkit.tables import plural

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable, WriterProperties

__all__ = [
    "ConflictError",
    "append_rows",
    "commit_rows",
    "conform",
    "data_files",
    "mark_schema",
    "needs_migration",
    "open_or_create",
    "open_table",
    "refuse_newer",
    "refuse_other_schema",
    "table_properties",
    "table_schema_version",
    "writer_properties",
]

SCHEMA_VERSION_KEY = "perfkit.schema_version"
ROWS_PER_ROW_GROUP = 122_880
"""DuckDB's own. Deltalake's 1 048 576 make a query for one row read eight times as much."""

_STATISTICS_COLUMNS = (
    "observed_at",
    "decided_at",
    "occurred_at",
    "recorded_at",
    "minute",
    "run_id",
    "producer",
    "epoch",
    "producer_sequence",
)
"""What files are pruned by. By default deltalake keeps statistics of the first 32 columns: neither these nor few."""

_CREATE_ATTEMPTS = 20
_APPEND_RETRIES = 100
_NO_MARKS: Mapping[str, int] = MappingProxyType({})


class ConflictError(LakeError):
    """Another writer committed first; nothing was written. Open the table anew and try again."""


def open_table(path: Path, version: int | None = None) -> DeltaTable | None:
    """The table, or None when nothing was ever appended.

    Args:
        path: folder of the table.
        version: 0 or more; None for the newest.

    Raises:
        LakeError: the folder holds something that is not a readable Delta table, or no such version any more.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    if not (path / "_delta_log").is_dir():
        return None
    try:
        return DeltaTable(path, version=version)
    except TableNotFoundError as error:
        if version is None:  # another process is about to write the first commit
            return None
        raise _no_such_version(path, version, error) from error
    except (DeltaError, OSError) as error:
        if version is not None:
            raise _no_such_version(path, version, error) from error
        raise LakeError(
            f"table {path} cannot be read: {_first_line(error)}; restore its folder from a copy, or move it away and "
            "measure anew (`perfkit bench`)"
        ) from error


def data_files(table: DeltaTable) -> list[str]:
    """The paths of the files that hold the rows of a table."""
    import pyarrow as pa

    path, names = table_path(table), pa.table(table.get_add_actions()).column("path").to_pylist()
    return [str(path / unquote(name)) for name in names]


def _first_line(error: Exception) -> str:
    """What the library says, without the stack of its own that may follow."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _no_such_version(path: Path, version: int, error: Exception) -> LakeError:
    return LakeError(
        f"version {version} of table {path} cannot be read: {_first_line(error)}; it was never written, or "
        "`perfkit maintain` removed it. Pin versions that you need later, or read the newest"
    )


# --- schema versions -------------------------------------------------------------------------------------------------


def mark_schema(schema: pyarrow.Schema, version: int = SCHEMA_VERSION) -> pyarrow.Schema:
    """The schema with its version written into the metadata of its first field.

    Delta keeps the metadata of a field with the columns: so columns and version change in one commit. It keeps no
    metadata of a schema, and a table property cannot change in the commit that overwrites rows.

    >>> import pyarrow as pa
    >>> mark_schema(pa.schema([pa.field("a", pa.int64())]), 3).field("a").metadata
    {b'perfkit.schema_version': b'3'}
    """
    field = schema.field(0)
    metadata = {**(field.metadata or {}), SCHEMA_VERSION_KEY: str(version)}
    return schema.set(0, field.with_metadata(metadata)).remove_metadata()


def table_schema_version(table: DeltaTable) -> int:
    """The version of `perfkit.schema` that wrote the columns of a table; 1 where it was not yet written down."""
    metadata = table.schema().fields[0].metadata
    return int(metadata.get(SCHEMA_VERSION_KEY, 1))


def needs_migration(table: DeltaTable, schema: pyarrow.Schema) -> bool:
    """Whether a table was written by an older perfkit with other columns than `schema` has."""
    names = [field.name for field in table.schema().fields]
    return table_schema_version(table) < SCHEMA_VERSION and names != schema.names


def refuse_newer(table: DeltaTable) -> None:
    """Refuse a table that a newer perfkit wrote.

    Raises:
        LakeError: it has a schema that this perfkit does not know.
    """
    version = table_schema_version(table)
    if version > SCHEMA_VERSION:
        path = table_path(table)
        raise LakeError(
            f"lake {path.parent}: table {path.name} has schema version {version}, this perfkit knows up to "
            f"{SCHEMA_VERSION}; install the perfkit that wrote it, or a newer one (pip install --upgrade perfkit)"
        )


def refuse_other_schema(table: DeltaTable, schema: pyarrow.Schema) -> None:
    """Refuse to write rows of `schema` into a table that a newer or an older perfkit wrote.

    Raises:
        LakeError: the table is of a newer schema, or has to be migrated first.
    """
    refuse_newer(table)
    if needs_migration(table, schema):
        raise LakeError(
            f"table {table_path(table)} has schema version {table_schema_version(table)}, rows are written in version "
            f"{SCHEMA_VERSION}; run `perfkit migrate` (a backup is kept; --dry-run rehearses it)"
        )


# --- writing ---------------------------------------------------------------------------------------------------------


def append_rows(path: Path, rows: pyarrow.Table) -> int:
    """Append in one commit and return the table's new version. Several processes may append at once.

    Raises:
        LakeError: the rows could not be written. The table stays at the version that it had.
    """
    return commit_rows(open_or_create(path, rows.schema), rows, retries=_APPEND_RETRIES)


def open_or_create(path: Path, schema: pyarrow.Schema) -> DeltaTable:
    """The newest version of a table that rows of `schema` can be appended to; made where there is none.

    Raises:
        LakeError: it cannot be made or read, is of a newer schema, or has to be migrated first.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    with _explained(path, "the table could not be opened for writing"):
        path.mkdir(parents=True, exist_ok=True)
        for attempt in range(_CREATE_ATTEMPTS):
            table = open_table(path)
            if table is not None:
                break
            try:
                properties = table_properties(schema)
                table = DeltaTable.create(path, mark_schema(schema), mode="ignore", configuration=properties)
                break
            except DeltaError:
                # Two processes that create the same table race for version 0; the loser finds it at the next attempt.
                if attempt == _CREATE_ATTEMPTS - 1:
                    raise
                time.sleep(0.02 * (attempt + 1))
    assert table is not None, "the last attempt has a table or raises"
    refuse_other_schema(table, schema)
    return table


def table_properties(schema: pyarrow.Schema) -> dict[str, str]:
    """How deltalake shall treat a table with these columns: its log, and what its files are pruned by."""
    indexed = [name for name in _STATISTICS_COLUMNS if name in schema.names]
    return {**TABLE_PROPERTIES, "delta.dataSkippingStatsColumns": ",".join(indexed)}


def commit_rows(
    table: DeltaTable, rows: pyarrow.Table, marks: Mapping[str, int] = _NO_MARKS, *, retries: int = 0
) -> int:
    """Append rows to a table in one commit, with marks that are true exactly when the rows are there.

    Args:
        table: the object that the marks so far were read from; it is at the new version afterwards.
        rows: with the schema of the table.
        marks: application transactions: version by application id.
        retries: how often to commit again on top of another writer's commit; 0 where the rows depend on what was
            read from `table`.

    Returns:
        The version that holds the rows.

    Raises:
        ConflictError: another writer committed since `table` was opened, and `retries` are used up.
        LakeError: the rows could not be written. The table stays at the version that it had.
    """
    from deltalake import CommitProperties, PostCommitHookProperties, Transaction, write_deltalake
    from deltalake.exceptions import CommitFailedError

    path = table_path(table)
    # A hook that fails would look like a commit that failed: checkpoints are written apart.
    hooks = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
    transactions = [Transaction(name, position) for name, position in marks.items()]
    with _explained(path, f"{plural(rows.num_rows, 'row')} could not be appended"):
        try:
            write_deltalake(
                table,
                rows,
                mode="append",
                commit_properties=CommitProperties(app_transactions=transactions, max_commit_retries=retries),
                post_commithook_properties=hooks,
                writer_properties=writer_properties(rows.schema),
            )
        except CommitFailedError as error:
            raise ConflictError(f"another writer committed to {path} first: {error}; try again") from error
        if retries:
            table.update_incremental()
    return int(table.version())


def writer_properties(schema: pyarrow.Schema) -> WriterProperties:
    """How every file of the lake is written.

    Wide numbers as differences instead of by dictionary: for 500 000 transfers 9 instead of 23 MB, written in 0.4
    instead of 0.7 s, and one row read in 3.5 instead of 6 ms, as no dictionary is read for it (measured on one host).
    """
    import pyarrow as pa
    from deltalake import ColumnProperties, WriterProperties

    differences = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    wide = [field.name for field in schema if pa.types.is_int64(field.type) or pa.types.is_timestamp(field.type)]
    return WriterProperties(
        compression="SNAPPY",
        max_row_group_size=ROWS_PER_ROW_GROUP,
        column_properties=dict.fromkeys(wide, differences),
    )


@contextmanager
def _explained(path: Path, what: str) -> Iterator[None]:
    from deltalake.exceptions import DeltaError

    try:
        yield
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"{path}: {what}: {error}; the table stays at its last version. Check the free space "
            f"and the permissions of {path.parent} (df -h, ls -ld), then run again"
        ) from error


def conform(rows: pyarrow.Table, schema: pyarrow.Schema, columns: tuple[Column, ...]) -> pyarrow.Table:
    """The rows with exactly the columns and types of `schema`; optional columns that lack get their default.

    Raises:
        LakeError: a column is unknown, a required one is missing or has nulls, or a value does not fit its type.
    """
    import pyarrow as pa

    names = [column.name for column in columns]
    unknown = [name for name in rows.column_names if name not in names]
    missing = [column.name for column in columns if column.required and column.name not in rows.column_names]
    if unknown or missing:
        raise LakeError(
            f"columns do not fit the schema: unknown {unknown or 'none'}, missing {missing or 'none'}; "
            f"allowed: {', '.join(names)}"
        )
    arrays = []
    for column, field in zip(columns, schema, strict=True):
        if column.name not in rows.column_names:
            arrays.append(pa.repeat(pa.scalar(column.default, field.type), rows.num_rows))
            continue
        try:
            array = rows.column(column.name)
            array = array if array.type == field.type else array.cast(field.type)
        except pa.ArrowException as error:
            raise LakeError(f"column {column.name} does not fit {field.type}: {error}") from error
        if not field.nullable and array.null_count:
            raise LakeError(f"column {column.name} has {array.null_count} nulls; every row needs a value")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)
