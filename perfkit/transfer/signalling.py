"""How a shared-memory method tells its receiver about a block: over a Unix socket, or over gRPC.

A *descriptor* travels with a socket message (``SCM_RIGHTS``); over gRPC the receiver opens it through ``/proc``.
"""

from __future__ import annotations

import array
import os
import socket
from typing import Protocol

from perfkit.transfer.memory import Region, SharedView, open_descriptor, peer_descriptor
from perfkit.transfer.protocol import Host, SenderOptions
from perfkit.transfer.sockets import connect
from perfkit.transfer.wire import (
    ACKNOWLEDGEMENT,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    OP_REGION,
    Header,
    read_acknowledgement,
    receive_exactly,
    send_small,
    send_with,
)

__all__ = ["Signaller", "map_peer_region", "open_signaller", "pack_header", "receive_descriptor", "receive_meta"]


class Signaller(Protocol):
    """Tells the receiver about blocks and waits for its acknowledgement."""

    def announce(self, op: int, flags: int, meta: bytes, region: Region, offset: int, wire_bytes: int) -> int:
        """Announce a block of a region that the receiver knows (or can open); returns the acknowledged value."""

    def introduce(self, region: Region) -> None:
        """Let the receiver map a region before the first block of it is announced."""

    def announce_segment(self, flags: int, meta: bytes, region: Region, wire_bytes: int, op: int) -> int:
        """Announce a region that is used this once."""

    def close(self) -> None:
        """Close the connection."""


def open_signaller(name: str, folder: str, options: SenderOptions) -> Signaller:
    """Connect to the receiver of shared-memory method `name` by the signalling that `options` name."""
    if options.signalling == "grpc":
        from perfkit.transfer.grpc_signalling import GrpcSignaller

        return GrpcSignaller(name, folder, options.timeout_s)
    return SocketSignaller(name, folder, options.timeout_s)


def pack_header(op: int, flags: int, meta: bytes, region: Region, offset: int, wire_bytes: int) -> bytes:
    """The fixed header of an announcement.

    A region is known by its id. What introduces a region, or hands over a segment, moves nothing at an offset: its
    offset says under which number the sender holds the descriptor, for receivers that must open it through ``/proc``.
    """
    return HEADER.pack(MAGIC, op, flags, 0, len(meta), os.getpid(), wire_bytes, region.id, offset, region.size_bytes)


class SocketSignaller:
    """Announces over a Unix socket; the fastest."""

    def __init__(self, name: str, folder: str, timeout_s: float) -> None:
        self._connection = connect(folder, name, timeout_s)
        self._acknowledgement = bytearray(ACKNOWLEDGEMENT.size)
        self._pid = os.getpid()

    def announce(self, op: int, flags: int, meta: bytes, region: Region, offset: int, wire_bytes: int) -> int:
        """See `Signaller`."""
        header = HEADER.pack(
            MAGIC, op, flags, 0, len(meta), self._pid, wire_bytes, region.id, offset, region.size_bytes
        )
        try:
            send_small(self._connection, header + meta if meta else header)
            return read_acknowledgement(self._connection, self._acknowledgement)
        except BaseException:
            self._connection.close()  # an answer that comes late would be taken for the next one's
            raise

    def introduce(self, region: Region) -> None:
        """See `Signaller`."""
        # The receiver asks for the descriptor only after it has read the header: a descriptor in a plain read is lost.
        self.announce(OP_REGION, 0, b"", region, region.descriptor, 0)
        self._exchange_descriptor(b"\0", region)

    def announce_segment(self, flags: int, meta: bytes, region: Region, wire_bytes: int, op: int) -> int:
        """See `Signaller`."""
        header = pack_header(op, flags, meta, region, region.descriptor, wire_bytes)
        return self._exchange_descriptor(header + meta, region)

    def close(self) -> None:
        """See `Signaller`."""
        self._connection.close()

    def _exchange_descriptor(self, message: bytes, region: Region) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [region.descriptor]))]
        try:
            sent = send_with(self._connection, message, rights)
            if sent < len(message):
                send_small(self._connection, message[sent:])
            return read_acknowledgement(self._connection, self._acknowledgement)
        except BaseException:
            self._connection.close()  # as in `announce`
            raise


def receive_descriptor(connection: socket.socket, view: memoryview) -> tuple[int, int | None]:
    """Read into `view`; returns the bytes read and the descriptor that came with them, if one did."""
    count, ancillary, _, _ = connection.recvmsg_into([view], socket.CMSG_SPACE(4))
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    for surplus in descriptors[1:]:
        os.close(surplus)
    return count, (descriptors[0] if descriptors else None)


def receive_meta(connection: socket.socket, buffer: memoryview, filled: int, header: Header) -> bytes:
    """The description that follows a header, of which `filled` bytes of `buffer` are already there."""
    if header.meta_bytes == 0:
        return b""
    meta = bytearray(header.meta_bytes)
    there = min(filled - HEADER_BYTES, header.meta_bytes)
    meta[:there] = buffer[HEADER_BYTES : HEADER_BYTES + there]
    if there < header.meta_bytes:
        receive_exactly(connection, memoryview(meta)[there:])
    return bytes(meta)


def map_peer_region(header: Header, host: Host, *, prefault: bool) -> SharedView:
    """Map the region that a gRPC-signalled header names, through ``/proc``."""
    with peer_descriptor(header.pid, header.offset) as descriptor:
        return open_descriptor(descriptor, header.region_bytes, prefault=prefault, allow_unsealed=host.allow_unsealed)
