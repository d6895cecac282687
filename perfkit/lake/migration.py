"""Bring a lake that an older perfkit wrote to today's schema: a backup first, then one commit per table."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import LakeError
from perfkit.lake.checkpoints import sync_files
from perfkit.lake.delta import needs_migration, open_table, refuse_newer
from perfkit.lake.lake import LAKE_TABLES, Lake
from perfkit.lake.lock import hold_lake
from perfkit.lake.maintenance_result import UpkeepProgress
from perfkit.lake.migration_result import MigratedTable, MigrationResult
from perfkit.lake.migration_table import migrate_table, needs_settling, settle_table
from perfkit.lake.records import table_schema
from perfkit.lake.rewriting import table_at

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["migrate"]

_WAIT_S = 10.0  # for a drain that is under way
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""What a file system answers that has no hard links, or no more of them for this file."""


def migrate(
    lake: Lake, *, dry_run: bool = False, progress: Callable[[UpkeepProgress], None] | None = None
) -> MigrationResult:
    """Bring every table of a lake to today's schema.

    Each table changes in one commit: killed at any moment, it is either as before or migrated, and running it again
    does the rest. Versions of before stay readable.

    Args:
        lake: the lake. Nobody may write to it meanwhile; readers may go on.
        dry_run: rehearse on a copy beside the lake and leave the lake as it is. Either way there must be room for the
            rewritten tables once more; the copy itself takes none where the file system has hard links.
        progress: called before every table.

    Returns:
        What was migrated, with the figures that were compared, and where the backup is.

    Raises:
        LakeError: the lake does not exist, is in use or of a newer schema; a figure would change; the disk refused. The
            table that it happened to holds what it held: where a figure differs after the commit, the version before
            it is restored. The message says where the backup is, and when to go back to it. A table that could not be
            made durable is migrated, and running it again does the rest.
    """
    if not lake.path.is_dir():
        raise LakeError(f"lake {lake.path} does not exist; give the folder that holds transfers/ and runs/")
    tell = progress or (lambda _: None)
    if dry_run:
        return _rehearse(lake, tell)
    if not _outdated(lake.path) and not _unsettled(lake.path):
        return MigrationResult(str(lake.path), dry_run, ())
    with hold_lake(lake.path, "migrate", _WAIT_S):
        settled = _unsettled(lake.path)
        for name in settled:
            settle_table(table_at(lake.path / name), table_schema(name))
        outdated = _outdated(lake.path)
        if not outdated:
            return MigrationResult(str(lake.path), dry_run, (), settled=settled)
        backup = _back_up(lake.path)
        try:
            tables = _migrate_tables(lake.path, outdated, tell)
        except LakeError as error:
            raise LakeError(f"{error}. The lake as it was is in {backup}") from error
    return MigrationResult(str(_named(lake.path)), dry_run, tables, str(backup), settled)


def _migrate_tables(lake: Path, names: list[str], tell: Callable[[UpkeepProgress], None]) -> tuple[MigratedTable, ...]:
    tables = []
    for done, name in enumerate(names):
        tell(UpkeepProgress(done, len(names), name))
        tables.append(migrate_table(lake / name, table_schema(name)))
    return tuple(tables)


def _rehearse(lake: Lake, tell: Callable[[UpkeepProgress], None]) -> MigrationResult:
    outdated = _outdated(lake.path)
    unsettled = _unsettled(lake.path)
    if not outdated:
        return MigrationResult(str(lake.path), True, (), settled=unsettled)
    beside = _named(lake.path).absolute()
    with (
        _explained(lake.path),
        tempfile.TemporaryDirectory(prefix=f"{beside.name}-rehearsal-", dir=beside.parent) as folder,
    ):
        for name in outdated:
            _link_folder(lake.path / name, Path(folder, name))
        tables = _migrate_tables(Path(folder), outdated, tell)
    return MigrationResult(str(lake.path), True, tables, settled=unsettled)


def _outdated(lake: Path) -> list[str]:
    """The tables to migrate. Raises `LakeError` for a lake of a newer schema, before anything is changed."""
    existing = _existing(lake)
    for table in existing.values():
        refuse_newer(table)
    return [name for name, table in existing.items() if needs_migration(table, table_schema(name))]


def _unsettled(lake: Path) -> tuple[str, ...]:
    return tuple(name for name, table in _existing(lake).items() if needs_settling(table, table_schema(name)))


def _existing(lake: Path) -> dict[str, DeltaTable]:
    tables = {name: open_table(lake / name) for name in LAKE_TABLES}
    return {name: table for name, table in tables.items() if table is not None}


# --- copies ----------------------------------------------------------------------------------------------------------


def _back_up(lake: Path) -> Path:
    """A copy of the lake beside it, of linked files: files of a Delta table are added and removed, never changed."""
    now, lake = datetime.datetime.now(datetime.UTC), _named(lake)
    backup = lake.with_name(f"{lake.name}-backup-{now:%Y%m%dT%H%M%S.%fZ}")
    partial = lake.with_name(f"{lake.name}-backup.partial")
    with _explained(lake):
        if partial.exists():  # of a migration that was killed; the lake's lock says that nobody is at it
            shutil.rmtree(partial)
        _link_folder(lake, partial)
        partial.rename(backup)
        sync_files([backup])
    return backup


def _named(lake: Path) -> Path:
    """A path with a name that another can be put beside: "." and ".." have none."""
    return lake.resolve() if lake.name in ("", "..") else lake


def _link_folder(source: Path, target: Path) -> None:
    """Link or copy a folder, without hidden files: those are locks."""
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        copied = target / Path(folder).relative_to(source)
        copied.mkdir(parents=True)
        for name in files:
            if not name.startswith("."):
                _link(Path(folder, name), copied / name)
        sync_files([copied])


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)
        sync_files([target])


@contextlib.contextmanager
def _explained(lake: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LakeError(
            f"a copy of lake {lake} cannot be made: {error}; nothing was changed. Check the free space and the "
            f"permissions of {lake.absolute().parent} (df -h, ls -ld), then run again"
        ) from error
