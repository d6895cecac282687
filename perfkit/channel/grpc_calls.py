"""Methods `grpc` and `grpc_stream` of a client, and what both ends of a call share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import numpy as np

from perfkit.errors import PeerLostError, ProtocolError, TransferTimeoutError
from perfkit.transfer.grpc_common import MAX_MESSAGE_BYTES, UNLIMITED, raise_transfer_error
from perfkit.transfer.grpc_pb.transfer_pb2 import Chunk, Payload
from perfkit.transfer.memory import check_room

if TYPE_CHECKING:
    from perfkit.transfer.protocol import Encoded

__all__ = [
    "CHUNK_BYTES",
    "MAX_CALL_BYTES",
    "SEND",
    "SERVICE",
    "STREAM",
    "TOKEN_KEY",
    "Call",
    "GrpcCalls",
    "UnknownConversation",
    "in_chunks",
    "joined",
]

SERVICE = "perfkit.channel.v1.Channel"
SEND, STREAM = "Send", "Stream"
TOKEN_KEY = "perfkit-token"
CHUNK_BYTES = 2**19
MAX_CALL_BYTES = MAX_MESSAGE_BYTES
_ANY_BYTES = 2**63
_RECONNECTING = (("grpc.initial_reconnect_backoff_ms", 20), ("grpc.max_reconnect_backoff_ms", 500))
"""A call may be made just when the server dies: by itself gRPC looks for the successor only after a second."""
_CLOSED = "the server has gone, and with it the conversation; the call was not made"
Call = Any
"""A call that is under way: of grpcio, which has several classes for it."""


class UnknownConversation(PeerLostError):
    """The server does not know the conversation: it is another one than was greeted, and handled nothing."""


class GrpcCalls:
    """Calls of one conversation.

    Args:
        path: of the server's gRPC socket.
        token: of the conversation.
    """

    def __init__(self, path: str, token: str) -> None:
        options = (*UNLIMITED, *_RECONNECTING, ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(f"unix:{path}", options=options)
        self._metadata = ((TOKEN_KEY, token),)
        self._send = self._channel.unary_unary(
            f"/{SERVICE}/{SEND}", request_serializer=Payload.SerializeToString, response_deserializer=Payload.FromString
        )
        self._stream = self._channel.stream_stream(
            f"/{SERVICE}/{STREAM}", request_serializer=Chunk.SerializeToString, response_deserializer=Chunk.FromString
        )

    def start(self, method: str, frame: bytes, encoded: Encoded, timeout_s: float) -> Call:
        """Begin a call; `finish` waits for its answer.

        Raises:
            UnknownConversation: the conversation is over; the call was not made.
        """
        try:
            if method == "grpc":
                payload = Payload(meta=frame, body=encoded.to_bytes())
                return self._send.future(payload, timeout=timeout_s, metadata=self._metadata, wait_for_ready=True)
            chunks = in_chunks(frame, encoded.to_view(), CHUNK_BYTES)
            return self._stream(chunks, timeout=timeout_s, metadata=self._metadata, wait_for_ready=True)
        except ValueError:
            raise UnknownConversation(_CLOSED) from None

    def call(self, method: str, frame: bytes, encoded: Encoded, timeout_s: float) -> tuple[bytes, memoryview]:
        """Call and wait: header and description of the answer, and its body. Raises as `finish`."""
        if method != "grpc":
            return self.finish(method, self.start(method, frame, encoded, timeout_s))
        payload = Payload(meta=frame, body=encoded.to_bytes())
        try:
            answer = self._send(payload, timeout=timeout_s, metadata=self._metadata, wait_for_ready=True)
        except grpc.RpcError as error:
            _raise(error)
        except ValueError:
            raise UnknownConversation(_CLOSED) from None
        return answer.meta, memoryview(answer.body)

    def finish(self, method: str, call: Call) -> tuple[bytes, memoryview]:
        """The answer to a call that was begun.

        Raises:
            UnknownConversation: the server is another one, and handled nothing.
            PeerLostError: the server died while it had the request.
            TransferTimeoutError: no answer in time.
            TransferError: the server refused the call.
        """
        try:
            if method != "grpc":
                return joined(call, _ANY_BYTES)
            answer = call.result()
            return answer.meta, memoryview(answer.body)
        except grpc.RpcError as error:
            _raise(error)
        except grpc.FutureTimeoutError:
            raise TransferTimeoutError("no answer in time over gRPC") from None

    def close(self) -> None:
        """Close the channel; calls under way fail."""
        self._channel.close()


def in_chunks(frame: bytes, body: memoryview, chunk_bytes: int) -> Iterator[Chunk]:
    """A frame and its body as messages of a stream."""
    yield Chunk(meta=frame, wire_bytes=body.nbytes, data=bytes(body[:chunk_bytes]))
    for start in range(chunk_bytes, body.nbytes, chunk_bytes):
        yield Chunk(data=bytes(body[start : start + chunk_bytes]))


def joined(chunks: Iterator[Chunk], max_bytes: int) -> tuple[bytes, memoryview]:
    """Frame and body of a stream.

    Raises:
        ProtocolError: it has not the length that it states, or a larger one than is taken.
        NoRoomError: the machine has no headroom for it.
    """
    first = next(chunks, None)
    if first is None or first.wire_bytes > max_bytes:
        raise ProtocolError(
            f"a stream of {first.wire_bytes if first else 'nothing'}, at most {max_bytes} bytes are taken"
        )
    if len(first.data) == first.wire_bytes:
        return first.meta, memoryview(first.data)
    check_room(first.wire_bytes, "for a payload that a peer announced")
    body = np.empty(first.wire_bytes, np.uint8).data  # not touched before the bytes are there
    filled = min(len(first.data), len(body))
    body[:filled] = first.data[:filled]
    for chunk in chunks:
        end = filled + len(chunk.data)
        if end > len(body):
            raise ProtocolError(f"a stream of over the announced {len(body)} bytes; the peer is broken")
        body[filled:end] = chunk.data
        filled = end
    if filled < len(body):
        raise ProtocolError(f"a stream of {filled} bytes announced as {len(body)}; the peer is broken")
    return first.meta, body.toreadonly()


def _raise(error: grpc.RpcError) -> NoReturn:
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        raise UnknownConversation(f"the server was replaced ({error.details()})") from None
    raise_transfer_error(error)
