"""The arena: classes, reuse, limits, threads."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import NoRoomError
from perfkit.transfer.arena import Arena, size_class


@pytest.fixture
def arena():
    made = Arena(limit_bytes=8 * 2**20, region_bytes=2**20, prefault=False)
    yield made
    made.close()


@given(st.integers(1, 2**40))
def test_class_holds_the_payload_and_wastes_at_most_a_quarter(wire_bytes):
    size = size_class(wire_bytes)
    assert size >= wire_bytes
    assert size % 64 == 0
    assert size <= max(4096, wire_bytes * 1.25)


@given(st.integers(1, 2**40))
def test_class_of_a_class_is_itself(wire_bytes):
    assert size_class(size_class(wire_bytes)) == size_class(wire_bytes)


def test_block_returned_last_is_leased_first(arena):
    """The memory that is still in the cache goes out again."""
    first, second = arena.lease(5000), arena.lease(5000)
    arena.release(first)
    arena.release(second)
    assert arena.lease(5000) is second
    assert arena.lease(5000) is first


def test_blocks_do_not_overlap_and_are_aligned(arena):
    blocks = [arena.lease(size) for size in (1, 4097, 70_000, 300_000, 2**20, 3 * 2**20)]
    spans = sorted((id(block.region), block.offset, block.offset + block.size_bytes) for block in blocks)
    assert all(block.offset % 64 == 0 for block in blocks)
    for (region, _, end), (next_region, start, _) in itertools.pairwise(spans):
        assert region != next_region or end <= start


def test_limit_is_kept_and_refusals_are_counted(arena):
    held = [arena.lease(2 * 2**20) for _ in range(4)]
    with pytest.raises(NoRoomError, match="the arena holds 8MiB and may hold 8MiB"):
        arena.lease(2 * 2**20)
    statistics = arena.stats()
    assert (statistics.reserved_bytes, statistics.leased_blocks, statistics.refused) == (8 * 2**20, 4, 1)
    arena.release(held.pop())
    assert arena.lease(2 * 2**20).size_bytes == 2 * 2**20


def test_threads_never_share_a_block(arena):
    """Eight threads lease, write their number, read it back and release: nobody sees another's number."""
    mistakes = []

    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for _ in range(100):
            block = arena.lease(5000)
            block.view[:8] = number.to_bytes(8, "little")
            time.sleep(0)  # another thread's turn
            if int.from_bytes(block.view[:8], "little") != number:
                mistakes.append(number)
            arena.release(block)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mistakes == []
    assert arena.stats().leased_blocks == 0


def test_idle_memory_is_given_back_when_its_room_is_wanted(arena):
    """5 MiB were leased and returned; within a limit of 8 MiB that does not stand in the way of 6 MiB."""
    arena.release(arena.lease(5 * 2**20))
    block = arena.lease(6 * 2**20)
    assert block.size_bytes == 6 * 2**20
    assert arena.stats().reserved_bytes == 6 * 2**20


def test_release_after_close_is_harmless_and_lease_is_refused(arena):
    block = arena.lease(5000)
    arena.close()
    arena.release(block)
    with pytest.raises(NoRoomError):
        arena.lease(5000)


def test_use_is_what_is_leased_of_what_may_be(arena):
    assert arena.in_use() == (0, 8 * 2**20)
    small, large = arena.lease(5000), arena.lease(3 * 2**20)
    assert arena.in_use() == (5120 + 3 * 2**20, 8 * 2**20)
    arena.release(small)
    assert arena.in_use() == (3 * 2**20, 8 * 2**20)
    arena.release(large)
    assert arena.in_use() == (0, 8 * 2**20)
    arena.close()
    assert arena.in_use() == (0, 0)


def test_use_is_told_while_threads_lease_and_release(arena):
    def lease_and_release():
        while not is_done.is_set():
            for size in (5000, 9000, 70_000, 2**20):
                arena.release(arena.lease(size))

    is_done = threading.Event()
    threads = [threading.Thread(target=lease_and_release) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        uses = [arena.in_use() for _ in range(2000)]
    finally:
        is_done.set()
        for thread in threads:
            thread.join()
    assert all(0 <= used <= capacity == 8 * 2**20 for used, capacity in uses)
    assert arena.in_use()[0] == 0
