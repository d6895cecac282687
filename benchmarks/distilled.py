"""How well engines follow a cost model that differs from its curves: `python benchmarks/distilled.py --json`.

Method. On a made-up host a measurement (5 launches: five methods, codec stages, 1, 4 and 16 in flight) is fitted and
published; then services send `--rows` transfers on which codec, load and short memory act on each method differently,
which the measurement shows nowhere. `perfkit.train` learns from both, `perfkit.distil` writes the model onto the
published curves, `perfkit.publish` takes them through its gate (no `force`), and the published file is read back.

Then plans are compiled from that file for every codec, load and state, as an engine does it, and asked at `sizes`
between the ends of what was seen. `agreement` is the share of decisions that are the method that the model itself says
is the cheapest; `regret` how much more than that method the decision costs, by the model; `regret_true` the same by
the made-up host, against its cheapest; `intervals_hold` the share of published 95 % intervals of medians that hold
the host's. `curves` are these figures for the plan before, `by_context` those of each codec, load and state after.
Under memory pressure engines decide by resident bytes, so that these are compared there. Among methods that cannot be
told apart engines take the simplest: agreement need not be 100 % where regret is 0.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import perfkit
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.settings import Settings
from perfkit.config.thresholds import load_thresholds
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.composing import Context
from perfkit.engine.costs import method_cost
from perfkit.engine.decision import ready_decisions
from perfkit.engine.plan import Publication, compile_cell
from perfkit.tables import ResultTable

Floats = npt.NDArray[np.float64]

METHODS = {
    "uds": (20e3, 0.35, 0.9, 1.0),
    "grpc": (150e3, 1.4, 0.3, 1.0),
    "grpc_stream": (160e3, 1.1, 0.35, 1.0),
    "shm_pool": (60e3, 0.12, 0.5, 2.5),
    "shm": (110e3, 0.2, 0.7, 2.0),
}
"""Nanoseconds of a transfer and of each byte, how latency grows with load in traffic, and by what under pressure."""
CODECS = {
    ("tensor", "numpy"): (1.0, {"shm_pool": 0.7}),
    ("dataframe", "arrow"): (1.5, {"grpc_stream": 0.35, "shm_pool": 1.6}),
    ("text", "json"): (2.0, {"uds": 0.5}),
}
"""Bytes on the wire, and by what factor traffic differs from what the measurement says of a method."""
CODEC_NS = {"encode": (8e3, 0.05), "decode": (4e3, 0.02)}
MEASURED_GROWTH = 0.6
BEGAN = datetime.datetime(2026, 5, 4)
SHORT_BYTES = 2**30
MEASURED_LOADS = (1, 4, 16)
LOADS = (1, 2, 4, 8, 16)
LOW, HIGH = 2**11, 2**26
CELLS_PER_DOUBLING = 4


def transport_ns(method: str, wire_bytes: Floats) -> Floats:
    """What the measurement sees of a transport, one in flight."""
    fixed, per_byte, *_ = METHODS[method]
    return fixed + per_byte * wire_bytes


def true_ns(method: str, codec: tuple[str, str], size: Floats, load: Floats, available: Floats) -> Floats:
    """What a whole transfer of a service takes at the median."""
    *_, growth, pressed = METHODS[method]
    wire, factors = CODECS[codec]
    transport = transport_ns(method, wire * size) * factors.get(method, 1.0) * load**growth
    transport *= np.where(available < SHORT_BYTES, pressed, 1.0)
    return sum(fixed + per_byte * size for fixed, per_byte in CODEC_NS.values()) + transport


def resident_bytes(method: str, codec: tuple[str, str], size: Floats) -> Floats:
    """What a transfer of a service holds: gRPC and the segments keep copies."""
    copies = {"uds": 2.0, "grpc": 4.0, "grpc_stream": 3.0, "shm_pool": 1.0, "shm": 1.5}[method]
    return 60e3 + copies * CODECS[codec][0] * size


def measurement(seed: int) -> pa.Table:
    """What `perfkit bench` would record."""
    rng = np.random.default_rng(seed)
    usual = {
        "kind": "binary",
        "format": "raw",
        "in_flight": 1,
        "resident_bytes": None,
        "source": "bench",
        "run_id": "01M",
    }
    rows: list[dict[str, Any]] = []
    sizes = [2**power for power in range(10, 28, 2)]
    for launch, round_, size in ((a, b, c) for a in range(5) for b in range(4) for c in sizes):
        shared = {**usual, "launch": launch, "round": round_, "payload_bytes": size}
        luck = np.exp(np.random.default_rng(launch).normal(0, 0.02))
        for method in METHODS:
            for load in MEASURED_LOADS:
                ns = float(transport_ns(method, np.array(float(size)))) * load**MEASURED_GROWTH * luck
                rows += [
                    {**shared, "stage": "transport", "method": method, "in_flight": load, "wire_bytes": size,
                     "latency_ns": ns * np.exp(rng.normal(0, 0.05)),
                     "resident_bytes": (60e3 + 2 * size) * np.exp(rng.normal(0, 0.02))}
                ]  # fmt: skip
        for (kind, name), (wire, _) in CODECS.items():
            for stage, (fixed, per_byte) in CODEC_NS.items():
                rows += [
                    {**shared, "stage": stage, "method": "", "kind": kind, "format": name, "wire_bytes": wire * size,
                     "latency_ns": (fixed + per_byte * size) * luck * np.exp(rng.normal(0, 0.05))}
                ]  # fmt: skip
    return pa.Table.from_pylist([{**row, "latency_ns": round(row["latency_ns"])} for row in rows])


def traffic(rows: int, seed: int) -> pa.Table:
    """What services would record in a week."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(LOW), np.log(HIGH), rows)).round()
    method = rng.choice([*METHODS], rows)
    codec = rng.integers(0, len(CODECS), rows)
    load = rng.choice(LOADS, rows).astype(float)
    available = np.where(rng.random(rows) < 0.15, 2**29, 2**33) * np.exp(rng.uniform(-0.3, 0.3, rows))
    latency, resident = np.empty(rows), np.empty(rows)
    for at, key in enumerate(CODECS):
        for name in METHODS:
            mine = (codec == at) & (method == name)
            latency[mine] = true_ns(name, key, size[mine], load[mine], available[mine])
            resident[mine] = resident_bytes(name, key, size[mine])
    moment = np.sort(rng.uniform(0, 7 * 86_400e6, rows)).astype(np.int64)
    return pa.table({
        "source": np.full(rows, "service"),
        "run_id": np.full(rows, ""),
        "launch": np.zeros(rows, np.int64),
        "round": np.zeros(rows, np.int64),
        "stage": np.full(rows, "whole"),
        "method": method,
        "kind": np.array([kind for kind, _ in CODECS])[codec],
        "format": np.array([name for _, name in CODECS])[codec],
        "payload_bytes": size,
        "in_flight": load.astype(np.int64),
        "available_bytes": available.astype(np.int64),
        "observed_at": np.datetime64(BEGAN) + moment.astype("timedelta64[us]"),
        "latency_ns": latency * np.exp(rng.normal(0, 0.2, rows)),
        "resident_bytes": resident * np.exp(rng.normal(0, 0.05, rows)),
    })  # fmt: skip


