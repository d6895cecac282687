"""What waits in the slots of a journal for one table: read past the marks of the lake, checked, as Arrow."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from perfkit.errors import JournalError, LakeError
from perfkit.journal.reading import Batch, SlotReader
from perfkit.lake.decode import DecodedBatch, decode_batch, to_arrow
from perfkit.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["Chunk", "DamagedBatch", "collect", "read_marks"]


@dataclasses.dataclass(frozen=True)
class DamagedBatch:
    """A batch that cannot be turned into rows, and why."""

    batch: Batch
    reason: str


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows of one table that go into one commit.

    Args:
        rows: with the schema of the table.
        positions: last position looked at by slot: what the rows, and the damaged batches, cover.
        damaged: batches in between that cannot be read.
        held_back: rows by slot that a newer perfkit wrote; they and all that follows them in the slot wait.
        unreadable: why a slot could not be read to its end, by slot; what was read before stands.
        is_last: nothing was left behind for a next chunk.
    """

    rows: pyarrow.Table
    positions: Mapping[str, int]
    damaged: tuple[DamagedBatch, ...]
    held_back: Mapping[str, int]
    unreadable: Mapping[str, str]
    is_last: bool


def read_marks(table: DeltaTable | None, slots: Mapping[str, SlotReader]) -> dict[str, int]:
    """Position up to which the rows of each slot are in the table, in the very version that `table` is at."""
    if table is None:
        return dict.fromkeys(slots, 0)
    return {slot: table.transaction_version(slot) or 0 for slot in slots}


def collect(
    name: str, slots: Mapping[str, SlotReader], marks: Mapping[str, int], *, limit_bytes: int, limit_rows: int
) -> Chunk:
    """Read what waits for one table past the marks, until a limit is reached.

    Args:
        name: one of `perfkit.schema.JOURNALLED_TABLES`.
        slots: reader by slot.
        marks: position by slot that is already in the table.
        limit_bytes: of encoded bodies; the batch that crosses it is still taken.
        limit_rows: rows; the batch that crosses it is still taken.

    Returns:
        The rows. A slot that cannot be read does not hold up the others: `Chunk.unreadable` names it.
    """
    collected = _Collected(limit_bytes, limit_rows)
    unreadable: dict[str, str] = {}
    is_last = True
    for slot, reader in slots.items():
        try:
            is_last = collected.take(slot, reader.batches(name, after_position=marks[slot]))
        except JournalError as error:
            unreadable[slot] = str(error)
        if not is_last:
            break
    rows, damaged = to_arrow(name, collected.taken), tuple(collected.damaged)
    return Chunk(rows, collected.positions, damaged, collected.held_back, unreadable, is_last)


@dataclasses.dataclass
class _Collected:
    """What was read of the slots until now."""

    limit_bytes: int
    limit_rows: int
    taken: list[DecodedBatch] = dataclasses.field(default_factory=list)
    positions: dict[str, int] = dataclasses.field(default_factory=dict)
    damaged: list[DamagedBatch] = dataclasses.field(default_factory=list)
    held_back: dict[str, int] = dataclasses.field(default_factory=dict)
    row_count: int = 0
    byte_count: int = 0

    def take(self, slot: str, batches: Iterable[Batch]) -> bool:
        """Take the batches of a slot; False when a limit was reached and something was left behind."""
        for batch in batches:
            if batch.schema_version > SCHEMA_VERSION or slot in self.held_back:
                self.held_back[slot] = self.held_back.get(slot, 0) + batch.rows
                continue
            if self.row_count >= self.limit_rows or self.byte_count >= self.limit_bytes:
                return False
            self.positions[slot] = batch.position
            try:
                self.taken.append(decode_batch(batch))
            except (JournalError, LakeError) as error:
                self.damaged.append(DamagedBatch(batch, str(error)))
                continue
            self.row_count, self.byte_count = self.row_count + batch.rows, self.byte_count + len(batch.body)
        return True
