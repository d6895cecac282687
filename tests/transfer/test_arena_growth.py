"""How the arena gets memory and gives it back, and the figures it shows."""

from __future__ import annotations

import threading

import pytest

from perfkit.errors import NoRoomError
from perfkit.transfer import arena_growth
from perfkit.transfer.memory import Region

MIB = 2**20


# --- memory that is given back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
def test_idle_shared_region_is_cut_anew_for_another_class(make_arena, background):
    arena, gone = make_arena(MIB, background=background), []
    arena.subscribe(gone.append)
    blocks = [arena.lease(4096, wait_s=60) for _ in range(256)]
    region_id = blocks[0].region.id
    for block in blocks:
        arena.release(block)
    block = arena.lease(100_000)
    assert block.region.id == region_id  # it stays mapped everywhere
    assert gone == []
    assert (arena.stats().regions, arena.stats().cut_bytes) == (1, block.size_bytes)


def test_region_in_use_is_not_cut_anew(make_arena):
    arena = make_arena(MIB)
    blocks = [arena.lease(4096) for _ in range(256)]
    for block in blocks[1:]:
        arena.release(block)
    with pytest.raises(NoRoomError):
        arena.lease(100_000)
    assert arena.stats().free_bytes == 255 * 4096
    assert {arena.lease(4096) for _ in range(255)} == set(blocks[1:])


def test_block_that_is_just_being_leased_keeps_its_region(make_arena):
    """Between its pop and its mark another thread holds it, though it looks free."""
    arena = make_arena(MIB)
    blocks = [arena.lease(2**18) for _ in range(4)]
    for block in blocks:
        arena.release(block)
    popped = arena._free[2**18].pop()
    with pytest.raises(NoRoomError):
        arena.lease(100_000)
    with pytest.raises(NoRoomError):
        arena.lease(MIB)
    assert arena._free[2**18] == blocks[:3]
    popped.view[:3] = b"yes"


def test_idle_shared_region_is_cut_anew_when_the_machine_has_no_headroom(make_arena, reservations):
    arena = make_arena(64 * MIB)
    blocks = [arena.lease(2**18) for _ in range(4)]
    for block in blocks:
        arena.release(block)
    reservations.refuse = [True]
    assert arena.lease(100_000).region is blocks[0].region
    assert (arena.stats().regions, arena.stats().reserved_bytes) == (1, MIB)


def test_block_released_after_the_end_is_kept_by_nobody(make_arena):
    arena = make_arena(MIB)
    block, _other = arena.lease(5000), arena.lease(5000)
    home = block.home
    arena.close()
    arena.release(block)
    assert home == []


@pytest.mark.parametrize("background", [False, True])
def test_idle_shared_region_makes_way_for_a_large_block(make_arena, wait_until, background):
    arena, gone = make_arena(2 * MIB, background=background), []
    blocks = [arena.lease(2**18, wait_s=60) for _ in range(8)]
    kept, idle = blocks[0], [block for block in blocks if block.region is not blocks[0].region]
    arena.subscribe(gone.append)
    for block in blocks[1:]:
        arena.release(block)
    large = arena.lease(MIB, wait_s=60)
    wait_until(lambda: gone == [idle[0].region.id])  # the thread tells it after it has served
    kept.view[:4] = large.view[:4] = b"both"


@pytest.mark.parametrize("background", [False, True])
def test_waiting_lease_of_another_class_gets_the_region_that_becomes_idle(make_arena, wait_until, background):
    arena = make_arena(2 * MIB, background=background)
    blocks = [arena.lease(2**18, wait_s=60) for _ in range(8)]
    got = []
    thread = threading.Thread(target=lambda: got.append(arena.lease(2 * MIB, wait_s=60)))
    thread.start()
    wait_until(lambda: arena.stats().waiting == 1)
    for block in blocks:
        arena.release(block)
    thread.join(60)
    assert got[0].size_bytes == 2 * MIB
    assert arena.stats().reserved_bytes == 2 * MIB


