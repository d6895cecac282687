"""The engine: which method to take, answered by a dictionary lookup and a `bisect`."""

from __future__ import annotations

import operator
import time
from bisect import bisect_right
from collections import Counter
from pathlib import Path

from perfkit.config.settings import DEFAULT_POOL
from perfkit.config.source import shown
from perfkit.engine.costs import Context
from perfkit.engine.decision import Decision, ReadyDecisions, ready_decisions
from perfkit.engine.loading import Loaded, load_files
from perfkit.engine.plan import Cell, Publication, compile_cell, known_contexts, known_methods
from perfkit.engine.status import Health, Statistics
from perfkit.engine.view import PlanView
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
    lock, and nothing in a file makes it raise.

    >>> engine = Engine.load("no-such-folder/perfkit.toml")
    >>> engine.decide(64 * 2**20, kind="tensor", format="numpy").method
    'shm_pool'
    >>> engine.health().status
    'default'
    """

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._settings = loaded.settings
        self._publication = loaded.publication
        self._methods = known_methods(loaded.publication)
        self._codecs = {
            (codec.kind, codec.format, codec.compression)
            for codec in (loaded.publication.curves.codecs if loaded.publication.curves else ())
        }
        self._cells: dict[tuple[str, str, str, str, str], ReadyDecisions] = {}
        self._compiled: dict[Context, Cell] = {}
        self._compile_ns = 0
        self._errors = list(loaded.errors)
        self._unknown: Counter[str] = Counter()
        self._unknown_names: dict[str, None] = {}

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
        return cls(load_files(settings_path, thresholds_path))

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
            edges, decisions = self._cells[pool, kind, format, compression, signalling]
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
        names = self._known_names(pool, kind, format, compression, signalling)
        context = Context(*names, tuple(available) if available else self._methods, in_place, in_flight)
        return Binding(ready_decisions(self._compile(context)))

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
        asked = {"pool": pool, "kind": kind, "format": format, "compression": compression, "signalling": signalling}
        asked = {what: name for what, name in asked.items() if name is not None}
        known = {"pool": tuple(self._settings.pools), "kind": KINDS, "format": FORMATS}
        known |= {"compression": COMPRESSIONS, "signalling": SIGNALLINGS}
        for what, name in asked.items():
            if name not in known[what]:
                hint = f"Or write [pools.{name}] into perfkit.toml." if what == "pool" else ""
                raise UnknownNameError(what, name, known[what], hint)
        contexts = known_contexts(self._settings, self._publication)
        chosen = [c for c in contexts if all(getattr(c, what) == name for what, name in asked.items())]
        chosen = chosen or [Context(available=self._methods, **asked)]  # type: ignore[arg-type]
        return PlanView(self._publication, tuple(self._compile(context) for context in chosen))

    def health(self) -> Health:
        """Whether the engine does what its files say, and what to know about its plan."""
        published = self._publication.version is not None
        return Health(
            status="degraded" if self._errors else "ok" if published else "default",
            mode=self._settings.mode,
            settings_path=self._settings.path,
            thresholds_path=self._loaded.thresholds_path,
            version=self._publication.version,
            failures=len(self._errors),
            errors=tuple(self._errors),
            warnings=self._publication.warnings,
        )

    def statistics(self) -> Statistics:
        """Counts since the engine was loaded."""
        return Statistics(
            cells=len(self._compiled),
            compile_ns=self._compile_ns,
            unknown=dict(self._unknown),
            unknown_names=tuple(self._unknown_names),
            failures=len(self._errors),
        )

    def _resolve(self, pool: str, kind: str, format_name: str, compression: str, signalling: str) -> ReadyDecisions:
        """What `decide` does for a context that it has not met: compile it, or find the default for unknown names."""
        names = self._known_names(pool, kind, format_name, compression, signalling)
        if names not in self._cells:
            self._cells[names] = ready_decisions(self._compile(Context(*names, self._methods)))
        return self._cells[names]

    def _known_names(
        self, pool: str, kind: str, format_name: str, compression: str, signalling: str
    ) -> tuple[str, str, str, str, str]:
        """The names with every unknown one counted and replaced, so that the plan stays small whatever is asked."""
        for name in (pool, kind, format_name, compression, signalling):
            if not isinstance(name, str):
                message = (
                    f"{shown(name)} is of type {type(name).__name__}; pool, kind, format, compression and signalling"
                )
                raise TypeError(f"{message} are text") from None
        if pool not in self._settings.pools:
            self._count_unknown("pool", pool)
            pool = DEFAULT_POOL
        codec = (kind, format_name, compression)
        if not (kind in KINDS and format_name in FORMATS and compression in COMPRESSIONS) and codec not in self._codecs:
            self._count_unknown("codec", "/".join(codec))
            codec = ("binary", "raw", "none")
        if signalling not in SIGNALLINGS:
            self._count_unknown("signalling", signalling)
            signalling = SIGNALLINGS[0]
        return (pool, *codec, signalling)

    def _count_unknown(self, what: str, name: str) -> None:
        self._unknown[what] += 1
        if len(self._unknown_names) < _UNKNOWN_NAMES_KEPT:
            self._unknown_names[f"{what} {shown(name)}"] = None

    def _compile(self, context: Context) -> Cell:
        if context in self._compiled:
            return self._compiled[context]
        started_ns = time.perf_counter_ns()
        try:
            cell = compile_cell(self._settings, self._publication, context)
        except Exception as error:  # noqa: BLE001 - a service goes on with the defaults, whatever the curves hold
            self._errors.append(f"the plan of {context.kind}/{context.format} cannot be compiled: {error!r}")
            cell = compile_cell(self._settings, Publication(), context)
        self._compiled[context] = cell
        self._compile_ns += time.perf_counter_ns() - started_ns
        return cell


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
