"""What the two ends of a conversation keep between requests, whatever connection these came on."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from perfkit.channel.borrowing import Borrowed, Regions
from perfkit.channel.core import Core
from perfkit.channel.events import Event, Forgotten, Mapped, Message, Released
from perfkit.channel.frames import NOTHING, SEGMENT
from perfkit.channel.lending import Lent, PeerProcess
from perfkit.errors import ProtocolError
from perfkit.transfer.arena import Arena
from perfkit.transfer.memory import open_descriptor

__all__ = ["Session"]

_RELEASED_AT_A_TIME = 1024
_Item = TypeVar("_Item")


def _nobody() -> None:
    """Nobody waits for news yet."""


class Session:
    """One peer: its regions that are mapped here, our blocks that it views, and what it has yet to be told.

    Args:
        arena: where our blocks come from.
        lent_limit_bytes: how much of it the peer may view at a time.
        pid: of the peer.
        allow_unsealed: see `perfkit.transfer.memory.open_descriptor`.
    """

    def __init__(self, arena: Arena, lent_limit_bytes: int, pid: int = 0, *, allow_unsealed: bool = False) -> None:
        self.arena = arena
        self.regions = Regions()
        self.lent = Lent(arena, lent_limit_bytes)
        self.peer = PeerProcess(pid)
        self.is_over = False
        self._allow_unsealed = allow_unsealed
        self.to_release: deque[tuple[int, int]] = deque()
        self.to_forget: deque[int] = deque()
        self._known_regions: set[int] = set()
        self._tell: Callable[[], None] = _nobody
        arena.subscribe(self._forget_region)

    # --- what we have to tell ----------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether the peer has yet to be told of something that it waits for."""
        return bool(self.to_release or self.to_forget)

    def news(self, core: Core) -> bytes:
        """The frames that tell it: they go in front of the next one."""
        frames = b""
        while blocks := _taken(self.to_release, _RELEASED_AT_A_TIME):
            frames += core.release(blocks)
        for region in _taken(self.to_forget, _RELEASED_AT_A_TIME):
            frames += core.forget(region)
        return frames

    def knows(self, region: int, introduced_here: set[int]) -> bool:
        """Whether the peer surely knows a region: it has answered since, or it was introduced on this connection."""
        return region in self._known_regions or region in introduced_here

    def confirm(self, introduced: set[int]) -> None:
        """The peer answered on a connection on which these were introduced before."""
        self._known_regions |= introduced
        introduced.clear()

    # --- what we are told --------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        """Take what concerns the whole conversation.

        Raises:
            TransferError: the peer's memory is not what it must be.
        """
        if isinstance(event, Released):
            self.lent.returned(event.blocks)
        elif isinstance(event, Mapped):
            self._map(event)
        elif isinstance(event, Forgotten):
            self.regions.forget(event.region)

    def borrow(self, message: Message) -> tuple[memoryview, Borrowed | None]:
        """The body of a message, and what has to be given back once nobody views it.

        Raises:
            TransferError: it is not where the peer says, or the peer's memory is not what it must be.
        """
        if message.body is not None:
            body, message.body = message.body, None
            return body, None
        if message.carrier == NOTHING:
            if message.body_bytes:
                raise ProtocolError(f"a body of {message.body_bytes} bytes that nothing carries")
            return memoryview(b""), None
        if message.carrier == SEGMENT:
            return self._open_segment(message), None
        borrowed = self.regions.borrow(message.region, message.offset, message.body_bytes)
        return borrowed.view(message.body_bytes), borrowed

    def give_back(self, borrowed: Borrowed) -> bool:
        """Have the peer told that a block is free, with the next frame, or once the last view is gone: False, then."""
        if borrowed.is_viewed():
            borrowed.when_unviewed(self._release)
            return False
        borrowed.give_back()
        self._release(borrowed.key)
        return True

    def when_told(self, tell: Callable[[], None]) -> None:
        """Call `tell`, which must be safe in a finalizer, when there are news that no frame may be about to carry."""
        self._tell = tell

    # --- the end -----------------------------------------------------------------------------------------------------

    def end(self) -> bool:
        """No connection is left. Blocks that the peer may view come back when it is gone: True once all have."""
        if not self.is_over:
            self.is_over = True
            self.arena.unsubscribe(self._forget_region)
            self.regions.close()
        if len(self.lent) and not self.arena.is_closed and not self.peer.is_gone():
            return False
        self.lent.return_all()
        self.peer.close()
        return True

    def _release(self, key: tuple[int, int]) -> None:
        self.to_release.append(key)
        self._tell()

    def _forget_region(self, region: int) -> None:
        self._known_regions.discard(region)
        self.to_forget.append(region)

    def _map(self, event: Mapped) -> None:
        try:
            if event.region not in self.regions:
                view = open_descriptor(event.descriptor.number, event.region_bytes, allow_unsealed=self._allow_unsealed)
                self.regions.add(event.region, view)
        finally:
            event.descriptor.close()

    def _open_segment(self, message: Message) -> memoryview:
        descriptor = message.descriptor
        assert descriptor is not None  # the core refuses a segment without one
        try:
            view = open_descriptor(descriptor.number, message.region, allow_unsealed=self._allow_unsealed)
        finally:
            descriptor.close()
        return view.slice(0, message.body_bytes)  # the map goes with the last view of it


def _taken(waiting: deque[_Item], at_most: int) -> list[_Item]:
    """Taken out one by one: several connections of a conversation tell news at the same time."""
    taken: list[_Item] = []
    with contextlib.suppress(IndexError):  # another connection has the rest
        while len(taken) < at_most:
            taken.append(waiting.popleft())
    return taken
