"""The runs of a lake: find one by a few letters of its name, list them, look at one, keep one."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.config.fingerprint import FINGERPRINT_KEYS, collect_fingerprint, differences
from perfkit.errors import ConfigError, InputError, LakeError, UnknownNameError
from perfkit.lake import Lake, RunRecord
from perfkit.lake.pins import pinned_runs
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.upkeep import runs_in_force

__all__ = [
    "FINISHED",
    "LADDER_PRESET",
    "RunDetails",
    "RunEntry",
    "RunList",
    "refuse_without_rows",
    "resolve_run",
    "run_details",
    "run_records",
    "runs",
]

FINISHED = ("complete", "budget")
"""Statuses of a run that ended by itself."""

LADDER_PRESET = "ladder"
"""A run that measured throughput over concurrency: nothing to fit curves to, so that ``latest`` passes it over."""

_LATEST = re.compile(r"latest(?:~(\d+))?")
_LISTED = 10
_MARKS = {
    "P": "P pinned: retention leaves its rows alone",
    "F": "F the thresholds in force rest on it",
    "H": "H measured on a host that differs from this one",
    "R": "R its rows are gone: retention removed them",
}
_WIDTH = 76


@dataclasses.dataclass(frozen=True)
class RunEntry:
    """A run as a list shows it.

    Args:
        record: its latest state.
        rows: its observations that are still in the lake.
        is_pinned: retention leaves its rows alone.
        is_in_force: the thresholds in force rest on it.
        host_differences: where its host differs from this one, as sentences; empty when they are comparable.
    """

    record: RunRecord
    rows: int
    is_pinned: bool
    is_in_force: bool
    host_differences: tuple[str, ...]

    @property
    def marks(self) -> str:
        """Letters for what is special about it; see the notes of `RunList`."""
        is_gone = self.record.observations > 0 and self.rows == 0
        given = {"P": self.is_pinned, "F": self.is_in_force, "H": bool(self.host_differences), "R": is_gone}
        return " ".join(letter for letter, holds in given.items() if holds)

    def to_plain(self) -> dict[str, Any]:
        """The entry as values that JSON can hold."""
        record = self.record
        return {
            "run": record.run_id,
            "recorded_at": record.recorded_at.isoformat(),
            "status": record.status,
            "preset": record.preset,
            "launches": record.launches,
            "rounds": record.rounds,
            "observations": record.observations,
            "rows": self.rows,
            "seconds": round(record.seconds, 1),
            "pinned": self.is_pinned,
            "in_force": self.is_in_force,
            "host_matches": not self.host_differences,
        }


@dataclasses.dataclass(frozen=True)
class RunList:
    """The runs of a lake, newest first, and what could not be found out about them."""

    lake: str
    entries: tuple[RunEntry, ...]
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """One row per run, and what the marks mean."""
        rows = tuple(
            (
                entry.record.run_id,
                entry.record.status,
                entry.record.preset,
                str(entry.record.launches),
                str(entry.record.observations),
                format_duration(entry.record.seconds * 1e9) if entry.record.seconds else "",
                entry.marks,
            )
            for entry in self.entries
        )
        used = {mark for entry in self.entries for mark in entry.marks.split()}
        notes = tuple(meaning for mark, meaning in _MARKS.items() if mark in used)
        if not rows:
            return ResultTable(f"Runs in {self.lake}", (), (), ("Nothing was measured yet: run `perfkit bench`.",))
        columns = ("run", "status", "preset", "launches", "sends", "took", "marks")
        shown = len(columns) if used else -1  # the room is needed: a run's name is long
        return ResultTable(
            f"Runs in {self.lake}, newest first; their names begin with the time (UTC)",
            columns[:shown],
            tuple(row[:shown] for row in rows),
            (*notes, *_wrapped(self.warnings)),
            align_right=(3, 4, 5),
        )

    def to_plain(self) -> dict[str, Any]:
        """The list as values that JSON can hold."""
        entries = [entry.to_plain() for entry in self.entries]
        return {"lake": self.lake, "runs": entries, "warnings": list(self.warnings)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True)
class RunDetails:
    """All that is known about one run."""

    entry: RunEntry
    warnings: tuple[str, ...]
    fingerprint: Mapping[str, str]
    parameters: Mapping[str, Any]

    def to_table(self) -> ResultTable:
        """A row per fact; where the host differs from this one, and the run's warnings, as notes."""
        entry, record = self.entry, self.entry.record
        facts = {
            "status": record.status,
            "ended (UTC)": f"{record.recorded_at:%Y-%m-%d %H:%M:%S}",
            "took": format_duration(record.seconds * 1e9),
            "preset": record.preset,
            "launches": str(record.launches),
            "rounds": str(record.rounds),
            "sends": f"{record.observations:,} measured, {entry.rows:,} in the lake",
            "pinned": "yes" if entry.is_pinned else "no",
            "thresholds in force": "rest on it" if entry.is_in_force else "do not rest on it",
            "git revision": record.git_revision or "unknown",
            **{words: self.fingerprint[key] for key, words in FINGERPRINT_KEYS.items() if key in self.fingerprint},
        }
        notes = (
            *(f"! another host: {sentence}" for sentence in entry.host_differences),
            *_wrapped(self.warnings),
        )
        return ResultTable(f"Run {record.run_id}", ("what", "value"), tuple(facts.items()), notes)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            **self.entry.to_plain(),
            "git_revision": self.entry.record.git_revision,
            "host_differences": list(self.entry.host_differences),
            "fingerprint": dict(self.fingerprint),
            "parameters": dict(self.parameters),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def runs(lake: str | Path = "data/lake", *, thresholds: str | Path = "thresholds.toml") -> RunList:
    """List the runs of a lake.

    Args:
        lake: folder of the lake; what waits in its journal is drained before.
        thresholds: the published file, to mark the runs that it rests on.

    Returns:
        Every run, newest first.

    Raises:
        LakeError: the lake cannot be read.

    >>> print(runs("a/folder/that/does/not/exist"))
    Runs in a/folder/that/does/not/exist
    Nothing was measured yet: run `perfkit bench`.
    """
    opened = open_fresh_lake(lake)
    return RunList(str(lake), *_entries(opened, run_records(opened), thresholds))


