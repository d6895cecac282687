"""What the two interceptors say to each other in metadata, and how it is packed.

* An *offer* goes with a call: who the client is, which server it knows, and what it is done with.
* An *answer* comes back in trailing metadata: who the server is, whether it takes part, what became of this call. Once
  both ends know each other there is mostly nothing to say, and nothing is said.
* A *parcel* describes the block that holds the large fields of one message. That of a response travels in initial
  metadata, which no other interceptor can overwrite once it is sent; the answer names its lease once more.
* A *pooled path* names the original method behind a prefix, so that only a server that can put the fields back
  finds a handler for it.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from perfkit.errors import TransferError
from perfkit.grpc.fields import Path

__all__ = [
    "AGAIN_PREFIX",
    "ANSWER_KEY",
    "FRESH",
    "LEASE_KEY",
    "OFFER_KEY",
    "PARCEL_KEY",
    "POOL_PREFIX",
    "Answer",
    "Identity",
    "Offer",
    "Parcel",
    "Place",
    "find",
    "parcel_bytes",
]

POOL_PREFIX = "/perfkit.pool.v1"
"""Before the original path: the request's large fields are in shared memory."""

AGAIN_PREFIX = "/perfkit.again.v1"
"""Before the original path: send the answer of an earlier call inline; no handler runs."""

OFFER_KEY, ANSWER_KEY = "perfkit-offer-bin", "perfkit-answer-bin"
PARCEL_KEY, LEASE_KEY = "perfkit-blocks-bin", "perfkit-lease-bin"

VERSION = 1
FRESH = b"\0" * 16
"""The token of a client that knows no server yet."""

