"""Memory that payloads arrive in: it is used again, or given back, once the last view of it is gone.

What a handler or a caller gets is a view that begins at an *anchor*, a NumPy array made for this purpose: NumPy and
Arrow collapse chains of views of arrays, but not beyond a `memoryview`, so every view of a payload keeps its anchor
alive. Whether any is left is read off the anchor's reference count, which costs nothing on the path of a transfer; a
view that outlives its request gets a finalizer.
"""

from __future__ import annotations

import mmap
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfkit.channel.core import aligned_memory
from perfkit.channel.frames import ALIGNMENT
from perfkit.errors import NoRoomError, ProtocolError
from perfkit.transfer.memory import SharedView, check_room

__all__ = ["BODIES", "BodyMemory", "Borrowed", "Budget", "Regions"]

Anchor = NDArray[np.uint8]
_MAX_ANCHORS = 4096
_FROM_THE_SYSTEM_BYTES = 256 * 2**10


class Borrowed:
    """A body in a region of the peer, for as long as it is viewed. Made by `Regions.borrow`."""

    __slots__ = ("_anchor", "_regions", "key")

    def __init__(self, key: tuple[int, int], anchor: Anchor, regions: Regions) -> None:
        self.key, self._anchor, self._regions = key, anchor, regions

    def view(self, length: int) -> memoryview:
        """The body; read-only."""
        return self._anchor.data[:length]

    def is_viewed(self) -> bool:
        """Whether a view of the body is left."""
        return sys.getrefcount(self._anchor) > _UNVIEWED

    def give_back(self) -> None:
        """Nobody views it: the next body at this place gets the same anchor."""
        self._regions.keep_anchor(self.key, self._anchor)

    def when_unviewed(self, then: Callable[[tuple[int, int]], None]) -> None:
        """Call `then` with the block's key when the last view goes: in any thread, in the middle of anything."""
        weakref.finalize(self._anchor, then, self.key).atexit = False


_PROBE = Borrowed((0, 0), np.empty(1, np.uint8), None)  # type: ignore[arg-type]
_UNVIEWED = sys.getrefcount(_PROBE._anchor)
"""References to an anchor that one object holds and nobody views."""
_PROBES = [np.empty(1, np.uint8)]
_UNVIEWED_IN_LIST = sys.getrefcount(_PROBES[0])
"""The same for an anchor that a list holds."""


class Regions:
    """The regions of one peer that are mapped here.

    Args:
        max_regions: more are refused.
    """

    def __init__(self, max_regions: int = 4096) -> None:
        self._views: dict[int, SharedView] = {}
        self._anchors: dict[tuple[int, int], Anchor] = {}
        self._max_regions = max_regions
        self._lock = threading.Lock()

    def __contains__(self, region: int) -> bool:
        return region in self._views

    @property
    def mapped_bytes(self) -> int:
        """Bytes of all regions; the peer's memory, not ours."""
        return sum(view.size_bytes for view in tuple(self._views.values()))

    def add(self, region: int, view: SharedView) -> None:
        """A region was introduced; the first one of a number counts.

        Raises:
            ProtocolError: there are too many already.
        """
        with self._lock:
            if region in self._views:
                view.close()
            elif len(self._views) >= self._max_regions:
                view.close()
                raise ProtocolError(f"more than {self._max_regions} regions of shared memory; the peer is broken")
            else:
                self._views[region] = view

    def forget(self, region: int) -> None:
        """Unmap a region; views of it that are left keep its memory alive."""
        with self._lock:
            view = self._views.pop(region, None)
            for key in [key for key in self._anchors if key[0] == region]:
                del self._anchors[key]
            if view is not None:
                view.close()

    def borrow(self, region: int, offset: int, length: int) -> Borrowed:
        """The body that the peer announced.

        Raises:
            ProtocolError: it lies in no region that was introduced, outside of it, or is not aligned.
        """
        view = self._views.get(region)
        if view is None:
            raise ProtocolError(f"block of region {region}, which was never introduced")
        if offset % ALIGNMENT or offset + length > view.size_bytes:
            raise ProtocolError(
                f"block {offset}+{length} is outside its region of {view.size_bytes} bytes or not aligned"
            )
        key = (region, offset)
        anchor = self._anchors.pop(key, None)  # two requests with one block have an anchor each
        if anchor is None:
            anchor = np.frombuffer(view.view[offset:], np.uint8) if offset < view.size_bytes else np.empty(0, np.uint8)
        return Borrowed(key, anchor, self)

    def keep_anchor(self, key: tuple[int, int], anchor: Anchor) -> None:
        """Making an anchor costs more than keeping it; see `Borrowed.give_back`."""
        if key[0] in self._views and len(self._anchors) < _MAX_ANCHORS:
            self._anchors[key] = anchor

    def close(self) -> None:
        """Unmap everything."""
        for region in tuple(self._views):
            self.forget(region)


