"""How long an experiment on many rows takes: `python benchmarks/ab.py --json`.

Method. `--rows` made-up requests of `--sessions` sessions (of uneven size, speeds lognormal), in random order. Each
case runs in a process of its own: it makes the frame, notes the memory that this took, calls `perfkit.ab` once, and
gives the seconds of the call and the peak of the resident memory of the process, frame included.

* `p99`: the p99 alone, sessions as whole numbers, variants as NumPy text of one character;
* `all`: mean, p50, p95 and p99 of the same;
* `text`: the p99, sessions as NumPy text of 14 characters;
* `arrow`: the p99, an Arrow table with text in both columns;
* `small`: mean, p50, p95 and p99 of 600 sessions of 31 rows, the median of 50 calls.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pyarrow as pa

import perfkit

CASES = ("p99", "all", "text", "arrow", "small")
ALL = ("mean", "p50", "p95", "p99")


def frame_of(case: str, rows: int, sessions: int) -> Any:
    """The frame of a case."""
    rng = np.random.default_rng(1)
    session = rng.choice(sessions, rows, p=rng.dirichlet(np.full(sessions, 1.5)))
    speed = rng.lognormal(0, 0.25, sessions)
    latency_ns = 1e6 * speed[session] * rng.lognormal(0, 0.5, rows)
    variant = np.where(rng.random(sessions) < 0.5, "A", "B")[session]
    if case in ("text", "arrow"):
        session = np.char.add("session-", np.arange(10**5, 10**5 + sessions).astype("U6"))[session]
    frame = {"session": session, "variant": variant, "latency_ns": latency_ns}
    return pa.table({name: pa.array(values) for name, values in frame.items()}) if case == "arrow" else frame


def measure(case: str, rows: int, sessions: int) -> dict[str, Any]:
    """Seconds and memory of one case, in this process."""
    if case == "small":
        rows, sessions = 18_600, 600
    frame = frame_of(case, rows, sessions)
    metrics = {"latency_ns": ALL if case in ("all", "small") else ("p99",)}
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = []
    for _ in range(50 if case == "small" else 1):
        start = time.perf_counter()
        result = perfkit.ab(frame, metrics=metrics)
        seconds.append(time.perf_counter() - start)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "case": case,
        "rows": rows,
        "sessions": result.n,
        "seconds": statistics.median(seconds),
        "peak_mib": round(peak_mib),
        "before_mib": round(before_mib),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--case", choices=CASES, help="run one case in this process")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(measure(asked.case, asked.rows, asked.sessions)))
        return
    results = []
    for case in CASES:
        command = [
            sys.executable,
            __file__,
            "--case",
            case,
            "--rows",
            str(asked.rows),
            "--sessions",
            str(asked.sessions),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout))
        if not asked.json:
            one = results[-1]
            print(f"{case:6s} {one['rows']:>11,} rows {one['seconds']:8.4f} s  peak {one['peak_mib']:5d} MiB")
    if asked.json:
        print(json.dumps({"cases": results}))


if __name__ == "__main__":
    main()
