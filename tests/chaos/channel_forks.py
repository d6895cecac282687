"""Processes that are forked, spoken to over a wire, and killed; see `channel_harness.py`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from channel_parties import Wire, begin

ANSWER_S = 40.0
"""A party that does not answer its judge for so long hangs as a whole."""
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class Party:
    """A process that was forked, and the wire to it."""

    def __init__(self, place: Path, work: Callable[[Wire], None]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _live(place, theirs, parent, work)
        theirs.close()
        self._connection = ours
        self._connection.settimeout(ANSWER_S)
        self.is_dead = False

    def ask(self, *question: Any) -> Any:
        """What it answers; None when it does not."""
        self.send(*question)
        return self.answer()

    def send(self, *question: Any) -> None:
        """Tell it something."""
        with contextlib.suppress(OSError):
            self._connection.send(json.dumps(question).encode())

    def answer(self) -> Any:
        """Its next answer; None when it gives none."""
        try:
            message = self._connection.recv(2**18)
        except (TimeoutError, ConnectionResetError):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGUSR1)  # it writes down where it hangs
                time.sleep(0.2)
            return None
        return json.loads(message) if message else None

    def kill(self) -> None:
        """End it the hard way, and bury it."""
        if not self.is_dead:
            self.is_dead = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._connection.close()

    def close(self) -> None:
        """Let it end by itself."""
        self.ask("close")
        self.kill()


def _live(place: Path, connection: socket.socket, parent: int, work: Callable[[Wire], None]) -> NoReturn:
    """A child's whole life."""
    try:
        if LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) or os.getppid() != parent:
            os._exit(1)
        keep = connection.fileno()
        os.closerange(3, keep)  # the wires of others
        os.closerange(keep + 1, 4096)
        begin(place / "failures")
        work(Wire(connection))
    except BaseException:  # noqa: BLE001 - noted, and told by the parent
        with (place / "failures").open("a") as file:
            file.write(traceback.format_exc())
    finally:
        os._exit(0)


def beat(place: Path) -> None:
    """Note how long this machine lets a process wait that wants to run: sends wait as long, and are not to blame."""
    quickest_s = 1.0
    with (place / "stalls").open("w", buffering=1) as file:
        while True:
            begun_s = time.monotonic()
            time.sleep(0.005)
            for _ in range(20_000):
                pass
            now_s = time.monotonic()
            quickest_s = min(quickest_s, now_s - begun_s)
            stalled_s = now_s - begun_s - quickest_s
            if stalled_s > 0.005:
                file.write(f"{begun_s} {stalled_s}\n")
