"""Why decisions were taken, by their id: for who reads an id in a row, a log or a trace, and asks."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from perfkit.config.source import shown
from perfkit.engine.decision import Decision, Explanation
from perfkit.errors import InputError

__all__ = ["Rationales"]

_CAPACITY = 10_000


class Rationales:
    """Decisions of the plans that are kept, found by their id; the oldest go first.

    An id stands for a range of a plan, not for a call: ten thousand of them are many plans, and `keep` of one that is
    there already costs a look-up.

    Args:
        capacity: most decisions to keep, 1 or more.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._by_id: dict[str, Decision] = {}
        self._changing = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_id)

    def keep(self, decision: Decision) -> None:
        """Keep a decision that was recorded or sampled."""
        if self._by_id.get(decision.id) is decision:
            return
        with self._changing:
            self._by_id.pop(decision.id, None)  # the same id again is the newest
            self._by_id[decision.id] = decision
            while len(self._by_id) > self._capacity:
                del self._by_id[next(iter(self._by_id))]

    def explain(
        self, decision_id: str, payload_bytes: float | None = None, in_force: Iterable[Decision] = ()
    ) -> Explanation:
        """Say why a decision was taken.

        Args:
            decision_id: `Decision.id`, or the column ``decision_id`` of the lake.
            payload_bytes: size to explain it for; without it, the middle of the range in which the decision holds.
            in_force: decisions to look among that nobody has recorded yet: those of the plan in force.

        Raises:
            TypeError: the id is not text.
            InputError: no such decision is kept.
        """
        if not isinstance(decision_id, str):
            raise TypeError(
                f"decision_id == {shown(decision_id)} is of type {type(decision_id).__name__}, must be text"
            )
        found = self._by_id.get(decision_id) or next((one for one in in_force if one.id == decision_id), None)
        if found is None:
            raise InputError(
                f"decision {shown(decision_id)} is not kept: an engine keeps the {self._capacity:,} newest decisions "
                "that were recorded since it was loaded, and those of the plan in force. Ask the lake, whose table "
                "decisions holds the reasons of a sampled share (`perfkit.open_lake().decisions`), or ask "
                "`engine.decide(...).explain()` what holds now"
            )
        return found.explain(payload_bytes)

    def abandon_in_child(self) -> None:
        """After a fork: another thread may have been keeping one."""
        self._changing = threading.Lock()
