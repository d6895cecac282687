"""What became of the rows of this process, counted where a kill cannot erase it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import MutableSequence

from perfkit.journal.counter import ACCEPTED, COMMITTED, DROPPED, LANES_OFFSET, EpochCells
from perfkit.journal.lanes import Lane, Token

__all__ = ["Figures", "Tally"]

_MASK = 2**64 - 1


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
    few stores only, never while anything is encoded or written. Rows that come through lanes need no lock: every lane
    counts them in a cell of its own, and what is accepted is the sum.
    """

    __slots__ = (
        "_earlier", "_free", "_is_counted", "_lane_cells", "_lanes_before", "accepted", "cells", "committed", "dropped",
        "lanes", "lock",
    )  # fmt: skip

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.lock = threading.RLock()
        self.accepted = self.committed = self.dropped = 0
        """`accepted` is without what lanes count."""
        self.cells: MutableSequence[int] | memoryview = [0, 0, 0, 0]
        self.lanes: list[Lane] = []
        """One for every cell that was ever needed; those of `_free` have ended, their counts stay."""
        self._free: list[int] = []
        self._lane_cells: memoryview | None = None
        self._lanes_before = 0
        self._is_counted = False
        self._earlier = Figures(0, 0, 0)

    def accept(self, rows: int) -> None:
        """Count rows that were handed in."""
        with self.lock:
            self.accepted += rows
            self.cells[ACCEPTED] = self.accepted & _MASK

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

    def open_lane(self, token: Token, max_rows: int) -> Lane:
        """A lane for the thread that calls.

        Args:
            token: the lane has ended when it is gone.
            max_rows: rows that may wait in it.
        """
        with self.lock:
            if self._free:
                place = self._free.pop()
                lane = self.lanes[place] = Lane(token, self.lanes[place].count_apart(), max_rows)
                lane.place = place
            else:
                lane = Lane(token, 0, max_rows)
                self.lanes.append(lane)
                lane.place = self.lanes.index(lane)  # not its length before: a signal's handler may open one meanwhile
            self._count_in_page(lane)
            return lane

    def close_lane(self, lane: Lane) -> None:
        """A lane has ended, and is empty: its cell may go to another thread."""
        with self.lock:
            lane.forget()
            lane.is_closed = True
            self._free.append(lane.place)

    @property
    def open_lanes(self) -> int:
        """Lanes in use."""
        return len(self.lanes) - len(self._free)

    def count_late(self) -> None:
        """Count in the page what came through lanes for which it has no cell: call it now and then."""
        if self._lane_cells is not None and len(self.lanes) > len(self._lane_cells):
            with self.lock:
                self._store_offset()

    def figures(self) -> Figures:
        """The figures of the epoch under way."""
        with self.lock:
            return Figures(self.accepted + self._through_lanes(), self.committed, self.dropped)

    def total(self) -> Figures:
        """The figures since the journal was opened in this process, over all of its epochs."""
        with self.lock:
            now, before = self.figures(), self._earlier
            return Figures(
                before.accepted + now.accepted, before.committed + now.committed, before.dropped + now.dropped
            )

    def begin_epoch(self, cells: EpochCells) -> None:
        """Count on in the page of a slot.

        Args:
            cells: of a new epoch in its `Counter`, all 0. Rows under way belong to it from now on, and so do those that
                were dropped while there was no page to count them in.
        """
        with self.lock:
            if self._is_counted:
                self.end_epoch()
            self.cells, self._lane_cells, self._is_counted = cells.figures, cells.lanes, True
            # The offset first: it is 0 or less, so that after a kill in between too few are counted, not too many.
            self._store_offset()
            for lane in self.lanes:
                self._count_in_page(lane)
            self.cells[DROPPED], self.cells[ACCEPTED] = self.dropped, self.accepted & _MASK

    def end_epoch(self) -> Figures:
        """Stop to count in a page, and release it. Rows under way wait for the next epoch.

        Returns:
            The final figures of the epoch: nothing is under way in them.
        """
        with self.lock:
            earlier, through_lanes = self._earlier, sum([lane.count_apart() for lane in self.lanes])
            accepted = self.accepted + through_lanes - self._lanes_before
            final = Figures(self.committed + self.dropped, self.committed, self.dropped)
            under_way = accepted - final.accepted
            self._store_offset()
            self.cells[ACCEPTED] = (self.accepted - under_way) & _MASK
            for view in (self.cells, self._lane_cells):
                if isinstance(view, memoryview):
                    view.release()
            self._earlier = Figures(
                earlier.accepted + final.accepted,
                earlier.committed + final.committed,
                earlier.dropped + final.dropped,
            )
            self.accepted, self.committed, self.dropped = under_way, 0, 0
            self._lanes_before = through_lanes
            self.cells, self._lane_cells, self._is_counted = [0, 0, 0, 0], None, False
            return final

    def abandon_in_child(self) -> None:
        """Count from 0 in a forked child, and not in the parent's page."""
        for lane in self.lanes:
            lane.cells = [0]  # the fork may have come while a row was recorded, which goes on in the child
        self._begin()

    def _through_lanes(self) -> int:
        return sum([lane.count for lane in self.lanes]) - self._lanes_before

    def _count_in_page(self, lane: Lane) -> None:
        cells = self._lane_cells
        if cells is not None and lane.place < len(cells):
            lane.count_in(cells[lane.place : lane.place + 1])

    def _store_offset(self) -> None:
        late = 0 if self._lane_cells is None else sum([lane.count for lane in self.lanes[len(self._lane_cells) :]])
        self.cells[LANES_OFFSET] = (late - self._lanes_before) & _MASK
