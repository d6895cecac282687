"""`perfkit run`: what it refuses, what it prints, its exit codes."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

import perfkit.report.running.runner as runner
from perfkit.errors import ReportError
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.running.locks import hold_reports

ROOT = Path(__file__).parents[2]
RESULT = PipelineResult(
    run_id="20261120T120000Z-ab12",
    pipeline="quick",
    status="complete",
    started_at="2026-11-20T12:00:00+00:00",
    seconds=93.4,
    report_path=Path("reports/20261120T120000Z-ab12"),
    thresholds_path=Path("thresholds.toml"),
    published_version=3,
    parameters={},
    git_revision="",
    notebooks=(NotebookResult("10_benchmark", "complete", 60.0), NotebookResult("30_tune", "complete", 30.0)),
)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the runner was called with; it returns `RESULT` without running anything."""
    made: list[tuple[Any, ...]] = []

    def run_pipeline(name: str | None, parameters: Any, *, progress: Any, **options: Any) -> PipelineResult:
        given = {option: value for option, value in options.items() if value}
        made.append((name, parameters, given))
        return RESULT

    monkeypatch.setattr(runner, "run_pipeline", run_pipeline)
    return made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("-p", "preset"), "name=value"),
        (("-p", "=quick"), "name=value"),
        (("-p", "presett=quick"), "Did you mean 'preset'?"),
        (("nightly",), "allowed: default"),
        (("tune", "--as-of", "nowhere"), "nowhere is no report: run.json cannot be read"),
        (("--again", "nowhere"), "nowhere is no report: run.json cannot be read"),
        (("--again", "nowhere", "--as-of", "nowhere"), "exclude each other"),
        (("--wait", "soon"), "duration 'soon' cannot be read"),
        (("--settings", "nowhere.toml"), "there is no such file"),
    ],
)
def test_wrong_input_is_named_before_anything_runs(perfkit, arguments: tuple[str, ...], expected: str) -> None:
    shutil.copytree(ROOT / "notebooks", "notebooks")
    outcome = perfkit("run", *arguments)
    assert outcome.exit_code == 2
    assert expected in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not Path("reports").exists()


def test_outside_of_a_clone_the_missing_notebook_is_named(perfkit) -> None:
    outcome = perfkit("run")
    assert outcome.exit_code == 2
    assert "10_benchmark" in outcome.stderr


def test_the_pipeline_and_its_parameters_reach_the_runner(perfkit, calls) -> None:
    assert perfkit("run", "quick", "-p", "preset=smoke", "-p", "sizes=1KiB,1MiB").exit_code == 0
    assert perfkit("run", "tune", "--as-of", "reports/latest").exit_code == 0
    assert perfkit("run", "--again", "reports/latest", "--wait", "1h").exit_code == 0
    settings, latest = Path("perfkit.toml"), Path("reports/latest")
    assert calls == [
        ("quick", {"preset": "smoke", "sizes": "1KiB,1MiB"}, {"settings": settings}),
        ("tune", {}, {"settings": settings, "as_of": latest}),
        (None, {}, {"settings": settings, "again": latest, "wait_s": 3600.0}),
    ]


def test_the_last_line_of_json_says_where_everything_is(perfkit, calls) -> None:
    said = perfkit("run", "--json").json()
    assert list(said.items())[:6] == [
        ("run", "20261120T120000Z-ab12"),
        ("report", "reports/20261120T120000Z-ab12"),
        ("thresholds", "thresholds.toml"),
        ("published", 3),
        ("seconds", 93.4),
        ("status", "complete"),
    ]
    assert [(one["notebook"], one["status"]) for one in said["notebooks"]] == [
        ("10_benchmark", "complete"),
        ("30_tune", "complete"),
    ]


def test_a_refusal_is_said_and_fails_nothing(perfkit, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = dataclasses.replace(RESULT, published_version=None, not_published="refused (launches)")
    monkeypatch.setattr(runner, "run_pipeline", lambda *arguments, **options: refused)
    outcome = perfkit("run")
    assert outcome.exit_code == 0
    assert "not published: refused (launches)" in outcome.stdout


def test_a_failed_notebook_fails_the_command_and_says_what_was_left_out(
    perfkit, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebooks = (
        NotebookResult("10_benchmark", "failed", 60.0, "ValueError: no", attempts=2, notes=("attempt 1 failed: no",)),
        NotebookResult("30_tune", "not run", point={"goal": "latency"}),
    )
    failed = dataclasses.replace(RESULT, status="failed", published_version=None, notebooks=notebooks, notes=("oh",))
    monkeypatch.setattr(runner, "run_pipeline", lambda *arguments, **options: failed)
    outcome = perfkit("run")
    assert outcome.exit_code == 1
    for expected in ("failed", "ValueError: no", "left out, because what comes before failed: 30_tune (goal", "oh"):
        assert expected in outcome.stdout
    outcome = perfkit("run", "--json")
    assert outcome.exit_code == 1
    said = outcome.json()
    assert (said["left_out"], said["notes"]) == (["30_tune (goal = latency)"], ["oh"])
    assert [(one["status"], one["attempts"]) for one in said["notebooks"]] == [("failed", 2), ("not run", 0)]


def test_a_report_that_cannot_be_written_is_one_line(perfkit, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise ReportError("the disk is full; free space and run again")

    monkeypatch.setattr(runner, "run_pipeline", fail)
    outcome = perfkit("run")
    assert (outcome.exit_code, outcome.stderr) == (1, "perfkit: the disk is full; free space and run again\n")


def test_ctrl_c_while_waiting_speaks_of_no_report_that_is_not_there(perfkit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    shutil.copytree(ROOT / "notebooks", "notebooks")
    monkeypatch.setattr("perfkit.report.running.locks.time.sleep", interrupt)
    with hold_reports(Path("reports"), "nightly"):
        outcome = perfkit("run", "analyse", "--wait", "1h")
    assert outcome.exit_code == 130
    assert "a report that was begun shows how far it came" in outcome.stderr
    assert [path.name for path in Path("reports").iterdir()] == [".lock"]


def test_ctrl_c_says_what_is_kept(perfkit, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_pipeline", interrupt)
    outcome = perfkit("run")
    assert outcome.exit_code == 130
    assert "kept" in outcome.stderr
