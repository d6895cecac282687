"""The arena: reserved, prefaulted regions cut into blocks that are leased, written, announced and reused.

Blocks are cut in size classes, four to each doubling, so that at most a fifth of a block is wasted. A returned block
goes to the top of its class's stack: the next lease gets memory that is still in the processor's cache.
"""

from __future__ import annotations

import dataclasses
import threading

from perfkit.errors import NoRoomError
from perfkit.transfer.memory import Region
from perfkit.units import format_bytes

__all__ = ["Arena", "ArenaStatistics", "Block", "size_class"]

_SMALLEST_BLOCK_BYTES = 4096
DEFAULT_REGION_BYTES = 16 * 2**20
DEFAULT_LIMIT_BYTES = 2**30


class Block:
    """A piece of a region. Whoever holds the lease may write `view`; `Arena.release` ends the lease."""

    __slots__ = ("offset", "region", "size_bytes", "view")

    def __init__(self, region: Region, offset: int, size_bytes: int) -> None:
        self.region, self.offset, self.size_bytes = region, offset, size_bytes
        self.view = region.view[offset : offset + size_bytes]


@dataclasses.dataclass(frozen=True, slots=True)
class ArenaStatistics:
    """What an arena holds: reserved from the kernel, cut into blocks, under lease now; leases refused so far."""

    reserved_bytes: int
    cut_bytes: int
    leased_blocks: int
    refused: int


def size_class(wire_bytes: int) -> int:
    """The block size that a payload gets: a quarter step between powers of two, at least one page.

    >>> size_class(1), size_class(4097), size_class(10 * 2**20), size_class(10 * 2**20 + 1)
    (4096, 5120, 10485760, 12582912)
    """
    if wire_bytes <= _SMALLEST_BLOCK_BYTES:
        return _SMALLEST_BLOCK_BYTES
    step = 1 << (wire_bytes - 1).bit_length() - 3
    return -(-wire_bytes // step) * step


class Arena:
    """Leases blocks of shared memory to one sender; safe to use from several threads.

    Args:
        limit_bytes: the arena never reserves more than this.
        region_bytes: what it reserves at a time; a larger block gets a region of its own.
        prefault: touch the pages when they are reserved rather than at first use.
        named_in: see `Region`.
    """

    def __init__(
        self,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        *,
        region_bytes: int = DEFAULT_REGION_BYTES,
        prefault: bool = True,
        named_in: str | None = None,
    ) -> None:
        self._limit_bytes, self._region_bytes = limit_bytes, region_bytes
        self._prefault, self._named_in = prefault, named_in
        self._free: dict[int, list[Block]] = {}
        self._regions: list[Region] = []
        self._cut_to = 0  # how far the newest shared region is cut
        self._current: Region | None = None
        self._cut_bytes = self._cut_blocks = self._refused = 0
        self._lock = threading.Lock()

    def lease(self, wire_bytes: int) -> Block:
        """A block of at least `wire_bytes`.

        Raises:
            NoRoomError: the limit is reached or the machine has no headroom; another method can carry the payload.
        """
        size_bytes = size_class(wire_bytes)
        free = self._free.get(size_bytes)
        if free:
            try:
                return free.pop()
            except IndexError:  # another thread took the last one
                pass
        return self._cut(size_bytes)

    def release(self, block: Block) -> None:
        """End the lease; the block may be leased again at once. After `close` it is dropped."""
        free = self._free.get(block.size_bytes)
        if free is not None:
            free.append(block)

    def statistics(self) -> ArenaStatistics:
        """Current use; see `ArenaStatistics`."""
        with self._lock:
            free_blocks = sum(len(blocks) for blocks in self._free.values())
            return ArenaStatistics(
                self._reserved_bytes(), self._cut_bytes, self._cut_blocks - free_blocks, self._refused
            )

    def close(self) -> None:
        """Give all memory back; a view that somebody still holds keeps its own region alive."""
        with self._lock:
            self._free.clear()
            self._current = None
            self._limit_bytes = 0
            regions, self._regions = self._regions, []
        for region in regions:
            region.close()

    def _cut(self, size_bytes: int) -> Block:
        with self._lock:
            self._free.setdefault(size_bytes, [])
            if size_bytes > self._region_bytes // 2:
                block = Block(self._reserve(size_bytes), 0, size_bytes)
            else:
                if self._current is None or self._cut_to + size_bytes > self._current.size_bytes:
                    self._current, self._cut_to = self._reserve(self._region_bytes), 0
                block = Block(self._current, self._cut_to, size_bytes)
                self._cut_to += size_bytes
            self._cut_bytes += size_bytes
            self._cut_blocks += 1
            return block

    def _reserve(self, size_bytes: int) -> Region:
        if self._reserved_bytes() + size_bytes > self._limit_bytes:
            self._give_idle_back()
        reserved = self._reserved_bytes()
        try:
            if reserved + size_bytes > self._limit_bytes:
                raise NoRoomError(
                    f"the arena holds {format_bytes(reserved)} and may hold {format_bytes(self._limit_bytes)}: "
                    f"no room for {format_bytes(size_bytes)} more; release blocks, or raise the arena's limit"
                )
            region = Region(size_bytes, prefault=self._prefault, named_in=self._named_in)
        except NoRoomError:
            self._refused += 1
            raise
        self._regions.append(region)
        return region

    def _reserved_bytes(self) -> int:
        return sum(region.size_bytes for region in self._regions)

    def _give_idle_back(self) -> None:
        """Return the regions of large blocks that nobody leases: their room is wanted in another size."""
        for size_bytes, free in self._free.items():
            if size_bytes <= self._region_bytes // 2:
                continue
            while free:
                block = free.pop()
                block.view.release()
                self._regions.remove(block.region)
                self._cut_bytes -= size_bytes
                self._cut_blocks -= 1
                block.region.close()
