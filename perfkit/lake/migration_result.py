"""What a migration did, or would do."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

from perfkit.tables import ResultTable

__all__ = ["Check", "MigratedTable", "MigrationResult"]


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A figure that a migration must not change: rows, nulls or the sum of a column, before and after."""

    name: str
    before: int
    after: int

    @property
    def holds(self) -> bool:
        """Whether it is the same."""
        return self.before == self.after


@dataclasses.dataclass(frozen=True, slots=True)
class MigratedTable:
    """One table that was brought to another version of the schema.

    Args:
        name: the table.
        from_version: version of the schema before.
        to_version: version of the schema afterwards.
        rows: how many it has.
        checks: figures that were compared; each of them held.
    """

    name: str
    from_version: int
    to_version: int
    rows: int
    checks: tuple[Check, ...]


@dataclasses.dataclass(frozen=True)
class MigrationResult:
    """What a migration did; in a dry run, what its rehearsal on a copy did.

    Args:
        lake: folder of the lake.
        dry_run: the lake itself was not changed.
        tables: those that were migrated; none when the lake is of today's schema.
        backup: folder with the lake as it was; empty when nothing was migrated, or in a dry run.
        settled: tables whose rows an earlier migration had committed when it was killed, and that were finished now.
    """

    lake: str
    dry_run: bool
    tables: tuple[MigratedTable, ...]
    backup: str = ""
    settled: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """One row per migrated table; how to go back, below."""
        rows = tuple(
            (
                one.name,
                str(one.from_version),
                str(one.to_version),
                f"{one.rows:,}",
                f"{len(one.checks)} of {len(one.checks)}",
            )
            for one in self.tables
        )
        columns = ("table", "from", "to", "rows", "checks held")
        notes = self._notes()
        return ResultTable(f"Migration of {self.lake}", columns if rows else (), rows, notes, align_right=(1, 2, 3, 4))

    def _notes(self) -> tuple[str, ...]:
        settled = (self._settled_note(),) if self.settled else ()
        if not self.tables:
            return settled or ("Nothing to do: every table is of today's schema.",)
        if self.dry_run:
            return (*settled, "Dry run: rehearsed on a copy, which is removed again; the lake was not changed.")
        lake, backup = shlex.quote(self.lake), shlex.quote(self.backup)
        return (
            *settled,
            f"The lake as it was is kept in {self.backup}; remove it when you do not need it any more.",
            f"To go back: mv {lake} {lake}-migrated && mv {backup} {lake}",
        )

    def _settled_note(self) -> str:
        begun = f"An earlier migration was killed after it had rewritten {', '.join(self.settled)}"
        return f"{begun}: {'to be finished' if self.dry_run else 'finished'}. Its backup is beside the lake."

    def to_plain(self) -> dict[str, Any]:
        """The result as values that JSON can hold."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()