def run_details(run: str, *, lake: str | Path = "data/lake", thresholds: str | Path = "thresholds.toml") -> RunDetails:
    """Look at one run.

    Args:
        run: as `resolve_run` takes it.
        lake: folder of the lake; what waits in its journal is drained before.
        thresholds: the published file, to say whether it rests on the run.

    Raises:
        InputError: no run, or more than one, is meant.
        LakeError: the lake cannot be read.
    """
    opened = open_fresh_lake(lake)
    record = resolve_run(opened, run)
    (entry,), unknown = _entries(opened, [record], thresholds)
    fingerprint, parameters = json.loads(record.fingerprint), json.loads(record.parameters)
    return RunDetails(entry, (*json.loads(record.warnings), *unknown), fingerprint, parameters)


def resolve_run(lake: Lake, text: str) -> RunRecord:
    """The run that a person means.

    Args:
        lake: the lake.
        text: the run's id; the beginning of it, as far as no other run begins like that; ``latest``, the newest run
            that finished; ``latest~1``, the finished one before that, and so on.

    Returns:
        The run's latest state.

    Raises:
        UnknownNameError: the lake has no such run.
        InputError: several runs begin like that, or nothing was given.
        LakeError: there are not as many finished runs, or the lake cannot be read.
    """
    records = run_records(lake)
    if latest := _LATEST.fullmatch(text):
        return _finished(lake, records, int(latest[1] or 0))
    exact = [record for record in records if record.run_id == text]
    found = exact or [record for record in records if text and record.run_id.startswith(text)]
    if len(found) > 1:
        raise InputError(
            f"run {text!r} is not unique, {len(found)} runs begin like that: {_some(found)}; give more of its name"
        )
    if not found:
        hint = "`perfkit runs` lists them; `latest` is the newest one that finished."
        raise UnknownNameError("run", text, [record.run_id for record in records[:_LISTED]], hint)
    return found[0]


def run_records(lake: Lake) -> list[RunRecord]:
    """The latest state of every run, newest first.

    Raises:
        LakeError: the lake cannot be read.
    """
    return [RunRecord(**row) for row in lake.read(lake.runs).to_pylist()]


def refuse_without_rows(lake: Lake, run_id: str) -> None:
    """Say why a run has no observations in the lake, and what to do.

    Raises:
        LakeError: always.
    """
    record = next((one for one in run_records(lake) if one.run_id == run_id), None)
    if record is None or not record.observations:
        why = {"running": "it is being measured, or was killed", "failed": "it failed"}.get(
            record.status if record else "", "it was ended before the first one"
        )
        raise LakeError(
            f"run {run_id} has no transfers in lake {lake.path}: {why}. `perfkit runs` lists the others, "
            "`perfkit bench` measures anew"
        )
    raise LakeError(
        f"run {run_id} has no transfers in lake {lake.path} any more: of {record.observations:,} that were measured "
        "retention removed all. Take a newer run (`perfkit runs`); `perfkit runs pin` keeps those of another"
    )


def _finished(lake: Lake, records: Sequence[RunRecord], back: int) -> RunRecord:
    finished = [record for record in records if record.status in FINISHED and record.preset != LADDER_PRESET]
    if back >= len(finished):
        count = f"only {plural(len(finished), 'finished run')}" if finished else "no finished run"
        others = [record for record in records if record.status not in FINISHED]
        named = f"; not finished: {_some(others)}, to be named where it shall be taken as it is" if others else ""
        raise LakeError(
            f"lake {lake.path} has {count}{named}. `perfkit bench` measures one, `perfkit runs` lists what there is"
        )
    return finished[back]


def _some(records: Sequence[RunRecord]) -> str:
    shown = ", ".join(record.run_id for record in records[:_LISTED])
    return shown if len(records) <= _LISTED else f"{shown} and {len(records) - _LISTED} more"


def _entries(
    lake: Lake, records: Sequence[RunRecord], thresholds: str | Path
) -> tuple[tuple[RunEntry, ...], tuple[str, ...]]:
    """The runs as they are listed, and what could not be found out about them."""
    rows, pinned, here = _rows_by_run(lake), pinned_runs(lake), collect_fingerprint()
    in_force, warnings = _known_in_force(thresholds)
    entries = tuple(
        RunEntry(
            record=record,
            rows=rows.get(record.run_id, 0),
            is_pinned=record.run_id in pinned,
            is_in_force=record.run_id in in_force,
            host_differences=differences(json.loads(record.fingerprint), here),
        )
        for record in records
    )
    return entries, warnings


def _known_in_force(thresholds: str | Path) -> tuple[frozenset[str], tuple[str, ...]]:
    try:
        return frozenset(runs_in_force(Path(thresholds))), ()
    except ConfigError as error:
        return frozenset(), (str(error),)


def _wrapped(warnings: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for warning in warnings for line in textwrap.wrap(f"! {warning}", _WIDTH))


def _rows_by_run(lake: Lake) -> dict[str, int]:
    transfers = lake.transfers
    counted = lake.read(transfers.group_by("run_id").aggregate(rows=transfers.count()))
    return {row["run_id"]: row["rows"] for row in counted.to_pylist()}
