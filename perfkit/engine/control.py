"""What stands behind an engine's hot path: compiles tables, swaps them, reads files again, follows conditions."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
import weakref
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from random import random

from perfkit.config.source import shown
from perfkit.engine.background import Background
from perfkit.engine.circumstances import NORMAL
from perfkit.engine.compiled import Arms, Conditions, Learned, Names, Plan, Ready, Tables, make_plan, make_ready, named
from perfkit.engine.costs import Context
from perfkit.engine.decision import Decision
from perfkit.engine.events import PlanReloaded, ReloadRefused
from perfkit.engine.feedback import Feedback
from perfkit.engine.loading import Files, Loaded, load_files
from perfkit.engine.preparing import STEPS, Bound, Found, Preparation, Prepared, bound_anew, compiled_anew, names_of
from perfkit.engine.watching import settled
from perfkit.errors import ConfigError
from perfkit.journal.turns import Turns

__all__ = ["Bound", "Control"]

_UNKNOWN_NAMES_KEPT = 8
_ASKED = ("pool", "kind", "format", "compression", "signalling")


class Control:
    """The slow half of an engine.

    Args:
        loaded: what its files say.
    """

    def __init__(self, loaded: Loaded) -> None:
        # Nobody explores before the thread runs, which keeps to the budget.
        self.tables = Tables(make_plan(loaded), Conditions())
        self.file_errors = loaded.errors
        self.signature = loaded.signature
        self.failures = len(loaded.errors)
        self.compile_ns = 0
        self.unknown: Counter[str] = Counter()
        self.unknown_names: dict[str, None] = {}
        self.stopped: frozenset[str] = frozenset()
        self.look_error = ""
        self.feedback = Feedback(loaded.settings, _waking(weakref.ref(self)))
        self.background: Background | None = None
        self._resumed_s: float | None = None
        self.bounds: weakref.WeakSet[Bound] = weakref.WeakSet()
        self.binds = 0
        self.preparation = Preparation()
        self.reloading, self.swapping = threading.RLock(), threading.RLock()  # a signal's handler may reload, too
        _CONTROLS.add(self)
        if loaded.errors:
            self.feedback.hooks.emit(ReloadRefused(loaded.errors, "the defaults hold in their place"))

    def resolve(self, names: Names) -> Ready:
        """What the hot path does for names that it has not met: compile their context, or that of the default."""
        self._resume()
        tables = self.tables
        context, is_known = self._context(tables.plan, names)
        ready = tables.cells.get(names_of(context))
        if ready is None:
            ready = self._timed(lambda: make_ready(tables.plan, context, tables.conditions))
            tables.keep(names_of(context), ready)
        if is_known and names not in tables.cells:
            tables.keep(names, ready)
        return ready

    def bind(self, names: Names, available: tuple[str, ...] | None, in_place: bool, in_flight: int) -> Bound:
        """Compile a context, and keep what it is looked up in up to date."""
        self._resume()
        with self.swapping:
            tables = self.tables
            known, _ = self._context(tables.plan, names)
            methods = available or tables.plan.methods
            context = dataclasses.replace(known, available=methods, in_place=in_place, in_flight=in_flight)
            ready = self._timed(lambda: make_ready(tables.plan, context, tables.conditions))
            bound = Bound(names, context, available is None, ready)
            self.bounds.add(bound)
            self.binds += 1
            return bound

    def divert(self, decision: Decision, payload_bytes: int, session: str | None = None) -> Decision:
        """Take another method in the place of a decision's where it may be tried now."""
        self._resume()
        if not decision.trials:
            return decision
        trial = decision.trials[int(random() * len(decision.trials))]
        feedback = self.feedback
        if trial.decision.source == "probe":
            if not feedback.breakers.take_probe(trial.decision.method):
                return decision
        else:
            feedback.budget.spend(trial.excess_at(payload_bytes))
        feedback.explored(trial.decision, decision, payload_bytes, session)
        return trial.decision

    def assign(self, arms: Arms, session: str, payload_bytes: int) -> Ready:
        """The variant of a session that the hot path does not know."""
        index, is_first = arms.assigner.assign(session)
        ready = arms.ready[index]
        if is_first and index >= 0:
            self.feedback.exposed(ready[1][bisect_right(ready[0], payload_bytes)], payload_bytes, session)
        return ready

    def wake(self) -> None:
        """Look now, and not only when it is time to."""
        self._resume()
        if self.background is not None:
            self.background.wake()

    def swap(
        self,
        plan: Plan | None = None,
        conditions: Conditions | None = None,
        pause: Callable[[], None] | None = None,
        *,
        strict: bool = True,
    ) -> bool:
        """Put tables in force in which everything that was in use is compiled already.

        Args:
            plan: another plan; by default the one in force.
            conditions: other conditions; by default those in force.
            pause: called every now and then while they are compiled.
            strict: refuse a plan of which a context cannot be compiled; otherwise that one gets the defaults.

        Returns:
            False when somebody else put another plan in force meanwhile, which must not be taken back.

        Raises:
            ConfigError: the new plan cannot be compiled; nothing is changed.
        """
        followed = self.tables.plan
        while True:
            before = self.tables
            if plan is not None and before.plan is not followed:
                return False
            after, ready = self._next(plan or before.plan, conditions or before.conditions)
            try:
                readied = compiled_anew(before, after, self._bound(), ready, pause, strict=strict)
            except Exception as error:
                if plan is None:
                    raise
                raise _not_compiled(after.plan, error) from error
            with self.swapping:  # held for moments only: whoever binds must not wait for a plan to be compiled
                if self.tables is before:
                    self._put(after, readied, pause)
                    return True

    def _bound(self) -> list[Bound]:
        """What is bound now: a weak set must not grow while it is read."""
        with self.swapping:
            return list(self.bounds)

    def _next(self, plan: Plan, conditions: Conditions) -> tuple[Tables, Prepared | None]:
        if plan is not self.tables.plan:
            return Tables(plan, conditions), None
        ready = self.preparation.under(plan, conditions)
        return ready.tables, ready

    def _put(self, tables: Tables, readied: dict[Bound, Found], pause: Callable[[], None] | None = None) -> None:
        self.tables = tables
        for number, bound in enumerate(self._bound()):
            if pause is not None and not number % STEPS:
                pause()
            found = readied.get(bound) or bound_anew(bound, tables, strict=False)  # bound meanwhile
            bound.context, bound.ready = found

    def reload(self, pause: Callable[[], None] | None = None) -> None:
        """Read the files again and put in force what they say. Raises nothing; keeps what was in force if need be."""
        with self.reloading:
            before = self.tables.plan
            files = before.loaded.files
            if files is None:
                return
            started_ns, signature = time.perf_counter_ns(), files.signature()
            errors, is_read = self._read_again(before, files, pause)
            if errors is None:
                return
            after = self.tables.plan
            if after is not before:
                self.compile_ns += time.perf_counter_ns() - started_ns
                self.feedback.use(after.loaded.settings, after.loaded.publication.curves)
                self.feedback.hooks.emit(
                    PlanReloaded(after.generation, after.loaded.publication.version, _changes(before, after))
                )
            if errors and errors != self.file_errors:  # told once, however often the files are looked at
                self.feedback.hooks.emit(ReloadRefused(errors))
            self.file_errors = errors
            if is_read:  # otherwise the next look tries again
                self.signature = signature
            self.failures += len(errors)

    def start(self, interval_s: float) -> None:
        """Start the thread that looks every now and then; a thread that runs gets another interval."""
        with self.swapping:
            self.feedback.open()
            if self.background is None or not self.background.is_alive:
                self.background = Background(self, interval_s)
            else:
                self.background.interval_s = interval_s

    def _resume(self) -> None:
        """In a forked child of a process whose engine had a thread: start its own."""
        if self._resumed_s is not None:
            interval_s, self._resumed_s = self._resumed_s, None
            try:
                self._put_anew()
                self.start(interval_s)
            except Exception as error:  # noqa: BLE001 - no more threads: whoever decides must not suffer for it
                self._trouble(error)

    def _put_anew(self) -> None:
        """Have what is bound ask no more: see `abandon_in_child`."""
        with self.swapping:
            self._put(self.tables, {})

    def _trouble(self, error: BaseException) -> None:
        self.failures += 1
        self.look_error = f"{type(error).__name__}: {error}"

    def stop(self) -> None:
        """End the thread, go back to what holds without one, and write what was recorded."""
        is_asking, self._resumed_s = self._resumed_s is not None, None
        with self.swapping:
            background, self.background = self.background, None
        try:
            if background is not None:
                background.stop()  # without the lock: it may be swapping
            if is_asking:
                self._put_anew()
            self._rest()
        except Exception as error:  # noqa: BLE001 - what was recorded must be written all the same
            self._trouble(error)
        self.feedback.close()

    def _rest(self) -> None:
        """Without a thread nobody would close a breaker, keep to a budget, or see a host recover."""
        if self.tables.conditions != Conditions():
            self.swap(None, Conditions())

    def look(self, has_ended: Callable[[float], bool]) -> None:
        """What the engine's thread does every now and then. Raises nothing.

        Args:
            has_ended: waits for so many seconds; True when the thread is to end.
        """
        try:
            self._look_at_files(has_ended)
            self.follow(Turns())
            if has_ended(0):  # by a hook of this very look, or while nobody waited any longer for it
                self._rest()
            self.look_error = ""
        except BaseException as error:  # noqa: BLE001 - the thread goes on whatever goes wrong, and health() tells
            self._trouble(error)

    def follow(self, pause: Callable[[], None] | None = None) -> None:
        """Take in what came back since, and put in force what follows from it."""
        feedback = self.feedback
        feedback.look_around()
        self._follow_conditions(pause)  # first: what the host has left must not wait for outcomes
        feedback.take(pause or (lambda: None))
        with self.reloading:  # or a plan that somebody reads from the files meanwhile would be taken back
            before = self.tables.plan
            learned = feedback.learned(before.learned)
            if learned is not before.learned:
                self.swap(self._following(before, before.loaded, learned), None, pause)
        feedback.tell_corrections()
        feedback.tell_trust(before.learned, learned)
        self._prepare(pause)

    def _follow_conditions(self, pause: Callable[[], None] | None) -> None:
        with self.reloading:
            before = self.tables
            conditions = self.feedback.conditions(before)
            if conditions != before.conditions:
                self.swap(None, conditions, pause)
        self.feedback.tell_breakers(before.conditions, conditions)

    def _prepare(self, pause: Callable[[], None] | None) -> None:
        """Compile what is in use for what may hold next, so that the engine reacts at once."""
        tables = self.tables
        explores = tables.plan.loaded.settings.engine.exploration.rate > 0
        self.preparation.fill(tables, self._bound, self.binds, explores=explores, pause=pause or (lambda: None))

    def decisions(self) -> Iterator[Decision]:
        """Every decision in force that was asked for, those of bindings and variants among them."""
        found = [*list(self.tables.cells.values()), *(bound.ready for bound in self._bound())]
        while found:
            _, decisions, _, arms = found.pop()
            for decision in decisions:
                yield decision
                yield from (trial.decision for trial in decision.trials)
            if arms is not None:
                found.extend(arms.ready)

    def stop_experiment(self, name: str) -> None:
        """Take an experiment out of force, whatever the files say, until the engine is loaded anew."""
        with self.reloading:
            self.stopped |= {name}
            is_stopped, strict = False, True
            while not is_stopped:  # a signal's handler may put another plan in force meanwhile
                plan = self.tables.plan
                try:
                    is_stopped = self.swap(self._following(plan, plan.loaded), strict=strict)
                except ConfigError:
                    if not strict:
                        raise
                    strict = False  # an experiment is stopped even if something else cannot be compiled any more

    def _look_at_files(self, has_ended: Callable[[float], bool]) -> None:
        files = self.tables.plan.loaded.files
        if files is None:
            return
        now = files.signature()
        if now == self.signature:
            return
        settled(files, now, has_ended)
        if has_ended(0):
            return
        with self.reloading:
            if files.signature() != self.signature:
                self.reload(Turns())

    def _read_again(
        self, before: Plan, files: Files, pause: Callable[[], None] | None
    ) -> tuple[tuple[str, ...] | None, bool]:
        """What is wrong, None when somebody else read the files meanwhile; and whether the files are done with."""
        errors: tuple[str, ...] = ()
        try:
            loaded = load_files(files, before.loaded)
            errors = loaded.errors
            if self.tables.plan is not before:  # a signal's handler reloaded meanwhile, and read what is newer
                return None, True
            if loaded.publication == before.loaded.publication:
                loaded = dataclasses.replace(loaded, publication=before.loaded.publication)  # the same object
            has_changed = (loaded.settings, loaded.publication) != (before.loaded.settings, before.loaded.publication)
            if has_changed or before.errors:  # a policy that was missing may be there now
                conditions = self.tables.conditions
                explores = loaded.settings.engine.exploration.rate > 0 and conditions.state == NORMAL
                conditions = dataclasses.replace(conditions, exploring=conditions.exploring and explores)
                if not self.swap(self._following(before, loaded), conditions, pause):
                    return None, True
        except ConfigError as error:
            return (*errors, str(error)), True
        except Exception as error:  # noqa: BLE001 - what is in force must outlive whatever is in a file
            folder = files.settings.parent
            return (*errors, f"{folder}: cannot be read again: {error!r}; what was in force stays"), False
        return errors, True

    def _following(self, before: Plan, loaded: Loaded, learned: Learned | None = None) -> Plan:
        known = before.learned if learned is None else learned
        if loaded.publication != before.loaded.publication:
            known = Learned()  # other curves: what was learned was about the earlier ones
        return make_plan(loaded, before.generation + 1, learned=known, before=before, stopped=self.stopped)

    def _context(self, plan: Plan, names: Names) -> tuple[Context, bool]:
        """The context of names, every unknown one counted and replaced, and whether all were known."""
        for what, name in zip(_ASKED, names, strict=True):
            if not isinstance(name, str):
                raise TypeError(f"{what} == {shown(name)} is of type {type(name).__name__}, must be text") from None
        known, unknown = named(plan, names)
        for what, name in unknown:
            self.unknown[what] += 1
            if len(self.unknown_names) < _UNKNOWN_NAMES_KEPT:
                self.unknown_names[f"{what} {shown(name)}"] = None
        return Context(*known, plan.methods), not unknown

    def _timed(self, compile_ready: Callable[[], Ready]) -> Ready:
        errors = self.tables.plan.errors
        before, started_ns = len(errors), time.perf_counter_ns()
        ready = compile_ready()
        self.compile_ns += time.perf_counter_ns() - started_ns
        self.failures += len(errors) - before
        return ready

    def abandon_in_child(self) -> None:
        """After a fork: another thread may have been swapping, and the engine's own stayed with the parent."""
        self.reloading, self.swapping = threading.RLock(), threading.RLock()
        self.feedback.abandon_in_child()
        self.preparation = Preparation()
        if self.background is not None:
            # Begun when the child first decides or records: a thread cannot be started safely in the middle of a fork,
            # and most children never ask.
            self._resumed_s, self.background = self.background.interval_s, None
            calm = dataclasses.replace(self.tables.conditions, exploring=False, probing=frozenset())
            self.tables = Tables(self.tables.plan, calm)
            self.bounds = weakref.WeakSet(list(self.bounds))  # another thread may have been reading it
            for bound in list(self.bounds):
                bound.ready = _asking(bound.ready)


