"""A lake is kept small, and what is pinned stays readable."""

from __future__ import annotations

import datetime
import json
import os
import resource
import shutil
import signal
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake, RunRecord, open_lake
from perfkit.lake.lock import hold_lake
from perfkit.lake.maintenance import maintain
from perfkit.lake.pins import pin, pin_run
from perfkit.lake.rollups import quantiles, roll_up


def rows(count: int, days_ago: int, run_id: str = "") -> pa.Table:
    noon = datetime.datetime.now(datetime.UTC).replace(hour=12, minute=0) - datetime.timedelta(days_ago)
    moments = [noon + datetime.timedelta(seconds=index) for index in range(count)]
    return pa.table(
        {
            "run_id": [run_id] * count,
            "observed_at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "method": ["uds"] * count,
            "payload_bytes": [1024] * count,
            "latency_ns": list(range(1000, 1000 + count)),
        }
    )


def row_count(lake: Lake) -> int:
    return int(lake.transfers.count().to_pyarrow().as_py())


def files_of(lake: Lake, table: str = "transfers") -> list[str]:
    return sorted(file.name for file in (lake.path / table).glob("*.parquet"))


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of three old days and three young ones, in small files: to be copied."""
    lake = open_lake(tmp_path_factory.mktemp("filled") / "lake")
    for days_ago in (30, 20, 10, 3, 1, 0):
        lake.append_transfers(rows(20, days_ago))
    return lake.path


@pytest.fixture
def lake(filled: Path, tmp_path: Path) -> Lake:
    return open_lake(shutil.copytree(filled, tmp_path / "lake"))


def test_old_rows_go_young_rows_and_all_rollups_stay(lake: Lake) -> None:
    before = quantiles_of_all(lake)
    result = maintain(lake)
    assert row_count(lake) == 60
    assert result.tables[0].rows_deleted == 60
    assert result.rollups.warnings == ()
    assert quantiles(lake.rollups, ()).groups == before
    again = maintain(lake)
    assert (again.rollups.rebuilt, again.rollups.frozen) == ((), 3)
    assert [one.rows_deleted for one in again.tables] == [0] * len(again.tables)
    assert quantiles(lake.rollups, ()).groups == before


@pytest.mark.parametrize("run_id", ["", "run"])
def test_what_came_after_the_last_roll_up_is_rolled_up_before_its_rows_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    lake = open_lake(tmp_path / "lake")

    class NineDaysAgo(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.now(tz) - datetime.timedelta(9)

    then = types.SimpleNamespace(**{**vars(datetime), "datetime": NineDaysAgo})
    lake.append_transfers(rows(10, 9, run_id))
    with monkeypatch.context() as patched:
        patched.setattr("perfkit.lake.maintenance.datetime", then)
        assert maintain(lake).tables[0].rows_deleted == 0
    lake.append_transfers(rows(90, 9, run_id))  # the rest of that day
    result = maintain(lake)
    assert (len(result.rollups.rebuilt), result.rollups.transfers, result.rollups.warnings) == (1, 100, ())
    assert row_count(lake) == 0
    assert [one.histogram.count for one in quantiles(lake.rollups, ()).groups] == [100]
    assert maintain(lake).rollups.frozen == 1


def test_a_lake_that_was_opened_at_earlier_versions_is_maintained_as_it_is_now(lake: Lake) -> None:
    roll_up(lake)
    earlier = open_lake(lake.path, versions=lake.versions())
    lake.append_transfers(rows(15, 10))
    assert roll_up(earlier).transfers == 35
    lake.append_transfers(rows(5, 10))
    result = maintain(earlier)
    assert (result.tables[0].rows_deleted, result.rollups.transfers) == (80, 40)
    assert row_count(lake) == 60
    assert sum(one.histogram.count for one in quantiles(lake.rollups, ()).groups) == 140


def quantiles_of_all(lake: Lake) -> object:
    roll_up(lake)
    return quantiles(lake.rollups, ()).groups


def test_rows_of_pinned_runs_and_of_runs_in_force_stay(lake: Lake) -> None:
    for run_id in ("pinned", "in force", "o'ther"):
        lake.append_transfers(rows(7, 30, run_id))
    pin_run(lake, "pinned")
    result = maintain(lake, keep_runs=["in force", "o'dd"])
    assert result.kept_runs == ("in force", "o'dd", "pinned")
    assert [len(lake.observations_of(run_id)) for run_id in ("pinned", "in force", "o'ther")] == [7, 7, 0]
    assert row_count(lake) == 60 + 14


def test_rollups_and_events_have_a_limit_of_their_own(lake: Lake) -> None:
    lake.append_transfers(rows(5, 30, "pinned"))
    pin_run(lake, "pinned")
    maintain(lake)
    days = {row["minute"].date() for row in lake.rollups.to_pyarrow().to_pylist()}
    assert len(days) == 6
    maintain(lake, keep_rollups_days=15)
    result = maintain(lake, keep_rollups_days=15)
    assert result.rollups.rebuilt == ()  # pinned rows of a day that is too old do not bring its rollups back
    assert len({row["minute"].date() for row in lake.rollups.to_pyarrow().to_pylist()}) == 4


def test_small_files_are_merged_and_replaced_ones_stay_for_a_day(lake: Lake) -> None:
    before = files_of(lake)
    earlier = lake.transfers
    result = maintain(lake)
    assert result.tables[0].files_merged > 0
    assert len(DeltaTable(lake.path / "transfers").file_uris()) == 1
    assert set(before) <= set(files_of(lake))
    assert earlier.count().to_pyarrow().as_py() == 120


def test_files_that_nothing_needs_are_removed_with_what_a_killed_writer_left(lake: Lake) -> None:
    orphan = lake.path / "transfers" / "part-00000-of-a-killed-writer.parquet"
    orphan.write_bytes(b"half a file")
    os.utime(orphan, (time.time() - 60,) * 2)
    result = maintain(lake, keep_replaced_hours=0)
    assert not orphan.exists()
    assert len(files_of(lake)) == 1
    assert result.tables[0].files_removed == 6 + 1  # those that were appended, and the orphan
    assert result.tables[0].bytes_removed > 1000
    assert row_count(lake) == 60


def test_the_log_is_cleaned_behind_a_checkpoint_and_the_lake_goes_on(lake: Lake) -> None:
    result = maintain(lake, keep_replaced_hours=0)
    assert result.tables[0].log_entries_removed > 0
    assert len(list((lake.path / "transfers" / "_delta_log").glob("*.json"))) == 1
    lake.append_transfers(rows(5, 0))
    assert row_count(lake) == 65
    assert maintain(lake, keep_replaced_hours=0).tables[0].version > result.tables[0].version
    assert row_count(lake) == 65


def test_a_pinned_version_is_read_unchanged_after_retention_compaction_vacuum_and_log_cleaning(
    lake: Lake, tmp_path: Path
) -> None:
    report = tmp_path / "reports" / "one"
    report.mkdir(parents=True)
    roll_up(lake)
    versions = lake.versions()
    pinned = open_lake(lake.path, versions=versions)
    expected = [pinned.transfers.to_pyarrow().to_pylist(), pinned.rollups.to_pyarrow().to_pylist()]
    pin(lake, "report-one", versions, keeper=report)
    for _ in range(3):
        lake.append_transfers(rows(50, 0))
        maintain(lake, keep_replaced_hours=0)
    pinned = open_lake(lake.path, versions=versions)
    assert [pinned.transfers.to_pyarrow().to_pylist(), pinned.rollups.to_pyarrow().to_pylist()] == expected

    report.rmdir()
    result = maintain(lake, keep_replaced_hours=0)
    assert result.released_pins == ("report-one",)
    assert not list((lake.path / "pins").iterdir())
    with pytest.raises(LakeError, match=f"version {versions['transfers']} of table .* cannot be read"):
        open_lake(lake.path, versions=versions).transfers.count().to_pyarrow()
    assert len(files_of(lake)) == 1


def test_versions_of_the_last_hours_can_be_read_without_a_pin(lake: Lake) -> None:
    versions = lake.versions()
    maintain(lake)
    assert open_lake(lake.path, versions=versions).transfers.count().to_pyarrow().as_py() == 120


def test_a_pin_of_a_version_that_is_gone_is_named_and_keeps_nothing_else_from_going(lake: Lake) -> None:
    pin(lake, "lost", {"transfers": 999})
    result = maintain(lake, keep_replaced_hours=0)
    assert "pin lost keeps nothing" in " ".join(result.warnings)
    assert len(files_of(lake)) == 1


def test_a_dry_run_says_what_it_would_do_and_touches_nothing(lake: Lake) -> None:
    before = contents(lake.path)
    result = maintain(lake, dry_run=True)
    assert contents(lake.path) == before
    assert len(result.rollups.rebuilt) == 6
    assert [(one.name, one.rows_deleted) for one in result.tables] == [("transfers", 60)]
    assert "nothing was changed" in str(result)
    assert maintain(lake).tables[0].rows_deleted == 60


def test_the_result_renders_itself(lake: Lake) -> None:
    lake.append_run(RunRecord("run", "complete"))
    result = maintain(lake, keep_runs=["run"])
    assert all(len(line) <= 80 for line in str(result).splitlines())
    assert "transfers" in result._repr_html_()
    assert [one["name"] for one in json.loads(json.dumps(result.to_plain()))["tables"]] == [
        "transfers",
        "runs",
        "rollups",
    ]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"keep_rows_days": 0}, "keep_rows_days == 0, must be 1 or more"),
        ({"keep_rollups_days": 3}, "keep_rollups_days == 3, must not be below keep_rows_days == 7"),
        ({"keep_replaced_hours": -1}, "keep_replaced_hours == -1"),
    ],
)
def test_a_limit_that_is_out_of_range_is_refused(lake: Lake, limits: dict[str, int], said: str) -> None:
    before = contents(lake.path)
    with pytest.raises(InputError, match=said):
        maintain(lake, **limits)
    assert contents(lake.path) == before


def test_a_lake_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"lake .*nowhere does not exist"):
        maintain(open_lake(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_one_maintains_at_a_time(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfkit.lake.maintenance._WAIT_S", 0.1)
    with hold_lake(lake.path, "drain"), pytest.raises(LakeError, match=r"is held by process \d+ \(drain"):
        maintain(lake)
    assert row_count(lake) == 120


def test_a_damaged_pin_stops_it_before_anything_is_removed(lake: Lake) -> None:
    pin(lake, "one", {"transfers": 1})
    (lake.path / "pins" / "one.json").write_text("{")
    before = contents(lake.path / "transfers")
    with pytest.raises(LakeError, match=r"one.json cannot be read"):
        maintain(lake)
    assert contents(lake.path / "transfers") == before


@contextmanager
def no_file_beyond(limit_bytes: int) -> Iterator[None]:
    """To a writer this looks like a disk that fills up in the middle of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("limit_bytes", [100, 2_000, 6_000])
