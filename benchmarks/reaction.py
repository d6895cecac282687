"""How fast the engine reacts to the host and to its files: `python benchmarks/reaction.py --json`.

Method. An engine with curves, rules, three pools and four codecs in use runs with its thread, its sampler and a real
journal; beside it, one thread decides at full speed, which is the hardest neighbour for a thread of the same
interpreter. The sampler reads a `/proc` of the benchmark's own, whose counters of processor time and memory a further
process writes every 20 ms, as the kernel would; arenas are asked through `Engine.watch_arena`. At a moment somewhere
between two looks, the host becomes short of something, until decisions name that state (`up_s`), and then is as before,
until they are again those of `normal` (`down_s`).

The engine has had 5 s to get ready, as long as it takes beside such a neighbour.

* `states`: of each state, seconds up and down: `--rounds` of each, all of them; `worst_reaction_s` is the worst.
* `reload_s`: worst of 20 times from a changed `perfkit.toml` being in place to a decision that follows it;
  `reload_median_s` beside it.
* `decide_p999_ns_during`: 99.9th percentile of single decisions while all of this happens, minus that of an empty call
  which takes turns with them; `decide_p50_ns_during` beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import decide as deciding

from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine import Engine
from perfkit.engine.resources import Reader, ResourceMonitor

ROUNDS = 5
RELOADS = 20
LONGEST_S = 10.0
LONGEST_NS = 10**6
WARM_UP_S = 5.0
LOADS = {"cpu_pressure": "0.97 0.2", "memory_pressure": "0.1 0.97", "arena_low": "", "arena_exhausted": ""}
QUIET = "0.1 0.2"
SHARE_OF_ARENA = {"arena_low": 0.88, "arena_exhausted": 0.99}
KERNEL = """
import pathlib, sys, time
root, load = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]) / "load"
busy = idle = 0.0
then = time.monotonic()
def write(path, text):
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)
while root.exists():
    cpu, memory = map(float, load.read_text().split())
    now = time.monotonic()
    busy, idle, then = busy + 200 * cpu * (now - then), idle + 200 * (1 - cpu) * (now - then), now
    rows = "".join(f"cpu{n} {int(busy / k)} 0 0 {int(idle / k)} 0 0 0 0 0 0\\n" for n, k in (("", 1), (0, 2), (1, 2)))
    write(root / "proc" / "stat", rows)
    total = 16 * 2**20
    write(root / "proc" / "meminfo", f"MemTotal: {total} kB\\nMemAvailable: {int(total * (1 - memory))} kB\\n")
    time.sleep(0.02)
"""


class Host:
    """Files that a process writes as a kernel would, and an arena."""

    def __init__(self, root: Path) -> None:
        self.root, self.arena_share = root, 0.1
        (root / "proc" / "self").mkdir(parents=True)
        self.load(QUIET)
        self._kernel = subprocess.Popen([sys.executable, "-c", KERNEL, str(root)])
        wait_until(lambda: (root / "proc" / "meminfo").exists())

    def load(self, shares: str) -> None:
        """Processor and memory in use from now on."""
        (self.root / "load.new").write_text(shares)
        (self.root / "load.new").replace(self.root / "load")

    def enter(self, state: str) -> None:
        """Become short of something."""
        if state in SHARE_OF_ARENA:
            self.arena_share = SHARE_OF_ARENA[state]
        else:
            self.load(LOADS[state])

    def leave(self) -> None:
        """Have everything again."""
        self.arena_share = 0.1
        self.load(QUIET)

    def arena(self) -> tuple[int, int]:
        """Bytes in use and capacity."""
        return int(self.arena_share * 2**30), 2**30

    def close(self) -> None:
        """End the process."""
        self._kernel.kill()
        self._kernel.wait()


class Traffic:
    """A thread that decides at full speed, every call timed."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._done = engine, threading.Event()
        # How many calls took so many nanoseconds: millions of samples would push everything else out of the caches.
        self.decided, self.empty = (array("q", bytes(8 * (LONGEST_NS + 1))) for _ in range(2))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        now, nothing = time.perf_counter_ns, deciding.Empty()
        sizes = deciding.make_sizes(3)
        contexts = [(pool, *codec) for pool, codec in itertools.product(deciding.POOLS, deciding.CODECS)]
        for size, (pool, kind, name) in zip(itertools.cycle(sizes), itertools.cycle(contexts), strict=False):
            if self._done.is_set():
                return
            started = now()
            nothing.decide(size, pool=pool, kind=kind, format=name)
            self.empty[min(now() - started, LONGEST_NS)] += 1
            started = now()
            self._engine.decide(size, pool=pool, kind=kind, format=name)
            self.decided[min(now() - started, LONGEST_NS)] += 1

    def stop(self) -> None:
        """End it."""
        self._done.set()
        self._thread.join()


