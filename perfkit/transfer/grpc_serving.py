"""The receiver's gRPC service: payloads in one message, payloads in chunks, announcements of shared memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np

from perfkit.errors import TransferError
from perfkit.transfer.delivery import Deliver
from perfkit.transfer.grpc_common import SERVICE, SOCKET_NAME, UNLIMITED
from perfkit.transfer.grpc_pb.transfer_pb2 import Acknowledgement, Announcement, Chunk, Payload
from perfkit.transfer.grpc_signalling import METHOD_KEY
from perfkit.transfer.memory import check_room

__all__ = ["start_grpc"]

_MAX_WORKERS = 32
Announce = Callable[[bytes, bytes], int]


def start_grpc(folder: str, deliver: Deliver, announcers: Mapping[str, Announce]) -> grpc.Server:
    """Serve at ``grpc.sock`` in `folder`.

    Args:
        folder: where the socket goes; only this user may enter it.
        deliver: takes the payloads.
        announcers: takes announcements, by method; may grow after the start.
    """

    def send(request: Payload, context: grpc.ServicerContext) -> Acknowledgement:
        return _answer(context, lambda: deliver(request.meta, memoryview(request.body), request.flags))

    def stream(chunks: Iterator[Chunk], context: grpc.ServicerContext) -> Acknowledgement:
        return _answer(context, lambda: _deliver_chunks(chunks, deliver))

    def announce(request: Announcement, context: grpc.ServicerContext) -> Acknowledgement:
        method = str(dict(context.invocation_metadata()).get(METHOD_KEY, ""))
        return _answer(context, lambda: announcers[method](request.header, request.meta))

    reply = Acknowledgement.SerializeToString
    handlers = {
        "Send": grpc.unary_unary_rpc_method_handler(send, Payload.FromString, reply),
        "Stream": grpc.stream_unary_rpc_method_handler(stream, Chunk.FromString, reply),
        "Announce": grpc.unary_unary_rpc_method_handler(announce, Announcement.FromString, reply),
    }
    server = grpc.server(ThreadPoolExecutor(_MAX_WORKERS, thread_name_prefix="perfkit-grpc"), options=UNLIMITED)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"unix:{Path(folder, SOCKET_NAME).absolute()}")
    server.start()
    return server


def _answer(context: grpc.ServicerContext, work: Callable[[], int]) -> Acknowledgement:
    try:
        return Acknowledgement(value=work())
    except Exception as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{type(error).__name__}: {error}")
        raise  # `abort` raises; this tells the type checker


def _deliver_chunks(chunks: Iterator[Chunk], deliver: Deliver) -> int:
    first = next(chunks, None)
    if first is None:
        raise TransferError("a stream without a chunk; the peer is broken")
    if len(first.data) == first.wire_bytes:
        return deliver(first.meta, memoryview(first.data), first.flags)
    check_room(first.wire_bytes, "for a payload that a peer announced")
    body = np.empty(first.wire_bytes, np.uint8).data  # not touched before the bytes are there
    body[: len(first.data)] = first.data
    filled = len(first.data)
    for chunk in chunks:
        data = chunk.data
        if filled + len(data) > len(body):
            raise TransferError(f"a stream of over the announced {len(body)} bytes; the peer is broken")
        body[filled : filled + len(data)] = data
        filled += len(data)
    if filled < len(body):
        raise TransferError(f"a stream of {filled} bytes announced as {len(body)}; the peer is broken")
    return deliver(first.meta, body.toreadonly(), first.flags)
