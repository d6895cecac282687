"""Read rows of the lake's tables into memory: in little of it, and with errors that people understand."""

from __future__ import annotations

import contextlib
import errno
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import LakeError

if TYPE_CHECKING:
    import ibis
    import pyarrow

__all__ = ["explained_reading", "read_compact"]

_SHORTAGES = {
    errno.ENOMEM: "memory",
    errno.ENOSPC: "room on the disk",
    errno.EMFILE: "file descriptors (`ulimit -n`)",
    errno.ENFILE: "file descriptors (`ulimit -n`)",
}
_MOST_VALUES = 2**15
"""A text column with more distinct values than this stays plain text: a dictionary would not make it smaller."""


@contextlib.contextmanager
def explained_reading(path: Path) -> Iterator[None]:
    """Say which lake cannot be read, and what to do, where DuckDB or the disk fails.

    Args:
        path: folder of the lake.

    Raises:
        LakeError: a file of the lake is damaged, gone or cannot be read; or this process has no memory, disk or file
            descriptor left to read it with.
    """
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise _short_of("memory", path, error) from error
    except (duckdb.Error, OSError) as error:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            raise _short_of(_SHORTAGES[error.errno], path, error) from error
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = "".join(filter(str.isprintable, lines[0])) if lines else type(error).__name__
        raise LakeError(
            f"a file of lake {path} cannot be read, it is damaged, gone or locked away: {reason}. Restore the folder "
            "from a copy, or move it away and measure anew (`perfkit bench`); reports and thresholds.toml stay as they "
            "are"
        ) from error


def _short_of(what: str, path: Path, error: Exception) -> LakeError:
    return LakeError(
        f"lake {path} is whole, but there is not enough {what} to read it: {str(error).splitlines()[0]}. Free some, or "
        "read less of it: one run, or what was recorded since a later time"
    )


def read_compact(connection: Any, rows: ibis.Table) -> pyarrow.Table:
    """Run an expression; its text columns come as dictionaries, for each row only the number of its text.

    Ten million transfers then take 1 GB instead of 4.

    Args:
        connection: the Ibis backend that reads the rows.
        rows: what to read.
    """
    view = f"read_{uuid.uuid4().hex}"
    connection.create_view(view, rows)
    try:
        schema = rows.schema()
        texts = [name for name in schema.names if schema[name].is_string()]
        values = _distinct_values(connection.con, view, texts)
        columns = ", ".join(_as_enum(name, values.get(name, ())) for name in schema.names)
        found: pyarrow.Table = connection.con.sql(f"SELECT {columns} FROM {view}").to_arrow_table()
        return found
    finally:
        connection.con.sql(f"DROP VIEW IF EXISTS {view}")


def _distinct_values(connection: Any, view: str, names: Sequence[str]) -> dict[str, list[str | None]]:
    """The distinct texts of the columns that have few."""
    if not names:
        return {}
    (counts,) = connection.sql(_of_each("approx_count_distinct", names, view)).fetchall()
    few = [name for name, count in zip(names, counts, strict=True) if count < _MOST_VALUES]
    (found,) = connection.sql(_of_each("list", few, view, "DISTINCT ")).fetchall() if few else ((),)
    return {name: list(texts or ()) for name, texts in zip(few, found, strict=True)}


def _of_each(function: str, names: Sequence[str], view: str, distinct: str = "") -> str:
    return f"SELECT {', '.join(f'{function}({distinct}{_quoted(name)})' for name in names)} FROM {view}"


def _as_enum(name: str, values: Sequence[str | None]) -> str:
    column, texts = _quoted(name), sorted(text for text in values if text is not None)
    if not texts:
        return column
    value = _literal(texts[0]) if len(values) == 1 else column  # a column that never changes need not be read
    return f"CAST({value} AS ENUM({', '.join(map(_literal, texts))})) AS {column}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
