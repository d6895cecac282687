"""The one thread of an engine: every now and then it lets the engine look at its files, its host and its outcomes."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import weakref
from typing import TYPE_CHECKING

from perfkit.errors import InputError

if TYPE_CHECKING:
    from perfkit.engine.control import Control

__all__ = ["Background", "check_interval"]

_STOP_WAIT_S = 10.0
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
    """

    def __init__(self, control: Control, interval_s: float) -> None:
        self.interval_s = interval_s
        self._control = weakref.ref(control, lambda _: self._wake.set())
        self._wake = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="perfkit-engine", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int | None:
        """The thread's number."""
        return self._thread.ident

    def wake(self) -> None:
        """Look now: a buffer fills, or a method failed."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread; a look that is under way is waited for, at most 10 s."""
        self._is_stopped = True
        self._wake.set()
        if self._thread is not threading.current_thread():  # a hook may close the engine
            self._thread.join(_STOP_WAIT_S)

    def _run(self) -> None:
        took_s = 0.0
        while True:
            self._wake.wait(max(self.interval_s - took_s, self.interval_s * _SHORTEST_PAUSE))
            self._wake.clear()
            control = self._control()
            if control is None or self._is_stopped:
                return
            started_s = time.monotonic()
            control.look(self._has_ended)
            del control  # or it would keep the engine until the next look
            took_s = time.monotonic() - started_s

    def _has_ended(self, pause_s: float) -> bool:
        """Wait in the middle of a look; True when the thread is to end."""
        with contextlib.suppress(ValueError):
            self._wake.wait(pause_s)
        return self._is_stopped