def test_on_a_full_disk_it_says_so_and_nothing_is_lost(lake: Lake, limit_bytes: int) -> None:
    with no_file_beyond(limit_bytes), pytest.raises(LakeError, match="free space"):
        maintain(lake)
    assert row_count(lake) in (60, 120)  # the deletion happened, or it did not
    maintain(lake)
    assert row_count(lake) == 60
    assert sum(one.histogram.count for one in quantiles(lake.rollups, ()).groups) == 120


def test_a_lake_that_cannot_be_written_says_what_to_check() -> None:
    with pytest.raises(LakeError, match="permissions"):
        maintain(open_lake("/proc/sys"))


@pytest.mark.parametrize(
    ("where", "call", "when", "rows_left"),
    [
        ("perfkit.lake.rollups:_build", 3, "before", 120),  # rollups are being written
        ("perfkit.lake.rollups:replace_rows", 1, "after", 120),  # committed, not yet durable
        ("perfkit.lake.maintenance:delete_rows", 1, "after", 60),
        ("perfkit.lake.maintenance:compact_files", 1, "after", 60),
        ("perfkit.lake.maintenance:remove_files", 2, "before", 60),  # the first call only says which
        ("perfkit.lake.maintenance:checkpoint", 2, "before", 60),  # that of the pinned version
        ("pathlib:Path.unlink", 3, "after", 60),  # in the middle of cleaning the log
    ],
)
def test_killed_in_the_middle_it_leaves_every_row_counted_once_and_can_be_run_again(
    lake: Lake,
    kill_at: Callable[[str, Path, str, int, str], None],
    where: str,
    call: int,
    when: str,
    rows_left: int,
) -> None:
    versions = lake.versions()
    expected = lake.transfers.to_pyarrow().to_pylist()
    pin(lake, "start", versions)
    kill_at("perfkit.lake.maintenance:maintain", lake.path, where, call, when)
    assert row_count(lake) == rows_left
    assert open_lake(lake.path, versions=versions).transfers.to_pyarrow().to_pylist() == expected
    result = maintain(lake, keep_replaced_hours=0)
    assert (row_count(lake), result.rollups.warnings) == (60, ())
    assert sum(one.histogram.count for one in quantiles(lake.rollups, ()).groups) == 120
    assert open_lake(lake.path, versions=versions).transfers.to_pyarrow().to_pylist() == expected
