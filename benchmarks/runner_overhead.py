"""What `perfkit run` takes beyond the notebooks' own execution: `python benchmarks/runner_overhead.py --json`.

Method. A notebook with one chart, one figure and one assertion is run by pipelines of one and of three notebooks, in
turns, each time by a fresh `perfkit run` in a fresh folder, with Python's and perfkit's caches warm. The overhead is
the wall clock of that process, from its start to its end, less the notebooks' own seconds: from sending each cell to
the kernel to its last output. So it holds the start of perfkit itself, of the process and the kernel of each notebook,
their ends, the pages, the index and the record. `one` is that of a run with one notebook; `further` is half of what a
run with three adds to the overhead of the run with one before it: what each further notebook costs. Each is given as
the median with the 95 % interval of the median (order statistics), and the range. `cpu` is the processor time of all
processes of a run with one notebook, its cells among them: it tells a busy machine from a slower perfkit.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from math import comb
from pathlib import Path
from typing import Any

CELLS = (
    "points = 3  # how many",
    "import altair\nimport polars\nfrom perfkit.report import prepare_notebook, record\nprepare_notebook()",
    "altair.Chart(polars.DataFrame({'x': [*range(points)]})).mark_point().encode(x='x').properties(description='Dots')",
    "record('points', points, verdict='enough')",
    "assert points == 3",
)
SETTINGS = "[pipelines.one]\nnotebooks = ['a']\n[pipelines.three]\nnotebooks = ['a', 'b', 'c']\n"


def write_notebook(path: Path) -> None:
    """A notebook as people write them, only smaller."""
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "source": "# How many points?", "metadata": {}}]
    for source in CELLS:
        tags = ["parameters"] if source is CELLS[0] else []
        metadata = {"tags": tags}
        cells.append(
            {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], "execution_count": None}
        )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4})
    )


def overhead(pipeline: str) -> tuple[float, float]:
    """Seconds beyond the notebooks' own, and processor seconds of everything, for one run."""
    with tempfile.TemporaryDirectory() as folder:
        for name in "abc":
            write_notebook(Path(folder, "notebooks", f"{name}.ipynb"))
        Path(folder, "perfkit.toml").write_text(SETTINGS)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        command = [sys.executable, "-m", "perfkit", "run", pipeline, "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = Path(json.loads(done.stdout.splitlines()[-1])["report"])
        own = sum(one["own_seconds"] for one in json.loads((report / "run.json").read_text())["notebooks"])
    return seconds - own, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def summarised(seconds: Sequence[float]) -> dict[str, float]:
    """Median, the 95 % interval of the median, and the range."""
    ordered, n = sorted(seconds), len(seconds)
    outside = 0.0  # the probability that the median lies outside the k-th and the k-th but last
    k = 0
    while k < n // 2 and outside + 2 * comb(n, k) / 2**n <= 0.05:
        outside += 2 * comb(n, k) / 2**n
        k += 1
    low, high = (ordered[k - 1], ordered[n - k]) if k else (ordered[0], ordered[-1])
    values = {"median": statistics.median(ordered), "low": low, "high": high, "least": ordered[0], "most": ordered[-1]}
    return {"n": n, **{name: round(value, 3) for name, value in values.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    overhead("one")  # caches
    ones, cpus, further = [], [], []
    for _ in range(options.repeats):
        one, cpu = overhead("one")
        three, _cpu = overhead("three")
        ones.append(one)
        cpus.append(cpu)
        further.append((three - one) / 2)
    result = {name: summarised(values) for name, values in (("one", ones), ("further", further), ("cpu", cpus))}
    load = round(os.getloadavg()[1], 1)
    if options.json:
        print(json.dumps({**result, "load_5min": load, "cores": os.cpu_count()}))
        return
    for name, one in result.items():
        print(
            f"{name:8} n {one['n']}: {one['median']:.2f} s ({one['low']:.2f} to {one['high']:.2f}), "
            f"from {one['least']:.2f} to {one['most']:.2f}"
        )
    print(f"load over five minutes {load} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
