"""How long the index of a thousand runs takes: `python benchmarks/report_index.py --json`.

Method. A folder with a thousand runs of four pipelines is made: three notebooks each, ten figures a notebook, one run
in twenty failed; one pipeline has a schedule. `first` writes the whole site, pages of all runs among them: what an
upgrade costs once. `again` brings it up to date after one more run, as every step of a run does. Each is done in a
fresh process, from the call of `write_site` on. `open` is from the call until the load event and two frames later, in
Chromium with a fresh context each time. Median and range of `--repeats`. On a busy machine
the seconds of the processor (`cpu`) say what the others would be.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from perfkit.report.notebook.records import Record
from perfkit.report.results import NotebookResult, PipelineResult, write_run

RUNS = 1_000
FAILED_SHARE = 0.05
PIPELINES = ("nightly", "quick", "tune", "analyse")
NOTEBOOKS = ("10_benchmark", "20_analysis", "30_tune")
FIGURES = 10
SETTINGS = '[pipelines.nightly]\nnotebooks = ["10_benchmark"]\nschedule = "0 3 * * *"\n'
WRITE = """
import json, sys, time
from pathlib import Path
from perfkit.report.site.writing import write_site
began, cpu_began = time.perf_counter(), time.process_time()
pages = write_site(Path(sys.argv[1]))
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu_began, pages]))
"""
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
SETTLED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def make_run(folder: Path, number: int, started: datetime.datetime, chance: random.Random) -> None:
    """One run with its record, and an empty page for each notebook."""
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{number:04x}"
    fails_at = chance.randrange(len(NOTEBOOKS)) if chance.random() < FAILED_SHARE else len(NOTEBOOKS)
    notebooks = []
    for index, name in enumerate(NOTEBOOKS):
        if index > fails_at:
            notebooks.append(NotebookResult(name, "not run"))
        elif index == fails_at:
            error = "AssertionError: the run ended as interrupted\nmore of it"
            notebooks.append(NotebookResult(name, "failed", 12.5, error, attempts=1))
        else:
            records = tuple(make_record(index, figure, number, chance) for figure in range(FIGURES))
            notebooks.append(NotebookResult(name, "complete", 61.5, "", records, {"transfers": number}, attempts=1))
    status = "failed" if fails_at < len(NOTEBOOKS) else "complete"
    run = PipelineResult(
        run_id=run_id,
        pipeline=PIPELINES[number % len(PIPELINES)],
        status=status,
        started_at=started.isoformat(timespec="seconds"),
        seconds=184.5,
        report_path=folder / run_id,
        thresholds_path=folder.parent / "thresholds.toml",
        published_version=None,
        parameters={"preset": "quick", "lake_path": "data/lake"},
        git_revision="abc1234",
        notebooks=tuple(notebooks),
        installed={"perfkit": "0.1.0", "Python": "3.11"},
        started_by="schedule" if number % len(PIPELINES) == 0 else "person",
        fingerprint={"kernel": "6.18", "cpu": "EPYC"},
    )
    run.report_path.mkdir()
    write_run(run)
    for notebook in notebooks[: fails_at + 1]:
        (run.report_path / f"{notebook.name}.html").write_text("<title>A page</title>")


def make_record(notebook: int, figure: int, number: int, chance: random.Random) -> Record:
    """A figure that drifts with the number of its run."""
    value = 1000.0 * (figure + 1) * chance.lognormvariate(0, 0.05) * (1 + number / RUNS / 5)
    name = f"median at {2 ** (figure + 10)} B, {NOTEBOOKS[notebook]}"
    if figure % 3 == 2:
        return Record(name, round(value))
    return Record(name, value, value * 0.95, value * 1.05, "ns", "within its band")


def measure_opening(page: Path, repeats: int) -> list[float]:
    """Seconds until the page is loaded and painted."""
    from playwright.sync_api import sync_playwright

    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(SWITCHES))
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
            opened = context.new_page()
            began = time.perf_counter()
            opened.goto(page.as_uri(), wait_until="load")
            opened.evaluate(SETTLED)
            taken.append(time.perf_counter() - began)
            context.close()
        browser.close()
    return taken


def write_site(folder: Path) -> tuple[float, float, int]:
    """Seconds in a fresh process, those of its processor, and how many pages of runs it wrote."""
    told = subprocess.run([sys.executable, "-c", WRITE, str(folder)], capture_output=True, text=True, check=True)
    seconds, cpu_seconds, pages = json.loads(told.stdout)
    return seconds, cpu_seconds, pages


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=7)
    arguments.add_argument("--keep", type=Path, help="make the folder here, and leave it for looking at")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        project = given.keep or Path(temporary)
        folder = project / "reports"
        folder.mkdir(parents=True)
        (project / "perfkit.toml").write_text(SETTINGS)
        chance, now = random.Random(7), datetime.datetime.now(datetime.UTC)
        for number in range(RUNS + given.repeats):
            if number == RUNS:
                first, first_cpu, pages = write_site(folder)
                again = []
            started = now - datetime.timedelta(hours=6) * (RUNS + given.repeats - number)
            make_run(folder, number, started, chance)
            if number >= RUNS:
                again.append(write_site(folder))
        index = folder / "index.html"
        opening = measure_opening(index, given.repeats)
        result = {
            "runs": RUNS,
            "first_s": round(first, 3),
            "first_cpu_s": round(first_cpu, 3),
            "first_pages": pages,
            "again_s": spread([seconds for seconds, _, _ in again]),
            "again_cpu_s": spread([cpu_seconds for _, cpu_seconds, _ in again]),
            "again_pages": [pages for _, _, pages in again],
            "open_s": spread(opening),
            "index_bytes": index.stat().st_size,
            "n": given.repeats,
        }
    print(json.dumps(result) if given.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {
        "median": round(statistics.median(seconds), 3),
        "least": round(min(seconds), 3),
        "most": round(max(seconds), 3),
    }


if __name__ == "__main__":
    main()
