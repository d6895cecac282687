"""Unix sockets: connecting to a receiver, listening, and the loop that answers one message after the other."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from perfkit.errors import MethodUnavailableError
from perfkit.transfer.wire import ACKNOWLEDGED, ACKNOWLEDGEMENT, set_timeout

__all__ = ["BUFFER_BYTES", "answer_messages", "connect", "listen", "stop_listening"]

BUFFER_BYTES = 4 * 2**20
"""Asked of the kernel, which grants at most ``net.core.wmem_max``: fewer wake-ups for a large payload."""


_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)
_PAUSE_S = 0.05


def connect(folder: str, name: str, timeout_s: float) -> socket.socket:
    """Connect to what a receiver serves under `name`.

    Raises:
        MethodUnavailableError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(Path(folder, f"{name}.sock")))
    except OSError as error:
        connection.close()
        raise MethodUnavailableError(
            f"no receiver serves {name!r} in {folder} ({error.strerror or error}); is it running?"
        ) from None
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    set_timeout(connection, timeout_s)
    return connection


def listen(path: Path, serve_connection: Callable[[socket.socket], None]) -> socket.socket:
    """Listen at `path` (only this user may connect) and serve each connection in a thread of its own.

    Returns:
        The listening socket; `stop_listening` ends the accepting thread.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(64)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:
                if error.errno in _PASSING:
                    time.sleep(_PAUSE_S)
                    continue
                return  # `stop_listening`
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            threading.Thread(target=_serve_and_close, args=(connection, serve_connection), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener


def stop_listening(listener: socket.socket) -> None:
    """Take no more connections. Closing alone would leave the thread in `accept`, and the kernel accepting for it."""
    with contextlib.suppress(OSError):  # it was stopped before
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def _serve_and_close(connection: socket.socket, serve_connection: Callable[[socket.socket], None]) -> None:
    with connection:
        serve_connection(connection)


def answer_messages(connection: socket.socket, receive: Callable[[], int | None]) -> None:
    """Call `receive` for each message and acknowledge it with the value it returned, until the peer goes.

    `receive` returns None at the end of the connection. What goes wrong in it is reported to the sender, then the
    connection ends: after a broken message nobody knows where the next begins.
    """
    try:
        while (value := receive()) is not None:
            connection.send(ACKNOWLEDGEMENT.pack(0, value) if value else ACKNOWLEDGED)
    except (BrokenPipeError, ConnectionResetError):
        return  # the sender went while it was being served; nobody is left to tell
    except Exception as error:  # noqa: BLE001 - whatever it was, the sender is told, and only its connection ends
        text = f"{type(error).__name__}: {error}".encode()
        try:
            connection.sendall(ACKNOWLEDGEMENT.pack(len(text), 0) + text)
        except OSError:
            return
