"""Method ``shm``: a fresh segment for every payload, handed over with its announcement and then forgotten."""

from __future__ import annotations

import os
import socket
from typing import ClassVar

from perfkit.errors import TransferError
from perfkit.schema import SIGNALLINGS
from perfkit.transfer.memory import Region, SharedView, open_descriptor
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method
from perfkit.transfer.signalling import map_peer_region, open_signaller, receive_descriptor, receive_meta
from perfkit.transfer.sockets import answer_messages
from perfkit.transfer.wire import HEADER_BYTES, OP_SEGMENT, Header, parse_header, receive_exactly

__all__ = ["Shm", "ShmSender"]


@method("shm")
class Shm:
    """A fresh shared-memory segment per payload, announced over a Unix socket or gRPC."""

    signallings: ClassVar = SIGNALLINGS
    zero_copy: ClassVar = True
    max_bytes: ClassVar = None
    copies: ClassVar = 1

    @staticmethod
    def serve(host: Host) -> None:
        """Listen for announcements at ``shm.sock`` and, where there is gRPC, over it."""
        host.listen("shm", lambda connection: _serve_connection(connection, host))
        host.announce_over_grpc("shm", lambda header, meta: _announced_over_grpc(header, meta, host))

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> ShmSender:
        """Connect to the receiver in `folder`."""
        return ShmSender(folder, options)


class ShmSender:
    """Makes a segment, writes the payload into it, announces it and gives it up."""

    def __init__(self, folder: str, options: SenderOptions) -> None:
        self._signaller = open_signaller("shm", folder, options)
        self._options = options

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        """See `perfkit.transfer.protocol.Sender`."""
        # Populating at once is cheaper than one fault per page while the payload is written.
        segment = Region(encoded.wire_bytes, named_in=self._options.named_in)
        try:
            encoded.write_to(segment.view, self._options.copy_plan)
            return self._signaller.announce_segment(flags, encoded.meta, segment, encoded.wire_bytes, OP_SEGMENT)
        finally:
            segment.close()

    def close(self) -> None:
        """Close the connection."""
        self._signaller.close()


def _serve_connection(connection: socket.socket, host: Host) -> None:
    buffer = memoryview(bytearray(HEADER_BYTES + 4096))

    def receive() -> int | None:
        filled, descriptor = receive_descriptor(connection, buffer)
        if filled == 0:
            return None
        if descriptor is None:
            raise TransferError("a segment was announced without its descriptor; the peer is broken")
        try:
            if filled < HEADER_BYTES:
                receive_exactly(connection, buffer[filled:HEADER_BYTES])
                filled = HEADER_BYTES
            header = parse_header(buffer, OP_SEGMENT)
            meta = receive_meta(connection, buffer, filled, header)
            segment = open_descriptor(descriptor, header.region_bytes, allow_unsealed=host.allow_unsealed)
        finally:
            os.close(descriptor)
        return _deliver_segment(segment, header, meta, host)

    answer_messages(connection, receive)


def _announced_over_grpc(header_bytes: bytes, meta: bytes, host: Host) -> int:
    header = parse_header(header_bytes, OP_SEGMENT)
    return _deliver_segment(map_peer_region(header, host, prefault=True), header, meta, host)


def _deliver_segment(segment: SharedView, header: Header, meta: bytes, host: Host) -> int:
    try:
        return host.deliver(meta, segment.slice(0, header.body_bytes), header.flags)
    finally:
        segment.close()
