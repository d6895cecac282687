"""How long somebody waits in JupyterLab for the first chart: `python benchmarks/lab_first_chart.py --json`.

Method. A smoke run is measured into a fresh project with the committed notebooks, and `perfkit lab` serves it. Chromium
opens `20_analysis`; when its kernel is idle, Run All Cells is chosen. `--rounds` times, each with a fresh kernel:

* `opened`: from the address to a kernel that is idle, JupyterLab's own start included;
* `first_chart`: from Run All Cells to the first chart that is drawn: imports, reading the lake, the analysis, drawing.

The first round also fills the caches of Python, Chromium and the drawing library. Needs Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import perfkit

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
ERROR = "[data-mime-type='application/vnd.jupyter.error']"
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"


@contextlib.contextmanager
def lab(project: Path) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("perfkit")), "lab", "--no-browser", "--json", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield str(json.loads(server.stdout.readline())["url"])
        finally:
            server.send_signal(signal.SIGINT)


def one_round(browser: Any, url: str) -> dict[str, float]:
    address, _, token = url.partition("?token=")
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(120_000)
    started = time.perf_counter()
    page.goto(f"{address}/tree/notebooks/20_analysis.ipynb?token={token}&reset")
    page.locator(f"{PANEL} .jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    opened = time.perf_counter()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    asked = time.perf_counter()
    page.locator(f"{PANEL} [data-drawn]").or_(page.locator(ERROR)).first.wait_for(state="attached")
    drawn = time.perf_counter()
    assert page.locator(ERROR).all_inner_texts() == []
    server, headers = address.removesuffix("/lab"), {"Authorization": f"token {token}"}
    for session in page.request.get(f"{server}/api/sessions", headers=headers).json():
        page.request.delete(f"{server}/api/sessions/{session['id']}", headers=headers)
    page.close()
    return {"opened_s": opened - started, "first_chart_s": drawn - asked}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        project = Path(folder)
        shutil.copytree(NOTEBOOKS, project / "notebooks")
        perfkit.bench(preset="smoke", lake=str(project / "data" / "lake"))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(SWITCHES))
        with lab(project) as url:
            rounds = []
            for _ in range(given.rounds):
                shutil.copytree(NOTEBOOKS, project / "notebooks", dirs_exist_ok=True)  # JupyterLab may have saved it
                rounds.append(one_round(browser, url))
        browser.close()
    figures = {
        name: {"median": statistics.median(values), "low": min(values), "high": max(values), "n": len(values)}
        for name in ("opened_s", "first_chart_s")
        for values in [[one[name] for one in rounds]]
    }
    if given.json:
        print(json.dumps({**figures, "load_average": os.getloadavg()[0], "cores": os.cpu_count()}))
        return
    for name, figure in figures.items():
        print(f"{name}: {figure['median']:.1f} ({figure['low']:.1f} to {figure['high']:.1f}, n = {figure['n']})")


if __name__ == "__main__":
    main()
