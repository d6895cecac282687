"""Run notebooks as a pipeline: each in a process of its own, into one folder per run, pages and index beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, LakeError, ReportError, UnknownNameError
from perfkit.report.notebook.lake_versions import LakeVersions, read_versions
from perfkit.report.notebook.records import read_records
from perfkit.report.notebook.rendering import REPORT_VARIABLE
from perfkit.report.results import NotebookResult, PipelineProgress, PipelineResult, write_run
from perfkit.report.running.execute import SHUTDOWN_S
from perfkit.report.running.parameters import declared_parameters, notebook_parameters
from perfkit.report.running.recomputing import at_versions_of, earlier_parameters, find_report
from perfkit.report.site.index import write_index
from perfkit.report.site.notebook_page import write_notebook_page
from perfkit.report.site.page import failure_of

__all__ = ["PIPELINES", "Pipeline", "run_pipeline"]

DEFAULT_TIMEOUT_S = 3600.0
DEFAULT_THRESHOLDS = "thresholds.toml"
PUBLISHED_RECORD = "published version"
NOT_PUBLISHED_RECORD = "not published"
_GRACE_S = SHUTDOWN_S + 5.0  # from asking a notebook to stop until it is killed
_POLL_S = 0.5


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """Notebooks in their order, and the parameters that differ from the notebooks' own defaults."""

    notebooks: tuple[str, ...]
    parameters: Mapping[str, Any]


_MEASURE_AND_TUNE = ("10_benchmark", "20_analysis", "30_tune")
_TUNE = {"dry_run": False, "lake_path": "data/lake", "thresholds_path": "thresholds.toml"}
PIPELINES: Mapping[str, Pipeline] = {
    "default": Pipeline(_MEASURE_AND_TUNE, {**_TUNE, "preset": "default", "replay_budget_s": 120.0}),
    "quick": Pipeline(_MEASURE_AND_TUNE, {**_TUNE, "preset": "quick", "replay_budget_s": 45.0}),
    "full": Pipeline(_MEASURE_AND_TUNE, {**_TUNE, "preset": "full", "replay_budget_s": 240.0}),
    "tune": Pipeline(("30_tune",), _TUNE),
    "analyse": Pipeline(("20_analysis",), {"lake_path": "data/lake"}),
}
"""What `perfkit run` can run; ``tune`` and ``analyse`` read what was measured before."""


def run_pipeline(
    name: str = "default",
    parameters: Mapping[str, Any] | None = None,
    *,
    as_of: str | Path | None = None,
    notebooks_folder: str | Path = "notebooks",
    reports_folder: str | Path = "reports",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    progress: Callable[[PipelineProgress], None] | None = None,
) -> PipelineResult:
    """Run a pipeline's notebooks one after the other into a report.

    Args:
        name: one of `PIPELINES`.
        parameters: values for the notebooks' parameters, by name; text is read in the type of the default.
        as_of: folder of an earlier report: its figures are computed again, with its parameters and from the versions of
            the lake that it read. Nothing is published then, unless `dry_run` is given as False.
        notebooks_folder: where the notebooks are.
        reports_folder: where the run's folder, the index and the link to the latest report go.
        timeout_s: seconds after which a notebook is stopped, more than 0.
        progress: called at least once a second.

    Returns:
        How it went. A notebook that fails ends the pipeline; its page shows the traceback.

    Raises:
        UnknownNameError: there is no such pipeline, or no notebook has such a parameter.
        InputError: a notebook is missing, or a parameter has the wrong type; `as_of` is no report, or a notebook did
            not say there what it read. Nothing was started.
        ReportError: the report's folder or a page cannot be written.
        KeyboardInterrupt: Ctrl-C; the notebook was stopped and its page shows how far it came.
    """
    if name not in PIPELINES:
        raise UnknownNameError("pipeline", name, PIPELINES)
    pipeline = PIPELINES[name]
    sources = [_find(Path(notebooks_folder) / f"{notebook}.ipynb") for notebook in pipeline.notebooks]
    declared = {source.stem: declared_parameters(source) for source in sources}
    earlier = None if as_of is None else find_report(as_of)
    given = {**pipeline.parameters, **({} if earlier is None else earlier_parameters(earlier, declared))}
    given |= parameters or {}
    checked = notebook_parameters(declared, given, sources[0].parent)
    if earlier is not None:
        checked = at_versions_of(earlier, checked, declared)
    run = _begin(name, given, [source.stem for source in sources], Path(reports_folder).resolve())
    return _run_all(run, sources, checked, timeout_s, progress or (lambda _: None))


def _begin(name: str, parameters: Mapping[str, Any], notebooks: list[str], reports_folder: Path) -> PipelineResult:
    started = datetime.datetime.now(datetime.UTC)
    run_id = f"{started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    folder = reports_folder / run_id
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ReportError(f"{folder} cannot be made: {error}; free space or choose another folder") from error
    return PipelineResult(
        run_id=run_id,
        pipeline=name,
        status="running",
        started_at=started.isoformat(timespec="seconds"),
        seconds=0.0,
        report_path=folder,
        thresholds_path=Path(parameters.get("thresholds_path", DEFAULT_THRESHOLDS)).resolve(),
        published_version=None,
        parameters=parameters,
        git_revision=_git_revision(),
        fingerprint=collect_fingerprint(),
        notebooks=tuple(NotebookResult(notebook, "not run") for notebook in notebooks),
    )


