"""How long it takes to make rows durable: `python benchmarks/journal.py --json`.

Method. A batch is 1 000 rows of `transfers` with all the columns that a measurement fills, each given as a list with
one value per row, as varied as in a sweep; encoding them is part of the time. Every append is durable (fsync) when it
returns, and is timed by itself. A repetition is a fresh journal in a fresh folder of `--folder` (a local disk; the
default is the system's temporary folder: a tmpfs there would flatter) and takes 500 appends in one thread, then 500 by
eight threads that share group commits, then 100 000 rows offered one by one to a writer, each over an empty call.
A figure is the median of its repetitions, whose own figures are in `repetitions`; `spread` is the smallest and the
largest of them. `rows_per_s` is of one thread, `rows_per_s_8_threads` of eight. SQLite's checkpoint of its log, about
every 50 appends, is part of the tail.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.journal import Journal, open_journal

REPETITIONS = 7
APPENDS = 500
BATCH_ROWS = 1000
THREADS = 8
OFFERS = 100_000
MAX_BYTES = 2**32
NOW_US = 1_795_000_000_000_000
OFFERED = ("observed_at", "method", "payload_bytes", "latency_ns", "pool", "kind", "format", "ok", "session")


def make_batch(seed: int) -> dict[str, list[Any]]:
    """Columns of one launch of a sweep: eight scenarios, sends in random order."""
    generator = random.Random(seed)
    sizes = [int(4 ** generator.uniform(5, 13)) for _ in range(BATCH_ROWS)]
    scenarios = [generator.randrange(8) for _ in range(BATCH_ROWS)]
    methods = ("uds", "grpc", "grpc_stream", "shm_pool")

    def choices(values: Sequence[Any]) -> list[Any]:
        return generator.choices(values, k=BATCH_ROWS)

    return {
        "run_id": ["01JD0000000000000000000000"] * BATCH_ROWS,
        "source": ["bench"] * BATCH_ROWS,
        "observed_at": [NOW_US + 137 * row for row in range(BATCH_ROWS)],
        "scenario": [f"transport {methods[scenario % 4]} {scenario}" for scenario in scenarios],
        "launch": [seed % 5] * BATCH_ROWS,
        "round": [row // 100 for row in range(BATCH_ROWS)],
        "sequence": [row % 100 for row in range(BATCH_ROWS)],
        "stage": choices(("transport", "encode", "decode")),
        "method": [methods[scenario % 4] for scenario in scenarios],
        "signalling": choices(("uds", "grpc")),
        "placement": choices(("copied", "in_place")),
        "touched": choices((True, False)),
        "temperature": ["warm"] * BATCH_ROWS,
        "in_flight": choices((1, 4, 16)),
        "interval_ns": [0] * BATCH_ROWS,
        "pool": ["default"] * BATCH_ROWS,
        "kind": choices(("tensor", "dataframe", "binary")),
        "format": choices(("numpy", "arrow", "raw")),
        "compression": choices(("none", "lz4")),
        "entropy": choices(("incompressible", "1.5:1", "4:1")),
        "payload_bytes": sizes,
        "wire_bytes": [size + 96 for size in sizes],
        "latency_ns": [int(20_000 + 0.3 * size * generator.lognormvariate(0, 0.2)) for size in sizes],
        "cpu_sender_ns": [int(9_000 + 0.1 * size) for size in sizes],
        "cpu_receiver_ns": [int(8_000 + 0.1 * size) for size in sizes],
        "copied_bytes": [2 * size for size in sizes],
        "resident_bytes": [None if generator.random() < 0.5 else size for size in sizes],
        "peak_memory_bytes": [None] * BATCH_ROWS,
        "ok": [True] * BATCH_ROWS,
        "error": [None] * BATCH_ROWS,
        "decision_id": [""] * BATCH_ROWS,
        "session": [""] * BATCH_ROWS,
    }


def time_appends(journal: Journal, batches: Sequence[dict[str, list[Any]]], appends: int) -> list[float]:
    """Milliseconds of every append."""
    taken_ms = []
    for index in range(appends):
        started = time.perf_counter_ns()
        journal.append("transfers", batches[index % len(batches)])
        taken_ms.append((time.perf_counter_ns() - started) / 1e6)
    return taken_ms


def time_threads(journal: Journal, batches: Sequence[dict[str, list[Any]]], appends: int) -> tuple[float, list[float]]:
    """Seconds of all appends by all threads, and milliseconds of every one."""
    taken_ms: list[float] = []
    threads = [
        threading.Thread(target=lambda: taken_ms.extend(time_appends(journal, batches, appends // THREADS)))
        for _ in range(THREADS)
    ]
    started_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started_s, taken_ms


def time_offers(journal: Journal, offers: int) -> float:
    """Median nanoseconds of handing in one row, over an empty call with the same argument."""
    offer, now = journal.writer("transfers", OFFERED).offer, time.perf_counter_ns
    empty_ns, offer_ns = [], []

    def empty(row: tuple[Any, ...]) -> bool:
        return True

    for index in range(offers):
        row = (NOW_US + index, "shm_pool", 65_536, 31_000 + index, "ml", "tensor", "numpy", True, "user-17")
        started = now()
        empty(row)
        empty_ns.append(now() - started)
        started = now()
        offer(row)
        offer_ns.append(now() - started)
    return statistics.median(offer_ns) - statistics.median(empty_ns)


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least this share of them does not exceed."""
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def measure(folder: Path, appends: int, offers: int) -> dict[str, float]:
    """One repetition in a fresh journal."""
    batches = [make_batch(seed) for seed in range(8)]
    with open_journal(folder, max_bytes=MAX_BYTES, buffer_rows=offers) as journal:
        time_appends(journal, batches, len(batches))  # the file grows to its first pages, code is warm
        alone_ms = time_appends(journal, batches, appends)
        together_s, together_ms = time_threads(journal, batches, appends)
        offer_ns = time_offers(journal, offers)
        if not journal.flush(60) or journal.statistics().dropped:
            raise SystemExit(f"rows were dropped, the figures are void: {journal.statistics()}")
    return {
        "p50_ms": percentile(alone_ms, 0.5),
        "p99_ms": percentile(alone_ms, 0.99),
        "rows_per_s": len(alone_ms) * BATCH_ROWS / (sum(alone_ms) / 1e3),
        "p50_8_threads_ms": percentile(together_ms, 0.5),
        "p99_8_threads_ms": percentile(together_ms, 0.99),
        "rows_per_s_8_threads": len(together_ms) * BATCH_ROWS / together_s,
        "offer_ns": offer_ns,
    }


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help=f"default: {REPETITIONS}")
    parser.add_argument("--appends", type=int, default=APPENDS, help=f"appends in a repetition (default: {APPENDS})")
    parser.add_argument("--offers", type=int, default=OFFERS, help=f"offers in a repetition (default: {OFFERS})")
    parser.add_argument("--folder", type=Path, default=None, help="where to put the journals (default: temporary)")
    arguments = parser.parse_args()
    repetitions = []
    for _ in range(arguments.repetitions):
        with tempfile.TemporaryDirectory(prefix="journal-benchmark-", dir=arguments.folder) as folder:
            repetitions.append(measure(Path(folder), arguments.appends, arguments.offers))
    figures = {name: statistics.median(one[name] for one in repetitions) for name in repetitions[0]}
    spread = {name: [min(one[name] for one in repetitions), max(one[name] for one in repetitions)] for name in figures}
    if arguments.json:
        counts = {"n": arguments.appends, "batch_rows": BATCH_ROWS, "threads": THREADS, "columns": len(make_batch(0))}
        evidence = {"spread": spread, "repetitions": repetitions, "fingerprint": collect_fingerprint()}
        print(json.dumps({**figures, **counts, **evidence}))
        return
    print(f"median of {len(repetitions)} repetitions of {arguments.appends} appends of {BATCH_ROWS} rows (min, max):")
    for name, value in figures.items():
        print(f"  {name:22} {value:12,.2f}  ({spread[name][0]:,.2f}, {spread[name][1]:,.2f})")


if __name__ == "__main__":
    main()
