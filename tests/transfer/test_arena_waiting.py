"""The arena under threads: holders, waiting, many sizes at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import random
import signal
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError, NoRoomError
from perfkit.transfer.arena import Arena
from perfkit.transfer.arena_line import Line, Waiter
from perfkit.transfer.arena_stock import Stock
from perfkit.transfer.memory import Region

MIB = 2**20


@pytest.fixture
def quick_switches():
    """Threads take turns far more often than usual, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def run_all(works) -> None:
    """Run each in a thread of its own; what one raises fails the test."""
    with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
        for future in [pool.submit(work) for work in works]:
            future.result(timeout=100)


# --- blocks --------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 700_000), st.booleans()), max_size=40))
def test_blocks_never_overlap_and_lie_at_multiples_of_64(steps):
    arena = Arena(8 * MIB, region_bytes=MIB, prefault=False)
    held = []
    for wire_bytes, is_kept in steps:
        try:
            block = arena.lease(wire_bytes)
        except NoRoomError:
            continue
        assert block.offset % 64 == 0
        assert len(block.view) == block.size_bytes >= wire_bytes
        held.append(block)
        if not is_kept:
            arena.release(held.pop(0))
    spans = sorted((block.region.id, block.offset, block.offset + block.size_bytes) for block in held)
    for (region, _, end), (next_region, start, _) in itertools.pairwise(spans):
        assert region != next_region or end <= start
    statistics = arena.stats()
    assert statistics.leased_bytes == sum(block.size_bytes for block in held)
    assert statistics.leased_bytes + statistics.free_bytes == statistics.cut_bytes <= statistics.reserved_bytes
    assert statistics.reserved_bytes <= 8 * MIB
    arena.close()


# --- holders -------------------------------------------------------------------------------------------------------


def test_block_is_free_when_its_last_holder_released_it(make_arena):
    arena = make_arena(MIB)
    block = arena.lease(5000)
    assert block.holders == 1
    arena.retain(block)
    assert block.holders == 2
    arena.release(block)
    assert (block.holders, arena.stats().leased_blocks) == (1, 1)
    arena.release(block)
    assert (block.holders, arena.stats().leased_blocks) == (0, 0)


def test_release_too_many_and_retain_without_a_lease_are_refused(make_arena):
    arena = make_arena(MIB)
    block = arena.lease(5000)
    arena.release(block)
    with pytest.raises(InputError, match="released already"):
        arena.release(block)
    with pytest.raises(InputError, match="cannot be retained"):
        arena.retain(block)
    assert arena.stats().free_bytes == block.size_bytes


def test_holders_that_release_at_the_same_time_free_the_block_once(make_arena, quick_switches):
    arena = make_arena(MIB)
    for _ in range(50):
        block = arena.lease(5000)
        for _ in range(7):
            arena.retain(block)
        start = threading.Barrier(8)

        def let_go(block=block, start=start) -> None:
            start.wait()
            arena.release(block)

        run_all([let_go] * 8)
        assert (block.holders, arena.stats().leased_blocks, arena.stats().free_bytes) == (0, 0, block.size_bytes)


# --- waiting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
def test_waiting_lease_gets_the_block_that_is_released(make_arena, wait_until, background):
    arena = make_arena(MIB, background=background)
    block = arena.lease(MIB, wait_s=60)
    got = []
    thread = threading.Thread(target=lambda: got.append(arena.lease(MIB, wait_s=60)))
    thread.start()
    wait_until(lambda: arena.stats().waiting == 1)
    arena.release(block)
    thread.join(60)
    assert got == [block]
    assert arena.stats().waiting == 0
    assert arena.stats().waits >= 1
    assert arena.stats().waited_ns > 0


@pytest.mark.parametrize("background", [False, True])
def test_leases_of_a_class_are_served_in_the_order_of_asking(make_arena, wait_until, background):
    arena = make_arena(MIB, background=background)
    block = arena.lease(MIB, wait_s=60)
    order = []

    def wait(number: int) -> None:
        mine = arena.lease(MIB, wait_s=60)
        order.append(number)
        arena.release(mine)

    threads = []
    for number in range(6):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        wait_until(lambda number=number: arena.stats().waiting == number + 1)
    arena.release(block)
    for thread in threads:
        thread.join(60)
    assert order == list(range(6))


