"""Run one step of a pipeline: again if it fails and may be, what it recorded read back, its page written."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perfkit.errors import PerfkitError, ReportError
from perfkit.report.lean_imports import SLOW_FORMAT_CHECK, without
from perfkit.report.notebook.lake_versions import read_versions
from perfkit.report.notebook.records import RECORD_MIMETYPE, Record, read_records
from perfkit.report.results import NotebookResult, PipelineResult
from perfkit.report.running.process import Limits, Outcome, run_process
from perfkit.report.running.steps import Step
from perfkit.tables import plural

__all__ = ["load_page_writer", "run_step"]

_loading = threading.Lock()
_ASSERTS = re.compile(r"^\s*assert\b", re.MULTILINE)
_LONGEST_PIN = 180
_MAY_BE_RUN_AGAIN = ("failed", "timed out", "out of memory")


def run_step(
    run: PipelineResult, step: Step, limits: Limits, retries: int, tell: Callable[[int, float], None]
) -> NotebookResult:
    """Run a notebook at one point of the grid, into the folder of its run.

    Args:
        run: what it belongs to.
        step: the notebook and its parameters.
        limits: what it may take each time.
        retries: how often it is run once more when it fails.
        tell: called a few times a second with the number of the attempt, from 1, and its seconds.

    Returns:
        How it went. Executed notebooks of attempts that failed stay beside it as ``NAME.attempt-1.ipynb``.
    """
    began = time.monotonic()
    target = run.report_path / f"{step.page}.ipynb"
    try:
        return _run_attempts(run, step, target, limits, retries, tell)
    except Exception as error:  # noqa: BLE001 - one odd notebook must not take the whole run with it
        said = f"what it left could not be read: {type(error).__name__}: {error}; the executed notebook is there"
        page = step.page if step.page != step.name else ""
        seconds = round(time.monotonic() - began, 1)
        result = NotebookResult(step.name, "failed", seconds, error=said, point=step.point, page=page)
        with contextlib.suppress(Exception):  # without a page the index still says what happened
            result = _write_page(run, result, _read_executed(target, step.source), step)
        return result


def _run_attempts(
    run: PipelineResult,
    step: Step,
    target: Path,
    limits: Limits,
    retries: int,
    tell: Callable[[int, float], None],
) -> NotebookResult:
    began = time.monotonic()
    notes: list[str] = []
    attempt = 0
    while True:
        attempt += 1
        with _attempt(step, target, limits, functools.partial(tell, attempt)) as outcome:
            notebook = _read_executed(target, step.source)
            if outcome.status not in _MAY_BE_RUN_AGAIN or attempt > retries:
                result = _as_result(step, outcome, notebook, time.monotonic() - began)
                result = dataclasses.replace(result, attempts=attempt, notes=(*notes, *result.notes))
                result = _write_page(run, _pinned(result, run, step, notebook), notebook, step)
                break
        notes.append(f"attempt {attempt} {outcome.status}: {_error(outcome, notebook)}")
        _keep_attempt(target, attempt)
    if result.status == "complete":
        target.with_suffix(".log").unlink(missing_ok=True)
    return result


def load_page_writer() -> None:
    """Import what reads executed notebooks and writes pages: it takes a second, best while a notebook runs."""
    with _loading, without(SLOW_FORMAT_CHECK):
        import nbconvert
        import nbformat

        from perfkit.report.site import notebook_page

        _ = nbconvert, nbformat, notebook_page


@contextlib.contextmanager
def _attempt(step: Step, target: Path, limits: Limits, tell: Callable[[float], None]) -> Iterator[Outcome]:
    with contextlib.ExitStack() as process:
        log = target.with_suffix(".log")
        try:
            outcome = process.enter_context(run_process(step.source, target, step.parameters, log, limits, tell))
        except OSError as error:
            reason = f"it could not be started: {error.strerror or error}; free space, then run it again"
            outcome = Outcome("failed", reason)
        yield outcome


def _as_result(step: Step, outcome: Outcome, notebook: Any, seconds: float) -> NotebookResult:
    records, read = read_records(notebook), read_versions(notebook)
    doubts = _doubts(notebook, records) if outcome.status == "complete" else []
    return NotebookResult(
        name=step.name,
        status=outcome.status,
        seconds=round(seconds, 1),
        error=_error(outcome, notebook),
        records=records,
        versions={} if read is None else read.versions,
        point=step.point,
        page=step.page if step.page != step.name else "",
        own_seconds=outcome.own_seconds,
        peak_memory_bytes=outcome.peak_memory_bytes,
        notes=(*outcome.notes, *_left_out(notebook, records), *doubts),
    )


def _error(outcome: Outcome, notebook: Any) -> str:
    if outcome.status == "complete":
        return ""
    if outcome.status == "failed":
        from perfkit.report.site.page import failure_of

        return outcome.reason or failure_of(notebook) or "it failed without a word, see its log"
    return outcome.reason


def _keep_attempt(target: Path, attempt: int) -> None:
    for file in (target, target.with_suffix(".log")):
        with contextlib.suppress(FileNotFoundError):
            file.rename(file.with_name(f"{target.stem}.attempt-{attempt}{file.suffix}"))


def _read_executed(target: Path, source: Path) -> Any:
    load_page_writer()
    import nbformat

    with contextlib.suppress(Exception):  # whatever is wrong with a notebook: its page says why it failed
        return nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    with contextlib.suppress(Exception):  # it ended before its first cell
        notebook = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
        for cell in notebook.cells:
            if cell.cell_type == "code":  # what a person saw in it earlier is no figure of this run
                cell.outputs, cell.execution_count = [], None
        return notebook
    title = nbformat.v4.new_markdown_cell(f"# {source.stem}")  # type: ignore[no-untyped-call]
    return nbformat.v4.new_notebook(cells=[title])  # type: ignore[no-untyped-call]


def _pinned(result: NotebookResult, run: PipelineResult, step: Step, notebook: Any) -> NotebookResult:
    """Keep readable what a notebook read, for as long as the report is there."""
    read = read_versions(notebook)
    if read is None:
        return result
    from perfkit.lake import open_lake
    from perfkit.lake.pins import pin

    try:
        lake = open_lake(step.source.parent / read.lake)
        pin(lake, _pin_name(run.run_id, step.page), read.versions, keeper=run.report_path)
    except PerfkitError as error:
        note = f"`perfkit maintain` may remove what it was made from: {error}"
        return dataclasses.replace(result, notes=(*result.notes, note))
    return result


def _pin_name(run_id: str, page: str) -> str:
    """A name that a pin may have, whatever characters that of the notebook holds.

    >>> _pin_name("20261120T120000Z-ab12", "30_tune"), _pin_name("20261120T120000Z-ab12", "my notebook")
    ('report.20261120T120000Z-ab12.30_tune', 'report.20261120T120000Z-ab12.my-notebook-960e0e19')
    """
    name = f"report.{run_id}.{page}"
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:_LONGEST_PIN]
    return name if clean == name else f"{clean}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _doubts(notebook: Any, records: tuple[Record, ...]) -> list[str]:
    """A notebook that catches its own errors completes all the same; these are the signs that it may have."""
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    doubts = []
    if not codes or not _ASSERTS.search(codes[-1]):
        doubts.append("its last cell asserts nothing: an error that the notebook caught itself would not be seen")
    if not records:
        doubts.append("it recorded no figure: nothing can be compared with other runs")
    return doubts


def _left_out(notebook: Any, records: tuple[Record, ...]) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    odd = sum(RECORD_MIMETYPE in output.get("data", {}) for output in outputs) - len(records)
    if not odd:
        return []
    return [f"{plural(odd, 'figure')} that it recorded cannot be read, and is left out; use `report.record`"]


def _write_page(run: PipelineResult, result: NotebookResult, notebook: Any, step: Step) -> NotebookResult:
    from perfkit.report.site.notebook_page import write_notebook_page

    try:
        write_notebook_page(run, result, notebook, step.parameters)
    except Exception as error:  # noqa: BLE001 - what was computed stands, whatever is wrong with its page
        if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
            # A report without its pages is none: the disk is full, or the folder gone.
            status = "failed" if result.status == "complete" else result.status
            return dataclasses.replace(result, status=status, error=result.error or str(error))
        kind = "" if isinstance(error, ReportError) else f"{type(error).__name__}: "
        note = f"its page could not be written: {kind}{error}; the executed notebook is there"
        return dataclasses.replace(result, notes=(*result.notes, note))
    return result
