"""A pipeline leaves a report, however it ends, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit.errors import ReportError
from perfkit.report import run_pipeline
from perfkit.report.results import PipelineProgress, read_run
from perfkit.report.running.locks import is_under_way

WriteNotebook = Callable[[str, list[str]], Path]

CHART = """\
import altair
import polars
from perfkit.report import prepare_notebook
prepare_notebook()
altair.Chart(polars.DataFrame({"x": [1, 2]})).mark_point().encode(x="x").properties(description="Two points.")"""
FAILS_ONCE = """\
import pathlib
from perfkit.report import record
is_second = pathlib.Path("tried").exists()
pathlib.Path("tried").touch()
record("published version", 7)
assert is_second, "the first time\""""
WAITING = """\
import os, pathlib, time
pathlib.Path("kernel.pid").write_text(str(os.getpid()))
time.sleep(600)"""
PIPELINES = """\
[pipelines.small]
notebooks = ["10_benchmark", "30_tune"]
parameters = { preset = "quick", lake_path = "data/lake" }
retries = 1
[pipelines.brittle]
notebooks = ["10_benchmark", "20_analysis"]
grid = { launches = [0] }
"""
RUN_IT = "import sys; from perfkit.report import run_pipeline; run_pipeline('tune')"
WAIT_FOR_IT = "import sys; from perfkit.cli import main; sys.exit(main(['run', 'tune', '--wait', '1h']))"


def is_alive(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie has left; its parent has not looked yet


@pytest.fixture
def in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_pipeline_that_succeeds_at_the_second_attempt_and_then_one_that_fails(
    write_notebook: WriteNotebook, in_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_project / "perfkit.toml").write_text(PIPELINES)
    write_notebook("10_benchmark", ["print('preset', preset, launches + 1, lake_path)", CHART, "assert 1"])
    write_notebook("20_analysis", [])
    write_notebook("30_tune", [FAILS_ONCE])
    seen: list[PipelineProgress] = []
    monkeypatch.setenv("PERFKIT_STARTED_BY", "schedule")
    good = run_pipeline("small", {"launches": "5"}, progress=seen.append)

    assert good.status == "complete"
    first, second = good.notebooks
    assert (first.name, first.status, first.attempts) == ("10_benchmark", "complete", 1)
    assert (second.name, second.status, second.attempts) == ("30_tune", "complete", 2)
    assert second.notes == ("attempt 1 failed: AssertionError: the first time",)
    assert first.notes == ("it recorded no figure: nothing can be compared with other runs",)
    assert "the first time" in (good.report_path / "30_tune.attempt-1.ipynb").read_text()
    assert 0 < first.own_seconds < first.seconds
    assert first.peak_memory_bytes is not None
    assert first.peak_memory_bytes > 2**24
    assert good.published_version == 7
    assert good.thresholds_path == in_project / "thresholds.toml"
    assert good.started_by == "schedule"
    assert {"python", "perfkit", "polars", "duckdb"} <= set(good.installed)
    assert (in_project / "reports" / "latest").resolve() == good.report_path
    assert not list(good.report_path.glob("*_*[!1].log"))
    assert not list(good.report_path.glob(".*"))
    assert seen[0].label.startswith("10_benchmark")
    assert any("attempt 2" in one.label for one in seen)
    assert seen[-1].done == seen[-1].total == 2
    assert read_run(good.report_path) == good
    kept = json.loads((good.report_path / "run.json").read_text())
    assert (kept["report_path"], kept["thresholds_path"]) == (".", "../../thresholds.toml")
    assert str(in_project) not in json.dumps(kept) + (good.report_path / "10_benchmark.ipynb").read_text()
    page = (good.report_path / "10_benchmark.html").read_text()
    assert "preset quick 6 ../data/lake" in page
    assert "mark_point" not in page.split("</style>")[1].split("<script")[0]  # code is hidden
    assert page.count("window.vegaEmbed=") == 1
    assert "Two points." in page

    write_notebook("10_benchmark", ["print('so far')", "1 / launches", "assert 1"])
    bad = run_pipeline("brittle")
    assert bad.status == "failed"
    assert [(one.title, one.status) for one in bad.notebooks] == [
        ("10_benchmark (launches = 0)", "failed"),
        ("20_analysis (launches = 0)", "not run"),
    ]
    assert bad.notebooks[0].error == "ZeroDivisionError: division by zero"
    assert "left out" in str(bad)
    assert "20_analysis (launches = 0)" in str(bad)
    page = (bad.report_path / "10_benchmark--launches-0.html").read_text()
    assert "so far" in page
    assert "Traceback" in page
    assert "An Exception was encountered" not in page  # papermill's own marker
    assert (in_project / "reports" / "latest").resolve() == good.report_path
    index = (in_project / "reports" / "index.html").read_text()
    assert bad.run_id in index
    assert good.run_id in index
    assert "ZeroDivisionError" in index
    assert "published version" in index


def test_a_reports_folder_that_cannot_be_made_says_so(write_notebook: WriteNotebook, in_project: Path) -> None:
    write_notebook("30_tune", [])
    (in_project / "reports").write_text("a file")
    with pytest.raises(ReportError, match="reports cannot be written to"):
        run_pipeline("tune")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_no_process_outlives_its_runner(
    write_notebook: WriteNotebook, in_project: Path, how: signal.Signals, wait_until: Callable[..., None]
) -> None:
    write_notebook("30_tune", ["print('so far')", WAITING])
    marker = in_project / "notebooks" / "kernel.pid"
    # A shell starts what it puts into the background with SIGINT ignored: that must not keep anything alive.
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); " if how == signal.SIGKILL else ""
    runner = subprocess.Popen([sys.executable, "-c", ignored + RUN_IT], stderr=subprocess.DEVNULL)
    wait_until(lambda: marker.exists() and marker.read_text() != "")
    kernel = int(marker.read_text())
    (folder,) = (path.parent for path in (in_project / "reports").glob("*/run.json"))
    assert is_under_way(folder)
    if how == signal.SIGINT:
        _refuse_and_then_interrupt_a_second_run(in_project, folder, runner.pid)
    os.kill(runner.pid, how)
    assert runner.wait(timeout=60) != 0
    wait_until(lambda: not is_alive(kernel))
    assert not is_under_way(folder)
    status = read_run(folder).status
    if how == signal.SIGINT:
        assert status == "interrupted"
        assert "so far" in (folder / "30_tune.html").read_text()
        assert "interrupted" in (in_project / "reports" / "index.html").read_text()
    else:
        assert status == "running"  # nobody was left to say otherwise; the site calls it lost


def _refuse_and_then_interrupt_a_second_run(in_project: Path, first: Path, process_id: int) -> None:
    with pytest.raises(ReportError, match=rf"in use by pipeline tune \(run {first.name}, process {process_id}"):
        run_pipeline("tune")
    waiting = subprocess.Popen([sys.executable, "-c", WAIT_FOR_IT], stderr=subprocess.PIPE, text=True)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(2)
    waiting.send_signal(signal.SIGTERM)
    said = waiting.communicate(timeout=30)[1]
    assert waiting.returncode == 130
    assert "interrupted" in said
    assert len(list((in_project / "reports").glob("*/run.json"))) == 1
