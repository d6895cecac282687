"""Take runs out of a lake and put one in, whole and durable: observations first, then the record that names them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from perfkit.errors import LakeError
from perfkit.lake.delta import ConflictError, open_table, refuse_newer
from perfkit.lake.durability import sync_table
from perfkit.lake.lake import Lake
from perfkit.lake.records import RunRecord
from perfkit.lake.rewriting import delete_rows

if TYPE_CHECKING:
    import pyarrow
    from deltalake import DeltaTable

__all__ = ["insert_run", "remove_runs"]

_TABLES = ("transfers", "runs")
"""In this order: a run whose record is still there can be named, and removed, again."""
_ATTEMPTS = 20


def remove_runs(lake: Lake, run_ids: Collection[str]) -> int:
    """Remove the observations of runs in one commit, then their records in another.

    Killed in between, it can be repeated. Earlier versions of the tables still have the rows, until `perfkit maintain`
    removes the files.

    Args:
        lake: the lake, held by the caller (`perfkit.lake.lock.hold_lake`).
        run_ids: ids of runs; those that the lake does not have are removed already.

    Returns:
        How many observations were removed.

    Raises:
        LakeError: a table cannot be read or written to. What was committed until then stays removed.
    """
    names = ", ".join("'" + run_id.replace("'", "''") + "'" for run_id in sorted(run_ids))
    removed = [_changed(lake, name, lambda table: delete_rows(table, f"run_id in ({names})")) for name in _TABLES]
    return removed[0]


def insert_run(lake: Lake, record: RunRecord | None, observations: pyarrow.Table) -> None:
    """Append observations in one commit, then the record of their run in another.

    Killed in between, the observations are there without a record.

    Args:
        lake: the lake, held by the caller.
        record: None where the lake has it.
        observations: columns of `perfkit.schema.TRANSFER_COLUMNS`; without rows where the lake has them.

    Raises:
        LakeError: a table cannot be written to. What was committed until then stays.
    """
    if observations.num_rows:
        lake.append_transfers(observations)
    if record is not None:
        lake.append_run(record)
    for name in _TABLES:
        table = open_table(lake.path / name)
        if table is not None:
            sync_table(table)


def _changed(lake: Lake, name: str, change: Callable[[DeltaTable], int]) -> int:
    """What a change of the newest version returns, made durable; again when somebody else committed first."""
    for _ in range(_ATTEMPTS):
        table = open_table(lake.path / name)
        if table is None:
            return 0
        refuse_newer(table)
        try:
            changed = change(table)
        except ConflictError:
            continue
        sync_table(table)
        return changed
    raise LakeError(f"{lake.path / name}: others committed first {_ATTEMPTS} times; run again when they are done")
