"""The page of one notebook of a run: what changed, or why it failed, above it; how it was made below."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.site.changes import changes_between
from perfkit.report.site.changes_view import changes_html
from perfkit.report.site.commands import again_command
from perfkit.report.site.failure import explanation, failing_cell, with_failure_shown
from perfkit.report.site.page import failure_of, write_page
from perfkit.report.site.runs import find_last_good
from perfkit.report.site.templating import render
from perfkit.report.whole_files import write_whole
from perfkit.units import format_bytes, format_duration

__all__ = ["mend_notebook_page", "write_notebook_page"]

_LOG_LINES = 20
_LAST_GOOD = re.compile(r'(Last good run: )<a href="\.\./([^/"]+)/[^"]*">([^<]*)</a>')


def write_notebook_page(
    run: PipelineResult, result: NotebookResult, notebook: Any, parameters: Mapping[str, Any]
) -> None:
    """Write the page of a notebook into the folder of its run.

    Args:
        run: what it belongs to.
        result: how it went.
        notebook: as it was executed, an nbformat node.
        parameters: what it was given.

    Raises:
        ReportError: the page could not be produced or written.
    """
    last_good = find_last_good(run)
    path = run.report_path / f"{result.page_name}.html"
    facts = _facts(run, result, parameters)
    if result.status == "complete":
        intro = "" if last_good is None else _changes(last_good, run, result)
        write_page(notebook, path, run_id=run.run_id, facts=facts, intro=intro)
        return
    log = path.with_suffix(".log")
    log_lines = [] if failure_of(notebook) else _end_of_log(log)
    banner = render(
        "failure.html.j2",
        result=result,
        explanation=explanation(result.status, notebook, result.error),
        raised=bool(failure_of(notebook)),
        has_cell=failing_cell(notebook) is not None,
        has_log=bool(log_lines),
        log=log.name if log.exists() else "",
        last_good=last_good,
        last_good_has_page=last_good is not None and (last_good.report_path / f"{result.page_name}.html").exists(),
        not_run=_not_run(run, result),
        again=again_command(run),
    )
    write_page(with_failure_shown(notebook, log_lines), path, run_id=run.run_id, facts=facts, banner=banner)


def mend_notebook_page(page: Path) -> None:
    """Take the link to the last good run from the page of a failed notebook, once that run was removed.

    Raises:
        OSError: the page cannot be written.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # there is none, or it is none of ours
        return
    found = _LAST_GOOD.search(text)
    if found is None or (page.parent.parent / urllib.parse.unquote(found[2])).exists():
        return
    write_whole(page, _LAST_GOOD.sub(r"\1\3, no longer kept", text, count=1), durable=False)


def _changes(before: PipelineResult, run: PipelineResult, result: NotebookResult) -> str:
    import dataclasses

    changes = changes_between(before, dataclasses.replace(run, notebooks=(result,))).of_page(result.page_name)
    if not changes.figures:
        return ""
    return render("since.html.j2", changes=changes, body=changes_html(changes))


def _not_run(run: PipelineResult, result: NotebookResult) -> list[str]:
    """The notebooks after this one; other points of its own grid do run."""
    names = [one.name for one in run.notebooks]
    after = names[len(names) - names[::-1].index(result.name) :] if result.name in names else []
    return list(dict.fromkeys(after))


def _facts(run: PipelineResult, result: NotebookResult, parameters: Mapping[str, Any]) -> dict[str, str]:
    read = ", ".join(f"{table} {version}" for table, version in result.versions.items() if version >= 0)
    own = f" (its cells {format_duration(result.own_seconds * 1e9)})" if result.own_seconds else ""
    memory = None if result.peak_memory_bytes is None else format_bytes(result.peak_memory_bytes)
    installed = ", ".join(f"{name} {version}" for name, version in run.installed.items())
    facts = {
        "Notebook": f"{result.name}.ipynb",
        "Started": run.started_at,
        "Started by": run.started_by,
        "Duration": format_duration(result.seconds * 1e9) + own,
        "Attempts": str(result.attempts) if result.attempts > 1 else "",
        "Peak memory": memory or "",
        "Parameters": ", ".join(f"{name} = {value}" for name, value in parameters.items()) or "defaults",
        "Lake versions": read,
        "Git revision": run.git_revision or "none",
        "Installed": installed,
        **{f"Host {name}": value for name, value in (run.fingerprint or collect_fingerprint()).items()},
    }
    return {name: value for name, value in facts.items() if value}


def _end_of_log(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return []
