"""Lanes: the rows of one thread on their way, taken without a lock.

A row takes these steps, and no other, in this order::

    try:
        lane.append(row)
    finally:  # a signal's handler may raise right behind the append
        lane.count = lane.cells[0] = lane.count + 1

`cells` is a place of the counter's page, so that the row is counted whatever happens to the process. Between the loads
and the stores of the last line, CPython runs neither a signal's handler nor another thread: it does so behind calls
and at jumps backwards only. `ValueError` says that the page has gone; the row is counted in `count` none the less.
"""

from __future__ import annotations

import collections
import weakref
from collections.abc import Callable, MutableSequence
from typing import Any

__all__ = ["Lane", "Token"]

_MASK = 2**64 - 1


class Token:
    """Lives as long as the thread that owns a lane: kept by a `threading.local` beside the lane."""

    __slots__ = ("__weakref__",)


class Lane:
    """A bounded buffer that one thread fills and one other empties; made by `Tally.open_lane`.

    Args:
        token: of the thread that fills it.
        count: rows that earlier lanes at its place have counted: the cell goes on from there.
        max_rows: rows that may wait; beyond, the oldest goes.
    """

    __slots__ = ("_owner", "append", "cells", "count", "half", "is_closed", "passed", "place", "rows", "wake_at")

    def __init__(self, token: Token, count: int, max_rows: int) -> None:
        self.rows: collections.deque[tuple[Any, ...]] = collections.deque(maxlen=max_rows)
        self.append: Callable[[tuple[Any, ...]], None] = self.rows.append
        self.count = self.passed = count
        self.cells: MutableSequence[int] | memoryview = [count]
        self.place = -1
        self.is_closed = False
        self.half = max(1, max_rows // 2)
        self.wake_at = count + self.half
        self._owner = weakref.ref(token)

    @property
    def has_ended(self) -> bool:
        """Its thread has ended: no row comes any more."""
        return self._owner() is None

    def fetch(self, limit: int) -> tuple[list[tuple[Any, ...]], int]:
        """Take the oldest rows out.

        Args:
            limit: how many at most.

        Returns:
            The rows, and how many older ones went because the lane was full. While its thread is at work the second may
            be too low by what is told the next time, never too high.
        """
        popleft = self.rows.popleft
        found = [popleft() for _ in range(min(limit, len(self.rows)))]
        self.passed += len(found)
        dropped = self.take_drops()
        self.wake_at = self.count + self.half
        return found, dropped

    def take_drops(self) -> int:
        """Rows that went because the lane was full, and were not told yet."""
        count = self.count  # before the length is looked at: a row that comes meanwhile must not look dropped
        dropped = max(0, count - self.passed - len(self.rows))
        self.passed += dropped
        return dropped

    def forget(self) -> None:
        """Keep no row from now on; what waits counts as dropped."""
        self.rows = collections.deque(maxlen=0)
        self.append = self.rows.append

    def count_in(self, cells: memoryview) -> None:
        """Go on to count in another cell."""
        self.cells = cells
        cells[0] = self.count & _MASK

    def count_apart(self) -> int:
        """Count in no page any more; the count that the page's cell was left with."""
        cells, self.cells = self.cells, [0]
        count = self.count
        if isinstance(cells, memoryview):
            cells.release()
        return count
