"""The protocol of one connection, without I/O: bytes in, events out; calls in, bytes out.

A shell reads into `Core.get_buffer` and tells `Core.buffer_updated` how much came, which is how asyncio's
`BufferedProtocol` works, too. What it gets back are events. The other methods return frames for the shell to write.
The core checks what a peer may send when; it raises `ProtocolError`, after which the connection is of no further use.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from perfkit.channel import frames
from perfkit.channel.documents import failure_of, pack_document, pack_error, read_document
from perfkit.channel.events import (
    Cancelled,
    Descriptor,
    Ended,
    Event,
    Fetched,
    Forgotten,
    Greeted,
    Leaving,
    Mapped,
    Message,
    Released,
)
from perfkit.channel.frames import (
    ALIGNMENT,
    BLOCK_NAME,
    BYTES,
    CALLS_FROM,
    CARRIERS,
    EXCLUSIVE,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    OP_NAMES,
    PADDINGS,
    SEGMENT,
    pack_frame,
    pack_header,
    padded,
)
from perfkit.channel.limits import USUAL_LIMITS, Limits
from perfkit.errors import ProtocolError

__all__ = ["Core", "aligned_memory"]

_READ_BYTES = 64 * 2**10
_READ_BEFORE_LARGE_BYTES = 4096
_COPIED_BYTES = 8 * 2**10
"""Bodies up to this size are copied out of the read buffer: whoever keeps one must not keep 64 KiB alive with it."""
_NO_SESSION = bytes(2)
_MAX_RELEASED = 4096
_MAX_WAITING_DESCRIPTORS = 4

_SERVER_TAKES = frozenset(
    (
        frames.REQUEST,
        frames.CANCEL,
        frames.RELEASE,
        frames.REGION,
        frames.FORGET,
        frames.FETCH,
        frames.GOODBYE,
        frames.ERROR,
    )
)
_MESSAGES = (frames.REQUEST, frames.REPLY)
_CLIENT_TAKES = frozenset((frames.REPLY, frames.ERROR, frames.RELEASE, frames.REGION, frames.FORGET, frames.GOODBYE))


class Core:
    """One end of a connection.

    States: ``new`` → (HELLO) → ``greeting`` → (WELCOME) → ``open`` → (GOODBYE of either side) → ``leaving`` →
    ``closed``.

    Args:
        is_server: which end: a server takes requests, a client replies.
        limits: what the peer may ask of us.
        allocate: memory for a body that does not fit the read buffer: a writable view of that many bytes.

    >>> client, server = Core(is_server=False), Core(is_server=True)
    >>> def carry(data, to):
    ...     to.get_buffer()[: len(data)] = data
    ...     return to.buffer_updated(len(data))
    >>> carry(client.hello({"version": 1}), server)
    [Greeted(facts={'version': 1})]
    >>> carry(server.welcome({"version": 1}), client)
    [Greeted(facts={'version': 1})]
    >>> header = client.request(4, BYTES, 3)
    >>> [message] = carry(header + b"meta".ljust(64, bytes(1)) + b"abc".ljust(64, bytes(1)), server)
    >>> message.request_id, message.meta, bytes(message.body)
    (1, b'meta', b'abc')
    """

    def __init__(
        self,
        *,
        is_server: bool,
        limits: Limits = USUAL_LIMITS,
        allocate: Callable[[int], memoryview] | None = None,
    ) -> None:
        self.is_server = is_server
        self.state = "new"
        self.limits = limits
        self.last_request_id = 0
        self._allocate = allocate or (lambda length: aligned_memory(length).data)
        self._takes: frozenset[int] = frozenset((frames.HELLO,)) if is_server else frozenset()
        self._under_way: set[int] = set()
        self._is_exclusive = False
        self._descriptors: deque[int] = deque()
        self._renew_memory()
        self._start = self._filled = 0
        self._wanted = HEADER_BYTES
        self._read_bytes = _READ_BYTES
        self._body: memoryview | None = None
        self._body_filled = 0
        self._message: Message | None = None
        self.waits_for_body = False
        """Whether the buffer wants to be filled to its end: a blocking shell may wait for all of it in the kernel."""

    # --- bytes in, events out ------------------------------------------------------------------------------------

    def get_buffer(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._body is not None:
            return self._body[self._body_filled :]
        if self._start == self._filled:
            self._start = self._filled = 0
            if self._is_lent and sys.getrefcount(self._memory) > self._unlent_count:
                self._renew_memory()
            return self._view[: self._read_bytes]
        if self._start + self._wanted > len(self._view):
            self._compact()
        end = max(self._filled + self._read_bytes, self._start + self._wanted)
        return self._view[self._filled : end]  # a slice ends where the view does

    @property
    def is_in_the_middle(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._body is not None or self._filled > self._start

    def is_under_way(self, request_id: int) -> bool:
        """Whether a request has no answer yet."""
        return request_id in self._under_way

    def buffer_updated(self, count: int) -> list[Event]:
        """Bytes came into the buffer; returns what they complete.

        Raises:
            ProtocolError: the peer broke the rules.
        """
        if self._body is not None:
            self._body_filled += count
            return self._finish_body() if self._body_filled == len(self._body) else []
        self._filled = filled = self._filled + count
        if self._start == 0 and filled >= HEADER_BYTES:
            message = self._whole_message(filled)
            if message is not None:
                return [message]
        events = []
        while self._body is None and self._filled - self._start >= HEADER_BYTES:
            event = self._next_event()
            if event is None:
                break
            events.append(event)
        return events

    def descriptors_received(self, descriptors: Iterable[int]) -> None:
        """Descriptors came beside the bytes, before `buffer_updated` is told about these. The core owns them now."""
        self._descriptors.extend(descriptors)
        if len(self._descriptors) > _MAX_WAITING_DESCRIPTORS:
            self.close()
            raise ProtocolError(f"more than {_MAX_WAITING_DESCRIPTORS} descriptors that nothing announced")

    def end_received(self) -> list[Event]:
        """The peer closed its end."""
        in_the_middle = self.is_in_the_middle
        self.close()
        return [Ended(in_the_middle)]

    def close(self) -> None:
        """Nothing more comes or goes."""
        self.state = "closed"
        self._takes = frozenset()
        self._body = self._message = None
        self.waits_for_body = False
        while self._descriptors:
            os.close(self._descriptors.popleft())

    # --- calls in, bytes out -------------------------------------------------------------------------------------

    def hello(self, facts: Mapping[str, Any]) -> bytes:
        """A client's first frame."""
        self.state = "greeting"
        self._takes = frozenset((frames.WELCOME, frames.ERROR, frames.GOODBYE))
        return pack_document(frames.HELLO, facts)

    def welcome(self, facts: Mapping[str, Any]) -> bytes:
        """A server's answer to HELLO: the connection is open."""
        self._open()
        return pack_document(frames.WELCOME, facts)

    def request(
        self,
        meta_bytes: int,
        carrier: int = frames.NOTHING,
        body_bytes: int = 0,
        payload_bytes: int = 0,
        region: int = 0,
        offset: int = 0,
        flags: int = 0,
        timeout_ns: int = 0,
    ) -> bytes:
        """The header of a request, whose id is then `last_request_id`.

        The description and, with `frames.BYTES`, the body follow, each padded.
        """
        request_id = self.last_request_id = self.last_request_id + 1
        self._under_way.add(request_id)
        return HEADER.pack(
            MAGIC, frames.REQUEST, carrier, flags, meta_bytes, request_id,
            body_bytes, payload_bytes, region, offset, timeout_ns,
        )  # fmt: skip

    def reply(
        self,
        request_id: int,
        meta_bytes: int,
        carrier: int = frames.NOTHING,
        body_bytes: int = 0,
        payload_bytes: int = 0,
        region: int = 0,
        offset: int = 0,
        flags: int = 0,
    ) -> bytes:
        """The header of the answer to a request; description and body follow as for `request`."""
        self._under_way.discard(request_id)
        return HEADER.pack(
            MAGIC, frames.REPLY, carrier, flags, meta_bytes, request_id,
            body_bytes, payload_bytes, region, offset, 0,
        )  # fmt: skip

    def quick_request(self, meta: bytes, body: memoryview, payload_bytes: int, flags: int, timeout_ns: int) -> bytes:
        """A request without a session and with a small body, in one piece."""
        request_id = self.last_request_id = self.last_request_id + 1
        self._under_way.add(request_id)
        meta_bytes, body_bytes = len(meta) + 2, body.nbytes
        header = HEADER.pack(
            MAGIC, frames.REQUEST, BYTES, flags, meta_bytes, request_id,
            body_bytes, payload_bytes, 0, 0, timeout_ns,
        )  # fmt: skip
        return b"".join((header, _NO_SESSION, meta, PADDINGS[meta_bytes & 63], body, PADDINGS[body_bytes & 63]))

    def quick_reply(self, request_id: int, flags: int) -> bytes:
        """An answer without a payload."""
        self._under_way.discard(request_id)
        return HEADER.pack(MAGIC, frames.REPLY, frames.NOTHING, flags, 0, request_id, 0, 0, 0, 0, 0)

    def error(self, request_id: int, code: str, kind: str, text: str, *, flags: int = 0) -> bytes:
        """The answer to a request that could not be handled; request 0: why the connection ends."""
        self._under_way.discard(request_id)
        return pack_error(request_id, code, kind, text, flags)

    def cancel(self, request_id: int) -> bytes:
        """The answer to a request is not wanted any more; it comes all the same."""
        return pack_header(frames.CANCEL, request_id)

    def fetch(self, request_id: int) -> bytes:
        """Ask for an answer that could not travel the way of its request (over gRPC); it comes as a reply."""
        self._under_way.add(request_id)
        return pack_header(frames.FETCH, request_id)

    def release(self, blocks: Iterable[tuple[int, int]]) -> bytes:
        """Blocks of the peer that nobody here views any more; at most 4096 at a time."""
        meta = b"".join([BLOCK_NAME.pack(*block) for block in blocks])
        return pack_frame(pack_header(frames.RELEASE, meta_bytes=len(meta)), meta)

    def region(self, region: int, region_bytes: int) -> bytes:
        """Introduce a region; its descriptor travels beside this frame."""
        return pack_header(frames.REGION, region=region, body_bytes=region_bytes)

    def forget(self, region: int) -> bytes:
        """A region was given back to the system."""
        return pack_header(frames.FORGET, region=region)

    def goodbye(self, reason: str, last_request_id: int) -> bytes:
        """No request above this one is handled; the connection will be closed."""
        if self.state != "closed":
            self.state = "leaving"
        return pack_document(frames.GOODBYE, {"reason": reason[:200]}, last_request_id)

    # --- inside --------------------------------------------------------------------------------------------------

    def _whole_message(self, filled: int) -> Message | None:
        """By far the most frequent case, read without detours: one message, whole, and nothing behind it."""
        magic, op, carrier, flags, meta_bytes, request_id, body_bytes, payload_bytes, region, offset, time_ns = (
            HEADER.unpack_from(self._view)
        )
        body_start = HEADER_BYTES + ((meta_bytes + 63) & -64)
        end = body_start + ((body_bytes + 63) & -64) if carrier == BYTES else body_start
        if end != filled or magic != MAGIC or op not in _MESSAGES or op not in self._takes:
            return None
        if carrier == SEGMENT or meta_bytes > self.limits.meta_bytes:
            return None
        if carrier == BYTES and body_bytes > self.limits.message_bytes:
            return None
        meta = self._view[HEADER_BYTES : HEADER_BYTES + meta_bytes].tobytes() if meta_bytes else b""
        message = Message(op, request_id, carrier, flags, meta, body_bytes, payload_bytes, region, offset, time_ns)
        if op == frames.REPLY and request_id in self._under_way and carrier < SEGMENT:
            self._under_way.discard(request_id)
        else:
            self._check_message(message)
        self._filled = 0
        if carrier == BYTES:
            self._read_bytes = _READ_BYTES
            message.body = self._lend_body(body_start, body_bytes)
        return message

    def _open(self) -> None:
        self.state = "open"
        self._takes = _SERVER_TAKES if self.is_server else _CLIENT_TAKES

    def _renew_memory(self) -> None:
        self._memory = aligned_memory(_READ_BYTES)
        self._view = self._memory.data
        self._unlent_count = sys.getrefcount(self._memory)
        self._is_lent = False

    def _compact(self) -> None:
        """Bring what is unread to the front, into memory of its own where bodies still view the present one."""
        unread = self._view[self._start : self._filled]
        if self._is_lent or self._wanted > len(self._view):
            unread = memoryview(bytes(unread))
            self._renew_memory()
            if self._wanted > len(self._view):
                self._memory = aligned_memory(padded(self._wanted))
                self._view = self._memory.data
                self._unlent_count = sys.getrefcount(self._memory)
        self._view[: len(unread)] = unread
        self._start, self._filled = 0, len(unread)

    def _next_event(self) -> Event | None:
        start = self._start
        magic, op, carrier, flags, meta_bytes, request_id, body_bytes, payload_bytes, region, offset, time_ns = (
            HEADER.unpack_from(self._view, start)
        )
        if magic != MAGIC or op not in self._takes:
            self._refuse(magic, op)
        if meta_bytes > self.limits.meta_bytes:
            raise ProtocolError(f"description of {meta_bytes} bytes, at most {self.limits.meta_bytes} are allowed")
        body_start = start + HEADER_BYTES + padded(meta_bytes)
        end = body_start
        if carrier == BYTES and op in _MESSAGES:
            if body_bytes > self.limits.message_bytes:
                limit = self.limits.message_bytes
                raise ProtocolError(f"payload of {body_bytes} bytes as bytes, at most {limit} are allowed")
            end += padded(body_bytes)
        if end > self._filled:
            fits = end - start <= _READ_BYTES
            self._wanted = (end if fits else body_start) - start
            if fits or body_start > self._filled:
                return None
        meta = bytes(self._view[start + HEADER_BYTES : start + HEADER_BYTES + meta_bytes])
        self._wanted = HEADER_BYTES
        if op in (frames.REQUEST, frames.REPLY):
            message = Message(op, request_id, carrier, flags, meta, body_bytes, payload_bytes, region, offset, time_ns)
            self._check_message(message)
            if end > self._filled:
                self._begin_body(message, body_start)
                return None
            if carrier == BYTES:
                self._read_bytes = _READ_BYTES
                message.body = self._lend_body(body_start, body_bytes)
            self._start = end
            return message
        self._start = end
        return self._control_event(op, request_id, flags, meta, region, body_bytes)

    def _refuse(self, magic: bytes, op: int) -> None:
        if magic != MAGIC:
            raise ProtocolError(f"frame begins with {magic!r}, must be {MAGIC!r}; does the peer run perfkit's channel?")
        name = OP_NAMES[op] if op < len(OP_NAMES) else str(op)
        allowed = ", ".join(OP_NAMES[allowed] for allowed in sorted(self._takes))
        raise ProtocolError(f"frame {name or op} in state {self.state!r}; allowed: {allowed or 'nothing'}")

    def _check_message(self, message: Message) -> None:
        """What holds for requests and replies: their numbers are in step, and a segment came with its descriptor."""
        request_id = message.request_id
        if message.carrier >= len(CARRIERS):
            raise ProtocolError(f"carrier {message.carrier}; allowed: 0 to {len(CARRIERS) - 1} ({', '.join(CARRIERS)})")
        if message.op == frames.REPLY:
            if request_id not in self._under_way:
                raise ProtocolError(f"reply to request {request_id}, which is not under way")
            self._under_way.discard(request_id)
        else:
            if not self.last_request_id < request_id < CALLS_FROM:
                raise ProtocolError(
                    f"request {request_id} after {self.last_request_id}; numbers must grow and be below {CALLS_FROM}"
                )
            if self._under_way:
                self._check_company(message)
            self._is_exclusive = bool(message.flags & EXCLUSIVE)
            self._under_way.add(request_id)
            self.last_request_id = request_id
        if message.carrier == SEGMENT:
            message.descriptor = self._take_descriptor("segment")

    def _check_company(self, request: Message) -> None:
        """What holds for a request that comes while others are under way."""
        if len(self._under_way) >= self.limits.in_flight:
            raise ProtocolError(f"more than {self.limits.in_flight} requests under way on one connection")
        if self._is_exclusive or request.flags & EXCLUSIVE:
            which = "an exclusive one" if self._is_exclusive else "others, and says that it is exclusive"
            raise ProtocolError(f"request {request.request_id} came before the answer to {which}")

    def _take_descriptor(self, what: str) -> Descriptor:
        if not self._descriptors:
            raise ProtocolError(f"a {what} was announced without its descriptor")
        return Descriptor(self._descriptors.popleft())

    def _begin_body(self, message: Message, body_start: int) -> None:
        """The rest of a large body goes straight where it is to stay."""
        body = self._allocate(padded(message.body_bytes))
        there = self._filled - body_start
        body[:there] = self._view[body_start : self._filled]
        self._start = self._filled = 0
        self._message, self._body, self._body_filled = message, body, there
        self.waits_for_body = True
        self._read_bytes = _READ_BEFORE_LARGE_BYTES  # the next is likely to be large, too: copy less of it

    def _finish_body(self) -> list[Event]:
        message, body = self._message, self._body
        assert message is not None  # both are set together
        assert body is not None
        self._message = self._body = None
        self.waits_for_body = False
        message.body = body[: message.body_bytes].toreadonly()
        return [message]

    def _lend_body(self, start: int, length: int) -> memoryview:
        if length <= _COPIED_BYTES:
            return memoryview(bytes(self._view[start : start + length]))
        self._is_lent = True
        # A view of its own, not a part of `_view`: only so does the array's reference count tell whether it lives.
        return self._memory.data[start : start + length].toreadonly()

    def _control_event(self, op: int, request_id: int, flags: int, meta: bytes, region: int, body_bytes: int) -> Event:
        if op in frames.DOCUMENT_OPS:
            return self._document_event(op, request_id, flags, read_document(meta, OP_NAMES[op]))
        if op == frames.RELEASE:
            if len(meta) % BLOCK_NAME.size or len(meta) > _MAX_RELEASED * BLOCK_NAME.size:
                raise ProtocolError(f"release of {len(meta)} bytes; must be up to {_MAX_RELEASED} names of 16 bytes")
            return Released(tuple(BLOCK_NAME.iter_unpack(meta)))
        if op == frames.REGION:
            return Mapped(region, body_bytes, self._take_descriptor("region"))
        if op == frames.FORGET:
            return Forgotten(region)
        if op == frames.FETCH:
            self._under_way.add(request_id)
            return Fetched(request_id)
        return Cancelled(request_id)

    def _document_event(self, op: int, request_id: int, flags: int, facts: Mapping[str, Any]) -> Event:
        if op == frames.ERROR:
            if request_id and request_id not in self._under_way:
                raise ProtocolError(f"error of request {request_id}, which is not under way")
            self._under_way.discard(request_id)
            return failure_of(request_id, flags, facts)
        if op == frames.GOODBYE:
            self.state = "leaving"
            return Leaving(request_id, str(facts.get("reason", "")))
        if op == frames.WELCOME:
            self._open()
        else:
            self.state, self._takes = "greeting", frozenset()
        return Greeted(facts)


def aligned_memory(length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Untouched memory that begins at a multiple of 64 bytes.

    >>> aligned_memory(100).__array_interface__["data"][0] % 64
    0
    """
    memory = np.empty(length + ALIGNMENT, np.uint8)
    skip = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[skip : skip + length]
