"""Blocks that a peer views: how many it may, when they come back, and that they never do while it may read them."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perfkit
from perfkit.channel.core import Core
from perfkit.channel.documents import pack_document
from perfkit.channel.events import Forgotten, Released
from perfkit.channel.frames import WELCOME
from perfkit.channel.lane import Lane
from perfkit.channel.lending import Lent, PeerProcess
from perfkit.channel.loading import Load, load_first
from perfkit.channel.session import Session
from perfkit.errors import CodecError, NoRoomError
from perfkit.transfer.arena import Arena

BLOCK_BYTES = 65_536


@pytest.fixture
def arena():
    with_regions = Arena(8 * 2**20, region_bytes=2**20)
    yield with_regions
    with_regions.close()


@pytest.fixture
def lent(arena):
    made = Lent(arena, 4 * BLOCK_BYTES)
    yield made
    made.return_all()


@pytest.fixture
def sleeper():
    """A process that sleeps until it is killed."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def lend(lent: Lent, arena: Arena) -> tuple[int, int]:
    block = arena.lease(BLOCK_BYTES)
    lent.lend(block, block.offset)
    return block.region.id, block.offset


# --- one peer's blocks -----------------------------------------------------------------------------------------------


def test_block_is_leased_until_the_peer_returns_it(lent, arena):
    key = lend(lent, arena)
    assert (len(lent), lent.lent_bytes, arena.stats().leased_blocks) == (1, BLOCK_BYTES, 1)
    lent.returned([key])
    assert (len(lent), lent.lent_bytes, arena.stats().leased_blocks) == (0, 0, 0)


def test_block_that_was_lent_twice_is_free_when_it_was_returned_twice(lent, arena):
    block = arena.lease(BLOCK_BYTES)
    key = (block.region.id, block.offset)
    lent.lend(block, block.offset)
    arena.retain(block)
    lent.lend(block, block.offset)
    assert lent.lent_bytes == 2 * BLOCK_BYTES
    lent.returned([key])
    assert arena.stats().leased_blocks == 1
    lent.returned([key])
    assert arena.stats().leased_blocks == 0


@pytest.mark.parametrize("key", [(0, 0), (2**64 - 1, 2**64 - 1), "already returned"], ids=str)
def test_names_that_were_not_lent_are_ignored(lent, arena, key):
    """A peer that returns what it does not have gets nobody's block released."""
    theirs = lend(lent, arena)
    another_peer = Lent(arena, 2**20)
    other = lend(another_peer, arena)
    if key == "already returned":
        lent.returned([theirs])
        key = theirs
    lent.returned([key, other, key])
    assert arena.stats().leased_blocks == 1 + len(lent)
    another_peer.return_all()


def test_peer_gets_no_more_than_its_share(lent, arena):
    keys = []
    for _ in range(4):
        lent.check(BLOCK_BYTES)
        keys.append(lend(lent, arena))
    message = "the peer views 256KiB of our blocks and may view 256KiB: no room for 64KiB more until it lets go"
    with pytest.raises(NoRoomError, match=message):
        lent.check(BLOCK_BYTES)
    lent.returned(keys[:1])
    lent.check(BLOCK_BYTES)


def test_all_blocks_of_a_peer_that_is_gone_come_back(lent, arena):
    for _ in range(3):
        lend(lent, arena)
    block = arena.lease(BLOCK_BYTES)
    for _ in range(2):
        arena.retain(block)
        lent.lend(block, block.offset)
    lent.return_all()
    assert (len(lent), lent.lent_bytes) == (0, 0)
    assert arena.stats().leased_blocks == 1  # our own hold
    arena.release(block)


def test_threads_lend_and_return_without_losing_count(arena):
    lent = Lent(arena, 2**30)

    def work(_: int) -> None:
        for _ in range(200):
            lent.returned([lend(lent, arena)])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert (len(lent), lent.lent_bytes, arena.stats().leased_blocks) == (0, 0, 0)


# --- the peer's process ----------------------------------------------------------------------------------------------


def test_process_is_gone_when_it_has_ended(sleeper, wait_until):
    peer = PeerProcess(sleeper.pid)
    assert not peer.is_gone()
    sleeper.kill()
    wait_until(peer.is_gone)
    peer.close()
    assert peer.is_gone()


