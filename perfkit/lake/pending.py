"""What waits in the slots of a journal for one table: read past the marks of the lake, checked, as Arrow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
        is_last: nothing was left behind for a next chunk.
    """

    rows: pyarrow.Table
    positions: Mapping[str, int]
    damaged: tuple[DamagedBatch, ...]
    held_back: Mapping[str, int]
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

    Raises:
        JournalError: a slot cannot be read.
    """
    taken: list[DecodedBatch] = []
    positions: dict[str, int] = {}
    damaged: list[DamagedBatch] = []
    held_back: dict[str, int] = {}
    row_count, byte_count = 0, 0
    for slot, reader in slots.items():
        for batch in reader.batches(name, after_position=marks[slot]):
            if batch.schema_version > SCHEMA_VERSION or slot in held_back:
                held_back[slot] = held_back.get(slot, 0) + batch.rows
                continue
            if row_count >= limit_rows or byte_count >= limit_bytes:
                return Chunk(to_arrow(name, taken), positions, tuple(damaged), held_back, is_last=False)
            positions[slot] = batch.position
            try:
                taken.append(decode_batch(batch))
            except (JournalError, LakeError) as error:
                damaged.append(DamagedBatch(batch, str(error)))
                continue
            row_count, byte_count = row_count + batch.rows, byte_count + len(batch.body)
    return Chunk(to_arrow(name, taken), positions, tuple(damaged), held_back, is_last=True)
