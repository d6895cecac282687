"""What comes back: outcomes of transfers, failures, what the host has left. The engine's thread turns it into plans."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfkit.config.curves import CurveSet
from perfkit.config.settings import Settings
from perfkit.engine.circumstances import NORMAL
from perfkit.engine.compiled import Conditions, Learned, Tables
from perfkit.engine.decision import Decision
from perfkit.engine.event_log import ENGINE_LOGGER, EventLog
from perfkit.engine.events import (
    BreakerClosed,
    BreakerOpened,
    DecisionExplored,
    EngineEvent,
    LimitApproached,
    OutcomesRecorded,
    PlanCorrected,
    RowsDropped,
    SessionExposed,
    StateChanged,
    TrustChanged,
)
from perfkit.engine.exploring import Budget
from perfkit.engine.hooks import Hooks
from perfkit.engine.outcomes import Breakers, Corrections, Outcomes
from perfkit.engine.rationales import Rationales
from perfkit.engine.recording import Recorder
from perfkit.engine.recording.rows import checked_outcomes, error_name, with_moments
from perfkit.engine.resources import CapacityWarning, ResourceMonitor

__all__ = ["Feedback"]

_ROWS_AT_ONCE = 20_000
_FEWEST_ROWS = 500
_LONGEST_TAKE_S = 0.1
_SLICE = 64
_MOST_EXPLORED_ROWS = 1_000
"""Rows of explored decisions between two looks."""
_SAY_AGAIN_NS = 60 * 10**9
_MOST_EVENTS = 1_000


class Feedback:
    """What an engine hears of its transfers and its host, and what follows from it.

    `record`, `observe` and what the hot path tells are for any thread, and only take note. `look` is for the engine's
    thread.

    Args:
        settings: what the files say.
        wake: have the engine's thread look now.
    """

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        self.hooks = Hooks(EventLog(logging.getLogger(ENGINE_LOGGER)))
        self.rationales = Rationales()
        self.monitor = ResourceMonitor(settings.engine.resources)
        self.outcomes = Outcomes(settings.engine.calibration)
        self.warnings: tuple[CapacityWarning, ...] = ()
        self._wake = wake
        self._noted: deque[EngineEvent] = deque(maxlen=_MOST_EVENTS)
        self._said_ns: dict[tuple[str, str], int] = {}
        self._looked_ns: int | None = None
        self._state = NORMAL
        self._dropped = self.unreadable = 0
        self.problem = ""
        self._explored_rows = 0
        self._corrections: Corrections | None = None
        self._rows_at_once = _ROWS_AT_ONCE // 8
        self._is_closed = self._is_forked = False
        self._settings = engine = settings.engine
        # Absolute: a service may go to another folder.
        self._folder = None if settings.path is None else Path(settings.path).absolute().parent
        self.breakers = Breakers(engine.breaker)
        self.failing = self.breakers.failing  # at hand for `Engine.record`, which every transfer calls
        self.budget = Budget(engine.exploration.budget_ns_per_s)
        self.recorder = self._new_recorder()
        self._observed: deque[tuple[Any, ...]] = deque(maxlen=engine.recorder.buffer_rows)

    def use(self, settings: Settings, curves: CurveSet | None) -> None:
        """Follow other settings and curves; what was counted and learned stays as far as it still means anything.

        Raises nothing: it is called after the plan was taken, which must not be left half followed.
        """
        before, engine = self._settings, settings.engine
        self._settings = engine
        is_new_folder = self._folder is None and settings.path is not None
        if settings.path is not None and is_new_folder:
            self._folder = Path(settings.path).absolute().parent
        self.monitor.use(engine.resources)
        self.outcomes.configure(engine.calibration)
        self.outcomes.use_curves(curves)
        self.breakers.use(engine.breaker)
        self.budget.use(engine.exploration.budget_ns_per_s)
        if (engine.recorder != before.recorder or is_new_folder) and not self._is_closed:
            self._replace_recorder()

    def _replace_recorder(self) -> None:
        earlier, self.recorder = self.recorder, self._new_recorder()
        self._dropped = 0
        try:
            earlier.close()
            # They are written; what they teach is still to be learned.
            self._observed.extend((row[0] / 1e6, *row[1:]) for row in earlier.take(self._settings.recorder.buffer_rows))
        except Exception as error:  # noqa: BLE001 - the disk that the earlier one wrote to may be gone
            self.problem = f"what was recorded before the settings changed could not be written: {error!r}"

    def open(self) -> None:
        """Write rows again after `close`."""
        if self._is_closed:
            self._is_closed, self.recorder = False, self._new_recorder()

    def _new_recorder(self) -> Recorder:
        folder = None if self._folder is None else self._folder / self._settings.recorder.journal
        # Of the monitor, not of this object: a cycle would leave a dropped engine to the garbage collector.
        return Recorder(self._settings.recorder, folder, wake=self._wake, available_bytes=self.monitor.free_bytes)

    # What the hot path and callers tell: they take note, and nothing more.

    def failed(self, decision: Decision, error: object) -> None:
        """A transfer failed: its method's breaker counts it. Raises nothing."""
        try:
            name = error_name(error)
            is_opened = self.breakers.record_failure(decision.method, name if isinstance(name, str) else None)
        except Exception:  # noqa: BLE001 - whatever was given as a decision; the recorder counts it
            return
        if is_opened:
            self._wake()

    def succeeded(self, decision: Decision) -> None:
        """A transfer succeeded by a method that failed before. Raises nothing."""
        try:
            is_closed = self.breakers.record_success(decision.method)
        except Exception:  # noqa: BLE001 - as above
            return
        if is_closed:
            self._wake()

    def observed(self, row: tuple[Any, ...]) -> None:
        """Take an outcome that somebody else writes down."""
        self._observed.append(row)
        if self._is_forked:  # the child of a process whose engine had a thread starts its own
            self._is_forked = False
            self._wake()

    def explored(self, decision: Decision, planned: Decision, payload_bytes: int, session: str | None) -> None:
        """Another method was handed out than planned.

        The transfer's own row has its propensity; the row of the decision, which is there for those that are never
        recorded, must not crowd out others where decisions are many.
        """
        if self._explored_rows < _MOST_EXPLORED_ROWS:
            self._explored_rows += 1  # threads may lose one: it is a limit, not a count
            self.recorder.record_decision(decision, payload_bytes, session, decision.source)
        if self.hooks.wants(DecisionExplored):
            pool, taken = decision.cell.context.pool, decision.method
            self._noted.append(
                DecisionExplored(decision.id, pool, taken, planned.method, payload_bytes, decision.propensity)
            )

    def exposed(self, decision: Decision, payload_bytes: int, session: str) -> None:
        """A session met an experiment for the first time."""
        self.recorder.record_decision(decision, payload_bytes, session, "exposure")
        if self.hooks.wants(SessionExposed):
            pool = decision.cell.context.pool
            self._noted.append(SessionExposed(session, decision.experiment, decision.variant, pool))

    # What the engine's thread does.

    def take(self, pause: Callable[[], None]) -> None:
        """Take in what was recorded and observed since."""
        started_s, limit = time.monotonic(), self._rows_at_once
        self._explored_rows = 0
        rows: list[Any] = list(self.recorder.take(limit))
        rows += self._taken_observed(limit - len(rows), pause)
        if rows:
            self.outcomes.take(rows, pause)
            for decision in {id(row[1]): row[1] for row in rows}.values():
                if isinstance(decision, Decision):
                    self.rationales.keep(decision)
            if self.hooks.wants(OutcomesRecorded):
                self.hooks.emit(OutcomesRecorded(rows))
        for _ in range(len(self._noted)):  # what is noted meanwhile has its turn in the next look
            self.hooks.emit(self._noted.popleft())
        self._tell_drops()
        if (
            time.monotonic() - started_s > _LONGEST_TAKE_S
        ):  # beside threads that never wait; the host is to be looked at
            self._rows_at_once = max(limit // 2, _FEWEST_ROWS)
        else:
            self._rows_at_once = min(limit * 2, _ROWS_AT_ONCE)

    def _taken_observed(self, limit: int, pause: Callable[[], None]) -> list[Any]:
        rows: list[Any] = []
        while self._observed and len(rows) < limit:
            rows.append(self._observed.popleft())
            if not len(rows) % _SLICE:
                pause()
        if not rows:
            return []
        checked, errors = checked_outcomes(rows, pause)
        self.unreadable += len(errors)
        return with_moments(checked)

    def look_around(self) -> None:
        """Look at what the host has left, not more often than the settings say."""
        now = time.monotonic_ns()
        if self._looked_ns is not None and now - self._looked_ns < self._settings.resources.interval_ns * 0.8:
            return
        self._looked_ns = now
        look = self.monitor.look()
        self._state = look.state
        self.warnings = look.warnings
        for warning in look.warnings:
            self._say_again(warning, now)
        if look.changed_from is not None:
            self.hooks.emit(StateChanged(look.changed_from, look.state, self.monitor.statistics().cause))

    def learned(self, before: Learned) -> Learned:
        """What the outcomes teach: the same object where nothing changed."""
        if not self._settings.calibration.correct:
            return before if before == Learned() else Learned()
        corrections, untrusted = self.outcomes.corrections(), self.outcomes.untrusted_pools()
        if corrections is self._corrections and untrusted == before.untrusted:
            return before
        self._corrections = corrections
        factors = {pool: tuple(sorted(by_method.items())) for pool, by_method in corrections.factors.items()}
        found = Learned(MappingProxyType(factors), untrusted)
        return before if found == before else found

    def tell_corrections(self) -> None:
        """Tell what changed of the corrections, with what it is expected to do."""
        for change in self.outcomes.changes():
            self.hooks.emit(PlanCorrected(change.pool, change.method, change.before, change.after, change.sentence))

    def conditions(self, tables: Tables) -> Conditions:
        """What holds now."""
        opened = self.breakers.open_methods(tables.plan.methods) if self.breakers.failing else frozenset()
        probing = self.breakers.half_open() & opened if opened else frozenset()
        wanted = self._settings.exploration.rate > 0 and self._state == NORMAL
        allowed = self.budget.allows(time.monotonic_ns(), was_exploring=tables.conditions.exploring)
        return Conditions(self._state, opened, probing, wanted and allowed)

    def tell_trust(self, before: Learned, after: Learned) -> None:
        """Tell which pools' predictions are not trusted any more, or are again."""
        for pool in sorted(before.untrusted ^ after.untrusted):
            self.hooks.emit(TrustChanged(pool, pool in before.untrusted))

    def tell_breakers(self, before: Conditions, after: Conditions) -> None:
        """Tell which breakers opened and closed."""
        states = {state.method: state for state in self.breakers.states()}
        for method in sorted(after.open_methods - before.open_methods):
            state = states.get(method)
            failures, error = (state.failures, state.error) if state else (self._settings.breaker.failures, "")
            self.hooks.emit(BreakerOpened(method, failures, self._settings.breaker.open_ns, error))
        for method in sorted(before.open_methods - after.open_methods):
            self.hooks.emit(BreakerClosed(method, self._settings.breaker.open_ns))

    def close(self) -> None:
        """Write what was recorded."""
        self._is_closed = True
        self.recorder.close()

    def abandon_in_child(self) -> None:
        """After a fork: other threads may have held what is shared, and what was noted is the parent's."""
        self.hooks.abandon_in_child()
        self.rationales.abandon_in_child()
        self.outcomes.after_fork_in_child()
        self.breakers.after_fork_in_child()
        self._is_forked = True
        self._observed.clear()
        self._noted.clear()

    def _say_again(self, warning: CapacityWarning, now_ns: int) -> None:
        key = (warning.resource, warning.kind)
        if now_ns - self._said_ns.get(key, -_SAY_AGAIN_NS) >= _SAY_AGAIN_NS:
            self._said_ns[key] = now_ns
            self.hooks.emit(LimitApproached(warning.resource, warning.share, warning.limit, warning.message))

    def _tell_drops(self) -> None:
        statistics = self.recorder.statistics()
        rows, self._dropped = statistics.dropped - self._dropped, statistics.dropped
        if rows > 0:
            self.hooks.emit(RowsDropped(rows, statistics.dropped, statistics.last_error))
