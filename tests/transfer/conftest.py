"""What the tests of the arena share."""

from __future__ import annotations

import contextlib
import threading

import pytest

from perfkit.errors import NoRoomError
from perfkit.transfer import arena_growth
from perfkit.transfer.arena import Arena
from perfkit.transfer.memory import Region


@pytest.fixture
def make_arena():
    """Arenas that are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(limit_bytes: int, region_bytes: int = 2**20, **options: bool) -> Arena:
            arena = Arena(limit_bytes, region_bytes=region_bytes, prefault=False, **options)
            stack.callback(arena.close)
            return arena

        yield make


@pytest.fixture
def reservations(monkeypatch):
    """Counts and gates what the arena asks of the kernel: names of threads; errors to raise; a gate to pass."""
    seen = Reservations()
    monkeypatch.setattr(arena_growth, "Region", seen.reserve)
    return seen


class Reservations:
    def __init__(self) -> None:
        self.threads: list[str] = []
        self.refuse: list[bool] = []
        self.gate = threading.Event()
        self.gate.set()

    def reserve(self, size_bytes: int, **options) -> Region:
        self.threads.append(threading.current_thread().name)
        assert self.gate.wait(60)
        if self.refuse and self.refuse.pop(0):
            raise NoRoomError("no headroom, says the test")
        return Region(size_bytes, **options)
