"""A notebook that did not complete: what happened in plain words, and the cell at which it happened."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["FAILED_CELL", "explanation", "failing_cell", "with_failure_shown"]

FAILED_CELL = "failed-cell"
"""Anchor of the cell that failed."""

_OPEN_LINES = 16
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXPLANATIONS: Mapping[str, str] = {
    "timed out": "It took longer than it may and was stopped. What it waited for, or worked on, is in the cell below.",
    "out of memory": "It took more memory than there is for it and was stopped, in the cell below.",
    "interrupted": "Somebody stopped it with Ctrl-C, or the machine was shut down. Nothing is wrong with the notebook.",
}


def explanation(status: str, notebook: Any, error: str) -> str:
    """What happened, for somebody who did not write the notebook.

    Args:
        status: how it ended.
        notebook: as far as it was executed, an nbformat node.
        error: the last line of its traceback, or why it ended.

    Returns:
        A sentence or two; empty where no cell had begun, and `error` says all that is known.
    """
    if status != "failed":
        return _EXPLANATIONS.get(status, "")
    index = failing_cell(notebook)
    if index is None and error:
        return ""
    if index is None or _error_output(notebook.cells[index]) is None:
        return (
            "The process behind the notebook ended in the middle of it: it crashed, or the system stopped it, often "
            "for want of memory."
        )
    if error.startswith("AssertionError"):
        return (
            f"Cell {_number(notebook, index)} checks what the notebook produced, and this check did not hold. The "
            "figures above that cell may be right; read what was checked."
        )
    return f"Cell {_number(notebook, index)} raised an error; the cells after it were not run."


def failing_cell(notebook: Any) -> int | None:
    """Index of the cell that raised, or that was under way when the notebook ended; None when no cell was."""
    for index, cell in enumerate(notebook.cells):
        if _error_output(cell) is not None:
            return index
    under_way = [
        index
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("status") in ("running", "failed")
    ]
    return under_way[0] if under_way else None


def with_failure_shown(notebook: Any, log_lines: Sequence[str] = ()) -> Any:
    """The notebook until the failing cell, whose source is shown with its traceback folded when it is long.

    Headings of cells that were not run would have nothing below them.

    Args:
        notebook: an nbformat node.
        log_lines: the end of what the notebook's process wrote, where no cell tells what happened.
    """
    import nbformat

    index = failing_cell(notebook)
    shorter = notebook.copy()
    if index is None:
        if log_lines:
            told = f"<h2>The end of its log</h2>{_source(log_lines)}"
            block = f'<section class="failed-cell" id="{FAILED_CELL}">{told}</section>'
            output = nbformat.v4.new_output("display_data", data={"text/html": block})  # type: ignore[no-untyped-call]
            last = nbformat.v4.new_code_cell(outputs=[output])  # type: ignore[no-untyped-call]
            shorter.cells = [*notebook.cells[:1], last, *notebook.cells[1:]]
        return shorter
    cell = notebook.cells[index].copy()
    error = _error_output(cell)
    block = _cell_block(cell.source, _number(notebook, index), error, log_lines)
    shown = nbformat.v4.new_output("display_data", data={"text/html": block})  # type: ignore[no-untyped-call]
    cell.outputs = [*(output for output in cell.outputs if output.output_type != "error"), shown]
    shorter.cells = [*notebook.cells[:index], cell]
    return shorter


def _cell_block(source: str, number: str, error: Any, log_lines: Sequence[str]) -> str:
    title = f"Cell {number}, which {'raised the error' if error is not None else 'was under way'}"
    parts = [
        f'<section class="failed-cell" id="{FAILED_CELL}" tabindex="-1"><h2>{title}</h2>',
        _source(source.splitlines()),
    ]
    if error is not None:
        lines = [line for part in error.traceback for line in _ANSI.sub("", part).splitlines()]
        parts.append(f'<p class="raised">{html.escape(f"{error.ename}: {error.evalue}")}</p>')
        is_open = " open" if len(lines) <= _OPEN_LINES else ""
        parts.append(f"<details{is_open}><summary>Traceback, {len(lines)} lines</summary>{_source(lines)}</details>")
    elif log_lines:
        parts.append(f"<details open><summary>The end of its log</summary>{_source(log_lines)}</details>")
    return "".join((*parts, "</section>"))


def _source(lines: Sequence[str]) -> str:
    return f'<pre class="source" tabindex="0">{html.escape(chr(10).join(lines))}</pre>'


def _error_output(cell: Any) -> Any:
    return next((output for output in cell.get("outputs", ()) if output.output_type == "error"), None)


def _number(notebook: Any, index: int) -> str:
    """The number in the cell's brackets, as JupyterLab shows it; its place among the code cells without one."""
    given = notebook.cells[index].get("execution_count")
    place = sum(cell.cell_type == "code" for cell in notebook.cells[: index + 1])
    return str(given or place)
