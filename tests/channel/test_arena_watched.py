"""An engine hears how full the arenas of its channels and servers are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import perfkit
from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine.resources import ArenaHandle, ArenaProbe, ResourceMonitor

MIB = 2**20


class WatchingEngine(perfkit.Engine):
    """An engine whose looks a test takes."""

    monitor: ResourceMonitor

    def watch_arena(self, probe: ArenaProbe) -> ArenaHandle:
        return self.monitor.add_arena(probe)


@pytest.fixture
def engine() -> WatchingEngine:
    engine = WatchingEngine.load("no-such-folder/perfkit.toml", background=False)
    engine.monitor = ResourceMonitor(ResourceSettings())
    return engine


def size_of(payload: np.ndarray) -> str:
    return str(payload.nbytes)


def look(engine: WatchingEngine) -> tuple[str, float | None]:
    look = engine.monitor.look()
    return look.state, look.reading.arena_share


def test_an_exhausted_arena_of_a_channel_shows_at_once_and_is_over_when_blocks_return(
    address: str, connect: Callable[..., perfkit.Channel], engine: WatchingEngine
) -> None:
    with perfkit.serve(size_of, address):
        channel = connect(engine=engine, arena_bytes=32 * MIB)
        assert look(engine)[1] == 0.0
        held = [channel.empty(4 * MIB, "uint8") for _ in range(8)]
        assert look(engine) == ("arena_exhausted", 1.0)
        # What was born in a block still travels by it, and anything else by another method.
        assert channel.send(held[0], timeout_s=20) == str(4 * MIB)
        del held[:]
        assert [look(engine)[1] for _ in range(2)] == [0.0, 0.0]
        assert look(engine)[0] != "arena_exhausted"
        channel.close()
        assert look(engine)[1] is None


def test_an_engine_takes_no_shared_memory_while_the_arena_is_exhausted(
    address: str, connect: Callable[..., perfkit.Channel], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    engine = perfkit.Engine.load(tmp_path / "perfkit.toml")

    def method() -> str:
        return engine.decide(64 * MIB, kind="tensor", format="numpy").method

    try:
        with perfkit.serve(size_of, address):
            channel = connect(engine=engine, arena_bytes=32 * MIB)
            assert method() == "shm_pool"
            held = [channel.empty(4 * MIB, "uint8") for _ in range(8)]
            wait_until(lambda: engine.health().state == "arena_exhausted")
            assert method() == "grpc"
            assert engine.health().state_cause == "use of all arenas 100%, limit 95%"
            del held[:]
            wait_until(lambda: engine.health().state != "arena_exhausted")
            assert method() == "shm_pool"
    finally:
        engine.close()


def test_the_arena_of_a_server_is_watched_until_it_closes(address: str, engine: WatchingEngine) -> None:
    with perfkit.serve(size_of, address, engine=engine, arena_bytes=32 * MIB) as server:
        block = server.arena.lease(16 * MIB, wait_s=20)
        assert look(engine)[1] == 0.5
        server.arena.release(block)
    assert look(engine)[1] is None


def test_a_forked_child_looks_at_arenas_of_its_own(
    address: str, connect: Callable[..., perfkit.Channel], engine: WatchingEngine
) -> None:
    with perfkit.serve(size_of, address, engine=engine, arena_bytes=32 * MIB) as server:
        channel = connect(engine=engine, arena_bytes=32 * MIB)
        held = [channel.empty(16 * MIB, "uint8"), server.arena.lease(32 * MIB, wait_s=20)]
        child = os.fork()
        if child == 0:  # no exception may leave the child: it would run the rest of the tests
            os._exit(0 if engine.monitor.look().reading.arena_share == 0.0 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert look(engine)[1] == 1.0
        server.arena.release(held.pop())
