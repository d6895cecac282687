"""Blocks of our arena that a peer views: how many bytes at most, and when they come back."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterable

from perfkit.errors import NoRoomError
from perfkit.transfer.arena import Arena, Block
from perfkit.units import format_bytes

__all__ = ["Lent", "PeerProcess"]


class PeerProcess:
    """The process at the other end, to be asked whether it is gone. Without pidfd (not Linux) it never says so."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = -1
        self._is_gone = False
        self._lock = threading.Lock()  # a descriptor that is closed twice may be another's by then
        if pid > 0 and hasattr(os, "pidfd_open"):
            try:
                self._descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._is_gone = True
            except (OSError, OverflowError):  # another PID namespace, an old kernel, nonsense: nobody can tell
                pass

    def is_gone(self) -> bool:
        """Whether it has surely ended: it can view nothing any more."""
        with self._lock:
            if not self._is_gone and self._descriptor >= 0:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                self._is_gone = bool(poll.poll(0))
            return self._is_gone

    def close(self) -> None:
        """Stop watching it; the last connection and the sweeper may both come here."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()


class Lent:
    """What one peer may view of our arena; safe to use from several threads.

    Args:
        arena: where the blocks come from.
        limit_bytes: the peer may view no more than this at a time.
    """

    def __init__(self, arena: Arena, limit_bytes: int) -> None:
        self.lent_bytes = 0
        self._arena, self._limit_bytes = arena, limit_bytes
        self._blocks: dict[tuple[int, int], tuple[Block, int]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._blocks)

    def check(self, size_bytes: int) -> None:
        """Refuse what would take the peer over its limit.

        Raises:
            NoRoomError: with what it holds.
        """
        if self.lent_bytes + size_bytes > self._limit_bytes:
            raise NoRoomError(
                f"the peer views {format_bytes(self.lent_bytes)} of our blocks and may view "
                f"{format_bytes(self._limit_bytes)}: no room for {format_bytes(size_bytes)} more until it lets go"
            )

    def lend(self, block: Block, offset: int) -> None:
        """The peer is about to be told of a body at `offset` in the block's region; it is leased until its return."""
        key = (block.region.id, offset)
        with self._lock:
            self.lent_bytes += block.size_bytes
            known = self._blocks.get(key)
            self._blocks[key] = (block, 1 if known is None else known[1] + 1)

    def returned(self, keys: Iterable[tuple[int, int]]) -> None:
        """The peer views these no more; names that were not lent are ignored, they can hurt nobody but the peer."""
        for key in keys:
            with self._lock:
                block, times = self._blocks.get(key, (None, 0))
                if block is None:
                    continue
                self.lent_bytes -= block.size_bytes
                if times > 1:
                    self._blocks[key] = (block, times - 1)
                else:
                    del self._blocks[key]
            self._arena.release(block)

    def return_all(self) -> None:
        """The peer is gone: all of it comes back."""
        with self._lock:
            blocks, self._blocks, self.lent_bytes = self._blocks, {}, 0
        for block, times in blocks.values():
            for _ in range(times):
                self._arena.release(block)