def taken_ns(counts: array[int], share: float) -> int:
    """The time that at least this share of the calls did not exceed, by how many took each."""
    wanted = share * sum(counts)
    return next(ns for ns, so_far in enumerate(itertools.accumulate(counts)) if so_far >= wanted)


def wait_until(condition: Callable[[], bool]) -> float:
    """Seconds until a condition holds."""
    began = time.perf_counter()
    while not condition():
        if time.perf_counter() - began > LONGEST_S:
            raise SystemExit(f"it did not happen within {LONGEST_S} s")
        time.sleep(0.005)
    return time.perf_counter() - began


def measure_state(engine: Engine, host: Host, state: str, chance: random.Random) -> tuple[float, float]:
    """Seconds until decisions follow a state, and until they are normal again."""
    time.sleep(chance.uniform(0.6, 0.85))  # no moment between two looks is like another
    host.enter(state)
    up_s = wait_until(lambda: engine.decide(1000).state == state)
    time.sleep(chance.uniform(0.6, 0.85))
    host.leave()
    return up_s, wait_until(lambda: engine.decide(1000).state == "normal")


def measure_reload(engine: Engine, folder: Path, margin: float, chance: random.Random) -> float:
    """Seconds from a changed file to a decision by it."""
    time.sleep(chance.uniform(0.2, 0.45))
    deciding.write_settings(folder, deciding.FULL.format(margin=margin))
    return wait_until(lambda: engine.decide(1000, pool="ml").cell.pool.margin == margin)


def measure(rounds: int, reloads: int) -> dict[str, Any]:
    """All figures."""
    chance = random.Random(6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = Host(folder / "host")
        deciding.write_settings(folder, deciding.FULL.format(margin=0.01))
        deciding.put(folder / "thresholds.toml", 1, deciding.make_curves())
        with Engine.load(folder / "perfkit.toml", background=False) as engine:
            engine._control.feedback.monitor = ResourceMonitor(ResourceSettings(), Reader(host.root))
            engine.watch_arena(host.arena)
            engine.watch()
            traffic = Traffic(engine)
            states: dict[str, dict[str, list[float]]] = {state: {"up_s": [], "down_s": []} for state in LOADS}
            time.sleep(WARM_UP_S)
            try:
                for state in [*LOADS] * rounds:
                    up_s, down_s = measure_state(engine, host, state, chance)
                    states[state]["up_s"].append(round(up_s, 3))
                    states[state]["down_s"].append(round(down_s, 3))
                changes = [measure_reload(engine, folder, 0.02 + n / 1000, chance) for n in range(reloads)]
            finally:
                traffic.stop()
                host.close()
            errors = engine.health().errors
    return {
        "worst_reaction_s": max(max(one["up_s"] + one["down_s"]) for one in states.values()),
        "reload_s": round(max(changes), 3),
        "reload_median_s": round(statistics.median(changes), 3),
        "decide_p999_ns_during": taken_ns(traffic.decided, 0.999) - taken_ns(traffic.empty, 0.999),
        "decide_p50_ns_during": taken_ns(traffic.decided, 0.5) - taken_ns(traffic.empty, 0.5),
        "decisions": sum(traffic.decided),
        "rounds": rounds,
        "reloads": reloads,
        "errors": errors,
        "states": states,
    }


def main() -> None:
    """Print the figures; with ``--json`` the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each state (default: {ROUNDS})")
    parser.add_argument("--reloads", type=int, default=RELOADS, help=f"changes of the file (default: {RELOADS})")
    arguments = parser.parse_args()
    found = measure(arguments.rounds, arguments.reloads)
    if arguments.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
