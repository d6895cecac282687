"""The engine: which method to take, answered by a dictionary lookup and a `bisect`."""

from __future__ import annotations

import operator
import os
import threading
import time
import weakref
from bisect import bisect_right
from collections import Counter
from pathlib import Path

from perfkit.config.source import shown
from perfkit.engine.costs import Context
from perfkit.engine.decision import Decision, ReadyDecisions, ready_decisions
from perfkit.engine.in_force import InForce, Names, put_in_force, read_again, replace_unknown
from perfkit.engine.loading import Files, Loaded, load_files
from perfkit.engine.plan import Cell, Publication, compile_cell, known_contexts
from perfkit.engine.status import Health, Statistics
from perfkit.engine.view import PlanView
from perfkit.engine.watching import Watcher, check_interval
from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

__all__ = ["Binding", "Engine"]

_UNKNOWN_NAMES_KEPT = 8


class Binding:
    """`decide` for one fixed context: the fastest form. Made by `Engine.bind`."""

    __slots__ = ("_decisions", "_edges")

    def __init__(self, ready: ReadyDecisions) -> None:
        self._edges, self._decisions = ready

    def decide(self, payload_bytes: int) -> Decision:
        """Decide for a size in bytes, 0 or more. Raises as `Engine.decide`."""
        if payload_bytes.__class__ is not int or payload_bytes < 0:
            payload_bytes = _checked_size(payload_bytes)
        return self._decisions[bisect_right(self._edges, payload_bytes)]


