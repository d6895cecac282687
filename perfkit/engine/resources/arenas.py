"""The arenas of a process, as far as an engine was told of them: how full they are."""

from __future__ import annotations

import dataclasses
import itertools
import types
import weakref
from collections.abc import Callable

__all__ = ["ArenaHandle", "ArenaProbe", "ArenaUse", "Arenas"]

ArenaProbe = Callable[[], tuple[int, int]]
"""Tells an arena's bytes in use and the most that it may hold; the latter is 0 for one that is not there now.

It is called often, by a thread that others wait for: it takes no lock.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class ArenaUse:
    """How full the arenas are.

    Args:
        count: arenas that were asked.
        share: share in use of the fullest one, from 0 to 1.
        capacity_bytes: the most that it may hold.
        free_bytes: what it has left.
        share_of_all: share in use of all of them together.
    """

    count: int
    share: float
    capacity_bytes: int
    free_bytes: int
    share_of_all: float


@dataclasses.dataclass(frozen=True, slots=True)
class ArenaHandle:
    """A registration; `remove` ends it."""

    _arenas: Arenas = dataclasses.field(repr=False)
    number: int

    def remove(self) -> None:
        """Ask this arena no more; harmless when it was removed before."""
        self._arenas.remove(self.number)


class Arenas:
    """A register of arenas. It keeps functions until they are removed, and no owner of a method alive.

    Any thread may add and remove.

    >>> arenas = Arenas()
    >>> def probe() -> tuple[int, int]:
    ...     return 750, 1000
    >>> handle = arenas.add(probe)
    >>> arenas.use().share
    0.75
    >>> handle.remove()
    >>> arenas.use() is None
    True
    """

    def __init__(self) -> None:
        self._probes: dict[int, Callable[[], ArenaProbe | None]] = {}
        self._numbers = itertools.count(1)
        self.dropped = 0  # probes that raised, or told what is no figure

    def add(self, probe: ArenaProbe) -> ArenaHandle:
        """Ask an arena from now on, until its owner is gone, or the probe raises.

        Args:
            probe: a method of what owns the arena, or a function: a method is held weakly, a function until
                the handle is removed.
        """
        number = next(self._numbers)
        is_method = isinstance(probe, types.MethodType)
        self._probes[number] = weakref.WeakMethod(probe) if is_method else lambda: probe
        return ArenaHandle(self, number)

    def remove(self, number: int) -> None:
        """Ask an arena no more; harmless when it was removed before."""
        self._probes.pop(number, None)

    def use(self) -> ArenaUse | None:
        """How full they are; None without arenas."""
        uses = []
        for number, reference in list(self._probes.items()):
            probe = reference()
            if probe is None:
                self.remove(number)
                continue
            try:
                used_bytes, capacity_bytes = map(int, probe())
                if capacity_bytes > 0:
                    uses.append((min(max(used_bytes / capacity_bytes, 0.0), 1.0), capacity_bytes, used_bytes))
            except Exception:  # noqa: BLE001 - foreign code; the others must still be asked
                self.remove(number)
                self.dropped += 1
        if not uses:
            return None
        share, capacity_bytes, used_bytes = max(uses)
        share_of_all = sum(used for _, _, used in uses) / sum(capacity for _, capacity, _ in uses)
        free_bytes = max(capacity_bytes - used_bytes, 0)
        return ArenaUse(len(uses), share, capacity_bytes, free_bytes, min(max(share_of_all, 0.0), 1.0))
