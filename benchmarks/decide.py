"""How long a decision takes: `python benchmarks/decide.py --json`, with `--full` or `--threads 8`.

Method. A plan with three pools and four codecs is compiled from hand-made curves; nothing is stubbed. In each of ten
blocks, 100 000 distinct sizes from 1 B to 4 GiB in random order (even over the logarithm, as far as small sizes last)
are decided, with another context at every call. Around every single call `time.perf_counter_ns` is read, and at each
size six calls take turns: an empty method with the signature of `Engine.decide`, `Engine.decide`, an empty method with
the signature of `Binding.decide`, `Binding.decide`, and the same for `Decision.expected_ns`, which predicts the latency
of what was decided (`predict_p50_ns`). A figure is the lowest percentile of its ten blocks minus that of its empty
twin: what the decision costs beside the call and the clock, when the machine is at its quietest. `blocks` holds the
percentiles of all blocks. The garbage collector runs as it does in a service.

`--full`: the same with everything on, as in a busy service. The engine is loaded from files and its thread runs: it
samples the host every 250 ms and reacts to it. Every pool has rules, 5 % of the decisions explore (`explored_share`
tells), two variants of an experiment share all sessions, and each call names one of 100 000 sessions by a string of its
own, which was met before (`--sessions` takes another number: most of the cost of many is memory that is not in a
cache). Between the timed calls, up to 10 000 outcomes a second are recorded into a real journal (`recorded_per_s`
counts the pauses between blocks, too). `perfkit.toml` is rewritten every second, and taken over (`reloads`).
`bound_session_p50_ns` is the bound call with a session.

`--threads N`: how many decisions N threads take in a second, as a ratio to one thread in the same process, in rounds
that take turns (`rate_ratio`: median of the rounds). Then, for some seconds, N threads decide while the tables are
swapped all the time for those of the other one of two publications (`swaps`), in which other methods win: `torn` counts
decisions whose method is not that of the plan that their id names.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, Evidence, IntervalPoint, Piece
from perfkit.config.publication import read_current, replace_current
from perfkit.config.settings import PoolSettings, Settings
from perfkit.config.thresholds import Thresholds
from perfkit.engine import Binding, Decision, Engine
from perfkit.engine.loading import Loaded
from perfkit.engine.plan import Publication

BLOCKS = 10
SIZES = 100_000
CODECS = (("tensor", "numpy"), ("dataframe", "arrow"), ("text", "json"), ("binary", "raw"))
POOLS = {
    "default": PoolSettings(),
    "ml": PoolSettings(goal="latency"),
    "batch": PoolSettings(goal="throughput", methods=("grpc", "grpc_stream", "shm_pool")),
}
FIXED_NS_AND_NS_PER_BYTE = {
    "uds": (12_000, 0.28),
    "grpc": (700_000, 2.6),
    "grpc_stream": (1_000_000, 1.1),
    "shm_pool": (13_000, 0.11),
    "shm": (43_000, 0.4),
}


SESSIONS = 100_000
ROWS_PER_S = 10_000
FULL = """\
[engine]
exploration_rate = "5%"
exploration_budget = "1s"
[resources]
cpu = 1  # sampled, but the benchmark itself must not count as pressure, under which nobody explores
[pools.default]
rules = [{{ when = "bytes > 2GiB", use = "shm_pool" }}]
[pools.ml]
goal = "latency"
margin = {margin}
rules = [{{ when = "kind == 'text' and bytes < 1KiB", use = "uds" }}, {{ when = "bytes > 2GiB", avoid = ["grpc"] }}]
[pools.batch]
goal = "throughput"
methods = ["grpc", "grpc_stream", "shm_pool"]
rules = [{{ when = "bytes < 100", use = "grpc" }}]
[experiments.margins.variants.A]
share = 0.5
[experiments.margins.variants.B]
share = 0.5
tolerance = 0.1
"""
NEARLY_THE_SAME = {"shm_pool": (12_020, 0.27999)}
"""As uds: what exploring costs stays within its budget at a million decisions per second, so that it is always on."""
ROUNDS, ROUND_S, SWAPPING_S = 5, 0.5, 5.0


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

    def decide_bound(self, payload_bytes: int, session: str | None = None) -> None:
        """As `Binding.decide`."""

    def expected_ns(self, payload_bytes: int) -> None:
        """As `Decision.expected_ns`."""


def make_curves(lines: dict[str, tuple[float, float]] | None = None) -> CurveSet:
    """Curves with crossovers."""
    curves = {}
    for method, (fixed, per_byte) in (lines or FIXED_NS_AND_NS_PER_BYTE).items():
        for quantity, share in (("latency_ns", 1.0), ("cpu_ns", 0.8)):
            pieces = (Piece(0, fixed * share, per_byte * share),)
            curve = CostCurve(pieces, (IntervalPoint(1024, 0.95, 1.05),), 1, 2**32, 90, 3)
            curves[CurveKey("transport", quantity, method)] = curve
    codecs = tuple(CodecEntry(kind, name, "none", 1.0, into_block=False) for kind, name in CODECS)
    return CurveSet(curves, codecs, {}, Evidence(("benchmark",), 5_000, 5, 9))


def make_engine() -> Engine:
    """An engine whose plan is compiled from curves with crossovers."""
    return Engine(Loaded(Settings(pools=POOLS), Publication(make_curves(), version=1)))


def put(path: Path, version: int, curves: CurveSet) -> None:
    """Publish curves without asking whether they are any good."""
    now = datetime.datetime.now(datetime.UTC)
    replace_current(read_current(path), Thresholds(version, now, "benchmark", curves, curves.sha256(), ()))


def write_settings(folder: Path, text: str) -> None:
    """Put `perfkit.toml` in place at once, as an editor does."""
    (folder / "new.toml").write_text(text, encoding="utf-8")
    (folder / "new.toml").replace(folder / "perfkit.toml")


def make_sizes(seed: int) -> list[int]:
    """Distinct sizes in random order, even over the logarithm."""
    sizes: dict[int, None] = {}
    generator = random.Random(seed)
    while len(sizes) < SIZES:
        sizes[int(2 ** generator.uniform(0, 32))] = None
    shuffled = list(sizes)
    generator.shuffle(shuffled)
    return shuffled


def time_block(
    engine: Engine,
    binding: Binding,
    sizes: list[int],
    sessions: list[str] | None = None,
    record: Callable[[int], None] | None = None,
) -> dict[str, list[int]]:
    """Nanoseconds of every single call, the kinds taking turns; `record` is called `ROWS_PER_S` times a second."""
    empty, now = Empty(), time.perf_counter_ns
    kinds = ("empty", "decide", "empty_bound", "bound", "empty_predict", "predict")
    taken: dict[str, list[int]] = {kind: [] for kind in kinds}
    empty_ns, decide_ns, empty_bound_ns, bound_ns, empty_predict_ns, predict_ns = (
        samples.append for samples in taken.values()
    )
    contexts = [(pool, *codec) for pool, codec in itertools.product(POOLS, CODECS)]
    named = itertools.repeat(None) if sessions is None else sessions
    between_ns, due = 10**9 // ROWS_PER_S, now()
    for size, session, (pool, kind, name) in zip(sizes, named, itertools.cycle(contexts), strict=False):
        started = now()
        empty.decide(size, pool=pool, kind=kind, format=name, session=session)
        empty_ns(now() - started)
        started = now()
        engine.decide(size, pool=pool, kind=kind, format=name, session=session)
        decide_ns(now() - started)
        started = now()
        empty.decide_bound(size)
        empty_bound_ns(now() - started)
        started = now()
        decision = binding.decide(size)
        bound_ns(now() - started)
        started = now()
        empty.expected_ns(size)
        empty_predict_ns(now() - started)
        started = now()
        decision.expected_ns(size)
        predict_ns(now() - started)
        while record is not None and due < started:
            record(size % 2**20)
            due += between_ns
    return taken


def time_bound_with_sessions(binding: Binding, sizes: list[int], sessions: list[str]) -> dict[str, list[int]]:
    """Nanoseconds of every bound call that names a session, taking turns with its empty twin."""
    empty, now = Empty(), time.perf_counter_ns
    taken: dict[str, list[int]] = {"empty_bound_session": [], "bound_session": []}
    empty_ns, bound_ns = (samples.append for samples in taken.values())
    for size, session in zip(sizes, sessions, strict=False):
        started = now()
        empty.decide_bound(size, session)
        empty_ns(now() - started)
        started = now()
        binding.decide(size, session)
        bound_ns(now() - started)
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
        "p50_ns": best["decide_p50_ns"] - best["empty_p50_ns"],
        "p999_ns": best["decide_p999_ns"] - best["empty_p999_ns"],
        "bound_p50_ns": best["bound_p50_ns"] - best["empty_bound_p50_ns"],
        "bound_p999_ns": best["bound_p999_ns"] - best["empty_bound_p999_ns"],
        "predict_p50_ns": best["predict_p50_ns"] - best["empty_predict_p50_ns"],
        "predict_p999_ns": best["predict_p999_ns"] - best["empty_predict_p999_ns"],
        "empty_call_p50_ns": best["empty_p50_ns"],
    }


def make_sessions(seed: int, number: int = SESSIONS) -> list[str]:
    """Sessions in random order, for every size one, in strings that nobody has hashed yet."""
    order = [index % number for index in range(SIZES)]
    random.Random(seed).shuffle(order)
    return [f"user-{index}" for index in order]


@contextlib.contextmanager
def in_background(*steps: tuple[Callable[[], None], float]) -> Iterator[None]:
    """Do something every so many seconds, each in a thread of its own."""
    done = threading.Event()

    def repeat(step: Callable[[], None], every_s: float) -> None:
        due = time.monotonic()
        while not done.wait(max(due - time.monotonic(), 0)):
            due += every_s
            step()

    threads = [threading.Thread(target=repeat, args=step, daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def busy_service(folder: Path) -> Iterator[Engine]:
    """An engine with everything on, whose thread runs, in a process that records and rewrites its files."""
    write_settings(folder, FULL.format(margin=0.01))
    put(folder / "thresholds.toml", 1, make_curves(FIXED_NS_AND_NS_PER_BYTE | NEARLY_THE_SAME))
    margins = itertools.cycle((0.02, 0.03))
    with Engine.load(folder / "perfkit.toml") as engine:
        if engine.health().status != "ok":
            raise SystemExit(f"the benchmark's own files cannot be used: {engine.health().errors}")
        for pool, (kind, name) in itertools.product(POOLS, CODECS):
            engine.decide(1, pool=pool, kind=kind, format=name)
        for session in make_sessions(-1):  # another order than any block
            engine.decide(1, session=session)
        with in_background((lambda: write_settings(folder, FULL.format(margin=next(margins))), 1.0)):
            yield engine


def measure_full(blocks_wanted: int, number_of_sessions: int) -> dict[str, Any]:
    """The figures with everything on."""
    blocks, explored = [], []
    with tempfile.TemporaryDirectory() as folder, busy_service(Path(folder)) as engine:
        binding = engine.bind(pool="ml", kind="tensor", format="numpy")

        def record(size: int) -> None:
            engine.record(engine.decide(size, pool="ml"), size, 20_000 + size)

        began_s, generation = time.monotonic(), engine.generation
        rows = _recorded(engine)
        for seed in range(blocks_wanted):
            sizes = make_sizes(seed)
            taken = time_block(engine, binding, sizes, make_sessions(seed, number_of_sessions), record)
            taken |= time_bound_with_sessions(binding, sizes, make_sessions(seed + 1_000, number_of_sessions))
            blocks.append(percentiles(taken))
            sources = [engine.decide(size, pool="ml", session="user-1").source for size in sizes[:2_000]]
            explored.append(sources.count("exploration") / len(sources))
        passed_s = time.monotonic() - began_s
        facts = {
            "recorded_per_s": round((_recorded(engine) - rows) / passed_s),
            "explored_share": round(statistics.mean(explored), 3),
            "reloads": engine.generation - generation,
            "state": engine.health().state,
            "errors": engine.health().errors,
        }
    best = {name: min(block[name] for block in blocks) for name in blocks[0]}
    with_session = best["bound_session_p50_ns"] - best["empty_bound_session_p50_ns"]
    facts |= {"n": SIZES, "sessions": number_of_sessions, "bound_session_p50_ns": with_session}
    return {**summarise(blocks), **facts, "blocks": blocks}


def _recorded(engine: Engine) -> int:
    recorder = engine.health().recorder
    return 0 if recorder is None else recorder.accepted


def measure_threads(number: int) -> dict[str, Any]:
    """How many decisions threads take together, and whether any of them mixes two plans."""
    with tempfile.TemporaryDirectory() as folder, busy_service(Path(folder)) as engine:
        rounds = [(rate(engine, 1), rate(engine, number)) for _ in range(ROUNDS)]
    ratios = [many / one for one, many in rounds]
    return {
        "rate_ratio": round(statistics.median(ratios), 3),
        "rate_ratios": [round(ratio, 3) for ratio in ratios],
        "decisions_per_s": round(statistics.median(many for _, many in rounds)),
        "threads": number,
        **count_torn(number),
    }


def rate(engine: Engine, number: int) -> float:
    """Decisions per second of so many threads together."""
    counts, started, done = [0] * number, threading.Barrier(number + 1), threading.Event()
    sizes = make_sizes(1)[:1000]

    def serve(index: int) -> None:
        started.wait()
        while not done.is_set():
            for size in sizes:
                engine.decide(size, pool="ml", kind="tensor", format="numpy")
            counts[index] += len(sizes)

    threads = [threading.Thread(target=serve, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    started.wait()
    began = time.perf_counter()
    time.sleep(ROUND_S)
    done.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def count_torn(number: int) -> dict[str, int]:
    """Decide in threads while two publications take each other's place, in which other methods win."""
    dear = dict.fromkeys(FIXED_NS_AND_NS_PER_BYTE, (10_000_000.0, 10.0))
    winners = {1: "uds", 0: "grpc"}
    torn, done = [0] * number, threading.Event()
    decided = [0] * number

    def is_torn(decision: Decision) -> bool:
        version = int(decision.id[1 : decision.id.index(":")])
        return decision.method != winners[version % 2] or version != decision.cell.publication.version

    def serve(engine: Engine, index: int) -> None:
        binding = engine.bind(pool="ml")
        while not done.is_set():
            torn[index] += is_torn(engine.decide(1000, kind="tensor", format="numpy")) + is_torn(binding.decide(1000))
            decided[index] += 2

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thresholds.toml"
        put(path, 1, make_curves(dear | {"uds": (1_000.0, 0.01)}))
        with Engine.load(path.parent / "perfkit.toml") as engine:
            threads = [threading.Thread(target=serve, args=(engine, index)) for index in range(number)]
            for thread in threads:
                thread.start()
            until_s, versions = time.monotonic() + SWAPPING_S, itertools.count(2)
            while time.monotonic() < until_s:
                version = next(versions)
                put(path, version, make_curves(dear | {winners[version % 2]: (1_000.0, 0.01)}))
                engine.reload()
            done.set()
            for thread in threads:
                thread.join()
            return {"torn": sum(torn), "checked": sum(decided), "swaps": engine.generation - 1}


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=f"blocks to time (default: {BLOCKS})")
    parser.add_argument("--full", action="store_true", help="with rules, exploration, variants, recorder and reloads")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"with --full (default: {SESSIONS})")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="compare N threads with one")
    arguments = parser.parse_args()
    if arguments.threads:
        found = measure_threads(arguments.threads)
        print(json.dumps(found) if arguments.json else "\n".join(f"{name}: {value}" for name, value in found.items()))
        return
    best = measure_full(arguments.blocks, arguments.sessions) if arguments.full else measure(arguments.blocks)
    if arguments.json:
        print(json.dumps(best))
        return
    print(f"best of {arguments.blocks} blocks of {SIZES} sizes, over an empty call of {best['empty_call_p50_ns']} ns:")
    print(f"  decide  p50 {best['p50_ns']} ns, p99.9 {best['p999_ns']} ns")
    print(f"  bound   p50 {best['bound_p50_ns']} ns, p99.9 {best['bound_p999_ns']} ns")


def measure(blocks_wanted: int) -> dict[str, Any]:
    """The figures of a plan alone."""
    engine = make_engine()
    for pool, (kind, name) in itertools.product(POOLS, CODECS):
        engine.decide(1, pool=pool, kind=kind, format=name)  # compiles the context
    binding = engine.bind(pool="ml", kind="tensor", format="numpy")
    blocks = [percentiles(time_block(engine, binding, make_sizes(seed))) for seed in range(blocks_wanted)]
    return {**summarise(blocks), "n": SIZES, "contexts": len(POOLS) * len(CODECS), "blocks": blocks}


if __name__ == "__main__":
    main()
