"""Gather the rows of all threads: for the engine, which learns from them, and for the journal, which keeps them."""

from __future__ import annotations

import collections
import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perfkit.engine.recording.rows import (
    OUTCOME_VALUES,
    Facts,
    Row,
    checked_chosen,
    checked_outcomes,
    with_moments,
)
from perfkit.journal.lanes import Lane
from perfkit.journal.tally import Tally

__all__ = ["Gatherer"]

_ROWS_AT_ONCE = 100
"""What takes some 70 µs to be taken and checked."""
_MOST_PASSED_OVER = 2.0**62


class Gatherer:
    """Empties the lanes of a recorder; called by the engine's thread and by the journal's, whichever comes first.

    Args:
        max_rows: rows of each table that may wait for the journal, and outcomes that may wait for the engine, times the
            most threads there were; beyond, the oldest go. What does not reach the journal is counted as dropped.
        decision_share: share of the outcomes whose decisions are kept as rows of ``decisions``, 0 to 1.
        available_bytes: tells the memory that the host had left in the last look; None where nobody looked.
        is_journalled: the journal fetches what is gathered.
    """

    def __init__(
        self,
        max_rows: int,
        decision_share: float,
        available_bytes: Callable[[], int | None],
        *,
        is_journalled: bool,
    ) -> None:
        self.tally = Tally()
        self._available_bytes = available_bytes
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
        self._outcomes: collections.deque[Row] = collections.deque()
        self._facts = Facts()
        self._passed_over = self._draw() if self._decision_share > 0 else 0

    def take(self, limit: int, pause: Callable[[], None]) -> list[Row]:
        """Outcomes that were not taken yet, oldest first within a thread."""
        outcomes = self._outcomes
        while len(outcomes) < limit and self._gather(pause):
            pause()
        found: list[Row] = []
        while len(found) < limit and outcomes:
            with self.lock:
                found += with_moments(_popped(outcomes, min(_ROWS_AT_ONCE, limit - len(found))))
            pause()
        return found

    def fetch(self, limit: int, pause: Callable[[], None]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Rows for the journal, as columns."""
        while len(self._transfers) + len(self._decisions) < limit and self._gather(pause):
            pause()
        with self.lock:
            transfers = _popped(self._transfers, limit)
            decisions = _popped(self._decisions, limit - len(transfers))
        found = []
        if transfers:
            found.append(("transfers", self._facts.transfers(transfers, pause, self._available_bytes())))
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
        if has_ended and not lane.rows and not lane.is_closed:
            self.tally.close_lane(lane)
        is_more = bool(rows)
        if rows:
            if set(map(len, rows)) != {OUTCOME_VALUES}:
                self._pass_on_chosen([row for row in rows if len(row) != OUTCOME_VALUES], pause)
                rows = [row for row in rows if len(row) == OUTCOME_VALUES]
            self._pass_on_outcomes(rows, pause)
        return is_more

    def _pass_on_outcomes(self, rows: list[Row], pause: Callable[[], None]) -> None:
        if not rows:
            return
        outcomes, wrong = checked_outcomes(rows, pause)
        if wrong:
            self.tally.drop(len(wrong))
            self.failed(wrong)
        self._keep(self._outcomes, outcomes)
        if not self._is_journalled:
            self.tally.commit(len(outcomes))
            return
        self.tally.drop(self._keep(self._transfers, outcomes))
        if self._decision_share > 0:
            self._sample(outcomes)

    def _sample(self, outcomes: list[Row]) -> None:
        """Keep the decisions of a share of the outcomes: with every one, draw how many to pass over."""
        chosen = []
        while self._passed_over < len(outcomes):
            second, decision, payload_bytes, _, session, *_ = outcomes[self._passed_over]
            chosen.append((second, decision, payload_bytes, session, decision.rule))
            self._passed_over += 1 + self._draw()
        self._passed_over -= len(outcomes)
        if chosen:
            self.tally.accept(len(chosen))
            self.tally.drop(self._keep(self._decisions, chosen))

    def _draw(self) -> int:
        share = self._decision_share
        return 0 if share >= 1 else int(min(math.log(1 - random.random()) / math.log1p(-share), _MOST_PASSED_OVER))

    def _pass_on_chosen(self, rows: list[Row], pause: Callable[[], None]) -> None:
        if not rows:
            return
        chosen, wrong = checked_chosen(rows, pause)
        if wrong:
            self.tally.drop(len(wrong))
            self.failed(wrong)
        self.tally.drop(self._keep(self._decisions, chosen))

    def _keep(self, waiting: collections.deque[Row], rows: Sequence[Row]) -> int:
        """Put rows behind those that wait; how many of the oldest had to go."""
        waiting.extend(rows)
        return len(_popped(waiting, len(waiting) - self._max_rows * max(1, len(self.tally.lanes))))


def _popped(waiting: collections.deque[Row], limit: int) -> list[Row]:
    return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
