"""Requests in, answers out: what a server does on a connection once it is open."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from perfkit.channel.borrowing import Borrowed
from perfkit.channel.choosing import Chooser
from perfkit.channel.events import Cancelled, Ended, Event, Failed, Fetched, Leaving, Message
from perfkit.channel.frames import EXCLUSIVE, NOTHING, RELEASED, TIMED, TIMINGS
from perfkit.channel.lane import Lane
from perfkit.channel.loading import METHOD_OF_CARRIER, Load, block_wait_s, load, load_first
from perfkit.channel.peers import Peer
from perfkit.channel.requests import (
    NOTHING_TO_SAY,
    Handler,
    Outcome,
    Request,
    read_request_meta,
    takes_request,
    work,
)
from perfkit.errors import TransferError, TransferTimeoutError

__all__ = ["Answerer", "timings_meta"]

_NO_SESSION = bytes(2)
_LAST_BLOCK_WAIT_S = 5.0
"""How long an answer waits for a block that only it could travel in."""


class _Cancellations:
    """The requests of a lane that its client took back; filled by whoever reads the lane."""

    def __init__(self, lane: Lane, peer: Peer) -> None:
        self.ids: set[int] = set()
        self.has_ended = False
        self.failure: BaseException | None = None
        self._lane, self._peer = lane, peer

    def take(self, event: Event) -> None:
        """Take what is not a message."""
        if isinstance(event, Cancelled):
            if self._lane.core.is_under_way(event.request_id):  # others were answered already
                self.ids.add(event.request_id)
        elif isinstance(event, Ended | Leaving | Failed):
            self.has_ended = True
        else:
            self._peer.session.handle(event)

    def fail(self, error: BaseException) -> None:
        """A worker could not answer; the reader raises it."""
        # Without its tracebacks: they lead to the worker's payload, and back here. Memory of the client would stay
        # mapped until Python looks for such circles.
        error.__context__ = error.__cause__ = None
        self.failure, self.has_ended = error.with_traceback(None), True

    def raise_failure(self) -> None:
        """Raise what a worker could not do, and keep no hold of it."""
        failure, self.failure = self.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure

    def includes(self, request_id: int) -> bool:
        """Whether a request was taken back, as far as was read."""
        return self.has_ended or request_id in self.ids

    def look(self, request_id: int) -> bool:
        """The same for a handler in the reader's own thread: it reads what has come meanwhile."""
        if not self.includes(request_id):
            try:
                for event in self._lane.read_waiting():
                    self.take(event)
            except TransferError:
                self.has_ended = True
        return self.includes(request_id)


