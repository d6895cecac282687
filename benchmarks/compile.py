"""How long a large plan takes to compile, and what it holds: `python benchmarks/compile.py --json`.

Method. A folder is written as a service has it: `perfkit.toml` with 50 pools that follow 12 policies in turn (all
goals, own weights, methods, margins, tolerances, rules, an override, handwritten thresholds), and published curves of 5
methods and 24 codecs with knees, in four quantities. From it, all 18 000 cells of 50 pools x 4 kinds x 6 formats x 3
compressions x 5 resource states are compiled into what `Engine.decide` looks up, nothing stubbed. The pause, at which
the engine's thread gives way, only notes the time here.

* `compile_s`: median over `--runs` runs of a plan made anew each time; `runs_s` are all of them. Curves are read anew,
  so that nothing is left of the run before. Garbage is collected as in a service.
* `compile_cpu_s`: the same in processor time, which work of others on the machine hardly changes.
* `memory_mb`: what Python's allocator holds more after one such run than before it (tracemalloc, in a run of its own
  that is not timed), with everything that was compiled still in use; reading the files is not part of it.
* `unique_ranges`: how many different tables of ranges the cells came to.
* `slice_us`: processor time between two pauses, 99.9th percentile and longest; the longest are collections of garbage.
* `idle_cpu_percent`: processor time of the process over `--idle` seconds, in percent of one core, while an engine has
  that folder loaded and all contexts in use, its thread watching, and nobody decides; from when it has prepared
  the other states, at most a minute after it was loaded.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import itertools
import json
import math
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, Evidence, IntervalPoint, Piece
from perfkit.config.publication import read_current, replace_current
from perfkit.config.thresholds import Thresholds
from perfkit.engine import Engine
from perfkit.engine.circumstances import STATES
from perfkit.engine.compiled import Conditions, Plan, Ready, make_plan, make_ready
from perfkit.engine.costs import Context
from perfkit.engine.loading import Files, load_files
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, ZERO_COPY_FAMILY

POOLS = 50
SETTLES_IN_S = 60
CODECS_WITH_CURVES = 24
POLICIES = (
    "",
    'goal = "latency"',
    'goal = "throughput"\nmargin = "10%"',
    'goal = "memory"',
    'goal = "latency"\nmethods = ["uds", "shm_pool"]',
    'goal = "balanced"\nmethods = ["grpc", "grpc_stream", "shm_pool"]\nmargin = "5%"',
    'goal = "balanced"\nweights = { latency = 0.5, cpu = 0.5, memory = 0.01 }',
    'goal = "latency"\ntolerance = "10%"\nmargin = "20%"',
    'goal = "balanced"\nrules = [{ when = "bytes > 64MiB", avoid = ["grpc"] }]',
    'goal = "latency"\nrules = [{ when = "kind == \'tensor\' and bytes > 1MiB", use = "shm_pool" }]',
    'override = "grpc_stream"',
    'goal = "latency"\nthresholds = [{ up_to = "1MiB", use = "uds" }, { use = "shm_pool" }]',
)
NS_AND_NS_PER_BYTE = {
    "uds": (25_000, 0.3),
    "grpc": (600_000, 2.4),
    "grpc_stream": (900_000, 0.8),
    "shm_pool": (28_000, 0.12),
    "shm": (90_000, 0.35),
}
QUANTITIES = ("latency_ns", "cpu_ns", "resident_bytes", "copied_bytes")


def make_curve(generator: random.Random, fixed: float, per_byte: float) -> CostCurve:
    """A curve with up to three knees and an interval that widens outside what was measured."""
    pieces = [Piece(0.0, fixed, per_byte)]
    for knee in sorted(2 ** generator.uniform(12, 28) for _ in range(generator.choice((0, 1, 1, 2, 3)))):
        last = pieces[-1]
        slope = last.per_byte * generator.uniform(0.5, 2.0)
        pieces.append(Piece(knee, last.fixed + (last.per_byte - slope) * knee, slope))
    points = []
    width = generator.choice((0.02, 0.05, 0.1))
    for size in (2.0**power for power in range(4, 37, 2)):
        half = width * generator.uniform(0.7, 1.3) * (1 if 2**10 <= size <= 2**30 else 3)
        points.append(IntervalPoint(size, math.exp(-half), math.exp(half)))
    return CostCurve(tuple(pieces), tuple(points), 1024.0, 2.0**30, 90, 5)


def make_curves() -> CurveSet:
    """Curves of five methods and of the codecs that have some of their own."""
    generator = random.Random(4)
    curves = {}
    for method, (fixed, per_byte) in NS_AND_NS_PER_BYTE.items():
        is_shared = method in ZERO_COPY_FAMILY
        places = itertools.product(
            ("uds", "grpc") if is_shared else ("*",), ("copied", "in_place") if method == "shm_pool" else ("copied",)
        )
        for signalling, placement in places:
            moved = 0.01 if placement == "in_place" else 1.0
            figures = (
                (fixed + 600_000 * (signalling == "grpc"), per_byte * moved),
                (0.8 * fixed, 0.9 * per_byte * moved),
                (4096, generator.uniform(1.0, 2.5)),
                (1, generator.choice((1.0, 2.0)) * moved),
            )
            for quantity, figure in zip(QUANTITIES, figures, strict=True):
                key = CurveKey("transport", quantity, method, signalling, placement)
                curves[key] = make_curve(generator, *figure)
    codecs = []
    for kind, name, compression in generator.sample(all_codecs(), CODECS_WITH_CURVES):
        into_block = generator.random() < 0.5
        codecs.append(CodecEntry(kind, name, compression, generator.uniform(0.3, 1.3), into_block))
        for stage in ("encode", "decode", *(("encode_into",) if into_block else ())):
            for quantity in QUANTITIES[:2]:
                key = CurveKey(stage, quantity, kind=kind, format=name, compression=compression)
                curves[key] = make_curve(generator, 5_000, generator.uniform(0.05, 0.6))
    return CurveSet(curves, tuple(codecs), {}, Evidence(("benchmark",), 5_000, 5, 9))


def all_codecs() -> list[tuple[str, str, str]]:
    """Every combination of kind, format and compression."""
    return list(itertools.product(KINDS, FORMATS, COMPRESSIONS))


def write_folder(folder: Path) -> Files:
    """Write `perfkit.toml` and the published files, as a service has them."""
    sections = (f"[pools.pool-{index}]\n{POLICIES[index % len(POLICIES)]}\n" for index in range(POOLS))
    files = Files(folder / "perfkit.toml", folder / "thresholds.toml")
    files.settings.write_text("\n".join(sections), encoding="utf-8")
    curves = make_curves()
    now = datetime.datetime.now(datetime.UTC)
    replace_current(read_current(files.thresholds), Thresholds(1, now, "benchmark", curves, curves.sha256(), ()))
    return files


def names_of_cells() -> list[tuple[str, str, str, str]]:
    """Pool, kind, format and compression of every context."""
    pools = (f"pool-{index}" for index in range(POOLS))
    return [(pool, *codec) for pool, codec in itertools.product(pools, all_codecs())]


def fresh_plan(files: Files) -> Plan:
    """A plan of which nothing is compiled, from files that are read anew."""
    loaded = load_files(files)
    if loaded.errors or loaded.publication.curves is None:
        raise SystemExit(f"the benchmark's own files cannot be used: {loaded.errors}")
    return make_plan(loaded)


def compile_all(plan: Plan, pause: Callable[[], None]) -> list[Ready]:
    """Every cell of the plan in every resource state."""
    contexts = [
        Context(pool, kind, name, compression, "uds", plan.methods)
        for pool, kind, name, compression in names_of_cells()
    ]
    ready = []
    for conditions, context in itertools.product(map(Conditions, STATES), contexts):
        ready.append(make_ready(plan, context, conditions, strict=True, pause=pause))
        pause()
    return ready


@dataclasses.dataclass(frozen=True)
class Run:
    """One compilation: wall and processor time, processor time between pauses in microseconds, and what it came to."""

    seconds: float
    cpu_s: float
    slices_us: list[float]
    cells: int
    unique_ranges: int


def timed_run(files: Files) -> Run:
    """Compile everything once."""
    plan = fresh_plan(files)
    slices: list[float] = []
    began = time.thread_time()

    def pause() -> None:
        nonlocal began
        slices.append((time.thread_time() - began) * 1e6)
        began = time.thread_time()

    gc.collect()
    started, started_cpu, began = time.perf_counter(), time.process_time(), time.thread_time()
    ready = compile_all(plan, pause)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
    unique = len({id(cell.ranges) for cell in plan.compiled.values()})
    return Run(seconds, cpu_s, slices, len(ready), unique)


def measure_memory(files: Files) -> float:
    """Megabytes that one run holds, by tracemalloc."""
    plan = fresh_plan(files)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    ready = compile_all(plan, lambda: None)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del ready
    return (after - before) / 1e6


def measure_idle(files: Files, seconds: float) -> float:
    """Percent of one core that a process with a watching engine takes while nobody decides."""
    with Engine.load(files.settings) as engine:
        for pool, kind, name, compression in names_of_cells():
            engine.decide(1, pool=pool, kind=kind, format=name, compression=compression)
        for _ in range(SETTLES_IN_S):  # its thread prepares the other states first
            before = time.process_time()
            time.sleep(1)
            if time.process_time() - before < 0.01:
                break
        before = time.process_time()
        started = time.perf_counter()
        time.sleep(seconds)
        return 100 * (time.process_time() - before) / (time.perf_counter() - started)


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--runs", type=int, default=5, help="timed runs (default: 5)")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds of doing nothing (default: 10)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_folder(Path(folder))
        runs = [timed_run(files) for _ in range(arguments.runs)]
        memory_mb = measure_memory(files)
        idle_percent = measure_idle(files, arguments.idle)
    seconds = [run.seconds for run in runs]
    slices = sorted(itertools.chain.from_iterable(run.slices_us for run in runs))
    result = {
        "compile_s": round(statistics.median(seconds), 3),
        "memory_mb": round(memory_mb, 2),
        "idle_cpu_percent": round(idle_percent, 3),
        "compile_cpu_s": round(statistics.median(run.cpu_s for run in runs), 3),
        "cells": runs[0].cells,
        "unique_ranges": runs[0].unique_ranges,
        "slice_us": {"p999": round(slices[int(len(slices) * 0.999)], 1), "longest": round(slices[-1], 1)},
        "runs_s": [round(one, 3) for one in seconds],
        "memory_by": "tracemalloc",
        "idle_s": arguments.idle,
    }
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
