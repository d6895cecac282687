"""Rows that wait in the journal and are not in the lake yet: for readers that want the last second, too."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import JournalError, LakeError
from perfkit.journal.reading import SlotReader, list_slots, open_slot
from perfkit.lake.pending import collect, read_marks

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["read_undrained"]


def read_undrained(journal: Path, name: str, table: DeltaTable | None) -> pyarrow.Table:
    """The rows of the journal that a version of a table lacks.

    Args:
        journal: folder of the journal.
        name: one of `perfkit.schema.JOURNALLED_TABLES`.
        table: the version that the rows are to be united with; None for a table that does not exist yet.

    Returns:
        The rows with the schema of the table, without batches that are damaged or that a newer perfkit wrote: the
        drain reports both.

    Raises:
        LakeError: the journal cannot be read.
    """
    try:
        with contextlib.ExitStack() as stack:
            readers = _open_readers(stack, journal)
            marks = read_marks(table, readers)
            chunk = collect(name, readers, marks, limit_bytes=sys.maxsize, limit_rows=sys.maxsize)
    except JournalError as error:
        raise _unreadable(journal, str(error)) from error
    if chunk.unreadable:
        raise _unreadable(journal, "; ".join(chunk.unreadable.values()))
    return chunk.rows


def _open_readers(stack: contextlib.ExitStack, journal: Path) -> dict[str, SlotReader]:
    """The slots of a journal, opened until the stack is closed."""
    readers = {}
    for slot in list_slots(journal):
        try:
            readers[slot.name] = stack.enter_context(open_slot(slot.path))
        except JournalError:
            if slot.path.exists():
                raise
            # Else a drain removed it since it was listed: its rows are in the lake.
    return readers


def _unreadable(journal: Path, why: str) -> LakeError:
    return LakeError(f"journal {journal} cannot be read: {why}; open the lake without undrained rows")