class Engine:
    """Decides which method moves a payload, from the plan that its files describe.

    A context (pool, kind, format, compression, signalling) is compiled when it is first used, which takes
    milliseconds: bind it, or decide once, before the first transfer that is in a hurry. After that a decision takes no
    lock, and nothing in a file makes it raise. `watch` takes over what is published later; who holds a `Binding` binds
    anew when `generation` has grown.

    >>> engine = Engine.load("no-such-folder/perfkit.toml")
    >>> engine.decide(64 * 2**20, kind="tensor", format="numpy").method
    'shm_pool'
    >>> engine.health().status
    'default'
    """

    def __init__(self, loaded: Loaded) -> None:
        self._plan = put_in_force(loaded)
        self._file_errors = loaded.errors
        self._signature = loaded.signature
        self._failures = len(loaded.errors)
        self._compile_ns = 0
        self._unknown: Counter[str] = Counter()
        self._unknown_names: dict[str, None] = {}
        self._reloading = threading.RLock()  # reentrant: a signal's handler may reload, too
        self._watcher: Watcher | None = None
        _ENGINES.add(self)

    @classmethod
    def load(cls, path: str | Path = "perfkit.toml", *, thresholds: str | Path | None = None) -> Engine:
        """Load an engine from `perfkit.toml` and the `thresholds.toml` beside it.

        A service must start whatever its files hold. A missing file means the defaults; a file that cannot be used
        means the defaults, too, and `health()` says what is wrong with it. `perfkit check` makes the same an error.

        Args:
            path: the settings that people write.
            thresholds: what `perfkit publish` wrote; by default `thresholds.toml` in the folder of `path`.
        """
        settings_path = Path(path)
        thresholds_path = Path(thresholds) if thresholds is not None else settings_path.parent / "thresholds.toml"
        return cls(load_files(Files(settings_path, thresholds_path)))

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
            session: reserved for experiments, which keep a session on one variant.

        Raises:
            TypeError: an argument is of the wrong type.
            InputError: the size is negative (also a ValueError).
        """
        if payload_bytes.__class__ is not int or payload_bytes < 0:
            payload_bytes = _checked_size(payload_bytes)
        try:
            edges, decisions = self._plan.cells[pool, kind, format, compression, signalling]
        except KeyError:
            edges, decisions = self._resolve(pool, kind, format, compression, signalling)
        return decisions[bisect_right(edges, payload_bytes)]

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
            TypeError: a name is not text.
            InputError: no method is available, or nothing is in flight.
        """
        if available is not None and not available:
            raise InputError("available == (), must name at least one method, such as 'grpc'")
        if in_flight < 1:
            raise InputError(f"in_flight == {in_flight}, must be 1 or more")
        plan = self._plan
        names = self._known_names(plan, (pool, kind, format, compression, signalling))
        context = Context(*names, tuple(available) if available else plan.methods, in_place, in_flight)
        return Binding(ready_decisions(self._compile(plan, context)))

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
        in_force = self._plan
        settings, publication = in_force.loaded.settings, in_force.loaded.publication
        asked = {"pool": pool, "kind": kind, "format": format, "compression": compression, "signalling": signalling}
        asked = {what: name for what, name in asked.items() if name is not None}
        known = {"pool": tuple(settings.pools), "kind": KINDS, "format": FORMATS}
        known |= {"compression": COMPRESSIONS, "signalling": SIGNALLINGS}
        for what, name in asked.items():
            if name not in known[what]:
                hint = f"Or write [pools.{name}] into perfkit.toml." if what == "pool" else ""
                raise UnknownNameError(what, name, known[what], hint)
        contexts = known_contexts(settings, publication)
        chosen = [c for c in contexts if all(getattr(c, what) == name for what, name in asked.items())]
        chosen = chosen or [Context(available=in_force.methods, **asked)]  # type: ignore[arg-type]
        return PlanView(publication, tuple(self._compile(in_force, context) for context in chosen))

    def health(self) -> Health:
        """Whether the engine does what its files say, and what to know about its plan."""
        loaded, errors = self._plan.loaded, (*self._file_errors, *self._plan.errors)
        published = loaded.publication.version is not None
        return Health(
            status="degraded" if errors else "ok" if published else "default",
            mode=loaded.settings.engine.mode,
            settings_path=loaded.settings.path,
            thresholds_path=loaded.thresholds_path,
            version=loaded.publication.version,
            failures=self._failures,
            errors=errors,
            warnings=loaded.publication.warnings,
        )

    @property
    def generation(self) -> int:
        """Number of the plan in force, from 1: it grows with every plan that replaces another."""
        return self._plan.generation

    def reload(self) -> Health:
        """Read the files again, and put in force what they say.

        A file that cannot be used, or is gone, leaves in force what it said last; `health()` says so until the file is
        good again, and counts it. Nothing changes where the files say what is in force already. Contexts that were in
        use are compiled before the new plan is taken, so that no decision waits for them. Other threads may decide
        meanwhile; each decision is of the earlier plan or of the new one. An engine without files reads nothing.

        Returns:
            The health after it.
        """
        with self._reloading:
            before = self._plan
            if before.loaded.files is not None:
                self._read_again(before, before.loaded.files)
        return self.health()

    def watch(self, interval_s: float = 0.5) -> None:
        """Have the files looked at by a thread, and read again when one was written, appeared or vanished.

        There is one thread, however often this is called; the last interval counts. A process that was forked has none
        until it calls this itself, and neither has an engine without files. What is being written is read when it has
        stayed the same for a tenth of a second.

        Args:
            interval_s: seconds between two looks, above 0.

        Raises:
            InputError: the interval is not above 0, or endless.
        """
        interval_s = check_interval(interval_s)
        with self._reloading:
            files = self._plan.loaded.files
            if self._watcher is None and files is not None:
                self._watcher = Watcher(files, self._signature, self._reload_if_changed, interval_s)
            elif self._watcher is not None:
                self._watcher.interval_s = interval_s

    def close(self) -> None:
        """End the thread that `watch` started; the engine goes on deciding by the plan in force."""
        with self._reloading:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()  # without the lock: it may be reloading

    def statistics(self) -> Statistics:
        """Counts since the engine was loaded."""
        return Statistics(
            cells=len(self._plan.compiled),
            compile_ns=self._compile_ns,
            unknown=dict(self._unknown),
            unknown_names=tuple(self._unknown_names),
            failures=self._failures,
        )

    def _reload_if_changed(self) -> None:
        with self._reloading:
            files = self._plan.loaded.files
            if files is not None and files.signature() != self._signature:
                self.reload()

    def _read_again(self, before: InForce, files: Files) -> None:
        started_ns, signature = time.perf_counter_ns(), files.signature()
        plan, errors = read_again(before, files)
        if self._plan is not before:  # a signal's handler reloaded meanwhile, and read what is newer
            return
        if plan is not before:
            self._plan = plan
            self._compile_ns += time.perf_counter_ns() - started_ns
        self._file_errors, self._signature = errors, signature
        self._failures += len(errors)

    def _resolve(self, pool: str, kind: str, format_name: str, compression: str, signalling: str) -> ReadyDecisions:
        """What `decide` does for a context that it has not met: compile it, or find the default for unknown names."""
        plan = self._plan
        names = self._known_names(plan, (pool, kind, format_name, compression, signalling))
        if names not in plan.cells:
            plan.cells[names] = ready_decisions(self._compile(plan, Context(*names, plan.methods)))
        return plan.cells[names]

    def _known_names(self, plan: InForce, names: Names) -> Names:
        """The names with every unknown one counted and replaced."""
        for name in names:
            if not isinstance(name, str):
                message = (
                    f"{shown(name)} is of type {type(name).__name__}; pool, kind, format, compression and signalling"
                )
                raise TypeError(f"{message} are text") from None
        known, unknown = replace_unknown(plan, names)
        for what, name in unknown:
            self._unknown[what] += 1
            if len(self._unknown_names) < _UNKNOWN_NAMES_KEPT:
                self._unknown_names[f"{what} {shown(name)}"] = None
        return known

    def _compile(self, plan: InForce, context: Context) -> Cell:
        if context in plan.compiled:
            return plan.compiled[context]
        started_ns = time.perf_counter_ns()
        settings = plan.loaded.settings
        try:
            cell = compile_cell(settings, plan.loaded.publication, context)
        except Exception as error:  # noqa: BLE001 - a service goes on with the defaults, whatever the curves hold
            plan.errors.append(f"the plan of {context.kind}/{context.format} cannot be compiled: {error!r}")
            self._failures += 1
            cell = compile_cell(settings, Publication(), context)
        plan.compiled[context] = cell
        self._compile_ns += time.perf_counter_ns() - started_ns
        return cell

    def _after_fork_in_child(self) -> None:
        # Its thread stayed with the parent, perhaps in the middle of a reload.
        self._reloading, self._watcher = threading.RLock(), None


_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for engine in list(_ENGINES):
        engine._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _checked_size(payload_bytes: object) -> int:
    """A size that is not plainly a positive `int`: NumPy's integers are welcome, everything else is refused."""
    if isinstance(payload_bytes, bool) or not hasattr(payload_bytes, "__index__"):
        kind = type(payload_bytes).__name__
        raise TypeError(
            f"payload_bytes == {shown(payload_bytes)} is of type {kind}; give whole bytes, such as array.nbytes"
        )
    size = operator.index(payload_bytes)
    if size < 0:
        raise InputError(f"payload_bytes == {shown(payload_bytes)} is negative; give 0 or more bytes")
    return size
