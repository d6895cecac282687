"""A lake of an older schema becomes one of today, in one commit per table, or stays as it is."""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from perfkit.errors import LakeError
from perfkit.lake import Lake, RunRecord, migration_table, open_lake
from perfkit.lake.delta import mark_schema, table_schema_version
from perfkit.lake.lock import hold_lake
from perfkit.lake.migration import migrate
from perfkit.lake.migration_result import MigrationResult
from perfkit.lake.migration_steps import STEPS
from perfkit.lake.pins import pin
from perfkit.lake.records import run_schema
from perfkit.schema import (
    DECISION_COLUMNS,
    PRODUCER_COLUMNS,
    ROLLUP_COLUMNS,
    SCHEMA_VERSION,
    TRANSFER_COLUMNS,
    arrow_schema,
)

MOMENT = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
ADDED_IN_2 = ("producer", "epoch", "producer_sequence")
STAGES_IN_3 = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "handler_ns", "decode_ns")
ADDED_IN_3 = (*STAGES_IN_3, "fallback", "direction")
ADDED_IN_4 = {
    "transfers": ("experiment", "variant", "propensity", "plan_version"),
    "decisions": ("experiment",),
    "rollups": (),
}


def schema_1() -> pa.Schema:
    """The columns of `transfers` in version 1, as they were."""
    return pa.schema([field for field in schema_2() if field.name not in ADDED_IN_2])


def schema_2(table: str = "transfers") -> pa.Schema:
    """The columns of a table in version 2, as they were."""
    return pa.schema([field for field in schema_3(table) if field.name not in ADDED_IN_3])


def schema_3(table: str = "transfers") -> pa.Schema:
    """The columns of a table in version 3, as they were."""
    return pa.schema([field for field in schema_4(table) if field.name not in ADDED_IN_4[table]])


def schema_4(table: str = "transfers") -> pa.Schema:
    """The columns of a table in version 4, as they were."""
    return pa.schema([field for field in arrow_schema(table) if field.name != "available_bytes"])


def rows_2(count: int) -> pa.Table:
    rows = rows_1(count)
    kept = {name: rows.column(name) for name in rows.column_names}
    numbers = {"producer": ["slot-000"] * count, "epoch": [3] * count, "producer_sequence": range(1, count + 1)}
    return pa.table({**kept, **numbers}).select(schema_2().names).cast(schema_2())


