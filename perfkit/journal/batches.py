"""What travels through a journal: encoded rows, and where they came to lie."""

from __future__ import annotations

import dataclasses

__all__ = ["Batch", "EncodedBatch", "EpochState"]


@dataclasses.dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Rows of one table, ready to be committed.

    Args:
        table: the table that the rows belong to.
        rows: how many they are, 1 or more.
        body: their columns, see `perfkit.journal.encoding`.
    """

    table: str
    rows: int
    body: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Rows as they lie in a slot.

    Args:
        slot: name of the slot.
        table: the table that the rows belong to.
        position: place within the slot; grows with every batch for ever, over all tables.
        epoch: which holder of the slot wrote it.
        schema_version: `perfkit.schema.SCHEMA_VERSION` of its writer.
        first_sequence: number of its first row within the epoch; the others follow without a gap.
        rows: how many they are.
        body: their columns; `perfkit.journal.reading.decode_body` reads them.
    """

    slot: str
    table: str
    position: int
    epoch: int
    schema_version: int
    first_sequence: int
    rows: int
    body: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class EpochState:
    """What became of the rows of one holder of a slot: ``accepted == committed + dropped + lost`` once it is closed.

    Args:
        epoch: number of the holder, growing.
        accepted: rows that were handed in, whatever became of them.
        committed: rows that are durable, drained ones included.
        dropped: rows that were handed in and refused, and known to be: no room, no disk, not encodable.
        lost: rows that a killed holder had taken and not written; 0 while it lives.
        is_open: the holder lives: its figures still move.
    """

    epoch: int
    accepted: int
    committed: int
    dropped: int
    lost: int
    is_open: bool
