"""How long the lake takes: `python benchmarks/lake.py --json`.

Method. A lake of ten million made-up transfers is written into a temporary folder by the lake's own writer, in commits
of 500 000 rows, as a drain makes them: 40 hours, latencies log-normal, five methods, sizes even over the logarithm.
Then, in this process, with everything imported and after one call to warm up:

* `drain_1m_s`: a journal of one million rows - one slot, appends of 1 000 rows with all columns of a transfer - is
  drained into an empty lake: read, decoded, committed, synced, trimmed. Every repetition has a fresh journal and lake.
* `open_ms`: `open_lake(path).transfers` until the Ibis table is there.
* `point_ms`: `Lake.find_transfer` of an open lake: one row, all columns, by producer, epoch and sequence; random rows.
  `point_filter_ms` is the same as a filter of `Lake.transfers`, which has to look into every file.
* `range_1m_ms`: observed_at, method, payload_bytes and latency_ns of a random stretch of time that holds about one
  million rows, as an Arrow table.
* `minute_p99_10m_s`: exact p99 of the latency for each of the 2 400 minutes, over all ten million rows.

A figure is the median of its repetitions; `spread` holds the smallest, the largest and how many there were.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.journal import open_journal
from perfkit.lake import Lake, drain, journal_folder, open_lake

ROWS_PER_COMMIT = 500_000
ROWS_PER_APPEND = 1_000
HOURS = 40
BEGIN = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
METHODS = ("uds", "grpc", "grpc_stream", "shm_pool", "shm")


def make_rows(first: int, count: int, total: int, generator: np.random.Generator) -> pa.Table:
    """Rows `first` up to `first + count` of `total` that are spread evenly over the time."""
    step_us = HOURS * 3600 * 10**6 // total
    begin_us = int(BEGIN.timestamp()) * 10**6
    sizes = (2 ** generator.uniform(10, 26, count)).astype(np.int64)
    observed = begin_us + (first + np.arange(count)) * step_us + generator.integers(0, step_us, count)
    return pa.table(
        {
            "run_id": pa.repeat("20261101-000000-abcd", count),
            "source": pa.repeat("service", count),
            "observed_at": pa.array(observed).cast(pa.timestamp("us", tz="UTC")),
            "launch": pa.array(generator.integers(0, 5, count, dtype=np.int32)),
            "round": pa.array(generator.integers(0, 30, count, dtype=np.int32)),
            "sequence": pa.array(generator.integers(0, 30, count, dtype=np.int32)),
            "stage": pa.repeat("whole", count),
            "method": pa.array(METHODS).take(pa.array(generator.integers(0, len(METHODS), count))),
            "payload_bytes": pa.array(sizes),
            "wire_bytes": pa.array(sizes),
            "latency_ns": pa.array(generator.lognormal(11, 1, count).astype(np.int64)),
            "cpu_sender_ns": pa.array(generator.integers(1_000, 10**6, count)),
            "cpu_receiver_ns": pa.array(generator.integers(1_000, 10**6, count)),
            "session": pa.array([f"user-{number}" for number in range(500)]).take(
                pa.array(generator.integers(0, 500, count))
            ),
            "producer": pa.repeat("slot-000", count),
            "epoch": pa.repeat(pa.scalar(1, pa.int64()), count),
            "producer_sequence": pa.array(first + 1 + np.arange(count)),
        }
    )


def fill(path: Path, total: int) -> Lake:
    """A lake of `total` rows in commits as a drain makes them."""
    lake, generator = open_lake(path), np.random.default_rng(1)
    for first in range(0, total, ROWS_PER_COMMIT):
        lake.append_transfers(make_rows(first, min(ROWS_PER_COMMIT, total - first), total, generator))
    return lake


def time_drain(folder: Path, rows: int) -> float:
    """Seconds to drain a fresh journal of `rows` rows into a fresh lake."""
    lake, generator = folder / "lake", np.random.default_rng(2)
    drops = ["producer", "epoch", "producer_sequence"]
    with open_journal(journal_folder(lake), max_bytes=2**32) as journal:
        for first in range(0, rows, ROWS_PER_APPEND):
            batch = make_rows(first, ROWS_PER_APPEND, rows, generator).drop_columns(drops)
            journal.append("transfers", {name: batch.column(name).to_pylist() for name in batch.column_names})
    begun = time.perf_counter()
    result = drain(lake)
    seconds = time.perf_counter() - begun
    assert result.rows["transfers"] == rows
    return seconds


def repeat(call: Callable[[], Any], repetitions: int) -> list[float]:
    """Seconds of each of several calls, after one to warm up."""
    call()
    seconds = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return seconds


def time_queries(lake: Lake, total: int) -> dict[str, list[float]]:
    """Seconds of each repetition by figure."""
    chance = random.Random(3)
    transfers = lake.transfers
    share = min(1.0, 10**6 / total)

    def find() -> None:
        assert lake.find_transfer("slot-000", 1, chance.randint(1, total)) is not None

    def find_by_filter() -> None:
        key = (transfers.producer == "slot-000", transfers.producer_sequence == chance.randint(1, total))
        assert transfers.filter(*key, transfers.epoch == 1).to_pyarrow().num_rows == 1

    def stretch() -> None:
        begin = BEGIN + datetime.timedelta(hours=HOURS * (1 - share) * chance.random())
        end = begin + datetime.timedelta(hours=HOURS * share)
        rows = transfers.filter(transfers.observed_at >= begin, transfers.observed_at < end)
        rows.select("observed_at", "method", "payload_bytes", "latency_ns").to_pyarrow()

    def minutes() -> None:
        rows = transfers.mutate(minute=transfers.observed_at.truncate("m"))
        rows.group_by("minute").agg(p99=rows.latency_ns.quantile(0.99)).to_pyarrow()

    return {
        "open_ms": repeat(lambda: open_lake(lake.path).transfers, 20),
        "point_ms": repeat(find, 50),
        "point_filter_ms": repeat(find_by_filter, 20),
        "range_1m_ms": repeat(stretch, 20),
        "minute_p99_10m_s": repeat(minutes, 5),
    }


def measure(rows: int, drained_rows: int, drains: int) -> dict[str, Any]:
    """Every figure, its spread, and the host."""
    with tempfile.TemporaryDirectory(prefix="perfkit-lake-") as folder:
        found = {"drain_1m_s": [time_drain(Path(folder, f"drain-{n}"), drained_rows) for n in range(drains)]}
        found |= time_queries(fill(Path(folder, "lake"), rows), rows)
    scales = {name: 1000 if name.endswith("_ms") else 1 for name in found}
    figures: dict[str, Any] = {
        name: round(statistics.median(seconds) * scales[name], 3) for name, seconds in found.items()
    }
    spread = {
        name: {
            "min": round(min(seconds) * scales[name], 3),
            "max": round(max(seconds) * scales[name], 3),
            "n": len(seconds),
        }
        for name, seconds in found.items()
    }
    host = dict(collect_fingerprint())
    return {**figures, "rows": rows, "drained_rows": drained_rows, "spread": spread, "fingerprint": host}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How long the lake takes.")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the lake that is queried")
    parser.add_argument("--drained-rows", type=int, default=1_000_000, help="rows of the journal that is drained")
    parser.add_argument("--drains", type=int, default=3, help="how often to drain")
    arguments = parser.parse_args()
    figures = measure(arguments.rows, arguments.drained_rows, arguments.drains)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, spread in figures["spread"].items():
        print(f"{name:18} {figures[name]:>10}   from {spread['min']} to {spread['max']}, n = {spread['n']}")


if __name__ == "__main__":
    main()
