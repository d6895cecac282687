"""The site lists every run, whatever state it is in, and says how each report stands."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import pytest

from perfkit.report.notebook.records import Record
from perfkit.report.results import RUN_FILE, NotebookResult, PipelineResult, write_run
from perfkit.report.running.locks import hold_run
from perfkit.report.site.runs import read_runs
from perfkit.report.site.standing import standings
from perfkit.report.site.writing import write_site

NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)


def keep_run(
    folder: Path, run_id: str, status: str, *, name: str = "", error: str = "", **facts: Any
) -> PipelineResult:
    record = Record("edge", 98_304.0 + 4_096 * len(list(folder.iterdir())), 90_000, 120_000, "bytes")
    plain: dict[str, Any] = {
        "pipeline": "quick",
        "started_at": "2026-11-20T10:04:00+00:00",
        "notebooks": (NotebookResult("10_benchmark", status, 61.5, error, (record,)),),
        **facts,
    }
    run = PipelineResult(
        run_id=run_id,
        status=status,
        seconds=61.5,
        report_path=folder / (name or run_id),
        thresholds_path=folder / "thresholds.toml",
        published_version=None,
        parameters={},
        git_revision="abc1234",
        **plain,
    )
    run.report_path.mkdir()
    write_run(run)
    return run


def days_ago(days: float) -> str:
    return (NOW - datetime.timedelta(days=days)).isoformat(timespec="seconds")


def index_of(folder: Path) -> str:
    write_site(folder, NOW)
    return (folder / "index.html").read_text()


def test_without_a_run_it_says_how_to_get_one(tmp_path: Path) -> None:
    assert "perfkit run" in index_of(tmp_path)


def test_runs_are_newest_first_with_their_figures_and_failures(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete", started_at=days_ago(3))
    keep_run(tmp_path, "20260102", "complete", started_at=days_ago(2))
    keep_run(tmp_path, "20260103", "failed", error="ValueError: <broken>\nand more", started_at=days_ago(1))
    text = index_of(tmp_path)
    table = text[text.index("<tbody>") :]
    assert table.index("20260103") < table.index("20260102") < table.index("20260101")
    assert 'href="20260101/index.html"' in text
    assert "10_benchmark: ValueError: &lt;broken&gt;</td>" in text
    assert "edge over 2 runs: first 96KiB, last 100KiB" in text
    assert "61.5s" in text


def test_latest_and_copies_are_not_listed_again(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete")
    keep_run(tmp_path, "20260103", "complete", name="sample")
    (tmp_path / "latest").symlink_to("20260101")
    text = index_of(tmp_path)
    assert text.count("<tr data-status") == 1
    assert "20260103" not in text


def test_a_damaged_run_is_named_and_hides_no_other(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete")
    (tmp_path / "20260102").mkdir()
    (tmp_path / "20260102" / RUN_FILE).write_text("{")
    text = index_of(tmp_path)
    assert "20260101/index.html" in text
    assert "Not readable:</strong> 20260102" in text


def test_a_run_whose_process_is_gone_is_lost_and_counts_as_a_failure(tmp_path: Path) -> None:
    running = keep_run(tmp_path, "20260101", "running", notebooks=())
    with hold_run(running.report_path):
        assert [one.run.status for one in read_runs(tmp_path, NOW)[0]] == ["running"]
    (lost,), _ = read_runs(tmp_path, NOW)
    assert lost.run.status == "lost"
    assert "its process is gone" in index_of(tmp_path)
    assert "This run was lost" in (tmp_path / "20260101" / "index.html").read_text()


def test_a_run_dated_in_the_future_is_named_and_is_not_the_last(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete", started_at=days_ago(1))
    keep_run(tmp_path, "20270101", "failed", started_at=days_ago(-30))
    text = index_of(tmp_path)
    assert "Dated in the future:</strong> 20270101" in text
    (standing,) = standings(read_runs(tmp_path, NOW)[0], {}, NOW)
    assert standing.last is not None
    assert standing.last.run.run_id == "20260101"
    assert standing.last_failed is None


def schedule_report(project: Path, schedule: str, since: datetime.datetime) -> None:
    settings = project / "perfkit.toml"
    settings.write_text(f'[pipelines.nightly]\nnotebooks = ["30_tune"]\nschedule = "{schedule}"\n')
    os.utime(settings, (since.timestamp(), since.timestamp()))


@pytest.fixture
def scheduled(tmp_path: Path) -> Path:
    """A project with a report that has long been due every day at noon, and its reports folder."""
    schedule_report(tmp_path, "0 12 * * *", NOW - datetime.timedelta(days=300))
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def test_a_due_time_without_a_run_is_missed_and_old_figures_are_stale(scheduled: Path) -> None:
    noon = NOW.astimezone().replace(hour=12) - datetime.timedelta(days=8)
    for day in (0, 1, 2, 5):
        moment = noon + datetime.timedelta(days=day, minutes=1)
        start = moment.astimezone(datetime.UTC).isoformat(timespec="seconds")
        keep_run(scheduled, f"run{day}", "complete", pipeline="nightly", started_at=start, started_by="schedule")
    (standing,) = _standings(scheduled, noon + datetime.timedelta(days=6, minutes=5))
    assert [(due - noon).days for due in standing.missed] == [3, 4]  # that of day 6 has its minutes of grace
    assert not standing.is_stale(noon + datetime.timedelta(days=7, minutes=9))
    assert standing.is_stale(noon + datetime.timedelta(days=7, minutes=11))
    assert (standing.due[0] - noon).days == 7
    write_site(scheduled, noon + datetime.timedelta(days=7, hours=1))
    text = (scheduled / "index.html").read_text()
    assert "4 missed" in text
    assert "Stale.</strong>" in text


@pytest.mark.parametrize(
    ("schedule", "last_success", "fresh", "stale"),
    [
        ("0 3 * * 1-5", "Fri 03:00", "Mon 03:01", "Tue 03:11"),
        ("0 9,17 * * *", "Thu 17:00", "Fri 09:05", "Fri 17:11"),
        ("0 8-18 * * 1-5", "Fri 18:00", "Mon 08:01", "Mon 09:11"),
        ("0 8-18 * * 1-5", "Fri 08:00", "Fri 10:09", "Sat 12:00"),  # a weekend without a due time hides nothing
    ],
)
def test_a_success_is_stale_after_two_due_times_whatever_the_gaps(
    scheduled: Path, schedule: str, last_success: str, fresh: str, stale: str
) -> None:
    monday = datetime.datetime(2026, 11, 16).astimezone()

    def at(told: str, week: int = 0) -> datetime.datetime:
        day, clock = told.split()
        hour, minute = map(int, clock.split(":"))
        days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"].index(day) + 7 * week
        return monday + datetime.timedelta(days=days, hours=hour, minutes=minute)

    start = at(last_success).astimezone(datetime.UTC).isoformat(timespec="seconds")
    keep_run(scheduled, "run0", "complete", pipeline="nightly", started_at=start, started_by="schedule")
    schedule_report(scheduled.parent, schedule, NOW - datetime.timedelta(days=300))
    for told, is_stale in ((fresh, False), (stale, True)):
        now = at(told, 0 if at(told) > at(last_success) else 1)
        (standing,) = _standings(scheduled, now)
        assert standing.is_stale(now) is is_stale


def test_what_another_schedule_would_have_wanted_before_was_not_missed(scheduled: Path) -> None:
    for week in range(5):
        start = days_ago(29 - 7 * week)
        keep_run(scheduled, f"run{week}", "complete", pipeline="nightly", started_at=start, started_by="schedule")
    schedule_report(scheduled.parent, "0 * * * *", NOW - datetime.timedelta(hours=2.5))
    assert "2 missed" in index_of(scheduled)
    schedule_report(scheduled.parent, "0 * * * *", NOW - datetime.timedelta(minutes=5))
    assert "<strong>Missed" not in index_of(scheduled)


def test_after_the_first_run_nothing_is_missed_yet(scheduled: Path) -> None:
    start = NOW.astimezone(datetime.UTC).isoformat(timespec="seconds")
    keep_run(scheduled, "run0", "complete", pipeline="nightly", started_at=start, started_by="schedule")
    (standing,) = _standings(scheduled, NOW + datetime.timedelta(minutes=1))
    assert standing.missed == ()


def test_a_scheduled_report_that_never_ran_is_listed_and_a_broken_schedule_is_told(scheduled: Path) -> None:
    (standing,) = _standings(scheduled, NOW)
    assert (standing.last, standing.missed, len(standing.due)) == (None, (), 5)
    settings = scheduled.parent / "perfkit.toml"
    settings.write_text(settings.read_text().replace("0 12", "0 99"))
    assert "99" in index_of(scheduled)
    settings.write_text("[pipelines")
    text = index_of(scheduled)
    assert "No schedule is known." in text
    assert str(scheduled.parent) not in text


def _standings(folder: Path, now: datetime.datetime) -> list[Any]:
    from perfkit.config.pipelines import load_pipelines

    return standings(read_runs(folder, now)[0], load_pipelines(folder.parent / "perfkit.toml"), now)


def test_only_pages_that_are_out_of_date_are_written(tmp_path: Path) -> None:
    keep_run(tmp_path, "20260101", "complete", started_at=days_ago(5))
    keep_run(tmp_path, "20260102", "complete", started_at=days_ago(4))
    keep_run(tmp_path, "20260103", "complete", started_at=days_ago(3))
    assert write_site(tmp_path, NOW) == 3
    assert write_site(tmp_path, NOW) == 0
    keep_run(tmp_path, "20260104", "failed", started_at=days_ago(2))
    assert write_site(tmp_path, NOW) == 2  # the new one, and the one before with its link to it
    page = (tmp_path / "20260103" / "index.html").read_text()
    assert 'rel="next" href="../20260104/index.html"' in page
    os.utime(tmp_path / "20260101" / RUN_FILE)
    assert write_site(tmp_path, NOW) == 1


def test_a_page_of_a_run_says_what_it_was_made_from_and_how_to_run_it_again(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    notebook = NotebookResult(
        "30_tune",
        "complete",
        90.0,
        "",
        (),
        {"transfers": 12},
        {"goal": "latency"},
        "30_tune--goal-latency",
        2,
        80.0,
        900 * 2**20,
        ("The memory was sampled.",),
    )
    keep_run(
        folder, "20260101", "complete", notebooks=(notebook,), installed={"numpy": "2.1"}, fingerprint={"cpu": "EPYC"}
    )
    parameters = {"metadata": {"tags": ["parameters"]}, "source": ["versions = ''\n"]}
    (folder / "20260101" / "30_tune--goal-latency.ipynb").write_text(json.dumps({"cells": [parameters]}))
    write_site(folder, NOW)
    text = (folder / "20260101" / "index.html").read_text()
    for told in ("goal = latency", "transfers 12", "numpy 2.1", "EPYC", "900MiB", "The memory was sampled.", "abc1234"):
        assert told in text
    assert "perfkit run --again reports/20260101" in text
    assert "perfkit run quick --as-of reports/20260101" in text
    assert "The figures of 30_tune again" in text
    assert str(tmp_path) not in text


def test_a_run_that_measured_says_which_notebooks_can_be_computed_again(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    readers = [NotebookResult(name, "complete", versions={"transfers": 12}) for name in ("20_analysis", "30_tune")]
    run = keep_run(folder, "20260101", "complete", notebooks=(NotebookResult("10_benchmark", "complete"), *readers))
    for one in readers:
        (run.report_path / f"{one.name}.ipynb").write_text(json.dumps({"source": ["versions = ''\n"]}))
    write_site(folder, NOW)
    text = (run.report_path / "index.html").read_text()
    for pipeline, name in (("tune", "30_tune"), ("analyse", "20_analysis")):
        said, command = f"The figures of {name} again", f"perfkit run {pipeline} --as-of reports/20260101"
        assert text.index(said) < text.index(command)
    assert "10_benchmark again" not in text


def test_a_huge_error_stands_on_the_page_of_its_run_once(tmp_path: Path) -> None:
    error = "ValueError: no such size\n" + "a long story\n" * 500
    keep_run(tmp_path, "20260101", "failed", error=error)
    write_site(tmp_path, NOW)
    text = (tmp_path / "20260101" / "index.html").read_text()
    assert text.count("no such size") == 2
    assert text.count("a long story") == 500


def test_after_a_good_run_without_figures_index_and_page_have_nothing_to_compare_with(tmp_path: Path) -> None:
    def figure(value: float) -> tuple[NotebookResult, ...]:
        return (NotebookResult("30_tune", "complete", records=(Record("edge", value, value, value),)),)

    keep_run(tmp_path, "20260101", "complete", started_at=days_ago(3), notebooks=figure(1.0))
    keep_run(tmp_path, "20260102", "complete", started_at=days_ago(2), notebooks=())
    keep_run(tmp_path, "20260103", "complete", started_at=days_ago(1), notebooks=figure(2.0))
    newest = index_of(tmp_path).partition('<tr data-status="complete">')[2].partition("</tr>")[0]
    assert '<td class="number"></td><td class="wide">abc1234' in newest
    assert "no figure can be compared" in (tmp_path / "20260103" / "index.html").read_text()


def test_a_tile_counts_the_runs_of_its_line(tmp_path: Path) -> None:
    for number, value in enumerate((float("inf"), "none", 2.0, 3.0)):
        notebook = NotebookResult("30_tune", "complete", records=(Record("edge", value), Record("winner", "uds")))
        keep_run(tmp_path, f"2026010{number}", "complete", started_at=days_ago(9 - number), notebooks=(notebook,))
    assert "first of 2 runs<br>2<" in index_of(tmp_path)
