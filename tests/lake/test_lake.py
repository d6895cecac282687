"""The lake keeps what was measured, whatever happens around it."""

from __future__ import annotations

import datetime
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from perfkit.errors import InputError, LakeError, UnknownNameError
from perfkit.journal import open_journal
from perfkit.lake import LAKE_TABLES, RUN_STATUSES, Lake, RunRecord, drain, open_lake
from perfkit.lake.delta import mark_schema, open_table, table_schema_version
from perfkit.lake.records import run_schema
from perfkit.lake.snapshots import files_that_may_hold
from perfkit.schema import SCHEMA_VERSION, TRANSFER_COLUMNS, arrow_schema

APPENDER = """
import sys
import pyarrow as pa
from perfkit.lake import open_lake
lake = open_lake(sys.argv[1])
for index in range(int(sys.argv[3])):
    lake.append_transfers(pa.table({"run_id": [sys.argv[2]] * 2, "stage": ["whole"] * 2, "method": ["uds"] * 2,
        "payload_bytes": [1024] * 2, "latency_ns": [index] * 2}))
"""


def observations(count: int, run_id: str = "run", latency_ns: int = 5_000) -> pa.Table:
    return pa.table(
        {
            "run_id": [run_id] * count,
            "stage": ["whole"] * count,
            "method": ["uds"] * count,
            "payload_bytes": [2**40] * count,
            "latency_ns": [latency_ns] * count,
        }
    )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path / "lake")


def row_count(lake: Lake) -> int:
    return int(lake.transfers.count().to_pyarrow().as_py())


def test_a_missing_lake_is_empty_with_the_right_columns(lake: Lake) -> None:
    assert lake.transfers.to_pyarrow().num_rows == 0
    assert lake.transfers.columns == tuple(column.name for column in TRANSFER_COLUMNS)
    assert lake.runs.to_pyarrow().schema.names == run_schema().names
    assert lake.versions() == dict.fromkeys(LAKE_TABLES, -1)
    assert "perfkit bench" in str(lake.to_table())
    assert not lake.path.exists()


def test_empty_and_filled_tables_have_the_same_schema(lake: Lake, tmp_path: Path) -> None:
    lake.append_transfers(observations(1))
    lake.append_run(RunRecord("run", "complete"))
    empty = open_lake(tmp_path / "other")
    assert lake.transfers.schema() == empty.transfers.schema()
    assert lake.runs.schema() == empty.runs.schema()


def test_appended_rows_come_back_with_defaults_and_exact_numbers(lake: Lake) -> None:
    lake.append_transfers(observations(3, latency_ns=2**53 + 1))
    rows = lake.transfers.to_pyarrow()
    assert rows.num_rows == 3
    assert rows.column("latency_ns").to_pylist() == [2**53 + 1] * 3
    assert rows.column("signalling").to_pylist() == ["uds"] * 3
    assert rows.column("wire_bytes").null_count == 3
    assert rows.schema.field("latency_ns").type == pa.int64()
    assert rows.schema.field("launch").type == pa.int32()


def test_times_come_back_in_utc_whatever_zone_they_were_given_in(lake: Lake) -> None:
    east = datetime.timezone(datetime.timedelta(hours=5))
    moment = datetime.datetime(2026, 11, 20, 3, 30, 0, 123456, tzinfo=east)
    times = pa.array([moment], pa.timestamp("us", tz="+05:00"))
    lake.append_transfers(observations(1).append_column("observed_at", times))
    lake.append_run(RunRecord("run", "running", recorded_at=moment))
    assert lake.transfers.to_pyarrow().schema.field("observed_at").type == pa.timestamp("us", tz="UTC")
    assert lake.transfers.to_pyarrow().column("observed_at").to_pylist() == [moment]
    assert lake.runs.to_pyarrow().column("recorded_at").to_pylist() == [moment]