def _asking(ready: Ready) -> Ready:
    """What makes every decision call `Control.divert`, once."""
    edges, decisions, _, arms = ready
    if arms is not None:
        arms = Arms(arms.assigner, tuple(_asking(one) for one in arms.ready))
    certain = tuple(dataclasses.replace(one, trials=(), propensity=1.0) if one.trials else one for one in decisions)
    return edges, certain, 2.0, arms


def _waking(control: weakref.ref[Control]) -> Callable[[], None]:
    def wake() -> None:
        found = control()
        if found is not None:
            found.wake()

    return wake


def _changes(before: Plan, after: Plan) -> tuple[str, ...]:
    changes = []
    old, new = before.loaded.publication, after.loaded.publication
    if new != old:
        changes.append(f"thresholds: version {old.version} → {new.version}")
    if after.loaded.settings != before.loaded.settings:
        pools = {
            name for name, pool in after.loaded.settings.pools.items() if before.loaded.settings.pools.get(name) != pool
        }
        pools |= set(before.loaded.settings.pools) - set(after.loaded.settings.pools)
        changes.append(f"settings: pools {', '.join(sorted(pools))}" if pools else "settings")
    return tuple(changes)


def _not_compiled(plan: Plan, error: Exception) -> ConfigError:
    return ConfigError(
        f"a plan cannot be compiled from version {plan.loaded.publication.version}: {error!r}; what was in force stays "
        "in force. Take the version back with `perfkit publish --rollback`, or publish again",
        path=plan.loaded.thresholds_path,
    )


_CONTROLS: weakref.WeakSet[Control] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for control in list(_CONTROLS):
        control.abandon_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
