"""The fixed header that announces a payload, the acknowledgement, and blocking socket reads and writes.

Every message is a 64-byte header, `meta` (padded so that what follows is 64-byte aligned) and, for method ``uds``, the
body. One message is under way per connection: the next follows the acknowledgement of the last.
"""

from __future__ import annotations

import array
import errno
import socket
import struct
from typing import NamedTuple

from perfkit.errors import PeerLostError, TransferError, TransferTimeoutError

__all__ = [
    "ACKNOWLEDGED",
    "ACKNOWLEDGEMENT",
    "FLAG_DECODE",
    "FLAG_TIME_DECODE",
    "FLAG_TOUCH",
    "FLAG_VERIFY",
    "HEADER",
    "HEADER_BYTES",
    "MAGIC",
    "MAX_META_BYTES",
    "OP_BLOCK",
    "OP_BYTES",
    "OP_REGION",
    "OP_SEGMENT",
    "Header",
    "body_offset",
    "parse_header",
    "read_acknowledgement",
    "receive_exactly",
    "send_all",
    "send_small",
    "send_with",
    "set_timeout",
]

HEADER = struct.Struct("<4sBBHIIQQQQ16x")
"""magic, op, flags, reserved, meta bytes, sender's pid, body bytes, region, offset, region bytes."""
HEADER_BYTES = HEADER.size
MAGIC = b"pfk1"
MAX_META_BYTES = 16 * 2**20
"""A description of over 16 MiB is a broken or malicious peer."""

OP_BYTES, OP_BLOCK, OP_REGION, OP_SEGMENT = 1, 2, 3, 4
FLAG_TOUCH, FLAG_VERIFY, FLAG_DECODE, FLAG_TIME_DECODE = 1, 2, 4, 8

ACKNOWLEDGEMENT = struct.Struct("<QQ")
"""status (0, or the length of the error text that follows) and value (what the receiver computed)."""
_ACKNOWLEDGEMENT_BYTES = ACKNOWLEDGEMENT.size
_MAX_ERROR_BYTES = 64 * 2**10
ACKNOWLEDGED = bytes(_ACKNOWLEDGEMENT_BYTES)
"""The most frequent acknowledgement: held, nothing to report."""


class Header(NamedTuple):
    """The parsed header of one message."""

    magic: bytes
    op: int
    flags: int
    reserved: int
    meta_bytes: int
    pid: int
    body_bytes: int
    region: int
    offset: int
    region_bytes: int


def body_offset(meta_bytes: int) -> int:
    """Where the body begins after a description of `meta_bytes`: 64-byte aligned.

    >>> body_offset(0), body_offset(1), body_offset(64)
    (64, 128, 128)
    """
    return HEADER_BYTES + (meta_bytes + 63) // 64 * 64


def parse_header(buffer: bytes | bytearray | memoryview, *ops: int) -> Header:
    """Read and check a header.

    Raises:
        TransferError: not a perfkit header, an operation that this connection does not take, or an absurd description.
    """
    header = Header._make(HEADER.unpack_from(buffer))
    if header.magic != MAGIC or header.op not in ops:
        raise TransferError(f"unexpected message (magic {header.magic!r}, operation {header.op}); allowed: {ops}")
    if header.meta_bytes > MAX_META_BYTES:
        raise TransferError(f"description of {header.meta_bytes} bytes, at most {MAX_META_BYTES} are allowed")
    return header


def set_timeout(connection: socket.socket, timeout_s: float) -> None:
    """Bound every blocking call in the kernel: Python's own timeout would add a poll to each of them."""
    value = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def send_all(connection: socket.socket, *parts: memoryview | bytes | bytearray) -> None:
    """Send `parts` in order with as few system calls as the kernel allows."""
    try:
        sent = connection.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                connection.sendall(memoryview(part)[sent:])
                sent = 0
            else:
                sent -= len(part)
    except BlockingIOError:
        raise TransferTimeoutError("the receiver does not read; is it stopped or overloaded?") from None
    except OSError as error:
        raise _lost(error, "while it was being sent to") from None


def send_small(connection: socket.socket, message: bytes) -> None:
    """Send what fits a socket's buffer."""
    try:
        sent = connection.send(message)
        if sent < len(message):
            connection.sendall(message[sent:])
    except BlockingIOError:
        raise TransferTimeoutError("the receiver does not read; is it stopped or overloaded?") from None
    except OSError as error:
        raise _lost(error, "before it was sent to") from None


def send_with(connection: socket.socket, message: bytes, ancillary: list[tuple[int, int, array.array[int]]]) -> int:
    """Send a message with what travels beside its bytes; returns how many bytes went."""
    try:
        return connection.sendmsg([message], ancillary)
    except BlockingIOError:
        raise TransferTimeoutError("the receiver does not read; is it stopped or overloaded?") from None
    except OSError as error:
        raise _lost(error, "before it was sent to") from None


def _lost(error: OSError, when: str) -> OSError | PeerLostError:
    """What an error of a socket means: that the connection is gone, or something that is for others to explain."""
    if error.errno in (errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOTCONN):
        return PeerLostError(f"the connection to the receiver was closed {when}")
    return error


def receive_exactly(connection: socket.socket, view: memoryview) -> None:
    """Fill `view`, waiting in the kernel until all of it is there."""
    filled = 0
    while filled < len(view):
        try:
            count = connection.recv_into(view[filled:], 0, socket.MSG_WAITALL)
        except BlockingIOError:
            raise TransferTimeoutError(f"the peer fell silent after {filled} of {len(view)} bytes") from None
        except ConnectionResetError:
            count = 0
        if count == 0:
            raise PeerLostError(f"the peer closed the connection after {filled} of {len(view)} bytes")
        filled += count


def read_acknowledgement(connection: socket.socket, buffer: bytearray) -> int:
    """Wait for the acknowledgement and return its value; raise what the receiver reported instead.

    `buffer` is the caller's reused buffer of ``ACKNOWLEDGEMENT.size`` bytes.
    """
    try:
        count = connection.recv_into(buffer, 0, socket.MSG_WAITALL)
    except BlockingIOError:
        raise TransferTimeoutError("the receiver did not acknowledge in time; is it stopped or overloaded?") from None
    except OSError as error:
        raise _lost(error, "before it acknowledged") from None
    if count < _ACKNOWLEDGEMENT_BYTES:
        raise PeerLostError("the receiver died or closed the connection before it acknowledged")
    if buffer == ACKNOWLEDGED:
        return 0
    status, value = ACKNOWLEDGEMENT.unpack_from(buffer)
    if status:
        if status > _MAX_ERROR_BYTES:
            raise PeerLostError(f"the receiver announced an error text of {status} bytes; it is broken")
        text = bytearray(status)
        receive_exactly(connection, memoryview(text))
        raise TransferError(f"the receiver refused the payload: {text.decode(errors='replace')}")
    return int(value)
