"""The recorder: every thread hands its rows in without a lock, one thread takes them all."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

from perfkit.config.engine_settings import RecorderSettings
from perfkit.engine.decision import Decision
from perfkit.engine.recording.gathering import Gatherer
from perfkit.engine.recording.rows import error_name
from perfkit.engine.recording.statistics import RecorderStatistics
from perfkit.errors import JournalError
from perfkit.journal import Journal, open_journal
from perfkit.journal.lanes import Lane, Token
from perfkit.journal.turns import Turns

__all__ = ["Recorder"]

_SHORTEST_FLUSH_INTERVAL_S = 1e-3


class Recorder:
    """Takes what became of decisions. Recording never blocks and never raises; memory is bounded; totals are exact.

    Every thread has a buffer of its own, in which a row is put and counted without a lock. When it is full, its oldest
    row goes, and is counted. The journal's thread empties the buffers within the flush interval. It is another than the
    engine's, because it may wait for the disk, and the engine must react to what the host has left. Whichever of both
    comes first gathers the rows for the other, too. Without a journal there is no thread: `take` empties the buffers.

    Rows are counted in the journal's counter when they are put into a buffer: what a killed process had recorded and
    not written is told to the row, from the moment on that the journal's slot is claimed (`start`, or some milliseconds
    after the first row). A forked child begins with empty buffers and a slot of its own; its parent's rows stay with
    the parent. What is left when the interpreter ends is written then; so it is in workers of multiprocessing.

    Args:
        settings: how many rows may wait per thread, how long, and how many decisions are kept.
        journal_folder: folder of the journal; None, or settings that say so: nothing is written.
        wake: called on the way of the first row of a thread, and when its buffer is half full; must not wait or raise.
        available_bytes: tells the memory that the host had left in the last look; asked once per batch.

    >>> from perfkit.engine import Engine
    >>> recorder = Recorder(RecorderSettings(), None)
    >>> decision = Engine.load("no-such-folder/perfkit.toml").decide(4096)
    >>> recorder.record(decision, 4096, 21_500)
    >>> [(row[2], row[3]) for row in recorder.take(100)]
    [(4096, 21500)]
    >>> recorder.close()
    """

    def __init__(
        self,
        settings: RecorderSettings,
        journal_folder: Path | None,
        *,
        wake: Callable[[], None] | None = None,
        available_bytes: Callable[[], int | None] = lambda: None,
    ) -> None:
        max_rows = max(1, settings.buffer_rows)
        is_journalled = settings.enabled and journal_folder is not None
        self._max_rows = max_rows
        self._call_engine = wake
        self._own = threading.local()
        self._is_closed = False
        self._gatherer = Gatherer(max_rows, settings.decision_share, available_bytes, is_journalled=is_journalled)
        self._journal: Journal | None = None
        if is_journalled and journal_folder is not None:
            # Lazy: a service starts whatever its disk says.
            self._journal = open_journal(
                journal_folder,
                lazy=True,
                buffer_rows=max_rows,
                flush_interval_s=max(settings.flush_interval_ns / 1e9, _SHORTEST_FLUSH_INTERVAL_S),
            )
            self._gatherer.tally = self._journal.attach(self._gatherer)
        _RECORDERS.add(self)

    def record(
        self,
        decision: Decision,
        payload_bytes: int,
        latency_ns: int,
        session: str | None = None,
        ok: bool = True,
        error: str | BaseException | type[BaseException] | None = None,
    ) -> None:
        """Record how a transfer ended. Values that no column holds are counted as failures, later.

        Args:
            decision: what `decide` said.
            payload_bytes: size of the payload before encoding.
            latency_ns: sender's call to the acknowledgement of a readable payload, in nanoseconds.
            session: the session that `decide` was given.
            ok: whether it succeeded.
            error: the exception of one that failed, or its name.
        """
        try:
            try:
                lane = self._own.lane
            except AttributeError:
                lane = self._open_lane()
            if error is not None:
                error = error_name(error)  # an exception would keep alive what its frames hold: payloads, perhaps
            row = (time(), decision, payload_bytes, latency_ns, session, ok, error)
            try:  # see perfkit.journal.lanes
                lane.append(row)
            finally:
                lane.count = lane.cells[0] = count = lane.count + 1
            if count == lane.wake_at:
                self._wake()
        except ValueError:
            pass  # the counter's page has gone; the row is in its buffer, and counted there
        except Exception as problem:  # noqa: BLE001 - a service must not suffer for its records
            self._gatherer.failed([f"a row could not be taken: {type(problem).__name__}"])

    def record_decision(self, decision: Decision, payload_bytes: int, session: str | None, reason: str) -> None:
        """Keep a decision as a row of ``decisions``: an exposure, an explored one, whatever is worth its reason.

        Without a journal nothing is kept. Never blocks and never raises, like `record`.

        Args:
            decision: what was decided.
            payload_bytes: size of the payload before encoding.
            session: the session that `decide` was given.
            reason: what settled it.
        """
        if self._journal is None:
            return
        try:
            try:
                lane = self._own.lane
            except AttributeError:
                lane = self._open_lane()
            row = (time(), decision, payload_bytes, session, reason)
            try:
                lane.append(row)
            finally:
                lane.count = lane.cells[0] = lane.count + 1
        except ValueError:
            pass
        except Exception as problem:  # noqa: BLE001 - as in `record`
            self._gatherer.failed([f"a row could not be taken: {type(problem).__name__}"])

    def start(self) -> bool:
        """Claim the journal's slot now, which may wait for the disk, so that the first rows are counted in it, too.

        Returns:
            False when it cannot be claimed; it is tried again when rows come, and `statistics` says why.
        """
        try:
            return self._journal is None or bool(self._journal.slot)
        except JournalError:
            return False

    def take(self, limit: int) -> list[tuple[Any, ...]]:
        """Outcomes that were recorded and not taken yet, for the engine's thread; in turns of less than 200 µs.

        Args:
            limit: how many at most.

        Returns:
            Tuples in the order of `Outcome`, checked: those with values that no column holds are not among them. Of
            those that are not taken for long, the oldest go; the journal gets them all the same.
        """
        return self._gatherer.take(limit, Turns())

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Write what was recorded before.

        Args:
            timeout_s: how long to wait, 0 or more.

        Returns:
            True when all of it is durable, or there is no journal; False when it is not yet: `statistics` says why.
        """
        return self._journal is None or self._journal.flush(timeout_s)

    def close(self) -> None:
        """Write what was recorded, and end the journal's thread. What comes later is counted as dropped."""
        self._is_closed = True
        if self._journal is not None:
            self._journal.close()
        self._gatherer.forget()

    def statistics(self) -> RecorderStatistics:
        """What became of the rows so far."""
        gatherer, journal = self._gatherer, self._journal
        gatherer.count_drops()
        total = gatherer.tally.total()
        written = None if journal is None else journal.statistics()
        return RecorderStatistics(
            accepted=total.accepted,
            committed=total.committed,
            dropped=total.dropped,
            buffered=total.under_way,
            failures=gatherer.failures + (0 if written is None else written.failures),
            last_error=gatherer.last_error or ("" if written is None else written.last_error),
            threads=gatherer.tally.open_lanes,
        )

    def _open_lane(self) -> Lane:
        token = Token()
        lane = self._gatherer.tally.open_lane(token, self._max_rows)
        self._own.token, self._own.lane = token, lane
        if self._is_closed:
            lane.forget()
        elif self._journal is not None:
            self._journal.start()
        if self._call_engine is not None:
            self._call_engine()  # in a forked child it has no thread before somebody asks
        return lane

    def _wake(self) -> None:
        if self._journal is not None:
            self._journal.start()
        if self._call_engine is not None:
            self._call_engine()

    def _after_fork_in_child(self) -> None:
        self._own = threading.local()
        if self._journal is None:
            self._gatherer.tally.abandon_in_child()
        self._gatherer.begin()


_RECORDERS: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for recorder in list(_RECORDERS):  # their journals have begun anew already: they registered first
        recorder._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
