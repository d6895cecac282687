"""How long it takes to record an outcome: `python benchmarks/record.py --json`.

Method. An engine with its thread records into a real journal in a temporary folder. In each of ten blocks 10 000 rows
are recorded at 10 000 a second: between two steps the thread waits in a loop, as a busy service would keep it. Around
every single call `time.perf_counter_ns` is read, and at each step four calls take turns: an empty method with the
signature of `Engine.record`, `record`, two empty methods in a row with the signatures of `Engine.decide` and
`Engine.record`, and `decide` followed by `record`. A figure is the lowest percentile of its ten blocks minus that of
its empty twin: what recording costs beside the call and the clock, when the machine is at its quietest. `blocks` holds
the percentiles of all blocks; `dropped` must be 0, or the figures are of another case.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from perfkit.engine import Decision, Engine
from perfkit.engine.recording import RecorderStatistics

BLOCKS = 10
ROWS = 10_000
ROWS_PER_S = 10_000
ROWS_PER_STEP = 2
LONGEST_FLUSH_S = 30.0


class Empty:
    """The same calls with nothing in them."""

    __slots__ = ()

    def decide(
        self,
        payload_bytes: int,
        *,
        pool: str = "default",
        kind: str = "binary",
        format: str = "raw",  # noqa: A002 - as Engine.decide
        compression: str = "none",
        signalling: str = "uds",
        session: str | None = None,
    ) -> None:
        """As `Engine.decide`."""

    def record(
        self,
        decision: Decision,
        payload_bytes: int,
        latency_ns: int,
        session: str | None = None,
        ok: bool = True,
        error: str | None = None,
    ) -> None:
        """As `Engine.record`."""


def time_block(engine: Engine, rows: int, seed: int) -> dict[str, list[int]]:
    """Nanoseconds of every single call, the four kinds taking turns."""
    empty, now = Empty(), time.perf_counter_ns
    taken: dict[str, list[int]] = {"empty": [], "record": [], "empty_pair": [], "pair": []}
    empty_ns, record_ns, empty_pair_ns, pair_ns = (samples.append for samples in taken.values())
    chance = random.Random(seed)
    sizes = [int(2 ** chance.uniform(0, 32)) for _ in range(rows // ROWS_PER_STEP)]
    sessions = [f"user-{chance.randrange(100_000)}" for _ in sizes]
    decision = engine.decide(1, kind="tensor", format="numpy")
    due = now()
    for size, session in zip(sizes, sessions, strict=True):
        while now() < due:
            pass
        due += ROWS_PER_STEP * 10**9 // ROWS_PER_S
        started = now()
        empty.record(decision, size, latency_ns=size, session=session)
        empty_ns(now() - started)
        started = now()
        engine.record(decision, size, latency_ns=size, session=session)
        record_ns(now() - started)
        started = now()
        empty.decide(size, kind="tensor", format="numpy", session=session)
        empty.record(decision, size, latency_ns=size, session=session)
        empty_pair_ns(now() - started)
        started = now()
        decision = engine.decide(size, kind="tensor", format="numpy", session=session)
        engine.record(decision, size, latency_ns=size, session=session)
        pair_ns(now() - started)
    return taken


def percentile(samples: list[int], share: float) -> int:
    """The smallest sample that at least this share of them does not exceed."""
    return sorted(samples)[min(int(len(samples) * share), len(samples) - 1)]


def percentiles(taken: dict[str, list[int]]) -> dict[str, int]:
    """Median and 99.9th percentile of every kind of call."""
    shares = {"p50_ns": 0.5, "p999_ns": 0.999}
    return {
        f"{name}_{label}": percentile(samples, share)
        for name, samples in taken.items()
        for label, share in shares.items()
    }


def summarise(blocks: list[dict[str, int]]) -> dict[str, int]:
    """The figures: best block of each call, minus the best block of its empty twin."""
    best = {name: min(block[name] for block in blocks) for name in blocks[0]}
    return {
        "p50_ns": best["record_p50_ns"] - best["empty_p50_ns"],
        "p999_ns": best["record_p999_ns"] - best["empty_p999_ns"],
        "pair_p50_ns": best["pair_p50_ns"] - best["empty_pair_p50_ns"],
        "pair_p999_ns": best["pair_p999_ns"] - best["empty_pair_p999_ns"],
        "empty_call_p50_ns": best["empty_p50_ns"],
    }


def settled(engine: Engine) -> RecorderStatistics:
    """What became of the rows, when none is on its way any more."""
    until_s = time.monotonic() + LONGEST_FLUSH_S
    while True:
        statistics = engine.health().recorder
        assert statistics is not None
        if not statistics.buffered or time.monotonic() > until_s:
            return statistics
        time.sleep(0.1)


def measure(blocks: int, rows: int) -> dict[str, Any]:
    """All blocks, and what became of the rows."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "perfkit.toml"
        settings.write_text("[engine]\n")
        engine = Engine.load(settings)
        taken = [percentiles(time_block(engine, rows, seed)) for seed in range(blocks)]
        statistics = settled(engine)
        engine.close()
    outcome = {"committed": statistics.committed, "dropped": statistics.dropped, "failures": statistics.failures}
    return {**summarise(taken), "n": rows // ROWS_PER_STEP, **outcome, "blocks": taken}


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=f"blocks to time (default: {BLOCKS})")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of a block (default: {ROWS})")
    arguments = parser.parse_args()
    best = measure(arguments.blocks, arguments.rows)
    if arguments.json:
        print(json.dumps(best))
        return
    print(f"best of {len(best['blocks'])} blocks of {best['n']}, over an empty call of {best['empty_call_p50_ns']} ns:")
    print(f"  record           p50 {best['p50_ns']} ns, p99.9 {best['p999_ns']} ns")
    print(f"  decide + record  p50 {best['pair_p50_ns']} ns, p99.9 {best['pair_p999_ns']} ns")
    print(f"  {best['committed']} rows are durable, {best['dropped']} were dropped")


if __name__ == "__main__":
    main()
