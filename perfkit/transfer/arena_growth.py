"""How an arena grows: memory from the kernel, after idle memory has made way for it.

Reserving and prefaulting take the kernel up to seconds. Without a background whoever leases pays for it; with one a
thread does, and no lease ever reserves.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from perfkit.errors import NoRoomError
from perfkit.transfer.arena_line import Line, Waiter, wake_up
from perfkit.transfer.arena_stock import SMALLEST_BLOCK_BYTES, CutRegion, Stock
from perfkit.transfer.memory import Region
from perfkit.units import format_bytes

__all__ = ["CLOSED", "Background", "Grower"]

CLOSED = "the arena is closed: no block can be leased from it any more"
_IDLE_S = 1.0  # the thread ends when nothing was asked of it for so long
_RETRY_S = 0.05  # how often it looks, while somebody waits, whether the machine has got headroom again
_JOIN_S = 5.0  # beyond it the thread ends by itself: a subscriber may wait for whoever closes the arena


class Grower:
    """Reserves regions for a stock, one at a time: the next in line may find room in it.

    Args:
        stock: what grows.
        line: who is served then, and the lock.
        prefault: see `Region`.
        named_in: see `Region`.
    """

    def __init__(self, stock: Stock, line: Line, *, prefault: bool, named_in: str | None) -> None:
        self._stock, self._line = stock, line
        self._prefault, self._named_in = prefault, named_in
        self.subscribers: tuple[Callable[[int], None], ...] = ()
        self._growing = threading.Lock()

    def grow(self, size_bytes: int, waiter: Waiter | None = None, *, is_ahead: bool = False) -> None:
        """Make room for a block of a class and serve those who wait.

        Raises:
            NoRoomError: the limit is reached or the machine has no headroom.
        """
        retired: list[CutRegion] = []
        try:
            with self._growing:
                needed_bytes = 0 if waiter and waiter.block else self._order(size_bytes, retired, is_ahead)
                if needed_bytes:
                    self._fetch(size_bytes, needed_bytes, retired, is_ahead)
        finally:
            self.give_back(retired)
            self.tell(retired)  # without any lock: it is foreign code

    def _order(self, size_bytes: int, retired: list[CutRegion], is_ahead: bool) -> int:
        """Count a new region as reserved, once idle ones have made way for it; 0 when none is needed."""
        stock, needed_bytes = self._stock, self._stock.needed_bytes(size_bytes)
        with self._line as line:
            if self._stock.is_closed:
                raise NoRoomError(CLOSED)
            missing_bytes = stock.missing_bytes(needed_bytes)
            if is_ahead:
                if not stock.wants_ahead():
                    return 0
                stock.is_ahead_tried = True
            elif stock.has_room(size_bytes) or (missing_bytes > 0 and stock.recut_idle(size_bytes)):
                line.serve()
                return 0
            elif missing_bytes > 0:
                if stock.could_free(missing_bytes):
                    retired += stock.retire_idle(missing_bytes)
                if stock.missing_bytes(needed_bytes) > 0:
                    raise NoRoomError(self._stock.fullness(needed_bytes))
            stock.reserved_bytes += needed_bytes
        return needed_bytes

    def _fetch(self, size_bytes: int, needed_bytes: int, retired: list[CutRegion], is_ahead: bool) -> None:
        """Get the region that was ordered from the kernel, and take it in."""
        is_installed = False
        region: Region | None = None
        try:
            self.give_back(retired)  # first, so that the arena is never over its limit
            region = self._reserve(size_bytes, needed_bytes, retired, is_ahead)
            with self._line as line:
                if self._stock.is_closed:
                    raise NoRoomError(CLOSED)
                if region is not None:
                    self._stock.install(region, size_bytes)
                    is_installed = True
                line.serve()
        finally:
            if not is_installed:
                with self._line:
                    self._stock.reserved_bytes -= needed_bytes
                if region is not None:
                    region.close()

    def _reserve(self, size_bytes: int, needed_bytes: int, retired: list[CutRegion], is_ahead: bool) -> Region | None:
        """A new region; None when an idle one was cut anew instead, because the machine has no headroom."""
        try:
            return self._new_region(needed_bytes)
        except NoRoomError:
            with self._line:
                if is_ahead or self._stock.is_closed:
                    raise
                if self._stock.recut_idle(size_bytes):
                    return None
                idle = self._stock.retire_idle(needed_bytes)
            if not idle:
                raise
            retired += idle
        self.give_back(retired)
        return self._new_region(needed_bytes)

    def _new_region(self, size_bytes: int) -> Region:
        try:
            return Region(size_bytes, prefault=self._prefault, named_in=self._named_in)
        except OSError as error:  # no descriptor left, or a folder that is not there
            raise NoRoomError(
                f"the kernel refused a region of {format_bytes(size_bytes)} ({error}); `perfkit doctor` shows limits"
            ) from error

    @staticmethod
    def give_back(retired: list[CutRegion]) -> None:
        """Return regions to the kernel; harmless for those that were."""
        for cut in retired:
            cut.close()

    def tell(self, retired: list[CutRegion]) -> None:
        """Tell the subscribers which regions are gone."""
        for cut in retired:
            for callback in self.subscribers:
                try:
                    callback(cut.region.id)
                except Exception:
                    # Neither the lease nor the thread that gave the region back is to blame, so neither may fail.
                    logging.getLogger(__name__).exception(
                        "a subscriber of the arena failed on region %d", cut.region.id
                    )


class Background:
    """The thread that grows an arena: started when it is needed, it ends when nothing was asked of it for a second."""

    def __init__(self, stock: Stock, line: Line, grower: Grower) -> None:
        self._stock, self._line, self._grower = stock, line, grower
        self._bell = line.bell = threading.Lock()
        self._requests: dict[int, None] = {}  # classes to make room for though nobody waits, in order
        self._thread: threading.Thread | None = None

    def request(self, size_bytes: int) -> None:
        """Have room made for one block of a class though nobody waits for it; under the lock."""
        self._requests[size_bytes] = None
        self.ring()

    def ring(self) -> None:
        """Have the thread look what there is to do; under the lock."""
        if self._stock.is_closed:
            return
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="perfkit-arena", daemon=True)
            self._thread.start()
        wake_up(self._bell)

    def close(self) -> None:
        """End the thread, after the stock was closed."""
        with self._line:
            thread = self._thread
        wake_up(self._bell)
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def _work(self) -> None:
        while not self._stock.is_closed:
            with self._line as line:
                job, room_changes = self._next_job(), line.room_changes
                if job is not None:
                    self._requests.pop(job[0], None)
            if job is not None:
                self._do(*job, room_changes)
            elif not self._bell.acquire(timeout=_RETRY_S if self._line.waiters else _IDLE_S) and self._may_end():
                return

    def _do(self, size_bytes: int, is_ahead: bool, room_changes: int) -> None:
        try:
            self._grower.grow(size_bytes, is_ahead=is_ahead)
        except NoRoomError as error:
            if not is_ahead:  # growing ahead was nobody's wish, so that its failure is nobody's error
                with self._line as line:
                    line.refuse(size_bytes, str(error), room_changes)

    def _next_job(self) -> tuple[int, bool] | None:
        """What to make room for, and whether that is only ahead of need."""
        for waiter in self._line.waiters:
            if waiter.is_patient and waiter.size_bytes not in self._line.hopeless:
                return waiter.size_bytes, False
        for size_bytes in self._requests:
            return size_bytes, False
        return (SMALLEST_BLOCK_BYTES, True) if self._stock.wants_ahead() else None

    def _may_end(self) -> bool:
        """Whether the thread has nothing to do; then it ends, and the next request starts another."""
        with self._line as line:
            line.hopeless.clear()
            if self._next_job() is not None and not self._stock.is_closed:
                return False
            self._thread = None
            return True
