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
from perfkit.errors import ProtocolError
from perfkit.transfer.codecs.codec import read_prefix

if TYPE_CHECKING:
    from perfkit.channel.events import Message
    from perfkit.channel.exchange import Exchange

__all__ = ["observe_answer", "observe_failure", "observe_request", "read_timings"]


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
    """A request that was answered.

    Args:
        exchange: the request.
        timings: what the server says.
        header_ns: when the answer began to arrive.
    """
    copy_ns = exchange.load.copy_ns if exchange.load is not None else 0
    ours_ns = exchange.encode_ns + exchange.wait_ns + copy_ns
    theirs_ns = timings.decode_ns + timings.handler_ns + timings.encode_ns + timings.wait_ns + timings.copy_ns
    signal_ns = header_ns - exchange.started_ns - ours_ns - theirs_ns
    stages = (
        exchange.encode_ns, exchange.wait_ns, copy_ns, signal_ns if signal_ns > 0 else 0, timings.handler_ns,
        timings.decode_ns,
    )  # fmt: skip
    _record_request(exchange, stages, None)


def observe_failure(exchange: Exchange, error: str) -> None:
    """A request that the server could not handle; how long its handler took is not told, so all of it is signal."""
    copy_ns = exchange.load.copy_ns if exchange.load is not None else 0
    ours_ns = exchange.encode_ns + exchange.wait_ns + copy_ns
    signal_ns = max(time.perf_counter_ns() - exchange.started_ns - ours_ns, 0)
    _record_request(exchange, (exchange.encode_ns, exchange.wait_ns, copy_ns, signal_ns, None, None), error)


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
    stages = (timings.encode_ns, timings.wait_ns, timings.copy_ns, signal_ns, None, decode_ns)
    recorder.record(
        exchange.answered_by, "copied", exchange.in_flight, exchange.channel.pool, read_prefix(meta),
        message.payload_bytes, message.body_bytes, stages, None, "", "reply", exchange.session,
        (timings.decision_id, *UNDECIDED[1:]),
    )  # fmt: skip


def _record_request(exchange: Exchange, stages: tuple[int | None, ...], error: str | None) -> None:
    recorder, loaded, decision = exchange.channel.recorder, exchange.load, exchange.decision
    assert recorder is not None  # the callers looked
    recorder.record(
        loaded.method if loaded is not None else "uds",
        "in_place" if loaded is not None and loaded.is_born else "copied",
        exchange.in_flight,
        exchange.channel.pool,
        exchange.names,
        exchange.payload_bytes,
        exchange.encoded.wire_bytes if exchange.encoded is not None else 0,
        stages,
        error,
        exchange.fallback,
        "request",
        exchange.session,
        decided(decision) if decision is not None else UNDECIDED,
    )
