"""A method of one's own, as a user would write it: bytes over a Unix socket, length first."""

import socket
import struct
from pathlib import Path

from perfkit.errors import MethodUnavailableError, PeerLostError, TransferError, TransferTimeoutError
from perfkit.transfer.registry import method

PREFIX = struct.Struct("<QQQ")  # flags, length of the description, length of the body
ANSWER = struct.Struct("<?Q")


@method("own")
class Own:
    signallings, zero_copy, max_bytes, copies = ("uds",), False, None, 2

    @staticmethod
    def serve(host):
        def serve_connection(connection):
            stream = connection.makefile("rwb")
            while prefix := stream.read(PREFIX.size):
                flags, meta_bytes, wire_bytes = PREFIX.unpack(prefix)
                meta, body = stream.read(meta_bytes), stream.read(wire_bytes)
                try:
                    stream.write(ANSWER.pack(True, host.deliver(meta, memoryview(body), flags)))
                except TransferError as error:
                    text = f"{type(error).__name__}: {error}".encode()
                    stream.write(ANSWER.pack(False, len(text)) + text)
                stream.flush()

        host.listen("own", serve_connection)

    @staticmethod
    def connect(folder, options):
        return OwnSender(folder, options.timeout_s)


class OwnSender:
    def __init__(self, folder, timeout_s):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(timeout_s)
        try:
            self.connection.connect(str(Path(folder, "own.sock")))
        except OSError:
            self.connection.close()
            raise MethodUnavailableError("no receiver; is it running?") from None
        self.answers = self.connection.makefile("rb")

    def send(self, encoded, flags=0):
        try:
            prefix = PREFIX.pack(flags, len(encoded.meta), encoded.wire_bytes)
            self.connection.sendall(prefix + encoded.meta)
            self.connection.sendall(encoded.to_view())
            answer = self.answers.read(ANSWER.size)
        except TimeoutError:
            raise TransferTimeoutError("the receiver is silent") from None
        except OSError:
            answer = b""
        if len(answer) < ANSWER.size:
            raise PeerLostError("the receiver died")
        ok, value = ANSWER.unpack(answer)
        if not ok:
            raise TransferError(self.answers.read(value).decode())
        return value

    def close(self):
        self.answers.close()
        self.connection.close()