def test_idle_memory_is_given_back_when_the_machine_has_no_headroom(make_arena, reservations):
    arena, gone = make_arena(64 * MIB), []
    arena.subscribe(gone.append)
    first = arena.lease(2 * MIB)
    arena.release(first)
    reservations.refuse = [True]
    assert arena.lease(3 * MIB).size_bytes == 3 * MIB
    assert gone == [first.region.id]
    assert arena.stats().reserved_bytes == 3 * MIB


def test_refused_reservation_is_not_counted_as_reserved(make_arena, reservations):
    arena = make_arena(64 * MIB)
    reservations.refuse = [True]
    with pytest.raises(NoRoomError, match="no headroom, says the test"):
        arena.lease(3 * MIB)
    assert (arena.stats().reserved_bytes, arena.stats().regions, arena.stats().refused) == (0, 0, 1)


def test_idle_memory_is_given_back_before_more_is_reserved(make_arena, monkeypatch):
    """Otherwise the arena would be over its limit for a moment, and the machine out of memory for good."""
    arena = make_arena(2 * MIB)
    first = arena.lease(MIB)
    arena.release(first)
    seen = []

    def reserve(size_bytes: int, **options) -> Region:
        seen.append(first.region.descriptor)
        return Region(size_bytes, **options)

    monkeypatch.setattr(arena_growth, "Region", reserve)
    arena.lease(2 * MIB)
    assert seen == [-1]


def test_subscribers_are_told_until_they_unsubscribe(make_arena):
    arena, gone = make_arena(2 * MIB), []
    arena.subscribe(gone.append)
    arena.unsubscribe(print)
    first = arena.lease(MIB)
    arena.release(first)
    second = arena.lease(2 * MIB)
    assert gone == [first.region.id]
    arena.unsubscribe(gone.append)
    arena.release(second)
    arena.lease(MIB)
    assert gone == [first.region.id]


def test_subscriber_may_use_the_arena_and_its_failure_is_nobody_elses(make_arena, caplog):
    arena, seen = make_arena(2 * MIB), []

    def fail(region_id: int) -> None:
        seen.append(arena.stats().regions)  # would hang if it were called under the lock
        raise ValueError("not mine")

    arena.subscribe(fail)
    arena.release(arena.lease(MIB))
    assert arena.lease(2 * MIB).size_bytes == 2 * MIB
    assert len(seen) == 1
    assert "a subscriber of the arena failed" in caplog.text


# --- the background ------------------------------------------------------------------------------------------------


def test_background_reserves_in_its_own_thread_only(make_arena, reservations):
    arena = make_arena(16 * MIB, background=True)
    for wire_bytes in (5000, 300_000, 2 * MIB, 3 * MIB):
        arena.lease(wire_bytes, wait_s=60)
    assert set(reservations.threads) == {"perfkit-arena"}


def test_without_background_the_caller_reserves(make_arena, reservations):
    make_arena(16 * MIB).lease(5000, wait_s=60)
    assert reservations.threads == [threading.current_thread().name]


def test_lease_that_does_not_wait_has_room_prepared_for_the_next(make_arena, reservations, wait_until):
    arena = make_arena(16 * MIB, background=True)
    reservations.gate.clear()
    for _ in range(3):
        with pytest.raises(NoRoomError, match="a block of 2MiB is being prepared"):
            arena.lease(2 * MIB)
    reservations.gate.set()
    wait_until(lambda: arena.stats().free_bytes >= 2 * MIB)
    assert arena.lease(2 * MIB).size_bytes == 2 * MIB


def test_prepared_room_is_there_for_the_lease(make_arena, reservations, wait_until):
    arena = make_arena(16 * MIB, background=True)
    arena.prepare(2 * MIB)
    wait_until(lambda: arena.stats().free_bytes == 2 * MIB)
    arena.prepare(2 * MIB)  # there is one
    arena.prepare(99 * MIB)  # cannot be; its lease says so
    assert arena.lease(2 * MIB).size_bytes == 2 * MIB
    assert reservations.threads == ["perfkit-arena"]


