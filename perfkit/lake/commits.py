"""Commit what depends on the state of a table: read and write with the same object, again when another was first."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from perfkit.errors import LakeError
from perfkit.lake.delta import ConflictError, commit_rows, open_or_create, open_table

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["Build", "commit_built"]

_ATTEMPTS = 200
_PAUSE_S = 0.05

Build: TypeAlias = "Callable[[DeltaTable], tuple[pyarrow.Table, Mapping[str, int]] | None]"
"""Rows and marks to commit on top of a state of the table; None: nothing is left to do."""


def commit_built(path: Path, schema: pyarrow.Schema, build: Build) -> DeltaTable:
    """Commit what `build` makes of the table's state; when another writer commits first, it is built anew.

    Read the marks from the very object that the commit is made with: deltalake accepts a commit from a stale path,
    and the rows of two drainers would both be in.

    Args:
        path: folder of the table; made where there is none.
        schema: columns of a table that has to be made.
        build: called with each state of the table that is tried; None as its result ends it.

    Returns:
        The table at the version that holds the rows; at the newest one when there was nothing to do.

    Raises:
        LakeError: the rows could not be written, or other writers were first every time; nothing was written.
    """
    for _ in range(_ATTEMPTS):
        table = open_or_create(path, schema)
        built = build(table)
        if built is None:
            return table
        try:
            commit_rows(table, *built)
        except ConflictError as error:
            _raise_unless_moved(path, table, error)
            time.sleep(random.uniform(0, _PAUSE_S))  # two drainers without a lock would go on in step
            continue
        return table
    raise LakeError(f"{path}: other writers committed first {_ATTEMPTS} times; nothing was written. Run again later")


def _raise_unless_moved(path: Path, table: DeltaTable, error: ConflictError) -> None:
    newest = open_table(path)
    if newest is None or newest.version() == table.version():
        raise LakeError(
            f"{path}: rows could not be committed: {error.__cause__}; the table stays at version {table.version()}. "
            f"Check the free space and the permissions of {path.parent} (df -h, ls -ld), then run again"
        ) from error
