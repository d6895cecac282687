"""How to copy into shared memory: the way that was measured to be quicker on this machine.

* up to `RELEASE_FROM_BYTES`: a plain copy under the interpreter lock; releasing it would cost more than the copy.
* from there on: a plain copy that lets other threads run.
* from `CopyPlan.threads_from_bytes`: two halves at once, where two cores move more than one.

Non-temporal stores belong to the C library, which decides at process start
(``GLIBC_TUNABLES=glibc.cpu.x86_non_temporal_threshold=…``): `perfkit bench` measures whether they would pay here.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np

__all__ = ["PLAIN", "RELEASE_FROM_BYTES", "CopyPlan", "CopyTiming", "copy_into", "measure_copies", "plan_copies"]

RELEASE_FROM_BYTES = 2**20
_PAGE_BYTES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class CopyPlan:
    """From which size on a copy is split over two threads; None: never."""

    threads_from_bytes: int | None = None


PLAIN = CopyPlan()


def copy_into(destination: memoryview, source: memoryview, plan: CopyPlan = PLAIN) -> None:
    """Copy `source` into the first ``len(source)`` bytes of `destination`; both are contiguous views of bytes.

    >>> block = memoryview(bytearray(8))
    >>> copy_into(block, memoryview(b"abc")); bytes(block)
    b'abc\\x00\\x00\\x00\\x00\\x00'
    """
    length = source.nbytes
    if length < RELEASE_FROM_BYTES:
        destination[:length] = source
    elif plan.threads_from_bytes is None or length < plan.threads_from_bytes:
        _copy_released(destination[:length], source)
    else:
        middle = length // 2 // _PAGE_BYTES * _PAGE_BYTES
        second_half = _second_thread().submit(_copy_released, destination[middle:length], source[middle:])
        _copy_released(destination[:middle], source[:middle])
        second_half.result()


def _copy_released(destination: memoryview, source: memoryview) -> None:
    # NumPy releases the interpreter lock while it copies; a memoryview assignment does not.
    np.copyto(np.frombuffer(destination, np.uint8), np.frombuffer(source, np.uint8))


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="perfkit-copy")


# A forked child has the executor but not its thread: it must start its own.
os.register_at_fork(after_in_child=_second_thread.cache_clear)


@dataclasses.dataclass(frozen=True, slots=True)
class CopyTiming:
    """Median times of one copy of `payload_bytes` in nanoseconds, with n repetitions each."""

    payload_bytes: int
    plain_ns: float
    threads_ns: float
    n: int


def measure_copies(
    sizes: tuple[int, ...] = (2 * 2**20, 8 * 2**20, 32 * 2**20),
    repetitions: int = 7,
    make_destination: Callable[[int], memoryview] = lambda size_bytes: memoryview(bytearray(size_bytes)),
) -> tuple[CopyTiming, ...]:
    """Time both ways of copying, interleaved, into warm memory.

    Args:
        sizes: bytes of one copy each.
        repetitions: timed copies per way and size, after one that is not timed.
        make_destination: gives the memory that is copied into.
    """
    split = CopyPlan(threads_from_bytes=0)
    timings = []
    for size_bytes in sizes:
        source, destination = memoryview(bytearray(size_bytes)), make_destination(size_bytes)
        times: dict[CopyPlan, list[int]] = {PLAIN: [], split: []}
        for repetition in range(repetitions + 1):
            for plan, durations in times.items():
                started = time.perf_counter_ns()
                copy_into(destination, source, plan)
                if repetition:
                    durations.append(time.perf_counter_ns() - started)
        plain_ns, threads_ns = (statistics.median(durations) for durations in times.values())
        timings.append(CopyTiming(size_bytes, plain_ns, threads_ns, repetitions))
    return tuple(timings)


def plan_copies(timings: tuple[CopyTiming, ...], gain: float = 0.1) -> CopyPlan:
    """Split from the smallest measured size on from which every larger one gained at least `gain` by it.

    >>> plan_copies((CopyTiming(2**21, 100, 99, 7), CopyTiming(2**23, 400, 250, 7)))
    CopyPlan(threads_from_bytes=8388608)
    """
    threads_from_bytes = None
    for timing in sorted(timings, key=lambda timing: -timing.payload_bytes):
        if timing.threads_ns > (1 - gain) * timing.plain_ns:
            break
        threads_from_bytes = timing.payload_bytes
    return CopyPlan(threads_from_bytes)
