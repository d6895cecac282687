"""How long a decision takes: `python benchmarks/decide.py --json`.

Method. A plan with three pools and four codecs is compiled from hand-made curves; nothing is stubbed. In each of ten
blocks, 100 000 distinct sizes from 1 B to 4 GiB in random order (even over the logarithm, as far as small sizes last)
are decided, with another context at every call. Around every single call `time.perf_counter_ns` is read, and at each
size four calls take turns: an empty method with the signature of `Engine.decide`, `Engine.decide`, an empty method with
the signature of `Binding.decide`, `Binding.decide`. A figure is the lowest percentile of its ten blocks minus that of
its empty twin: what the decision costs beside the call and the clock, when the machine is at its quietest. `blocks`
holds the percentiles of all blocks. The garbage collector runs as it does in a service.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, IntervalPoint, Piece
from perfkit.config.settings import PoolSettings, Settings
from perfkit.engine import Binding, Engine
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

    def decide_bound(self, payload_bytes: int) -> None:
        """As `Binding.decide`."""


def make_engine() -> Engine:
    """An engine whose plan is compiled from curves with crossovers."""
    curves = {}
    for method, (fixed, per_byte) in FIXED_NS_AND_NS_PER_BYTE.items():
        for quantity, share in (("latency_ns", 1.0), ("cpu_ns", 0.8)):
            pieces = (Piece(0, fixed * share, per_byte * share),)
            curve = CostCurve(pieces, (IntervalPoint(1024, 0.95, 1.05),), 1, 2**32, 90, 3)
            curves[CurveKey("transport", quantity, method)] = curve
    codecs = tuple(CodecEntry(kind, name, "none", 1.0, into_block=False) for kind, name in CODECS)
    return Engine(Loaded(Settings(pools=POOLS), Publication(CurveSet(curves, codecs), version=1)))


def make_sizes(seed: int) -> list[int]:
    """Distinct sizes in random order, even over the logarithm."""
    sizes: dict[int, None] = {}
    generator = random.Random(seed)
    while len(sizes) < SIZES:
        sizes[int(2 ** generator.uniform(0, 32))] = None
    shuffled = list(sizes)
    generator.shuffle(shuffled)
    return shuffled


def time_block(engine: Engine, binding: Binding, sizes: list[int]) -> dict[str, list[int]]:
    """Nanoseconds of every single call, the four kinds taking turns."""
    empty, now = Empty(), time.perf_counter_ns
    taken: dict[str, list[int]] = {"empty": [], "decide": [], "empty_bound": [], "bound": []}
    empty_ns, decide_ns, empty_bound_ns, bound_ns = (samples.append for samples in taken.values())
    contexts = [(pool, *codec) for pool, codec in itertools.product(POOLS, CODECS)]
    for size, (pool, kind, name) in zip(sizes, itertools.cycle(contexts), strict=False):
        started = now()
        empty.decide(size, pool=pool, kind=kind, format=name)
        empty_ns(now() - started)
        started = now()
        engine.decide(size, pool=pool, kind=kind, format=name)
        decide_ns(now() - started)
        started = now()
        empty.decide_bound(size)
        empty_bound_ns(now() - started)
        started = now()
        binding.decide(size)
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
        "empty_call_p50_ns": best["empty_p50_ns"],
    }


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help=f"blocks to time (default: {BLOCKS})")
    arguments = parser.parse_args()
    engine = make_engine()
    for pool, (kind, name) in itertools.product(POOLS, CODECS):
        engine.decide(1, pool=pool, kind=kind, format=name)  # compiles the context
    binding = engine.bind(pool="ml", kind="tensor", format="numpy")
    blocks = [percentiles(time_block(engine, binding, make_sizes(seed))) for seed in range(arguments.blocks)]
    best = summarise(blocks)
    if arguments.json:
        print(json.dumps({**best, "n": SIZES, "contexts": len(POOLS) * len(CODECS), "blocks": blocks}))
        return
    print(f"best of {len(blocks)} blocks of {SIZES} sizes, over an empty call of {best['empty_call_p50_ns']} ns:")
    print(f"  decide  p50 {best['p50_ns']} ns, p99.9 {best['p999_ns']} ns")
    print(f"  bound   p50 {best['bound_p50_ns']} ns, p99.9 {best['bound_p999_ns']} ns")


if __name__ == "__main__":
    main()
