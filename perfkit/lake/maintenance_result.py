"""What keeping a lake small did, or would do."""

from __future__ import annotations

import dataclasses
from typing import Any

from perfkit.lake.rollups import RollupResult
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes

__all__ = ["MaintenanceResult", "TableUpkeep", "UpkeepProgress"]


@dataclasses.dataclass(frozen=True, slots=True)
class UpkeepProgress:
    """How far upkeep has come: steps done, of how many, and the table that is next."""

    done: float
    total: float
    label: str
    seconds_left: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TableUpkeep:
    """What was done to one table.

    Args:
        name: the table.
        rows_deleted: rows that were too old.
        files_merged: how many files there are less because small ones were merged.
        files_removed: files that no version in use needed any more.
        bytes_removed: what these files took on disk.
        log_entries_removed: entries and checkpoints of the log, likewise.
        version: the table's version afterwards.
    """

    name: str
    rows_deleted: int
    files_merged: int
    files_removed: int
    bytes_removed: int
    log_entries_removed: int
    version: int


@dataclasses.dataclass(frozen=True)
class MaintenanceResult:
    """What keeping a lake small did; in a dry run, what it would do.

    Args:
        lake: folder of the lake.
        dry_run: nothing was changed.
        tables: one per table that exists.
        rollups: what was rolled up; in a dry run, the days that would be.
        released_pins: pins whose keeper is gone.
        kept_runs: runs whose rows stay however old they are: pinned, or behind the thresholds in force.
        warnings: what could not be done as asked.
    """

    lake: str
    dry_run: bool
    tables: tuple[TableUpkeep, ...]
    rollups: RollupResult
    released_pins: tuple[str, ...]
    kept_runs: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """One row per table."""
        rows = tuple(
            (
                one.name,
                f"{one.rows_deleted:,}",
                str(one.files_merged),
                str(one.files_removed),
                format_bytes(one.bytes_removed),
            )
            for one in self.tables
        )
        days = plural(len(self.rollups.rebuilt), "day")
        notes = (
            f"{days} {'to roll up' if self.dry_run else 'rolled up'}; {plural(self.rollups.frozen, 'day')} frozen",
            *([f"rows kept of {', '.join(self.kept_runs)}"] if self.kept_runs else []),
            *([f"pins released: {', '.join(self.released_pins)}"] if self.released_pins else []),
            *([] if not self.dry_run else ["Dry run: nothing was changed. Merging makes more files removable later."]),
            *self.rollups.warnings,
            *self.warnings,
        )
        columns = ("table", "rows deleted", "files merged", "files removed", "freed")
        return ResultTable(f"Upkeep of {self.lake}", columns, rows, notes, align_right=(1, 2, 3, 4))

    def to_plain(self) -> dict[str, Any]:
        """The result as values that JSON can hold."""
        return {**dataclasses.asdict(self), "rollups": self.rollups.to_plain()}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()
