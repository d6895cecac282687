"""Read the slots of a journal: for the drain, and for readers of what is not drained yet."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sqlite3
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from perfkit.errors import JournalError
from perfkit.journal.batches import Batch, EpochState
from perfkit.journal.counter import Counter, read_counter
from perfkit.journal.decoding import DecodedColumn, decode_body
from perfkit.journal.holder import merge_epochs
from perfkit.journal.slots import SlotFiles, hold_slot, looking_at
from perfkit.journal.storage import (
    connect,
    count_rows,
    read_batches,
    stored_epochs,
    stored_tables,
    trim_batches,
    write_epoch,
)

__all__ = [
    "Batch",
    "DecodedColumn",
    "EpochState",
    "Slot",
    "SlotReader",
    "decode_body",
    "list_slots",
    "open_slot",
    "remove_slot",
]

_SLOT_FILE = re.compile(r"slot-\d{3}\.sqlite")


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """A slot that may have rows.

    Args:
        name: name of the slot: the ``producer`` of its rows.
        path: its file, for `open_slot`.
        is_alive: a producer holds it.
    """

    name: str
    path: Path
    is_alive: bool


def list_slots(folder: str | Path) -> tuple[Slot, ...]:
    """The slots that may have rows, by name; none when there is no folder.

    Raises:
        JournalError: the folder cannot be read.
    """
    folder = Path(folder)
    try:
        names = sorted(path.name for path in folder.iterdir() if _SLOT_FILE.fullmatch(path.name))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise JournalError(f"journal {folder} cannot be read: {error.strerror}; check ls -ld {folder}") from error
    slots = []
    for name in names:
        files = SlotFiles.of(folder / name)
        with looking_at(files) as nobody_holds_it:
            slots.append(Slot(files.name, files.database, not nobody_holds_it))
    return tuple(slots)


@contextlib.contextmanager
def open_slot(path: str | Path) -> Iterator[SlotReader]:
    """Read a slot, whether its producer lives or not.

    Args:
        path: its file, from `list_slots`.

    Raises:
        JournalError: the file is missing, damaged, of a newer perfkit, or cannot be read; names it.
    """
    reader = SlotReader(SlotFiles.of(Path(path)))
    try:
        yield reader
    finally:
        reader.close()


class SlotReader:
    """Batches and figures of one slot; `open_slot` makes one. For one thread."""

    def __init__(self, files: SlotFiles) -> None:
        self._files = files
        with self._telling():
            self._connection = connect(files.database, read_only=True)

    def batches(self, table: str, after_position: int = 0, limit_bytes: int | None = None) -> Iterator[Batch]:
        """The batches of a table, ascending by position.

        Args:
            table: name of the table; one that the slot does not have has no batches.
            after_position: the last position that is not wanted any more.
            limit_bytes: stop once the bodies have this many bytes or more, after one batch at least; None: never.

        Raises:
            JournalError: the file is damaged.
        """
        read_bytes = 0
        with self._telling(), contextlib.closing(self._read(table, after_position)) as found:
            for batch in found:
                yield batch
                read_bytes += len(batch.body)
                if limit_bytes is not None and read_bytes >= limit_bytes:
                    return

    def tables(self) -> tuple[str, ...]:
        """Tables that have batches, by name.

        Raises:
            JournalError: the file is damaged.
        """
        with self._telling():
            return stored_tables(self._connection)

    def waiting_rows(self, table: str) -> int:
        """Rows of a table that were not trimmed yet.

        Raises:
            JournalError: the file is damaged.
        """
        with self._telling():
            return count_rows(self._connection, table)

    def epochs(self) -> tuple[EpochState, ...]:
        """What became of the rows of each holder, oldest first; one of which every row was committed may be left out.

        Raises:
            JournalError: the file is damaged.
        """
        with self._telling(), looking_at(self._files) as nobody_holds_it:
            said = read_counter(self._files.counter)
            return merge_epochs(stored_epochs(self._connection), said, is_held=not nobody_holds_it)

    def settle(self) -> None:
        """Make final what a killed producer committed: call it before `epochs` is believed and told.

        A commit that its process did not live to see finished lies in SQLite's log: hidden from connections that are
        open, committed for the first one that opens after them. Any write ends that, whichever way it went.

        Raises:
            JournalError: the file is damaged, or cannot be written to.
        """
        with self._telling(), looking_at(self._files) as nobody_holds_it:
            if nobody_holds_it:
                with contextlib.closing(connect(self._files.database)) as connection:
                    said = read_counter(self._files.counter)
                    for state in merge_epochs(stored_epochs(connection), said, is_held=False):
                        write_epoch(connection, state)

    def trim(self, up_to_position: Mapping[str, int]) -> None:
        """Delete what was drained, in small transactions: its room is used again.

        Args:
            up_to_position: per table the last position to delete.

        Raises:
            JournalError: the file cannot be written to; some of it may have been deleted.
        """
        with self._telling(), contextlib.closing(connect(self._files.database)) as connection:
            trim_batches(connection, up_to_position)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _read(self, table: str, after_position: int) -> Generator[Batch]:
        return read_batches(self._connection, self._files.name, table, after_position)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Say which slot a failure is about."""
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(
                f"journal slot {self._files.database} cannot be read or trimmed: {error}; if it is damaged, move it "
                "out of the folder, then run again"
            ) from error


def remove_slot(path: str | Path, *, told_up_to_epoch: int) -> bool:
    """Remove the file of a slot that is dead and wholly drained; what keeps its numbers growing stays.

    Tell first what `SlotReader.epochs` says. Only the last epoch's figures stay, in the counter: the next producer of
    the slot finds them there, and `SlotReader.epochs` repeats them.

    Args:
        path: its file, from `list_slots`.
        told_up_to_epoch: the last epoch whose losses were told; 0 when there was none.

    Returns:
        False when the slot is held, has batches, or a later epoch has losses: nothing was removed.

    Raises:
        JournalError: the file is damaged, or cannot be removed.
    """
    files = SlotFiles.of(Path(path))
    try:
        descriptor = hold_slot(files)
        if descriptor is None:
            return False
        try:
            if files.database.exists():
                return _remove_held(files, told_up_to_epoch)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise JournalError(
            f"journal slot {files.database} cannot be removed: {error.strerror}; check ls -ld {files.folder}"
        ) from error
    return False


def _remove_held(files: SlotFiles, told_up_to_epoch: int) -> bool:
    with open_slot(files.database) as reader:
        if reader.tables():
            return False
        epochs = reader.epochs()
        # A producer may have taken the slot since, and died: what it lost would be told when the slot is used again.
        if any(one.epoch > told_up_to_epoch and one.accepted > one.committed for one in epochs):
            return False
        last = epochs[-1:]
    counter = Counter(files.counter)
    try:
        if last and last[0].epoch == counter.epoch:
            counter.correct_committed(last[0].committed)
    finally:
        counter.close()
    for ending in ("", "-wal", "-shm"):
        files.database.with_name(files.database.name + ending).unlink(missing_ok=True)
    return True
