"""Method ``uds``: the bytes themselves over a Unix socket, received into memory that is already there."""

from __future__ import annotations

import socket
from typing import ClassVar

import numpy as np

from perfkit.errors import PeerLostError
from perfkit.transfer.delivery import Deliver
from perfkit.transfer.memory import check_room
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method
from perfkit.transfer.sockets import answer_messages, connect
from perfkit.transfer.wire import (
    ACKNOWLEDGEMENT,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    OP_BYTES,
    body_offset,
    parse_header,
    read_acknowledgement,
    receive_exactly,
    send_all,
    send_small,
)

__all__ = ["Uds", "UdsSender"]

_FIRST_BUFFER_BYTES = 256 * 2**10
_JOINED_BYTES = 16 * 2**10  # up to here a copy is cheaper than a system call with two buffers
_PADDING = bytes(64)


@method("uds")
class Uds:
    """Bytes over a Unix socket."""

    signallings: ClassVar = ("uds",)
    zero_copy: ClassVar = False
    max_bytes: ClassVar = None
    copies: ClassVar = 0

    @staticmethod
    def serve(host: Host) -> None:
        """Listen at ``uds.sock``."""
        deliver = host.deliver
        host.listen("uds", lambda connection: _serve_connection(connection, deliver))

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> UdsSender:
        """Connect to ``uds.sock`` in `folder`."""
        return UdsSender(folder, options)


class UdsSender:
    """Sends header, description and body with one system call where the kernel takes them."""

    def __init__(self, folder: str, options: SenderOptions) -> None:
        self._connection = connect(folder, "uds", options.timeout_s)
        self._acknowledgement = bytearray(ACKNOWLEDGEMENT.size)
        self._scratch = bytearray()

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        """See `perfkit.transfer.protocol.Sender`."""
        meta, wire_bytes = encoded.meta, encoded.wire_bytes
        meta_bytes = len(meta)
        header = HEADER.pack(MAGIC, OP_BYTES, flags, 0, meta_bytes, 0, wire_bytes, 0, 0, 0)
        body = encoded.body if encoded.body is not None else self._write(encoded)
        parts = (header, meta, _PADDING[: -meta_bytes % 64], body) if meta_bytes else (header, body)
        try:
            if wire_bytes + meta_bytes <= _JOINED_BYTES:
                send_small(self._connection, b"".join(parts))
            else:
                send_all(self._connection, *parts)
            return read_acknowledgement(self._connection, self._acknowledgement)
        except BaseException:
            self._connection.close()  # an answer that comes late would be taken for the next one's
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _write(self, encoded: Encoded) -> memoryview:
        # A codec that writes into a destination writes into this buffer, which is reused: no allocation per send.
        assert encoded.write_into is not None  # an Encoded has one of the two
        if len(self._scratch) < encoded.wire_bytes:
            self._scratch = bytearray(encoded.wire_bytes)
        view = memoryview(self._scratch)[: encoded.wire_bytes]
        encoded.write_into(view)
        return view


def _serve_connection(connection: socket.socket, deliver: Deliver) -> None:
    buffer = memoryview(bytearray(_FIRST_BUFFER_BYTES))

    def receive() -> int | None:
        # One read usually brings the whole of a small message: a sender waits for the acknowledgement before the next.
        filled = connection.recv_into(buffer)
        if filled >= HEADER_BYTES:
            magic, op, flags, _, meta_bytes, _, body_bytes, _, _, _ = HEADER.unpack_from(buffer)
            start = body_offset(meta_bytes)
            if filled == start + body_bytes and magic == MAGIC and op == OP_BYTES:
                meta = bytes(buffer[HEADER_BYTES : HEADER_BYTES + meta_bytes])
                return deliver(meta, buffer[start:filled].toreadonly(), flags)
        return receive_any(filled) if filled else None

    def receive_any(filled: int) -> int:
        nonlocal buffer
        if filled < HEADER_BYTES:
            receive_exactly(connection, buffer[filled:HEADER_BYTES])
            filled = HEADER_BYTES
        header = parse_header(buffer, OP_BYTES)
        start = body_offset(header.meta_bytes)
        end = start + header.body_bytes
        if filled > end:
            raise PeerLostError("the peer sent a message before the last one was acknowledged")
        if end > len(buffer):
            check_room(end, "for a payload that a peer announced")
            larger = np.empty(end, np.uint8).data  # not touched before the bytes are there
            larger[:filled] = buffer[:filled]
            buffer = larger
        if filled < end:
            receive_exactly(connection, buffer[filled:end])
        meta = bytes(buffer[HEADER_BYTES : HEADER_BYTES + header.meta_bytes])
        return deliver(meta, buffer[start:end].toreadonly(), header.flags)

    answer_messages(connection, receive)
