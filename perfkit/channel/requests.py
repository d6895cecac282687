"""A request as its handler sees it, and what becomes of it: the handler's answer, encoded, or why there is none."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from perfkit.channel.choosing import Chooser
from perfkit.engine import Decision
from perfkit.errors import CodecError, PerfkitError, ProtocolError
from perfkit.transfer.codecs import decode
from perfkit.transfer.protocol import Encoded

__all__ = [
    "NOTHING_TO_SAY",
    "Handler",
    "Outcome",
    "Request",
    "read_request_meta",
    "request_meta",
    "takes_request",
    "work",
]

Handler = Callable[..., Any]
_MAX_SESSION_BYTES = 1024


class Request:
    """What a handler may ask about the request that it handles: ``handler(payload, request)``.

    Attributes:
        session: that the sender named; empty without one.
        pool: that the sender sends for.
        payload_bytes: size of the payload before encoding.
        deadline_ns: on the clock of `time.perf_counter_ns`; 0 for a sender that waits without end.
    """

    __slots__ = ("_is_cancelled", "deadline_ns", "payload_bytes", "pool", "session")

    def __init__(
        self, session: str, pool: str, payload_bytes: int, deadline_ns: int, is_cancelled: Callable[[], bool]
    ) -> None:
        self.session, self.pool, self.payload_bytes, self.deadline_ns = session, pool, payload_bytes, deadline_ns
        self._is_cancelled = is_cancelled

    @property
    def is_cancelled(self) -> bool:
        """Whether the sender took it back, went away, or waits no more: long work may stop."""
        return bool(self.deadline_ns and time.perf_counter_ns() > self.deadline_ns) or self._is_cancelled()

    def __repr__(self) -> str:
        return f"Request(session={self.session!r}, pool={self.pool!r}, payload_bytes={self.payload_bytes})"


class Outcome:
    """What came of a request: `encoded` (None for a handler that returned None), or `error` as (code, kind, text)."""

    # Defaults of the class: setting them in each outcome would cost more than they are worth.
    encoded: Encoded | None = None
    decision: Decision | None = None
    error: tuple[str, str, str] | None = None
    meta = b""
    payload_bytes = wire_bytes = decode_ns = handler_ns = encode_ns = 0


NOTHING_TO_SAY = Outcome()
"""The handler returned None, and nobody asked how long it took; shared, hence never changed."""


def work(
    handler: Handler,
    chooser: Chooser,
    meta: bytes,
    body: memoryview,
    request: Request | None,
    allow_pickle: bool,
    is_timed: bool,
) -> Outcome:
    """Decode, handle, encode the answer. Whatever goes wrong becomes the outcome's error.

    Args:
        handler: the service's own.
        chooser: for the answer.
        meta: description of the payload; empty for a request without one.
        body: the encoded payload.
        request: given to handlers that take it.
        allow_pickle: whether both sides asked for pickle.
        is_timed: whether the sender wants to know what it cost.
    """
    started_ns = time.perf_counter_ns() if is_timed else 0
    try:
        payload = decode(meta, body, allow_pickle=allow_pickle) if meta else None
    except PerfkitError as error:
        return _failed("codec", error)
    decoded_ns = time.perf_counter_ns() if is_timed else 0
    try:
        result = handler(payload) if request is None else handler(payload, request)
    except Exception as error:  # noqa: BLE001 - the sender is told, and nobody else suffers
        return _failed("handler", error)
    del payload
    if result is None and not is_timed:
        return NOTHING_TO_SAY
    outcome = Outcome()
    handled_ns = time.perf_counter_ns()
    outcome.decode_ns, outcome.handler_ns = decoded_ns - started_ns, handled_ns - decoded_ns
    if result is not None:
        _encode(outcome, chooser, result)
        outcome.encode_ns = time.perf_counter_ns() - handled_ns
    return outcome


def _failed(code: str, error: Exception) -> Outcome:
    outcome = Outcome()
    outcome.error = (code, type(error).__name__, str(error))
    return outcome


def _encode(outcome: Outcome, chooser: Chooser, result: Any) -> None:
    try:
        way = chooser.way(result)
        encoded = way.codec.encode(result)
        outcome.payload_bytes = result.nbytes if way.has_size else encoded.wire_bytes
        outcome.decision = way.binding.decide(outcome.payload_bytes)
        outcome.encoded, outcome.meta, outcome.wire_bytes = encoded, encoded.meta, encoded.wire_bytes
    except CodecError as error:
        outcome.error = ("reply", "CodecError", f"what the handler returned cannot be sent: {error}")


def takes_request(handler: Handler) -> bool:
    """Whether a handler wants the request beside the payload: its second positional parameter.

    >>> takes_request(lambda payload: None), takes_request(lambda payload, request: None), takes_request(len)
    (False, True, False)
    """
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # a built-in that does not say
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in kinds and p.default is inspect.Parameter.empty]
    return len(required) >= 2


def request_meta(session: str, meta: bytes) -> bytes:
    """The description of a request: the session's name in front of the codec's.

    >>> read_request_meta(request_meta("user-17", b"codec"))
    ('user-17', b'codec')
    """
    if not session:
        return b"\0\0" + meta
    name = session.encode(errors="replace")[:_MAX_SESSION_BYTES]
    return len(name).to_bytes(2, "little") + name + meta


def read_request_meta(meta: bytes) -> tuple[str, bytes]:
    """Session and description; see `request_meta`.

    Raises:
        ProtocolError: it is shorter than it says.
    """
    length = int.from_bytes(meta[:2], "little")
    if len(meta) < 2 or length > _MAX_SESSION_BYTES or len(meta) < 2 + length:
        raise ProtocolError(f"request description of {len(meta)} bytes names a session of {length}; the peer is broken")
    return meta[2 : 2 + length].decode(errors="replace"), meta[2 + length :]
