"""The receiving process: serves every method in one folder until its parent goes.

``python -m perfkit.transfer.receiver FOLDER [--methods uds,shm_pool] [--import MODULE]`` prints a line of JSON once it
listens and ends when its standard input is closed, which the kernel does for a parent that is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import PeerLostError, TransferTimeoutError
from perfkit.transfer.delivery import make_deliver
from perfkit.transfer.process import cpu_time_ns, memory_usage, reset_peak_memory
from perfkit.transfer.registry import get_method, method_names
from perfkit.transfer.sockets import answer_messages, connect, listen, stop_listening
from perfkit.transfer.wire import ACKNOWLEDGEMENT, read_acknowledgement, send_small

if TYPE_CHECKING:
    import grpc

__all__ = ["ReceiverHost", "ReceiverProcess", "UsageConnection", "serve", "start_receiver"]

_START_TIMEOUT_S = 60.0
_FOLDER_PREFIX = "perfkit-"


class ReceiverHost:
    """Listens for all methods that are served in `folder`; see `perfkit.transfer.protocol.Host`."""

    def __init__(self, folder: str, *, allow_unsealed: bool = False, allow_pickle: bool = False) -> None:
        self.folder, self.allow_unsealed = folder, allow_unsealed
        self.deliver = make_deliver(allow_pickle=allow_pickle)
        self._listeners: list[socket.socket] = []
        self._announcers: dict[str, Callable[[bytes, bytes], int]] = {}
        self._grpc: grpc.Server | None = None

    def listen(self, name: str, serve_connection: Callable[[socket.socket], None]) -> None:
        """See `Host`."""
        self._listeners.append(listen(Path(self.folder, f"{name}.sock"), serve_connection))

    def announce_over_grpc(self, name: str, announce: Callable[[bytes, bytes], int]) -> None:
        """See `Host`."""
        self._announcers[name] = announce
        if importlib.util.find_spec("grpc"):
            self.serve_grpc()

    def serve_grpc(self) -> None:
        """See `Host`."""
        from perfkit.transfer.grpc_serving import start_grpc

        if self._grpc is None:
            self._grpc = start_grpc(self.folder, self.deliver, self._announcers)

    def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners:
            stop_listening(listener)
        if self._grpc is not None:
            self._grpc.stop(grace=None).wait()


# --- usage: what the receiver spent, asked for between two batches ---------------------------------------------------

_ASK_CPU, _ASK_MEMORY, _RESET_PEAK = b"c", b"m", b"r"


def _serve_usage(connection: socket.socket) -> None:
    question = memoryview(bytearray(1))

    def receive() -> int | None:
        if connection.recv_into(question) == 0:
            return None
        if question == _ASK_CPU:
            return cpu_time_ns()
        if question == _RESET_PEAK:
            reset_peak_memory()
            return memory_usage()[0]
        return memory_usage()[1]

    answer_messages(connection, receive)


class UsageConnection:
    """Asks a receiver what it spent."""

    def __init__(self, folder: str, timeout_s: float = 30.0) -> None:
        self._connection = connect(folder, "usage", timeout_s)

    def cpu_time_ns(self) -> int:
        """Processor time of the receiver so far."""
        return self._ask(_ASK_CPU)

    def reset_peak(self) -> int:
        """Begin a new peak; returns the resident bytes now."""
        return self._ask(_RESET_PEAK)

    def peak_bytes(self) -> int:
        """Peak of the receiver's resident bytes since `reset_peak`."""
        return self._ask(_ASK_MEMORY)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, question: bytes) -> int:
        send_small(self._connection, question)
        return read_acknowledgement(self._connection, bytearray(ACKNOWLEDGEMENT.size))


# --- the process -----------------------------------------------------------------------------------------------------


def serve(
    folder: str, methods: Sequence[str], *, allow_unsealed: bool = False, allow_pickle: bool = False
) -> ReceiverHost:
    """Serve `methods` in `folder` from this process."""
    host = ReceiverHost(folder, allow_unsealed=allow_unsealed, allow_pickle=allow_pickle)
    host.listen("usage", _serve_usage)
    for name in methods:
        get_method(name).implementation.serve(host)
    return host