def rows_1(count: int, first: int = 0) -> pa.Table:
    columns: dict[str, Any] = {column.name: [column.default] * count for column in TRANSFER_COLUMNS}
    columns |= {
        "run_id": ["run"] * count,
        "observed_at": [MOMENT + datetime.timedelta(microseconds=index) for index in range(count)],
        "method": ["uds", "shm_pool"] * (count // 2),
        "payload_bytes": [2**40] * count,
        "latency_ns": [2**53 + 1 + first + index for index in range(count)],
        "wire_bytes": [None, 1024] * (count // 2),
    }
    return pa.table({field.name: columns[field.name] for field in schema_1()}, schema=schema_1())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake as version 1 left it: several commits, no marker, no table properties."""
    path = tmp_path / "lake"
    for first in (0, 1000, 2000):
        write_deltalake(path / "transfers", rows_1(1000, first), mode="append")
    run = RunRecord("run", "complete", recorded_at=MOMENT)
    row = {name: getattr(run, name) for name in run_schema().names}
    write_deltalake(
        path / "runs",
        pa.Table.from_pylist([row], schema=run_schema()),
        mode="append",
        commit_properties=CommitProperties(),
    )
    return open_lake(path)


def contents(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def stored(lake: Lake) -> list[dict[str, Any]]:
    return lake.transfers.order_by("latency_ns").to_pyarrow().to_pylist()


@pytest.fixture
def lake_2(tmp_path: Path) -> Lake:
    """A lake as version 2 left it: transfers with who produced them, and rollups made of them."""
    path = tmp_path / "lake"
    for name, rows in (("transfers", rows_2(1000)), ("rollups", rollups_2())):
        DeltaTable.create(path / name, mark_schema(rows.schema, 2))
        write_deltalake(path / name, rows.cast(mark_schema(rows.schema, 2)), mode="append")
    return open_lake(path)


def rollups_2() -> pa.Table:
    row = {column.name: column.default for column in ROLLUP_COLUMNS if column.name != "direction"} | {
        "minute": MOMENT,
        "source": "service",
        "method": "uds",
        "size_class": 10,
        "transfers": 7,
        "latency_sum_ns": 700,
        "bucket": [3],
        "bucket_transfers": [7],
    }
    return pa.Table.from_pylist([row], schema=schema_2("rollups"))


def test_version_1_had_all_columns_of_today_but_those_of_the_producer_and_the_service() -> None:
    assert tuple(column.name for column in PRODUCER_COLUMNS) == ADDED_IN_2
    assert len(schema_1()) == 32
    assert len(schema_2()) == 35
    assert len(schema_2("rollups")) == 20
    assert len(schema_3()) == 43
    assert len(schema_3("decisions")) == 19
    assert len(schema_4()) == 47


def test_a_lake_of_version_2_keeps_every_row_and_takes_rows_of_a_service(lake_2: Lake) -> None:
    before, rollups = stored(lake_2), lake_2.rollups.to_pyarrow().to_pylist()
    with pytest.raises(LakeError, match=r"schema version 2.*perfkit migrate"):
        lake_2.append_transfers(rows_1(2))
    result = migrate(lake_2)
    assert {(one.name, one.from_version, one.to_version, one.rows) for one in result.tables} == {
        ("transfers", 2, SCHEMA_VERSION, 1000),
        ("rollups", 2, SCHEMA_VERSION, 1),
    }
    assert stored(lake_2) == before
    assert lake_2.rollups.to_pyarrow().to_pylist() == rollups
    for row in (before[0], rollups[0]):
        assert row["direction"] == "request"
    assert {before[0]["fallback"], *(before[0][name] for name in STAGES_IN_3)} == {"", None}
    for name in ("transfers", "rollups"):
        stored_schema = pa.schema(DeltaTable(lake_2.path / name).schema().to_arrow())
        assert stored_schema.names == arrow_schema(name).names
    reply = {
        "method": "uds",
        "payload_bytes": 9,
        "latency_ns": 1,
        "direction": "reply",
        "copy_ns": 5,
        "source": "service",
    }
    lake_2.append_transfers(pa.Table.from_pylist([reply]))
    kept = stored(lake_2)[0]
    assert (kept["direction"], kept["copy_ns"], kept["encode_ns"]) == ("reply", 5, None)


@pytest.fixture
def lake_3(tmp_path: Path) -> Lake:
    """A lake as version 3 left it: a service's transfers and its decisions."""
    path = tmp_path / "lake"
    decision = {column.name: column.default for column in DECISION_COLUMNS if column.name != "experiment"} | {
        "decision_id": "v7:ml#0",
        "payload_bytes": 9,
        "method": "uds",
        "variant": "B",
        "propensity": 0.5,
    }
    transfers = STEPS["transfers", 2](rows_2(1000)).select(schema_3().names).cast(schema_3())
    for name, rows in (
        ("transfers", transfers),
        ("decisions", pa.Table.from_pylist([decision], schema=schema_3("decisions"))),
    ):
        DeltaTable.create(path / name, mark_schema(rows.schema, 3))
        write_deltalake(path / name, rows.cast(mark_schema(rows.schema, 3)), mode="append")
    return open_lake(path)


def test_a_lake_of_version_3_keeps_every_row_and_takes_rows_of_an_experiment(lake_3: Lake) -> None:
    before = stored(lake_3)
    with pytest.raises(LakeError, match=r"schema version 3.*perfkit migrate"):
        lake_3.append_transfers(rows_1(2))
    result = migrate(lake_3)
    assert {(one.name, one.from_version, one.to_version, one.rows) for one in result.tables} == {
        ("transfers", 3, SCHEMA_VERSION, 1000),
        ("decisions", 3, SCHEMA_VERSION, 1),
    }
    assert stored(lake_3) == before
    assert {before[0][name] for name in ADDED_IN_4["transfers"]} == {"", 1.0, 0}
    (decision,) = lake_3.decisions.to_pyarrow().to_pylist()
    assert (decision["experiment"], decision["variant"], decision["propensity"]) == ("", "B", 0.5)
    for name in ("transfers", "decisions"):
        stored_schema = pa.schema(DeltaTable(lake_3.path / name).schema().to_arrow())
        assert stored_schema.names == arrow_schema(name).names
    explored = {
        "method": "uds",
        "payload_bytes": 9,
        "latency_ns": 1,
        "experiment": "bigger-blocks",
        "variant": "A",
        "propensity": 0.05,
        "plan_version": 7,
    }
    lake_3.append_transfers(pa.Table.from_pylist([explored]))
    assert stored(lake_3)[0] | explored == stored(lake_3)[0]


def test_a_lake_of_version_4_keeps_every_row_and_takes_rows_that_know_the_memory(tmp_path: Path) -> None:
    lake = open_lake(tmp_path / "lake")
    rows = STEPS["transfers", 3](STEPS["transfers", 2](rows_2(1000))).select(schema_4().names).cast(schema_4())
    DeltaTable.create(lake.path / "transfers", mark_schema(rows.schema, 4))
    write_deltalake(lake.path / "transfers", rows.cast(mark_schema(rows.schema, 4)), mode="append")
    before = stored(lake)
    with pytest.raises(LakeError, match=r"schema version 4.*perfkit migrate"):
        lake.append_transfers(rows_1(2))
    (table,) = migrate(lake).tables
    assert (table.name, table.from_version, table.to_version, table.rows) == ("transfers", 4, SCHEMA_VERSION, 1000)
    assert stored(lake) == before
    assert {row["available_bytes"] for row in before} == {None}
    known = {"method": "uds", "payload_bytes": 9, "latency_ns": 1, "available_bytes": 2**33}
    lake.append_transfers(pa.Table.from_pylist([known]))
    assert stored(lake)[0] | known == stored(lake)[0]


def test_version_1_becomes_today_by_way_of_the_versions_between() -> None:
    by_steps = rows_1(10)
    for version in range(1, SCHEMA_VERSION):
        by_steps = STEPS["transfers", version](by_steps)
    assert set(by_steps.column_names) == set(arrow_schema().names)
    alone = STEPS["transfers", 2](rows_2(10))
    assert alone.select(ADDED_IN_3).equals(by_steps.select(ADDED_IN_3))


def test_a_lake_of_version_1_keeps_every_row_and_takes_new_ones(lake: Lake) -> None:
    before = stored(lake)
    with pytest.raises(LakeError, match="perfkit migrate"):
        lake.append_transfers(rows_1(2))
    result = migrate(lake)
    assert [(one.name, one.from_version, one.to_version, one.rows) for one in result.tables] == [
        ("transfers", 1, SCHEMA_VERSION, 3000)
    ]
    assert stored(lake) == before
    table = DeltaTable(lake.path / "transfers")
    assert table_schema_version(table) == SCHEMA_VERSION
    assert pa.schema(table.schema().to_arrow()).names == arrow_schema().names
    assert table.metadata().configuration["delta.enableExpiredLogCleanup"] == "false"
    assert {row["producer"] for row in stored(lake)} == {""}
    lake.append_transfers(rows_1(2))
    assert len(stored(lake)) == 3002
    assert lake.runs.count().to_pyarrow().as_py() == 1


def test_the_rows_change_in_one_commit_and_earlier_versions_stay_readable(lake: Lake) -> None:
    versions = lake.versions()
    pin(lake, "before", versions)
    before = stored(lake)
    migrate(lake)
    operations = [entry["operation"] for entry in DeltaTable(lake.path / "transfers").history()]
    assert operations.count("WRITE") == 3 + 1
    assert stored(open_lake(lake.path, versions=versions)) == before


def test_every_figure_is_compared(lake: Lake) -> None:
    (table,) = migrate(lake).tables
    checks = {check.name: check for check in table.checks}
    assert all(check.holds for check in table.checks)
    assert checks["rows"].before == 3000
    assert checks["nulls of wire_bytes"].before == 1500
    assert checks["sum of latency_ns"].after == sum(row["latency_ns"] for row in stored(lake))
    microseconds = sum(round(row["observed_at"].timestamp() * 1e6) for row in stored(lake))
    assert checks["sum of observed_at"].before == microseconds
    assert len(checks) > 60


def test_a_backup_is_made_first_and_putting_it_back_restores_the_lake(lake: Lake) -> None:
    before = {name: text for name, (_, _, text) in contents(lake.path).items()}
    result = migrate(lake)
    backup = Path(result.backup)
    assert backup.parent == lake.path.parent
    assert {name: text for name, (_, _, text) in contents(backup).items()} == before
    assert "To go back: mv" in str(result)
    lake.path.rename(lake.path.with_name("lake-migrated"))
    backup.rename(lake.path)
    assert table_schema_version(DeltaTable(lake.path / "transfers")) == 1
    assert len(stored(open_lake(lake.path))) == 3000


def test_files_are_copied_where_they_cannot_be_linked(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, os.strerror(18), str(self))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    before = {name: text for name, (_, _, text) in contents(lake.path).items()}
    backup = Path(migrate(lake).backup)
    assert {name: text for name, (_, _, text) in contents(backup).items()} == before


def test_a_dry_run_rehearses_on_a_copy_and_touches_nothing(lake: Lake) -> None:
    before, beside = contents(lake.path), sorted(lake.path.parent.iterdir())
    result = migrate(lake, dry_run=True)
    assert contents(lake.path) == before
    assert sorted(lake.path.parent.iterdir()) == beside
    assert (result.dry_run, result.backup, result.tables[0].rows) == (True, "", 3000)
    assert "rehearsed on a copy" in str(result)
    assert migrate(lake).tables == result.tables


def test_a_second_migration_has_nothing_to_do(lake: Lake) -> None:
    migrate(lake)
    before = contents(lake.path)
    result = migrate(lake)
    assert (result.tables, result.backup) == ((), "")
    assert "Nothing to do" in str(result)
    assert contents(lake.path) == before


def test_a_lake_of_a_newer_schema_is_refused_by_name(lake: Lake) -> None:
    newer = mark_schema(arrow_schema("events"), SCHEMA_VERSION + 1)
    DeltaTable.create(lake.path / "events", newer)
    before = contents(lake.path)
    for dry_run in (True, False):
        with pytest.raises(LakeError, match=rf"table events has schema version {SCHEMA_VERSION + 1}"):
            migrate(lake, dry_run=dry_run)
    assert contents(lake.path) == before


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_step_that_loses_something_is_found_before_the_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    def lossy(rows: pa.Table) -> pa.Table:
        return STEPS["transfers", 1](rows).slice(1)

    monkeypatch.setattr(migration_table, "STEPS", {**STEPS, ("transfers", 1): lossy})
    before = stored(lake)
    with pytest.raises(LakeError, match=r"would not hold what it held: rows: 3,000 before, 2,99\d after"):
        migrate(lake, dry_run=dry_run)
    assert table_schema_version(DeltaTable(lake.path / "transfers")) == 1
    assert stored(lake) == before


def test_a_figure_that_differs_after_the_commit_restores_the_table(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stored(lake)
    monkeypatch.setattr(migration_table, "_totals_of", lambda table, columns: Counter({"rows": 99}))
    with pytest.raises(LakeError, match=r"written differently.*99 after.*version 2 of table .* was restored.*backup"):
        migrate(lake)
    assert table_schema_version(DeltaTable(lake.path / "transfers")) == 1
    assert stored(lake) == before
    monkeypatch.undo()
    assert migrate(lake).tables[0].rows == 3000


def test_a_table_that_cannot_be_restored_sends_back_to_the_backup(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: DeltaTable, version: int, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migration_table, "_totals_of", lambda table, columns: Counter({"rows": 99}))
    monkeypatch.setattr(DeltaTable, "restore", refuse)
    with pytest.raises(LakeError, match=r"could not be restored: .*No space.*go back to the backup.*lake-backup"):
        migrate(lake)


@pytest.mark.parametrize("name", [".", "../lake/."])
def test_a_lake_that_is_the_current_folder_is_backed_up_beside_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(lake.path)
    assert migrate(open_lake(name), dry_run=True).tables
    result = migrate(open_lake(name))
    assert [file.name for file in lake.path.parent.iterdir() if file.name != "lake"] == [Path(result.backup).name]
    assert "mv . " not in str(result)


def test_a_step_that_makes_what_does_not_fit_is_an_error_with_the_column(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(rows: pa.Table) -> pa.Table:
        rows = STEPS["transfers", 1](rows)
        return rows.set_column(rows.column_names.index("epoch"), "epoch", pa.repeat("first", rows.num_rows))

    monkeypatch.setattr(migration_table, "STEPS", {**STEPS, ("transfers", 1): wrong})
    with pytest.raises(LakeError, match=r"cannot be migrated.*first.*The lake as it was is in .*lake-backup"):
        migrate(lake)
    assert len(stored(lake)) == 3000


def test_a_lake_that_is_in_use_or_missing_is_left_alone(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfkit.lake.migration._WAIT_S", 0.1)
    with hold_lake(lake.path, "drain"), pytest.raises(LakeError, match="is held by"):
        migrate(lake)
    with pytest.raises(LakeError, match="does not exist"):
        migrate(open_lake(tmp_path / "nowhere"))
    assert len(stored(lake)) == 3000


@pytest.mark.parametrize(
    ("where", "call", "when", "version", "settled"),
    [
        ("perfkit.lake.migration:_link", 2, "after", 1, ()),
        ("perfkit.lake.migration:migrate_table", 1, "before", 1, ()),
        ("perfkit.lake.migration_table:_at_version", 2, "before", 1, ()),
        ("perfkit.lake.migration_table:replace_rows", 1, "after", SCHEMA_VERSION, ("transfers",)),
        ("perfkit.lake.migration_table:sync_table", 1, "after", SCHEMA_VERSION, ("transfers",)),
        ("perfkit.lake.migration_table:checkpoint", 1, "before", SCHEMA_VERSION, ()),
    ],
)
def test_killed_in_the_middle_it_leaves_the_old_table_or_the_new_one_and_can_be_run_again(
    lake: Lake,
    kill_at: Callable[[str, Path, str, int, str], None],
    where: str,
    call: int,
    when: str,
    version: int,
    settled: tuple[str, ...],
) -> None:
    expected = stored(lake)
    kill_at("perfkit.lake.migration:migrate", lake.path, where, call, when)
    assert table_schema_version(DeltaTable(lake.path / "transfers")) == version
    assert stored(lake) == expected
    assert migrate(lake, dry_run=True).settled == settled
    result = migrate(lake)
    assert (len(result.tables), result.settled) == (version == 1, settled)
    assert not settled or "was killed after it had rewritten transfers" in str(result)
    table = DeltaTable(lake.path / "transfers")
    assert table_schema_version(table) == SCHEMA_VERSION
    assert table.metadata().configuration["delta.enableExpiredLogCleanup"] == "false"
    assert stored(lake) == expected
    assert migrate(lake) == MigrationResult(str(lake.path), False, ())


def test_the_result_renders_itself(lake: Lake) -> None:
    result = migrate(lake, dry_run=True)
    assert all(len(line) <= 80 for line in str(result).splitlines())
    assert "transfers" in result._repr_html_()
    assert json.loads(json.dumps(result.to_plain()))["tables"][0]["to_version"] == SCHEMA_VERSION
