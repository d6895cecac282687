"""Hold a slot: claim it, commit to it, give it back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from perfkit.errors import JournalError
from perfkit.journal.batches import EncodedBatch, EpochState
from perfkit.journal.counter import Counter, CounterState, read_counter
from perfkit.journal.slots import SLOTS, SlotFiles, hold_slot, is_still_named, prepare_folder, sync_folder
from perfkit.journal.storage import (
    commit_batches,
    connect,
    forget_lossless_epochs,
    last_numbers,
    live_bytes,
    stored_epochs,
    write_epoch,
)

__all__ = ["SlotHolder", "claim_slot", "merge_epochs"]


def claim_slot(folder: Path) -> SlotHolder:
    """Take the first slot that nobody holds; a dead producer's slot is taken with what it left.

    Args:
        folder: the journal's folder; made when it does not exist.

    Raises:
        JournalError: no slot can be used.
        OSError, sqlite3.Error: the folder or the disk does not allow it.
    """
    prepare_folder(folder)
    unusable: list[str] = []
    for number in range(SLOTS):
        files = SlotFiles(folder, f"slot-{number:03}")
        try:
            holder = _hold(files)
        except JournalError as error:  # left for the drain to tell
            unusable.append(f"{files.name}: {error}")
            continue
        if holder is not None:
            return holder
    raise JournalError(
        f"all {SLOTS} slots of journal {folder} are held, or cannot be used ({len(unusable)}); end producers that are "
        f"not needed, or choose another folder. {'; '.join(unusable[:3])}".rstrip()
    )


def _hold(files: SlotFiles) -> SlotHolder | None:
    """The slot, if nobody holds it.

    Raises:
        JournalError: this slot cannot be used, another may: it is damaged, of a newer perfkit, or somebody else's.
        OSError, sqlite3.Error: the folder or the disk does not allow it.
    """
    try:
        descriptor = hold_slot(files)
        if descriptor is None:
            return None
        try:
            return SlotHolder(files, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
    except (OSError, sqlite3.OperationalError) as error:
        refused = [path for path in (files.lock, files.database, files.counter) if _is_refused(path)]
        if not refused:
            raise
        raise JournalError(f"{refused[0]} belongs to somebody else: {error}") from error
    except sqlite3.DatabaseError as error:
        raise JournalError(str(error)) from error


def _is_refused(path: Path) -> bool:
    return path.exists() and not os.access(path, os.R_OK | os.W_OK)


def merge_epochs(stored: Sequence[EpochState], said: CounterState, *, is_held: bool) -> tuple[EpochState, ...]:
    """What is known of a slot's epochs: the file knows what was committed, the counter what was handed in.

    Args:
        stored: as the file has them.
        said: as the counter's page has them.
        is_held: a producer holds the slot: the counter's epoch is under way.

    >>> stored = (EpochState(7, accepted=40, committed=40, dropped=0, lost=0, is_open=True),)
    >>> merge_epochs(stored, CounterState(epoch=7, accepted=100, dropped=10), is_held=False)[0].lost
    50
    """
    merged = {state.epoch: state for state in stored}
    last = merged.get(said.epoch)
    if last is None and said.accepted:
        last = EpochState(said.epoch, said.accepted, said.committed, said.dropped, 0, is_open=True)
    if last is not None and last.is_open:
        merged[said.epoch] = last = EpochState(
            said.epoch, max(said.accepted, last.accepted), last.committed, max(said.dropped, last.dropped), 0, True
        )
    return tuple(
        _closed(state) if state.is_open and not (is_held and state.epoch == said.epoch) else state
        for _, state in sorted(merged.items())
    )


def _closed(state: EpochState) -> EpochState:
    """An epoch without its holder: what is neither committed nor known to be dropped is lost."""
    lost = state.accepted - state.committed - state.dropped
    accepted = max(state.accepted, state.committed + state.dropped)  # after a power cut the counter may be behind
    return EpochState(state.epoch, accepted, state.committed, state.dropped, max(0, lost), is_open=False)


class SlotHolder:
    """A slot that this process holds.

    Args:
        files: of the slot.
        lock_descriptor: holds its lock; closed with the holder.
    """

    def __init__(self, files: SlotFiles, lock_descriptor: int) -> None:
        self.files = files
        self._lock_descriptor = lock_descriptor
        said = read_counter(files.counter)
        is_new = not files.database.exists()
        self._connection: sqlite3.Connection | None = connect(files.database)
        try:
            stored_epoch, stored_position = last_numbers(self._connection)
            self._close_earlier_epochs(said)
            now_us = time.time_ns() // 1000
            # Numbers grow for ever, also when files were removed: nobody claims a slot twice within a microsecond.
            self.epoch = max(said.epoch, stored_epoch) + 1 if said.epoch or stored_epoch else now_us
            self._last_position = max(said.position, stored_position, now_us if is_new else 0)
            self._counter = Counter(files.counter)
            sync_folder(files.folder)
            self._inode = files.database.stat().st_ino
            self.cells = self._counter.begin_epoch(self.epoch)
        except BaseException:
            self._connection.close()
            raise

    def _close_earlier_epochs(self, said: CounterState) -> None:
        connection = self._open_connection()
        stored = stored_epochs(connection)
        for state in merge_epochs(stored, said, is_held=False):
            if state not in stored:
                write_epoch(connection, state)
        forget_lossless_epochs(connection)

    def is_intact(self) -> bool:
        """Whether the slot's files are still those that were opened: someone may have removed the folder."""
        try:
            return self.files.database.stat().st_ino == self._inode and is_still_named(
                self._lock_descriptor, self.files.lock
            )
        except FileNotFoundError:
            return False

    def commit(self, batches: Sequence[tuple[int, EncodedBatch]], state: EpochState) -> None:
        """Make batches durable in one transaction.

        Args:
            batches: first sequence and rows of each.
            state: figures of the epoch once this commit is done.

        Raises:
            sqlite3.Error: nothing was committed.
        """
        connection = self._open_connection()
        first = self._last_position + 1
        last = self._last_position + len(batches)
        self._counter.reserve_position(last)
        self._last_position = last
        placed = [(first + index, sequence, batch) for index, (sequence, batch) in enumerate(batches)]
        commit_batches(connection, placed, state)

    def has_committed(self, rows: int) -> bool:
        """Whether that many rows of the epoch are durable, asked after an interrupted commit."""
        stored = stored_epochs(self._open_connection())
        return any(state.epoch == self.epoch and state.committed >= rows for state in stored)

    def live_bytes(self) -> int:
        """Bytes of the file that are in use.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        return live_bytes(self._open_connection())

    def disconnect(self) -> None:
        """Close the file after an error: the next commit opens it anew."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # the error that led here is the one to tell
                self._connection.close()
            self._connection = None

    def release(self, final: EpochState | None) -> None:
        """Give the slot back.

        Args:
            final: figures of the epoch, to be stored; None when the files are not ours any more. The page that
                `cells` show must have been released.
        """
        if final is not None and final.accepted:
            with contextlib.suppress(sqlite3.Error):  # nothing is lost: the counter says the same to the next holder
                write_epoch(self._open_connection(), final)
        self.disconnect()
        self._counter.close()
        os.close(self._lock_descriptor)

    def abandon_in_child(self) -> None:
        """Let go of what a forked child has inherited and the parent goes on to use.

        The connection is never closed here: SQLite would clean up the parent's log. A reference that nobody can drop
        keeps it from being collected, at the interpreter's end too.
        """
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        os.close(self._lock_descriptor)  # the parent still has its own

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.files.database)
        return self._connection
