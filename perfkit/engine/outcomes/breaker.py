"""Circuit breakers: a method that fails again and again is left alone for a while."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection

from perfkit.config.engine_settings import BreakerSettings

__all__ = ["BreakerState", "Breakers"]

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerState:
    """What the breaker of one method says.

    Args:
        method: transfer method.
        state: ``closed`` (taken as usual), ``open`` (left alone), or ``half_open`` (one transfer at a time may try).
        failures: consecutive failures.
        error: what failed last; empty where nobody said.
        retry_in_ns: until one transfer may try; 0 unless it is open.
        opened: how often it opened since it was made.
    """

    method: str
    state: str
    failures: int
    error: str
    retry_in_ns: int
    opened: int


class _Breaker:
    __slots__ = ("error", "failures", "is_open", "opened", "probed_at", "wait_from")

    def __init__(self) -> None:
        self.failures = 0
        self.error = ""
        self.is_open = False
        self.opened = 0
        self.wait_from = 0
        self.probed_at: int | None = None


class Breakers:
    """One breaker per method, shared by all pools: a method fails with the machine or the peer, not with a pool.

    Closed until `failures` transfers in a row have failed, then open for `open_ns`, then half-open: one transfer at a
    time may try. Its success closes the breaker, its failure opens it for as long again. A failure that comes in while
    the breaker is open changes nothing: that transfer was under way. Safe under threads; `is_clean` takes no lock.

    Args:
        settings: failures in a row, and how long a breaker stays open.
        clock: monotonic nanoseconds; a jump of the wall clock does not matter.

    >>> breakers = Breakers(BreakerSettings(failures=2))
    >>> breakers.record_failure("uds", "PeerLostError"), breakers.record_failure("uds", "PeerLostError")
    (False, True)
    >>> sorted(breakers.open_methods(available=("uds", "grpc")))
    ['uds']
    >>> sorted(breakers.open_methods(available=("uds",)))
    []
    """

    def __init__(self, settings: BreakerSettings, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = threading.RLock()  # reentrant: a signal's handler may record, too
        self.failing: dict[str, _Breaker] = {}
        """Methods that failed since their last success: while it is empty, a success has nothing to tell."""

    def use(self, settings: BreakerSettings) -> None:
        """Follow other settings from now on; what failed stays known."""
        self._settings = settings

    def is_clean(self, method: str) -> bool:
        """Whether a success of the method has nothing to change: it never failed, or succeeded since."""
        return method not in self.failing

    def record_failure(self, method: str, error: str | None = None) -> bool:
        """Count a failed transfer.

        Args:
            method: the method that was taken.
            error: name of the exception, or a short text.

        Returns:
            Whether the breaker opened now, so that the methods to leave alone have changed.
        """
        with self._lock:
            breaker = self.failing.get(method)
            if breaker is None:
                breaker = self.failing[method] = _Breaker()
            breaker.failures += 1
            breaker.error = error or ""
            now = self._clock()
            state = self._state(breaker, now)
            if state == OPEN or (state == CLOSED and breaker.failures < self._settings.failures):
                return False
            breaker.is_open = True
            breaker.opened += 1
            breaker.wait_from, breaker.probed_at = now, None
            return True

    def record_success(self, method: str) -> bool:
        """Count a successful transfer; with `is_clean`, there is no need to.

        A success while the breaker is open is of a transfer that was under way when it opened: it does not close it.

        Returns:
            Whether the breaker closed now, so that the methods to leave alone have changed.
        """
        with self._lock:
            breaker = self.failing.get(method)
            if breaker is None or self._state(breaker, self._clock()) == OPEN:
                return False
            was_open = breaker.is_open
            del self.failing[method]
            return was_open

    def open_methods(self, available: Collection[str] | None = None) -> frozenset[str]:
        """Methods that no decision may take, those that are half-open among them: only a probe takes these.

        Args:
            available: methods that the decision may choose from. Where all of them are open, the one whose turn comes
                first is not reported: a service must send by something, and its next outcome says whether it works. By
                default nothing is held back, and whoever excludes the methods must keep one.
        """
        with self._lock:
            opened = {name: breaker.wait_from for name, breaker in self.failing.items() if breaker.is_open}
        if available is not None and opened and all(name in opened for name in available):
            for name in sorted(available, key=lambda name: opened[name])[:1]:
                del opened[name]
        return frozenset(opened)

    def half_open(self) -> frozenset[str]:
        """Methods whose breaker has been open for long enough: a transfer may try (`take_probe`)."""
        now = self._clock()
        with self._lock:
            return frozenset(n for n, breaker in self.failing.items() if self._state(breaker, now) == HALF_OPEN)

    def take_probe(self, method: str) -> bool:
        """Ask to be the one transfer that tries a half-open method.

        Returns:
            Whether this transfer may. Its outcome must be recorded; a probe that never reports back is given to another
            transfer after `open_ns`.
        """
        with self._lock:
            breaker, now = self.failing.get(method), self._clock()
            if breaker is None or self._state(breaker, now) != HALF_OPEN:
                return False
            if breaker.probed_at is not None and now - breaker.probed_at < self._settings.open_ns:
                return False
            breaker.probed_at = now
            return True

    def states(self) -> tuple[BreakerState, ...]:
        """The breaker of every method that has failed since its last success, by name."""
        now = self._clock()
        with self._lock:
            return tuple(
                BreakerState(
                    name,
                    self._state(breaker, now),
                    breaker.failures,
                    breaker.error,
                    self._left(breaker, now) if breaker.is_open else 0,
                    breaker.opened,
                )
                for name, breaker in sorted(self.failing.items())
            )

    def after_fork_in_child(self) -> None:
        """Make usable in a child what another thread of the parent may have held while it forked."""
        self._lock = threading.RLock()

    def _left(self, breaker: _Breaker, now: int) -> int:
        return max(self._settings.open_ns - (now - breaker.wait_from), 0)

    def _state(self, breaker: _Breaker, now: int) -> str:
        if not breaker.is_open:
            return CLOSED
        return OPEN if self._left(breaker, now) else HALF_OPEN
