"""Threads in the background of a service take turns with it."""

from __future__ import annotations

import time

__all__ = ["Turns"]

_TURN_S = 100e-6
"""A step between two calls takes some 50 µs more: a thread keeps the interpreter for less than 200 µs at a time.
Shorter turns cost throughput: beside a busy thread, every one begins with a wait of 5 ms for the interpreter."""
_PAUSE_S = 20e-6


class Turns:
    """Let the service's threads have the interpreter whenever this one had it for long enough.

    Call it between steps of some 50 µs: most calls do nothing, and one in a few gives the interpreter up.
    """

    __slots__ = ("_since_s",)

    def __init__(self) -> None:
        self._since_s = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._since_s >= _TURN_S:
            time.sleep(_PAUSE_S)  # to give it up alone does not hand it over
            self._since_s = time.perf_counter()