class ReceiverProcess:
    """A receiver that runs; a context manager that ends it."""

    def __init__(self, folder: str, process: subprocess.Popen[bytes]) -> None:
        self.folder, self._process = folder, process

    @property
    def pid(self) -> int:
        """Process id of the receiver."""
        return self._process.pid

    def kill(self) -> None:
        """End it the hard way and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Ask it to end, then insist."""
        assert self._process.stdin is not None  # asked for as a pipe, as is the other
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()


@contextlib.contextmanager
def start_receiver(
    methods: Sequence[str],
    *,
    modules: Sequence[str] = (),
    allow_unsealed: bool = False,
    allow_pickle: bool = False,
) -> Iterator[ReceiverProcess]:
    """Start a receiver of `methods` in a process of its own and a fresh folder; end both on the way out.

    Args:
        methods: what it serves.
        modules: to import first, for methods that are not built in.
        allow_unsealed: accept shared memory that is not sealed (see `open_descriptor`).
        allow_pickle: decode pickled payloads.

    Raises:
        PeerLostError: it died before it listened; the message carries what it wrote.
        TransferTimeoutError: it did not listen in time.
    """
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX, dir=_socket_folder(), ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable,
            "-m",
            "perfkit.transfer.receiver",
            folder,
            "--methods",
            ",".join(methods),
            "--remove-folder",
        ]
        command += [part for module in modules for part in ("--import", module)]
        command += ["--allow-unsealed"] if allow_unsealed else []
        command += ["--allow-pickle"] if allow_pickle else []
        errors = Path(folder, "errors.txt")
        with errors.open("wb") as error_file:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=error_file, start_new_session=True
            )
        receiver = ReceiverProcess(folder, process)
        try:
            _wait_until_ready(process, errors)
            yield receiver
        finally:
            receiver.close()


def _socket_folder() -> str:
    """The temporary folder, or ``/tmp`` where its name is too long for a Unix socket's address (107 bytes)."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 60 else "/tmp"


def _wait_until_ready(process: subprocess.Popen[bytes], errors: Path) -> None:
    import select

    assert process.stdout is not None  # asked for as a pipe
    ready, _, _ = select.select([process.stdout], [], [], _START_TIMEOUT_S)
    if not ready:
        raise TransferTimeoutError(
            f"the receiver did not listen within {_START_TIMEOUT_S:.0f} s; is the machine overloaded?"
        )
    if not process.stdout.readline():
        text = errors.read_text(errors="replace").strip().splitlines()
        raise PeerLostError(f"the receiver died at its start: {text[-1] if text else 'it said nothing'}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(prog="python -m perfkit.transfer.receiver", description=__doc__)
    parser.add_argument("folder", help="where the sockets go; only this user may enter it")
    parser.add_argument("--methods", default=",".join(method_names()), help="methods to serve, separated by commas")
    parser.add_argument("--import", dest="modules", action="append", default=[], help="module that registers a method")
    parser.add_argument("--remove-folder", action="store_true", help="delete the folder and all in it at the end")
    parser.add_argument("--allow-unsealed", action="store_true", help="accept shared memory that is not sealed")
    parser.add_argument("--allow-pickle", action="store_true", help="decode pickled payloads: they run their code here")
    options: Any = parser.parse_args(arguments)
    for module in options.modules:
        importlib.import_module(module)
    host = serve(
        options.folder,
        options.methods.split(","),
        allow_unsealed=options.allow_unsealed,
        allow_pickle=options.allow_pickle,
    )
    gc.collect()
    gc.freeze()  # what was loaded by now lives as long as the process: no collection need look at it
    sys.stdout.write(json.dumps({"listening": host.folder, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    host.close()
    if options.remove_folder:
        _remove_folders(Path(host.folder))
    os._exit(0)  # gRPC's threads would hold a normal exit up


def _remove_folders(folder: Path) -> None:
    """Parents that were killed cannot remove the folder, nor the one that a launch put around it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.name.startswith(_FOLDER_PREFIX):
        with contextlib.suppress(OSError):  # not empty: its owner lives
            folder.parent.rmdir()


if __name__ == "__main__":
    main()
