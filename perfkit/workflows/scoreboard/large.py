"""Time and memory of a comparison of ten million rows."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import resource
import time

import numpy as np

from perfkit.stats.experiments import ab
from perfkit.workflows.scoreboard.claims import Claim, Entry, largest
from perfkit.workflows.scoreboard.result import BYTES, SECONDS

__all__ = ["ENTRIES"]

_ROWS, _SESSIONS = 10**7, 10**5
_KIB = 1024
_BOUND_S, _BOUND_BYTES = 3.0, 2e9


def large_comparison(seed: int) -> dict[str, float]:
    """Measured in a process of its own, whose peak of memory is nobody else's."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(measure, seed, _ROWS, _SESSIONS).result()


def measure(seed: int, rows: int, sessions: int) -> dict[str, float]:
    """Seconds of a comparison of p99, and the peak of resident memory with the rows themselves."""
    rng = np.random.default_rng(seed)
    session = rng.integers(0, sessions, rows)
    frame = {
        "session": session,
        "variant": np.array(["A", "B"])[session % 2],
        "latency_ns": rng.lognormal(14.0, 0.5, rows),
    }
    del session
    began = time.perf_counter()
    ab(frame, metrics={"latency_ns": ["p99"]})
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bytes": _KIB * float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)}


ENTRIES = (
    Entry(
        "large",
        "p99 of 10 million rows in 100 000 sessions, the slowest run",
        large_comparison,
        (
            Claim("time", ("seconds",), largest, high=_BOUND_S, unit=SECONDS),
            Claim("memory at the peak, rows included", ("bytes",), largest, high=_BOUND_BYTES, unit=BYTES),
        ),
        full_runs=3,
        run_s=5.0,
        small_runs=0,
        is_measurement=True,
    ),
)
