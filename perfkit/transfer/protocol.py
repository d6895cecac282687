"""The small protocols of the transfer room: what a codec gives a method, and what a method gives a codec.

A *codec* turns a payload into an `Encoded`: a short description (`meta`) and a body that is either ready in memory or
can be written straight into a destination. A *method* carries an `Encoded` to a receiver in another process, which
gets the description and a view of the body, and acknowledges once it holds a readable payload.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from perfkit.transfer.copying import PLAIN, CopyPlan, copy_into

if TYPE_CHECKING:
    from perfkit.transfer.arena import Arena, Block
    from perfkit.transfer.delivery import Deliver

__all__ = ["Encoded", "Encoder", "Host", "InPlaceSender", "Sender", "SenderOptions"]


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """An encoded payload, before it is moved.

    Exactly one of `body` and `write_into` is given. `body` is the payload's own memory or what the encoder had to
    allocate (a C-contiguous view of bytes); `write_into(destination)` writes exactly `wire_bytes` bytes into a writable
    view of that length, so that a method with a destination of its own needs no intermediate copy.
    """

    meta: bytes
    wire_bytes: int
    body: memoryview | None = None
    write_into: Callable[[memoryview], None] | None = None

    def to_view(self) -> memoryview:
        """The body as one view, allocating it if the codec only writes into destinations."""
        if self.body is not None:
            return self.body
        assert self.write_into is not None  # one of the two is always given
        buffer = memoryview(bytearray(self.wire_bytes))
        self.write_into(buffer)
        return buffer

    def write_to(self, block: memoryview, plan: CopyPlan = PLAIN) -> None:
        """Bring the body into a block of at least `wire_bytes`, without a copy in between."""
        if self.body is not None:
            copy_into(block, self.body, plan)
        else:
            assert self.write_into is not None  # one of the two is always given
            self.write_into(block[: self.wire_bytes])

    def to_bytes(self) -> bytes:
        """The body as `bytes`, which is what protobuf takes: without a copy when it is that already."""
        view = self.to_view()
        source = view.obj
        return source if isinstance(source, bytes) and len(source) == view.nbytes else bytes(view)


class Encoder(Protocol):
    """A codec: one kind in one format with one compression. See `perfkit.transfer.codecs`."""

    @property
    def into_block(self) -> bool:
        """Whether encoding normally writes straight into the destination, rather than finding the body ready."""

    def encode(self, payload: Any) -> Encoded:
        """Describe and prepare `payload`. Raises `CodecError` when this codec cannot carry it."""

    def decode(self, meta: bytes, body: memoryview) -> Any:
        """A readable object over `body`: a view of it where the format allows."""


@dataclasses.dataclass(frozen=True, slots=True)
class SenderOptions:
    """How a sender behaves; the defaults are what a service gets.

    Attributes:
        signalling: how a shared-memory method announces its blocks: ``uds`` or ``grpc``.
        timeout_s: give up on a silent receiver after this long.
        chunk_bytes: what `grpc_stream` puts into one message.
        arena: the arena of `shm_pool`; several senders may share one. None: a sender makes its own.
        copy_plan: see `perfkit.transfer.copying`.
        prefault: touch new shared memory before its first use.
        named_in: hold shared memory in this folder rather than in a memfd.
    """

    signalling: str = "uds"
    timeout_s: float = 30.0
    chunk_bytes: int = 2**19
    arena: Arena | None = None
    copy_plan: CopyPlan = PLAIN
    prefault: bool = True
    named_in: str | None = None


class Sender(Protocol):
    """The sending end of one connection. Not for use by several threads at once."""

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        """Move a payload; return once the receiver has acknowledged that it holds it, with the receiver's value.

        Raises:
            PayloadTooLargeError, NoRoomError: this method cannot carry it, nothing was sent; another method may.
            PeerLostError, TransferTimeoutError: the receiver died or hangs; the connection is of no further use.
            TransferError: the receiver refused the payload; connect anew for the next one.
        """

    def close(self) -> None:
        """Close the connection and give everything back. May be called twice."""


class InPlaceSender(Sender, Protocol):
    """A sender whose payloads can be born in shared memory."""

    def lease(self, wire_bytes: int) -> Block:
        """A block to write a payload into."""

    def send_block(self, block: Block, wire_bytes: int, meta: bytes = b"", flags: int = 0) -> int:
        """Announce what was written into `block`; see `Sender.send`. The lease goes on."""

    def release(self, block: Block) -> None:
        """End the lease."""


class Host(Protocol):
    """What the receiver's process offers to the methods that it serves."""

    folder: str
    deliver: Deliver
    allow_unsealed: bool

    def listen(self, name: str, serve_connection: Callable[[socket.socket], None]) -> None:
        """Accept connections at ``folder/name.sock``, each in a thread of its own."""

    def announce_over_grpc(self, name: str, announce: Callable[[bytes, bytes], int]) -> None:
        """Take announcements ``(header, meta) -> value`` for method `name` over gRPC."""

    def serve_grpc(self) -> None:
        """Start the gRPC service at ``folder/grpc.sock``, once for all methods that use it."""
