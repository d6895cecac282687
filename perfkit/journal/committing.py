"""Group commit: threads that append at the same time share one transaction, and one wait for the disk."""

from __future__ import annotations

import collections
import contextlib
import errno
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from perfkit.errors import JournalError
from perfkit.journal.batches import EncodedBatch, EpochState
from perfkit.journal.holder import SlotHolder, claim_slot
from perfkit.journal.tally import Tally
from perfkit.units import format_bytes

__all__ = ["CommitRequest", "Committer"]

_EMPTY_BYTES = 2**15
"""More than a slot's file has when nothing waits in it: six pages."""


class CommitRequest:
    """Rows that somebody wants to be durable: all of them, or none.

    Args:
        batches: the rows, of one table.
    """

    __slots__ = ("batches", "body_bytes", "error", "first_sequence", "is_done", "rows")

    def __init__(self, batches: Sequence[EncodedBatch]) -> None:
        self.batches = batches
        self.rows = sum(batch.rows for batch in batches)
        self.body_bytes = sum(len(batch.body) for batch in batches)
        self.first_sequence = 0
        self.error: JournalError | None = None
        self.is_done = False


class Committer:
    """Commits requests to a slot that it claims when it is first needed.

    Args:
        folder: the journal's folder.
        max_bytes: what may wait in the slot to be drained.
        tally: counts what is committed; who makes a request counts what is accepted and dropped.
        on_claim: called after a slot was claimed.
    """

    def __init__(self, folder: Path, max_bytes: int, tally: Tally, on_claim: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.commits = self.failures = self.file_bytes = 0
        self.last_error = ""
        self.max_request_bytes = max_bytes - _EMPTY_BYTES  # more would wait for ever for a drain to make room
        self._folder = folder
        self._max_bytes = max_bytes
        self._tally = tally
        self._on_claim = on_claim
        self._waiting: collections.deque[CommitRequest] = collections.deque()
        self._holder: SlotHolder | None = None
        self._is_closed = False

    def commit(self, requests: Sequence[CommitRequest]) -> None:
        """Return when all requests are done: see their `error`. Never raises a `JournalError`."""
        self._waiting.extend(requests)
        with self.lock:  # whoever gets it commits for all that wait; the others then find their request done
            if not all(request.is_done for request in requests):
                self._commit_waiting()

    def holder(self) -> SlotHolder:
        """The slot, claimed if it is not yet.

        Raises:
            JournalError: no slot can be claimed; the next call tries again.
        """
        with self.lock:
            try:
                return self._claimed()
            except (JournalError, OSError, sqlite3.Error) as error:
                raise self._failed(error) from error

    def claim(self) -> bool:
        """Have a slot, so that rows are counted in its page before the first commit; whether there is one now."""
        if self._holder is None:
            try:
                self.holder()
            except JournalError:
                return False  # noted as the last error
        return True

    def close(self) -> None:
        """Commit what waits, and give the slot back. Requests fail from now on."""
        with self.lock:
            self._commit_waiting()
            self._is_closed = True
            self._release(keep_figures=True)

    def abandon_in_child(self) -> None:
        """Start anew in a forked child, without a slot; the parent's is left alone."""
        if self._holder is not None:
            self._holder.abandon_in_child()
        self.lock = threading.Lock()
        self.commits = self.failures = self.file_bytes = 0
        self.last_error = ""
        self._waiting.clear()
        self._holder = None

    def _commit_waiting(self) -> None:
        requests = []
        while self._waiting:
            requests.append(self._waiting.popleft())
        if not requests:
            return
        try:
            holder = self._claimed()
            fitting, expected_bytes = self._fitting(holder, requests)
            if fitting:
                self._commit(holder, fitting)
            self.file_bytes = expected_bytes
        except (JournalError, OSError, sqlite3.Error) as error:
            self._refuse(requests, self._failed(error))
            if self._holder is not None:
                self._holder.disconnect()
        except BaseException as interruption:
            self._refuse(requests, JournalError(f"the commit was interrupted ({type(interruption).__name__})"))
            raise

    def _claimed(self) -> SlotHolder:
        if self._is_closed:
            raise JournalError(f"journal {self._folder} is closed in this process; open it again with open_journal()")
        if self._holder is not None and not self._holder.is_intact():
            self._release(keep_figures=False)
        if self._holder is None:
            self._holder = claim_slot(self._folder)
            self._tally.begin_epoch(self._holder.cells)
            self.file_bytes = self._holder.live_bytes()
            self._on_claim()
        return self._holder

    def _release(self, *, keep_figures: bool) -> None:
        if self._holder is None:
            return
        final = self._tally.end_epoch()
        state = EpochState(self._holder.epoch, final.accepted, final.committed, final.dropped, 0, is_open=False)
        self._holder.release(state if keep_figures else None)
        self._holder = None

    def _fitting(self, holder: SlotHolder, requests: Sequence[CommitRequest]) -> tuple[list[CommitRequest], int]:
        """The requests that there is room for, and what the file will hold with them."""
        fitting = []
        expected_bytes = holder.live_bytes()
        for request in requests:
            if expected_bytes + request.body_bytes > self._max_bytes:
                error = JournalError(
                    f"journal slot {holder.files.database} is full: {format_bytes(expected_bytes)} wait to be drained, "
                    f"allowed are {format_bytes(self._max_bytes)}; run `perfkit drain`"
                )
                self._refuse([request], self._failed(error))
            else:
                expected_bytes += request.body_bytes
                fitting.append(request)
        return fitting, expected_bytes

    def _commit(self, holder: SlotHolder, requests: Sequence[CommitRequest]) -> None:
        now = self._tally.figures()
        sequence, batches = now.committed + now.dropped + 1, []
        for request in requests:
            request.first_sequence = sequence
            for batch in request.batches:
                batches.append((sequence, batch))
                sequence += batch.rows
        rows = sum(request.rows for request in requests)
        state = EpochState(holder.epoch, now.accepted, now.committed + rows, now.dropped, 0, is_open=True)
        try:
            holder.commit(batches, state)
        except (OSError, sqlite3.Error):
            raise
        except BaseException:
            if holder.has_committed(state.committed):
                self._count(requests, rows)
            raise
        self._count(requests, rows)

    def _count(self, requests: Sequence[CommitRequest], rows: int) -> None:
        self._tally.commit(rows)
        self.commits += 1
        for request in requests:
            request.is_done = True

    def _refuse(self, requests: Sequence[CommitRequest], error: JournalError) -> None:
        for request in requests:
            if not request.is_done:
                request.error, request.is_done = error, True

    def _failed(self, error: Exception) -> JournalError:
        self.failures += 1
        explained = error if isinstance(error, JournalError) else _explained(self._folder, error)
        self.last_error = str(explained)
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                self._release(keep_figures=False)  # the file is damaged: the next claim takes another slot
        return explained


def _explained(folder: Path, error: Exception) -> JournalError:
    code = error.errno if isinstance(error, OSError) else None
    name = getattr(error, "sqlite_errorname", "")
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or name.startswith("SQLITE_FULL"):
        remedy = f"free space on its disk (df -h {folder})"
    elif code in (errno.EACCES, errno.EROFS, errno.EPERM) or name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        remedy = f"make it writable (ls -ld {folder})"
    elif name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        remedy = f"end the process that keeps it locked (fuser -v {folder}/*.sqlite)"
    else:
        remedy = f"check its disk and the space on it (dmesg, df -h {folder})"
    why = f"{error} ({name})" if name else str(error)
    return JournalError(f"journal {folder} cannot be written to: {why}; nothing was appended. To go on, {remedy}")
