"""Append rows durably and lightly: what a service, a sweep or a workflow holds."""

from __future__ import annotations

import atexit
import dataclasses
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from perfkit.errors import InputError
from perfkit.journal.buffering import Buffer, RowSource, Writer
from perfkit.journal.committing import CommitRequest, Committer
from perfkit.journal.encoding import encode_batches
from perfkit.journal.tally import Tally
from perfkit.tables import ResultTable
from perfkit.units import format_bytes

__all__ = ["Journal", "JournalStatistics", "open_journal"]

_MIN_BYTES = 2**16
_LONGEST_WAIT_TO_FORK_S = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class JournalStatistics:
    """What became of the rows that this process handed in: ``accepted == committed + dropped + buffered``.

    Args:
        accepted: rows handed in since the journal was opened, whatever became of them.
        committed: rows that are durable.
        dropped: rows that were refused: no room in the buffer or the journal, no disk, not encodable, an append that
            failed.
        buffered: rows on their way.
        file_bytes: what the slot's file held at the last commit, to be drained; bodies only for the newest.
        commits: transactions.
        failures: commits and claims that failed.
        last_error: the newest failure in a sentence; empty when there was none.
    """

    accepted: int
    committed: int
    dropped: int
    buffered: int
    file_bytes: int
    commits: int
    failures: int
    last_error: str

    def to_plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return dataclasses.asdict(self)

    def to_table(self) -> ResultTable:
        """The figures as a table."""
        rows = [(name, f"{value:,}") for name, value in self.to_plain().items() if isinstance(value, int)]
        rows = [(name, format_bytes(self.file_bytes)) if name == "file_bytes" else (name, text) for name, text in rows]
        notes = (self.last_error,) if self.last_error else ()
        return ResultTable("Journal", ("what", "how many"), tuple(rows), notes, align_right=(1,))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


