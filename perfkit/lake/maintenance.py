"""Keep a lake small: roll up, delete what is too old, merge small files, remove files that nothing needs any more."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from perfkit.errors import InputError, LakeError
from perfkit.lake.checkpoints import checkpoint, clean_log, log_needed_from
from perfkit.lake.delta import open_table, refuse_other_schema
from perfkit.lake.durability import sync_table
from perfkit.lake.lake import LAKE_TABLES, Lake, open_lake
from perfkit.lake.lock import hold_lake
from perfkit.lake.maintenance_result import MaintenanceResult, TableUpkeep, UpkeepProgress
from perfkit.lake.pins import active_pins, all_pins, pinned_runs, unpin
from perfkit.lake.records import table_schema
from perfkit.lake.rewriting import (
    change_newest,
    compact_files,
    delete_rows,
    remove_files,
    rewriting,
    table_at,
)
from perfkit.lake.rollups import roll_up

if TYPE_CHECKING:
    import ibis
    from deltalake import DeltaTable

__all__ = ["maintain"]

_WAIT_S = 10.0  # for a drain that is under way
_TIME_COLUMNS: Mapping[str, str] = MappingProxyType(
    {"transfers": "observed_at", "decisions": "decided_at", "events": "occurred_at", "rollups": "minute"}
)
"""By what rows get old. The `runs` table is small, and kept."""
_ROW_TABLES = ("transfers", "decisions")


@dataclasses.dataclass(frozen=True)
class _Limits:
    """What may go: rows before a day, unless they are of a run to keep, and files not in use for some hours."""

    rows_before: datetime.date
    rollups_before: datetime.date
    keep_runs: frozenset[str]
    keep_hours: int
    dry_run: bool


def maintain(
    lake: Lake,
    *,
    keep_rows_days: int = 7,
    keep_rollups_days: int = 400,
    keep_runs: Collection[str] = (),
    keep_replaced_hours: int = 24,
    dry_run: bool = False,
    progress: Callable[[UpkeepProgress], None] | None = None,
) -> MaintenanceResult:
    """Roll up, delete rows that are too old, merge small files, remove files and log entries that nothing needs.

    Versions that a pin names stay readable, and rows of pinned runs stay. Killed at any moment, it leaves the lake as
    it was or with a part of the work done; running it again does the rest.

    Args:
        lake: the lake; drained before, so that what waits in the journal is rolled up, too. Whatever versions it was
            opened at, it is the newest ones that are maintained.
        keep_rows_days: transfers and decisions of this many whole days (UTC) stay, beside today's; 1 or more.
        keep_rollups_days: likewise rollups and events; not fewer than `keep_rows_days`.
        keep_runs: further runs whose rows stay, such as those behind the thresholds in force.
        keep_replaced_hours: files that were in use so recently stay, for those who are reading an earlier version and
            for writers that are about to commit; 0 only where there are none.
        dry_run: only say what would be done.
        progress: called before every table.

    Returns:
        What was done, by table.

    Raises:
        InputError: a limit is out of range; nothing was changed.
        LakeError: the lake does not exist, is in use, of another schema, or cannot be written to. What was done until
            then is whole.
    """
    _check_limits(keep_rows_days, keep_rollups_days, keep_replaced_hours)
    if not lake.path.is_dir():
        raise LakeError(f"lake {lake.path} does not exist; give the folder that holds transfers/ and runs/")
    lake = open_lake(lake.path)  # what it was opened at, or shows of the journal, must not decide what is deleted
    today = datetime.datetime.now(datetime.UTC).date()
    limits = _Limits(
        rows_before=today - datetime.timedelta(keep_rows_days),
        rollups_before=today - datetime.timedelta(keep_rollups_days),
        keep_runs=frozenset(keep_runs) | pinned_runs(lake),
        keep_hours=keep_replaced_hours,
        dry_run=dry_run,
    )
    tell = progress or (lambda _: None)
    if dry_run:
        return _carry_out(lake, limits, tell)
    with hold_lake(lake.path, "maintain", _WAIT_S):
        return _carry_out(lake, limits, tell)


def _check_limits(keep_rows_days: int, keep_rollups_days: int, keep_replaced_hours: int) -> None:
    if keep_rows_days < 1:
        raise InputError(f"keep_rows_days == {keep_rows_days}, must be 1 or more")
    if keep_rollups_days < keep_rows_days:
        raise InputError(
            f"keep_rollups_days == {keep_rollups_days}, must not be below keep_rows_days == {keep_rows_days}: "
            "rollups say what was, when the rows are gone"
        )
    if keep_replaced_hours < 0:
        raise InputError(f"keep_replaced_hours == {keep_replaced_hours}, must be 0 or more")


def _carry_out(lake: Lake, limits: _Limits, tell: Callable[[UpkeepProgress], None]) -> MaintenanceResult:
    for name, table in _existing(lake).items():
        refuse_other_schema(table, table_schema(name))
    pins = active_pins(lake)
    tell(UpkeepProgress(0, 1 + len(LAKE_TABLES), "rolling up"))
    released = sorted({one.name for one in all_pins(lake)} - {one.name for one in pins})
    rollups = roll_up(lake, first_day=limits.rollups_before, freeze_before=limits.rows_before, dry_run=limits.dry_run)
    if not limits.dry_run:
        for name in released:
            unpin(lake, name)
    warnings: list[str] = []
    tables = []
    for done, name in enumerate(_existing(lake), start=1):
        tell(UpkeepProgress(done, 1 + len(LAKE_TABLES), name))
        asked = {one.versions[name]: one.name for one in pins if name in one.versions}
        readable = _readable(lake.path / name, asked, warnings)
        tables.append(_keep_table(lake, name, limits, readable))
    return MaintenanceResult(
        lake=str(lake.path),
        dry_run=limits.dry_run,
        tables=tuple(tables),
        rollups=rollups,
        released_pins=tuple(released),
        kept_runs=tuple(sorted(limits.keep_runs)),
        warnings=tuple(warnings),
    )


def _existing(lake: Lake) -> dict[str, DeltaTable]:
    tables = {name: open_table(lake.path / name) for name in LAKE_TABLES}
    return {name: table for name, table in tables.items() if table is not None}


def _readable(path: Path, asked: Mapping[int, str], warnings: list[str]) -> set[int]:
    """The pinned versions that are still there; a pin of another would keep every vacuum from working."""
    readable = set()
    for version, pin_name in asked.items():
        try:
            open_table(path, version)
            readable.add(version)
        except LakeError as error:
            warnings.append(f"pin {pin_name} keeps nothing: {error}")
    return readable


def _keep_table(lake: Lake, name: str, limits: _Limits, pinned: Collection[int]) -> TableUpkeep:
    path = lake.path / name
    deleted = _delete_old(lake, name, limits)
    merged = 0 if limits.dry_run else change_newest(path, compact_files)
    table = table_at(path)
    if not limits.dry_run:
        sync_table(table)  # before the files go whose rows these commits hold
    removed, freed = _remove_files(table, pinned, limits)
    entries = 0 if limits.dry_run else _clean_log(path, pinned, limits.keep_hours)
    return TableUpkeep(name, deleted, merged, removed, freed, entries, int(table_at(path).version()))


def _delete_old(lake: Lake, name: str, limits: _Limits) -> int:
    column = _TIME_COLUMNS.get(name)
    if column is None:
        return 0
    before = limits.rows_before if name in _ROW_TABLES else limits.rollups_before
    kept = sorted(limits.keep_runs) if name == "transfers" else []
    rows: ibis.Table = getattr(lake, name)
    old = rows.filter(rows[column] < datetime.datetime.combine(before, datetime.time(), datetime.UTC))
    if kept:
        old = old.filter(~old.run_id.isin(kept))
    count = int(old.count().to_pyarrow().as_py())
    if limits.dry_run or not count:
        return count
    predicate = f"{column} < '{before.isoformat()}T00:00:00Z'"
    if kept:
        names = ", ".join("'" + run_id.replace("'", "''") + "'" for run_id in kept)
        predicate += f" and run_id not in ({names})"
    return change_newest(lake.path / name, lambda table: delete_rows(table, predicate))


def _remove_files(table: DeltaTable, pinned: Collection[int], limits: _Limits) -> tuple[int, int]:
    """How many files go, and what they take on disk."""
    remove = functools.partial(remove_files, table, keep_versions=pinned, keep_hours=limits.keep_hours)
    found = remove(dry_run=True)
    freed = sum(file.stat().st_size for file in found if file.exists())
    if found and not limits.dry_run:  # a vacuum that removes nothing would still commit twice
        remove(dry_run=False)
    return len(found), freed


def _clean_log(path: Path, pinned: Collection[int], keep_hours: int) -> int:
    with rewriting(path):
        checkpoint(table_at(path))
        needed_from = log_needed_from(path, keep_hours)
        kept = {version for version in pinned if version < needed_from}
        for version in kept:
            checkpoint(table_at(path, version))
        return clean_log(path, before_version=needed_from, keep_versions=kept)
