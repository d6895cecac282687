"""Who waits for a block of an arena, and the lock under which blocks are handed out.

A block may be released where nothing may block: in a finalizer that runs while this very thread holds the lock.
So releasing only *offers* the block: it tries the lock, and when somebody has it, that somebody settles the offer.
For the same reason waiting is built on bare locks: unlike events they can be released from anywhere.
"""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

from perfkit.transfer.arena_stock import Block, Stock

__all__ = ["Line", "Waiter", "wake_up"]


class Waiter:
    """One lease that could not be granted at once."""

    __slots__ = ("block", "is_patient", "reason", "size_bytes", "wake")

    def __init__(self, size_bytes: int, *, is_patient: bool) -> None:
        self.size_bytes, self.is_patient = size_bytes, is_patient
        self.block: Block | None = None  # what it was handed
        self.reason = ""  # why the arena could not grow for it
        self.wake = threading.Lock()
        self.wake.acquire()


class Line:
    """Those who wait, first come first served in each size class. Used as a context it is the arena's lock.

    Args:
        stock: where blocks come from.
    """

    def __init__(self, stock: Stock) -> None:
        self.waiters: list[Waiter] = []
        self.hopeless: dict[int, str] = {}  # classes for which the arena cannot grow now, and why
        self.room_changes = 0  # how often memory became idle that could be given back
        self.bell: threading.Lock | None = None  # wakes the thread that grows the arena, where there is one
        self._stock = stock
        self._lock = threading.Lock()
        self._offers: list[Block] = []

    def __enter__(self) -> Line:
        self._lock.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        self._settle()

    def offer(self, block: Block) -> None:
        """Say without blocking that a block was made free while somebody waited. Not under the lock."""
        self._offers.append(block)
        self._settle()

    def enter(self, waiter: Waiter) -> None:
        """Join the end, and be served at once if that needs no new memory; at the limit an idle region is cut anew."""
        waiter.reason = self.hopeless.get(waiter.size_bytes, "")
        self.waiters.append(waiter)
        self.serve()
        is_at_limit = self._stock.missing_bytes(self._stock.needed_bytes(waiter.size_bytes)) > 0
        if waiter.block is None and is_at_limit and self._stock.recut_idle(waiter.size_bytes):
            self.serve()

    def leave(self, waiter: Waiter) -> None:
        """Stop waiting; `waiter.block` does not change any more."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def give_up(self, waiter: Waiter) -> None:
        """Stop waiting, and pass on what was handed over meanwhile."""
        self.leave(waiter)
        if waiter.block is not None:
            block, waiter.block = waiter.block, None
            self._stock.put_back(block)
            self._offers.append(block)  # settled with the end of the lock

    def serve(self) -> None:
        """Hand out what there is, in the order of arrival."""
        unserved: set[int] = set()
        for waiter in tuple(self.waiters):
            if waiter.size_bytes in unserved:
                continue
            block = self._stock.take(waiter.size_bytes)
            if block is None:
                unserved.add(waiter.size_bytes)
                continue
            self.waiters.remove(waiter)
            waiter.block = block
            wake_up(waiter.wake)

    def refuse(self, size_bytes: int, reason: str, room_changes: int) -> None:
        """Note why those who wait for a class cannot be served now; it is worth a try again if room changed since."""
        if room_changes == self.room_changes:
            self.hopeless[size_bytes] = reason
        for waiter in self.waiters:
            if waiter.size_bytes == size_bytes:
                waiter.reason = reason

    def try_again(self) -> None:
        """Have those who grow the arena try again: memory that can be given back has become idle."""
        self.hopeless.clear()
        self.room_changes += 1
        if self.bell is not None:
            wake_up(self.bell)
        else:
            self.wake_all()

    def wake_all(self) -> None:
        """Let everybody look again at how things are."""
        for waiter in self.waiters:
            wake_up(waiter.wake)

    def _settle(self) -> None:
        # Whoever fails to get the lock here is seen by its holder, who comes by after giving it up.
        while self._offers and self._lock.acquire(blocking=False):
            try:
                offers = [self._offers.pop() for _ in range(len(self._offers))]
                self.serve()
                if self.waiters and any(self._is_idle(block) for block in offers):
                    self.try_again()
            finally:
                self._lock.release()

    def _is_idle(self, block: Block) -> bool:
        cut = self._stock.regions.get(block.region.id)
        return cut is not None and cut.seems_idle()


def wake_up(wake: threading.Lock) -> None:
    """Wake who sleeps on a lock, or will; harmless when it is awake."""
    with contextlib.suppress(RuntimeError):  # woken already
        wake.release()
