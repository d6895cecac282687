"""Functions of a service that an engine calls when something happens: never on the way of a decision."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from perfkit.config.source import shown
from perfkit.engine.events import EVENTS, EngineEvent

__all__ = ["Event", "Hook", "HookHealth", "Hooks"]

Event = TypeVar("Event", bound=EngineEvent)
"""One kind of event."""

_MOST_FAILURES = 100
_LOGGER = logging.getLogger("perfkit.engine.hooks")
_LOGGER.addHandler(logging.NullHandler())  # a service that set up no logging must not see these on standard error


class Hook(Generic[Event]):
    """A function that is called with events of one kind; made by `Engine.on`.

    Its figures are written by one thread at a time: the engine's own, or the one that reloads.
    """

    __slots__ = ("_hooks", "calls", "event", "failures", "failures_in_a_row", "function", "spent_ns")

    def __init__(self, hooks: Hooks, event: type[Event], function: Callable[[Event], object]) -> None:
        self._hooks = hooks
        self.event, self.function = event, function
        self.calls = self.failures = self.failures_in_a_row = self.spent_ns = 0

    @property
    def name(self) -> str:
        """What messages call it."""
        return getattr(self.function, "__qualname__", None) or repr(self.function)

    def remove(self) -> None:
        """Call it no more; it may be in the middle of its last call. To remove it again does nothing."""
        self._hooks._remove(self)

    def _call(self, event: Event) -> None:
        started_ns = time.perf_counter_ns()
        try:
            self.function(event)
        except (
            BaseException
        ) as error:  # somebody else's code must not take the engine's thread down, whatever it raises
            if isinstance(error, KeyboardInterrupt):
                raise
            self.failures += 1
            self.failures_in_a_row += 1
            if self.failures == 1:
                _LOGGER.warning("hook %s failed on %r; told once", self.name, event.name, exc_info=True)
        else:
            self.failures_in_a_row = 0
        finally:
            self.calls += 1
            self.spent_ns += time.perf_counter_ns() - started_ns


@dataclasses.dataclass(frozen=True, slots=True)
class HookHealth:
    """How an engine's hooks do.

    Args:
        hooks: how many there are.
        calls: how often one was called.
        failures: how often one raised.
        removed: hooks that were removed because they raised a hundred times in a row.
        time_share: share of the engine's life that was spent in hooks, 0 to 1.
        slowest: the hook in which most of it was spent; empty without any.
    """

    hooks: int
    calls: int
    failures: int
    removed: tuple[str, ...]
    time_share: float
    slowest: str

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {**dataclasses.asdict(self), "removed": list(self.removed)}


class Hooks:
    """The hooks of one engine.

    They are called in the order in which they were added, by the engine's thread, or by whoever calls `reload`. A hook
    that raises is counted and told once in the log, never raises further, and is removed after a hundred failures in a
    row. One that is slow makes the engine react late, but no decision: `health` says how much time they take.

    Args:
        log: what every event that is not just for debugging is told first; it counts as no hook.

    >>> from perfkit.engine.events import RowsDropped
    >>> hooks = Hooks()
    >>> hook = hooks.add(RowsDropped, lambda event: print(event.message))
    >>> hooks.emit(RowsDropped(rows=2, total=5))
    2 rows dropped, 5 since the start
    >>> hook.remove()
    >>> hooks.wants(RowsDropped)
    False
    """

    def __init__(self, log: Callable[[EngineEvent], object] | None = None) -> None:
        self._log = log
        self._hooks: tuple[Hook[Any], ...] = ()
        self._changing = threading.RLock()  # a signal's handler may add one, too
        self._made_ns = time.perf_counter_ns()
        self._gone = [0, 0, 0]  # calls, failures and time of those that were removed
        self._removed: list[str] = []

    def add(self, event: type[Event], function: Callable[[Event], object]) -> Hook[Event]:
        """Have a function called with every event of a kind.

        Args:
            event: one of `perfkit.engine.events.EVENTS`, or `EngineEvent` for all of them.
            function: takes the event; what it returns is ignored.

        Returns:
            The hook, to remove it.

        Raises:
            TypeError: `event` is no kind of event, or `function` cannot be called.
        """
        allowed: tuple[type[EngineEvent], ...] = (EngineEvent, *EVENTS)
        if event not in allowed:
            names = ", ".join(kind.__name__ for kind in allowed)
            raise TypeError(f"event == {shown(event)}, must be one of the classes {names} of perfkit.engine.events")
        if not callable(function):
            raise TypeError(f"function == {shown(function)}, must be a function that takes the event")
        hook = Hook(self, event, function)
        with self._changing:
            self._hooks = (*self._hooks, hook)
        return hook

    def wants(self, event: type[EngineEvent]) -> bool:
        """Whether anybody is called with events of this kind: what nobody wants need not be made."""
        hooks = self._hooks
        return bool(hooks) and any(issubclass(event, hook.event) for hook in hooks)

    def emit(self, event: EngineEvent) -> None:
        """Call every hook that wants this event. Raises nothing."""
        if self._log is not None and event.severity != "debug":
            with contextlib.suppress(Exception):  # a handler of a service's logging may raise
                self._log(event)
        for hook in self._hooks:
            if isinstance(event, hook.event):
                hook._call(event)
                if hook.failures_in_a_row >= _MOST_FAILURES:
                    hook.remove()
                    self._removed.append(hook.name)
                    _LOGGER.error("hook %s removed: it failed %d times in a row", hook.name, _MOST_FAILURES)

    def health(self) -> HookHealth:
        """How the hooks do since the engine was loaded."""
        with self._changing:
            hooks, (calls, failures, spent_ns) = self._hooks, self._gone
        slowest = max(hooks, key=lambda hook: hook.spent_ns, default=None)
        spent_ns += sum(hook.spent_ns for hook in hooks)
        return HookHealth(
            hooks=len(hooks),
            calls=calls + sum(hook.calls for hook in hooks),
            failures=failures + sum(hook.failures for hook in hooks),
            removed=tuple(self._removed),
            time_share=spent_ns / max(time.perf_counter_ns() - self._made_ns, 1),
            slowest=slowest.name if slowest is not None and slowest.spent_ns else "",
        )

    def abandon_in_child(self) -> None:
        """After a fork: another thread may have been adding one."""
        self._changing = threading.RLock()

    def _remove(self, hook: Hook[Any]) -> None:
        with self._changing:
            if hook in self._hooks:
                self._hooks = tuple(one for one in self._hooks if one is not hook)
                figures = (hook.calls, hook.failures, hook.spent_ns)
                self._gone = [before + more for before, more in zip(self._gone, figures, strict=True)]
