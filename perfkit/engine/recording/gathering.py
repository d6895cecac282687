"""Gather the rows of all threads: for the engine, which learns from them, and for the journal, which keeps them."""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perfkit.engine.recording.rows import Facts, checked_chosen, checked_outcomes
from perfkit.journal.lanes import Lane
from perfkit.journal.tally import Tally

__all__ = ["Gatherer"]

_ROWS_AT_ONCE = 250
"""What takes some 100 µs to be taken and checked."""
_OUTCOME_VALUES = 7

Row = tuple[Any, ...]


class Gatherer:
    """Empties the lanes of a recorder; called by the engine's thread and by the journal's, whichever comes first.

    Args:
        max_rows: rows of each table that may wait for the journal, and outcomes that may wait for the engine; beyond,
            the oldest go. What does not reach the journal is counted as dropped.
        decision_share: share of the outcomes whose decisions are kept as rows of ``decisions``, 0 to 1.
        is_journalled: the journal fetches what is gathered.
    """

    def __init__(self, max_rows: int, decision_share: float, *, is_journalled: bool) -> None:
        self.tally = Tally()
        self._max_rows = max_rows
        self._decision_share = decision_share
        self._is_journalled = is_journalled
        self.begin()

    def begin(self) -> None:
        """Begin with nothing, as in a forked child."""
        self.lock = threading.RLock()
        self.failures = 0
        self.last_error = ""
        self._transfers: collections.deque[Row] = collections.deque()
        self._decisions: collections.deque[Row] = collections.deque()
        self._outcomes: collections.deque[Row] = collections.deque(maxlen=self._max_rows)
        self._facts = Facts()

    def take(self, limit: int, pause: Callable[[], None]) -> list[Row]:
        """Outcomes that were not taken yet, oldest first within a thread."""
        outcomes = self._outcomes
        while len(outcomes) < limit and self._gather(pause):
            pause()
        with self.lock:
            return [outcomes.popleft() for _ in range(min(limit, len(outcomes)))]

    def fetch(self, limit: int, pause: Callable[[], None]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Rows for the journal, as columns."""
        while len(self._transfers) + len(self._decisions) < limit and self._gather(pause):
            pause()
        with self.lock:
            transfers = _popped(self._transfers, limit)
            decisions = _popped(self._decisions, limit - len(transfers))
        found = []
        if transfers:
            found.append(("transfers", self._facts.transfers(transfers, pause)))
        if decisions:
            found.append(("decisions", self._facts.decisions(decisions, pause)))
        return found

    def count_drops(self) -> None:
        """Count what went because a lane was full, up to now."""
        with self.lock:
            self.tally.drop(sum([lane.take_drops() for lane in self.tally.lanes]))

    def forget(self) -> None:
        """Give up all rows that are still in a lane, and all that come."""
        with self.lock:
            for lane in self.tally.lanes:
                lane.forget()
        self.count_drops()

    def failed(self, errors: Sequence[str]) -> None:
        """Note rows that cannot be kept."""
        with self.lock:
            self.failures += len(errors)
            self.last_error = errors[-1]

    def _gather(self, pause: Callable[[], None]) -> bool:
        """Take some rows out of every lane; whether there were any."""
        moved = False
        for lane in tuple(self.tally.lanes):
            if not lane.is_closed:
                with self.lock:
                    moved = self._gather_from(lane, pause) or moved
                if moved:
                    pause()
        self.tally.count_late()
        return moved

    def _gather_from(self, lane: Lane, pause: Callable[[], None]) -> bool:
        has_ended = lane.has_ended  # before it is looked into: then no row comes behind
        rows, dropped = lane.fetch(_ROWS_AT_ONCE)
        if dropped:
            self.tally.drop(dropped)
        if rows:
            outcomes = [row for row in rows if len(row) == _OUTCOME_VALUES]
            self._pass_on_chosen([row for row in rows if len(row) != _OUTCOME_VALUES], pause)
            self._pass_on_outcomes(outcomes, pause)
        if has_ended and not lane.rows and not lane.is_closed:
            self.tally.close_lane(lane)
        return bool(rows)

    def _pass_on_outcomes(self, rows: Sequence[Row], pause: Callable[[], None]) -> None:
        if not rows:
            return
        outcomes, wrong = checked_outcomes(rows, pause)
        if wrong:
            self.tally.drop(len(wrong))
            self.failed(wrong)
        self._outcomes.extend(outcomes)
        if not self._is_journalled:
            self.tally.commit(len(outcomes))
            return
        self._keep(self._transfers, outcomes)
        if self._decision_share > 0:
            share, chance = self._decision_share, random.random
            chosen = [(*row[:3], row[4], row[1].rule) for row in outcomes if chance() < share]
            self.tally.accept(len(chosen))
            self._keep(self._decisions, chosen)

    def _pass_on_chosen(self, rows: Sequence[Row], pause: Callable[[], None]) -> None:
        if not rows:
            return
        chosen, wrong = checked_chosen(rows, pause)
        if wrong:
            self.tally.drop(len(wrong))
            self.failed(wrong)
        self._keep(self._decisions, chosen)

    def _keep(self, waiting: collections.deque[Row], rows: Sequence[Row]) -> None:
        waiting.extend(rows)
        if len(waiting) > self._max_rows:
            self.tally.drop(len(_popped(waiting, len(waiting) - self._max_rows)))


def _popped(waiting: collections.deque[Row], limit: int) -> list[Row]:
    return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
