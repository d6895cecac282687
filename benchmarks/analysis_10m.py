"""How long the notebooks take on a large lake: `python benchmarks/analysis_10m.py --json`.

Method. A lake is written by the lake's own writer, in commits of 500 000 rows as a drain makes them. The newest run
holds `--rows` made-up observations (5 launches of 64 rounds: 5 methods at 24 sizes, both signallings, 1, 4 and 16 in
flight, in place, codec stages, whole transfers, controls, one in ten thousand failed); two older runs hold a tenth of
that, and 24 processes of services as much again, of any size. With `--folder` the lake stays there for the next time.

Then the committed notebooks are executed on it by papermill, as `perfkit run` does it, each in a kernel of its own:

* `analysis_run`: `20_analysis` on the newest run;
* `analysis_since`: `20_analysis` on all that was recorded in a year, whoever recorded it;
* `tune`: `30_tune` on the newest run, without a replay, as a dry run.

`seconds` is from the start of papermill to its end; `cpu_s` what of that the kernel computed, on all cores together.
`peak_mib` is the largest sum of the resident memory of the kernel and its children, looked at every 20 ms; memory that
they share counts in each.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import papermill
import psutil
import pyarrow as pa

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.lake import Lake, RunRecord, open_lake

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
ROWS_PER_COMMIT = 500_000
LAUNCHES, ROUNDS, PROCESSES = 5, 64, 24
SIZES = tuple(int(2**power) for power in np.linspace(10, 27, 24))
METHODS = {
    "uds": (9e3, 0.35),
    "grpc": (3e5, 1.8),
    "grpc_stream": (4e5, 1.2),
    "shm_pool": (3e4, 0.1),
    "shm": (9e4, 0.25),
}
"""Typical cost: nanoseconds of a transfer, and of each byte."""
CODECS = (
    ("tensor", "numpy", "none"),
    ("tensor", "numpy", "lz4"),
    ("dataframe", "arrow", "none"),
    ("text", "raw", "zstd"),
)
CASES = {
    "analysis_run": ("20_analysis", {}),
    "analysis_since": ("20_analysis", {"since": "8760h"}),
    "tune": ("30_tune", {}),
}
NAMES = ("stage", "method", "signalling", "placement", "kind", "format", "compression", "error", "pool", "source")


def scenarios() -> list[dict[str, Any]]:
    """What a launch measures in every round, with the typical latency of each."""
    plain = {"stage": "transport", "signalling": "uds", "placement": "copied", "in_flight": 1}
    codec = dict(zip(("kind", "format", "compression"), ("binary", "raw", "none"), strict=True))
    base = {**plain, **codec}
    found = []
    for method, (fixed, per_byte) in METHODS.items():
        for index, size in enumerate(SIZES):
            cost = fixed + per_byte * size
            one = {**base, "method": method, "payload_bytes": size, "typical": cost}
            found.append(one)
            if method.startswith("shm"):
                found.append({**one, "signalling": "grpc", "typical": cost + 2e5})
            if method == "shm_pool":
                found.append({**one, "placement": "in_place", "typical": fixed})
            if index % 6 == 0:
                found += [{**one, "in_flight": count, "typical": cost * count**0.7} for count in (4, 16)]
                names = [dict(zip(codec, names, strict=True)) for names in CODECS]
                found += [{**one, **name, "stage": "whole", "typical": 2 * cost + 0.3 * size} for name in names]
    for names in CODECS:
        for stage, per_byte in (("encode", 0.4), ("decode", 0.2)):
            for size in SIZES[::2]:
                one = {**base, **dict(zip(codec, names, strict=True)), "stage": stage, "method": ""}
                found.append({**one, "payload_bytes": size, "typical": 5e3 + per_byte * size})
    for method, typical in (("control_copy", 5e4), ("control_ping", 8e3), ("control_grpc", 2e5)):
        found.append({**base, "stage": "control", "method": method, "payload_bytes": 2**20, "typical": typical})
    return found


def columns(chosen: list[dict[str, Any]], which: np.ndarray, **facts: Any) -> dict[str, Any]:
    """The columns that a scenario fixes, one value for each number in `which`."""
    names = [name for name in NAMES if name in chosen[0]]
    found = {name: pa.array([one[name] for one in chosen]).take(pa.array(which)) for name in names}
    found["in_flight"] = pa.array(np.array([one["in_flight"] for one in chosen], np.int32)[which])
    return {**found, **{name: pa.repeat(value, which.size) for name, value in facts.items()}}


def measured(run_id: str, rows: int, begin: datetime.datetime, seed: int) -> Iterator[pa.Table]:
    """A run, round by round: what differs between launches, rounds and sends is log-normal."""
    random, chosen = np.random.default_rng(seed), scenarios()
    typical = np.array([one["typical"] for one in chosen])
    sizes = np.array([one["payload_bytes"] for one in chosen])
    per_round = np.diff(np.linspace(0, rows, LAUNCHES * ROUNDS + 1).astype(int))
    first = 1
    for number, count in enumerate(per_round.tolist()):
        launch, round_ = divmod(number, ROUNDS)
        which = np.sort(np.arange(count) % len(chosen))
        if round_ == 0:
            of_launch = random.lognormal(0, 0.04, len(chosen))
        of_round = of_launch * random.lognormal(0, 0.03, len(chosen))
        latency = (typical * of_round)[which] * random.lognormal(0, 0.25, count)
        at = int(begin.timestamp() * 1e6) + number * 10**7 + np.arange(count) * (9 * 10**6 // max(count, 1))
        ok = random.random(count) > 1e-4
        yield pa.table(
            {
                **columns(chosen, which, run_id=run_id, source="bench", producer="slot-000"),
                "observed_at": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
                "launch": pa.array(np.full(count, launch, np.int32)),
                "round": pa.array(np.full(count, round_, np.int32)),
                "sequence": pa.array(np.arange(count, dtype=np.int32)),
                "payload_bytes": sizes[which],
                "wire_bytes": sizes[which],
                "latency_ns": latency.astype(np.int64),
                "cpu_sender_ns": (of_round * typical * 0.3).astype(np.int64)[which],
                "cpu_receiver_ns": (of_round * typical * 0.2).astype(np.int64)[which],
                "copied_bytes": 2 * sizes[which],
                "resident_bytes": 3 * sizes[which],
                "ok": ok,
                "error": pa.array(np.where(ok, None, "TransferTimeoutError"), pa.string()),
                "epoch": pa.array(np.full(count, seed)),
                "producer_sequence": pa.array(first + np.arange(count)),
            }
        )
        first += count


def served(rows: int, begin: datetime.datetime, seed: int) -> Iterator[pa.Table]:
    """What processes of services recorded: any size, some codecs, several in flight, stages, replies."""
    random = np.random.default_rng(seed)
    base = {"stage": "whole", "signalling": "uds", "placement": "copied", "pool": "ml", "source": "service"}
    names = ("kind", "format", "compression")
    chosen = [
        {**base, **dict(zip(names, codec, strict=True)), "method": method, "in_flight": count}
        for method in METHODS
        for codec in CODECS
        for count in (1, 4)
    ]
    for process in range(PROCESSES):
        count = rows // PROCESSES
        which = random.integers(0, len(chosen), count)
        sizes = (2 ** random.uniform(8, 26, count)).astype(np.int64)
        costs = np.array([METHODS[one["method"]] for one in chosen])[which]
        latency = ((costs[:, 0] + costs[:, 1] * sizes) * random.lognormal(0, 0.4, count)).astype(np.int64)
        at = int(begin.timestamp() * 1e6) + np.sort(random.integers(0, 24 * 3600 * 10**6, count))
        yield pa.table(
            {
                **columns(chosen, which, producer=f"slot-{process:03}"),
                "observed_at": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
                "payload_bytes": sizes,
                "wire_bytes": sizes,
                "latency_ns": latency,
                **{f"{stage}_ns": latency // 5 for stage in ("encode", "wait", "copy", "signal", "decode")},
                "direction": pa.array(["request", "reply"]).take(pa.array(random.integers(0, 2, count))),
                "session": pa.array([f"user-{user}" for user in range(500)]).take(
                    pa.array(random.integers(0, 500, count))
                ),
                "epoch": pa.array(np.full(count, 1)),
                "producer_sequence": pa.array(1 + np.arange(count)),
            }
        )


def append(lake: Lake, tables: Iterator[pa.Table]) -> None:
    """Append in commits as large as those of a drain."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(one.num_rows for one in waiting) >= ROWS_PER_COMMIT:
            lake.append_transfers(pa.concat_tables(waiting))
            waiting = []
    if waiting:
        lake.append_transfers(pa.concat_tables(waiting))