_IDENTITY = struct.Struct("<16s16sIQI16s")
_OFFER = struct.Struct("<BB16sHH")
_ANSWER = struct.Struct("<BBQQH")
_PARCEL = struct.Struct("<BHIQQQQ16s")
_PLACE = struct.Struct("<BQQ")
_STEP = struct.Struct("<Ii")
_NUMBER = struct.Struct("<Q")


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """One end: what its peer must know to open its memory.

    Args:
        host: what both ends have in common when their processes see each other: kernel and PID namespace.
        token: this end, until it is restarted or forked.
        pid: its process.
        started: when that process started, in the kernel's ticks: tells it from a later one of the same number.
        probe_descriptor: a page that the peer opens to see whether it can.
        probe_secret: what the page holds: nobody else's page does.
    """

    host: bytes
    token: bytes
    pid: int
    started: int
    probe_descriptor: int
    probe_secret: bytes

    def pack(self) -> bytes:
        """As bytes."""
        return _IDENTITY.pack(self.host, self.token, self.pid, self.started, self.probe_descriptor, self.probe_secret)


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a client says with a call.

    Args:
        client: who it is.
        can_read: it has opened the server's probe: answers may come in the server's memory.
        wants_time: it would like to know how long the handler took, for its records.
        server_token: the server that it knows; `FRESH` for none.
        unsettled: numbers of earlier calls of which it does not know whether the server still reads their blocks.
        returned: numbers of the server's leases that it has read.

    >>> offer = Offer(Identity(b"h" * 16, b"t" * 16, 7, 8, 9, b"s" * 16), True, False, FRESH, (1, 2), (3,))
    >>> Offer.unpack(offer.pack()) == offer
    True
    """

    client: Identity
    can_read: bool
    wants_time: bool
    server_token: bytes
    unsettled: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """As the value of `OFFER_KEY`."""
        flags = self.can_read | self.wants_time << 1
        head = _OFFER.pack(VERSION, flags, self.server_token, len(self.unsettled), len(self.returned))
        return head + self.client.pack() + _pack_numbers((*self.unsettled, *self.returned))

    @classmethod
    @lru_cache(maxsize=256)  # a client says the same with nearly every call
    def unpack(cls, packed: bytes) -> Offer | None:
        """An offer; None when it is of another version, or damaged."""
        try:
            version, flags, token, unsettled, returned = _OFFER.unpack_from(packed)
            client = Identity(*_IDENTITY.unpack_from(packed, _OFFER.size))
            numbers = _unpack_numbers(packed, _OFFER.size + _IDENTITY.size, unsettled + returned)
        except struct.error:
            return None
        if version != VERSION:
            return None
        return cls(client, bool(flags & 1), bool(flags & 2), token, numbers[:unsettled], numbers[unsettled:])


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a server says about a call.

    Args:
        server: who it is.
        accepts: it can open this client's memory.
        refused: it could not use the announced block, and no handler has run.
        handler_ns: time that the handler took, in nanoseconds.
        lease: the block that holds large fields of the response, announced in initial metadata; 0: there is none.
        settled: calls asked about whose blocks it does not read any more.

    >>> answer = Answer(Identity(b"h" * 16, b"t" * 16, 7, 8, 9, b"s" * 16), True, False, 1500, 0, (4,))
    >>> Answer.unpack(answer.pack()) == answer
    True
    """

    server: Identity
    accepts: bool
    refused: bool = False
    handler_ns: int = 0
    lease: int = 0
    settled: tuple[int, ...] = ()

    def pack(self) -> bytes:
        """As the value of `ANSWER_KEY`."""
        head = _ANSWER.pack(VERSION, self.accepts | self.refused << 1, self.handler_ns, self.lease, len(self.settled))
        return head + self.server.pack() + _pack_numbers(self.settled)

    @classmethod
    def unpack(cls, packed: bytes) -> Answer | None:
        """An answer; None when it is of another version, or damaged."""
        try:
            version, flags, handler_ns, lease, settled = _ANSWER.unpack_from(packed)
            server = Identity(*_IDENTITY.unpack_from(packed, _ANSWER.size))
            numbers = _unpack_numbers(packed, _ANSWER.size + _IDENTITY.size, settled)
        except struct.error:
            return None
        if version != VERSION:
            return None
        return cls(server, bool(flags & 1), bool(flags & 2), handler_ns, lease, numbers)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """One field within a block: its path in the message, its offset from the block's begin, its length."""

    path: Path
    offset: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """A block with the large fields of one message.

    Args:
        descriptor: number under which the owner holds the block's region.
        region_id: the region; unlike the descriptor's number never used again.
        region_bytes: size of the region.
        offset: where the block begins in the region.
        number: names the call (of a request) or the lease (of a response).
        nonce: what the block begins with as long as it holds this message.
        places: the fields.

    >>> parcel = Parcel(5, 1, 4096, 0, 12, b"n" * 16, (Place(((3, -1), (4, 2)), 64, 100),))
    >>> Parcel.unpack(parcel.pack()) == parcel
    True
    """

    descriptor: int
    region_id: int
    region_bytes: int
    offset: int
    number: int
    nonce: bytes
    places: tuple[Place, ...]

    def pack(self) -> bytes:
        """As the value of `PARCEL_KEY`."""
        where = (self.descriptor, self.region_id, self.region_bytes, self.offset)
        parts = [_PARCEL.pack(VERSION, len(self.places), *where, self.number, self.nonce)]
        for place in self.places:
            parts.append(_PLACE.pack(len(place.path), place.offset, place.length))
            parts += [_STEP.pack(*step) for step in place.path]
        return b"".join(parts)

    @classmethod
    def unpack(cls, packed: bytes) -> Parcel:
        """A parcel.

        Raises:
            TransferError: it is of another version, or damaged.
        """
        try:
            version, count, descriptor, region_id, region_bytes, offset, number, nonce = _PARCEL.unpack_from(packed)
            at, places = _PARCEL.size, []
            for _ in range(count):
                depth, begin, length = _PLACE.unpack_from(packed, at)
                at += _PLACE.size
                path = tuple(_STEP.unpack_from(packed, at + _STEP.size * step) for step in range(depth))
                at += _STEP.size * depth
                places.append(Place(path, begin, length))
        except struct.error as error:
            raise TransferError(f"the announcement of a block is damaged ({error}); the peer is broken") from None
        if version != VERSION:
            raise TransferError(f"a block announced in version {version}, this is version {VERSION}")
        return cls(descriptor, region_id, region_bytes, offset, number, nonce, tuple(places))


def parcel_bytes(paths: Iterable[Path]) -> int:
    """Size of the announcement of a block with fields at these paths."""
    return _PARCEL.size + sum(_PLACE.size + _STEP.size * len(path) for path in paths)


def find(metadata: Iterable[Any] | None, key: str) -> bytes | None:
    """A binary value in metadata, the last one of its key; None when there is none."""
    value = None
    for name, candidate in metadata or ():
        if name == key and isinstance(candidate, bytes):
            value = candidate
    return value


def _pack_numbers(numbers: tuple[int, ...]) -> bytes:
    return b"".join(map(_NUMBER.pack, numbers))


def _unpack_numbers(packed: bytes, offset: int, count: int) -> tuple[int, ...]:
    return tuple(_NUMBER.unpack_from(packed, offset + _NUMBER.size * index)[0] for index in range(count))
