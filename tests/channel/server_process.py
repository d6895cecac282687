"""A server with the handlers of the tests: `server_process.py ADDRESS HANDLER [ARENA_BYTES]`."""

from __future__ import annotations

import os
import sys
import time
import zlib
from typing import Any

import numpy as np

import perfkit

kept: list[Any] = []


def digest(payload: Any) -> int:
    """What arrived, as a number."""
    return zlib.crc32(np.ascontiguousarray(payload) if isinstance(payload, np.ndarray) else payload)


def echo(payload: Any) -> Any:
    """The payload itself."""
    return payload


def checked(payload: Any) -> dict[str, Any]:
    """Length, digest and process."""
    return {"digest": digest(payload), "bytes": memoryview(payload).nbytes, "pid": os.getpid()}


def slow(payload: Any, request: perfkit.Request) -> str:
    """Works until it is cancelled, for 30 s at most."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if request.is_cancelled:
            return "cancelled"
        time.sleep(0.005)
    return "done"


def sleepy(payload: Any) -> str:
    """Answers after a third of a second."""
    time.sleep(0.3)
    return "slept"


def keep(payload: Any) -> int:
    """Keeps what it gets, until it gets the text 'drop'; returns how much it keeps."""
    if isinstance(payload, str):
        kept.clear()
    else:
        kept.append(payload)
    return np.int64(len(kept)).reshape(1)


def forking(payload: Any) -> int:
    """Leaves a child that outlives the server by some seconds; then hangs."""
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.05)
        time.sleep(5)
        os._exit(0)
    time.sleep(30)
    return 0


def late(payload: Any) -> Any:
    """Answers with a view of what it got, once it is late."""
    time.sleep(0.05)
    return payload


def main() -> None:
    """Serve."""
    address, name, *options = sys.argv[1:]
    arena_bytes = options[0] if options else "1GiB"
    with perfkit.serve(globals()[name], address, arena_bytes=arena_bytes, allow_pickle=name == "echo"):
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
    os._exit(0)  # gRPC's threads would hold a normal exit up


if __name__ == "__main__":
    main()
