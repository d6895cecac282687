"""Measuring on a host that serves: keep to a share of its processors, and measure what that costs the host."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from perfkit.stats.hierarchical import Estimate, ratio_of_groups

__all__ = ["ImpactProbe", "keep_to_share"]

_PROBE_INTERVAL_S = 0.1
_PROBE_ROUND_S = 2.0
_PROBE_WORK = bytes(512 * 1024)  # about a millisecond of hashing
_CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def keep_to_share(share: float) -> Callable[[], None]:
    """A throttle: after every batch, sleep until this process and its children are within their share of the machine.

    Args:
        share: of all processors' time, above 0.
    """
    started_s, used_before_s = time.monotonic(), _tree_cpu_s(os.getpid())
    cores = os.cpu_count() or 1

    def throttle() -> None:
        used_s = _tree_cpu_s(os.getpid()) - used_before_s
        due_s = used_s / (share * cores)
        time.sleep(max(0.0, started_s + due_s - time.monotonic()))

    return throttle


def _tree_cpu_s(root: int) -> float:
    """Processor time of a process and all its living descendants, and of those it has waited for."""
    times = os.times()
    total_s = times.user + times.system + times.children_user + times.children_system
    for pid in _descendants(root):
        with contextlib.suppress(OSError, IndexError):  # it ended while we looked
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total_s += (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_S
    return total_s


def _descendants(pid: int) -> Iterator[int]:
    """Children of all threads (each has a list of its own), their children, and so on."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread or the process ended while we looked
            for child in children.read_text().split():
                yield int(child)
                yield from _descendants(int(child))


@dataclasses.dataclass(frozen=True, slots=True)
class ImpactProbe:
    """A process of normal priority that times a fixed piece of work, as a service on this host would.

    The work is timed for a while before the measurement begins; `impact` compares the time since with that.
    """

    _process: multiprocessing.process.BaseProcess
    _connection: Connection

    @staticmethod
    @contextlib.contextmanager
    def start(baseline_s: float = 6.0) -> Iterator[ImpactProbe]:
        """Start the probe and let it time the undisturbed host for `baseline_s` seconds."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_probe, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        try:
            time.sleep(baseline_s)
            ours.send("measuring")
            yield ImpactProbe(process, ours)
        finally:
            ours.close()
            process.join(timeout=5)
            process.kill()

    def impact(self) -> Estimate:
        """Time of the work during the measurement over its time before; Welch's interval over stretches of 2 s."""
        self._connection.send("report")
        before, during = self._connection.recv()
        return ratio_of_groups(during, before)


def _probe(connection: Connection) -> None:
    phases: list[list[float]] = [[]]
    current: list[float] = []
    ends = time.monotonic() + _PROBE_ROUND_S
    while True:
        started = time.perf_counter()
        hashlib.blake2b(_PROBE_WORK).digest()
        current.append(time.perf_counter() - started)
        if time.monotonic() > ends:
            phases[-1].append(statistics.mean(current))
            current, ends = [], time.monotonic() + _PROBE_ROUND_S
        try:
            if connection.poll(_PROBE_INTERVAL_S):
                if connection.recv() == "report":
                    phases[-1] += [statistics.mean(current)] if current else []
                    connection.send((phases[0] or phases[-1], phases[-1]))
                else:
                    phases.append([])
        except (EOFError, OSError):
            return
