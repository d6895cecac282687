"""What a run of a pipeline was, as results and as the small file beside its pages."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.report.notebook.records import Record
from perfkit.report.whole_files import write_whole
from perfkit.tables import ResultTable
from perfkit.units import format_duration

__all__ = [
    "NOTEBOOK_STATUSES",
    "RUN_FILE",
    "NotebookResult",
    "PipelineProgress",
    "PipelineResult",
    "read_run",
    "write_run",
]

RUN_FILE = "run.json"
NOTEBOOK_STATUSES = ("complete", "not run", "interrupted", "timed out", "out of memory", "failed")
"""How a notebook can end; an incomplete run has the status of the notebook that ended it."""


@dataclasses.dataclass(frozen=True, slots=True)
class PipelineProgress:
    """How far a pipeline has come: notebooks done, of how many, and the one under way with its elapsed time."""

    done: float
    total: float
    label: str
    seconds_left: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class NotebookResult:
    """How one notebook went.

    Args:
        name: file name of the notebook without its ending.
        status: one of `NOTEBOOK_STATUSES`.
        seconds: how long it ran, with everything around it.
        error: the last line of its traceback, or why it ended; empty when it completed.
        records: its headline figures.
        versions: versions of the lake's tables that it read, by table; they are pinned while the report is there.
        point: its parameters from the pipeline's grid, by name; empty without a grid.
        page: file name of its page and of the executed notebook, without their ending; `name` when empty.
        attempts: how often it was run, 0 for one that was not.
        own_seconds: how long its own cells took, of `seconds`.
        peak_memory_bytes: the most resident memory that it was seen to take, with its processes; None where unknown.
        notes: what a reader of its figures should know, a sentence each.
    """

    name: str
    status: str
    seconds: float = 0.0
    error: str = ""
    records: tuple[Record, ...] = ()
    versions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    point: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    page: str = ""
    attempts: int = 0
    own_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name, with the point of the grid where there is one.

        >>> NotebookResult("30_tune", "complete", point={"goal": "latency"}).title
        '30_tune (goal = latency)'
        """
        point = ", ".join(f"{name} = {value}" for name, value in self.point.items())
        return f"{self.name} ({point})" if point else self.name

    @property
    def page_name(self) -> str:
        """File name of its page, without its ending."""
        return self.page or self.name


@dataclasses.dataclass(frozen=True, slots=True)
class PipelineResult:
    """How a pipeline went, and where its report is.

    Args:
        run_id: name of the report's folder.
        pipeline: what was run.
        status: "running", or how the worst of its notebooks ended: one of `NOTEBOOK_STATUSES`.
        started_at: ISO 8601, UTC.
        seconds: how long it ran.
        report_path: the report's folder.
        thresholds_path: the file that was to be published.
        published_version: the version that was published; None when nothing was.
        parameters: what was given to the notebooks.
        git_revision: revision of the caller's folder; empty outside a repository.
        notebooks: in the order in which they ran.
        not_published: why nothing was published, in a few words; empty where something was, or it came not so far.
        installed: versions of what computed the figures, by name: Python, perfkit and the libraries beneath.
        started_by: "person", or "schedule" for a run that a timer started.
        fingerprint: the host that was measured, as `perfkit.config.fingerprint` describes it; empty where unknown.
        notes: what went wrong around the notebooks, a sentence each; none of it changes the status.
    """

    run_id: str
    pipeline: str
    status: str
    started_at: str
    seconds: float
    report_path: Path
    thresholds_path: Path
    published_version: int | None
    parameters: Mapping[str, Any]
    git_revision: str
    notebooks: tuple[NotebookResult, ...]
    not_published: str = ""
    installed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    started_by: str = "person"
    fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Titles of the notebooks that did not run, because one before them did not complete."""
        return tuple(one.title for one in self.notebooks if one.status == "not run")

    def to_table(self) -> ResultTable:
        """One row per notebook; where the report is, below."""
        rows = tuple(
            (one.title, one.status, format_duration(one.seconds * 1e9) if one.seconds else "", one.error)
            for one in self.notebooks
        )
        left_out = f"left out, because what comes before failed: {', '.join(self.left_out)}" if self.left_out else ""
        remarks = [f"{one.title}: {note}" for one in self.notebooks for note in one.notes]
        published = "" if self.published_version is None else f"; published version {self.published_version}"
        published = f"; not published: {self.not_published}" if self.not_published else published
        outcome = f"{self.status} after {format_duration(self.seconds * 1e9)}{published}"
        notes = tuple(filter(None, (outcome, left_out, *remarks, *self.notes, f"report: {self.report_path}")))
        columns = ("notebook", "status", "time", "error")
        return ResultTable(f"Pipeline {self.pipeline}", columns, rows, notes, align_right=(2,))

    def to_plain(self) -> dict[str, Any]:
        """The result as values that JSON can hold."""
        plain = dataclasses.asdict(self)
        return {**plain, "report_path": str(self.report_path), "thresholds_path": str(self.thresholds_path)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def write_run(result: PipelineResult) -> None:
    """Keep the result beside its pages, for the index, in one step.

    Raises:
        OSError: it could not be written; what was there is as it was.
    """
    places = {"report_path": result.report_path, "thresholds_path": result.thresholds_path}
    # Relative to the file itself: a report tells nothing of where its author keeps things.
    relative = {name: os.path.relpath(place, result.report_path) for name, place in places.items()}
    text = json.dumps({**result.to_plain(), **relative}, indent=1, ensure_ascii=False)
    write_whole(result.report_path / RUN_FILE, text + "\n")


def read_run(folder: Path) -> PipelineResult:
    """Read what `write_run` wrote.

    Raises:
        OSError: the file cannot be read.
        KeyError, TypeError, ValueError: it is not what this perfkit writes.
    """
    plain = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    notebooks = tuple(
        NotebookResult(
            **{**one, "records": tuple(Record(**kept) for kept in one["records"]), "notes": tuple(one.get("notes", ()))}
        )
        for one in plain["notebooks"]
    )
    paths = {"report_path": folder, "thresholds_path": (folder / plain["thresholds_path"]).resolve()}
    return PipelineResult(**{**plain, **paths, "notebooks": notebooks, "notes": tuple(plain.get("notes", ()))})
