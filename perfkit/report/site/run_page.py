"""The page of one run: how it went, what changed, what it was made from, and how to run it again."""

from __future__ import annotations

import re
from collections.abc import Sequence

from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.site.changes import changes_between
from perfkit.report.site.changes_view import changes_html
from perfkit.report.site.commands import again_command, recomputings
from perfkit.report.site.runs import KeptRun
from perfkit.report.site.templating import read_template, render

__all__ = ["Neighbours", "run_html"]

_ENDED = {
    "failed": "failed",
    "timed out": "took longer than it may and was stopped",
    "out of memory": "took more memory than it may and was stopped",
    "interrupted": "was stopped by a person, or by a shutdown",
    "lost": "was under way when its process went away",
    "running": "was under way when its process went away",
}

_RAISED = re.compile(r"[A-Za-z_][\w.]*: ")

Neighbours = tuple[KeptRun | None, KeptRun | None, KeptRun | None]
"""The run before, the run after, and the last good run before, of the same report."""


def run_html(kept: KeptRun, neighbours: Neighbours, key: str) -> str:
    """The page of a run.

    Args:
        kept: the run.
        neighbours: as said there.
        key: stands in the page's first line; when it is another one, the page is out of date.
    """
    run = kept.run
    before, after, last_good = neighbours
    changes = None
    if last_good is not None and run.status != "running":
        changes = changes_between(last_good.run, run)
    notebooks = [
        (one, f"{one.page_name}.html" if _has(run, one, "html") else "", _files(run, one)) for one in run.notebooks
    ]
    failed = [one for one in run.notebooks if one.status not in ("complete", "not run")]
    return render(
        "run.html.j2",
        key=key,
        kept=kept,
        run=run,
        before=before,
        after=after,
        last_good=last_good,
        changes=changes,
        changes_body="" if changes is None else changes_html(changes),
        failed=[(one, *_how_it_ended(one), _has(run, one, "html")) for one in failed],
        not_run=[one.title for one in run.notebooks if one.status == "not run"],
        notebooks=notebooks,
        has_links=any(links for _, _, links in notebooks),
        has_own=any(one.own_seconds for one in run.notebooks),
        has_attempts=any(one.attempts > 1 for one in run.notebooks),
        has_memory=any(one.peak_memory_bytes for one in run.notebooks),
        figures=[one for one in run.notebooks if one.records],
        versions=_versions(run),
        again=again_command(run),
        recomputings=recomputings(run) if run.status != "running" else (),
        script=read_template("copy.js") + read_template("ages.js"),
    )


def _how_it_ended(notebook: NotebookResult) -> tuple[str, bool]:
    """In a few words, and whether its error is one that Python raised."""
    raised = notebook.status == "failed" and _RAISED.match(notebook.error) is not None
    return "stopped at an error" if raised else _ENDED.get(notebook.status, notebook.status), raised


def _files(run: PipelineResult, notebook: NotebookResult) -> Sequence[tuple[str, str]]:
    """What there is of a notebook besides its page: as it was executed, its log, and earlier attempts."""
    kinds = (("ipynb", "notebook"), ("log", "log"))
    found = [(words, f"{notebook.page_name}.{ending}") for ending, words in kinds if _has(run, notebook, ending)]
    earlier = [
        (f"attempt {number}", f"{notebook.page_name}.attempt-{number}.ipynb") for number in range(1, notebook.attempts)
    ]
    return found + [(words, name) for words, name in earlier if (run.report_path / name).exists()]


def _has(run: PipelineResult, notebook: NotebookResult, ending: str) -> bool:
    return (run.report_path / f"{notebook.page_name}.{ending}").exists()


def _versions(run: PipelineResult) -> Sequence[tuple[str, str]]:
    return [
        (one.title, ", ".join(f"{table} {version}" for table, version in one.versions.items() if version >= 0))
        for one in run.notebooks
        if any(version >= 0 for version in one.versions.values())
    ]
