"""Would non-temporal stores pay here? The C library decides at process start, hence two processes that take turns."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys

from perfkit.transfer.copying import measure_copies

__all__ = ["TUNABLE", "NonTemporal", "measure_non_temporal"]

TUNABLE = "glibc.cpu.x86_non_temporal_threshold=0x400000"
_SIZES = (8 * 2**20, 64 * 2**20)
_TURNS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class NonTemporal:
    """Median time of a warm copy in nanoseconds, as started and with non-temporal stores from 4 MiB on."""

    payload_bytes: int
    as_started_ns: float
    non_temporal_ns: float
    turns: int

    @property
    def speedup(self) -> float:
        """How many times faster the non-temporal copy is."""
        return self.as_started_ns / self.non_temporal_ns


def measure_non_temporal() -> tuple[NonTemporal, ...]:
    """Time copies in processes with and without the tunable, taking turns; empty where it is in use already.

    Raises:
        OSError, subprocess.SubprocessError: a process could not be started.
    """
    if sys.platform != "linux" or "x86_non_temporal_threshold" in os.environ.get("GLIBC_TUNABLES", ""):
        return ()
    times: dict[str, list[list[float]]] = {"": [], TUNABLE: []}
    for _ in range(_TURNS):
        for tunable, turns in times.items():
            turns.append(_plain_copies(tunable))
    medians = {
        tunable: [statistics.median(size) for size in zip(*turns, strict=True)] for tunable, turns in times.items()
    }
    return tuple(
        NonTemporal(size, before, after, _TURNS)
        for size, before, after in zip(_SIZES, medians[""], medians[TUNABLE], strict=True)
    )


def _plain_copies(tunable: str) -> list[float]:
    environment = {**os.environ, "GLIBC_TUNABLES": tunable} if tunable else dict(os.environ)
    command = [sys.executable, "-m", "perfkit.measurement.copies"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return [float(value) for value in json.loads(run.stdout)]


def main() -> None:
    """Print the median plain copy of each size in nanoseconds, as a JSON list."""
    print(json.dumps([timing.plain_ns for timing in measure_copies(_SIZES, repetitions=5)]))


if __name__ == "__main__":
    main()