def test_process_that_was_gone_before_is_gone(sleeper):
    sleeper.kill()
    sleeper.wait()
    assert PeerProcess(sleeper.pid).is_gone()


@pytest.mark.parametrize("pid", [0, -1, 2**31, 2**70])
def test_process_that_nobody_can_tell_of_is_never_gone(pid):
    """Rather a block too many kept than one that somebody still reads."""
    peer = PeerProcess(pid)
    assert peer.is_gone() is (pid == 2**31 and peer.is_gone())
    peer.close()


def test_process_that_is_watched_no_more_leaves_no_descriptor(sleeper):
    before = len(list(Path("/proc/self/fd").iterdir()))
    peer = PeerProcess(sleeper.pid)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    peer.close()
    peer.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- a conversation --------------------------------------------------------------------------------------------------


def test_blocks_stay_out_until_the_peers_process_is_gone(arena, sleeper, wait_until):
    """The connection is gone, the process is not: it may still read."""
    session = Session(arena, 2**20, sleeper.pid)
    lend(session.lent, arena)
    assert session.end() is False
    assert session.end() is False
    assert arena.stats().leased_blocks == 1
    sleeper.kill()
    wait_until(session.end)
    assert arena.stats().leased_blocks == 0


def test_conversation_without_blocks_out_ends_at_once(arena, sleeper):
    assert Session(arena, 2**20, sleeper.pid).end() is True


def test_blocks_of_a_closed_arena_need_no_waiting(arena, sleeper):
    session = Session(arena, 2**20, sleeper.pid)
    lend(session.lent, arena)
    arena.close()
    assert session.end() is True


def core_of_a_client() -> Core:
    core = Core(is_server=False)
    core.hello({})
    receive(core, pack_document(WELCOME, {}))
    return core


def receive(core: Core, data: bytes) -> list[Any]:
    events = []
    while data:
        buffer = core.get_buffer()
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        events += core.buffer_updated(count)
        data = data[count:]
    return events


def test_news_are_told_once_and_in_pieces_that_a_peer_takes(arena):
    session, other_end = Session(arena, 2**20), core_of_a_client()
    names = [(number, 64 * number) for number in range(5000)]
    session.to_release.extend(names)
    session.to_forget.extend((7, 8))
    assert session.has_news
    events = receive(other_end, session.news(Core(is_server=True)))
    assert not session.has_news
    assert session.news(Core(is_server=True)) == b""
    released = [event.blocks for event in events if isinstance(event, Released)]
    assert sum(released, ()) == tuple(names)
    assert max(map(len, released)) <= 4096
    assert events[len(released) :] == [Forgotten(7), Forgotten(8)]
    session.end()


def test_region_that_was_given_back_is_told_and_introduced_anew(arena):
    """Its number is never used again; that it was known counts no more."""
    session = Session(arena, 2**20)
    block = arena.lease(BLOCK_BYTES)
    region = block.region.id
    session.confirm({region})
    assert session.knows(region, set())
    arena.release(block)
    arena.close()
    assert list(session.to_forget) == [region]
    assert not session.knows(region, set())
    session.end()


def test_conversation_that_is_over_hears_no_more_of_the_arena(arena):
    session = Session(arena, 2**20)
    session.end()
    arena.lease(BLOCK_BYTES)
    arena.close()
    assert not session.has_news


def test_region_is_known_where_it_was_introduced_and_everywhere_once_that_was_answered(arena):
    session, here, there = Session(arena, 2**20), {5}, set()
    assert session.knows(5, here)
    assert not session.knows(5, there)
    session.confirm(here)
    assert session.knows(5, there)
    session.end()


# --- through a channel -----------------------------------------------------------------------------------------------


def test_interrupt_behind_a_written_request_does_not_give_its_block_away(address, connect, monkeypatch):
    """Ctrl-C comes when the frame is out: the server reads the block, so that nothing else may be written into it."""
    go_on, seen = threading.Event(), []

    def handler(payload):
        go_on.wait(20)
        seen.append(set(bytes(payload)))

    real = Lane.write_message

    def interrupted(lane: Lane, *arguments: Any) -> None:
        real(lane, *arguments)
        monkeypatch.setattr(Lane, "write_message", real)
        raise KeyboardInterrupt

    with perfkit.serve(handler, address):
        channel = connect(methods=["shm_pool"])
        monkeypatch.setattr(Lane, "write_message", interrupted)
        with pytest.raises(KeyboardInterrupt):
            channel.send(b"A" * 20_000)
        second = channel.begin(b"B" * 20_000)
        assert channel.statistics().arena.leased_blocks == 2
        go_on.set()
        second.result()
        deadline = time.monotonic() + 20
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sorted(seen, key=min) == [{ord("A")}, {ord("B")}]


