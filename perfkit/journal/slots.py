"""The folder of a journal: slots, who holds them, and what keeps their numbers growing."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from perfkit.errors import JournalError

__all__ = ["SLOTS", "SlotFiles", "hold_slot", "is_still_named", "looking_at", "prepare_folder", "sync_folder"]

SLOTS = 1000
"""More producers at once than any host has: the limit only stops a loop that claims and never closes."""

_SECOND_TRY_AFTER_S = 0.002


@dataclasses.dataclass(frozen=True, slots=True)
class SlotFiles:
    """Where a slot keeps its things.

    Args:
        folder: the journal's folder.
        name: name of the slot: ``slot-000``.
    """

    folder: Path
    name: str

    @classmethod
    def of(cls, database: Path) -> SlotFiles:
        """The files of the slot whose database this is."""
        return cls(database.parent, database.stem)

    @property
    def database(self) -> Path:
        """Rows on their way to the lake; exists only while there may be some."""
        return self.folder / f"{self.name}.sqlite"

    @property
    def lock(self) -> Path:
        """Held by the producer as long as it lives; never removed."""
        return self.folder / f"{self.name}.lock"

    @property
    def counter(self) -> Path:
        """Rows taken, and the last epoch and position; stays when the database goes."""
        return self.folder / f"{self.name}.counter"


def prepare_folder(folder: Path) -> None:
    """Make the folder of a journal, durably.

    Raises:
        OSError: it cannot be made.
    """
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hold_slot(files: SlotFiles) -> int | None:
    """Take the lock of a slot.

    Returns:
        The descriptor that holds it until it is closed; None when another process, or another journal of this one,
        holds it.

    Raises:
        OSError: the lock file cannot be made or locked.
    """
    for waiting_s in (_SECOND_TRY_AFTER_S, 0.0):  # who only looks whether a slot is held, holds it for a moment
        descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_still_named(descriptor, files.lock):
                return descriptor
        except BlockingIOError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        time.sleep(waiting_s)
    return None


@contextlib.contextmanager
def looking_at(files: SlotFiles) -> Iterator[bool]:
    """See to it that nobody claims a slot while it is looked at.

    Yields:
        Whether no producer holds it; if one does, it may go on, and end.

    Raises:
        JournalError: the lock file cannot be read.
    """
    try:
        descriptor = os.open(files.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    except OSError as error:
        raise JournalError(
            f"{files.lock} cannot be read: {error.strerror}; check its permissions (ls -l {files.lock})"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def is_still_named(descriptor: int, path: Path) -> bool:
    """Whether the file that is open still has this name: the folder may have been removed meanwhile.

    Raises:
        OSError: the name cannot be looked up.
    """
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