def test_every_append_is_a_version_and_a_table_stays_at_its_own(lake: Lake) -> None:
    first = lake.append_transfers(observations(1))
    before = lake.transfers
    second = lake.append_transfers(observations(2))
    assert second == first + 1 == lake.versions()["transfers"]
    assert before.count().to_pyarrow().as_py() == 1
    assert row_count(lake) == 3


def test_the_observations_of_a_run_are_its_own(lake: Lake) -> None:
    assert lake.observations_of("a").num_rows == 0
    for run_id, count in (("a", 2), ("b", 3), ("c", 4)):
        lake.append_transfers(observations(count, run_id))
    assert lake.observations_of("b").column("run_id").to_pylist() == ["b"] * 3
    assert lake.observations_of("a", "c").num_rows == 6
    assert lake.observations_of("unknown").schema.names == arrow_schema().names


def test_the_latest_row_of_a_run_is_its_state_and_runs_come_newest_first(lake: Lake) -> None:
    start = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    for minute, run_id, status in ((0, "a", "running"), (1, "b", "running"), (2, "a", "complete")):
        lake.append_run(RunRecord(run_id, status, recorded_at=start + datetime.timedelta(minutes=minute)))
    rows = lake.runs.to_pyarrow().to_pylist()
    assert [(row["run_id"], row["status"]) for row in rows] == [("a", "complete"), ("b", "running")]
    assert str(lake.to_table()).index("complete") < str(lake.to_table()).index("running")
    assert "complete" in lake._repr_html_()


def test_an_end_in_the_same_microsecond_wins_over_its_start(lake: Lake) -> None:
    now = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    for status in ("interrupted", "running"):
        lake.append_run(RunRecord("a", status, recorded_at=now))
    assert lake.runs.to_pyarrow().column("status").to_pylist() == ["interrupted"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (observations(1).append_column("colour", pa.array(["red"])), "colour"),
        (observations(1).drop_columns(["latency_ns"]), "latency_ns"),
        (observations(1).set_column(4, "latency_ns", pa.array(["fast"])), "latency_ns"),
        (observations(1).set_column(4, "latency_ns", pa.array([0.5])), "latency_ns"),
        (observations(1).set_column(2, "method", pa.array([None], pa.string())), "nulls"),
    ],
    ids=["unknown column", "missing column", "text for a number", "fraction for an integer", "null"],
)
def test_rows_that_do_not_fit_the_schema_are_refused_and_nothing_is_appended(
    lake: Lake, table: pa.Table, said: str
) -> None:
    lake.append_transfers(observations(1))
    with pytest.raises(LakeError, match=said):
        lake.append_transfers(table)
    assert lake.versions()["transfers"] == 1
    assert row_count(lake) == 1


def test_a_lake_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    with pytest.raises(LakeError, match="is a file"):
        open_lake(tmp_path / "lake")