class Answerer:
    """Calls the handler and sends what it returns; counts. The counts are kept without a lock.

    Args:
        handler: the service's own.
        max_workers: threads for connections on which several requests are under way.
    """

    def __init__(self, handler: Handler, max_workers: int) -> None:
        self.requests = self.late_views = 0
        self.methods: Counter[str] = Counter()
        self.reply_methods: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.fallbacks: Counter[str] = Counter()
        self._handler = handler
        self.takes_request = takes_request(handler)
        self._max_workers = max_workers
        self._workers: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def serve_lane(self, lane: Lane, peer: Peer, answered: Callable[[], None]) -> None:
        """Answer what comes on a connection, until its client goes or goodbye was said.

        Args:
            lane: the connection.
            peer: whose it is.
            answered: called when the requests that one read completed have been handled.

        Raises:
            TransferError: the client broke the rules, or cannot be reached.
        """
        cancellations = _Cancellations(lane, peer)
        while not cancellations.has_ended:
            try:
                events = lane.read()
            except TransferTimeoutError:
                if lane.core.is_in_the_middle:
                    raise
                continue  # a client may be idle for as long as it likes
            for event in events:
                if event.__class__ is Message:
                    if lane.introduced and event.flags & EXCLUSIVE:
                        lane.answered()  # it has read all answers: anything else may have crossed with one
                    self._take(lane, peer, event, cancellations)
                elif isinstance(event, Fetched):
                    outcome, message = peer.fetch(event.request_id)
                    self._reply(lane, peer, message, outcome, None)
                else:
                    cancellations.take(event)
            if not lane.core.waits_for_body:
                answered()
        cancellations.raise_failure()

    def answer(
        self, peer: Peer, message: Message, request: Request | None, chooser: Chooser
    ) -> tuple[Outcome, Borrowed | None]:
        """Hand a message to the handler; the outcome, and the block of the client that it came in.

        Raises:
            TransferError: the payload is not where the client says.
        """
        self.requests += 1
        meta = message.meta
        meta = meta[2:] if meta[:2] == _NO_SESSION else read_request_meta(meta)[1]
        body, borrowed = peer.session.borrow(message)
        is_timed = bool(message.flags & TIMED)
        outcome = work(self._handler, chooser, meta, body, request, peer.allow_pickle, is_timed)
        if outcome.error is not None:
            self.failures[outcome.error[1]] += 1
        return outcome, borrowed

    def make_request(self, peer: Peer, message: Message, is_cancelled: Callable[[], bool]) -> Request:
        """The request as the handler sees it."""
        session, _ = read_request_meta(message.meta)
        deadline_ns = time.perf_counter_ns() + message.time_ns if message.time_ns else 0
        return Request(session, peer.pool, message.payload_bytes, deadline_ns, is_cancelled)

    def close(self) -> None:
        """Let the workers end."""
        if self._workers is not None:
            self._workers.shutdown(wait=False, cancel_futures=True)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _take(self, lane: Lane, peer: Peer, message: Message, cancellations: _Cancellations) -> None:
        """In the reader's own thread where nothing else comes before the answer, in a worker otherwise."""
        self.methods[METHOD_OF_CARRIER[message.carrier]] += 1
        if message.flags & EXCLUSIVE:
            if lane.begin(message.request_id):
                self._handle(lane, peer, message, cancellations, cancellations.look)
                lane.is_handling = False
        elif lane.begin_apart(message.request_id):
            self._executor().submit(self._handle_apart, lane, peer, message, cancellations)

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._workers is None:
                self._workers = ThreadPoolExecutor(self._max_workers, thread_name_prefix="perfkit-worker")
            return self._workers

    def _handle_apart(self, lane: Lane, peer: Peer, message: Message, cancellations: _Cancellations) -> None:
        """In a worker: what goes wrong with the connection ends it, as it would in the reader."""
        try:
            self._handle(lane, peer, message, cancellations, cancellations.includes)
        except BaseException as error:  # noqa: BLE001 - the reader raises it
            cancellations.fail(error)
            lane.stop_reading()
        finally:
            lane.end_apart()

    def _handle(
        self,
        lane: Lane,
        peer: Peer,
        message: Message,
        cancellations: _Cancellations,
        look: Callable[[int], bool],
    ) -> None:
        request_id, request = message.request_id, None
        if cancellations.ids and cancellations.includes(request_id):
            self._reply(lane, peer, message, _taken_back(), None)
        else:
            if self.takes_request:
                request = self.make_request(peer, message, functools.partial(look, request_id))
            outcome, borrowed = self.answer(peer, message, request, peer.lane_chooser)
            if outcome is NOTHING_TO_SAY and borrowed is None:
                lane.write_quickly(lane.core.quick_reply(request_id, RELEASED))
            else:
                self._reply(lane, peer, message, outcome, borrowed)
        if cancellations.ids:
            cancellations.ids.discard(request_id)

    def _reply(self, lane: Lane, peer: Peer, message: Message, outcome: Outcome, borrowed: Borrowed | None) -> None:
        loaded = self._load(peer, outcome) if outcome.encoded is not None else None
        if outcome.encoded is not None and (loaded is None or loaded.body is None):
            outcome.encoded = None  # it may be a view of the request's own block
        flags = message.flags & TIMED
        if borrowed is None or not borrowed.is_viewed():
            flags |= RELEASED
        is_told = False
        try:
            if outcome.error is not None:
                lane.write(lane.core.error(message.request_id, *outcome.error, flags=flags & RELEASED))
            else:
                self._write(lane, message.request_id, outcome, loaded, flags)
            is_told = bool(flags & RELEASED)
        finally:
            if loaded is not None:
                loaded.drop_segment()
            if borrowed is not None:
                del loaded
                if outcome.encoded is not None:
                    outcome.encoded = None
                self._settle(peer, borrowed, is_told=is_told)

    def _settle(self, peer: Peer, borrowed: Borrowed, *, is_told: bool) -> None:
        """The block that a request came in: free, viewed by the answer until now, or viewed by the handler's own."""
        if is_told:
            borrowed.give_back()
            return
        peer.watch()
        if not peer.session.give_back(borrowed):
            self.late_views += 1

    def _load(self, peer: Peer, outcome: Outcome) -> Load | None:
        """Bring the answer onto its carrier; None, and an error in the outcome, if nothing carries it."""
        encoded, decision = outcome.encoded, outcome.decision
        assert encoded is not None  # the caller looked
        assert decision is not None  # it is encoded by decision
        chooser = peer.lane_chooser
        if decision.method == "uds" and encoded.body is not None and encoded.wire_bytes <= chooser.quick_bytes:
            self.reply_methods["uds"] += 1
            return Load("uds", encoded.body)

        def carry(method: str, is_last: bool) -> Load:
            wait_s = _LAST_BLOCK_WAIT_S if is_last else block_wait_s(encoded.wire_bytes)
            return load(method, encoded, peer.session, peer.message_bytes, wait_s)

        try:
            loaded, _ = load_first(chooser.order(decision), carry, self._count_fallback)
        except (TransferError, OSError) as error:
            outcome.error = ("reply", type(error).__name__, f"the answer cannot be carried: {error}")
            return None
        self.reply_methods[loaded.method] += 1
        return loaded

    def _write(self, lane: Lane, request_id: int, outcome: Outcome, loaded: Load | None, flags: int) -> None:
        meta = outcome.meta
        if flags & TIMED:
            meta = timings_meta(outcome, loaded) + meta
        if loaded is None:
            header = lane.core.reply(request_id, len(meta), NOTHING, 0, 0, 0, 0, flags)
        else:
            header = lane.core.reply(
                request_id, len(meta), loaded.carrier, outcome.wire_bytes, outcome.payload_bytes, loaded.region,
                loaded.offset, flags,
            )  # fmt: skip
        lane.write_message(header, meta, loaded)

    def _count_fallback(self, method: str, reason: str) -> None:
        self.fallbacks[f"{method}: {reason}"] += 1


def timings_meta(outcome: Outcome, loaded: Load | None) -> bytes:
    """What begins the description of a timed reply; see `frames.TIMINGS`."""
    wait_ns, copy_ns = (loaded.wait_ns, loaded.copy_ns) if loaded is not None else (0, 0)
    decision = outcome.decision.id.encode() if outcome.decision is not None else b""
    times = (outcome.decode_ns, outcome.handler_ns, outcome.encode_ns, wait_ns, copy_ns, time.perf_counter_ns())
    return TIMINGS.pack(*times, len(decision)) + decision


def _taken_back() -> Outcome:
    outcome = Outcome()
    outcome.error = ("cancelled", "TransferCancelledError", "it was taken back before it was handled")
    return outcome
