"""What a recorded exchange says: which part of its time went where, of the request and of the answer.

The latency of a request is what `perfkit bench` measures: from the sender's call to the acknowledgement of a readable
payload. The answer is that acknowledgement, so what the server spent on it before it was sent - the handler, encoding
and copying what that returned - is taken off; both durations are differences of one clock. An answer with a payload is
an observation of its own, which begins with its encoding and ends when its caller holds it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from perfkit.channel.frames import TIMED, TIMINGS, Timings
from perfkit.channel.recording import UNDECIDED, decided
from perfkit.errors import PeerLostError, ProtocolError
from perfkit.transfer.codecs.codec import read_prefix

if TYPE_CHECKING:
    from perfkit.channel.events import Message
    from perfkit.channel.exchange import Exchange

__all__ = ["observe_answer", "observe_failure", "observe_request", "read_timings", "tell_failure", "tell_success"]


def read_timings(message: Message) -> tuple[Timings, bytes]:
    """What the server spent, and the codec's part of the description of a reply to a timed request.

    Raises:
        ProtocolError: it does not say, although it was asked.
    """
    meta = message.meta
    if not message.flags & TIMED or len(meta) < TIMINGS.size:
        raise ProtocolError(f"a timed request was answered without timings ({len(meta)} bytes); the server is broken")
    *times, length = TIMINGS.unpack_from(meta)
    end = TIMINGS.size + length
    return Timings._make((*times, meta[TIMINGS.size : end].decode(errors="replace"))), meta[end:]


def observe_request(exchange: Exchange, timings: Timings, header_ns: int) -> None:
    """A request that was answered. The engine hears of it where the decided method carried it.

    Args:
        exchange: the request.
        timings: what the server says.
        header_ns: when the answer began to arrive.
    """
    copy_ns = exchange.load.copy_ns if exchange.load is not None else 0
    ours_ns = exchange.encode_ns + exchange.wait_ns + copy_ns
    theirs_ns = timings.decode_ns + timings.handler_ns + timings.encode_ns + timings.wait_ns + timings.copy_ns
    signal_ns = max(header_ns - exchange.started_ns - ours_ns - theirs_ns, 0)
    stages = (exchange.encode_ns, exchange.wait_ns, copy_ns, signal_ns, timings.handler_ns, timings.decode_ns)
    _record_request(exchange, ours_ns + signal_ns + timings.decode_ns, stages, None)


def observe_failure(exchange: Exchange, error: str) -> None:
    """A request that the server could not handle; how long its handler took is not told, so all of it is signal."""
    copy_ns = exchange.load.copy_ns if exchange.load is not None else 0
    ours_ns = exchange.encode_ns + exchange.wait_ns + copy_ns
    signal_ns = max(time.perf_counter_ns() - exchange.started_ns - ours_ns, 0)
    stages = (exchange.encode_ns, exchange.wait_ns, copy_ns, signal_ns, None, None)
    _record_request(exchange, ours_ns + signal_ns, stages, error)


def observe_answer(exchange: Exchange, timings: Timings, message: Message, meta: bytes, arrived_ns: int) -> None:
    """An answer with a payload, which has just been decoded.

    Args:
        exchange: the request.
        timings: what the server says.
        message: the answer.
        meta: its codec's description.
        arrived_ns: when all of it was here.
    """
    recorder = exchange.channel.recorder
    assert recorder is not None  # the caller looked
    decode_ns = time.perf_counter_ns() - arrived_ns
    # Both processes are on one host, whose clock of this kind they share.
    signal_ns = max(arrived_ns - timings.sent_at_ns, 0)
    theirs_ns = timings.encode_ns + timings.wait_ns + timings.copy_ns
    stages = (timings.encode_ns, timings.wait_ns, timings.copy_ns, signal_ns, None, decode_ns)
    recorder.record(
        exchange.answered_by, "copied", exchange.in_flight, exchange.channel.pool, read_prefix(meta),
        message.payload_bytes, message.body_bytes, theirs_ns + signal_ns + decode_ns, stages, None, "", "reply",
        exchange.session, (timings.decision_id, *UNDECIDED[1:]),
    )  # fmt: skip


def tell_failure(exchange: Exchange, error: Exception) -> None:
    """Tell the engine that the decided method failed, where it is the method's fault.

    A server that dies or takes its time says nothing of a method that shares its connection with others. One that
    refuses what the method brought does, and so does a call of its own that ends otherwise than with its server.
    """
    decision = exchange.decision
    if decision is None or decision.method != exchange.method:
        return
    is_call = decision.method.startswith("grpc")
    if exchange.is_refused or (is_call and not isinstance(error, PeerLostError)):
        exchange.channel.engine.observe(decision, exchange.payload_bytes, 0, ok=False, error=type(error))


def tell_success(exchange: Exchange) -> None:
    """Tell the engine that the decided method works, if it waits to hear that; how long it took was not measured."""
    decision = exchange.decision
    if decision is not None and exchange.channel.engine.awaits_success and decision.method == exchange.method:
        exchange.channel.engine.observe(decision, exchange.payload_bytes, 0)


def _record_request(exchange: Exchange, latency_ns: int, stages: tuple[int | None, ...], error: str | None) -> None:
    recorder, loaded, decision = exchange.channel.recorder, exchange.load, exchange.decision
    method = loaded.method if loaded is not None else "uds"
    assert recorder is not None  # the callers looked
    if error is None and decision is not None and decision.method == method:
        exchange.channel.engine.observe(decision, exchange.payload_bytes, latency_ns)
    recorder.record(
        method,
        "in_place" if loaded is not None and loaded.is_born else "copied",
        exchange.in_flight,
        exchange.channel.pool,
        exchange.names,
        exchange.payload_bytes,
        exchange.encoded.wire_bytes if exchange.encoded is not None else 0,
        latency_ns,
        stages,
        error,
        exchange.fallback,
        "request",
        exchange.session,
        decided(decision) if decision is not None else UNDECIDED,
    )