def usual_of_day(model: perfkit.CostModel, sizes: Floats, **asked: Any) -> Floats:
    """What a model says, averaged over the day, for which plans hold."""
    by_hour = [model.median(sizes, hour=hour, **asked) for hour in (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)]
    return np.asarray(np.exp(np.mean(np.log(by_hour), axis=0)))


def decisions(model: perfkit.CostModel, publication: Publication) -> Iterator[dict[str, Any]]:
    """For every codec, load and state: what a plan decides, what the model would, and what both cost."""
    assert model.memory_seen is not None
    short, usual = model.memory_seen
    steps = round(CELLS_PER_DOUBLING * np.log2(HIGH / LOW))
    sizes = np.geomspace(LOW, HIGH, steps + 1)[:-1] * (HIGH / LOW) ** (0.5 / steps)
    settings = Settings()
    for codec in CODECS:
        for load in LOADS:
            for state, available, target in (
                ("normal", usual, "latency_ns"),
                ("memory_pressure", short, "resident_bytes"),
            ):
                context = Context("default", *codec, available=tuple(METHODS), in_flight=load)
                edges, ready = ready_decisions(compile_cell(settings, publication, context, Circumstances(state)))[:2]
                taken = np.array([[*METHODS].index(ready[at].method) for at in np.searchsorted(edges, sizes, "right")])
                asked = {"kind": codec[0], "format": codec[1], "in_flight": load, "source": "service"}
                said = np.stack([
                    usual_of_day(model, sizes, target=target, method=method, available_bytes=available, **asked)
                    for method in METHODS
                ])  # fmt: skip
                true = np.stack([
                    true_ns(method, codec, sizes, np.array(float(load)), np.array(available))
                    if target == "latency_ns"
                    else resident_bytes(method, codec, sizes)
                    for method in METHODS
                ])  # fmt: skip
                at = np.arange(sizes.size)
                curves = publication.in_state(state).curves
                assert curves is not None
                goal = "latency" if state == "normal" else "memory"
                costs = [[method_cost(curves, method, context, size, goal) for size in sizes] for method in METHODS]
                low, high = (np.array([[getattr(one, end) for one in row] for row in costs]) for end in ("low", "high"))
                yield {
                    "holds": (low <= true) & (true <= high),
                    "context": f"{'/'.join(codec)}, {load} in flight, {state.replace('_', ' ')}",
                    "agrees": taken == said.argmin(axis=0),
                    "regret": said[taken, at] / said.min(axis=0) - 1,
                    "regret_true": true[taken, at] / true.min(axis=0) - 1,
                }