def _run_all(
    run: PipelineResult,
    sources: list[Path],
    parameters: Mapping[str, Mapping[str, Any]],
    timeout_s: float,
    progress: Callable[[PipelineProgress], None],
) -> PipelineResult:
    began = time.monotonic()
    notebooks = list(run.notebooks)
    _keep(run)
    for index, source in enumerate(sources):

        def tell(seconds: float, index: int = index, name: str = source.stem) -> None:
            progress(PipelineProgress(index, len(sources), f"{name} ({seconds:.0f} s)"))

        notebooks[index] = _run_one(run, source, parameters[source.stem], timeout_s, tell)
        status = notebooks[index].status
        ended = index == len(sources) - 1 or status != "complete"
        version = _recorded(notebooks, PUBLISHED_RECORD)
        run = dataclasses.replace(
            run,
            status=status if ended else "running",
            seconds=round(time.monotonic() - began, 1),
            published_version=version if isinstance(version, int) else None,
            not_published=str(_recorded(notebooks, NOT_PUBLISHED_RECORD) or ""),
            notebooks=tuple(notebooks),
        )
        _keep(run)
        if ended:
            break
    if run.status == "interrupted":
        raise KeyboardInterrupt
    progress(PipelineProgress(len(sources), len(sources), run.status))
    if run.status == "complete":
        _point_latest_at(run.report_path)
    return run


def _run_one(
    run: PipelineResult,
    source: Path,
    parameters: Mapping[str, Any],
    timeout_s: float,
    tell: Callable[[float], None],
) -> NotebookResult:
    began = time.monotonic()
    target = run.report_path / source.name
    log = run.report_path / f"{source.stem}.log"
    status = _execute(source, target, parameters, log, timeout_s, tell)
    seconds = round(time.monotonic() - began, 1)
    notebook = _read_executed(target, source)
    reasons = {
        "complete": "",
        "failed": f"its kernel died, see {log.name}",
        "timed out": f"stopped after {timeout_s:g} s",
        "interrupted": f"interrupted after {seconds:g} s",
    }
    error = failure_of(notebook) or reasons[status]
    read = read_versions(notebook)
    if read is not None:
        _pin(read, run, source)
    versions = {} if read is None else read.versions
    result = NotebookResult(source.stem, status, seconds, error, read_records(notebook), versions, attempts=1)
    write_notebook_page(run, result, notebook, parameters)
    if status == "complete":
        log.unlink()
    return result


def _pin(read: LakeVersions, run: PipelineResult, source: Path) -> None:
    """Keep readable what a notebook read, for as long as the report is there."""
    from perfkit.lake import open_lake
    from perfkit.lake.pins import pin

    try:
        lake = open_lake(source.parent / read.lake)
        pin(lake, f"report.{run.run_id}.{source.stem}", read.versions, keeper=run.report_path)
    except LakeError as error:
        warnings.warn(f"`perfkit maintain` may remove what {source.stem} was made from: {error}", stacklevel=2)


def _read_executed(target: Path, source: Path) -> Any:
    import nbformat
    from nbformat.reader import NotJSONError

    try:
        return nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    except (FileNotFoundError, NotJSONError):  # it ended before its first cell, or in the middle of saving one
        shutil.copyfile(source, target)
        return nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]


def _execute(
    source: Path,
    target: Path,
    parameters: Mapping[str, Any],
    log: Path,
    timeout_s: float,
    tell: Callable[[float], None],
) -> str:
    command = [sys.executable, "-m", "perfkit.report.running.execute", str(source), str(target)]
    began = time.monotonic()
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the notebook in order.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, REPORT_VARIABLE: "1"},
            start_new_session=True,
        )
        try:
            assert process.stdin is not None  # it is a pipe
            process.stdin.write(json.dumps(parameters).encode() + b"\n")
            process.stdin.flush()
            while process.poll() is None:
                tell(time.monotonic() - began)
                if time.monotonic() - began > timeout_s:
                    return "timed out"
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_S)
            return "complete" if process.returncode == 0 else "failed"
        except KeyboardInterrupt:
            return "interrupted"
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # shuts its kernel down
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its kernel notices within a second and leaves
            process.wait()
    assert process.stdin is not None  # it is a pipe
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _keep(run: PipelineResult) -> None:
    write_run(run)
    write_index(run.report_path.parent)


def _recorded(notebooks: list[NotebookResult], name: str) -> float | str | None:
    return next((kept.value for notebook in notebooks for kept in notebook.records if kept.name == name), None)


def _point_latest_at(folder: Path) -> None:
    link = folder.parent / f".latest-{folder.name}"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")


def _find(path: Path) -> Path:
    if not path.is_file():
        raise InputError(
            f"notebook {path} does not exist; run in a clone of perfkit, or give the folder that holds the notebooks"
        )
    return path.resolve()


def _git_revision() -> str:
    try:
        shown = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip() if shown.returncode == 0 else ""
