"""One look at what the host, its control groups and the arenas have left."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perfkit.engine.resources.arenas import ArenaHandle, ArenaProbe, Arenas
from perfkit.engine.resources.cgroups import Cgroups, find_cgroups, memory_limits, processor_limits
from perfkit.engine.resources.gauges import ProcessorGauge, Rate, allowed_processors, memory_use, stalled

__all__ = ["Reader", "Reading"]

_GROUPS_HOLD_NS = 5 * 10**9
_LIMITS_HOLD_NS = 400_000_000  # every second look: a limit that is raised counts within a second
_SHORTEST_NS = 20_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What is in use. Shares go from 0 to 1; None stands for what this system does not tell.

    Args:
        moment_ns: when it was read, on a clock that does not go backwards.
        cpu_share: processor time used since the last look, of what is granted; None in the first look.
        cpu_cores: how many cores are granted.
        cpu_source: who grants them: ``host``, or the file with the limit of the control group that is tighter.
        memory_share: memory in use, without the cache that the kernel can drop.
        memory_total_bytes: of how much.
        memory_free_bytes: what is left of it.
        memory_source: as `cpu_source`.
        psi_cpu: share of the time since the last look in which some task waited for a processor.
        psi_memory: the same for memory.
        arena_share: share in use of the fullest arena; None without one.
        arena_capacity_bytes: the most that it may hold.
        arena_free_bytes: what it has left.
        arenas_share: share in use of all arenas together.
    """

    moment_ns: int
    cpu_share: float | None = None
    cpu_cores: float | None = None
    cpu_source: str | None = None
    memory_share: float | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None
    memory_source: str | None = None
    psi_cpu: float | None = None
    psi_memory: float | None = None
    arena_share: float | None = None
    arena_capacity_bytes: int | None = None
    arena_free_bytes: int | None = None
    arenas_share: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return dataclasses.asdict(self)


class Reader:
    """Reads the kernel's files; holds none of them open, and raises nothing. For one thread.

    Args:
        root: folder in which ``proc`` and ``sys`` are.
        clock: tells nanoseconds; it may jump.

    >>> reading = Reader().read()
    >>> reading.memory_share is None or 0 <= reading.memory_share <= 1
    True
    """

    def __init__(self, root: str | Path = "/", clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._root, self._clock = str(root).rstrip("/"), clock
        self.arenas = Arenas()
        self._moment_ns, self._behind_ns = clock(), 0
        self._processor = ProcessorGauge(self._root)
        self._psi_cpu, self._psi_memory = Rate(), Rate()
        self._cgroups = Cgroups()
        self._groups_until_ns = self._limits_until_ns = self._moment_ns

    def add_arena(self, probe: ArenaProbe) -> ArenaHandle:
        """Ask an arena, too; see `Arenas.add`."""
        return self.arenas.add(probe)

    def read(self) -> Reading:
        """Look once: five to ten small files, some tens of microseconds."""
        moment_ns = self._now_ns()
        self._find_limits(moment_ns)
        cpu = self._processor.read(moment_ns, self._processor_limits, self._allowed)
        memory = memory_use(self._root, self._memory_limits)
        arena = self.arenas.use()
        return Reading(
            moment_ns,
            cpu.share if cpu else None,
            cpu.cores if cpu else None,
            cpu.source if cpu else None,
            memory.share if memory else None,
            memory.total_bytes if memory else None,
            memory.free_bytes if memory else None,
            memory.source if memory else None,
            self._stalled("cpu", self._psi_cpu, moment_ns),
            self._stalled("memory", self._psi_memory, moment_ns),
            arena.share if arena else None,
            arena.capacity_bytes if arena else None,
            arena.free_bytes if arena else None,
            arena.share_of_all if arena else None,
        )

    def _now_ns(self) -> int:
        """The clock, without its jumps backwards: then no time has passed, and it goes on from there."""
        now_ns = self._clock() + self._behind_ns
        if now_ns < self._moment_ns:
            self._behind_ns += self._moment_ns - now_ns
            now_ns = self._moment_ns
        self._moment_ns = now_ns
        return now_ns

    def _find_limits(self, moment_ns: int) -> None:
        """Find groups, which change when a process is moved, and limits, which people change, now and then."""
        if moment_ns >= self._groups_until_ns:
            self._groups_until_ns, self._limits_until_ns = moment_ns + _GROUPS_HOLD_NS, moment_ns
            self._cgroups = find_cgroups(self._root)
        if moment_ns >= self._limits_until_ns:
            self._limits_until_ns = moment_ns + _LIMITS_HOLD_NS
            self._memory_limits = memory_limits(self._cgroups)
            self._processor_limits = processor_limits(self._cgroups)
            self._allowed = allowed_processors(self._root)

    def _stalled(self, what: str, rate: Rate, moment_ns: int) -> float | None:
        """Share of time stalled: in this process's own group where it has the file, else on the whole host."""
        own = stalled(f"{self._cgroups.unified[0]}/{what}.pressure") if self._cgroups.unified else None
        waited_ns = stalled(f"{self._root}/proc/pressure/{what}") if own is None else own
        share = rate.update(waited_ns, moment_ns, _SHORTEST_NS)
        return None if share is None else min(share, 1.0)
