"""Make commits durable: deltalake never asks the disk to keep what it wrote. Only then may a journal be trimmed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from perfkit.errors import LakeError
from perfkit.lake.checkpoints import sync_files, table_path

if TYPE_CHECKING:
    from deltalake import DeltaTable

__all__ = ["sync_table"]

_SYNCED = "_synced.json"
"""Remembers up to which version a table is durable. Vacuum leaves alone what begins with an underscore."""


def sync_table(table: DeltaTable) -> None:
    """Make every commit up to the version of `table` durable: files of rows, log entries, the folders that name them.

    Earlier commits count too, whoever made them: a log with a gap, or rows of a drainer that was killed before it
    synced, would be lost with a power cut after their journal rows were trimmed.

    Args:
        table: at the version that has to survive.

    Raises:
        LakeError: the disk failed, or is full; nothing is known to be durable.
    """
    path, version = table_path(table), int(table.version())
    table_id = str(table.metadata().id)
    first = _synced_version(path, table_id) + 1
    if first > version:
        return
    try:
        sync_files([*_rows_since(table, path, first), *_log_since(path, first)])
        sync_files([path, path.parent])
        _remember(path, table_id, version)
    except OSError as error:
        raise LakeError(
            f"version {version} of table {path} could not be made durable: {error}; its rows stay in the journal. "
            f"Check the disk and its free space (df -h {path}), then run `perfkit drain` again"
        ) from error


def _rows_since(table: DeltaTable, path: Path, first: int) -> list[Path]:
    """The files of rows that the commits from `first` on added and that are still in use."""
    log = path / "_delta_log"
    added: set[str] = set()
    for version in range(first, int(table.version()) + 1):
        try:
            entry = (log / f"{version:020}.json").read_text(encoding="utf-8")
        except FileNotFoundError:  # cleaned away: what it added is not told apart any more
            return [path / unquote(name) for name in _files_in_use(table)]
        added |= {action["add"]["path"] for action in map(json.loads, entry.splitlines()) if "add" in action}
    # What a later commit removed may have been vacuumed: its rows are in the files that replaced it.
    return [path / unquote(name) for name in sorted(added & _files_in_use(table))]


def _files_in_use(table: DeltaTable) -> set[str]:
    import pyarrow as pa

    return set(pa.table(table.get_add_actions()).column("path").to_pylist())


def _log_since(path: Path, first: int) -> list[Path]:
    """The log entries and checkpoints from `first` on, and the file that names the newest checkpoint."""
    log = path / "_delta_log"
    entries = [file for file in sorted(log.iterdir()) if file.suffix in (".json", ".parquet")]
    newest = log / "_last_checkpoint"
    return [file for file in entries if file.name >= f"{first:020}"] + ([newest] if newest.exists() else [])


def _synced_version(path: Path, table_id: str) -> int:
    try:
        remembered = json.loads((path / _SYNCED).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # never synced, or torn by a power cut: sync everything
        return -1
    return int(remembered["version"]) if remembered["table"] == table_id else -1


def _remember(path: Path, table_id: str, version: int) -> None:
    file = path / _SYNCED
    partial = file.with_name(f"{_SYNCED}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps({"table": table_id, "version": version}), encoding="utf-8")
        partial.replace(file)
    except OSError:
        with contextlib.suppress(OSError):  # it could not even be made
            partial.unlink()
        raise
