"""Copies: every way gives the same bytes; the plan follows the measurement."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.transfer.copying import PLAIN, CopyPlan, CopyTiming, copy_into, measure_copies, plan_copies

MIB = 2**20


@pytest.mark.parametrize("plan", [PLAIN, CopyPlan(threads_from_bytes=MIB)])
@pytest.mark.parametrize("size", [0, 1, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB + 5])
def test_bytes_arrive_and_nothing_beyond_is_written(plan, size):
    source = memoryview(np.random.default_rng(size).bytes(size))
    destination = memoryview(bytearray(b"\xaa" * (size + 100)))
    copy_into(destination, source, plan)
    assert destination[:size] == source
    assert bytes(destination[size:]) == b"\xaa" * 100


@pytest.mark.parametrize(
    ("timings", "threads_from_bytes"),
    [
        ([(2, 100, 50), (8, 400, 200)], 2 * MIB),
        ([(2, 100, 95), (8, 400, 200)], 8 * MIB),
        ([(2, 100, 50), (8, 400, 399)], None),
        ([(2, 100, 130), (8, 400, 600)], None),
    ],
)
def test_copies_are_split_only_where_every_larger_one_gained(timings, threads_from_bytes):
    measured = tuple(CopyTiming(size * MIB, plain_ns, threads_ns, 7) for size, plain_ns, threads_ns in timings)
    assert plan_copies(measured).threads_from_bytes == threads_from_bytes


def test_measuring_times_both_ways():
    (timing,) = measure_copies((MIB,), repetitions=3)
    assert (timing.payload_bytes, timing.n) == (MIB, 3)
    assert timing.plain_ns > 0
    assert timing.threads_ns > 0
