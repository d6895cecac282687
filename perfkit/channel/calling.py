"""An exchange by a gRPC call instead of a frame on a lane."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from perfkit.channel import frames
from perfkit.channel.documents import failure_of, read_document
from perfkit.channel.events import Failed, Message
from perfkit.channel.frames import HEADER, HEADER_BYTES, MAGIC, PARKED, pack_header
from perfkit.channel.grpc_calls import MAX_CALL_BYTES, GrpcCalls, UnknownConversation
from perfkit.channel.loading import Load
from perfkit.errors import PayloadTooLargeError, PeerLostError, ProtocolError
from perfkit.transfer.protocol import Encoded
from perfkit.units import format_bytes

if TYPE_CHECKING:
    from perfkit.channel.connecting import Conversation
    from perfkit.channel.exchange import Exchange

__all__ = ["begin_call", "finish_call", "load_call"]


def load_call(method: str, encoded: Encoded, max_bytes: int) -> Load:
    """Nothing has to be prepared for a call; the encoded payload goes into it as it is.

    Raises:
        PayloadTooLargeError: over what the peer takes, or what one message can carry.
    """
    if encoded.wire_bytes > max_bytes:
        raise PayloadTooLargeError(
            f"payload of {encoded.wire_bytes} bytes; the peer takes at most {max_bytes} as bytes: use shm_pool or shm"
        )
    if method == "grpc" and encoded.wire_bytes > MAX_CALL_BYTES:
        raise PayloadTooLargeError(
            f"payload of {format_bytes(encoded.wire_bytes)}; one gRPC message carries at most "
            f"{format_bytes(MAX_CALL_BYTES)}: use grpc_stream, uds or shm_pool"
        )
    return Load(method)


def begin_call(exchange: Exchange, meta: bytes, flags: int, *, is_waited_for: bool) -> None:
    """Make a call, or leave it to `finish_call` if the caller is about to wait for it: that spares a thread's work.

    Raises:
        PeerLostError: the server has gone; its successor must be greeted first.
    """
    conversation, encoded = exchange.conversation, exchange.encoded
    assert encoded is not None  # what is called with was encoded
    conversation.take(exchange.lane, exchange.lane.read_waiting())
    if exchange.lane.has_ended:
        raise PeerLostError("the server has gone")
    exchange.request_id = next(conversation.call_ids)
    header = pack_header(
        frames.REQUEST,
        exchange.request_id,
        carrier=frames.BYTES,
        flags=flags,
        meta_bytes=len(meta),
        body_bytes=encoded.wire_bytes,
        payload_bytes=exchange.payload_bytes,
        time_ns=int(exchange.timeout_s * 1e9),
    )
    exchange.call_frame = header + meta
    exchange.give_lane()
    if not is_waited_for:
        left_s = max(exchange.deadline_s - time.monotonic(), 0.001)
        exchange.call = _calls(conversation).start(exchange.method, exchange.call_frame, encoded, left_s)


def finish_call(exchange: Exchange) -> tuple[Message | Failed | None, int]:
    """The answer to a call, and when it came; None when the server is another one, which handled nothing.

    Raises:
        TransferError: as `GrpcCalls.finish`.
    """
    encoded = exchange.encoded
    assert encoded is not None  # what is called with was encoded
    try:
        calls = _calls(exchange.conversation)
        if exchange.call is None:
            left_s = max(exchange.deadline_s - time.monotonic(), 0.001)
            frame, body = calls.call(exchange.method, exchange.call_frame, encoded, left_s)
        else:
            frame, body = calls.finish(exchange.method, exchange.call)
    except UnknownConversation:
        return None, 0
    exchange.call = None
    answer = _read_frame(frame, body)
    if isinstance(answer, Message):
        if answer.flags & PARKED:
            return _fetch(exchange), time.perf_counter_ns()
        exchange.answered_by = exchange.method
    return answer, time.perf_counter_ns()


def _calls(conversation: Conversation) -> GrpcCalls:
    with conversation.calls_lock:
        if conversation.has_ended:
            raise UnknownConversation("the server has gone; the call was not made")
        if conversation.calls is None:
            conversation.calls = GrpcCalls(conversation.greeting.grpc, conversation.greeting.token)
        return conversation.calls


def _fetch(exchange: Exchange) -> Message | Failed:
    """An answer that could not, or should not, travel in the call comes over a lane."""
    lane, conversation = exchange.channel.lanes.take(exchange.deadline_s)
    exchange.lane, exchange.has_lane = lane, True
    if conversation is not exchange.conversation:
        raise PeerLostError("the server died before its answer was fetched; the request was handled")
    lane.set_timeout(max(exchange.deadline_s - time.monotonic(), 0.001))
    lane.write(lane.core.fetch(exchange.request_id))
    answer, _ = exchange.wait_on_lane()
    if answer is None:
        raise PeerLostError("the server is closing and its answer was not fetched; the request was handled")
    return answer


def _read_frame(frame: bytes, body: memoryview) -> Message | Failed:
    if len(frame) < HEADER_BYTES:
        raise ProtocolError(f"a call was answered with a header of {len(frame)} bytes; the server is broken")
    magic, op, carrier, flags, meta_bytes, request_id, body_bytes, payload_bytes, *_ = HEADER.unpack_from(frame)
    if magic != MAGIC or op not in (frames.REPLY, frames.ERROR):
        raise ProtocolError(f"a call was answered with frame {op}; the server is broken")
    meta = frame[HEADER_BYTES : HEADER_BYTES + meta_bytes]
    if op == frames.ERROR:
        return failure_of(request_id, flags, read_document(meta, "ERROR"))
    message = Message(op, request_id, carrier, flags, meta, body_bytes, payload_bytes, 0, 0, 0)
    if body_bytes != body.nbytes:
        raise ProtocolError(f"an answer of {body.nbytes} bytes announced as {body_bytes}; the server is broken")
    message.body = body.toreadonly() if body_bytes else None
    return message
