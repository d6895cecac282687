"""Append to and open one Delta table; everything that deltalake can raise leaves here as a `LakeError`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import LakeError
from perfkit.schema import Column
from perfkit.tables import plural

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["append_rows", "conform", "open_table"]

_CREATE_ATTEMPTS = 20
_COMMIT_RETRIES = 100


def open_table(path: Path) -> DeltaTable | None:
    """The table at its newest version, or None when nothing was ever appended.

    Raises:
        LakeError: the folder holds something that is not a readable Delta table.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    if not (path / "_delta_log").is_dir():
        return None
    try:
        return DeltaTable(path)
    except TableNotFoundError:  # another process is about to write the first commit
        return None
    except (DeltaError, OSError) as error:
        raise LakeError(f"table {path} cannot be read: {error}; restore the folder or move it away") from error


def append_rows(path: Path, rows: pyarrow.Table) -> int:
    """Append in one commit and return the table's new version. Several processes may append at once.

    Raises:
        LakeError: the rows could not be written. The table stays at the version that it had.
    """
    from deltalake import CommitProperties, write_deltalake
    from deltalake.exceptions import DeltaError

    try:
        path.mkdir(parents=True, exist_ok=True)
        table = _open_or_create(path, rows.schema)
        write_deltalake(
            table, rows, mode="append", commit_properties=CommitProperties(max_commit_retries=_COMMIT_RETRIES)
        )
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"{plural(rows.num_rows, 'row')} could not be appended to {path}: {error}; "
            f"the table stays at its last version. Check the free space "
            f"and the permissions of {path.parent} (df -h, ls -ld), then run again"
        ) from error
    table.update_incremental()
    return int(table.version())


def _open_or_create(path: Path, schema: pyarrow.Schema) -> DeltaTable:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    for attempt in range(_CREATE_ATTEMPTS):
        table = open_table(path)
        if table is not None:
            return table
        try:
            return DeltaTable.create(path, schema=schema, mode="ignore")
        except DeltaError:
            # Two processes that create the same table race for version 0; the loser finds it at the next attempt.
            if attempt == _CREATE_ATTEMPTS - 1:
                raise
            time.sleep(0.02 * (attempt + 1))
    raise AssertionError("unreachable: the last attempt returns or raises")


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
            arrays.append(pa.array([column.default] * rows.num_rows, field.type))
            continue
        try:
            array = rows.column(column.name).cast(field.type)
        except pa.ArrowInvalid as error:
            raise LakeError(f"column {column.name} does not fit {field.type}: {error}") from error
        if not field.nullable and array.null_count:
            raise LakeError(f"column {column.name} has {array.null_count} nulls; every row needs a value")
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)
