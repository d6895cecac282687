"""The page of one notebook of a run, with what is worth knowing about how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.site.page import write_page

__all__ = ["write_notebook_page"]


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
    read = ", ".join(f"{table} {version}" for table, version in result.versions.items() if version >= 0)
    facts = {
        "Notebook": f"{result.name}.ipynb",
        "Started": run.started_at,
        "Duration": f"{result.seconds:g} s",
        "Parameters": ", ".join(f"{name} = {value}" for name, value in parameters.items()) or "defaults",
        **({"Lake versions": read} if read else {}),
        "Git revision": run.git_revision or "none",
        **{f"Host {name}": value for name, value in collect_fingerprint().items()},
    }
    path = run.report_path / f"{result.page_name}.html"
    write_page(notebook, path, run_id=run.run_id, facts=facts, error=result.error)
