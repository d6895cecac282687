"""The control `control_ping`: a bare socket, 1 KiB there, one byte back, no perfkit code around it.

Controls are what a method is compared with, measured beside it in the same rounds.
"""

from __future__ import annotations

import socket
from typing import ClassVar

from perfkit.errors import PeerLostError
from perfkit.transfer.protocol import Encoded, Host, SenderOptions
from perfkit.transfer.registry import method
from perfkit.transfer.sockets import connect

__all__ = ["ControlPing"]


@method("control_ping")
class ControlPing:
    """A bare ping-pong over a Unix socket."""

    signallings: ClassVar = ("uds",)
    zero_copy: ClassVar = False
    max_bytes: ClassVar = 1024
    copies: ClassVar = 0

    @staticmethod
    def serve(host: Host) -> None:
        """Answer each kilobyte with a byte."""
        host.listen("control_ping", _pong)

    @staticmethod
    def connect(folder: str, options: SenderOptions) -> _Ping:
        """Connect to `_pong`."""
        return _Ping(folder, options.timeout_s)


def _pong(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(1024))
    while connection.recv_into(buffer, 1024, socket.MSG_WAITALL) == 1024:
        connection.send(b"x")


class _Ping:
    def __init__(self, folder: str, timeout_s: float) -> None:
        self._connection = connect(folder, "control_ping", timeout_s)

    def send(self, encoded: Encoded, flags: int = 0) -> int:
        assert encoded.body is not None
        self._connection.send(encoded.body)
        if not self._connection.recv(1):
            raise PeerLostError("the receiver died or closed the connection")
        return 0

    def close(self) -> None:
        self._connection.close()
