"""What an arena holds: its regions, the blocks they are cut into, and which blocks are free.

Blocks are cut in size classes, four to each doubling, so that at most a fifth of a block is wasted. A returned block
goes to the top of its class's stack: the next lease gets memory that is still in the processor's cache.

Appending to a list and popping from it are single steps in CPython, and so need no lock. A thread that has popped a
block is the only one that has it; whoever has popped all blocks of a region is the only one who uses the region.
"""

from __future__ import annotations

import contextlib

from perfkit.transfer.memory import PAGE_BYTES, Region
from perfkit.units import format_bytes

__all__ = ["SMALLEST_BLOCK_BYTES", "Block", "CutRegion", "Stock", "size_class"]

SMALLEST_BLOCK_BYTES = 4096


def size_class(wire_bytes: int) -> int:
    """The block size that a payload gets: a quarter step between powers of two, at least one page.

    >>> size_class(1), size_class(4097), size_class(10 * 2**20), size_class(10 * 2**20 + 1)
    (4096, 5120, 10485760, 12582912)
    """
    if wire_bytes <= SMALLEST_BLOCK_BYTES:
        return SMALLEST_BLOCK_BYTES
    step_bits = (wire_bytes - 1).bit_length() - 3
    return -(-wire_bytes >> step_bits) << step_bits


class Block:
    """A piece of a region. Whoever holds the lease may write `view`; `Arena.release` ends the lease.

    Its offset is a multiple of 64: a cache line, and what the strictest vector instruction wants.
    """

    __slots__ = ("home", "offset", "region", "shares", "size_bytes", "view")

    def __init__(self, region: Region, offset: int, size_bytes: int) -> None:
        self.region, self.offset, self.size_bytes = region, offset, size_bytes
        self.view = region.view[offset : offset + size_bytes]
        self.home: list[Block] | None = None  # while it is leased: the free list that it returns to
        # One entry for each holder beyond the first. A list, because its pop tells two threads at once who is last.
        self.shares: list[None] = []

    @property
    def holders(self) -> int:
        """How many hold the lease: 0 when the block is free."""
        return 0 if self.home is None else 1 + len(self.shares)


class CutRegion:
    """A region and the blocks it is cut into so far."""

    __slots__ = ("_seen_leased", "blocks", "cut_to", "region")

    def __init__(self, region: Region) -> None:
        self.region = region
        self.blocks: list[Block] = []
        self.cut_to = 0
        self._seen_leased = 0

    @property
    def size_bytes(self) -> int:
        """Size of the region."""
        return self.region.size_bytes

    def seems_idle(self) -> bool:
        """Whether no block is leased; only popping them all makes it certain. Remembers where it found one leased."""
        blocks = self.blocks
        if self._seen_leased < len(blocks) and blocks[self._seen_leased].home is not None:
            return False
        for index, block in enumerate(blocks):
            if block.home is not None:
                self._seen_leased = index
                return False
        return True

    def forget_blocks(self) -> None:
        """Invalidate the free blocks, whose memory is wanted for something else; when closing, some may be leased."""
        for block in self.blocks:
            if block.home is None:
                with contextlib.suppress(BufferError):  # a view of the view is still held, and keeps the memory alive
                    block.view.release()
        self.blocks, self.cut_to = [], 0

    def close(self) -> None:
        """Give the memory back; harmless when it was given back before."""
        self.forget_blocks()
        self.region.close()


