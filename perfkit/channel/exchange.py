"""One request and its answer, seen from the sender."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from perfkit.channel.born import BlockTable, block_of
from perfkit.channel.events import Ended, Failed, Leaving, Message
from perfkit.channel.frames import EXCLUSIVE, NOTHING, RELEASED, TIMED
from perfkit.channel.loading import METHOD_OF_CARRIER, Load, block_wait_s, load, load_first
from perfkit.channel.observing import (
    observe_answer,
    observe_failure,
    observe_request,
    read_timings,
    tell_failure,
    tell_success,
)
from perfkit.channel.requests import request_meta
from perfkit.errors import (
    CodecError,
    HandlerError,
    PeerLostError,
    TransferCancelledError,
    TransferError,
    TransferTimeoutError,
)
from perfkit.transfer.codecs import decode

if TYPE_CHECKING:
    from perfkit.channel.choosing import Way
    from perfkit.channel.client import Channel
    from perfkit.channel.connecting import Conversation
    from perfkit.channel.lane import Lane
    from perfkit.engine import Decision
    from perfkit.transfer.protocol import Encoded

__all__ = ["Exchange"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _MOST_DOUBLINGS = 0.005, 0.5, 10
_NO_CODEC = ("binary", "raw", "none")
_NO_SESSION = bytes(2)


class Exchange:
    """A request that is under way; made by `Channel.begin`. For one thread at a time."""

    # Defaults of the class: most of it is never set in an exchange, and setting it would cost more than all the rest.
    is_over = False
    load: Load | None = None
    encoded: Encoded | None = None
    decision: Decision | None = None
    names: tuple[str, str, str] = _NO_CODEC
    request_id = payload_bytes = encode_ns = wait_ns = started_ns = in_flight = 0
    fallback = ""
    has_lane = is_waited_for = is_refused = False
    _times_left_alone = 0
    call: Any = None
    call_frame = b""
    answered_by = "uds"
    lane: Lane
    conversation: Conversation
    _result: Any = None

    def __init__(
        self,
        channel: Channel,
        payload: Any,
        kind: str | None,
        format: str | None,  # noqa: A002 - the vocabulary's word
        compression: str,
        session: str,
        timeout_s: float,
    ) -> None:
        self.channel, self.payload = channel, payload
        self.kind, self.format, self.compression = kind, format, compression
        self.session, self.timeout_s = session, timeout_s
        self.deadline_s = time.monotonic() + timeout_s
        self.is_timed = channel.recorder is not None

    def start(self) -> None:
        """Send what the caller asked for. Raises as `Channel.begin`."""
        lanes = self.channel.lanes
        while True:
            if self.is_timed:
                self.started_ns = time.perf_counter_ns()
            self.lane, self.conversation = lanes.take(self.deadline_s)
            self.has_lane = True
            if self.is_timed:
                self.wait_ns = time.perf_counter_ns() - self.started_ns
            try:
                if self.payload is None:
                    self._write(b"", None)
                else:
                    self._send()
                return
            except PeerLostError as error:
                # The server went before it had all of the request, so it cannot have handled it.
                reason = self._last_words()
                self.is_refused = bool(reason)
                tell_failure(self, error)
                self._take_back()
                if reason:  # it would not take it the next time either
                    raise TransferError(f"the server refused the request: {reason}") from None
                if time.monotonic() >= self.deadline_s:
                    raise
                self.channel.retries += 1
            except TransferTimeoutError:
                self._take_back()
                raise
            except BaseException:
                self._return_lane_unused()
                raise

    def result(self) -> Any:
        """Wait for the answer; what the handler returned. Called again, it returns the same.

        Raises:
            as `Channel.send`; TransferCancelledError after `cancel`.
        """
        if not self.is_over:
            try:
                self._result = self.finish()
            except BaseException as error:
                self._result = error
                self.channel.count_failure(error)
                raise
            finally:
                self.let_go()
        elif isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def cancel(self) -> None:
        """Take the request back: a handler that asks may stop, the answer is dropped. Harmless once there is one."""
        if not self.is_over:
            self._result = TransferCancelledError("the request was taken back")
            self._abandon()
            self.let_go()

    def let_go(self) -> None:
        """It is over: keep neither the payload nor its block, even if somebody keeps this, or an exception of it."""
        self.is_over = True
        self.payload = self.encoded = self.load = None

    def finish(self) -> Any:
        """Wait for the answer and take it. Raises as `result`."""
        while True:
            try:
                answer, header_ns = self.wait_on_lane() if self.has_lane else self._finish_call()
            except TransferTimeoutError as error:  # the answer may come yet, and then it is dropped
                tell_failure(self, error)
                self._abandon()
                raise
            except TransferError as error:
                tell_failure(self, error)
                self._give_up_lane()
                raise
            except BaseException:  # Ctrl-C
                self._break_off()
                raise
            if answer is not None:
                break
            self._again()
        self.is_over = True
        channel = self.channel
        channel.requests += 1
        if self.has_lane and self.lane.introduced:
            self.lane.answered()
        if isinstance(answer, Failed):
            self._settle_block(answer.is_released)
            self.give_lane()
            tell_success(self)
            if self.is_timed:
                observe_failure(self, answer.kind)
            raise _error_of(answer)
        if self.load is not None and self.load.block is not None:
            self._settle_block(bool(answer.flags & RELEASED))
        if self.encoded is not None:
            channel.methods[self.method] += 1
            if not self.is_timed:  # otherwise the engine hears with its row how long it took
                tell_success(self)
        if answer.meta:
            return self._take_answer(answer, header_ns)
        self.give_lane()
        return None

    def __del__(self) -> None:
        if not self.is_over and self.request_id:
            with contextlib.suppress(Exception):  # at the end of the interpreter anything may be gone
                self.cancel()

    def __repr__(self) -> str:
        return f"Exchange({'over' if self.is_over else 'under way'}, {self.payload_bytes} bytes)"

    # --- sending -----------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        payload, conversation = self.payload, self.conversation
        chooser = conversation.chooser or self.channel.make_chooser(conversation)
        started_ns = time.perf_counter_ns() if self.is_timed else 0
        way = chooser.way(payload, self.kind, self.format, self.compression)
        encoded = payload.encoded() if payload.__class__ is BlockTable else way.codec.encode(payload)
        self.names, self.encoded = way.names, encoded
        self.payload_bytes = payload.nbytes if way.has_size else encoded.wire_bytes
        if self.is_timed:
            self.encode_ns = time.perf_counter_ns() - started_ns
        self.decision = decision = way.binding.decide(self.payload_bytes, self.session or None)
        if decision.method == "uds" and encoded.body is not None and 0 < encoded.wire_bytes <= chooser.quick_bytes:
            self._write_quickly(encoded.meta, encoded.body)
        else:
            self._load(payload, way, encoded, decision, chooser.order(decision))

    def _load(self, payload: Any, way: Way, encoded: Encoded, decision: Decision, methods: tuple[str, ...]) -> None:
        """Bring the payload onto the carrier of the first method that can take it, and send it."""
        conversation = self.conversation
        born_in = block_of(payload, conversation.session.arena) if way.is_born else None

        def carry(method: str, is_last: bool) -> Load:
            if method.startswith("grpc"):
                from perfkit.channel.calling import load_call

                return load_call(method, encoded, conversation.greeting.message_bytes)
            wait_s = self.deadline_s - time.monotonic() if is_last else block_wait_s(encoded.wire_bytes)
            greeting, session, plan = conversation.greeting, conversation.session, self.channel.copy_plan
            try:
                return load(method, encoded, session, greeting.message_bytes, wait_s, plan, born_in)
            except OSError as error:
                if decision.method == method:
                    self.channel.engine.observe(decision, self.payload_bytes, 0, ok=False, error=type(error))
                raise

        loaded, self.fallback = load_first(methods, carry, self.channel.count_fallback)
        self.wait_ns += loaded.wait_ns
        self.load = loaded
        if loaded.method.startswith("grpc"):
            self._begin_call(encoded.meta)
        else:
            self._write(encoded.meta, loaded)

    def _begin_call(self, meta: bytes) -> None:
        from perfkit.channel.calling import begin_call  # grpcio takes a while to load

        flags = EXCLUSIVE | TIMED if self.is_timed else EXCLUSIVE
        begin_call(self, request_meta(self.session, meta), flags, is_waited_for=self.is_waited_for)

    def _finish_call(self) -> tuple[Message | Failed | None, int]:
        from perfkit.channel.calling import finish_call

        return finish_call(self)

    def _write_quickly(self, meta: bytes, body: memoryview) -> None:
        """By far the most frequent payload needs no choice of a carrier, nor another one in case."""
        lane, timeout_s = self.lane, self.timeout_s
        if self.session:
            self._write(meta, Load("uds", body))
            return
        flags = EXCLUSIVE | TIMED if self.is_timed else EXCLUSIVE
        frame = lane.core.quick_request(meta, body, self.payload_bytes, flags, int(timeout_s * 1e9))
        self.request_id = lane.core.last_request_id
        if timeout_s != lane.timeout_s:
            lane.set_timeout(timeout_s)
        if self.is_timed:
            self.in_flight = self.channel.lanes.busy
        lane.write_quickly(frame)

    def _write(self, meta: bytes, loaded: Load | None) -> None:
        lane, timeout_s = self.lane, self.timeout_s
        meta = request_meta(self.session, meta) if self.session else _NO_SESSION + meta
        flags = EXCLUSIVE | TIMED if self.is_timed else EXCLUSIVE
        if loaded is None:
            header = lane.core.request(len(meta), NOTHING, 0, 0, 0, 0, flags, int(timeout_s * 1e9))
        else:
            wire_bytes = self.encoded.wire_bytes  # type: ignore[union-attr]  # what is loaded was encoded
            header = lane.core.request(
                len(meta), loaded.carrier, wire_bytes, self.payload_bytes, loaded.region, loaded.offset, flags,
                int(timeout_s * 1e9),
            )  # fmt: skip
        self.request_id = lane.core.last_request_id
        if timeout_s != lane.timeout_s:
            lane.set_timeout(timeout_s)
        if self.is_timed:
            self.in_flight = self.channel.lanes.busy
        lane.write_message(header, meta, loaded)
        if loaded is not None and loaded.segment is not None:
            loaded.drop_segment()

    # --- receiving ---------------------------------------------------------------------------------------------------

    def wait_on_lane(self) -> tuple[Message | Failed | None, int]:
        """The answer, and when it began to arrive; None when the server said that it does not handle the request."""
        lane = self.lane
        header_ns = 0
        while True:
            events = lane.read()
            if self.is_timed and not header_ns:
                header_ns = time.perf_counter_ns()
            for number, event in enumerate(events, 1):
                if event.__class__ is Message or self._is_answered_by(event):
                    if number < len(events):
                        self.conversation.take(lane, events[number:])
                    return (event if isinstance(event, Message | Failed) else None), header_ns
            if time.monotonic() > self.deadline_s:
                raise TransferTimeoutError(f"no answer within {self.timeout_s:g} s")
            if not lane.core.waits_for_body:
                header_ns = 0

    def _is_answered_by(self, event: Any) -> bool:
        """Take what is no answer; True for one, and for a goodbye of a server that leaves the request alone."""
        if isinstance(event, Failed):
            if event.request_id == 0:
                self.is_refused = True
                raise PeerLostError(f"the server ended the connection: {event.text}")
            return True
        if isinstance(event, Leaving):
            self.lane.has_ended = True
            return event.last_request_id < self.request_id
        if isinstance(event, Ended):
            raise PeerLostError(
                "the server died or closed the connection before it answered; "
                "whether the request was handled is unknown"
            )
        self.conversation.session.handle(event)
        return False

    def _again(self) -> None:
        """The server left the request alone, because it is closing or another one: its successor gets it."""
        self._take_back()
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TransferTimeoutError(f"each server that was asked within {self.timeout_s:g} s was about to close")
        if self._times_left_alone:  # one that closes is soon gone; one that only says so must not be run down
            time.sleep(min(_FIRST_PAUSE_S * 2**self._times_left_alone, _LONGEST_PAUSE_S, left_s))
        self._times_left_alone = min(self._times_left_alone + 1, _MOST_DOUBLINGS)
        self.channel.retries += 1
        self.start()

    def _take_answer(self, message: Message, header_ns: int) -> Any:
        channel, conversation = self.channel, self.conversation
        meta, timings = message.meta, None
        if self.is_timed:
            try:
                timings, meta = read_timings(message)
            except TransferError:
                self._give_up_lane()
                raise
        if message.carrier == NOTHING and not meta:
            self.give_lane()
            if timings is not None:
                observe_request(self, timings, header_ns)
            return None
        arrived_ns = time.perf_counter_ns()
        if self.has_lane:
            self.answered_by = METHOD_OF_CARRIER[message.carrier]
        try:
            body, borrowed = conversation.session.borrow(message)
        except TransferError:
            self._give_up_lane()
            raise
        self.give_lane()  # before the decoding: others may have it meanwhile
        try:
            payload = decode(meta, body, allow_pickle=channel.allow_pickle and conversation.greeting.pickle)
        finally:
            del body
            if borrowed is not None:
                conversation.listen()
                conversation.session.give_back(borrowed)
        channel.reply_methods[self.answered_by] += 1
        if timings is not None:
            observe_request(self, timings, header_ns)
            observe_answer(self, timings, message, meta, arrived_ns)
        return payload

    @property
    def method(self) -> str:
        """The method that carries the request."""
        return self.load.method if self.load is not None else "uds"

    def give_lane(self) -> None:
        """Let others have the lane."""
        if self.has_lane:
            self.has_lane = False
            self.channel.lanes.give(self.lane, self.conversation)

    # --- the ends ----------------------------------------------------------------------------------------------------

    def _settle_block(self, is_released: bool) -> None:
        """The server has answered: our block is free, or still viewed over there, and told of later."""
        loaded = self.load
        if loaded is None or loaded.block is None:
            return
        if is_released:
            self.conversation.session.lent.returned(((loaded.region, loaded.offset),))
        else:
            self.channel.late_views += 1
            self.channel.arena.note_late_view()
            self.conversation.watch()

    def _take_back(self) -> None:
        """The request was not written to its end, or left alone: nobody over there reads it, or its block."""
        loaded = self.load
        if loaded is not None and loaded.block is not None:
            self.conversation.session.lent.returned(((loaded.region, loaded.offset),))
        self._give_up_lane()
        self.load, self.is_over, self.request_id, self.call = None, False, 0, None

    def _last_words(self) -> str:
        """Why the server ended the connection, if it said so."""
        with contextlib.suppress(TransferError):
            for event in self.lane.read_waiting():
                if isinstance(event, Failed) and event.request_id == 0:
                    return event.text
        return ""

    def _return_lane_unused(self) -> None:
        """The request could not be made; or an interrupt came when it was written, and the server reads its block."""
        if self.request_id:
            self._give_up_lane()
            return
        if self.load is not None and self.load.block is not None:
            self.conversation.session.lent.returned(((self.load.region, self.load.offset),))
        if self.load is not None:
            self.load.drop_segment()
        self.give_lane()

    def _give_up_lane(self) -> None:
        """The connection is of no further use. Our block comes back when the server says so, or is gone."""
        self.is_over = True
        if self.load is not None:
            self.load.drop_segment()
        if self.has_lane:
            self.has_lane = False
            self._drop_lane()

    def _drop_lane(self) -> None:
        self.channel.lanes.drop(self.lane, self.conversation)
        if self.load is not None and self.load.block is not None:
            self.conversation.watch()  # other connections may be idle, and would not notice what became of the server

    def _break_off(self) -> None:
        """An interrupt came: as `_abandon`, unless the answer has been read and was lost with it."""
        if self.has_lane and not self.lane.core.is_under_way(self.request_id):
            self._give_up_lane()
        else:
            self._abandon()

    def _abandon(self) -> None:
        """Nobody waits for the answer any more: the lane is of use again once it has come."""
        self.is_over = True
        if self.call is not None:
            self.call.cancel()
        if not self.has_lane:
            return
        self.has_lane = False
        loaded = self.load
        if loaded is not None:
            loaded.drop_segment()
        try:
            self.lane.write(self.lane.core.cancel(self.request_id))
        except (TransferError, OSError):
            self._drop_lane()
        else:
            block = (loaded.region, loaded.offset) if loaded is not None and loaded.block is not None else None
            self.channel.lanes.drain(self.lane, self.conversation, block)


def _error_of(failed: Failed) -> TransferError:
    """What a server's ERROR means to the caller."""
    if failed.code == "handler":
        return HandlerError(failed.kind, failed.text)
    if failed.code == "cancelled":
        return TransferCancelledError(failed.text)
    if failed.code in ("codec", "reply"):
        return CodecError(failed.text)
    return TransferError(f"the server refused the request: {failed.text}")
