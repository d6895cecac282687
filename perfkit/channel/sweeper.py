"""What has to happen while nobody sends: telling peers of released blocks, hearing of theirs, burying dead ones.

One thread for all channels and servers of a process, started when a view first outlives its request. It sleeps while
there is nothing to do, and wakes at most fifty times a second.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import Protocol

__all__ = ["Swept", "ensure_sweeper", "sweep_soon"]

_log = logging.getLogger("perfkit")
_TURN_S = 0.02
_LONGEST_TURN_S = 0.5


class Swept(Protocol):
    """Something that has work left when its users are idle."""

    is_swept: bool
    """Whether the sweeper knows already; set by `sweep_soon`, cleared by the sweeper."""

    def sweep(self) -> bool:
        """Do what can be done without waiting; True when nothing is left. Raises nothing."""


_wishes: queue.SimpleQueue[Swept] = queue.SimpleQueue()  # its put() is safe in a finalizer, whatever that interrupts
_thread: threading.Thread | None = None
_lock = threading.Lock()


def ensure_sweeper() -> None:
    """Start the thread; not in a finalizer, which calls `sweep_soon`."""
    global _thread
    if _thread is None:
        with _lock:
            if _thread is None:
                thread = threading.Thread(target=_run, name="perfkit-sweeper", daemon=True)
                thread.start()
                _thread = thread


def sweep_soon(swept: Swept) -> None:
    """Have `swept` looked at soon, and again until nothing is left."""
    if not swept.is_swept:
        swept.is_swept = True
        _wishes.put(swept)


def _run() -> None:
    while True:
        waiting = {_wishes.get()}
        turn_s = _TURN_S
        while waiting:
            time.sleep(turn_s)
            turn_s = min(turn_s * 1.5, _LONGEST_TURN_S)
            while not _wishes.empty():
                waiting.add(_wishes.get())
                turn_s = _TURN_S
            waiting = {swept for swept in waiting if not _is_done(swept)}


def _is_done(swept: Swept) -> bool:
    swept.is_swept = False  # first: what comes up from here on is wished for anew
    try:
        is_done = swept.sweep()
    except Exception:  # noqa: BLE001 - others still need the thread; what failed is tried when it is asked for again
        _log.exception("perfkit's sweeper could not look after a connection")
        return True
    if not is_done:
        swept.is_swept = True
    return is_done


def _after_fork_in_child() -> None:
    global _thread, _wishes, _lock
    _thread, _wishes, _lock = None, queue.SimpleQueue(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