def test_a_folder_that_cannot_be_written_says_what_to_check() -> None:
    with pytest.raises(LakeError, match="permissions"):
        open_lake("/proc/lake").append_transfers(observations(1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_lake_stays_readable(lake: Lake) -> None:
    lake.append_transfers(observations(1))
    table = lake.path / "transfers"
    for folder in (table, table / "_delta_log"):
        folder.chmod(0o500)
    try:
        with pytest.raises(LakeError, match="permissions"):
            lake.append_transfers(observations(1))
        assert row_count(lake) == 1
    finally:
        for folder in (table, table / "_delta_log"):
            folder.chmod(0o700)


def test_a_write_that_fails_half_way_leaves_the_old_version_readable(lake: Lake) -> None:
    lake.append_transfers(observations(10))
    wide = observations(200_000).set_column(4, "latency_ns", pa.array(range(200_000)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # No file may grow beyond 8 KiB: to the writer this looks like a disk that fills up in the middle of a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(LakeError, match="stays at its last version"):
            lake.append_transfers(wide)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert lake.versions()["transfers"] == 1
    assert row_count(lake) == 10
    lake.append_transfers(wide)
    assert row_count(lake) == 200_010


def test_a_damaged_table_is_an_error_and_not_an_empty_one(lake: Lake) -> None:
    lake.append_transfers(observations(1))
    (lake.path / "transfers" / "_delta_log" / "00000000000000000000.json").write_text("not json")
    with pytest.raises(LakeError, match="cannot be read"):
        lake.versions()


def test_two_processes_that_append_to_a_new_lake_both_succeed(lake: Lake) -> None:
    commits = 8
    command = [sys.executable, "-c", APPENDER, str(lake.path)]
    writers = [subprocess.Popen([*command, name, str(commits)]) for name in ("a", "b")]
    assert [writer.wait(timeout=90) for writer in writers] == [0, 0]
    counts = lake.transfers.group_by("run_id").agg(rows=lake.transfers.count()).order_by("run_id").to_pyarrow()
    assert counts.to_pylist() == [{"run_id": "a", "rows": 2 * commits}, {"run_id": "b", "rows": 2 * commits}]


def test_a_run_record_refuses_what_it_cannot_mean() -> None:
    with pytest.raises(UnknownNameError, match="interupted"):
        RunRecord("a", "interupted")
    with pytest.raises(InputError, match="run_id"):
        RunRecord("", "running")
    with pytest.raises(InputError, match="time zone"):
        RunRecord("a", "running", recorded_at=datetime.datetime(2026, 1, 1))


def test_every_status_can_be_kept(lake: Lake) -> None:
    for status in RUN_STATUSES:
        lake.append_run(RunRecord(status, status))
    assert sorted(lake.runs.to_pyarrow().column("status").to_pylist()) == sorted(RUN_STATUSES)


def test_the_schema_on_disk_is_the_schema_of_the_observation(lake: Lake) -> None:
    from deltalake import DeltaTable

    lake.append_transfers(observations(1))
    stored = pa.schema(DeltaTable(lake.path / "transfers").schema().to_arrow())
    assert stored.names == arrow_schema().names
    assert [field.nullable for field in stored] == [field.nullable for field in arrow_schema()]


@pytest.mark.parametrize("name", ["with space", "ümlaut", "a,b=c"])
def test_a_folder_of_any_name_can_hold_a_lake(tmp_path: Path, name: str) -> None:
    lake = open_lake(tmp_path / name / "lake")
    lake.append_transfers(observations(2))
    assert row_count(lake) == 2
    assert open_lake(lake.path, versions={"transfers": 1}).transfers.count().to_pyarrow().as_py() == 2


def test_a_lake_can_be_read_at_earlier_versions(lake: Lake) -> None:
    lake.append_transfers(observations(1))
    versions = lake.versions()
    lake.append_transfers(observations(2))
    lake.append_run(RunRecord("run", "complete"))
    earlier = open_lake(lake.path, versions=versions)
    assert earlier.versions() == versions
    assert (row_count(earlier), earlier.runs.count().to_pyarrow().as_py()) == (1, 0)
    assert row_count(open_lake(lake.path)) == 3


def test_a_version_that_was_never_written_is_refused(lake: Lake) -> None:
    with pytest.raises(LakeError, match=r"version 3 of table .*transfers cannot be read"):
        _ = open_lake(lake.path, versions={"transfers": 3}).transfers
    lake.append_transfers(observations(1))
    with pytest.raises(LakeError, match=r"version 3 of table .*transfers cannot be read"):
        _ = open_lake(lake.path, versions={"transfers": 3}).transfers


def test_a_version_whose_files_were_removed_says_so_before_it_is_queried(lake: Lake) -> None:
    lake.append_transfers(observations(1))
    for file in (lake.path / "transfers").glob("*.parquet"):
        file.unlink()
    with pytest.raises(LakeError, match=r"1 of its 1 files were removed, by `perfkit maintain` or by hand"):
        _ = open_lake(lake.path, versions={"transfers": 1}).transfers


def test_what_cannot_be_a_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="transfer"):
        open_lake(tmp_path, versions={"transfer": 1})
    with pytest.raises(InputError, match="-2"):
        open_lake(tmp_path, versions={"transfers": -2})


def test_a_table_remembers_the_schema_that_wrote_it_through_appends_and_rewrites(lake: Lake) -> None:
    lake.append_transfers(observations(1))
    lake.append_transfers(observations(1))
    table = open_table(lake.path / "transfers")
    assert table is not None
    assert table_schema_version(table) == SCHEMA_VERSION
    table.optimize.compact()
    assert table_schema_version(table) == SCHEMA_VERSION


def make_table(path: Path, rows: pa.Table, version: int) -> None:
    from deltalake import write_deltalake

    write_deltalake(path, rows.cast(mark_schema(rows.schema, version)))


def test_a_lake_of_a_newer_schema_is_refused_by_name(lake: Lake) -> None:
    make_table(lake.path / "transfers", observations(1), SCHEMA_VERSION + 1)
    said = rf"transfers has schema version {SCHEMA_VERSION + 1}, this perfkit knows up to {SCHEMA_VERSION}"
    for use in (lambda: lake.transfers, lake.versions, lambda: lake.append_transfers(observations(1))):
        with pytest.raises(LakeError, match=said):
            use()


def test_an_older_table_is_read_with_defaults_and_not_written_to(lake: Lake) -> None:
    make_table(lake.path / "transfers", observations(2), 1)
    rows = lake.transfers.to_pyarrow()
    assert rows.schema.names == arrow_schema().names
    assert rows.column("signalling").to_pylist() == ["uds"] * 2
    assert rows.column("producer").to_pylist() == [""] * 2
    assert lake.transfers.schema() == open_lake(lake.path.with_name("none")).transfers.schema()
    with pytest.raises(LakeError, match="perfkit migrate"):
        lake.append_transfers(observations(1))
    assert row_count(lake) == 2


def test_one_transfer_is_found_by_what_makes_it_unique(lake: Lake) -> None:
    for epoch in (1, 2):
        keys = {"producer": ["slot-000"] * 3, "epoch": [epoch] * 3, "producer_sequence": [1, 2, 3]}
        rows = observations(3, latency_ns=epoch)
        for name, values in keys.items():
            rows = rows.append_column(name, pa.array(values))
        lake.append_transfers(rows)
    found = lake.find_transfer("slot-000", 2, 3)
    assert found is not None
    assert (found["epoch"], found["producer_sequence"], found["latency_ns"]) == (2, 3, 2)
    assert lake.find_transfer("slot-000", 3, 1) is None
    assert lake.find_transfer("slot-001", 1, 1) is None
    table = open_table(lake.path / "transfers")
    assert table is not None
    assert len(files_that_may_hold(table, {"producer": "slot-000", "epoch": 2})) == 1


@pytest.mark.parametrize("name", ["data[1]", "a%20b", "a^b", "a|b", "a\\b", "a\nb"])
def test_folders_that_deltalake_cannot_open_are_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with open_journal(tmp_path / "journal") as journal:
        journal.append("events", {"name": ["one"]})
    folder = tmp_path / name / "lake"
    with pytest.raises(LakeError, match=r"(?s)cannot be used: its path has .* choose a folder"):
        open_lake(folder)
    with pytest.raises(LakeError, match=r"(?s)cannot be used: its path has .* choose a folder"):
        drain(folder, journal=tmp_path / "journal")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["a%b", "star*", "a#b", "q?x", "größer", "a b", "a{b}", "a'b"])
def test_folders_of_other_names_can_be_used(tmp_path: Path, name: str) -> None:
    lake = open_lake(tmp_path / name / "lake")
    lake.append_transfers(observations(1))
    assert row_count(lake) == 1