def test_prepare_without_background_makes_the_room_here(make_arena, reservations):
    arena = make_arena(2 * MIB)
    arena.prepare(2 * MIB)
    assert arena.stats().free_bytes == 2 * MIB
    arena.lease(2 * MIB)
    arena.prepare(MIB)  # no room is no error
    assert len(reservations.threads) == 1


def test_next_region_is_prepared_when_more_than_half_is_cut(make_arena, wait_until):
    arena = make_arena(16 * MIB, background=True)
    arena.lease(2**18, wait_s=60)
    arena.lease(2**18)
    assert arena.stats().regions == 1
    arena.lease(2**18)
    wait_until(lambda: arena.stats().regions == 2)
    arena.lease(2**18)
    arena.lease(2**18)  # of the second region, without waiting
    assert arena.stats().refused == 0


def test_growing_ahead_in_vain_is_tried_once_and_nobodys_error(make_arena, reservations, wait_until):
    arena = make_arena(16 * MIB, background=True)
    arena.lease(2**18, wait_s=60)
    reservations.refuse = [True] * 100
    for _ in range(3):
        arena.lease(2**18)
    wait_until(lambda: len(reservations.threads) == 2)
    wait_until(lambda: arena._background._thread is None)  # it ended, idle
    assert len(reservations.threads) == 2
    assert (arena.stats().refused, arena.stats().reserved_bytes) == (0, MIB)
    reservations.refuse = []
    assert arena.lease(2**18, wait_s=60).size_bytes == 2**18  # and starts again


def test_growing_ahead_keeps_the_limit(make_arena, wait_until):
    arena = make_arena(MIB, background=True)
    for _ in range(4):
        arena.lease(2**18, wait_s=60)
    wait_until(lambda: arena._background._thread is None)
    assert arena.stats().reserved_bytes == MIB


def test_wait_ends_well_when_the_machine_has_headroom_again(make_arena, reservations):
    arena = make_arena(16 * MIB, background=True)
    reservations.refuse = [True, True]
    assert arena.lease(2 * MIB, wait_s=60).size_bytes == 2 * MIB
    assert len(reservations.threads) == 3


def test_wait_for_a_machine_without_headroom_says_so(make_arena, reservations):
    arena = make_arena(16 * MIB, background=True)
    reservations.refuse = [True] * 1000
    with pytest.raises(NoRoomError, match=r"waited .* for a block of 2MiB.*no headroom, says the test"):
        arena.lease(2 * MIB, wait_s=0.3)
    with pytest.raises(NoRoomError, match=r"is being prepared.*it failed before: no headroom"):
        arena.lease(2 * MIB)


def test_closing_while_a_region_is_prepared_leaves_nothing(make_arena, reservations, wait_until):
    arena = make_arena(16 * MIB, background=True)
    reservations.gate.clear()
    arena.prepare(2 * MIB)
    wait_until(lambda: reservations.threads != [])
    thread = arena._background._thread
    closing = threading.Thread(target=arena.close)
    closing.start()
    wait_until(lambda: arena._stock.is_closed)
    reservations.gate.set()
    closing.join(60)
    thread.join(60)
    assert not thread.is_alive()
    assert (arena.stats().reserved_bytes, arena.stats().regions) == (0, 0)


# --- figures -------------------------------------------------------------------------------------------------------


def test_figures_read_well(make_arena):
    arena = make_arena(4 * MIB)
    arena.lease(5000)
    arena.release(arena.lease(100_000))
    arena.note_late_view()
    statistics = arena.stats()
    assert statistics.to_plain() == {
        "limit_bytes": 4 * MIB,
        "reserved_bytes": MIB,
        "cut_bytes": 5120 + 114_688,
        "leased_blocks": 1,
        "leased_bytes": 5120,
        "free_bytes": 114_688,
        "regions": 1,
        "refused": 0,
        "waits": 0,
        "waited_ns": 0,
        "waiting": 0,
        "late_views": 1,
    }
    assert ("reserved_bytes", "1MiB") in statistics.to_table().rows
    assert "late_views" in str(statistics)
    assert "<table>" in statistics._repr_html_()
