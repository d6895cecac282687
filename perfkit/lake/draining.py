"""Move what waits in the journal into the lake, each row exactly once, whatever is killed and whenever.

How. A commit of rows carries, as Delta's application transaction, the last journal position of every slot that it took
rows of: rows and mark are there together or not at all. Marks are read from the very object that commits, and a commit
that another one overtook is built anew: so two drainers cannot both commit a row, with or without the lock. The journal
is trimmed only when the commit that covers its rows is on disk, also when an earlier, killed drainer made it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from perfkit.errors import JournalError, LakeError
from perfkit.journal.reading import Slot, SlotReader, list_slots, open_slot, remove_slot
from perfkit.lake.accounting import report_damage, report_losses
from perfkit.lake.checkpoints import checkpoint_if_due
from perfkit.lake.commits import commit_built
from perfkit.lake.drain_result import DrainProgress, DrainResult
from perfkit.lake.durability import sync_table
from perfkit.lake.journal_source import refuse_other_journal
from perfkit.lake.lock import hold_lake
from perfkit.lake.pending import Chunk, collect, read_marks
from perfkit.lake.places import DEFAULT_LAKE_PATH, journal_folder, refuse_unusable_folder
from perfkit.schema import JOURNALLED_TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["drain", "drain_unlocked"]

_CHUNK_BYTES = 64 * 2**20
_CHUNK_ROWS = 500_000
"""Together they bound memory: some 300 MB, however much waits."""


def drain(
    lake: str | Path = DEFAULT_LAKE_PATH,
    *,
    journal: str | Path | None = None,
    wait_s: float = 10.0,
    progress: Callable[[DrainProgress], None] | None = None,
) -> DrainResult:
    """Move what waits in the journal into the lake, each row exactly once.

    Kill it at any moment and run it again. A slot that cannot be read, or not to its end, does not hold up the others:
    `DrainResult.warnings` names it, and what could be read of it is moved. Slots of dead producers are removed once
    they are drained; what their producers took with them, or had dropped, becomes one row of `events` for each process.

    Args:
        lake: folder of the lake; made when rows wait.
        journal: folder of the journal; None for the one beside the lake.
        wait_s: seconds to wait for another drainer, 0 or more.
        progress: called after every commit.

    Returns:
        What was moved, and what was lost, dropped, damaged or held back.

    Raises:
        LakeError: another process held the lake all the time; the lake cannot be written to; it is of another schema;
            it has rows of another journal; or the journal's folder cannot be read. What is not drained stays in the
            journal.

    >>> print(drain("a/folder/that/does/not/exist"))
    Drained 0 rows of 0 slots in 0.0 s
    """
    folder = Path(lake)
    source = journal_folder(folder) if journal is None else Path(journal)
    if not _list_slots(source):
        return DrainResult()
    refuse_unusable_folder(folder)
    with hold_lake(folder, "drain", wait_s):
        return drain_unlocked(folder, source, progress)


def _list_slots(journal: Path) -> tuple[Slot, ...]:
    try:
        return list_slots(journal)
    except JournalError as error:
        raise LakeError(f"the lake cannot be given what waits: {error}; nothing was drained") from error


def drain_unlocked(lake: Path, journal: Path, progress: Callable[[DrainProgress], None] | None = None) -> DrainResult:
    """As `drain`, for those who hold the lake already. Correct without the lock, too; then work may be done twice.

    Raises:
        LakeError: as `drain`.
    """
    begun_s = time.monotonic()
    refuse_other_journal(lake, journal)
    work = _Drain(lake, journal, progress or (lambda _: None), begun_s)
    with contextlib.ExitStack() as stack:
        slots = _list_slots(journal)
        work.open_readers(stack, slots)
        work.count_waiting()
        for name in JOURNALLED_TABLES:
            work.drain_table(name)
        work.report()
    work.remove_dead(slots)
    return work.result(len(slots))


@dataclasses.dataclass
class _Drain:
    """One drain under way: readers of the slots that can be read, and what was done until now."""

    lake: Path
    journal: Path
    progress: Callable[[DrainProgress], None]
    begun_s: float
    readers: dict[str, SlotReader] = dataclasses.field(default_factory=dict)
    rows: dict[str, int] = dataclasses.field(default_factory=dict)
    versions: dict[str, int] = dataclasses.field(default_factory=dict)
    held_back: dict[str, int] = dataclasses.field(default_factory=dict)
    warnings: list[str] = dataclasses.field(default_factory=list)
    removed: list[str] = dataclasses.field(default_factory=list)
    told_up_to_epoch: dict[str, int] = dataclasses.field(default_factory=dict)
    waiting: int = 0
    damaged: int = 0
    lost: int = 0
    dropped: int = 0

    def open_readers(self, stack: contextlib.ExitStack, slots: tuple[Slot, ...]) -> None:
        """Open the slots that can be read, until the stack is closed."""
        for slot in slots:
            try:
                self.readers[slot.name] = stack.enter_context(open_slot(slot.path))
            except JournalError as error:
                if slot.path.exists():  # else another drainer removed it
                    self._warn(str(error))

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """A slot that cannot be read or trimmed does not hold up the others: the result tells of it."""
        try:
            yield
        except JournalError as error:
            self._warn(str(error))

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:  # the same slot fails for every table, and every chunk
            self.warnings.append(warning)

    def drain_table(self, name: str) -> None:
        """Move chunk after chunk, each synced and trimmed before the next is read."""
        if not self._waits(name):
            return
        while True:
            chunk: Chunk | None = None

            def build(table: DeltaTable) -> tuple[pyarrow.Table, Mapping[str, int]] | None:
                nonlocal chunk
                marks = read_marks(table, self.readers)
                chunk = collect(name, self.readers, marks, limit_bytes=_CHUNK_BYTES, limit_rows=_CHUNK_ROWS)
                return (chunk.rows, chunk.positions) if len(chunk.rows) else None

            table = commit_built(self.lake / name, arrow_schema(name), build)
            assert chunk is not None, "build was called"
            self._settle(name, table, chunk)
            if chunk.is_last:
                return

    def _waits(self, name: str) -> bool:
        """Whether a slot has rows of a table: a table without rows is not made."""
        for reader in self.readers.values():
            with self._going_on():
                if name in reader.tables():
                    return True
        return False

    def _settle(self, name: str, table: DeltaTable, chunk: Chunk) -> None:
        """Make a commit durable, trim what it covers, and count it."""
        self.damaged += report_damage(self.lake, self.journal, chunk.damaged)
        # Also where this drain moved nothing: an earlier one may have been killed between its commit and its trim.
        covered = read_marks(table, self.readers)
        sync_table(table)
        self._checkpoint(table)
        for slot, reader in self.readers.items():
            last = max(covered[slot], chunk.positions.get(slot, 0))
            if last:
                with self._going_on():
                    reader.trim({name: last})
        for warning in chunk.unreadable.values():
            self._warn(warning)
        for slot, count in chunk.held_back.items() if chunk.is_last else ():
            self.held_back[slot] = self.held_back.get(slot, 0) + count
        if len(chunk.rows):
            self.rows[name] = self.rows.get(name, 0) + len(chunk.rows)
            self.versions[name] = int(table.version())
            self._tell(name)

    def _checkpoint(self, table: DeltaTable) -> None:
        from deltalake.exceptions import DeltaError

        try:
            checkpoint_if_due(table)
        except (DeltaError, OSError) as error:  # the commit stands; only opening the table stays slow
            self.warnings.append(f"no checkpoint of {table.table_uri} could be written: {error}; check the free space")

    def count_waiting(self) -> None:
        """What progress is measured by; producers may add to it."""
        for reader in self.readers.values():
            with self._going_on():
                self.waiting += sum(reader.waiting_rows(name) for name in JOURNALLED_TABLES)

    def _tell(self, name: str) -> None:
        done = sum(self.rows.values())
        total = max(done, self.waiting)
        seconds_left = (time.monotonic() - self.begun_s) / done * (total - done)
        self.progress(DrainProgress(done, total, f"draining {name}", seconds_left))

    def report(self) -> None:
        """Turn what dead producers lost or dropped into events."""
        for slot, reader in self.readers.items():
            with self._going_on():
                told = report_losses(self.lake, slot, reader)
                self.lost, self.dropped = self.lost + told.lost, self.dropped + told.dropped
                self.told_up_to_epoch[slot] = told.epoch

    def remove_dead(self, slots: tuple[Slot, ...]) -> None:
        """Remove the slots of dead producers of which nothing waits any more."""
        for slot in slots:
            told = self.told_up_to_epoch.get(slot.name)
            if told is None or slot.is_alive:
                continue
            with self._going_on():
                if remove_slot(slot.path, told_up_to_epoch=told):
                    self.removed.append(slot.name)

    def result(self, slots: int) -> DrainResult:
        """What was done."""
        return DrainResult(
            rows=self.rows,
            versions=self.versions,
            slots=slots,
            removed=tuple(self.removed),
            lost=self.lost,
            dropped=self.dropped,
            damaged=self.damaged,
            held_back=sum(self.held_back.values()),
            warnings=tuple(self.warnings),
            seconds=time.monotonic() - self.begun_s,
        )
