"""Old reports go as their pipelines say; what somebody needs stays; the lake's pins go with them."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from perfkit.lake import open_lake
from perfkit.lake.pins import active_pins, pin
from perfkit.report.results import PipelineResult, write_run
from perfkit.report.running.locks import hold_run
from perfkit.report.running.pipelines import all_pipelines
from perfkit.report.running.retention import KeepLimits, limits_of, plan_removal, remove_reports

NOW = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)


def add(reports: Path, days_ago: float, status: str = "complete", pipeline: str = "nightly") -> str:
    started = NOW - datetime.timedelta(days=days_ago)
    folder = reports / f"{started:%Y%m%dT%H%M%SZ}-ab12"
    folder.mkdir(parents=True)
    (folder / "10_benchmark.html").write_text("page")
    write_run(
        PipelineResult(
            folder.name, pipeline, status, started.isoformat(), 1.0, folder, Path("t.toml"), None, {}, "", ()
        )
    )
    return folder.name


def names(reports: Path) -> set[str]:
    return {path.name for path in reports.iterdir()}


def test_only_what_is_over_a_limit_and_nobody_needs_is_removed(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    good, first_latest, held, wanted, old, other = (add(reports, days) for days in (9, 8, 7, 6, 5, 4))
    lost, newest = add(reports, 3, "running"), add(reports, 2, "failed")
    write_run_of_other_pipeline = add(reports, 400, "failed", "gone")
    (reports / "latest").symlink_to(first_latest)
    (reports / wanted / "keep").touch()
    (reports / "notes").mkdir()
    (reports / "sample").mkdir()
    (reports / "sample" / "run.json").write_bytes((reports / good / "run.json").read_bytes())
    limits = {"nightly": KeepLimits(runs=2)}
    with hold_run(reports / held):
        plan = plan_removal(reports, limits, now=NOW)
        assert [one.run_id for one in plan.removals] == [good, old]
        assert {one.run_id: one.reason for one in plan.kept} == {
            first_latest: "`latest` leads to it",
            held: "under way",
            wanted: "its folder has a file named keep",
            other: "the last complete run of its pipeline",
        }
        assert plan.within_limits == 3  # two of the pipeline, one of another that has no limit
        assert "over the newest 2" in str(plan)
        before = names(reports)
        (reports / old / "keep").touch()  # somebody wants it after the plan was made
        result = remove_reports(plan)
    assert [one.run_id for one in result.removed] == [good]
    assert result.problems == ()
    assert result.freed_bytes > 0
    assert names(reports) == before - {good}
    assert {lost, newest, write_run_of_other_pipeline} <= names(reports)


def test_age_is_a_limit_too_and_pipelines_without_one_get_that_of_all(tmp_path: Path) -> None:
    old, middle, new = (add(tmp_path, days) for days in (31, 29, 1))
    gone, _ = add(tmp_path, 40, "failed", "gone"), add(tmp_path, 20, "complete", "gone")
    plan = plan_removal(tmp_path, {"nightly": KeepLimits(days=30)}, everywhere=KeepLimits(runs=1), now=NOW)
    assert [(one.run_id, one.reason) for one in plan.removals] == [
        (gone, "over the newest 1"),
        (old, "older than 30 days"),
    ]
    both = plan_removal(tmp_path, {"nightly": KeepLimits(runs=1, days=30)}, now=NOW)
    assert [one.run_id for one in both.removals] == [old, middle]
    future = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)  # the clock went back: nothing is old
    assert plan_removal(tmp_path, {"nightly": KeepLimits(days=1)}, now=future).removals == ()
    assert new


def test_the_settings_say_how_many_are_kept(tmp_path: Path) -> None:
    settings = tmp_path / "perfkit.toml"
    settings.write_text("[pipelines.nightly]\nnotebooks = ['a']\nkeep_runs = 3\nkeep = '90 days'\n")
    limits = limits_of(all_pipelines(settings))
    assert limits == {"nightly": KeepLimits(3, 90)}  # none for the others: limits given for everywhere are theirs


def test_runs_dated_ahead_by_a_wrong_clock_do_not_push_out_the_newest(tmp_path: Path) -> None:
    old, new = add(tmp_path, 2), add(tmp_path, 1)
    ahead = [add(tmp_path, -days) for days in (300, 301)]
    plan = plan_removal(tmp_path, {}, everywhere=KeepLimits(runs=1), now=NOW)
    assert [one.run_id for one in plan.removals] == [old]
    assert (plan.kept, plan.within_limits) == ((), 1 + len(ahead))
    assert new in names(tmp_path)


def test_what_a_removed_report_kept_of_the_lake_is_let_go(tmp_path: Path) -> None:
    lake = open_lake(tmp_path / "lake")
    old, _ = add(tmp_path, 2), add(tmp_path, 1)
    pin(lake, f"report.{old}.30_tune", {"transfers": 3}, keeper=tmp_path / old)
    plan = plan_removal(tmp_path, {}, everywhere=KeepLimits(runs=1), now=NOW)
    assert len(active_pins(lake)) == 1
    remove_reports(plan)
    assert active_pins(lake) == ()


def test_what_an_interrupted_removal_left_behind_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = add(tmp_path, 2), add(tmp_path, 1)
    plan = plan_removal(tmp_path, {}, everywhere=KeepLimits(runs=1), now=NOW)

    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            remove_reports(plan)
    assert not (tmp_path / old).exists()  # no reader meets half of it
    assert plan_removal(tmp_path, {}, everywhere=KeepLimits(runs=1), now=NOW).removals == ()
    assert remove_reports(plan).removed == ()
    assert not list(tmp_path.glob(".removed-*"))
