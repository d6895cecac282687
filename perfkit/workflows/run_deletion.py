"""Delete runs: refused for those that somebody relies on, repeatable when it is interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake
from perfkit.lake.lock import hold_lake
from perfkit.lake.pins import pinned_runs, unpin_run
from perfkit.lake.run_rows import remove_runs
from perfkit.tables import ResultTable, plural
from perfkit.workflows.events import record_event
from perfkit.workflows.fresh import open_drained_lake
from perfkit.workflows.run_lock import hold_run
from perfkit.workflows.runs import resolve_run
from perfkit.workflows.upkeep import runs_in_force

__all__ = ["DeletedRuns", "delete_runs"]

_WAIT_S = 30.0


@dataclasses.dataclass(frozen=True)
class DeletedRuns:
    """What was, or would be, deleted.

    Args:
        lake: folder of the lake.
        observations: observations by run.
        dry_run: whether nothing was deleted.
        warnings: what did not work beside it.
    """

    lake: str
    observations: dict[str, int]
    dry_run: bool
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """One row per run."""
        runs = plural(len(self.observations), "run")
        title = f"Would delete {runs} from {self.lake}" if self.dry_run else f"Deleted {runs} from {self.lake}"
        rows = tuple((run, str(count)) for run, count in self.observations.items())
        freed = () if self.dry_run else ("`perfkit maintain` frees the disk space.",)
        notes = (*freed, *(f"! {warning}" for warning in self.warnings))
        return ResultTable(title, ("run", "observations"), rows, notes, align_right=(1,))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return dataclasses.asdict(self)

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def delete_runs(
    runs: Sequence[str],
    *,
    lake: str | Path = "data/lake",
    thresholds: str | Path = "thresholds.toml",
    force: bool = False,
    dry_run: bool = False,
) -> DeletedRuns:
    """Delete the observations and the records of runs.

    Interrupted between the two, the same call does the rest. Reports that pinned versions of the tables can still be
    recomputed.

    Args:
        runs: each as `perfkit.workflows.runs.resolve_run` takes it.
        lake: folder of the lake; what waits in its journal is drained before.
        thresholds: the published file: the runs that it rests on are its evidence.
        force: delete pinned runs and such evidence, too.
        dry_run: only say what would be deleted.

    Returns:
        The runs with their observations.

    Raises:
        InputError: no run, or more than one, is meant by a name; a run is pinned or in force, or what is in force is
            broken. Nothing was deleted.
        LakeError: a run is being measured, what waits in the journal cannot be drained (it would come back), or the
            lake is in use or cannot be written to.

    >>> delete_runs(["20261121"], lake="a/folder/that/does/not/exist")
    Traceback (most recent call last):
    perfkit.errors.UnknownNameError: unknown run '20261121'; allowed: none. `perfkit runs` lists them; `latest` is ...
    """
    opened, drain_warnings = open_drained_lake(lake)
    run_ids = list(dict.fromkeys(resolve_run(opened, run).run_id for run in runs))
    if not run_ids:
        raise InputError("no run is named; `perfkit runs` lists them")
    if not force:
        _refuse_kept(run_ids, opened, thresholds)
    found = DeletedRuns(str(lake), _count(opened, run_ids), dry_run, drain_warnings)
    if dry_run:
        return found
    with contextlib.ExitStack() as stack:
        for run_id in run_ids:
            if not stack.enter_context(hold_run(opened.path, run_id)):
                raise LakeError(
                    f"run {run_id} is being measured; wait for its end, or interrupt it. Nothing was deleted"
                )
        stack.enter_context(hold_lake(opened.path, "delete runs", _WAIT_S))
        remove_runs(opened, run_ids)
        for run_id in run_ids:
            unpin_run(opened, run_id)
    return dataclasses.replace(found, warnings=(*drain_warnings, *_tell(found)))


def _refuse_kept(run_ids: Collection[str], lake: Lake, thresholds: str | Path) -> None:
    pinned = sorted(pinned_runs(lake).intersection(run_ids))
    if pinned:
        raise InputError(
            f"pinned: {', '.join(pinned)}; release with `perfkit runs unpin`, or delete all the same with --force. "
            "Nothing was deleted"
        )
    in_force = sorted(set(runs_in_force(Path(thresholds))).intersection(run_ids))
    if in_force:
        raise InputError(
            f"{thresholds} rests on {', '.join(in_force)}: without it nobody can fit it again. Publish another run "
            "first, or delete all the same with --force. Nothing was deleted"
        )


def _count(lake: Lake, run_ids: Sequence[str]) -> dict[str, int]:
    transfers = lake.transfers
    wanted = transfers.filter(transfers.run_id.isin(run_ids))
    counted = wanted.group_by("run_id").aggregate(rows=wanted.count()).to_pyarrow().to_pylist()
    rows = {row["run_id"]: row["rows"] for row in counted}
    return {run_id: rows.get(run_id, 0) for run_id in run_ids}


def _tell(deleted: DeletedRuns) -> tuple[str, ...]:
    warnings: list[str] = []
    for run_id, count in deleted.observations.items():
        message = f"Run {run_id} and its {plural(count, 'observation')} were deleted."
        details = {"run": run_id, "observations": count}
        warnings += record_event(deleted.lake, "run deleted", subject=run_id, message=message, details=details)
    return tuple(dict.fromkeys(warnings))
