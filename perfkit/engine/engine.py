"""The engine: which method to take, answered by a dictionary lookup and a `bisect`."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from random import random
from time import time
from types import TracebackType

from perfkit.engine.arguments import checked_available, checked_in_flight, checked_session, checked_size
from perfkit.engine.background import check_interval
from perfkit.engine.compiled import cell_of, circumstances_of
from perfkit.engine.control import Bound, Control
from perfkit.engine.costs import Context
from perfkit.engine.decision import Decision, Explanation
from perfkit.engine.hooks import Event, Hook
from perfkit.engine.loading import Files, Loaded, load_files
from perfkit.engine.plan import known_contexts
from perfkit.engine.recording.rows import error_name
from perfkit.engine.recording.statistics import RecorderStatistics
from perfkit.engine.resources import ArenaHandle, ArenaProbe
from perfkit.engine.status import Health, Statistics
from perfkit.engine.view import PlanView
from perfkit.errors import UnknownNameError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

__all__ = ["Binding", "Engine"]


class Binding:
    """`decide` for one fixed context: the fastest form. Made by `Engine.bind`; follows every change of the plan."""

    __slots__ = ("_bound", "_control")

    def __init__(self, bound: Bound, control: Control) -> None:
        self._bound, self._control = bound, control

    def decide(self, payload_bytes: int, session: str | None = None) -> Decision:
        """Decide for a size in bytes, 0 or more. Arguments and errors are those of `Engine.decide`."""
        if payload_bytes.__class__ is not int or payload_bytes < 0:
            payload_bytes = checked_size(payload_bytes)
        edges, decisions, chance, arms = self._bound.ready
        if session is not None:
            if session.__class__ is not str:
                session = checked_session(session)
            if arms is not None:
                try:
                    edges, decisions, chance, _ = arms.ready[arms.assigned[session]]
                except KeyError:
                    edges, decisions, chance, _ = self._control.assign(arms, session, payload_bytes)
        decision = decisions[bisect_right(edges, payload_bytes)]
        if chance and random() < chance:
            decision = self._control.divert(decision, payload_bytes, session)
        return decision


class Engine:
    """Decides which method moves a payload, from the plan that its files describe.

    A context (pool, kind, format, compression, signalling) is compiled when it is first used, which takes
    milliseconds: bind it, or decide once, before the first transfer that is in a hurry. After that a decision takes no
    lock, and nothing in a file makes it raise. `load` starts a thread that takes over what the files say later.

    >>> engine = Engine.load("no-such-folder/perfkit.toml", background=False)
    >>> engine.decide(64 * 2**20, kind="tensor", format="numpy").method
    'shm_pool'
    >>> engine.health().status
    'default'
    """

    def __init__(self, loaded: Loaded) -> None:
        self._control = Control(loaded)
        self._feedback = self._control.feedback

    @classmethod
    def load(
        cls,
        path: str | Path = "perfkit.toml",
        *,
        thresholds: str | Path | None = None,
        background: bool = True,
    ) -> Engine:
        """Load an engine from `perfkit.toml` and the `thresholds.toml` beside it.

        A service must start whatever its files hold. A missing file means the defaults; a file that cannot be used
        means the defaults, too, and `health()` says what is wrong with it. `perfkit check` makes the same an error.

        Args:
            path: the settings that people write.
            thresholds: what `perfkit publish` wrote; by default `thresholds.toml` in the folder of `path`.
            background: start the thread that follows files, resources and outcomes; tools that decide once need none.
        """
        settings_path = Path(path)
        thresholds_path = Path(thresholds) if thresholds is not None else settings_path.parent / "thresholds.toml"
        engine = cls(load_files(Files(settings_path, thresholds_path)))
        if background:
            engine.watch()
        return engine

    def decide(
        self,
        payload_bytes: int,
        *,
        pool: str = "default",
        kind: str = "binary",
        format: str = "raw",  # noqa: A002 - the vocabulary's word
        compression: str = "none",
        signalling: str = "uds",
        session: str | None = None,
    ) -> Decision:
        """Decide which method to take.

        A pool that `perfkit.toml` does not name is decided like ``default``, a payload that no codec knows like raw
        bytes; `statistics()` counts them.

        Args:
            payload_bytes: size of the payload before encoding, 0 or more.
            pool: pool of workers.
            kind: tensor, dataframe, binary or text.
            format: numpy, arrow, pickle, msgpack, json or raw.
            compression: none, lz4 or zstd.
            signalling: how a shared-memory block is announced: uds or grpc.
            session: whose payload it is: an experiment keeps a session on one variant.

        Raises:
            TypeError: an argument is of the wrong type.
            InputError: the size is negative (also a ValueError).
        """
        if payload_bytes.__class__ is not int or payload_bytes < 0:
            payload_bytes = checked_size(payload_bytes)
        control = self._control
        try:
            edges, decisions, chance, arms = control.tables.cells[pool, kind, format, compression, signalling]
        except (KeyError, TypeError):  # what cannot be a key is no text: `resolve` says which it is
            edges, decisions, chance, arms = control.resolve((pool, kind, format, compression, signalling))
        if session is not None:
            if session.__class__ is not str:
                session = checked_session(session)
            if arms is not None:
                try:
                    edges, decisions, chance, _ = arms.ready[arms.assigned[session]]
                except KeyError:
                    edges, decisions, chance, _ = control.assign(arms, session, payload_bytes)
        decision = decisions[bisect_right(edges, payload_bytes)]
        if chance and random() < chance:
            decision = control.divert(decision, payload_bytes, session)
        return decision

    def bind(
        self,
        *,
        pool: str = "default",
        kind: str = "binary",
        format: str = "raw",  # noqa: A002 - the vocabulary's word
        compression: str = "none",
        signalling: str = "uds",
        available: tuple[str, ...] | None = None,
        in_place: bool = False,
        in_flight: int = 1,
    ) -> Binding:
        """Compile a context ahead of time; its `decide(payload_bytes)` skips the lookup.

        Args:
            pool: as in `decide`, like all that follow but the last three.
            kind: kind of payload.
            format: format of payload.
            compression: compression of payload.
            signalling: how a shared-memory block is announced.
            available: methods that this peer and this machine have, at least one; by default all that are known.
            in_place: the payload was born in a block of the pool.
            in_flight: sends under way at once, 1 or more.

        Raises:
            TypeError: a name is not text, `available` is no collection of names, or `in_flight` no whole number.
            InputError: no method is available, or nothing is in flight.
        """
        methods, at_once = checked_available(available), checked_in_flight(in_flight)
        bound = self._control.bind((pool, kind, format, compression, signalling), methods, bool(in_place), at_once)
        return Binding(bound, self._control)

    def plan(
        self,
        *,
        pool: str | None = None,
        kind: str | None = None,
        format: str | None = None,  # noqa: A002 - the vocabulary's word
        compression: str | None = None,
        signalling: str | None = None,
    ) -> PlanView:
        """The range tables in force; print them, or show them in a notebook.

        Args:
            pool: only this pool.
            kind: only this kind of payload.
            format: only this format.
            compression: only this compression.
            signalling: only this signalling.

        Raises:
            UnknownNameError: there is no such pool, kind, format, compression or signalling.
        """
        tables = self._control.tables
        in_force = tables.plan
        settings, publication = in_force.loaded.settings, in_force.loaded.publication
        asked = {"pool": pool, "kind": kind, "format": format, "compression": compression, "signalling": signalling}
        asked = {what: name for what, name in asked.items() if name is not None}
        known = {"pool": tuple(settings.pools), "kind": KINDS, "format": FORMATS}
        known |= {"compression": COMPRESSIONS, "signalling": SIGNALLINGS}
        section = settings.section(pool) if isinstance(pool, str) else None
        if section is not None:
            asked["pool"] = section  # a pattern may name it
        for what, name in asked.items():
            if name not in known[what]:
                hint = f"Or write [pools.{name}] into perfkit.toml." if what == "pool" else ""
                raise UnknownNameError(what, name, known[what], hint)
        contexts = known_contexts(settings, publication)
        chosen = [c for c in contexts if all(getattr(c, what) == name for what, name in asked.items())]
        chosen = chosen or [Context(available=in_force.methods, **asked)]  # type: ignore[arg-type]
        if section is not None and pool is not None:
            chosen = [dataclasses.replace(context, pool=pool) for context in chosen]
        conditions = tables.conditions
        cells = [cell_of(in_force, one, circumstances_of(in_force, one.pool, conditions)) for one in chosen]
        return PlanView(publication, tuple(cells))

    def record(
        self,
        decision: Decision,
        payload_bytes: int,
        latency_ns: int,
        session: str | None = None,
        ok: bool = True,
        error: str | BaseException | type[BaseException] | None = None,
    ) -> None:
        """Tell how a transfer ended: it becomes a row of the journal, and the plan learns from it.

        Never blocks and never raises; what cannot be used is counted in `statistics()`.

        Args:
            decision: what `decide` said.
            payload_bytes: size of the payload before encoding.
            latency_ns: sender's call to the acknowledgement of a readable payload, in nanoseconds.
            session: the session that `decide` was given.
            ok: whether it succeeded.
            error: the exception of one that failed, or its name.
        """
        feedback = self._feedback
        if ok is not True and _is_failure(ok):
            feedback.failed(decision, error)
        elif feedback.failing:
            feedback.succeeded(decision)
        feedback.recorder.record(decision, payload_bytes, latency_ns, session, ok, error)

    def observe(
        self,
        decision: Decision,
        payload_bytes: int,
        latency_ns: int,
        ok: bool = True,
        error: str | BaseException | type[BaseException] | None = None,
    ) -> None:
        """As `record`, without a row: for who keeps the rows of its transfers itself, as channels do."""
        feedback = self._feedback
        if ok is not True and _is_failure(ok):
            feedback.failed(decision, error)
        elif feedback.failing:
            feedback.succeeded(decision)
        feedback.observed(
            (time(), decision, payload_bytes, latency_ns, None, ok, None if error is None else error_name(error))
        )

    @property
    def awaits_success(self) -> bool:
        """Whether a method failed since its last success: for who tells of failures only, until one is awaited."""
        return bool(self._control.feedback.failing)

    def explain(self, decision_id: str, payload_bytes: float | None = None) -> Explanation:
        """Why a decision was taken, by the id that rows, logs and traces name it by.

        Args:
            decision_id: `Decision.id`.
            payload_bytes: size to explain it for; without it, the middle of the range in which the decision holds.

        Raises:
            TypeError: the id is not text.
            InputError: no such decision is kept; says where else to ask.
        """
        return self._feedback.rationales.explain(decision_id, payload_bytes, self._control.decisions())

    @property
    def available_bytes(self) -> int | None:
        """Memory that the host could still give when it was last looked at; None where nobody looked yet."""
        return self._feedback.monitor.free_bytes()

    def watch_arena(self, probe: ArenaProbe) -> ArenaHandle:
        """Have the room of an arena looked at: near its end, the zero-copy family is taken less, or not at all.

        Args:
            probe: returns the bytes in use and the capacity, fast; a method is held weakly, a function until removed.
        """
        return self._control.feedback.monitor.add_arena(probe)

    def stop_experiment(self, name: str) -> None:
        """Stop an experiment now, in this process: every session gets the pool's own settings.

        ``enabled = false`` in `perfkit.toml` does the same in every process.

        Raises:
            UnknownNameError: no such experiment is running.
        """
        running = {one.experiment.name for one in self._control.tables.plan.assigners.values()}
        if name not in running:
            raise UnknownNameError("experiment", name, running)
        self._control.stop_experiment(name)

    def health(self) -> Health:
        """Whether the engine does what its files say, and what to know about its plan."""
        control = self._control
        plan = control.tables.plan
        feedback = control.feedback
        loaded, errors = plan.loaded, (*control.file_errors, *plan.errors)
        if control.look_error:
            errors = (*errors, f"the engine's thread: {control.look_error}")
        published, recorder = loaded.publication.version is not None, feedback.recorder.statistics()
        experiments: tuple[str, ...] = ()
        if loaded.settings.engine.mode != "observe":  # which takes the defaults for everybody
            experiments = tuple(sorted({one.experiment.name for one in plan.assigners.values()}))
        return Health(
            status="degraded" if errors else "ok" if published else "default",
            mode=loaded.settings.engine.mode,
            settings_path=loaded.settings.path,
            thresholds_path=loaded.thresholds_path,
            version=loaded.publication.version,
            failures=control.failures,
            errors=errors,
            warnings=(*loaded.publication.warnings, *(one.message for one in feedback.warnings), *_unwritten(recorder)),
            generation=plan.generation,
            is_watching=control.background is not None and control.background.is_alive,
            state=control.tables.conditions.state,
            state_cause=feedback.monitor.statistics().cause,
            breakers=feedback.breakers.states(),
            untrusted_pools=tuple(sorted(plan.learned.untrusted)),
            corrections={pool: dict(factors) for pool, factors in plan.learned.factors.items()},
            experiments=experiments,
            recorder=recorder,
            hooks=feedback.hooks.health(),
        )

    @property
    def generation(self) -> int:
        """Number of the plan in force, from 1: it grows with every plan that replaces another."""
        return self._control.tables.plan.generation

    def reload(self) -> Health:
        """Read the files again, and put in force what they say.

        A file that cannot be used, or is gone, leaves in force what it said last; `health()` says so until the file is
        good again, and counts it. Nothing changes where the files say what is in force already. Contexts that were in
        use are compiled before the new plan is taken, so that no decision waits for them. Other threads may decide
        meanwhile; each decision is of the earlier plan or of the new one. An engine without files reads nothing.

        Returns:
            The health after it.
        """
        self._control.reload()
        return self.health()

    def watch(self, interval_s: float = 0.25) -> None:
        """Have files, host and outcomes looked at by a thread; `load` calls this unless it is told not to.

        There is one thread, however often this is called; the last interval counts. A process that is forked gets one
        of its own. What is being written is read when it has stayed the same for a tenth of a second.

        Args:
            interval_s: seconds between two looks, above 0.

        Raises:
            InputError: the interval is not above 0, or endless.
        """
        self._control.start(check_interval(interval_s))

    def close(self) -> None:
        """End the engine's thread and write what was recorded; the engine goes on deciding by the plan in force."""
        self._control.stop()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def on(self, event: type[Event], function: Callable[[Event], object]) -> Hook[Event]:
        """Have a function called when something happens: never on the way of a decision.

        It is called by the engine's thread, or by whoever calls `reload`; one that raises is counted, told once in the
        log, and removed after a hundred failures in a row.

        Args:
            event: one of the classes in `perfkit.engine.events`, or `EngineEvent` for all of them.
            function: takes the event; what it returns is ignored.

        Returns:
            The hook; its `remove()` takes it off again.

        Raises:
            TypeError: `event` is no kind of event, or `function` cannot be called.
        """
        return self._control.feedback.hooks.add(event, function)

    def statistics(self) -> Statistics:
        """Counts since the engine was loaded."""
        control = self._control
        return Statistics(
            cells=len(control.tables.plan.compiled),
            compile_ns=control.compile_ns,
            unknown=dict(control.unknown),
            unknown_names=tuple(control.unknown_names),
            failures=control.failures,
            outcomes=control.feedback.outcomes.statistics(),
            states=control.feedback.monitor.statistics().time_ns,
            explored_ns=control.feedback.budget.total_spent_ns,
        )


def _unwritten(recorder: RecorderStatistics) -> tuple[str, ...]:
    """A warning where rows cannot be written, or were given up."""
    if not recorder.last_error or not (recorder.buffered or recorder.dropped):
        return ()
    return (f"{recorder.buffered} recorded rows wait and {recorder.dropped} were dropped: {recorder.last_error}",)


def _is_failure(ok: object) -> bool:
    """What was told instead of True: not everything has a truth value."""
    try:
        return not ok
    except Exception:  # noqa: BLE001 - whoever records must not suffer for it
        return True
