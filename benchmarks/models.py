"""How long a cost model takes to learn and to predict: `python benchmarks/models.py --json`.

Method. A made-up production frame of `--rows` transfers is learned from in this process: traffic of services over two
weeks, of any size, four codecs, five methods, 1 to 16 in flight, with the memory that was available, slower by day and
under pressure; what they computed and what memory stayed resident is known, so that three targets are learned. `train`
is from the frame in memory to the model; `cpu_s` is what all its threads computed, so that a busy machine shows;
`update` is from `--update-rows` later transfers, a tenth slower, to the updated model; `peak_mib` is the peak resident
memory of the process, the frames included. `predict_ms` is one transfer with its interval, median and 95 % quantile of
500 calls one after the other.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np
import pyarrow as pa

from perfkit.learn.models import rows_of, train
from perfkit.learn.models.updating import update

METHODS = {
    "uds": (9e3, 0.35),
    "grpc": (3e5, 1.8),
    "grpc_stream": (4e5, 1.2),
    "shm_pool": (3e4, 0.1),
    "shm": (9e4, 0.25),
}
"""Typical cost: nanoseconds of a transfer, and of each byte."""
CODECS = (("tensor", "numpy", 1.0), ("dataframe", "arrow", 1.4), ("text", "raw", 0.9), ("text", "json", 2.2))
DAYS = 14


def production(rows: int, seed: int, *, first_day: int = 0, slower: float = 1.0) -> pa.Table:
    """Traffic of services whose costs depend on more than the size, for two weeks from a day on."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(2**9), np.log(2**27), rows)).round()
    method = rng.integers(0, len(METHODS), rows)
    codec = rng.integers(0, len(CODECS), rows)
    in_flight = rng.choice([1, 2, 4, 8, 16], rows)
    available = np.exp(rng.uniform(np.log(2**28), np.log(2**34), rows))
    moment = np.sort(rng.uniform(0, DAYS * 86_400e6, rows))
    hour = moment / 3.6e9 % 24
    fixed, per_byte = np.array(list(METHODS.values()))[method].T
    cost = slower * (fixed + per_byte * size) * np.array([factor for *_, factor in CODECS])[codec]
    computed = 0.6 * cost * np.exp(rng.normal(0, 0.1, rows))
    cost *= in_flight**0.6 * (1 + 0.15 * np.sin(2 * np.pi * (hour - 9) / 24)) * np.where(available < 2**30, 1.3, 1)
    begin = np.datetime64("2026-05-04T00:00:00", "us").astype(np.int64) + first_day * 86_400_000_000
    return pa.table({
        "source": np.full(rows, "service"),
        "stage": np.full(rows, "whole"),
        "method": np.array(list(METHODS))[method],
        "kind": np.array([kind for kind, *_ in CODECS])[codec],
        "format": np.array([form for _, form, _ in CODECS])[codec],
        "payload_bytes": size,
        "in_flight": in_flight,
        "available_bytes": available,
        "observed_at": (begin + moment).astype("datetime64[us]"),
        "latency_ns": cost * np.exp(rng.normal(0, 0.2, rows)),
        "cpu_sender_ns": 0.6 * computed,
        "cpu_receiver_ns": 0.4 * computed,
        "resident_bytes": size * np.where(codec < 2, 1, 2) * np.exp(rng.normal(0, 0.05, rows)),
    })  # fmt: skip


def main() -> None:
    """Learn, predict, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--update-rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    frame = production(given.rows, given.seed)
    began, computed = time.perf_counter(), time.process_time()
    model = train(frame, seed=given.seed)
    figures: dict[str, object] = {
        "rows": given.rows,
        "train_seconds": time.perf_counter() - began,
        "train_cpu_s": time.process_time() - computed,
    }
    later = production(given.update_rows, given.seed + 1, first_day=DAYS, slower=1.1)
    began, computed = time.perf_counter(), time.process_time()
    update(model, later)
    figures |= {
        "update_rows": given.update_rows,
        "update_seconds": time.perf_counter() - began,
        "update_cpu_s": time.process_time() - computed,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    took = []
    for at in range(500):
        began = time.perf_counter()
        model.predict_rows(rows_of(1024 * (at + 1), method="uds", kind="tensor", format="numpy"))
        took.append(1e3 * (time.perf_counter() - began))
    figures["predict_ms"] = {"p50": float(np.median(took)), "p95": float(np.quantile(took, 0.95)), "n": len(took)}
    figures["report"] = model.report.to_plain()["targets"]
    if given.json:
        print(json.dumps(figures))
        return
    print(f"train: {figures['train_seconds']:.1f} s ({figures['train_cpu_s']:.1f} s computing) on {given.rows:,} rows")
    print(
        f"update: {figures['update_seconds']:.1f} s ({figures['update_cpu_s']:.1f} s computing) "
        f"with {given.update_rows:,} later rows"
    )
    print(f"peak memory: {figures['peak_mib']:.0f} MiB; one prediction: {figures['predict_ms']} ms")
    print(model)


if __name__ == "__main__":
    main()
