"""The one thread of an engine: every now and then it lets the engine look at its files, its host and its outcomes."""

from __future__ import annotations

import math
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING

from perfkit.errors import InputError

if TYPE_CHECKING:
    from perfkit.engine.control import Control

__all__ = ["Background", "check_interval"]

_STOP_WAIT_S = 10.0
_SHORTEST_WAIT_S = 0.02
"""Between two looks, however often the thread is woken: every new thread of a service wakes it."""
_SHORTEST_PAUSE = 0.1
"""Of the interval, after a look that took long."""


def check_interval(interval_s: float) -> float:
    """An interval that can be waited for.

    Raises:
        InputError: it is not above 0, or endless.
    """
    if not 0 < interval_s < math.inf:
        raise InputError(f"interval_s == {interval_s!r}, must be above 0 and finite, such as 0.25")
    return float(interval_s)


class Background:
    """A daemon thread. It ends with `stop`, and when nobody holds the engine or one of its bindings any more.

    Args:
        control: what looks; it is not kept alive.
        interval_s: from one look to the next, however long it takes.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(self, control: Control, interval_s: float) -> None:
        self.interval_s = interval_s
        # SimpleQueue: its put() may be called by a signal handler or a finalizer while another put() is under way.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._end: queue.SimpleQueue[None] = queue.SimpleQueue()  # apart: what wakes must not cut a wait short
        self._control = weakref.ref(control, lambda _: self.wake())
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="perfkit-engine", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int | None:
        """The thread's number."""
        return self._thread.ident

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Look soon: a buffer fills, or a method failed."""
        if self._bell.empty():  # one that rings already is heard after whatever led here
            self._bell.put(None)

    def stop(self) -> None:
        """End the thread; a look that is under way is waited for, at most 10 s."""
        self._is_stopped = True
        self._end.put(None)
        self.wake()
        if self._thread is not threading.current_thread():  # a hook may close the engine
            self._thread.join(_STOP_WAIT_S)

    def _run(self) -> None:
        took_s = 0.0
        while True:
            self._wait(max(self.interval_s - took_s, self.interval_s * _SHORTEST_PAUSE))
            control = self._control()
            if control is None or self._is_stopped:
                return
            started_s = time.monotonic()
            control.look(self._has_ended)
            del control  # or it would keep the engine until the next look
            took_s = time.monotonic() - started_s

    def _wait(self, pause_s: float) -> None:
        """Wait until it is time to look, or until somebody rings, but never for less than the shortest wait."""
        _taken(self._end, min(pause_s, _SHORTEST_WAIT_S))
        if self._is_stopped or self._control() is None:
            return
        if pause_s > _SHORTEST_WAIT_S:
            _taken(self._bell, pause_s - _SHORTEST_WAIT_S)
        while _taken(self._bell, 0):
            pass

    def _has_ended(self, pause_s: float) -> bool:
        """Wait in the middle of a look; True when the thread is to end."""
        if not self._is_stopped:
            _taken(self._end, max(pause_s, 0.0))
        return self._is_stopped


def _taken(bell: queue.SimpleQueue[None], timeout_s: float) -> bool:
    """Wait for a ring at most so long; whether there was one."""
    try:
        bell.get(timeout=min(timeout_s, threading.TIMEOUT_MAX))
    except queue.Empty:
        return False
    return True
