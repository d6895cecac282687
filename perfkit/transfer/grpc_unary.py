"""Method ``grpc``: the payload in one protobuf message of one unary call, as a gRPC service would send it."""

from __future__ import annotations

from typing import ClassVar

import grpc

from perfkit.transfer.grpc_common import (
    MAX_MESSAGE_BYTES,
    SERVICE,
    check_size,
    open_channel,
    raise_transfer_error,
)
from perfkit.transfer.grpc_pb.transfer_pb2 import Acknowledgement, Payload
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method

__all__ = ["Grpc", "GrpcSender"]


@method("grpc")
class Grpc:
    """One unary gRPC call per payload."""

    signallings: ClassVar = ("uds",)
    zero_copy: ClassVar = False
    max_bytes: ClassVar = MAX_MESSAGE_BYTES
    copies: ClassVar = 3

    @staticmethod
    def serve(host: Host) -> None:
        """Serve ``Send``."""
        host.serve_grpc()

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> GrpcSender:
        """Open a channel to the receiver in `folder`."""
        return GrpcSender(folder, options)


class GrpcSender:
    """Sends each payload as one message over a channel that is reused."""

    def __init__(self, folder: str, options: SenderOptions) -> None:
        self._channel = open_channel(folder, options.timeout_s)
        self._timeout_s = options.timeout_s
        self._send = self._channel.unary_unary(
            f"/{SERVICE}/Send",
            request_serializer=Payload.SerializeToString,
            response_deserializer=Acknowledgement.FromString,
        )

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        """See `perfkit.transfer.protocol.Sender`."""
        check_size(encoded.wire_bytes)
        body = encoded.to_bytes()
        try:
            reply = self._send(Payload(meta=encoded.meta, body=body, flags=flags), timeout=self._timeout_s)
        except grpc.RpcError as error:
            raise_transfer_error(error)
        return int(reply.value)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()
