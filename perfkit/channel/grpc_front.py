"""Methods `grpc` and `grpc_stream` of a server: requests as calls, beside the lanes and in the same conversations.

A call carries the same header and description as a frame on a lane, and the body. Its metadata name the conversation,
whose token only a process that was let in over a lane can know. An answer that should not travel in a call - because
it is too large, or because shared memory is cheaper - is parked, and the client fetches it over a lane.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from perfkit.channel import frames
from perfkit.channel.answering import Answerer, timings_meta
from perfkit.channel.documents import pack_error
from perfkit.channel.events import Message
from perfkit.channel.frames import CALLS_FROM, HEADER, HEADER_BYTES, MAGIC, PARKED, TIMED, pack_header
from perfkit.channel.grpc_calls import CHUNK_BYTES, MAX_CALL_BYTES, SEND, SERVICE, STREAM, TOKEN_KEY, in_chunks, joined
from perfkit.channel.requests import Outcome
from perfkit.errors import PerfkitError, ProtocolError
from perfkit.transfer.grpc_common import UNLIMITED
from perfkit.transfer.grpc_pb.transfer_pb2 import Chunk, Payload

if TYPE_CHECKING:
    from perfkit.channel.peers import Peer, Peers

__all__ = ["GrpcFront"]


class GrpcFront:
    """A gRPC server beside a channel's server.

    Args:
        path: of the channel's socket; this one is beside it.
        peers: the conversations.
        answerer: calls the handler.
        max_workers: calls at a time.
        max_message_bytes: the largest payload that is taken.
    """

    def __init__(self, path: Path, peers: Peers, answerer: Answerer, max_workers: int, max_message_bytes: int) -> None:
        self.path = f"{path}.grpc"
        self._peers, self._answerer, self._max_message_bytes = peers, answerer, max_message_bytes
        handlers = {
            SEND: grpc.unary_unary_rpc_method_handler(self._send, Payload.FromString, Payload.SerializeToString),
            STREAM: grpc.stream_stream_rpc_method_handler(self._stream, Chunk.FromString, Chunk.SerializeToString),
        }
        Path(self.path).unlink(missing_ok=True)  # of a server that was killed: the lanes' socket was taken over before
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers, thread_name_prefix="perfkit-grpc"), options=UNLIMITED
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()
        with contextlib.suppress(OSError):
            Path(self.path).chmod(0o600)

    def close(self, grace_s: float) -> None:
        """Let the calls that are under way end, and stop."""
        self._server.stop(grace_s).wait(grace_s + 1)
        Path(self.path).unlink(missing_ok=True)

    def _send(self, request: Payload, context: grpc.ServicerContext) -> Payload:
        peer = self._peer(context)
        if len(request.body) > self._max_message_bytes:
            text = f"a payload of {len(request.body)} bytes, at most {self._max_message_bytes} are taken"
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        meta, body = self._answer(peer, request.meta, memoryview(request.body), "grpc", context)
        return Payload(meta=meta, body=body)

    def _stream(self, chunks: Iterator[Chunk], context: grpc.ServicerContext) -> Iterator[Chunk]:
        peer = self._peer(context)
        try:
            meta, body = joined(chunks, self._max_message_bytes)
        except PerfkitError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        meta, answer = self._answer(peer, meta, body, "grpc_stream", context)
        yield from in_chunks(meta, memoryview(answer), CHUNK_BYTES)

    def _peer(self, context: grpc.ServicerContext) -> Peer:
        peer = self._peers.open.get(str(dict(context.invocation_metadata()).get(TOKEN_KEY, "")))
        if peer is None:
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "the call belongs to no conversation; greet over a lane first"
            )
        return peer

    def _answer(
        self, peer: Peer, frame: bytes, body: memoryview, method: str, context: grpc.ServicerContext
    ) -> tuple[bytes, bytes]:
        """Handle a call; header and description of the answer, and its body."""
        try:
            message = _read_frame(frame, body)
            del body
            self._answerer.methods[method] += 1
            request = None
            if self._answerer.takes_request:
                request = self._answerer.make_request(peer, message, lambda: not context.is_active())
            outcome, _ = self._answerer.answer(peer, message, request, peer.all_chooser)
            return self._pack(peer, message, outcome, method)
        except PerfkitError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{type(error).__name__}: {error}")
            raise  # `abort` raises; this tells the type checker

    def _pack(self, peer: Peer, message: Message, outcome: Outcome, method: str) -> tuple[bytes, bytes]:
        if outcome.error is not None:
            return pack_error(message.request_id, *outcome.error), b""
        encoded, decision = outcome.encoded, outcome.decision
        body, flags = b"", message.flags & TIMED
        if encoded is not None and decision is not None:
            is_too_large = encoded.wire_bytes > MAX_CALL_BYTES and method == "grpc"
            if is_too_large or not decision.method.startswith("grpc"):
                peer.park(message.request_id, outcome, message)
                return pack_header(frames.REPLY, message.request_id, flags=PARKED), b""
            body = encoded.to_bytes()
            self._answerer.reply_methods[method] += 1
        meta = (timings_meta(outcome, None) if flags else b"") + outcome.meta
        header = pack_header(
            frames.REPLY,
            message.request_id,
            flags=flags,
            carrier=frames.BYTES if body else frames.NOTHING,
            meta_bytes=len(meta),
            body_bytes=outcome.wire_bytes,
            payload_bytes=outcome.payload_bytes,
        )
        return header + meta, body


def _read_frame(frame: bytes, body: memoryview) -> Message:
    """Header and description of a call as the message that a lane would have brought."""
    if len(frame) < HEADER_BYTES:
        raise ProtocolError(f"a call with a header of {len(frame)} bytes, must be {HEADER_BYTES} and its description")
    magic, op, carrier, flags, meta_bytes, request_id, body_bytes, payload_bytes, _, _, time_ns = HEADER.unpack_from(
        frame
    )
    if magic != MAGIC or op != frames.REQUEST or body_bytes != body.nbytes or meta_bytes != len(frame) - HEADER_BYTES:
        raise ProtocolError("a call whose header does not fit what came with it; the peer is broken")
    if request_id < CALLS_FROM:
        raise ProtocolError(f"call {request_id}, must be {CALLS_FROM} or more: smaller numbers are for lanes")
    message = Message(op, request_id, carrier, flags, frame[HEADER_BYTES:], body_bytes, payload_bytes, 0, 0, time_ns)
    message.body = body.toreadonly()
    return message
