"""What a drain did."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from perfkit.tables import ResultTable, plural

__all__ = ["DrainProgress", "DrainResult"]


@dataclasses.dataclass(frozen=True)
class DrainProgress:
    """How far a drain has come: rows that it moved, of those that waited when it began."""

    done: float
    total: float
    label: str
    seconds_left: float | None


@dataclasses.dataclass(frozen=True)
class DrainResult:
    """What a drain moved and what it found.

    Args:
        rows: rows moved, by table.
        versions: version of each table that holds them; tables that got no rows are not named.
        slots: journal slots that were looked at.
        removed: slots of dead producers that were drained and removed.
        lost: rows that were accepted and that a killed producer took with it, reported by this drain.
        dropped: rows that a producer dropped - journal full, disk full - reported by this drain.
        damaged: batches that could not be read and were set aside in the journal's folder ``damaged``.
        held_back: rows that a newer perfkit wrote: they wait for a perfkit that knows their columns.
        warnings: what else to look at.
        seconds: how long it took.

    >>> print(DrainResult(rows={"transfers": 3000}, versions={"transfers": 7}, slots=2))
    Drained 3,000 rows of 2 slots in 0.0 s
     table       rows   version
    ────────────────────────────
     transfers   3000         7
    """

    rows: Mapping[str, int] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    slots: int = 0
    removed: tuple[str, ...] = ()
    lost: int = 0
    dropped: int = 0
    damaged: int = 0
    held_back: int = 0
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_table(self) -> ResultTable:
        """Rows and version of every table that got rows, and what went wrong as notes."""
        moved = sum(self.rows.values())
        rows = tuple((name, str(count), str(self.versions[name])) for name, count in self.rows.items())
        said = (
            (self.lost, f"{plural(self.lost, 'row')} lost with killed producers; see the lake's events"),
            (self.dropped, f"{plural(self.dropped, 'row')} dropped by producers; see the lake's events"),
            (self.damaged, f"{plural(self.damaged, 'damaged batch', ['damaged batches'])} set aside"),
            (
                self.held_back,
                f"{plural(self.held_back, 'row')} of a newer perfkit wait in the journal: upgrade",
            ),
            (len(self.removed), f"removed, as their producers are gone: {', '.join(self.removed)}"),
        )
        title = f"Drained {moved:,} rows of {plural(self.slots, 'slot')} in {self.seconds:.1f} s"
        notes = (*(sentence for count, sentence in said if count), *self.warnings)
        return ResultTable(title, ("table", "rows", "version") if rows else (), rows, notes, align_right=(1, 2))

    def to_plain(self) -> dict[str, Any]:
        """The result as values that JSON can hold."""
        return {
            **dataclasses.asdict(self),
            "rows": dict(self.rows),
            "versions": dict(self.versions),
            "removed": list(self.removed),
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        return self.to_table().to_text()

    def _repr_html_(self) -> str:
        return self.to_table().to_html()
