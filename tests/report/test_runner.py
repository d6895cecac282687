"""A pipeline leaves a report, however it ends, and nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfkit.errors import InputError, ReportError, UnknownNameError
from perfkit.report import run_pipeline
from perfkit.report.results import PipelineProgress, read_run

WriteNotebook = Callable[[str, list[str]], Path]

CHART = """\
import altair
import polars
from perfkit.report import prepare_notebook, record
prepare_notebook()
altair.Chart(polars.DataFrame({"x": [1, 2]})).mark_point().encode(x="x").properties(description="Two points.")"""
WAITING = """\
import os, pathlib, time
pathlib.Path("kernel.pid").write_text(str(os.getpid()))
time.sleep(600)"""
RUN_IT = "import sys; from perfkit.report import run_pipeline; run_pipeline('tune')"


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


def test_a_pipeline_that_succeeds_and_then_one_that_fails(write_notebook: WriteNotebook, in_project: Path) -> None:
    write_notebook("10_benchmark", ["print('preset', preset, launches + 1, lake_path)", CHART])
    write_notebook("20_analysis", [])
    write_notebook("30_tune", ["record = __import__('perfkit.report').report.record", "record('published version', 7)"])
    seen: list[PipelineProgress] = []
    good = run_pipeline("quick", {"launches": "5"}, progress=seen.append)

    assert good.status == "complete"
    assert {one.name: one.status for one in good.notebooks} == dict.fromkeys(
        ("10_benchmark", "20_analysis", "30_tune"), "complete"
    )
    assert good.published_version == 7
    assert good.thresholds_path == in_project / "thresholds.toml"
    assert (in_project / "reports" / "latest").resolve() == good.report_path
    assert not list(good.report_path.glob("*.log"))
    assert seen[0].label.startswith("10_benchmark")
    assert seen[-1].done == seen[-1].total == 3
    assert read_run(good.report_path) == good
    kept = json.loads((good.report_path / "run.json").read_text())
    assert (kept["report_path"], kept["thresholds_path"]) == (".", "../../thresholds.toml")
    assert str(in_project) not in json.dumps(kept)
    assert json.loads(json.dumps(good.to_plain()))["status"] == "complete"
    page = (good.report_path / "10_benchmark.html").read_text()
    assert "preset quick 6 ../data/lake" in page
    assert "mark_point" not in page.split("</style>")[1].split("<script")[0]  # code is hidden
    assert page.count("window.vegaEmbed=") == 1
    assert "Two points." in page

    write_notebook("10_benchmark", ["print('so far')", "1 / 0", "print('never')"])
    bad = run_pipeline("quick")
    assert bad.status == "failed"
    assert [one.status for one in bad.notebooks] == ["failed", "not run", "not run"]
    assert bad.notebooks[0].error == "ZeroDivisionError: division by zero"
    page = (bad.report_path / "10_benchmark.html").read_text()
    assert "so far" in page
    assert "Traceback" in page
    assert "This notebook did not complete" in page
    assert "An Exception was encountered" not in page  # papermill's own marker
    assert (in_project / "reports" / "latest").resolve() == good.report_path
    index = (in_project / "reports" / "index.html").read_text()
    assert index.index(bad.run_id) < index.index(good.run_id)
    assert "ZeroDivisionError" in index
    assert "published version" in index


@pytest.mark.parametrize(
    ("pipeline", "parameters", "error", "said"),
    [
        ("quik", {}, UnknownNameError, "Did you mean 'quick'"),
        ("quick", {"preset_": "full"}, UnknownNameError, "Did you mean 'preset'"),
        ("quick", {"launches": "many"}, InputError, "launches.*int"),
        ("quick", {"dry_run": "perhaps"}, InputError, "dry_run.*bool"),
    ],
)
def test_wrong_input_is_refused_before_anything_starts(
    write_notebook: WriteNotebook,
    in_project: Path,
    pipeline: str,
    parameters: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    for name in ("10_benchmark", "20_analysis", "30_tune"):
        write_notebook(name, [])
    with pytest.raises(error, match=said):
        run_pipeline(pipeline, parameters)
    assert not (in_project / "reports").exists()


def test_a_missing_notebook_says_where_to_run(in_project: Path) -> None:
    with pytest.raises(InputError, match=re.escape("notebooks/30_tune.ipynb does not exist")):
        run_pipeline("tune")


def test_a_reports_folder_that_cannot_be_made_says_so(write_notebook: WriteNotebook, in_project: Path) -> None:
    write_notebook("30_tune", [])
    (in_project / "reports").write_text("a file")
    with pytest.raises(ReportError, match="cannot be made"):
        run_pipeline("tune")


def test_a_notebook_that_takes_too_long_is_stopped(
    write_notebook: WriteNotebook, in_project: Path, wait_until: Callable[..., None]
) -> None:
    write_notebook("30_tune", [WAITING])
    result = run_pipeline("tune", timeout_s=0.1)
    assert result.status == "timed out"
    assert result.notebooks[0].error == "stopped after 0.1 s"
    assert "stopped after 0.1 s" in (result.report_path / "30_tune.html").read_text()
    marker = in_project / "notebooks" / "kernel.pid"
    if marker.exists():
        wait_until(lambda: not is_alive(int(marker.read_text())))


def test_a_kernel_that_dies_is_a_failure_with_a_page(write_notebook: WriteNotebook, in_project: Path) -> None:
    write_notebook("30_tune", ["print('so far')", "import os; os._exit(3)"])
    result = run_pipeline("tune")
    assert result.status == "failed"
    assert "kernel died" in result.notebooks[0].error
    assert "so far" in (result.report_path / "30_tune.html").read_text()


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
    os.kill(runner.pid, how)
    assert runner.wait(timeout=60) != 0
    wait_until(lambda: not is_alive(kernel))
    (folder,) = (path.parent for path in (in_project / "reports").glob("*/run.json"))
    status = read_run(folder).status
    if how == signal.SIGINT:
        assert status == "interrupted"
        assert "so far" in (folder / "30_tune.html").read_text()
        assert "interrupted" in (in_project / "reports" / "index.html").read_text()
    else:
        assert status == "running"  # nobody was left to say otherwise
