"""What `perfkit reports` tells: the runs of a folder, and one of them with what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfkit.report.results import PipelineResult
from perfkit.report.site.changes import RunChanges, changes_between, last_good_before, moment
from perfkit.report.site.runs import KeptRun, find_kept_run, read_runs
from perfkit.tables import ResultTable, plural
from perfkit.units import format_duration

__all__ = ["ReportDetails", "ReportList", "compare_reports", "list_reports", "report_details"]


@dataclasses.dataclass(frozen=True, slots=True)
class ReportList:
    """The runs of a reports folder.

    Args:
        runs: newest first.
        left_out: how many older ones are not listed.
        unreadable: folders whose record cannot be read.
    """

    runs: tuple[KeptRun, ...]
    left_out: int
    unreadable: tuple[str, ...]

    def to_table(self) -> ResultTable:
        """One row per run; why it failed, below."""
        rows = tuple(
            (
                one.run.run_id,
                one.run.pipeline,
                one.run.status + (" (future)" if one.is_from_future else ""),
                moment(one.run.started_at),
                format_duration(one.run.seconds * 1e9) if one.run.seconds else "",
            )
            for one in self.runs
        )
        notes = [f"{one.run.run_id}: {error}" for one in self.runs if one.is_failure for error in one.errors]
        if self.left_out:
            notes.append(f"{plural(self.left_out, 'older run')} not listed; --all lists them.")
        if self.unreadable:
            notes.append(f"! not readable: {', '.join(self.unreadable)}")
        if not rows:
            notes.append("There is no report yet; `perfkit run` writes one.")
        return ResultTable("Reports", ("run", "report", "status", "started", "took"), rows, tuple(notes), (4,))

    def to_plain(self) -> dict[str, Any]:
        """The runs as values that JSON can hold."""
        runs = [
            {
                "run": one.run.run_id,
                "pipeline": one.run.pipeline,
                "status": one.run.status,
                "started_at": one.run.started_at,
                "seconds": one.run.seconds,
                "started_by": one.run.started_by,
                "git_revision": one.run.git_revision,
                "from_future": one.is_from_future,
                "errors": one.errors,
                "report": str(one.run.report_path),
            }
            for one in self.runs
        ]
        return {"runs": runs, "left_out": self.left_out, "unreadable": list(self.unreadable)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text(100)


@dataclasses.dataclass(frozen=True, slots=True)
class ReportDetails:
    """One run, and what changed since the last good one before it.

    Args:
        run: the run.
        changes: None where there is no good run before it.
    """

    run: PipelineResult
    changes: RunChanges | None

    def to_tables(self) -> list[ResultTable]:
        """The notebooks, the headline figures, what changed."""
        figures = tuple(
            (kept.name, kept.value_text, kept.interval_text, kept.verdict, notebook.title)
            for notebook in self.run.notebooks
            for kept in notebook.records
        )
        tables = [self.run.to_table()]
        if figures:
            columns = ("figure", "value", "interval", "verdict", "notebook")
            tables.append(ResultTable("Headline figures", columns, figures, align_right=(1,)))
        return [*tables, *([self.changes.to_table()] if self.changes is not None and self.changes.figures else [])]

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {**self.run.to_plain(), "changes": None if self.changes is None else self.changes.to_plain()}

    def _repr_html_(self) -> str:
        return "".join(table.to_html() for table in self.to_tables())

    def __str__(self) -> str:
        return "\n\n".join(table.to_text(100) for table in self.to_tables())


def list_reports(reports_folder: str | Path = "reports", *, most: int | None = None) -> ReportList:
    """The runs of a reports folder.

    Args:
        reports_folder: what holds a folder per run.
        most: how many of the newest; None for all.
    """
    runs, unreadable = read_runs(Path(reports_folder))
    shown = runs if most is None else runs[:most]
    return ReportList(tuple(shown), len(runs) - len(shown), tuple(unreadable))


def report_details(name: str = "latest", reports_folder: str | Path = "reports") -> ReportDetails:
    """One run with what changed since the last good one before it.

    Args:
        name: an id, the beginning of one, "latest", or a folder.
        reports_folder: what holds a folder per run.

    Raises:
        InputError: there is no such run, or several begin like that.
    """
    runs, _ = read_runs(Path(reports_folder))
    run = find_kept_run(runs, name).run
    before = last_good_before(run, _records(runs))
    return ReportDetails(run, None if before is None else changes_between(before, run))


def compare_reports(before: str, after: str, reports_folder: str | Path = "reports") -> RunChanges:
    """What changed from one run to another.

    Args:
        before: named as for `report_details`.
        after: likewise.
        reports_folder: what holds a folder per run.

    Raises:
        InputError: there is no such run, or several begin like that.
    """
    runs, _ = read_runs(Path(reports_folder))
    return changes_between(find_kept_run(runs, before).run, find_kept_run(runs, after).run)


def _records(runs: Sequence[KeptRun]) -> list[PipelineResult]:
    return [one.run for one in runs]
