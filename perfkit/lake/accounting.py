"""Tell in the lake what never arrived: rows lost, dropped or damaged become events, each exactly once."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import LakeError
from perfkit.journal.reading import EpochState, SlotReader
from perfkit.lake.checkpoints import sync_files
from perfkit.lake.commits import Build, commit_built
from perfkit.lake.delta import conform
from perfkit.lake.durability import sync_table
from perfkit.lake.pending import DamagedBatch
from perfkit.schema import EVENT_COLUMNS, arrow_schema
from perfkit.tables import plural

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["DAMAGED_FOLDER", "ReportedLosses", "report_damage", "report_losses"]

DAMAGED_FOLDER = "damaged"


@dataclasses.dataclass(frozen=True)
class ReportedLosses:
    """What a drain told of a slot.

    Args:
        lost: rows lost that were told now.
        dropped: rows dropped that were told now.
        epoch: the last epoch that ended: whatever it and those before it lost has been told; 0 when none ended.
    """

    lost: int
    dropped: int
    epoch: int


def report_losses(lake: Path, slot: str, reader: SlotReader) -> ReportedLosses:
    """Turn what ended epochs of a slot lost or dropped into events, each epoch once.

    The application transaction of the commit is the last epoch that was reported: epochs of a slot only grow.

    Args:
        lake: folder of the lake.
        slot: name of the slot.
        reader: reader of the slot; it may name epochs that were reported before.

    Returns:
        What was told.

    Raises:
        JournalError: the slot cannot be read or settled.
        LakeError: the events could not be written; they are reported by the next drain.
    """
    reader.settle()
    all_ended = [one for one in reader.epochs() if not one.is_open]
    ended = [one for one in all_ended if one.lost or one.dropped]
    mark = f"lost:{slot}"
    reported: list[EpochState] = []

    def build(table: DeltaTable) -> tuple[pyarrow.Table, Mapping[str, int]] | None:
        before = table.transaction_version(mark) or 0
        reported[:] = [one for one in ended if one.epoch > before]
        if not reported:
            return None
        events = [event for one in reported for event in _loss_events(slot, one)]
        return _event_rows(events), {mark: reported[-1].epoch}

    if ended:
        _commit_events(lake, build)
    last = max((one.epoch for one in all_ended), default=0)
    return ReportedLosses(sum(one.lost for one in reported), sum(one.dropped for one in reported), last)


def _loss_events(slot: str, epoch: EpochState) -> list[dict[str, Any]]:
    details = {
        "epoch": epoch.epoch,
        "accepted": epoch.accepted,
        "committed": epoch.committed,
        "dropped": epoch.dropped,
        "lost": epoch.lost,
    }
    said = (
        ("rows lost", epoch.lost, "its process was killed before they were written"),
        ("rows dropped", epoch.dropped, "the journal was full or could not be written"),
    )
    return [
        _event(name, slot, f"{plural(count, 'row')} of epoch {epoch.epoch} of {slot}: {reason}", details)
        for name, count, reason in said
        if count
    ]


def report_damage(lake: Path, journal: Path, damaged: Sequence[DamagedBatch]) -> int:
    """Set damaged batches aside in the journal's folder and tell of each in an event, once.

    Returns:
        The batches that were reported now.

    Raises:
        LakeError: a batch could not be set aside or told of; it stays in the journal.
    """
    count = 0
    for one in damaged:
        file = _set_aside(journal, one)
        mark, position = f"damaged:{one.batch.slot}:{one.batch.table}", one.batch.position
        details = {"table": one.batch.table, "position": position, "rows": one.batch.rows, "file": file.name}
        message = (
            f"{plural(one.batch.rows, 'row')} of {one.batch.table} in {one.batch.slot} cannot be read: {one.reason}"
        )
        rows = _event_rows([_event("rows damaged", one.batch.slot, message, details)])
        count += _commit_once(lake, mark, position, rows)
    return count


def _commit_once(lake: Path, mark: str, position: int, rows: pyarrow.Table) -> bool:
    """Commit events unless the mark is at the position already: says whether they were."""
    is_new = False

    def build(table: DeltaTable) -> tuple[pyarrow.Table, Mapping[str, int]] | None:
        nonlocal is_new
        is_new = (table.transaction_version(mark) or 0) < position
        return (rows, {mark: position}) if is_new else None

    _commit_events(lake, build)
    return is_new


def _set_aside(journal: Path, one: DamagedBatch) -> Path:
    file = journal / DAMAGED_FOLDER / f"{one.batch.slot}-{one.batch.table}-{one.batch.position}.body"
    partial = file.with_suffix(f".{os.getpid()}.partial")
    try:
        file.parent.mkdir(exist_ok=True)
        partial.write_bytes(one.batch.body)
        sync_files([partial])
        partial.replace(file)
        sync_files([file])
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise LakeError(f"damaged batch {file} could not be set aside: {error}; it stays in the journal") from error
    return file


def _commit_events(lake: Path, build: Build) -> None:
    sync_table(commit_built(lake / "events", arrow_schema("events"), build))


def _event(name: str, subject: str, message: str, details: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "occurred_at": datetime.datetime.now(datetime.UTC),
        "name": name,
        "severity": "warning",
        "subject": subject,
        "message": message,
        "details": json.dumps(details),
    }


def _event_rows(events: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    import pyarrow as pa

    return conform(pa.Table.from_pylist(list(events)), arrow_schema("events"), EVENT_COLUMNS)