class BodyMemory:
    """Private memory for bodies that arrive as bytes, used again once nobody views it; shared by many connections.

    Args:
        kept_bytes: how much is kept for the next bodies.
    """

    def __init__(self, kept_bytes: int = 16 * 2**20) -> None:
        self._kept_limit_bytes = kept_bytes
        self._kept: list[Anchor] = []
        self._lock = threading.Lock()

    def allocate(self, length: int) -> memoryview:
        """A writable view of `length` bytes, aligned.

        Raises:
            NoRoomError: the machine has no headroom for it.
        """
        with self._lock:
            for index in range(len(self._kept) - 1, -1, -1):
                fits = length <= self._kept[index].nbytes <= 2 * length
                # By its place in the list: a variable would count as another reference, on some versions of Python.
                if fits and sys.getrefcount(self._kept[index]) <= _UNVIEWED_IN_LIST:
                    self._kept.append(self._kept.pop(index))  # the next one is likely to be of this size, too
                    return self._kept[-1].data[:length]
        try:
            check_room(length, "for a payload that a peer announced")
        except NoRoomError:
            self.trim()
            check_room(length, "for a payload that a peer announced")
        anchor = _fresh_memory(length)
        if length <= self._kept_limit_bytes:
            self._keep(anchor)
        return anchor.data[:length]

    def trim(self) -> None:
        """Keep nothing; what is viewed lives on until it is not."""
        with self._lock:
            self._kept.clear()

    def _keep(self, anchor: Any) -> None:
        with self._lock:
            self._kept.append(anchor)
            while sum(kept.nbytes for kept in self._kept) > self._kept_limit_bytes:
                self._kept.pop(0)


def _fresh_memory(length: int) -> Anchor:
    """Untouched, aligned memory. Large pieces come from the system itself, which gets them back at once: the C library
    keeps up to 32 MiB of what was freed, for each of many threads."""
    if length < _FROM_THE_SYSTEM_BYTES:
        return aligned_memory(length)
    return np.frombuffer(mmap.mmap(-1, length, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.uint8)


BODIES = BodyMemory()
"""Of this process: for all its channels and servers."""


class Budget:
    """How many bytes of bodies a server reads and handles at a time: more wait, so that many senders at once cost their
    time and not its memory.

    A soft limit: whoever has waited for `longest_wait_s` goes on all the same; a handler may wait for another one.

    Args:
        limit_bytes: one body alone may be larger.
        longest_wait_s: see above.
    """

    def __init__(self, limit_bytes: int, longest_wait_s: float = 10.0) -> None:
        self.used_bytes = 0
        self._limit_bytes, self._longest_wait_s = limit_bytes, longest_wait_s
        self._has_room = threading.Condition()

    def take(self, size_bytes: int) -> None:
        """Wait for room, and take it."""
        with self._has_room:
            self._has_room.wait_for(
                lambda: not self.used_bytes or self.used_bytes + size_bytes <= self._limit_bytes, self._longest_wait_s
            )
            self.used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Let the next ones go on."""
        with self._has_room:
            self.used_bytes -= size_bytes
            self._has_room.notify_all()
