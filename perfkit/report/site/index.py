"""The index of all reports: runs by pipeline, newest first, failures among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfkit.report.results import RUN_FILE, PipelineResult, read_run
from perfkit.report.site.page import TEMPLATES
from perfkit.units import format_duration

__all__ = ["write_index"]


def write_index(reports_folder: Path) -> None:
    """Write `index.html` anew from the runs in the folder, in one step: readers never see half of it.

    A run whose file cannot be read is named at the foot, and does not keep the others from being listed.
    """
    import jinja2

    runs, unreadable = _read_runs(reports_folder)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES / "perfkit"), autoescape=True)
    text = environment.get_template("reports.html.j2").render(
        pipelines=_by_pipeline(runs),
        unreadable=unreadable,
        last=_last,
        duration=format_duration,
        style=(TEMPLATES / "perfkit" / "style.css").read_text(encoding="utf-8"),
    )
    partial = reports_folder / ".index.html.partial"
    partial.write_text(text, encoding="utf-8")
    partial.replace(reports_folder / "index.html")


def _read_runs(reports_folder: Path) -> tuple[list[PipelineResult], list[str]]:
    runs, unreadable = [], []
    for file in sorted(reports_folder.glob(f"*/{RUN_FILE}"), reverse=True):
        folder = file.parent
        if folder.is_symlink():  # "latest" is one of the others
            continue
        try:
            run = read_run(folder)
        except (OSError, KeyError, TypeError, ValueError):
            unreadable.append(folder.name)
            continue
        if run.run_id == folder.name:  # a copy under another name, such as the sample, is no run of this machine
            runs.append(run)
    return runs, unreadable


def _by_pipeline(runs: Sequence[PipelineResult]) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        records = [kept for notebook in run.notebooks for kept in notebook.records]
        grouped.setdefault(run.pipeline, []).append({**_fields(run), "records": records})
    return grouped


def _fields(run: PipelineResult) -> dict[str, Any]:
    names = ("run_id", "status", "started_at", "seconds", "git_revision", "notebooks")
    return {name: getattr(run, name) for name in names}


def _last(runs: Sequence[dict[str, Any]], succeeded: bool) -> str:
    for run in runs:
        if run["status"] not in ("running", "interrupted") and (run["status"] == "complete") == succeeded:
            return str(run["started_at"])[:16].replace("T", " ") + " UTC"
    return "none"
