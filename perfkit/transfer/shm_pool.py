"""Method ``shm_pool``: a leased block of a reused, prefaulted region; only its announcement travels."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import ClassVar

from perfkit.errors import PerfkitError, TransferError, TransferTimeoutError
from perfkit.schema import SIGNALLINGS
from perfkit.transfer.arena import Arena, Block
from perfkit.transfer.memory import SharedView, open_descriptor
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method
from perfkit.transfer.signalling import map_peer_region, open_signaller, receive_descriptor, receive_meta
from perfkit.transfer.sockets import answer_messages
from perfkit.transfer.wire import (
    ACKNOWLEDGED,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    OP_BLOCK,
    OP_REGION,
    Header,
    parse_header,
    receive_exactly,
)

__all__ = ["ShmPool", "ShmPoolSender"]


@method("shm_pool")
class ShmPool:
    """A leased block of a reused region, announced over a Unix socket or gRPC."""

    signallings: ClassVar = SIGNALLINGS
    zero_copy: ClassVar = True
    max_bytes: ClassVar = None
    copies: ClassVar = 1

    @staticmethod
    def serve(host: Host) -> None:
        """Listen for announcements at ``shm_pool.sock`` and, where there is gRPC, over it."""
        host.listen("shm_pool", lambda connection: _PoolConnection(connection, host).serve())
        host.announce_over_grpc("shm_pool", _GrpcPool(host).announce)

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> ShmPoolSender:
        """Connect to the receiver in `folder`."""
        return ShmPoolSender(folder, options)


class ShmPoolSender:
    """Leases a block, writes the payload into it and announces it."""

    def __init__(self, folder: str, options: SenderOptions) -> None:
        self._signaller = open_signaller("shm_pool", folder, options)
        self._arena = options.arena or Arena(prefault=options.prefault, named_in=options.named_in)
        self._owns_arena = options.arena is None
        self._copy_plan = options.copy_plan
        self._introduced: set[int] = set()

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        """See `perfkit.transfer.protocol.Sender`."""
        wire_bytes = encoded.wire_bytes
        block = self._arena.lease(wire_bytes)
        try:
            encoded.write_to(block.view, self._copy_plan)
            value = self.send_block(block, wire_bytes, encoded.meta, flags)
        except TransferTimeoutError:
            raise  # the receiver may read the block yet: it is not used again, and goes with the arena
        except PerfkitError:
            self._arena.release(block)
            raise
        self._arena.release(block)
        return value

    def lease(self, wire_bytes: int) -> Block:
        """See `perfkit.transfer.protocol.InPlaceSender`."""
        return self._arena.lease(wire_bytes)

    def send_block(self, block: Block, wire_bytes: int, meta: bytes = b"", flags: int = 0) -> int:
        """See `perfkit.transfer.protocol.InPlaceSender`."""
        region = block.region
        if region.id not in self._introduced:
            self._signaller.introduce(region)
            self._introduced.add(region.id)
        return self._signaller.announce(OP_BLOCK, flags, meta, region, block.offset, wire_bytes)

    def release(self, block: Block) -> None:
        """See `perfkit.transfer.protocol.InPlaceSender`."""
        self._arena.release(block)

    def close(self) -> None:
        """Close the connection, and the arena unless it is shared."""
        self._signaller.close()
        if self._owns_arena:
            self._arena.close()


class _PoolConnection:
    """The receiver's end of one socket: the regions that were introduced on it, unmapped when it closes."""

    def __init__(self, connection: socket.socket, host: Host) -> None:
        self._connection, self._host, self._deliver = connection, host, host.deliver
        self._regions: dict[int, SharedView] = {}
        self._buffer = memoryview(bytearray(HEADER_BYTES + 4096))

    def serve(self) -> None:
        try:
            answer_messages(self._connection, self._receive)
        finally:
            for view in self._regions.values():
                view.close()

    def _receive(self) -> int | None:
        filled = self._connection.recv_into(self._buffer)
        if filled >= HEADER_BYTES:
            # By far the most frequent message, read without detours: a block of a known region.
            magic, op, flags, _, meta_bytes, _, body_bytes, region_id, offset, _ = HEADER.unpack_from(self._buffer)
            region = self._regions.get(region_id)
            is_whole = filled == HEADER_BYTES + meta_bytes
            if magic == MAGIC and op == OP_BLOCK and region is not None and is_whole:
                meta = bytes(self._buffer[HEADER_BYTES:filled]) if meta_bytes else b""
                return self._deliver(meta, region.slice(offset, body_bytes), flags)
        return self._receive_any(filled) if filled else None

    def _receive_any(self, filled: int) -> int:
        buffer, connection = self._buffer, self._connection
        if filled < HEADER_BYTES:
            receive_exactly(connection, buffer[filled:HEADER_BYTES])
            filled = HEADER_BYTES
        header = parse_header(buffer, OP_BLOCK, OP_REGION)
        if header.op == OP_REGION:
            self._introduce(header)
            return 0
        region = self._regions.get(header.region)
        if region is None:
            raise TransferError(f"block of region {header.region}, which was never introduced; the peer is broken")
        meta = receive_meta(connection, buffer, filled, header)
        return self._deliver(meta, region.slice(header.offset, header.body_bytes), header.flags)

    def _introduce(self, header: Header) -> None:
        self._connection.sendall(ACKNOWLEDGED)  # go on
        _, descriptor = receive_descriptor(self._connection, self._buffer[:1])
        if descriptor is None:
            raise TransferError("a region was introduced without its descriptor; the peer is broken")
        try:
            view = open_descriptor(descriptor, header.region_bytes, allow_unsealed=self._host.allow_unsealed)
        finally:
            os.close(descriptor)
        self._regions[header.region] = view


class _GrpcPool:
    """The receiver's end of gRPC announcements: regions stay mapped, known by the sender's pid and descriptor.

    gRPC does not say when a sender goes: regions of processes that are gone are unmapped when the next is introduced.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._regions: dict[tuple[int, int], SharedView] = {}

    def announce(self, header_bytes: bytes, meta: bytes) -> int:
        header = parse_header(header_bytes, OP_BLOCK, OP_REGION)
        key = (header.pid, header.region)
        if header.op == OP_REGION:
            self._drop_dead()
            self._regions[key] = map_peer_region(header, self._host, prefault=True)
            return 0
        region = self._regions.get(key)
        if region is None:
            raise TransferError(f"block of region {header.region}, which was never introduced; introduce it first")
        return self._host.deliver(meta, region.slice(header.offset, header.body_bytes), header.flags)

    def _drop_dead(self) -> None:
        for key in [key for key in list(self._regions) if not Path(f"/proc/{key[0]}").exists()]:
            view = self._regions.pop(key, None)  # another thread may have been quicker
            if view is not None:
                view.close()
