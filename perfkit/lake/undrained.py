"""Rows that wait in the journal and are not in the lake yet: for readers that want the last second, too."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import JournalError, LakeError
from perfkit.journal.reading import list_slots, open_slot
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
            readers = {slot.name: stack.enter_context(open_slot(slot.path)) for slot in list_slots(journal)}
            marks = read_marks(table, readers)
            chunk = collect(name, readers, marks, limit_bytes=sys.maxsize, limit_rows=sys.maxsize)
    except JournalError as error:
        raise LakeError(f"journal {journal} cannot be read: {error}; open the lake without undrained rows") from error
    return chunk.rows