def summed(found: list[dict[str, Any]]) -> dict[str, float]:
    """Over all sizes of some contexts."""
    columns = {name: np.concatenate([one[name] for one in found]) for name in ("agrees", "regret", "regret_true")}
    holds = np.concatenate([one["holds"].ravel() for one in found])
    return {
        "agreement": float(columns["agrees"].mean()),
        "regret": float(columns["regret"].mean()),
        "worst_regret": float(columns["regret"].max()),
        "regret_true": float(columns["regret_true"].mean()),
        "intervals_hold": float(holds.mean()),
        "n": int(columns["agrees"].size),
    }


def judge(rows: int, seed: int) -> dict[str, Any]:
    """Measure, publish, learn, distil, publish again, and ask."""
    measured, sent = measurement(seed), traffic(rows, seed + 1)
    fit = perfkit.fit(measured, fingerprint=dict(collect_fingerprint()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thresholds.toml"
        perfkit.publish(fit, path=path)
        model = perfkit.train(pa.concat_tables([measured, sent], promote_options="permissive"), seed=seed)
        began = time.perf_counter()
        distilled = perfkit.distil(model, load_thresholds(path).curves)
        distil_seconds = time.perf_counter() - began
        result = perfkit.publish(distilled, path=path)
        after = list(decisions(model, Publication.of(load_thresholds(path))))
    before = list(decisions(model, Publication(fit.curves)))
    return {
        "rows": rows,
        "champions": {name: one.champion for name, one in model.targets.items()},
        "published": result.published,
        "written": distilled.written,
        "distil_seconds": distil_seconds,
        "fidelity": distilled.fidelity.to_plain(),
        "curves": summed(before),
        "distilled": summed(after),
        "by_context": {one["context"]: summed([one]) for one in after},
    }


def to_table(figures: dict[str, Any]) -> ResultTable:
    """The figures, for people."""
    rows = [
        (name, f"{one['agreement']:.1%}", f"{one['regret']:.2%}", f"{one['worst_regret']:.1%}",
         f"{one['regret_true']:.2%}", f"{one['intervals_hold']:.1%}", f"{one['n']:,}")
        for name, one in ((name, figures[name]) for name in ("curves", "distilled"))
    ]  # fmt: skip
    columns = ("plan", "as the model", "regret", "worst", "true regret", "intervals hold", "n")
    return ResultTable("Decisions from a distilled model", columns, tuple(rows), align_right=(1, 2, 3, 4, 5, 6))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    figures = judge(given.rows, given.seed)
    if given.json:
        print(json.dumps({**figures, "fingerprint": dict(collect_fingerprint())}))
        return
    print(to_table(figures).to_text())
    print(json.dumps({name: figures[name] for name in ("champions", "published", "written", "fidelity")}, indent=1))


if __name__ == "__main__":
    main()
