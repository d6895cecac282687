"""One thread that looks whether an engine's files changed, and has them read again."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable

from perfkit.engine.loading import Files, Signature
from perfkit.errors import InputError

__all__ = ["Watcher", "check_interval"]

_SETTLE_S = 0.1
_MOST_LOOKS = 20
_STOP_WAIT_S = 10.0


def check_interval(interval_s: float) -> float:
    """An interval that can be waited for.

    Raises:
        InputError: it is not above 0, or endless.
    """
    if not 0 < interval_s < math.inf:
        raise InputError(f"interval_s == {interval_s!r}, must be above 0 and finite, such as 0.5")
    return float(interval_s)


class Watcher:
    """A daemon thread. It ends with `stop`, and when nobody holds the engine any more.

    Args:
        files: what to look at.
        seen: what they were like when they were last read.
        reload: a method of the engine, which is not kept alive: reads the files again, and raises nothing.
        interval_s: pause between two looks.
    """

    def __init__(self, files: Files, seen: Signature, reload: Callable[[], None], interval_s: float) -> None:
        self.interval_s = interval_s
        self._files, self._seen = files, seen
        self._reload = weakref.WeakMethod(reload)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perfkit-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a reload that is under way is waited for, at most 10 s."""
        self._stop.set()
        self._thread.join(_STOP_WAIT_S)

    def _run(self) -> None:
        while not self._stop.wait(self.interval_s) and self._reload() is not None:
            now = self._files.signature()
            if now != self._seen:
                now = self._settled(now)
                reload = self._reload()
                if reload is None or self._stop.is_set():
                    return
                self._seen = now
                reload()
                del reload  # or it would keep the engine until the next change

    def _settled(self, now: Signature) -> Signature:
        """Wait until nobody is writing: half a `perfkit.toml` may look like a whole one."""
        before = None
        for _ in range(_MOST_LOOKS):  # whoever writes without end is read as it is
            if now == before or self._stop.wait(min(self.interval_s, _SETTLE_S)):
                break
            before, now = now, self._files.signature()
        return now
