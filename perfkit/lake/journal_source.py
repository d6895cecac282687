"""A lake takes its rows from one journal: which one is written down in the lake."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from perfkit.errors import LakeError
from perfkit.journal.slots import SLOTS
from perfkit.lake.checkpoints import sync_files
from perfkit.lake.delta import open_table
from perfkit.schema import JOURNALLED_TABLES

__all__ = ["refuse_other_journal"]

_SOURCE_FILE = "journal.source"


def refuse_other_journal(lake: Path, journal: Path) -> None:
    """Refuse a second journal, and write down which is the first.

    Marks are kept by slot, and every journal begins with the same slot names: rows of a second journal would pass for
    drained, and be trimmed. Lake and journal may be moved together, the journal may be removed and begin anew, and a
    lake may be moved with a link left in its place.

    Args:
        lake: folder of the lake; made when it does not exist.
        journal: folder of the journal that shall be drained.

    Raises:
        LakeError: the lake has rows of another journal, or cannot be read or written to.
    """
    file = lake / _SOURCE_FILE
    on_disk = os.path.realpath(journal)
    relative = os.path.relpath(on_disk, os.path.realpath(lake))
    try:
        earlier = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        if earlier == relative:
            return
        if earlier and on_disk not in _places(lake, earlier) and _has_marks(lake):
            raise LakeError(
                f"lake {lake} takes its rows from the journal {_places(lake, earlier)[0]}, got {journal}; drain that "
                f"one into a lake of its own. If it is the same journal, moved, write {relative} into {file}"
            )
        lake.mkdir(parents=True, exist_ok=True)
        _write(file, relative)
    except OSError as error:
        raise LakeError(f"{file} cannot be read or written: {error}; check the permissions of {lake}") from error


def _places(lake: Path, earlier: str) -> tuple[str, str]:
    """Where the journal is, seen from where the lake is on disk, and from where people see it."""
    as_seen = os.path.abspath(lake)  # noqa: PTH100 - keeps links
    return (
        os.path.realpath(Path(os.path.realpath(lake)) / earlier),
        os.path.realpath(os.path.normpath(Path(as_seen) / earlier)),
    )


def _has_marks(lake: Path) -> bool:
    """Whether rows of any slot of a journal are in the lake."""
    tables = (open_table(lake / name) for name in JOURNALLED_TABLES)
    return any(
        table.transaction_version(f"slot-{number:03}") is not None
        for table in tables
        if table is not None
        for number in range(SLOTS)
    )


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        sync_files([partial])
        partial.replace(file)
        sync_files([file])
    except OSError:
        with contextlib.suppress(OSError):  # it could not even be made
            partial.unlink()
        raise
