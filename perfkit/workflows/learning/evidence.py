"""What a lake holds for a model to learn from: transfers of one host, and which of them are new to a model."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.errors import FitError, UnknownNameError
from perfkit.lake import Lake
from perfkit.learn.models import read_rows
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.learning.learned import DIGESTED, NUMBERED_BY, Learned, digests

if TYPE_CHECKING:
    import ibis
    import pyarrow

__all__ = ["ANY_HOST", "THIS_HOST", "Evidence", "open_evidence", "usable"]

THIS_HOST, ANY_HOST = "this", "any"
_MOST_ROWS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Measurements and traffic of one host, at one moment.

    Attributes:
        lake: that holds them.
        rows: all of them, not in memory.
        warnings: what was left out.
    """

    lake: Lake
    rows: ibis.Table
    warnings: tuple[str, ...]

    def newest(self, *, since: datetime.datetime | None = None) -> pyarrow.Table:
        """The newest million in memory, oldest first.

        Args:
            since: only what was observed after it.
        """
        return self._read(self.rows if since is None else self.rows.filter(self.rows.observed_at > since))

    def count(self, *, since: datetime.datetime | None = None) -> int:
        """How many there are."""
        rows = self.rows if since is None else self.rows.filter(self.rows.observed_at > since)
        return int(self.lake.read(rows.aggregate(n=rows.count()))["n"][0].as_py())

    def new_to(self, learned: Learned) -> pyarrow.Table:
        """What a model has not learned from, the newest million, oldest first."""
        table = self._read(self._marked(learned, new=True))
        return table.filter(~learned.holds(table))

    def known_to(self, learned: Learned, most: int) -> pyarrow.Table:
        """What a model has learned from, the newest of it, oldest first."""
        table = self._read(self._marked(learned, new=False), most)
        return table.filter(learned.holds(table))

    def everything(self, before: Learned | None = None) -> Learned:
        """What a model has learned from that saw all of this.

        Args:
            before: what it had learned from: a run that was deleted may be imported again.
        """
        number = self.rows.producer_sequence
        groups = self.rows.group_by(NUMBERED_BY).aggregate(mark=number.max(), first=number.min())
        found = self.lake.read(groups).to_pylist()
        by_key = {(str(one["run_id"]), str(one["producer"]), int(one["epoch"])): int(one["mark"]) for one in found}
        if all(one["first"] > 0 for one in found):
            unnumbered = np.empty(0, np.uint64)
        else:
            unnumbered = np.unique(digests(self.lake.read(self.rows.filter(number == 0).select(*DIGESTED))))
        runs = {} if before is None else {key: mark for key, mark in before.marks.items() if key[0]}
        marks_of_all = {key: max(by_key.get(key, 0), runs.get(key, 0)) for key in {**runs, **by_key}}
        return Learned(marks_of_all, unnumbered)

    def _marked(self, learned: Learned, *, new: bool) -> ibis.Table:
        """Rows that may be new (or known), told by their numbers as far as these tell: few are then read."""
        import ibis

        rows = self.rows
        if learned.until is not None:
            return rows if new else rows.filter(rows.observed_at <= learned.until)
        if not learned.marks:
            return rows if new else rows.filter(rows.producer_sequence == 0)
        names = (*NUMBERED_BY, "mark")
        marks = ibis.memtable(
            [dict(zip(names, (*key, mark), strict=True)) for key, mark in learned.marks.items()],
            schema={"run_id": "string", "producer": "string", "epoch": "int64", "mark": "int64"},
        )
        joined = rows.left_join(marks, list(NUMBERED_BY))
        is_known = ibis.ifelse(joined.mark.isnull(), False, joined.producer_sequence <= joined.mark)
        chosen = (~is_known if new else is_known) | (joined.producer_sequence == 0)
        return joined.filter(chosen).select(*rows.columns)

    def _read(self, rows: ibis.Table, most: int = _MOST_ROWS) -> pyarrow.Table:
        newest = rows.order_by(rows.observed_at.desc()).limit(most)
        return self.lake.read(newest.order_by("observed_at"))


def open_evidence(lake: str | Path, host: str = THIS_HOST) -> Evidence:
    """Open a lake, drained before, and choose the transfers of a host.

    Args:
        lake: folder of the lake.
        host: ``this``: runs measured on a host like this one, and traffic, which is recorded where it happens; ``any``:
            all; or a run's id: runs measured on a host like that run's, and no traffic where that is another host.

    Raises:
        UnknownNameError: there is no such run.
        LakeError: the lake cannot be read.
    """
    opened = open_fresh_lake(lake)
    rows = opened.transfers
    rows = rows.filter(rows.source != "replay")
    if host == ANY_HOST:
        return Evidence(opened, rows, ())
    has_runs = opened.versions()["runs"] >= 0
    records = opened.read(opened.runs.select("run_id", "fingerprint")).to_pylist() if has_runs else []
    fingerprints = {str(one["run_id"]): json.loads(one["fingerprint"]) for one in records}
    here = collect_fingerprint()
    asked = here if host == THIS_HOST else _fingerprint_of(host, fingerprints)
    foreign = sorted(name for name, one in fingerprints.items() if differences(one, asked))
    if foreign:
        rows = rows.filter(rows.run_id.notin(foreign))
    if differences(asked, here):
        rows = rows.filter(rows.run_id.isin(sorted(fingerprints)))
    return Evidence(opened, rows, _said(foreign, host))


def usable(table: pyarrow.Table) -> int:
    """How many rows of a table a model would learn from."""
    try:
        return len(read_rows(table)) if table.num_rows else 0
    except FitError:
        return 0


def _fingerprint_of(run: str, fingerprints: dict[str, Any]) -> Any:
    if run not in fingerprints:
        hint = "`perfkit runs` shows the runs."
        raise UnknownNameError("host", run, (THIS_HOST, ANY_HOST, *sorted(fingerprints)), hint)
    return fingerprints[run]


def _said(foreign: Collection[str], host: str) -> tuple[str, ...]:
    if not foreign:
        return ()
    if host == THIS_HOST:
        return (
            f"{len(foreign)} runs are of another host, or of this one before it changed; they are left out. To learn "
            "from them: `perfkit learn --host RUN`, with --models of their own",
        )
    return (f"{len(foreign)} runs are of a host unlike that of run {host}; they are left out",)
