"""What a frame of the channel looks like on the wire; reference: docs/reference/wire-protocol.md.

A frame is a header of 64 bytes, a description (`meta`) and, where the payload travels as bytes, the body; description
and body are padded to 64 bytes each, so that every body is aligned. Numbers are little-endian.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = [
    "ALIGNMENT",
    "BLOCK_NAME",
    "BYTES",
    "CALLS_FROM",
    "CANCEL",
    "CARRIERS",
    "DOCUMENT_OPS",
    "ERROR",
    "EXCLUSIVE",
    "FETCH",
    "FORGET",
    "GOODBYE",
    "HEADER",
    "HEADER_BYTES",
    "HELLO",
    "IN_BLOCK",
    "MAGIC",
    "NOTHING",
    "OP_NAMES",
    "PADDINGS",
    "PARKED",
    "REGION",
    "RELEASE",
    "RELEASED",
    "REPLY",
    "REQUEST",
    "SEGMENT",
    "TIMED",
    "TIMINGS",
    "VERSION",
    "WELCOME",
    "Timings",
    "pack_frame",
    "pack_header",
    "padded",
]

MAGIC = b"pfc1"
VERSION = 1
ALIGNMENT = 64

HEADER = struct.Struct("<4sBBHI4xQQQQQQ")
"""magic, op, carrier, flags, meta bytes, request id, body bytes, payload bytes, region, offset, time in ns."""
HEADER_BYTES = HEADER.size

CALLS_FROM = 2**63
"""Requests on a lane are numbered from 1, gRPC calls from here: both may be answered on one lane."""

HELLO, WELCOME, REQUEST, REPLY, ERROR, CANCEL, RELEASE, REGION, FORGET, GOODBYE, FETCH = range(1, 12)
OP_NAMES = (
    "",
    "HELLO",
    "WELCOME",
    "REQUEST",
    "REPLY",
    "ERROR",
    "CANCEL",
    "RELEASE",
    "REGION",
    "FORGET",
    "GOODBYE",
    "FETCH",
)
DOCUMENT_OPS = (HELLO, WELCOME, ERROR, GOODBYE)
"""Frames whose description is a JSON object."""

NOTHING, BYTES, IN_BLOCK, SEGMENT = range(4)
CARRIERS = ("nothing", "bytes", "block", "segment")
"""What holds the body: nothing; the frame itself; a block of a region of the sender; a region used this once."""

EXCLUSIVE = 1
"""Flag of a request: nothing else comes on this connection before its answer, so the reader itself may handle it."""
RELEASED = 2
"""Flag of an answer: the block that the request came in is free again."""
PARKED = 8
"""Flag of an answer to a gRPC call: it waits to be fetched over a lane."""
TIMED = 4
"""Flag of a request: its sender wants to know what it cost; of a reply: its description begins with `TIMINGS`."""

TIMINGS = struct.Struct("<QQQQQQH")
"""Begins the description of a timed reply: decode, handler, encode, wait, copy in ns, time of sending, bytes of the
decision's name, which follows."""
BLOCK_NAME = struct.Struct("<QQ")
"""A block in a RELEASE: region and offset."""
PADDINGS = tuple(bytes(-length % ALIGNMENT) for length in range(ALIGNMENT))
"""What pads a part to the alignment, by its length modulo the alignment."""


class Timings(NamedTuple):
    """What the receiver of a request spent on it, in nanoseconds, when it sent the answer, and by which decision."""

    decode_ns: int
    handler_ns: int
    encode_ns: int
    wait_ns: int
    copy_ns: int
    sent_at_ns: int
    decision_id: str


def padded(length: int) -> int:
    """A length rounded up to the alignment.

    >>> padded(0), padded(1), padded(64)
    (0, 64, 64)
    """
    return (length + 63) & -64


def pack_header(
    op: int,
    request_id: int = 0,
    *,
    carrier: int = NOTHING,
    flags: int = 0,
    meta_bytes: int = 0,
    body_bytes: int = 0,
    payload_bytes: int = 0,
    region: int = 0,
    offset: int = 0,
    time_ns: int = 0,
) -> bytes:
    """A header; see `HEADER`."""
    return HEADER.pack(
        MAGIC, op, carrier, flags, meta_bytes, request_id, body_bytes, payload_bytes, region, offset, time_ns
    )


def pack_frame(header: bytes, meta: bytes) -> bytes:
    """Header and description as they go on the wire; a body follows apart.

    >>> len(pack_frame(pack_header(CANCEL, 7), b"")), len(pack_frame(pack_header(GOODBYE, meta_bytes=2), b"{}"))
    (64, 128)
    """
    return b"".join((header, meta, PADDINGS[len(meta) % ALIGNMENT])) if meta else header