def make_lake(path: Path, rows: int) -> Lake:
    """The lake, made where it is not there yet."""
    lake = open_lake(path)
    if (path / "made").exists():
        return lake
    shutil.rmtree(path, ignore_errors=True)
    now = datetime.datetime.now(datetime.UTC)
    for seed, (hours, count) in enumerate(((72, rows // 20), (48, rows // 20), (2, rows)), start=1):
        begin = now - datetime.timedelta(hours=hours)
        run_id = f"{begin:%Y%m%d-%H%M%S}-{seed:04x}"
        append(lake, measured(run_id, count, begin, seed))
        host = json.dumps(dict(collect_fingerprint()))
        facts = {"fingerprint": host, "preset": "full", "seconds": 3200.0, "launches": LAUNCHES, "rounds": ROUNDS}
        ended = begin + datetime.timedelta(seconds=3200)
        lake.append_run(RunRecord(run_id, "complete", ended, observations=count, **facts))
    append(lake, served(rows // 10, now - datetime.timedelta(hours=24), 9))
    (path / "made").touch()
    return lake


@dataclasses.dataclass
class Usage:
    """What the children of this process used: resident bytes at most, seconds of processor time."""

    peak_bytes: int = 0
    cpu_s: float = 0.0


@contextlib.contextmanager
def watched() -> Iterator[Usage]:
    """What all children of this process together use meanwhile."""
    usage, me, stop = Usage(), psutil.Process(), threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            resident, cpu = 0, 0.0
            for child in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    resident += child.memory_info().rss
                    cpu += sum(child.cpu_times()[:2])
            usage.peak_bytes, usage.cpu_s = max(usage.peak_bytes, resident), max(usage.cpu_s, cpu)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield usage
    finally:
        stop.set()
        watcher.join()


def execute(case: str, lake: Path, folder: Path) -> dict[str, float]:
    """The figures of one notebook, executed once."""
    name, parameters = CASES[case]
    given = {"lake_path": str(lake.resolve()), **parameters}
    if name == "30_tune":
        given["thresholds_path"] = str(folder / "thresholds.toml")
    begun = time.perf_counter()
    with watched() as usage:
        papermill.execute_notebook(
            NOTEBOOKS / f"{name}.ipynb",
            folder / f"{case}.ipynb",
            parameters=given,
            cwd=str(NOTEBOOKS),
            kernel_name="python3",
            progress_bar=False,
        )
    seconds = time.perf_counter() - begun
    return {
        "seconds": round(seconds, 1),
        "cpu_s": round(usage.cpu_s, 1),
        "peak_mib": round(usage.peak_bytes / 2**20),
    }


def measure(lake: Lake, cases: list[str], repetitions: int) -> dict[str, Any]:
    """Every repetition of every case; rows by case."""
    transfers = lake.transfers
    total = int(transfers.count().to_pyarrow().as_py())
    newest = str(lake.runs.limit(1).to_pyarrow().column("run_id")[0].as_py())
    in_run = int(transfers.filter(transfers.run_id == newest).count().to_pyarrow().as_py())
    found: dict[str, Any] = {}
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="perfkit-analysis-") as folder:
            figures = [execute(case, lake.path, Path(folder)) for _ in range(repetitions)]
        found[case] = {name: [one[name] for one in figures] for name in figures[0]}
        found[case]["rows"] = total if case == "analysis_since" else in_run
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How long the notebooks take on a large lake.")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the newest run")
    parser.add_argument("--folder", type=Path, help="where the lake is kept for the next time; default: nowhere")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="what to execute")
    parser.add_argument("--repetitions", type=int, default=1, help="how often to execute each")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perfkit-analysis-")))
        lake = make_lake(folder / f"lake-{arguments.rows}", arguments.rows)
        figures = measure(lake, arguments.cases, arguments.repetitions)
    if arguments.json:
        print(json.dumps({**figures, "fingerprint": dict(collect_fingerprint())}))
        return
    for case, one in figures.items():
        rows = one.pop("rows")
        print(f"{case:15} {rows:>12,} rows", *(f"   {name} {values}" for name, values in one.items()))


if __name__ == "__main__":
    main()
