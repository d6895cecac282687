"""Buffered rows: taken within a microsecond, committed by a thread."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from perfkit.errors import JournalError
from perfkit.journal.batches import EncodedBatch
from perfkit.journal.committing import CommitRequest, Committer
from perfkit.journal.counter import ACCEPTED, DROPPED
from perfkit.journal.encoding import check_columns, encode_batches
from perfkit.journal.tally import Tally
from perfkit.journal.turns import Turns
from perfkit.units import format_bytes

__all__ = ["Buffer", "RowSource", "Writer"]

_BATCH_ROWS = 1000
_FETCHED_ROWS = 400
"""A source may be beside a service's hot path: fewer rows at once, for turns of less than 200 µs in all it does."""
_FETCHES_PER_COMMIT = 20
_LONGEST_RETRY_S = 5.0


class RowSource(Protocol):
    """Rows that wait elsewhere, and are counted as accepted, until the journal's thread fetches them."""

    def fetch(self, limit: int, pause: Callable[[], None]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Hand over the oldest rows.

        Args:
            limit: how many rows at most.
            pause: to be called between steps of some 50 µs.

        Returns:
            Tables and columns, as for `perfkit.journal.encoding.encode_batches`, with one list at least; none when no
            row waits.
        """


class Writer:
    """Takes rows of the same columns of one table; made by `perfkit.journal.Journal.writer`."""

    __slots__ = ("_buffer", "_tally", "columns", "rows", "table")

    def __init__(self, table: str, columns: tuple[str, ...], buffer: Buffer, tally: Tally) -> None:
        self.table = table
        self.columns = columns
        self.rows: list[Sequence[Any]] = []
        self._buffer = buffer
        self._tally = tally

    def offer(self, row: Sequence[Any]) -> bool:
        """Hand in a row; it is durable within the flush interval. Never waits for the disk, never raises.

        Args:
            row: a tuple with a value per column, in the order of `columns`.

        Returns:
            False when the row was dropped because the buffer is full, or the journal is closed; it is counted.
        """
        tally, buffer = self._tally, self._buffer
        with tally.lock:
            tally.accepted = tally.cells[ACCEPTED] = tally.accepted + 1
            if buffer.room <= 0:
                tally.dropped = tally.cells[DROPPED] = tally.dropped + 1
                return False
            buffer.room -= 1
            self.rows.append(row)
            waiting = len(self.rows)
        if waiting == 1 or waiting == buffer.enough_rows:
            buffer.wake(is_urgent=waiting > 1)
        return True

    def take(self) -> list[Sequence[Any]]:
        """The rows that wait; the writer begins anew."""
        with self._tally.lock:
            rows, self.rows = self.rows, []
            return rows


class _FlushRequest:
    """Somebody waits for everything that was offered before to be durable."""

    def __init__(self) -> None:
        self.is_answered = threading.Event()
        self.is_complete = False

    def answer(self, is_complete: bool) -> None:
        self.is_complete = is_complete
        self.is_answered.set()


class Buffer:
    """The rows of all writers of a journal, and the thread that commits them.

    Args:
        committer: makes them durable.
        tally: counts them.
        max_rows: rows that may wait; more are dropped.
        flush_interval_s: how long a row waits at most while the disk is well.
    """

    def __init__(self, committer: Committer, tally: Tally, max_rows: int, flush_interval_s: float) -> None:
        self.room = max_rows
        self.enough_rows = max(2, min(2 * _BATCH_ROWS, max_rows // 4))
        self.last_error = ""
        self._committer = committer
        self._tally = tally
        self._max_rows = max_rows
        self._flush_interval_s = flush_interval_s
        self._writers: dict[tuple[str, tuple[str, ...]], Writer] = {}
        self._pending: list[CommitRequest] = []
        self._sources: list[RowSource] = []
        self._begin_without_thread()

    def _begin_without_thread(self) -> None:
        # SimpleQueue: its put() may be called by a signal handler or a finalizer while another put() is under way.
        self._wishes: queue.SimpleQueue[_FlushRequest | bool | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.RLock()
        self._round_lock = threading.Lock()

    def writer(self, table: str, columns: Sequence[str]) -> Writer:
        """The writer for rows of these columns.

        Raises:
            InputError: there is no such table or column, or one is missing.
        """
        key = (table, tuple(columns))
        check_columns(*key)
        with self._tally.lock:
            return self._writers.setdefault(key, Writer(*key, self, self._tally))

    def attach(self, source: RowSource) -> None:
        """Fetch rows from a source, too: within the flush interval while the disk is well."""
        self._sources.append(source)

    def wake(self, *, is_urgent: bool) -> None:
        """Rows wait: commit them within the flush interval, or soon."""
        self._wishes.put(is_urgent)
        if self._thread is None:
            self._start_thread()

    def flush(self, timeout_s: float) -> bool:
        """Commit what was offered before; True when all of it is durable."""
        request = _FlushRequest()
        self._wishes.put(request)
        self._start_thread()
        return request.is_answered.wait(timeout_s) and request.is_complete

    def close(self) -> None:
        """Take no more rows, commit what waits, drop and count what cannot be committed."""
        with self._tally.lock:
            self.room = -(2**62)
        self._wishes.put(None)
        if self._thread is not None:
            self._thread.join()
        self._commit_buffered(is_last=True)
        for request in self._pending:
            self._tally.drop(request.rows)
        self._pending.clear()

    def abandon_in_child(self) -> None:
        """Start anew in a forked child: the parent commits what it had taken."""
        for writer in self._writers.values():
            writer.rows = []
        self._pending = []
        self.room = self._max_rows
        self.last_error = ""
        self._begin_without_thread()

    def _start_thread(self) -> None:
        with self._thread_lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="perfkit-journal", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter ends: close() commits what waits
                self.last_error = f"rows wait until the journal is closed: {error}"
            else:
                self._thread = thread

    def _run(self) -> None:
        retry_s: float | None = None
        while True:
            wish = self._next_wish(retry_s)
            if wish is None:
                return
            try:
                is_complete = self._commit_buffered(pause=Turns())
            except Exception as error:  # noqa: BLE001 - without its thread the journal would fill and say nothing
                self.last_error = f"rows could not be committed: {type(error).__name__}: {error}"
                is_complete = False
            if isinstance(wish, _FlushRequest):
                wish.answer(is_complete)
            retry_s = None if is_complete else min(2 * (retry_s or self._flush_interval_s / 2), _LONGEST_RETRY_S)

    def _next_wish(self, retry_s: float | None) -> _FlushRequest | bool | None:
        """Wait until it is time to commit: ``None`` is the wish to end."""
        if retry_s is None and self._sources:
            retry_s = self._flush_interval_s  # nobody says that rows wait there
        try:
            wish = self._wishes.get(timeout=retry_s)
        except queue.Empty:
            return True
        deadline_s = time.monotonic() + self._flush_interval_s
        while wish is False and (left_s := deadline_s - time.monotonic()) > 0:
            try:
                wish = self._wishes.get(timeout=left_s)
            except queue.Empty:
                break
        return wish

    def _commit_buffered(self, pause: Callable[[], None] | None = None, *, is_last: bool = False) -> bool:
        """Try to commit all rows that wait; those that could not be are kept for the next time."""
        with self._round_lock:
            for writer in tuple(self._writers.values()):
                rows = writer.take()
                for begin in range(0, len(rows), _BATCH_ROWS):
                    part = rows[begin : begin + _BATCH_ROWS]
                    encode = functools.partial(_encode_rows, writer, part, pause)
                    self._pending += self._encoded(writer.table, encode, 0, len(part))
            is_complete = self._commit_pending()
            if self._sources and not is_last:
                is_complete = self._committer.claim() and is_complete
            # Sources keep their rows, and drop the oldest, while others could not be committed.
            while (is_complete or is_last) and self._fetch_from_sources(pause, is_last=is_last):
                is_complete = is_complete and self._commit_pending()
            return is_complete

    def _fetch_from_sources(self, pause: Callable[[], None] | None, *, is_last: bool) -> bool:
        """Encode what waits at sources, for one commit; whether there was anything."""
        fetched, since_s = 0, time.monotonic()
        for source in self._sources:
            for _ in range(_FETCHES_PER_COMMIT):
                if time.monotonic() - since_s > self._flush_interval_s / 2:
                    break  # beside a busy thread every turn takes 5 ms: what was fetched should not wait for the rest
                found = source.fetch(_FETCHED_ROWS if is_last else min(_FETCHED_ROWS, self.room), pause or _go_on)
                if not found:
                    break
                for table, columns in found:
                    rows = next(len(values) for values in columns.values() if isinstance(values, list))
                    fetched += rows
                    self._give_room(-rows)
                    self._pending += self._encoded(
                        table, functools.partial(_encode_columns, table, columns, pause), 0, rows
                    )
        return fetched > 0

    def _commit_pending(self) -> bool:
        if not self._pending:
            return True
        requests = [CommitRequest(request.batches) for request in self._pending]
        try:
            self._committer.commit(requests)
        finally:
            self._pending = [request for request in requests if request.error is not None]
            self._give_room(sum(request.rows for request in requests if request.is_done and request.error is None))
        return not self._pending

    def _encoded(
        self, table: str, encode: Callable[[slice], tuple[EncodedBatch, ...]], begin: int, end: int
    ) -> list[CommitRequest]:
        try:
            request = CommitRequest(encode(slice(begin, end)))
            if request.body_bytes > self._committer.max_request_bytes:
                raise JournalError(f"it takes {format_bytes(request.body_bytes)}, more than the journal may hold")
            return [request]
        except Exception as error:  # noqa: BLE001 - whatever a service handed in, its other rows must not suffer
            if end - begin == 1:
                self.last_error = f"a row of {table} was dropped: {error}"
                self._tally.drop(1)
                self._give_room(1)
                return []
        middle = (begin + end) // 2
        return [*self._encoded(table, encode, begin, middle), *self._encoded(table, encode, middle, end)]

    def _give_room(self, rows: int) -> None:
        with self._tally.lock:
            self.room += rows


def _encode_rows(
    writer: Writer, all_rows: list[Sequence[Any]], pause: Callable[[], None] | None, part: slice
) -> tuple[EncodedBatch, ...]:
    rows = all_rows[part]
    if {len(row) for row in rows} != {len(writer.columns)}:
        raise JournalError(f"got {len(rows[0])} values, must be {len(writer.columns)}: {', '.join(writer.columns)}")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(writer.columns)}
    return encode_batches(writer.table, columns, pause=pause)


def _encode_columns(
    table: str, columns: Mapping[str, Any], pause: Callable[[], None] | None, part: slice
) -> tuple[EncodedBatch, ...]:
    some = {name: values[part] if isinstance(values, list) else values for name, values in columns.items()}
    return encode_batches(table, some, pause=pause)


def _go_on() -> None:
    """No pause: nobody else needs the interpreter."""