def test_newcomer_does_not_overtake_whoever_waits(make_arena, wait_until):
    arena = make_arena(MIB)
    block = arena.lease(MIB)
    is_served, may_go_on = threading.Event(), threading.Event()

    def wait() -> None:
        mine = arena.lease(MIB, wait_s=60)
        is_served.set()
        may_go_on.wait(60)
        arena.release(mine)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: arena.stats().waiting == 1)
    arena.release(block)
    with pytest.raises(NoRoomError):
        arena.lease(MIB)
    assert is_served.wait(60)
    may_go_on.set()
    thread.join(60)


def test_newcomer_does_not_take_what_is_about_to_be_handed_over(make_arena, wait_until):
    arena = make_arena(MIB)
    block = arena.lease(MIB)
    got = []
    first = threading.Thread(target=lambda: got.append(("first", arena.lease(MIB, wait_s=60))))
    newcomer = threading.Thread(target=lambda: got.append(("newcomer", arena.lease(MIB, wait_s=60))))
    first.start()
    wait_until(lambda: arena.stats().waiting == 1)
    with arena._line:
        arena.release(block)  # free, and not handed over yet
        newcomer.start()
        newcomer.join(0.1)
    first.join(60)
    assert got == [("first", block)]
    arena.release(block)
    newcomer.join(60)
    assert got == [("first", block), ("newcomer", block)]


@pytest.mark.parametrize("background", [False, True])
def test_waiting_in_vain_says_for_what_how_long_and_what_to_do(make_arena, background):
    arena = make_arena(MIB, background=background)
    arena.lease(MIB, wait_s=60)
    with pytest.raises(NoRoomError, match=r"waited .* for a block of 1MiB.*holds 1MiB.*; release blocks sooner"):
        arena.lease(MIB, wait_s=0.01)
    statistics = arena.stats()
    assert (statistics.refused, statistics.waiting) == (1, 0)


@pytest.mark.parametrize("background", [False, True])
def test_what_can_never_fit_is_refused_without_waiting(make_arena, background):
    arena = make_arena(MIB, background=background)
    with pytest.raises(NoRoomError, match="may hold 1MiB: no room for 2MiB more"):
        arena.lease(2 * MIB, wait_s=10**9)
    assert arena.stats().waits == 0


@pytest.mark.parametrize("background", [False, True])
def test_no_wake_up_is_lost(make_arena, quick_switches, background):
    """Six threads share two blocks, each by turns: one lost wake-up and a lease would be refused."""
    arena = make_arena(2 * MIB, background=background)

    def work() -> None:
        for _ in range(150):
            arena.release(arena.lease(MIB, wait_s=50))

    run_all([work] * 6)
    assert (arena.stats().refused, arena.stats().leased_blocks) == (0, 0)


@pytest.mark.parametrize("background", [False, True])
def test_leases_that_run_out_of_time_leak_nothing(make_arena, quick_switches, background):
    """Waits end at just about the time at which blocks are handed over."""
    arena = make_arena(MIB, background=background)

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(80):
            with contextlib.suppress(NoRoomError):
                block = arena.lease(MIB, wait_s=chance.choice([0, 1e-6, 1e-4, 1e-3]))
                time.sleep(chance.choice([0, 1e-4, 1e-3]))
                arena.release(block)

    run_all([lambda number=number: work(number) for number in range(6)])
    assert (arena.stats().leased_blocks, arena.stats().waiting) == (0, 0)
    assert arena.lease(MIB, wait_s=60).holders == 1


def test_block_handed_over_too_late_is_kept_or_passed_on():
    stock = Stock(MIB, MIB)
    line = Line(stock)
    region = Region(MIB, prefault=False)
    first, second, third = (Waiter(MIB, is_patient=True) for _ in range(3))
    with line:
        for waiter in (first, second, third):
            line.enter(waiter)
        stock.reserved_bytes += MIB
        stock.install(region, MIB)
        line.serve()
    assert first.block is not None
    with line:
        line.leave(first)  # its time was over just then
    assert first.block is not None
    block = first.block
    with line:
        line.give_up(first)  # it was interrupted just then
    assert (first.block, second.block, third.block) == (None, block, None)
    assert block.holders == 1
    with line:
        line.give_up(third)
        line.give_up(second)
    assert (line.waiters, block.holders) == ([], 0)
    region.close()