class Stock:
    """Regions, blocks and free lists of an arena. The caller holds a lock; only `free` is popped and filled without.

    Args:
        limit_bytes: never to be exceeded by `reserved_bytes`.
        region_bytes: size of a region that small blocks share; a block of more than half of it has a region alone.
    """

    def __init__(self, limit_bytes: int, region_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._region_bytes = min(region_bytes, limit_bytes // PAGE_BYTES * PAGE_BYTES)
        self.free: dict[int, list[Block]] = {}
        self.regions: dict[int, CutRegion] = {}
        self._open: list[CutRegion] = []  # shared regions that can still be cut, oldest first
        self._newest: CutRegion | None = None  # the shared region that was reserved last
        self.is_ahead_tried = False  # the region after the newest was asked for
        self.reserved_bytes = 0  # with what is on order
        self.cut_bytes = self.cut_blocks = 0
        self.is_closed = False

    # --- blocks ----------------------------------------------------------------------------------------------------

    def take(self, size_bytes: int) -> Block | None:
        """A free block of a class, or one that is cut from a region with room; None when there is neither."""
        try:
            block = self.free[size_bytes].pop()
        except (KeyError, IndexError):
            cut = self._with_room(size_bytes)
            if cut is None:
                return None
            block = self._cut(cut, size_bytes)
        block.home = self.free[size_bytes]
        return block

    def put_back(self, block: Block) -> None:
        """Make a block free; it is dropped when the stock was closed meanwhile."""
        block.home = None
        free = self.free.get(block.size_bytes)
        if free is not None:
            free.append(block)

    def has_room(self, size_bytes: int) -> bool:
        """Whether `take` would find a block."""
        return bool(self.free.get(size_bytes)) or self._with_room(size_bytes) is not None

    def free_bytes(self) -> tuple[int, int]:
        """Number and bytes of the free blocks."""
        counts = [(size_bytes, len(blocks)) for size_bytes, blocks in self.free.items()]
        return sum(count for _, count in counts), sum(size_bytes * count for size_bytes, count in counts)

    # --- regions ---------------------------------------------------------------------------------------------------

    def needed_bytes(self, size_bytes: int) -> int:
        """What has to be reserved for a block of a class: its own region, or one to share."""
        needed_bytes = size_bytes if self._is_large(size_bytes) else self._region_bytes
        return -(-needed_bytes // PAGE_BYTES) * PAGE_BYTES

    def missing_bytes(self, needed_bytes: int) -> int:
        """By how much a reservation would exceed the limit; negative when it would not."""
        return self.reserved_bytes + needed_bytes - self.limit_bytes

    def fullness(self, needed_bytes: int) -> str:
        """Why there is no room, for an error."""
        return (
            f"the arena holds {format_bytes(self.reserved_bytes)} and may hold {format_bytes(self.limit_bytes)}: "
            f"no room for {format_bytes(needed_bytes)} more; release blocks, or raise the arena's limit"
        )

    def install(self, region: Region, size_bytes: int) -> None:
        """Take in a region, whose bytes were counted when it was ordered, for blocks of this class."""
        cut = self.regions[region.id] = CutRegion(region)
        if self._is_large(size_bytes):
            self.put_back(self._cut(cut, size_bytes))
        else:
            self._begin(cut)

    def wants_ahead(self) -> bool:
        """Whether the newest shared region is more than half cut, and the limit leaves room for the next."""
        newest = self._newest
        return (
            newest is not None
            and not self.is_ahead_tried
            and newest.cut_to > newest.size_bytes // 2
            and self.missing_bytes(self.needed_bytes(SMALLEST_BLOCK_BYTES)) <= 0
        )

    def could_free(self, missing_bytes: int) -> bool:
        """Whether the idle regions hold this much."""
        return missing_bytes <= 0 or sum(cut.size_bytes for cut in self._idle()) >= missing_bytes

    def recut_idle(self, size_bytes: int) -> bool:
        """Cut an idle shared region anew, if the class shares regions and there is one. It stays mapped everywhere."""
        if self._is_large(size_bytes):
            return False
        for cut in self._idle():
            if cut.size_bytes == self.needed_bytes(size_bytes) and self._withdraw([cut]):
                cut.forget_blocks()
                self._begin(cut)
                return True
        return False

    def retire_idle(self, wanted_bytes: int) -> list[CutRegion]:
        """Take out idle regions that hold `wanted_bytes` together, as few as possible. The caller closes them."""
        idle = sorted(self._idle(), key=lambda cut: cut.size_bytes)
        chosen = [cut for cut in idle if cut.size_bytes >= wanted_bytes][:1]
        while idle and sum(cut.size_bytes for cut in chosen) < wanted_bytes:
            chosen.append(idle.pop())
        retired = self._withdraw(chosen)
        for cut in retired:
            del self.regions[cut.region.id]
            self.reserved_bytes -= cut.size_bytes
            if cut is self._newest:
                self._newest = None
            self.is_ahead_tried = False
        return retired

    def close(self) -> list[CutRegion]:
        """Forget everything, for good; the regions, for the caller to close."""
        self.is_closed = True
        regions = list(self.regions.values())
        free_lists = list(self.free.values())
        self.free.clear()
        for free in free_lists:
            free.clear()  # a lease that has looked the list up already finds it empty
        for block in (block for cut in regions for block in cut.blocks):
            if block.home is not None:
                block.home = []  # so that no released block outlives its holders for the sake of another
        self.regions.clear()
        self._open.clear()
        self._newest = None
        self.reserved_bytes -= sum(cut.size_bytes for cut in regions)
        self.cut_bytes = self.cut_blocks = 0
        return regions

    # --- inside ----------------------------------------------------------------------------------------------------

    def _is_large(self, size_bytes: int) -> bool:
        return size_bytes > self._region_bytes // 2

    def _with_room(self, size_bytes: int) -> CutRegion | None:
        if self._is_large(size_bytes):
            return None
        return next((cut for cut in self._open if cut.cut_to + size_bytes <= cut.size_bytes), None)

    def _begin(self, cut: CutRegion) -> None:
        self._open.append(cut)
        self._newest, self.is_ahead_tried = cut, False

    def _cut(self, cut: CutRegion, size_bytes: int) -> Block:
        self.free.setdefault(size_bytes, [])
        block = Block(cut.region, cut.cut_to, size_bytes)
        cut.blocks.append(block)
        cut.cut_to += size_bytes
        self.cut_bytes += size_bytes
        self.cut_blocks += 1
        if cut.cut_to + SMALLEST_BLOCK_BYTES > cut.size_bytes and cut in self._open:
            self._open.remove(cut)
        return block

    def _idle(self) -> list[CutRegion]:
        return [cut for cut in self.regions.values() if cut.seems_idle()]

    def _withdraw(self, chosen: list[CutRegion]) -> list[CutRegion]:
        """Take the blocks of regions out of the free lists; which of the regions are now certain to be idle."""
        popped: dict[int, list[Block]] = {cut.region.id: [] for cut in chosen}
        others: list[Block] = []
        for size_bytes in {block.size_bytes for cut in chosen for block in cut.blocks}:
            free = self.free[size_bytes]
            for _ in range(len(free)):
                try:
                    block = free.pop()
                except IndexError:  # leased meanwhile
                    break
                popped.get(block.region.id, others).append(block)
        idle = [cut for cut in chosen if len(popped[cut.region.id]) == len(cut.blocks)]
        for cut in chosen:
            if cut not in idle:
                others += popped[cut.region.id]
        for block in reversed(others):  # in the order in which they were
            self.free[block.size_bytes].append(block)
        for cut in idle:
            self.cut_bytes -= sum(block.size_bytes for block in cut.blocks)
            self.cut_blocks -= len(cut.blocks)
            if cut in self._open:
                self._open.remove(cut)
        return idle
