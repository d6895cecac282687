"""What the protocol core makes of the bytes that it is given."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

__all__ = [
    "Cancelled",
    "Descriptor",
    "Ended",
    "Event",
    "Failed",
    "Fetched",
    "Forgotten",
    "Greeted",
    "Leaving",
    "Mapped",
    "Message",
    "Released",
]


class Descriptor:
    """A descriptor that a peer handed over: closed with the event that it came with, whatever becomes of that.

    Events get lost: a frame behind theirs breaks the rules, or the connection ends before they are taken.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        """Close it; may be called twice."""
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, TypeError):  # at the end of the interpreter even `os` may be gone
            self.close()


class Message:
    """A request or a reply. Mutable: whoever has used the body lets go of it, so that its memory can be used again.

    Attributes:
        op: `frames.REQUEST` or `frames.REPLY`.
        request_id: chosen by who asked.
        carrier: see `frames.CARRIERS`.
        flags: `frames.EXCLUSIVE`, `frames.RELEASED`.
        meta: the description.
        body: the encoded payload, where it travelled as bytes.
        body_bytes: its length, wherever it is.
        payload_bytes: size of the payload before encoding.
        region: region of the peer that holds the body; for a segment its size in bytes.
        offset: where the body begins in it.
        time_ns: of a request, how long the sender waits for the answer; 0: without end.
        descriptor: of a segment.
        is_borrowed: the body lies in the connection's own buffer, which is used again once nobody views it.
    """

    __slots__ = (
        "body", "body_bytes", "carrier", "descriptor", "flags", "is_borrowed", "meta", "offset", "op", "payload_bytes",
        "region", "request_id", "time_ns",
    )  # fmt: skip

    def __init__(
        self,
        op: int,
        request_id: int,
        carrier: int,
        flags: int,
        meta: bytes,
        body_bytes: int,
        payload_bytes: int,
        region: int,
        offset: int,
        time_ns: int,
    ) -> None:
        self.op, self.request_id, self.carrier, self.flags, self.meta = op, request_id, carrier, flags, meta
        self.body_bytes, self.payload_bytes, self.region, self.offset = body_bytes, payload_bytes, region, offset
        self.time_ns = time_ns
        self.body: memoryview | None = None
        self.descriptor: Descriptor | None = None
        self.is_borrowed = False

    def __repr__(self) -> str:
        return (
            f"Message(op={self.op}, request_id={self.request_id}, carrier={self.carrier}, body_bytes={self.body_bytes})"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Greeted:
    """HELLO or WELCOME: what the peer is, can and allows."""

    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """ERROR: the answer to a request, or (request 0) the reason for which the peer ends the connection."""

    request_id: int
    code: str
    kind: str
    text: str
    is_released: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Cancelled:
    """CANCEL: the peer no longer wants the answer to a request."""

    request_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """FETCH: the peer asks for an answer that could not travel the way of its request."""

    request_id: int


@dataclasses.dataclass(frozen=True, slots=True)
class Released:
    """RELEASE: blocks of ours, by region and offset, that nobody over there views any more."""

    blocks: tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Mapped:
    """REGION: a region of the peer, to be mapped."""

    region: int
    region_bytes: int
    descriptor: Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class Forgotten:
    """FORGET: a region that the peer gave back to the system."""

    region: int


@dataclasses.dataclass(frozen=True, slots=True)
class Leaving:
    """GOODBYE: the peer answers no request above this number, and will close."""

    last_request_id: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """The peer closed the connection; in the middle of a frame, it broke off."""

    in_the_middle: bool


Event = Message | Greeted | Failed | Cancelled | Fetched | Released | Mapped | Forgotten | Leaving | Ended
