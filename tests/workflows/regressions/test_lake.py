"""Regressions in the lake: which series, with which others, since what, in which stage, and against which range."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest

import perfkit
from perfkit.errors import ConfigError, FileError, InputError, LakeError
from perfkit.lake import Lake, open_lake
from perfkit.stats.baselines import ExpectedRange
from perfkit.workflows.events import Event, add_event
from perfkit.workflows.regressions.frozen import Frozen, FrozenBaseline, write_frozen

MOMENT = datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def found(changed_lake: Lake, published: Event, tmp_path_factory: pytest.TempPathFactory):
    """What is found in the lake that changed."""
    add_event(changed_lake.path, published)
    return perfkit.regressions(lake=changed_lake.path, repository=tmp_path_factory.mktemp("no repository"))


def test_the_series_that_changed_are_found_and_no_others(found):
    assert {one.series.split()[0] for one in found.regressions} == {"grpc"}
    assert len(found.regressions) == 4
    assert found.n == 12
    assert not found.improvements


def test_what_they_share_is_named_with_the_event_and_the_counts(found):
    (pattern,) = found.patterns
    assert pattern.attributes == {"method": "grpc"}
    assert (pattern.changed, pattern.members, pattern.others_changed, pattern.others) == (4, 4, 0, 8)
    assert pattern.relative == pytest.approx(0.3, abs=0.05)
    assert "published thresholds.toml" in pattern.event
    assert pattern.sentence.startswith("All 4 series with method grpc changed, and 0 of the 8 others")


def test_a_change_names_what_happened_and_what_differs_between_its_hosts(found, changed_run):
    exact = [one for one in found.regressions if one.row == changed_run]
    assert exact
    assert all(one.causes.host == ("grpcio: 1.60 -> 1.62",) for one in exact)
    assert all("version 7" in one.causes.events[0] for one in found.regressions)


def test_the_next_steps_are_commands(found):
    steps = " ".join(found.steps)
    assert "`perfkit publish --rollback`" in steps
    assert f"`perfkit compare {found.regressions[0].index} {found.regressions[0].index_after} --lake" in steps


def test_every_series_has_an_expected_range_that_lies_around_its_new_level(found):
    for one in found.series:
        assert one.expected is not None
        assert one.expected.low < one.level < one.expected.high
    assert {one.attributes["kind"] for one in found.series} == {"tensor", "text"}


def test_it_is_shown_in_eighty_columns(found):
    assert max(map(len, str(found).splitlines())) <= 80
    json.dumps(found.to_plain())


def test_the_newest_run_is_compared_with_its_range(tmp_path, fill_with_runs):
    lake = open_lake(tmp_path / "lake")
    fill_with_runs(lake, runs=9, slower=lambda number, method, kind: 1.5 if (method, number) == ("uds", 8) else 1.0)
    result = perfkit.regressions(lake=lake)
    assert {one.series.split()[0] for one in result.deviations} == {"uds"}
    assert all(one.is_worse and one.points == 1 and one.value > one.high for one in result.deviations)
    assert result.is_worse
    assert not result.regressions
    assert "the newest point is worse by over 20%" in result.sentence
    assert not perfkit.regressions(lake=lake, tolerance=1.0).deviations


def test_frozen_ranges_stay_where_moving_ones_go_along(tmp_path, fill_with_runs):
    lake, file = open_lake(tmp_path / "lake"), tmp_path / "baselines.json"
    fill_with_runs(lake, runs=9)
    frozen = perfkit.regressions(lake=lake, baselines=file, freeze="release 1")
    assert frozen.baselines == "frozen as release 1"
    assert json.loads(file.read_text())["name"] == "release 1"
    slow = open_lake(tmp_path / "slow")
    fill_with_runs(slow, runs=9, slower=lambda number, method, kind: 1.5, seed=2)
    assert not perfkit.regressions(lake=slow, baselines=tmp_path / "none.json").deviations
    against = perfkit.regressions(lake=slow, baselines=file)
    assert len(against.deviations) == 12
    assert all(one.is_frozen for one in against.series)


def test_a_service_is_judged_by_spans_of_time_and_the_stage_is_named(tmp_path, fill_with_transfers):
    lake = open_lake(tmp_path / "lake")
    fill_with_transfers(lake, changed_at=26)
    result = perfkit.regressions(lake=lake, repository=tmp_path)
    (change,) = result.regressions
    assert change.causes.stage == "copy"
    assert change.causes.stages_ns["copy_ns"] == pytest.approx(15_000, rel=0.3)
    assert abs(change.row - 26) <= 2
    assert "perfkit analyse --by method,size_class" in " ".join(result.steps)
    daily = perfkit.regressions(lake=lake, bucket="1day")
    assert daily.series[0].points == 2
    late = perfkit.regressions(lake=lake, since=MOMENT)
    assert late.series[0].points == 16


def test_commits_between_two_revisions_are_named(tmp_path, fill_with_runs):
    revisions = [_commit(tmp_path, subject) for subject in ("Measure", "Slow everything down")]
    lake = open_lake(tmp_path / "lake")
    fill_with_runs(
        lake,
        slower=lambda number, method, kind: 1.4 if number >= 14 else 1.0,
        facts=lambda number: {"git_revision": revisions[number >= 14]},
    )
    result = perfkit.regressions(lake=lake, repository=tmp_path)
    exact = [one for one in result.regressions if one.row == 14]
    assert exact
    assert all([commit.partition(" ")[2] for commit in one.causes.commits] == ["Slow everything down"] for one in exact)
    assert result.patterns[0].sentence.endswith(
        "series changed, whatever they are: +40% at the median, mostly in transport."
    )


def _commit(folder: Path, subject: str) -> str:
    (folder / "code.txt").write_text(subject)
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "code.txt"), (*identity, "commit", "-q", "-m", subject)):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    found = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


def test_a_control_that_changes_is_told_apart(tmp_path, fill_with_runs):
    lake = open_lake(tmp_path / "lake")
    slower = {"uds": 1.5, "grpc": 1.0, "shm_pool": 1.0}
    fill_with_runs(lake, slower=lambda number, method, kind: slower[method] if number >= 14 else 1.0, control="uds")
    (warning,) = perfkit.regressions(lake=lake, repository=tmp_path).warnings
    assert warning.startswith("the machine itself changed")
    assert "uds" in warning


def test_an_empty_lake_is_refused(tmp_path):
    with pytest.raises(LakeError, match="perfkit bench"):
        perfkit.regressions(lake=tmp_path / "lake")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"index": "build"}, "name the file"),
        ({"better": "higher"}, "name the file"),
        ({"bucket": "1ms"}, "at least 1s"),
        ({"tolerance": 0.0}, "above 0"),
        ({"minimum_change": 1.0}, "between 0 and 1"),
        ({"since": "yesterday"}, "yesterday"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        perfkit.regressions(lake=tmp_path / "lake", **given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is no file of baselines"),
        ('{"schema": 9}', "schema == 9"),
        ('{"schema": 1, "name": "a", "frozen_at": "2026-11-01", "series": [{"level": -1}]}', "is no file of baselines"),
    ],
)
def test_a_damaged_file_of_baselines_is_refused(tmp_path, text, message):
    file = tmp_path / "baselines.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        perfkit.regressions(lake=tmp_path / "lake", baselines=file)


def test_baselines_without_a_name_a_place_or_a_series_are_refused(tmp_path):
    baseline = FrozenBaseline({"method": "grpc"}, ExpectedRange(100.0, 0.05, 10))
    for name, ranges, folder, error, message in (
        (" ", (baseline,), "", InputError, "no name"),
        ("release 1", (), "", InputError, "no series"),
        ("release 1", (baseline,), "none", FileError, "as it was"),
    ):
        with pytest.raises(error, match=message):
            write_frozen(
                tmp_path / folder / "baselines.json", Frozen(name, datetime.datetime.now(datetime.UTC), ranges)
            )
    assert not list(tmp_path.iterdir())
