"""What the tests of several rooms share."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, Evidence, IntervalPoint, Piece

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background with SIGINT ignored, and so would every process of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)

for _library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    # Before NumPy and scikit-learn are loaded: threads of theirs that spin for work hold up the other tests.
    os.environ.setdefault(_library, "1")

LINES = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}


def pytest_collection_finish() -> None:
    """What was loaded until now lives to the end: the many garbage collections that tests ask for need not walk it."""
    gc.collect()
    gc.freeze()


def straight(fixed: float, per_byte: float, half_width: float = 0.02) -> CostCurve:
    """One straight line, measured from 1 byte to 4 GiB."""
    point = IntervalPoint(1024, 1 - half_width, 1 + half_width)
    return CostCurve((Piece(0, fixed, per_byte),), (point,), 1, 2**32, n=90, launches=3)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder with a short name: the address of a Unix socket in it may be 107 bytes long."""
    with tempfile.TemporaryDirectory(prefix="pk-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Wait for another process or thread: until `condition()` holds, for `timeout_s` at most."""

    def wait(condition: Callable[[], bool], timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen within {timeout_s} s"
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def make_curves() -> Callable[..., CurveSet]:
    """Curves by hand: `lines` holds (fixed ns, ns per byte) by method; uds and shm_pool cross at 150 000 bytes."""

    def make(
        lines: Mapping[str, tuple[float, float]] = LINES,
        *,
        cpu: Mapping[str, tuple[float, float]] | None = None,
        codecs: tuple[CodecEntry, ...] = (CodecEntry("tensor", "numpy", "none", 1.0, False),),
        half_width: float = 0.02,
        **facts: Any,
    ) -> CurveSet:
        curves = {
            CurveKey("transport", quantity, method): straight(*line, half_width)
            for quantity, by_method in (("latency_ns", lines), ("cpu_ns", cpu or {}))
            for method, line in by_method.items()
        }
        evidence = Evidence(("01RUN",), 270, 3, 9, "2026-11-20T20:00:00Z", "2026-11-20T20:01:00Z", {"transfers": 7})
        return CurveSet(curves, codecs, facts.get("fingerprint", {}), facts.get("evidence", evidence))

    return make
