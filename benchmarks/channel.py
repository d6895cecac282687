"""What the channel costs over its methods: `python benchmarks/channel.py --json`.

Method. Every launch is a fresh client process with two fresh servers: the receiver of the measuring harness, and a
channel server whose handler returns nothing. In every round, at every size from 1 KiB to 128 MiB, a float32 array is
sent by each contender in turn, in random order: the bare methods (encode, send, decode over there, acknowledge), the
channel held to one method, the channel with the engine's choice, and that once more with every transfer recorded. A
batch's median stands for its round; a figure is the ratio of two contenders in the same rounds, with Student's 95 %
interval over the launches.

* ``overhead.<size>``: channel over bare, for the method that is the quickest there.
* ``adaptive_vs_best.<size>``: the engine's choice over the quickest fixed method.
* ``recording_cost.<size>``: recorded over not recorded; ``recording_cost``: the same over all sizes alike.
* ``service.throughput_ratio``, ``service.p99_ratio``: the example service, tuned over always gRPC, as
  `examples/service/compare.py` measures it in as many launches.

The thresholds are those of `--config`, by default `perfkit.toml` in this folder (`make run` publishes them).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import perfkit
from perfkit.stats.hierarchical import Estimate, ratio_of_launches
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.protocol import SenderOptions
from perfkit.transfer.receiver import start_receiver
from perfkit.transfer.registry import get_method
from perfkit.transfer.wire import FLAG_DECODE
from perfkit.units import format_bytes

SIZES = tuple(2**power for power in (10, 12, 14, 16, 18, 20, 22, 24, 26, 27))
FIXED = ("uds", "shm_pool")
ADAPTIVE, RECORDED = "adaptive", "recorded"
COMPARE_SERVICE = Path(__file__).parent.parent / "examples" / "service" / "compare.py"
BATCH_NS = 20e6
LARGEST_BATCH = 200

Contenders = dict[str, Callable[[Any], object]]


def sends_per_batch(once_ns: float) -> int:
    """As many sends as take some 20 ms: a batch of one is at the mercy of every interruption."""
    return max(3, min(LARGEST_BATCH, int(BATCH_NS / once_ns)))


def time_batch(send: Callable[[Any], object], payload: Any, sends: int) -> float:
    """Median nanoseconds of one send."""
    taken = []
    for _ in range(sends):
        started = time.perf_counter_ns()
        send(payload)
        taken.append(time.perf_counter_ns() - started)
    return statistics.median(taken)


@contextlib.contextmanager
def contenders(config: str, folder: str) -> Iterator[Contenders]:
    """Everything that is compared, connected and warm."""
    address = f"unix:{folder}/channel.sock"
    command = [sys.executable, __file__, "--serve", address]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert server.stdout is not None
        server.stdout.readline()
        engine = perfkit.Engine.load(config)
        sends: Contenders = {}
        receiver = stack.enter_context(start_receiver(FIXED))
        encode = get_codec("tensor", "numpy").encode
        for name in FIXED:
            sender = get_method(name).implementation.connect(receiver.folder, SenderOptions())
            stack.callback(sender.close)
            sends[f"bare {name}"] = lambda payload, send=sender.send: send(encode(payload), FLAG_DECODE)

        def connect(**options: Any) -> Callable[[Any], object]:
            return stack.enter_context(perfkit.connect(address, engine=engine, **options)).send

        for name in FIXED:
            sends[f"channel {name}"] = connect(methods=[name], record=False)
        sends[ADAPTIVE] = connect(record=False)
        sends[RECORDED] = connect(record=Path(folder, "journal"))
        yield sends
        assert server.stdin is not None
        server.stdin.close()


def measure_launch(config: str, rounds: int, seed: int) -> dict[str, dict[str, list[float]]]:
    """Round medians by size and contender, of one launch."""
    generator = random.Random(seed)
    medians: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder, contenders(config, folder) as sends:
        payloads = {size: np.random.default_rng(size).random(size // 4, dtype=np.float32) for size in SIZES}
        batches = {}
        for size, payload in payloads.items():
            for send in sends.values():
                time_batch(send, payload, 5)
                time.sleep(0.05)  # a block that was not ready is being prepared
                time_batch(send, payload, 3)
            slowest_ns = max(time_batch(send, payload, 3) for send in sends.values())
            batches[size] = sends_per_batch(slowest_ns)
        for _, size in itertools.product(range(rounds), SIZES):
            names = list(sends)
            generator.shuffle(names)
            for name in names:
                median_ns = time_batch(sends[name], payloads[size], batches[size])
                medians.setdefault(str(size), {}).setdefault(name, []).append(median_ns)
    return medians


def summarise(launches: list[dict[str, dict[str, list[float]]]]) -> dict[str, dict[str, Any]]:
    """The figures of the docstring."""

    def ratio(size: int, above: str, below: str) -> Estimate:
        return ratio_of_launches(
            [launch[str(size)][above] for launch in launches], [launch[str(size)][below] for launch in launches]
        )

    def typical_ns(size: int, name: str) -> float:
        return statistics.median(value for launch in launches for value in launch[str(size)][name])

    figures: dict[str, dict[str, Any]] = {
        "overhead": {},
        "adaptive_vs_best": {},
        "recording_cost": {},
        "latency_ns": {},
    }
    for size in SIZES:
        label = format_bytes(size)
        best = min(FIXED, key=lambda name: typical_ns(size, f"channel {name}"))
        figures["overhead"][label] = plain(ratio(size, f"channel {best}", f"bare {best}")) | {"method": best}
        figures["adaptive_vs_best"][label] = plain(ratio(size, ADAPTIVE, f"channel {best}")) | {"best": best}
        figures["recording_cost"][label] = plain(ratio(size, RECORDED, ADAPTIVE))
        names = launches[0][str(size)]
        figures["latency_ns"][label] = {name: round(typical_ns(size, name)) for name in names}
    above, below = (
        [[value for size in SIZES for value in launch[str(size)][name]] for launch in launches]
        for name in (RECORDED, ADAPTIVE)
    )
    figures["recording_cost"]["all"] = plain(ratio_of_launches(above, below))
    return figures


def plain(estimate: Estimate) -> dict[str, Any]:
    """An estimate for JSON."""
    return {
        "value": round(estimate.value, 3),
        "low": round(estimate.low, 3),
        "high": round(estimate.high, 3),
        "n": estimate.n,
        "launches": estimate.launches,
    }


def measure_service(config: str, launches: int) -> dict[str, dict[str, Any]]:
    """What tuning is worth to the example service; prints it."""
    command = [sys.executable, str(COMPARE_SERVICE), "--json", "--config", config, "--launches", str(launches)]
    *shown, figures = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    print("\n".join(["", "The example service:", *shown]))
    service: dict[str, dict[str, Any]] = json.loads(figures)
    return service


def show(figures: dict[str, dict[str, Any]]) -> None:
    """Print a line per size."""
    print("size     method      us     over bare            adaptive/best        recorded/not")
    for label, overhead in figures["overhead"].items():
        micros = figures["latency_ns"][label][f"channel {overhead['method']}"] / 1000
        cells = [
            f"{part['value']:.3f} ({part['low']:.3f}-{part['high']:.3f})"
            for part in (overhead, figures["adaptive_vs_best"][label], figures["recording_cost"][label])
        ]
        print(f"{label:>7}  {overhead['method']:<8} {micros:>9,.1f}  " + "  ".join(cells))


def main() -> None:
    """Measure in fresh launches; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--launches", type=int, default=5, help="fresh pairs of processes (default: 5)")
    parser.add_argument("--rounds", type=int, default=6, help="rounds in each (default: 6)")
    parser.add_argument("--config", default="perfkit.toml", help="whose thresholds decide (default: perfkit.toml)")
    parser.add_argument("--skip-service", action="store_true", help="leave the example service out")
    parser.add_argument("--launch", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        with perfkit.serve(lambda payload: None, arguments.serve):
            print("listening", flush=True)
            sys.stdin.read()
        os._exit(0)  # gRPC's threads would hold a normal exit up
    if arguments.launch is not None:
        print(json.dumps(measure_launch(arguments.config, arguments.rounds, arguments.launch)), flush=True)
        os._exit(0)
    launches = []
    for number in range(arguments.launches):
        command = [sys.executable, __file__, "--launch", str(number), "--rounds", str(arguments.rounds)]
        command += ["--config", arguments.config]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        launches.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"launch {number + 1} of {arguments.launches}", file=sys.stderr)
    figures = summarise(launches)
    show(figures)
    if not arguments.skip_service:
        figures |= measure_service(arguments.config, arguments.launches)
    if arguments.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
