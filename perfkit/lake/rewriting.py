"""Rewrite what a Delta table holds: replace and delete rows, compact files, remove what no version in use needs.

Each call is one commit or none. Like appending, it is written without hooks: checkpoints and the log are taken care of
by `perfkit.lake.checkpoints`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from perfkit.errors import LakeError
from perfkit.lake.checkpoints import table_path
from perfkit.lake.delta import ConflictError, open_table, writer_properties
from perfkit.tables import plural

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = [
    "change_newest",
    "compact_files",
    "delete_rows",
    "remove_files",
    "replace_rows",
    "rewriting",
    "table_at",
]

_TARGET_FILE_BYTES = 128 * 2**20
_ATTEMPTS = 20
_HOOKS_OFF = {"create_checkpoint": False, "cleanup_expired_logs": False}

_T = TypeVar("_T")


def table_at(path: Path, version: int | None = None) -> DeltaTable:
    """A table that exists, at a version or at its newest one.

    Raises:
        LakeError: there is no such table or version (any more).
    """
    table = open_table(path, version)
    if table is None:
        raise LakeError(f"table {path} does not exist (any more); check that nobody moved the lake, then run again")
    return table


def change_newest(path: Path, change: Callable[[DeltaTable], _T]) -> _T:
    """Change the newest version of a table; again when somebody else has committed first.

    Args:
        path: folder of the table.
        change: one of the changes of this module; called anew with the table as it is then.

    Returns:
        What `change` returned.

    Raises:
        LakeError: the change failed, or others were first every time; nothing was changed.
    """
    for _ in range(_ATTEMPTS):
        table = table_at(path)
        try:
            return change(table)
        except ConflictError as error:
            if table_at(path).version() == table.version():  # nobody did: the commit itself went wrong
                raise LakeError(
                    f"{path} could not be changed: {error.__cause__}; nothing is lost, run again"
                ) from error
    raise LakeError(f"{path}: other writers committed first {plural(_ATTEMPTS, 'time')}; run again when they are done")


def replace_rows(
    table: DeltaTable,
    rows: pyarrow.Table | pyarrow.RecordBatchReader,
    *,
    predicate: str | None,
    marks: Mapping[str, int],
    new_schema: bool = False,
) -> None:
    """Replace the rows that a predicate describes in one commit, with marks that are true exactly from then on.

    Args:
        table: at the version that the rows were made from; it is at the new version afterwards.
        rows: what takes their place; each of them fulfils the predicate.
        predicate: SQL; None replaces every row.
        marks: application transactions: version by application id.
        new_schema: whether the table takes the schema of the rows.

    Raises:
        ConflictError: another writer committed since `table` was opened.
        LakeError: the rows could not be written. The table stays at the version that it had.
    """
    from deltalake import Transaction, write_deltalake

    transactions = [Transaction(name, version) for name, version in marks.items()]
    with rewriting(table_path(table)):
        write_deltalake(
            table,
            rows,
            mode="overwrite",
            predicate=predicate,
            schema_mode="overwrite" if new_schema else None,
            writer_properties=writer_properties(rows.schema),
            **_commit(transactions),
        )


def delete_rows(table: DeltaTable, predicate: str) -> int:
    """Delete the rows that a predicate describes in one commit, and say how many they were.

    Raises:
        ConflictError: another writer committed since `table` was opened.
        LakeError: the rows could not be deleted. The table stays at the version that it had.
    """
    with rewriting(table_path(table)):
        metrics = table.delete(predicate, writer_properties=_writer_properties(table), **_commit())
    return int(metrics.get("num_deleted_rows", 0))


def compact_files(table: DeltaTable) -> int:
    """Merge small files in one commit, rows in their order, and say how many files there are less.

    Raises:
        ConflictError: another writer removed files since `table` was opened.
        LakeError: the files could not be written. The table stays at the version that it had.
    """
    with rewriting(table_path(table)):
        metrics = table.optimize.compact(
            target_size=_TARGET_FILE_BYTES, writer_properties=_writer_properties(table), **_commit()
        )
    return int(metrics["numFilesRemoved"]) - int(metrics["numFilesAdded"])


def remove_files(table: DeltaTable, *, keep_versions: Collection[int], keep_hours: int, dry_run: bool) -> list[Path]:
    """Remove files that neither the newest version nor a kept one needs, with what killed writers left behind.

    Args:
        table: at its newest version.
        keep_versions: versions that stay readable.
        keep_hours: files that were in use so recently stay, for readers of earlier versions and for writers that have
            not committed yet; 0 or more.
        dry_run: only say which.

    Returns:
        The files.

    Raises:
        LakeError: a file could not be removed; run again.
    """
    path = table_path(table)
    with rewriting(table_path(table)):
        names = table.vacuum(
            retention_hours=keep_hours,
            enforce_retention_duration=False,
            full=True,
            keep_versions=sorted(keep_versions),
            dry_run=dry_run,
            **_commit(),
        )
    return [path / name for name in names]


def _commit(transactions: Collection[Any] = ()) -> dict[str, Any]:
    from deltalake import CommitProperties, PostCommitHookProperties

    return {
        "commit_properties": CommitProperties(app_transactions=list(transactions), max_commit_retries=0),
        "post_commithook_properties": PostCommitHookProperties(**_HOOKS_OFF),
    }


def _writer_properties(table: DeltaTable) -> Any:
    import pyarrow as pa

    return writer_properties(pa.schema(table.schema().to_arrow()))


@contextmanager
def rewriting(path: Path) -> Iterator[None]:
    """Explain what goes wrong while the table in a folder is rewritten.

    Raises:
        ConflictError: another writer committed first.
        LakeError: anything else that deltalake or the disk refused.
    """
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError as error:
        raise ConflictError(f"another writer committed to {path} first: {error}; try again") from error
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"table {path} could not be rewritten: {error}; it stays at its last version and nothing is lost. Check "
            f"the free space and the permissions of {path.parent} (df -h, ls -ld), then run again"
        ) from error
