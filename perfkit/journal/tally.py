"""What became of the rows of this process, counted where a kill cannot erase it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import MutableSequence

from perfkit.journal.counter import ACCEPTED, COMMITTED, DROPPED

__all__ = ["Figures", "Tally"]


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """Rows handed in, made durable, refused. What they leave is on its way."""

    accepted: int
    committed: int
    dropped: int

    @property
    def under_way(self) -> int:
        """Rows that are buffered or being committed."""
        return self.accepted - self.committed - self.dropped


class Tally:
    """The figures of the epoch under way, kept in step with the slot's `Counter`, and the sum of earlier ones.

    A row gets its number when it is committed: the figures alone decide which, so that every row that was dropped
    leaves a gap, and rows under way can move to another epoch.

    `lock` is reentrant because a row may be offered by a signal handler, or when garbage is collected. It is held for a
    few stores only, never while anything is encoded or written.
    """

    __slots__ = ("_earlier", "_is_counted", "accepted", "cells", "committed", "dropped", "lock")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self.accepted = self.committed = self.dropped = 0
        self.cells: MutableSequence[int] | memoryview = [0, 0, 0]
        self._is_counted = False
        self._earlier = Figures(0, 0, 0)

    def accept(self, rows: int) -> None:
        """Count rows that were handed in."""
        with self.lock:
            self.accepted += rows
            self.cells[ACCEPTED] = self.accepted

    def drop(self, rows: int) -> None:
        """Count rows that were handed in and are refused."""
        with self.lock:
            self.dropped += rows
            self.cells[DROPPED] = self.dropped

    def commit(self, rows: int) -> None:
        """Count rows that were handed in and are durable."""
        with self.lock:
            self.committed += rows
            self.cells[COMMITTED] = self.committed

    def figures(self) -> Figures:
        """The figures of the epoch under way."""
        with self.lock:
            return Figures(self.accepted, self.committed, self.dropped)

    def total(self) -> Figures:
        """The figures since the journal was opened in this process, over all of its epochs."""
        with self.lock:
            now, before = self.figures(), self._earlier
            return Figures(
                before.accepted + now.accepted, before.committed + now.committed, before.dropped + now.dropped
            )

    def begin_epoch(self, cells: memoryview) -> None:
        """Count on in the page of a slot.

        Args:
            cells: the figures of a new epoch in its `Counter`, all 0. Rows under way belong to it from now on, and so
                do those that were dropped while there was no page to count them in.
        """
        with self.lock:
            if self._is_counted:
                self.end_epoch()
            cells[DROPPED], cells[ACCEPTED] = self.dropped, self.accepted
            self.cells, self._is_counted = cells, True

    def end_epoch(self) -> Figures:
        """Stop to count in a page, and release it. Rows under way wait for the next epoch.

        Returns:
            The final figures of the epoch: nothing is under way in them.
        """
        with self.lock:
            under_way = self.figures().under_way
            self.accepted -= under_way
            self.cells[ACCEPTED] = self.accepted
            final, total = self.figures(), self.total()
            if isinstance(self.cells, memoryview):
                self.cells.release()
            self._earlier = total
            self.accepted, self.committed, self.dropped = under_way, 0, 0
            self.cells, self._is_counted = [under_way, 0, 0], False
            return final

    def abandon_in_child(self) -> None:
        """Count from 0 in a forked child, and not in the parent's page."""
        self._begin()