class Journal:
    """Rows on their way to the lake: `open_journal` makes one. Safe to use from threads, and after a fork.

    Every process has a slot of its own, a forked child too: it claims one when it first needs it, and counts from 0.
    """

    def __init__(self, folder: Path, max_bytes: int, buffer_rows: int, flush_interval_s: float) -> None:
        self.folder = folder
        self._tally = Tally()
        self._committer = Committer(folder, max_bytes, self._tally, on_claim=_close_when_a_worker_ends)
        self._buffer = Buffer(self._committer, self._tally, buffer_rows, flush_interval_s)
        self._is_closed = False
        _JOURNALS.add(self)

    @property
    def slot(self) -> str:
        """Name of the slot, the ``producer`` of its rows; claimed if it is not yet.

        Raises:
            JournalError: no slot can be claimed; says why, and what to do.
        """
        return self._committer.holder().files.name

    @property
    def epoch(self) -> int:
        """Number of this holder of the slot, larger than every earlier one.

        Raises:
            JournalError: no slot can be claimed; says why, and what to do.
        """
        return self._committer.holder().epoch

    def append(self, table: str, columns: Mapping[str, Any]) -> range:
        """Make rows durable: they have reached the disk when this returns, all of them or none.

        Threads that append at the same time share a transaction and its wait for the disk.

        Args:
            table: one of `perfkit.schema.JOURNALLED_TABLES`.
            columns: per column one value for all rows, or a sequence or buffer with one per row. Columns that are left
                out get their default in the lake. Timestamps are datetimes with a time zone, or microseconds since 1970
                in UTC.

        Returns:
            The rows' numbers within the epoch.

        Raises:
            InputError: there is no such table or column, or a column that rows need is missing.
            JournalError: a value is not what its column holds, or the rows could not be made durable; nothing was
                appended. In the second case the rows are counted as dropped: appended again, they get new numbers.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, open_journal(folder) as journal:
        ...     journal.append("events", {"name": ["run deleted", "run deleted"], "subject": ["01A", "01B"]})
        range(1, 3)
        """
        request = CommitRequest(encode_batches(table, columns))
        if not request.rows:
            return range(0)
        self._tally.accept(request.rows)
        try:
            self._committer.commit([request])
        finally:
            if request.error is not None:
                self._tally.drop(request.rows)
        if request.error is not None:
            raise request.error
        return range(request.first_sequence, request.first_sequence + request.rows)

    def writer(self, table: str, columns: Sequence[str]) -> Writer:
        """Take rows one by one, without waiting for the disk.

        Args:
            table: one of `perfkit.schema.JOURNALLED_TABLES`.
            columns: names of the values of every row.

        Raises:
            InputError: there is no such table or column, or one that rows need is missing.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, open_journal(folder) as journal:
        ...     writer = journal.writer("transfers", ("method", "payload_bytes", "latency_ns"))
        ...     taken = writer.offer(("uds", 4096, 21_500))
        ...     taken, journal.flush(), journal.statistics().committed
        (True, True, 1)
        """
        return self._buffer.writer(table, columns)

    def attach(self, source: RowSource) -> Tally:
        """Fetch rows from a source, too, within the flush interval; `start` says that the first ones have come.

        Returns:
            Counts what the source accepts, through lanes, and what it drops. What it hands over is counted here.
        """
        self._buffer.attach(source)
        return self._tally

    def start(self) -> None:
        """Have the thread fetch from sources, and claim the slot, soon. Does not wait for either."""
        _close_when_a_worker_ends()
        self._buffer.wake(is_urgent=True)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Commit what was offered before.

        Args:
            timeout_s: how long to wait, 0 or more.

        Returns:
            True when all of it is durable; False when it is not yet: `statistics` says why.
        """
        return self._is_closed or self._buffer.flush(timeout_s)

    def close(self) -> None:
        """Commit what was offered, and give the slot back. What cannot be committed is counted as dropped."""
        if self._is_closed:
            return
        self._is_closed = True
        self._buffer.close()
        self._committer.close()
        _JOURNALS.discard(self)

    def statistics(self) -> JournalStatistics:
        """What became of the rows so far."""
        total = self._tally.total()
        return JournalStatistics(
            accepted=total.accepted,
            committed=total.committed,
            dropped=total.dropped,
            buffered=total.under_way,
            file_bytes=self._committer.file_bytes,
            commits=self._committer.commits,
            failures=self._committer.failures,
            last_error=self._committer.last_error or self._buffer.last_error,
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({str(self.folder)!r})"

    def _abandon_in_child(self) -> None:
        self._tally.abandon_in_child()
        self._committer.abandon_in_child()
        self._buffer.abandon_in_child()


def open_journal(
    folder: str | Path = "data/journal",
    *,
    max_bytes: int = 256 * 2**20,
    buffer_rows: int = 10_000,
    flush_interval_s: float = 0.2,
    lazy: bool = False,
) -> Journal:
    """Open a journal for this process: claim a slot in its folder.

    Args:
        folder: the journal's folder, on a local disk; made when it does not exist.
        max_bytes: what may wait to be drained; more is refused and counted, 64 KiB or more.
        buffer_rows: rows that writers may have taken and not committed; more are dropped and counted, 1 or more.
        flush_interval_s: how long a row that was offered waits at most, above 0.
        lazy: claim the slot when it is first needed. A service that must start whatever the disk says opens its journal
            so: rows are then dropped and counted until the folder can be used.

    Raises:
        InputError: an argument is outside its range.
        JournalError: the folder cannot be used; says why, and what to do. Not with `lazy`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, open_journal(folder) as journal:
    ...     journal.slot
    'slot-000'
    """
    if max_bytes < _MIN_BYTES:
        raise InputError(f"max_bytes == {max_bytes}, must be {_MIN_BYTES} or more")
    if buffer_rows < 1:
        raise InputError(f"buffer_rows == {buffer_rows}, must be 1 or more")
    if not flush_interval_s > 0:
        raise InputError(f"flush_interval_s == {flush_interval_s}, must be above 0")
    journal = Journal(Path(folder).absolute(), max_bytes, buffer_rows, flush_interval_s)
    if not lazy:
        try:
            _ = journal.slot
        except BaseException:
            journal.close()
            raise
    return journal


_JOURNALS: set[Journal] = set()
"""Journals that are open in this process. They stay until they are closed: a service may keep nothing but a writer."""


class _ForkingThread(threading.local):
    """Threads may fork at the same time: each gives back what it holds itself."""

    def __init__(self) -> None:
        self.held: list[threading.Lock] = []


_FORKING = _ForkingThread()


def _before_fork() -> None:
    # No thread may be inside SQLite while the process is copied: the child would inherit its locks for ever. In one
    # order, so that two forking threads do not wait for each other.
    locks = [journal._committer.lock for journal in sorted(_JOURNALS, key=id)]
    _FORKING.held = [lock for lock in locks if lock.acquire(timeout=_LONGEST_WAIT_TO_FORK_S)]


def _after_fork_in_parent() -> None:
    while _FORKING.held:
        _FORKING.held.pop().release()


def _after_fork_in_child() -> None:
    _FORKING.held.clear()
    for journal in list(_JOURNALS):
        journal._abandon_in_child()


def _close_all() -> None:
    for journal in list(_JOURNALS):
        journal.close()


_CLOSING_WITH_WORKER: set[int] = set()
"""The process that has asked for it; a forked child finds its parent's number and asks for itself."""


def _close_when_a_worker_ends() -> None:
    """Workers of multiprocessing end without the functions of atexit; it has its own, forgotten at a fork."""
    util = sys.modules.get("multiprocessing.util")
    if (
        os.getpid() not in _CLOSING_WITH_WORKER
        and util is not None
        and sys.modules["multiprocessing.process"].parent_process() is not None
    ):
        util.Finalize(None, _close_all, exitpriority=0)
        _CLOSING_WITH_WORKER.add(os.getpid())


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_close_all)
