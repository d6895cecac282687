"""The control `control_grpc`: gRPC as its documentation shows it, a message with a `bytes` field and a stub."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import grpc

from perfkit.transfer.grpc_pb.transfer_pb2 import Acknowledgement, Payload
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method

__all__ = ["ControlGrpc"]

_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@method("control_grpc")
class ControlGrpc:
    """Hand-written grpcio."""

    signallings: ClassVar = ("uds",)
    zero_copy: ClassVar = False
    max_bytes: ClassVar = 2**31 - 2**20
    copies: ClassVar = 2
    _servers: ClassVar[list[grpc.Server]] = []

    @staticmethod
    def serve(host: Host) -> None:
        """A server of its own."""

        def send(request: Payload, context: Any) -> Acknowledgement:
            body = request.body
            return Acknowledgement(value=len(body))

        handler = grpc.unary_unary_rpc_method_handler(send, Payload.FromString, Acknowledgement.SerializeToString)
        server = grpc.server(ThreadPoolExecutor(8), options=_OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Control", {"Send": handler}),))
        server.add_insecure_port(f"unix:{Path(host.folder, 'control_grpc.sock').absolute()}")
        server.start()
        ControlGrpc._servers.append(server)  # a server that nobody holds stops

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> _Stub:
        """A channel and a stub."""
        return _Stub(folder)


class _Stub:
    def __init__(self, folder: str) -> None:
        address = f"unix:{Path(folder, 'control_grpc.sock').absolute()}"
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._send = self._channel.unary_unary(
            "/Control/Send",
            request_serializer=Payload.SerializeToString,
            response_deserializer=Acknowledgement.FromString,
        )

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        assert encoded.body is not None
        self._send(Payload(body=bytes(encoded.body)))
        return 0

    def close(self) -> None:
        self._channel.close()