@pytest.mark.parametrize("background", [False, True])
def test_interrupt_while_waiting_leaks_nothing(make_arena, wait_until, background):
    arena = make_arena(MIB, background=background)
    block = arena.lease(MIB, wait_s=60)

    def interrupt() -> None:
        wait_until(lambda: arena.stats().waiting == 1)
        time.sleep(0.05)  # it registers a moment before it sleeps; either is a wait
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        arena.lease(MIB, wait_s=60)
    thread.join(60)
    assert arena.stats().waiting == 0
    arena.release(block)
    assert arena.lease(MIB) is block


def test_release_in_a_finalizer_that_runs_under_the_lock_does_not_block(make_arena, wait_until):
    """The collector may run in the middle of anything, in the very thread that holds the arena's lock."""
    arena = make_arena(MIB)
    block = arena.lease(MIB)
    got = []
    thread = threading.Thread(target=lambda: got.append(arena.lease(MIB, wait_s=60)))
    thread.start()
    wait_until(lambda: arena.stats().waiting == 1)
    with arena._line:
        arena.release(block)
        assert arena._waiters  # not served yet, and nothing hangs
    thread.join(60)
    assert got == [block]


@pytest.mark.parametrize("background", [False, True])
def test_closing_refuses_all_who_wait(make_arena, wait_until, background):
    arena = make_arena(MIB, background=background)
    block = arena.lease(MIB, wait_s=60)
    refusals = []

    def wait() -> None:
        try:
            arena.lease(MIB, wait_s=100)
        except NoRoomError as error:
            refusals.append(str(error))

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: arena.stats().waiting == 4)
    arena.close()
    for thread in threads:
        thread.join(60)
    assert len(refusals) == 4
    assert all("closed" in refusal for refusal in refusals)
    assert not [each for each in threading.enumerate() if each is getattr(arena._background, "_thread", None)]
    block.view[:3] = b"yet"  # the holder's view lives on
    arena.release(block)
    arena.release(block)
    arena.close()
    assert (arena.stats().reserved_bytes, arena.stats().waiting, arena.stats().leased_blocks) == (0, 0, 0)
    for _ in range(2):  # what was released after the end is not leased again
        with pytest.raises(NoRoomError, match="closed"):
            arena.lease(MIB, wait_s=60)


# --- many threads, many sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("background", "wait_s"), [(False, 0.0), (False, 50.0), (True, 0.0), (True, 50.0)])
def test_memory_is_never_shared_and_never_over_the_limit(make_arena, quick_switches, background, wait_s):
    """Small classes share regions, large ones do not; the limit holds a fraction of what is wanted at a time."""
    limit_bytes = 4 * MIB
    arena = make_arena(limit_bytes, background=background)
    mistakes = []

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(60):
            wire_bytes = chance.choice([100, 5000, 70_000, 400_000, 600_000, MIB, 3 * MIB])
            try:
                block = arena.lease(wire_bytes, wait_s=wait_s)
            except NoRoomError:
                if wait_s:
                    mistakes.append(f"{wire_bytes} starved")
                continue
            pattern = bytes([number]) * block.size_bytes
            block.view[:] = pattern
            time.sleep(chance.choice([0, 0, 0, 1e-4]))
            if block.view != pattern:
                mistakes.append("overlap")
            if sum(cut.size_bytes for cut in list(arena._stock.regions.values())) > limit_bytes:
                mistakes.append("over the limit")
            if chance.random() < 0.3:
                arena.retain(block)
                arena.release(block)
            arena.release(block)

    run_all([lambda number=number: work(number) for number in range(8)])
    assert mistakes == []
    statistics = arena.stats()
    assert (statistics.leased_blocks, statistics.leased_bytes, statistics.waiting) == (0, 0, 0)
    assert statistics.free_bytes == statistics.cut_bytes
    assert statistics.reserved_bytes <= limit_bytes
