"""What a recorder says about itself."""

from __future__ import annotations

import dataclasses
from typing import Any

from perfkit.tables import ResultTable

__all__ = ["RecorderStatistics"]


@dataclasses.dataclass(frozen=True, slots=True)
class RecorderStatistics:
    """What became of the rows that this process recorded: ``accepted == committed + dropped + buffered``.

    The sum is exact when nobody is recording; a row that is just being taken may be missing in one of them.

    Args:
        accepted: rows that were recorded, outcomes and decisions, whatever became of them.
        committed: rows that are durable; without a journal, outcomes that were taken by the engine.
        dropped: rows that were given up: the oldest of a full buffer, those that cannot be written, and those that came
            after the recorder was closed.
        buffered: rows on their way.
        failures: rows with values that no column holds, and attempts to write to the journal that failed.
        last_error: the newest failure in a sentence; empty when there was none.
        threads: threads that have a buffer.
    """

    accepted: int
    committed: int
    dropped: int
    buffered: int
    failures: int
    last_error: str
    threads: int

    def to_plain(self) -> dict[str, Any]:
        """The figures as plain data."""
        return dataclasses.asdict(self)

    def to_table(self) -> ResultTable:
        """The figures as a table."""
        rows = [(name, f"{value:,}") for name, value in self.to_plain().items() if isinstance(value, int)]
        notes = (self.last_error,) if self.last_error else ()
        return ResultTable("Recorder", ("what", "how many"), tuple(rows), notes, align_right=(1,))

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()
