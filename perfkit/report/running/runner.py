"""Run notebooks as a pipeline: each in a process of its own, into one folder per run, pages and index beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint
from perfkit.config.pipelines import PipelineSettings
from perfkit.errors import ReportError
from perfkit.report.results import NOTEBOOK_STATUSES, NotebookResult, PipelineProgress, PipelineResult
from perfkit.report.running.ending import keep, set_space_aside, show, tidy_up
from perfkit.report.running.locks import hold_reports, hold_run, name_run
from perfkit.report.running.one_notebook import load_page_writer, run_step
from perfkit.report.running.pipelines import DEFAULT_SETTINGS_PATH, all_pipelines
from perfkit.report.running.planning import RunPlan, plan_run
from perfkit.report.running.process import Limits
from perfkit.report.running.provenance import git_revision, installed_versions, new_run_id, started_by
from perfkit.report.running.steps import Step

__all__ = ["run_pipeline"]

DEFAULT_THRESHOLDS = "thresholds.toml"
PUBLISHED_RECORD = "published version"
NOT_PUBLISHED_RECORD = "not published"

_Progress = Callable[[PipelineProgress], None]


def run_pipeline(
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    again: str | Path | None = None,
    as_of: str | Path | None = None,
    settings: str | Path = DEFAULT_SETTINGS_PATH,
    notebooks_folder: str | Path = "notebooks",
    reports_folder: str | Path = "reports",
    timeout_s: float | None = None,
    wait_s: float = 0.0,
    progress: _Progress | None = None,
) -> PipelineResult:
    """Run a pipeline's notebooks one after the other into a report.

    Args:
        name: a built-in pipeline (`perfkit.report.running.pipelines.BUILT_IN_PIPELINES`) or one of the settings; None
            for "default", or that of `again`.
        parameters: values for the notebooks' parameters, by name; text is read in the type of the default. They win
            over those of the pipeline; one for a parameter of its grid leaves the grid that value.
        again: folder of an earlier report, of the same pipeline: it is run again with its parameters, on new data.
        as_of: folder of an earlier report: its figures are computed again, with its parameters and from the versions of
            the lake that it read. Nothing is published then, unless `dry_run` is given as False.
        settings: `perfkit.toml`, for its pipelines; there need be none.
        notebooks_folder: where notebooks are looked for by name.
        reports_folder: where the run's folder, the index and the link to the latest report go. One run at a time.
        timeout_s: seconds that each notebook may take, more than 0; None for what the pipeline says.
        wait_s: how long to wait for another run to end, 0 or more.
        progress: called a few times a second.

    Returns:
        How it went. After a notebook that failed, the other points of its grid still run, later notebooks do not; its
        page shows the traceback.

    Raises:
        ConfigError: the settings cannot be read.
        UnknownNameError: there is no such pipeline, or no notebook has such a parameter.
        InputError: a notebook is missing or is none, or a parameter has the wrong type; `again` or `as_of` is no
            report, or a notebook did not say there what it read. Nothing was started.
        ReportError: another run holds the reports, or the report cannot be written.
        KeyboardInterrupt: Ctrl-C; the notebook was stopped and its page shows how far it came.
    """
    tell = progress or (lambda _: None)
    pipelines = all_pipelines(settings)
    plan = plan_run(name, parameters or {}, pipelines, Path(notebooks_folder), again=again, as_of=as_of)
    total = len(plan.steps)
    reports = Path(reports_folder).resolve()
    with hold_reports(reports, plan.name, wait_s, lambda said: tell(PipelineProgress(0, total, said))) as lock:
        run_id = new_run_id(reports, datetime.datetime.now(datetime.UTC))
        name_run(lock, plan.name, run_id)
        with hold_run(reports / run_id):
            run = _begin(plan, reports / run_id)
            timeout_s = plan.pipeline.timeout_s if timeout_s is None else timeout_s
            limits = Limits(timeout_s, plan.pipeline.memory_limit_bytes, _password_variables(pipelines))
            run, interrupted = _run_all(run, plan.steps, limits, plan.pipeline.retries, tell)
            run = tidy_up(run, pipelines)
    if interrupted:
        raise KeyboardInterrupt
    tell(PipelineProgress(total, total, run.status))
    return run


def _password_variables(pipelines: Mapping[str, PipelineSettings]) -> frozenset[str]:
    """What only the runner needs, to tell people: no notebook gets it."""
    emails = [one.notify.email for one in pipelines.values() if one.notify is not None]
    return frozenset(email.password_variable for email in emails if email is not None and email.password_variable)


def _begin(plan: RunPlan, folder: Path) -> PipelineResult:
    try:
        run = PipelineResult(
            run_id=folder.name,
            pipeline=plan.name,
            status="running",
            started_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seconds=0.0,
            report_path=folder,
            thresholds_path=Path(plan.parameters.get("thresholds_path", DEFAULT_THRESHOLDS)).resolve(),
            published_version=None,
            parameters=plan.parameters,
            git_revision=git_revision(),
            notebooks=tuple(map(_not_run, plan.steps)),
            installed=installed_versions(),
            started_by=started_by(),
            fingerprint=collect_fingerprint(),
        )
        set_space_aside(folder)
        return keep(run)
    except BaseException:
        with contextlib.suppress(OSError):  # nothing has run: a folder that holds nothing would only puzzle
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
        raise


def _not_run(step: Step) -> NotebookResult:
    page = step.page if step.page != step.name else ""
    return NotebookResult(step.name, "not run", point=step.point, page=page)


def _run_all(
    run: PipelineResult, steps: Sequence[Step], limits: Limits, retries: int, tell: _Progress
) -> tuple[PipelineResult, bool]:
    """The run as it ended, and whether a person ended it."""
    began = time.monotonic()
    preparing = threading.Thread(target=_prepare, args=(run,), daemon=True)
    preparing.start()
    notebooks = list(run.notebooks)
    interrupted = False
    try:
        for index, step in enumerate(steps):
            if any(one.status not in ("complete", "not run") and one.name != step.name for one in notebooks):
                break
            label = notebooks[index].title

            def told(attempt: int, seconds: float, index: int = index, label: str = label) -> None:
                again = f", attempt {attempt}" if attempt > 1 else ""
                tell(PipelineProgress(index, len(steps), f"{label} ({seconds:.0f} s{again})"))

            notebooks[index] = run_step(run, step, limits, retries, told)
            preparing.join()
            if notebooks[index].status == "interrupted":
                raise KeyboardInterrupt
            if index < len(steps) - 1:
                with contextlib.suppress(ReportError):  # the disk is full: the next notebook, or the end, will say so
                    run = show(keep(_so_far(run, notebooks, began, "running")))
    except KeyboardInterrupt:
        interrupted = True
        statuses = [one.status for one in notebooks]
        if "interrupted" not in statuses and "not run" in statuses:  # it came before or after a notebook's execution
            index = statuses.index("not run")
            notebooks[index] = dataclasses.replace(notebooks[index], status="interrupted", error="interrupted")
    status = max((one.status for one in notebooks if one.status != "not run"), key=NOTEBOOK_STATUSES.index)
    preparing.join()
    return show(keep(_so_far(run, notebooks, began, status))), interrupted


def _prepare(run: PipelineResult) -> None:
    """What takes a second, while the first notebook starts."""
    load_page_writer()
    with contextlib.suppress(ReportError):  # the end of the run says so, if it is still so
        show(run)


def _so_far(run: PipelineResult, notebooks: Sequence[NotebookResult], began: float, status: str) -> PipelineResult:
    version = _recorded(notebooks, PUBLISHED_RECORD)
    return dataclasses.replace(
        run,
        status=status,
        seconds=round(time.monotonic() - began, 1),
        published_version=version if isinstance(version, int) else None,
        not_published=str(_recorded(notebooks, NOT_PUBLISHED_RECORD) or ""),
        notebooks=tuple(notebooks),
    )


def _recorded(notebooks: Sequence[NotebookResult], name: str) -> float | str | None:
    """What was recorded last: the points of a grid may have published one after the other."""
    return next(
        (kept.value for one in reversed(notebooks) for kept in reversed(one.records) if kept.name == name), None
    )
