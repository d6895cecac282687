"""Turn the kernel's counters into shares: of processor time, of memory, of time stalled."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection

from perfkit.engine.resources.cgroups import MemoryLimit, ProcessorLimit
from perfkit.engine.resources.files import counter_in, read_file

__all__ = ["HOST", "MemoryUse", "ProcessorGauge", "ProcessorUse", "Rate", "allowed_processors", "memory_use", "stalled"]

HOST = "host"
_SHORTEST_NS = 20_000_000
_FEWEST_TICKS = 5
_MEMINFO = re.compile(rb"^(MemTotal|MemAvailable):\s*(\d{1,16}) kB", re.MULTILINE)
_STALLED = re.compile(rb"^some .*\btotal=(\d{1,19})$", re.MULTILINE)
_PROCESSOR = re.compile(rb"\ncpu(\d{1,9}) ")
_IDLE, _IO_WAIT, _STEAL = 3, 4, 7
_LONGEST_ROW = 512
_TIMES = 8  # user to steal; what follows, guest time, is in user already


class Rate:
    """How much of one counter passes per unit of another, from look to look.

    >>> rate = Rate()
    >>> rate.update(100, 1000, 10), rate.update(150, 1100, 10), rate.update(151, 1101, 10)
    (None, 0.5, 0.5)
    """

    __slots__ = ("_at", "_share", "_value")

    def __init__(self) -> None:
        self._value: int | None = None
        self._at = 0
        self._share: float | None = None

    def update(self, value: int | None, at: int, shortest: int) -> float | None:
        """The share since the last look; the last one again while less than `shortest` has passed.

        None in the first look, without a value, and when a counter went backwards: it begins anew then.
        """
        if self._value is not None and value is not None and value >= self._value and at >= self._at:
            if at - self._at < shortest:
                return self._share
            self._share = (value - self._value) / (at - self._at)
        else:
            self._share = None
        self._value, self._at = value, at
        return self._share


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessorUse:
    """Share of `cores` in use; `source` is ``host``, or the file with the group's limit."""

    share: float
    cores: float
    source: str


class ProcessorGauge:
    """Processor use, of the host or of the group that is closest to its limit."""

    def __init__(self, root: str) -> None:
        self._stat_path = f"{root}/proc/stat"
        self._host, self._groups = Rate(), dict[str, Rate]()
        self._cores = 0

    def read(self, moment_ns: int, limits: tuple[ProcessorLimit, ...], allowed: Collection[int]) -> ProcessorUse | None:
        """Use since the last look; None where nothing is known.

        Args:
            moment_ns: now, on a clock that does not go backwards.
            limits: of the groups above this process.
            allowed: processors that this process may run on; empty for all.
        """
        busy, total, cores = _ticks(read_file(self._stat_path), allowed)
        if cores != self._cores:  # one was plugged in or taken out: sums over others cannot be compared
            self._host, self._cores = Rate(), cores
        share = self._host.update(busy, total, _FEWEST_TICKS) if cores else None
        use = None if share is None else ProcessorUse(min(share, 1.0), cores, HOST)
        self._groups = {limit.limit_path: self._groups.get(limit.limit_path) or Rate() for limit in limits}
        for limit in limits:
            rate = self._groups[limit.limit_path].update(limit.used_ns(), moment_ns, _SHORTEST_NS)
            if rate is None or 0 < cores <= limit.cores:
                continue
            share = min(rate / limit.cores, 1.0)
            if use is None or share > use.share:
                use = ProcessorUse(share, limit.cores, limit.limit_path)
        return use


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryUse:
    """Share of `total_bytes` in use; `source` is ``host``, or the file with the group's limit."""

    share: float
    total_bytes: int
    free_bytes: int
    source: str


def memory_use(root: str, limits: tuple[MemoryLimit, ...]) -> MemoryUse | None:
    """Memory in use, of the host or of the group that is closest to its limit; None where nothing is known."""
    found = {name: int(kib) * 1024 for name, kib in _MEMINFO.findall(read_file(f"{root}/proc/meminfo"))}
    total_bytes, available_bytes = found.get(b"MemTotal", 0), found.get(b"MemAvailable")
    tightest = None
    if total_bytes and available_bytes is not None:
        tightest = _memory_use(total_bytes, total_bytes - available_bytes, HOST)
    for limit in limits:
        used_bytes = counter_in(read_file(limit.usage_path))
        if used_bytes is None or 0 < total_bytes <= limit.limit_bytes:
            continue
        use = _memory_use(limit.limit_bytes, used_bytes, limit.limit_path)
        if tightest is None or use.share > tightest.share:
            # The file is slow to read, and only where it matters.
            use = _memory_use(limit.limit_bytes, used_bytes - _reclaimable_bytes(limit), limit.limit_path)
            if tightest is None or use.share > tightest.share:
                tightest = use
    return tightest


def stalled(path: str) -> int | None:
    """How long some task waited, from a file of pressure stall information, in nanoseconds; None without it."""
    found = _STALLED.search(read_file(path))
    return int(found.group(1)) * 1000 if found else None


def allowed_processors(root: str) -> frozenset[int]:
    """The processors that this process may run on; empty where that cannot be told."""
    _, found, rest = read_file(f"{root}/proc/self/status").partition(b"\nCpus_allowed_list:")
    allowed: set[int] = set()
    for piece in rest.partition(b"\n")[0].split(b",") if found else ():
        first, _, last = piece.partition(b"-")
        low, high = counter_in(first), counter_in(last or first)
        if low is None or high is None or not low <= high < 2**16:
            return frozenset()
        allowed.update(range(low, high + 1))
    return frozenset(allowed)


def _ticks(stat: bytes, allowed: Collection[int]) -> tuple[int, int, int]:
    """Busy ticks, granted ticks and number of processors, from ``/proc/stat``; no processors where it is unreadable.

    Waiting for a disk is idle. Time that the hypervisor stole was not granted: it is in neither sum.

    >>> _ticks(b"cpu  30 0 10 50 10 0 0 20\\ncpu0 30 0 10 50 10 0 0 20\\nintr 1\\n", {0})
    (40, 100, 1)
    """
    processors = _PROCESSOR.findall(stat)
    online = {int(number) for number in processors}
    counted = online.intersection(allowed) if allowed else online
    if counted == online:
        lines = [stat.partition(b"\n")[0].split()]
        if not lines[0] or lines[0][0] != b"cpu":
            return 0, 0, 0
    else:
        names = {b"cpu%d" % number for number in counted}
        rows = stat[: stat.rfind(b"\ncpu") + _LONGEST_ROW].split(b"\n")
        lines = [row.split() for row in rows if row.partition(b" ")[0] in names]
    busy = total = 0
    for words in lines:
        times = [counter_in(word) or 0 for word in words[1 : 1 + _TIMES]]
        times += [0] * (_TIMES - len(times))
        granted = sum(times) - times[_STEAL]
        total += granted
        busy += granted - times[_IDLE] - times[_IO_WAIT]
    return busy, total, len(counted)


def _memory_use(total_bytes: int, used_bytes: int, source: str) -> MemoryUse:
    used_bytes = min(max(used_bytes, 0), total_bytes)
    share = used_bytes / total_bytes if total_bytes else 1.0  # a limit of 0 bytes is always reached
    return MemoryUse(share, total_bytes, total_bytes - used_bytes, source)


def _reclaimable_bytes(limit: MemoryLimit) -> int:
    _, found, rest = (b"\n" + read_file(limit.stat_path)).partition(limit.reclaimable)
    return (counter_in(rest.partition(b"\n")[0]) or 0) if found else 0
