"""The arena: reserved, prefaulted regions cut into blocks that are leased, written, announced and reused.

`perfkit.transfer.arena_stock` has the regions and blocks, `perfkit.transfer.arena_line` those who wait, and
`perfkit.transfer.arena_growth` gets memory from the kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any

from perfkit.errors import InputError, NoRoomError
from perfkit.tables import ResultTable
from perfkit.transfer.arena_growth import CLOSED, Background, Grower
from perfkit.transfer.arena_line import Line, Waiter
from perfkit.transfer.arena_stock import Block, Stock, size_class
from perfkit.units import format_bytes, format_duration

__all__ = ["Arena", "ArenaStatistics", "Block", "size_class"]

DEFAULT_REGION_BYTES = 16 * 2**20
DEFAULT_LIMIT_BYTES = 2**30
_LONGEST_WAIT_S = 10**9  # what a lock takes


@dataclasses.dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """What an arena holds now, and what became of its leases.

    Args:
        limit_bytes: the arena never reserves more.
        reserved_bytes: what it has from the kernel, or is about to get.
        cut_bytes: what of that was cut into blocks: `leased_bytes` and `free_bytes`.
        leased_blocks: blocks under lease.
        leased_bytes: their size.
        free_bytes: size of the blocks that can be leased at once.
        regions: how many regions it has.
        refused: leases that were refused.
        waits: leases that waited for a block.
        waited_ns: how long, together.
        waiting: leases that wait now.
        late_views: views that a peer kept after it had answered.
    """

    limit_bytes: int
    reserved_bytes: int
    cut_bytes: int
    leased_blocks: int
    leased_bytes: int
    free_bytes: int
    regions: int
    refused: int
    waits: int
    waited_ns: int
    waiting: int
    late_views: int

    def to_plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return dataclasses.asdict(self)

    def to_table(self) -> ResultTable:
        """The figures as a table."""
        rows = tuple((name, _formatted(name, value)) for name, value in self.to_plain().items())
        return ResultTable("Arena", ("what", "how much"), rows, align_right=(1,))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


class Arena:
    """Leases blocks of shared memory to one sender; safe to use from several threads.

    Args:
        limit_bytes: the arena never reserves more than this.
        region_bytes: what it reserves at a time, at most the limit; a larger block gets a region of its own.
        prefault: touch the pages when they are reserved rather than at first use.
        named_in: see `Region`.
        background: reserve in a thread of the arena's own, ahead of need where it can, and never in the caller's.
    """

    def __init__(
        self,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        *,
        region_bytes: int = DEFAULT_REGION_BYTES,
        prefault: bool = True,
        named_in: str | None = None,
        background: bool = False,
    ) -> None:
        self._stock = Stock(limit_bytes, region_bytes)
        self._line = Line(self._stock)
        self._free, self._waiters = self._stock.free, self._line.waiters  # what leasing and releasing look at
        self._grower = Grower(self._stock, self._line, prefault=prefault, named_in=named_in)
        self._background = Background(self._stock, self._line, self._grower) if background else None
        self._refused = self._waits = self._waited_ns = self._late_views = 0

    # --- leases ----------------------------------------------------------------------------------------------------

    def lease(self, wire_bytes: int, *, wait_s: float = 0.0) -> Block:
        """A block of at least `wire_bytes`, held once.

        Args:
            wire_bytes: what is to be written.
            wait_s: how long to wait for a block that is released, or for a region that the background prepares. Who
                asks for the same size class is served in the order of asking.

        Raises:
            NoRoomError: the limit is reached, the machine has no headroom or, with `background`, room is only being
                prepared; another method can carry the payload.
        """
        size_bytes = size_class(wire_bytes)
        free = self._free.get(size_bytes)
        if free and not self._waiters:
            try:
                block = free.pop()
            except IndexError:  # another thread took the last one
                pass
            else:
                block.home = free
                return block
        return self._lease_slowly(size_bytes, wait_s)

    def retain(self, block: Block) -> None:
        """Hold a block once more; only for somebody who holds it. Each holder releases it.

        Raises:
            InputError: nobody holds the block.
        """
        if block.home is None:
            raise InputError("a block that nobody holds cannot be retained: retain it before it is released")
        block.shares.append(None)

    def release(self, block: Block) -> None:
        """Let go of a block; when nobody holds it any more it may be leased again at once.

        Never blocks, so that a finalizer may call it. After `close` it is harmless.

        Raises:
            InputError: nobody holds the block.
        """
        if block.shares:
            try:
                block.shares.pop()
            except IndexError:  # another holder was quicker: this is the last one
                pass
            else:
                return
        home = block.home
        if home is None:
            if self._stock.is_closed:
                return
            raise InputError("the block was released already: release it once for each lease and retain")
        block.home = None
        home.append(block)
        if self._waiters:
            self._line.offer(block)

    def prepare(self, wire_bytes: int) -> None:
        """Have the background make room for one block of this size, ahead of its lease; does not wait.

        Without `background` the room is made here. That there is no room is said by the lease, not here.
        """
        size_bytes = size_class(wire_bytes)
        if self._never_fits(size_bytes):
            return
        if self._background is not None:
            with self._line:
                if not self._stock.has_room(size_bytes):
                    self._background.request(size_bytes)
        else:
            with contextlib.suppress(NoRoomError):
                self._grower.grow(size_bytes)

    # --- what is seen of it ----------------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[int], None]) -> None:
        """Have ``callback(region_id)`` called for each region that was given back, so that peers can unmap it.

        It is called in the thread that gave the region back, and must not lease.
        """
        with self._line:
            self._grower.subscribers += (callback,)

    def unsubscribe(self, callback: Callable[[int], None]) -> None:
        """Call it no more; harmless when it was not subscribed."""
        with self._line:
            others = tuple(each for each in self._grower.subscribers if each != callback)
            self._grower.subscribers = others

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: nothing is leased any more, and what comes back is dropped."""
        return self._stock.is_closed

    def note_late_view(self) -> None:
        """Count a view that a peer kept after it had answered."""
        with self._line:
            self._late_views += 1

    def stats(self) -> ArenaStatistics:
        """Current use; see `ArenaStatistics`."""
        with self._line:
            stock = self._stock
            free_blocks, free_bytes = stock.free_bytes()
            return ArenaStatistics(
                limit_bytes=stock.limit_bytes,
                reserved_bytes=stock.reserved_bytes,
                cut_bytes=stock.cut_bytes,
                leased_blocks=stock.cut_blocks - free_blocks,
                leased_bytes=stock.cut_bytes - free_bytes,
                free_bytes=free_bytes,
                regions=len(stock.regions),
                refused=self._refused,
                waits=self._waits,
                waited_ns=self._waited_ns,
                waiting=len(self._waiters),
                late_views=self._late_views,
            )

    def in_use(self) -> tuple[int, int]:
        """Bytes under lease, and the most that the arena may hold; nothing of either once it is closed.

        It takes no lock, so that anybody may ask at any time, even after a fork; the figure may be a moment old.
        """
        stock = self._stock
        if stock.is_closed:
            return 0, 0
        free_bytes = sum(size_bytes * len(blocks) for size_bytes, blocks in list(stock.free.items()))
        return max(stock.cut_bytes - free_bytes, 0), stock.limit_bytes

    def close(self) -> None:
        """Refuse all who wait and give all memory back; a view that somebody still holds keeps its own region alive."""
        with self._line as line:
            retired = self._stock.close()
            line.wake_all()
        self._grower.give_back(retired)
        self._grower.tell(retired)
        if self._background is not None:
            self._background.close()

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _lease_slowly(self, size_bytes: int, wait_s: float) -> Block:
        with self._line:
            block = None if self._waiters else self._stock.take(size_bytes)
            if self._background is not None and self._stock.wants_ahead():
                self._background.ring()
        return block or self._stand_in_line(size_bytes, wait_s)

    def _stand_in_line(self, size_bytes: int, wait_s: float) -> Block:
        waiter = Waiter(size_bytes, is_patient=wait_s > 0)
        started_ns, has_slept = time.monotonic_ns(), False
        try:
            with self._line as line:
                line.enter(waiter)
            if waiter.block is None and not self._never_fits(size_bytes):
                has_slept = self._wait(waiter, started_ns + int(min(wait_s, _LONGEST_WAIT_S) * 1e9))
            with self._line as line:
                line.leave(waiter)
                waited_ns = time.monotonic_ns() - started_ns if has_slept else 0
                self._waits += has_slept
                self._waited_ns += waited_ns
                if waiter.block is None:
                    self._refused += 1
                    raise self._refusal(waiter, waited_ns)
                return waiter.block
        except BaseException:  # an interrupt while it waited, too
            with self._line as line:
                line.give_up(waiter)
            raise

    def _wait(self, waiter: Waiter, deadline_ns: int) -> bool:
        """Until there is a block for it, the time is over or the arena is closed; whether it slept."""
        has_slept = False
        while not self._stock.is_closed:
            waiter.wake.acquire(blocking=False)  # what woke it before is looked at now
            self._pursue(waiter)
            left_ns = deadline_ns - time.monotonic_ns()
            if waiter.block is not None or left_ns <= 0:
                break
            has_slept = True
            waiter.wake.acquire(timeout=left_ns / 1e9)
        return has_slept

    def _pursue(self, waiter: Waiter) -> None:
        """Grow for a waiter: here, until it is served or there is no room; or by the background."""
        if self._background is not None:
            with self._line:
                if waiter.block is None and waiter.is_patient:
                    self._background.ring()
                elif waiter.block is None:
                    self._background.request(waiter.size_bytes)
            return
        try:
            while waiter.block is None:
                self._grower.grow(waiter.size_bytes, waiter)
        except NoRoomError as error:
            waiter.reason = str(error)

    def _refusal(self, waiter: Waiter, waited_ns: int) -> NoRoomError:
        if self._stock.is_closed:
            return NoRoomError(CLOSED)
        stock, wanted = self._stock, f"a block of {format_bytes(waiter.size_bytes)}"
        needed_bytes = stock.needed_bytes(waiter.size_bytes)
        is_full = self._never_fits(waiter.size_bytes) or not stock.could_free(stock.missing_bytes(needed_bytes))
        reason = stock.fullness(needed_bytes) if is_full else waiter.reason
        if waited_ns:
            return NoRoomError(
                f"waited {format_duration(waited_ns)} for {wanted}, and none was released"
                f"{'' if self._background is None else ' or prepared'}"
                f"{f' ({reason})' if reason else ''}; release blocks sooner, wait longer, or raise the arena's limit"
            )
        if self._background is None or is_full:
            return NoRoomError(reason)
        return NoRoomError(
            f"{wanted} is being prepared in the background{f'; it failed before: {reason}' if reason else ''}; "
            "lease again, wait with `wait_s`, or let another method carry the payload"
        )

    def _never_fits(self, size_bytes: int) -> bool:
        return self._stock.needed_bytes(size_bytes) > self._stock.limit_bytes


def _formatted(name: str, value: int) -> str:
    if name.endswith("_bytes"):
        return format_bytes(value)
    return format_duration(value) if name.endswith("_ns") else f"{value:,}"
