"""What tuning is worth to this service: `python examples/service/compare.py --json`.

Method. A launch is a fresh worker and service for each side: `grpc`, which takes gRPC for every request, and `tuned`,
which asks the engine with the thresholds of this machine. They differ in nothing else. In every round the same list of
requests, new ones each round, is sent to both sides, one after the other in random order. A figure is the ratio of the
two sides in the same rounds, tuned over gRPC, with Student's 95 % interval over the launches.

* ``service.throughput_ratio``: answers per second; above 1 is better.
* ``service.p99_ratio``: the latency that 99 % of the requests of a round stay below; below 1 is better.

Every answer is checked; a missing or a wrong one ends the comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from catalogue import MAX_ROWS
from run import HERE, started

import perfkit
from perfkit.stats.hierarchical import Estimate, ratio_of_launches

SIDES: dict[str, tuple[str, ...]] = {"grpc": ("--methods", "grpc"), "tuned": ()}
Launch = dict[str, list[dict[str, Any]]]
"""By side, what `load.py` said of each round."""


def measure_launch(options: argparse.Namespace, number: int) -> Launch:
    """Start both sides, send the rounds."""
    generator = random.Random(number)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        urls = {}
        for side, methods in SIDES.items():
            config = ("--config", options.config)
            _, address = stack.enter_context(started("worker.py", "--address", f"unix:{folder}/{side}.sock", *config))
            service = (*config, "--address", address, "--journal", f"{folder}/{side}", "--timeout-s", "60", *methods)
            _, urls[side] = stack.enter_context(started("app.py", "--port", "0", *service))
        launch: Launch = {side: [] for side in SIDES}
        for turn in range(options.rounds):
            for side in generator.sample(sorted(SIDES), len(SIDES)):
                launch[side].append(send_load(urls[side], options, seed=number * options.rounds + turn))
    return launch


def send_load(url: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One side of a round, sent by a process of its own."""
    sizes = ("--min-rows", str(options.min_rows), "--max-rows", str(options.max_rows))
    counts = ("--requests", str(options.requests), "--connections", str(options.connections))
    command = [sys.executable, str(HERE / "load.py"), url, "--seed", str(seed), *sizes, *counts]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stdout or f'exit code {done.returncode}'}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def summarise(launches: list[Launch]) -> dict[str, Any]:
    """The figures of the docstring, and the medians behind them."""

    def of(side: str, name: str) -> list[list[float]]:
        return [[turn[name] for turn in launch[side]] for launch in launches]

    def typical(side: str, name: str) -> float:
        return statistics.median(value for values in of(side, name) for value in values)

    figures: dict[str, Any] = {
        f"{label}_ratio": plain(ratio_of_launches(of("tuned", name), of("grpc", name)))
        for label, name in (("throughput", "throughput_per_s"), ("p50", "p50_ms"), ("p99", "p99_ms"))
    }
    names = ("throughput_per_s", "p50_ms", "p99_ms")
    figures |= {side: {name: round(typical(side, name), 2) for name in names} for side in SIDES}
    return figures | {"requests": sum(turn["requests"] for launch in launches for turn in launch["tuned"])}


def plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate for JSON."""
    bounds = {name: round(getattr(estimate, name), 3) for name in ("value", "low", "high")}
    return bounds | {"n": estimate.n, "launches": estimate.launches}


def show(figures: dict[str, Any]) -> None:
    """Print a line per figure."""
    print("                    always gRPC        tuned   tuned/gRPC")
    for label, name in (("throughput", "throughput_per_s"), ("p50", "p50_ms"), ("p99", "p99_ms")):
        ratio = figures[f"{label}_ratio"]
        before, after = figures["grpc"][name], figures["tuned"][name]
        bounds = f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
        print(f"{name:>16}  {before:>13,.1f} {after:>12,.1f}   {bounds}")
    ratio = figures["throughput_ratio"]
    print(f"{figures['requests']:,} requests to each side in {ratio['n']} rounds of {ratio['launches']} launches")


def main() -> None:
    """Measure in fresh launches; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--launches", type=int, default=5, help="fresh processes, all of them (default: 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds in each (default: 3)")
    parser.add_argument("--requests", type=int, default=400, help="requests of a round, to each side (default: 400)")
    parser.add_argument("--connections", type=int, default=8, help="requests at once (default: 8)")
    parser.add_argument("--min-rows", type=int, default=16, help="items of the smallest request (default: 16, 4 KiB)")
    parser.add_argument("--max-rows", type=int, default=MAX_ROWS, help=f"of the largest (default: {MAX_ROWS}, 16 MiB)")
    parser.add_argument("--config", default="perfkit.toml", help="whose thresholds decide (default: perfkit.toml)")
    options = parser.parse_args()
    health = perfkit.Engine.load(options.config).health()
    if health.version is None:
        print(f"nothing is published beside {options.config}: the defaults decide; see README.md", file=sys.stderr)
    launches = []
    for number in range(options.launches):
        launches.append(measure_launch(options, number))
        print(f"launch {number + 1} of {options.launches}", file=sys.stderr)
    figures = summarise(launches) | {"thresholds_version": health.version}
    show(figures)
    if options.json:
        print(json.dumps({"service": figures}))


if __name__ == "__main__":
    main()
