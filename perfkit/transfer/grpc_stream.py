"""Method ``grpc_stream``: the payload in chunks of one client-streaming call; no 2 GiB limit, less memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import grpc

from perfkit.transfer.grpc_common import SERVICE, open_channel, raise_transfer_error
from perfkit.transfer.grpc_pb.transfer_pb2 import Acknowledgement, Chunk
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method

__all__ = ["GrpcStream", "GrpcStreamSender"]


@method("grpc_stream")
class GrpcStream:
    """One client-streaming gRPC call per payload, in chunks."""

    signallings: ClassVar = ("uds",)
    zero_copy: ClassVar = False
    max_bytes: ClassVar = None
    copies: ClassVar = 3

    @staticmethod
    def serve(host: Host) -> None:
        """Serve ``Stream``."""
        host.serve_grpc()

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> GrpcStreamSender:
        """Open a channel to the receiver in `folder`."""
        return GrpcStreamSender(folder, options)


class GrpcStreamSender:
    """Streams each payload over a channel that is reused."""

    def __init__(self, folder: str, options: SenderOptions) -> None:
        self._channel = open_channel(folder, options.timeout_s)
        self._timeout_s, self._chunk_bytes = options.timeout_s, options.chunk_bytes
        self._stream = self._channel.stream_unary(
            f"/{SERVICE}/Stream",
            request_serializer=Chunk.SerializeToString,
            response_deserializer=Acknowledgement.FromString,
        )

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        """See `perfkit.transfer.protocol.Sender`."""
        body = encoded.to_view()
        try:
            reply = self._stream(_chunks(encoded, body, flags, self._chunk_bytes), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise_transfer_error(error)
        return int(reply.value)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _chunks(encoded: Encoded, body: memoryview, flags: int, chunk_bytes: int) -> Iterator[Chunk]:
    wire_bytes = encoded.wire_bytes
    yield Chunk(meta=encoded.meta, flags=flags, wire_bytes=wire_bytes, data=bytes(body[:chunk_bytes]))
    for start in range(chunk_bytes, wire_bytes, chunk_bytes):
        yield Chunk(data=bytes(body[start : start + chunk_bytes]))
