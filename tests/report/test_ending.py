"""A run's id, and what follows its end: the link to the latest, who is told, what is noted when something fails."""

from __future__ import annotations

import datetime
import errno
import os
from pathlib import Path

import pytest

import perfkit.report.notify
import perfkit.report.site.writing
from perfkit.config.pipelines import NotifySettings, PipelineSettings
from perfkit.errors import ReportError
from perfkit.report.results import PipelineResult, read_run, write_run
from perfkit.report.running.ending import keep, set_space_aside, show, tidy_up
from perfkit.report.running.locks import hold_run
from perfkit.report.running.provenance import installed_versions, new_run_id

NOW = datetime.datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=datetime.UTC)


def run_of(reports: Path, run_id: str, status: str = "complete", pipeline: str = "nightly") -> PipelineResult:
    folder = reports / run_id
    folder.mkdir(parents=True)
    started = "2026-11-20T12:00:00+00:00"
    run = PipelineResult(run_id, pipeline, status, started, 1.0, folder, Path("t.toml"), None, {}, "", ())
    write_run(run)
    return run


def test_names_of_runs_sort_as_they_began_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    assert new_run_id(tmp_path / "absent", NOW).startswith("20261120T120000Z-")
    for name in ("20261120T120000Z-ab12", "20261120T123000Z-ab12", "latest", "20261399T000000Z-ab12"):
        (tmp_path / name).mkdir()
    assert new_run_id(tmp_path, NOW).startswith("20261120T123001Z-")  # set back by half an hour
    assert new_run_id(tmp_path, NOW + datetime.timedelta(hours=1)).startswith("20261120T130000Z-")
    (tmp_path / "20991120T120000Z-ab12").mkdir()  # from a clock that was wrong: nothing has to follow it
    assert new_run_id(tmp_path, NOW).startswith("20261120T120000Z-")
    assert len({new_run_id(tmp_path, NOW) for _ in range(20)}) > 15


def test_who_is_to_be_told_is_told_of_the_run_and_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = run_of(tmp_path, "20261120T100000Z-ab12", "failed")
    run_of(tmp_path, "20261120T110000Z-ab12", "complete", "another")
    run = run_of(tmp_path, "20261120T120000Z-ab12")
    told: list[tuple[str, str | None]] = []
    stood: list[str | None] = []

    def notify_about(run: PipelineResult, settings: NotifySettings, earlier: PipelineResult | None) -> tuple[str, ...]:
        told.append((run.run_id, earlier and earlier.run_id))
        stood.append(earlier and earlier.status)
        return ("nobody answered",)

    monkeypatch.setattr(perfkit.report.notify, "notify_about", notify_about)
    pipelines = {"nightly": PipelineSettings(("x",), notify=NotifySettings(webhook="http://x"), keep_runs=1)}
    ended = tidy_up(show(keep(run)), pipelines)
    assert told == [(run.run_id, earlier.run_id)]
    assert (ended.status, ended.notes) == ("complete", ("nobody answered",))
    assert read_run(run.report_path).notes == ended.notes
    assert os.readlink(tmp_path / "latest") == run.run_id  # noqa: PTH115 - where it leads, not what is there
    assert earlier.run_id not in (tmp_path / "index.html").read_text()

    failed = run_of(tmp_path, "20261120T130000Z-ab12", "failed")
    tidy_up(show(keep(failed)), pipelines)
    assert told[1:] == [(failed.run_id, run.run_id)]
    assert os.readlink(tmp_path / "latest") == run.run_id  # noqa: PTH115
    assert run.report_path.exists()  # over the limit, and the last that completed

    run_of(tmp_path, "20261120T140000Z-ab12", "running")  # nobody holds it: its process is gone
    tidy_up(show(keep(run_of(tmp_path, "20261120T150000Z-ab12"))), pipelines)
    assert stood == ["failed", "complete", "lost"]  # so the run after a lost one is a recovery


def test_an_index_or_a_latest_that_cannot_be_written_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(reports_folder: Path) -> int:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(perfkit.report.site.writing, "write_site", fail)
    (tmp_path / "latest").mkdir()
    run = show(show(keep(run_of(tmp_path, "20261120T120000Z-ab12"))))  # after each notebook, and said once
    run = tidy_up(run, {"nightly": PipelineSettings(("x",))})
    assert run.status == "complete"
    assert len(run.notes) == 2
    assert "index of reports is as it was before this run: a mistake of ours" in run.notes[0]
    assert "latest does not lead to this run: Is a directory" in run.notes[1]
    assert not list(tmp_path.glob(".latest*"))


def test_a_disk_without_room_is_said_before_anything_starts_and_when_the_record_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path, "20261120T120000Z-ab12")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ReportError, match=r"disk is full \(No space left on device\); free space \(df -h"):
        set_space_aside(run.report_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match=r"report 20261120T120000Z-ab12 cannot be written: the disk is full"):
        keep(run)
    assert read_run(run.report_path).status == "complete"  # as it was
    assert not list(run.report_path.glob(".run*"))


def test_the_room_that_a_killed_run_had_set_aside_is_given_back_by_the_next(tmp_path: Path) -> None:
    lost, going_on = (run_of(tmp_path, f"20261120T1{hour}0000Z-ab12", "running") for hour in (0, 1))
    for one in (lost, going_on):
        set_space_aside(one.report_path)
    with hold_run(going_on.report_path):
        tidy_up(show(keep(run_of(tmp_path, "20261120T120000Z-ab12"))), {"nightly": PipelineSettings(("x",))})
        assert [path.parent.name for path in tmp_path.glob("*/.spare")] == [going_on.run_id]


def test_versions_of_what_computed_are_known() -> None:
    versions = installed_versions()
    assert {"python", "numpy", "pyarrow", "altair", "grpcio"} <= set(versions)