def test_block_of_a_request_that_cannot_be_made_is_free(address, connect, monkeypatch):
    """It fails between the block and the first byte: nobody else has heard of the block."""

    def broken(core: Core, *arguments: Any, **options: Any) -> bytes:
        raise RuntimeError("no header, says the test")

    with perfkit.serve(len, address, methods=["shm_pool", "uds"]):
        channel = connect(methods=["shm_pool"])
        with monkeypatch.context() as patch:
            patch.setattr(Core, "request", broken)
            with pytest.raises(RuntimeError, match="no header"):
                channel.send(b"A" * 20_000)
        assert channel.statistics().arena.leased_blocks == 0
        assert channel.statistics().lent_bytes == 0
        assert channel.statistics().lanes == 1


@pytest.mark.parametrize("methods", [("shm_pool", "uds"), ("shm_pool",)], ids=["another carries it", "none carries it"])
def test_method_that_could_not_carry_a_payload_keeps_nothing_of_it(methods):
    """No cycle holds it until the garbage collector comes: it may be large, or a view of a block."""
    payload = np.zeros(10)
    gone = weakref.ref(payload)

    def carry(method: str, is_last: bool, held: Any = payload) -> Load:
        if method == "shm_pool":
            raise NoRoomError(f"no room for {held.nbytes} bytes")
        return Load(method)

    gc.disable()
    try:
        with contextlib.suppress(NoRoomError):
            load_first(methods, carry, lambda method, reason: None)
        del payload, carry
        assert gone() is None
    finally:
        gc.enable()


def test_caps_of_peers_are_their_own(address, connect):
    """One client that keeps all it may does not keep another from its answers in shared memory."""
    with perfkit.serve(lambda payload: np.zeros(100_000), address, arena_bytes="8MiB", methods=["shm_pool"]) as server:
        greedy, modest = connect(methods=["shm_pool"]), connect(methods=["shm_pool"])
        kept, refusal = [], ""
        while not refusal:
            try:
                kept.append(greedy.send(b"x"))
            except CodecError as error:
                refusal = str(error)
        assert "of our blocks and may view 4MiB: no room for" in refusal
        assert len(kept) >= 4
        assert server.statistics().lent_bytes <= 4 * 2**20
        assert modest.send(b"x").nbytes == 800_000
        assert all(not answer.any() for answer in kept)


def test_kill_of_a_client_gives_the_servers_blocks_back(address, wait_until):
    """It held views of answers; nothing else tells that nobody reads them any more."""
    script = (
        "import sys, time, perfkit\n"
        "channel = perfkit.connect(sys.argv[1], methods=['shm_pool'], record=False)\n"
        "kept = [channel.send(b'x') for _ in range(3)]\n"
        "print('kept', flush=True)\n"
        "time.sleep(600)\n"
    )
    with perfkit.serve(lambda payload: np.ones(10_000), address) as server:
        client = subprocess.Popen([sys.executable, "-c", script, address], stdout=subprocess.PIPE)
        assert client.stdout is not None
        assert client.stdout.readline() == b"kept\n"
        assert server.statistics().arena.leased_blocks == 3
        client.kill()
        client.wait()
        client.stdout.close()
        wait_until(lambda: server.statistics().arena.leased_blocks == 0)


def test_client_that_closes_while_it_views_answers_keeps_them(address, wait_until):
    """The block is not written anew while the process that views it lives."""
    with perfkit.serve(lambda payload: np.full(10_000, payload[0]), address) as server:
        with perfkit.connect(address, methods=["shm_pool"], record=False) as channel:
            kept = channel.send(b"\7")
        wait_until(lambda: server.statistics().peers == 0)
        with perfkit.connect(address, methods=["shm_pool"], record=False) as channel:
            other = channel.send(b"\1")
            assert server.statistics().arena.leased_blocks == 2
        assert int(kept.min()) == int(kept.max()) == 7
        assert int(other.min()) == int(other.max()) == 1
