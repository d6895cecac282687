"""How much memory a notebook takes, with all the processes that it starts."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import psutil

__all__ = ["MemoryWatch", "kills_for_want_of_memory"]

_WORTH_A_LOOK = 1.05
_LOOKS_PER_LIST = 4
"""To find the descendants takes a look at every process of the host; to see what they hold, at them alone."""


class MemoryWatch:
    """Resident memory of the processes below one.

    It counts in proportional set size (PSS): a page that several processes map, such as the arena of `shm_pool`,
    counts once in all. The sum of their resident set sizes (RSS) would count it once for each. But to read PSS the
    kernel walks through all pages, which disturbs what is being measured; RSS, which is never less, is a counter. So
    RSS is read each time, and PSS only where RSS says that there may be news: over the limit, or a new peak.

    Args:
        process_id: its descendants are counted, not itself.
    """

    def __init__(self, process_id: int) -> None:
        self._process = psutil.Process(process_id)
        self.processes: Sequence[psutil.Process] = ()
        self._looks = 0
        self._highest_rss_bytes = 0
        self.peak_bytes = 0

    def look(self, limit_bytes: int | None = None) -> int:
        """Look once.

        Args:
            limit_bytes: what must not be exceeded; None for no limit.

        Returns:
            Bytes by which the memory is known to be bounded: exact (PSS) where they are over the limit or a new peak.
        """
        if self._looks % _LOOKS_PER_LIST == 0:
            self.processes = self._descendants()
        self._looks += 1
        rss_bytes = sum(map(_rss_bytes, self.processes))
        is_news = rss_bytes > self._highest_rss_bytes * _WORTH_A_LOOK
        if not is_news and (limit_bytes is None or rss_bytes <= limit_bytes):
            return rss_bytes
        pss_bytes = sum(map(_pss_bytes, self.processes))
        self._highest_rss_bytes = max(self._highest_rss_bytes, rss_bytes)
        self.peak_bytes = max(self.peak_bytes, pss_bytes)
        return pss_bytes

    def every_process(self) -> set[psutil.Process]:
        """The processes below, and those that were seen last: they may have left their parent."""
        return {*self.processes, *self._descendants()}

    def _descendants(self) -> Sequence[psutil.Process]:
        with contextlib.suppress(psutil.Error):  # it has ended
            return list(self._process.children(recursive=True))
        return ()


def kills_for_want_of_memory() -> int:
    """How often the kernel has killed a process because this host, or this container, ran out of memory.

    Returns:
        A counter since the start; 0 where nobody counts.
    """
    counters = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))
    return sum(_counted(file) for file in counters)


def _counted(file: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _rss_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _pss_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, OSError, AttributeError):  # other systems have no PSS
        return int(process.memory_full_info().pss)
    return _rss_bytes(process)
