"""Keep what a run has come to, and what follows its end: the link to the latest, retention, the site, who is told."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from collections.abc import Mapping
from pathlib import Path

from perfkit.config.pipelines import NotifySettings, PipelineSettings
from perfkit.errors import ReportError
from perfkit.report.results import PipelineResult, write_run
from perfkit.report.running.locks import is_under_way
from perfkit.report.running.retention import limits_of, plan_removal, remove_reports

__all__ = ["keep", "set_space_aside", "show", "tidy_up"]

_SPARE = ".spare"
_SPARE_BYTES = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)


def set_space_aside(folder: Path) -> None:
    """Take room on the disk for what has to be written at the end: that a run failed because the disk is full.

    Raises:
        ReportError: there is no such room now.
    """
    try:
        descriptor = os.open(folder / _SPARE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, _SPARE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ReportError(_why_not(folder, error)) from error


def keep(run: PipelineResult) -> PipelineResult:
    """Write down how far a run has come.

    Returns:
        The run.

    Raises:
        ReportError: it cannot be written down; what was written before stays.
    """
    if run.status != "running":
        (run.report_path / _SPARE).unlink(missing_ok=True)
    try:
        write_run(run)
    except OSError as error:
        raise ReportError(_why_not(run.report_path, error)) from error
    return run


def show(run: PipelineResult) -> PipelineResult:
    """Bring the site up to date with what was kept.

    Returns:
        The run, with a note when that is not possible.
    """
    problems = _write_site(run.report_path.parent)
    return _with_notes(run, problems) if problems else run


def tidy_up(run: PipelineResult, pipelines: Mapping[str, PipelineSettings]) -> PipelineResult:
    """Do what follows the end of a run. None of it changes the run's status.

    Args:
        run: ended, kept and shown.
        pipelines: by name, for how long reports are kept and who is told.

    Returns:
        The run, with a note for each thing that went wrong.

    Raises:
        ReportError: a note cannot be written down.
    """
    problems = []
    _free_spare_space(run.report_path.parent)
    if run.status == "complete":
        problems += _point_latest_at(run.report_path)
    problems += _tell_people(run, pipelines[run.pipeline].notify)  # before the run that it follows may go
    limits = limits_of(pipelines)
    if limits:
        removal = remove_reports(plan_removal(run.report_path.parent, limits))
        problems += removal.problems
        if removal.removed:
            problems += _write_site(run.report_path.parent)
    if problems:
        run = _with_notes(run, problems)
        _write_site(run.report_path.parent)
    return run


def _free_spare_space(reports_folder: Path) -> None:
    """A run that was killed could not give back the room that it had set aside."""
    for spare in reports_folder.glob(f"*/{_SPARE}"):
        if not is_under_way(spare.parent):
            with contextlib.suppress(OSError):  # the next run tries again
                spare.unlink()


def _tell_people(run: PipelineResult, settings: NotifySettings | None) -> list[str]:
    if settings is None:
        return []
    from perfkit.report.notify import notify_about
    from perfkit.report.site.runs import read_runs

    kept, _ = read_runs(run.report_path.parent)
    before = (one.run for one in kept if one.run.pipeline == run.pipeline and one.run.status != "running")
    earlier = next((one for one in before if one.run_id < run.run_id), None)
    return list(notify_about(run, settings, earlier))


def _with_notes(run: PipelineResult, notes: list[str]) -> PipelineResult:
    return keep(dataclasses.replace(run, notes=tuple(dict.fromkeys((*run.notes, *notes)))))  # each is said once


def _write_site(reports_folder: Path) -> list[str]:
    from perfkit.report.site.writing import write_site

    try:
        write_site(reports_folder)
    except Exception as error:  # noqa: BLE001 - the reports stand, whatever is wrong with the page that lists them
        return [f"the index of reports is as it was before this run: {error}"]
    return []


def _point_latest_at(folder: Path) -> list[str]:
    link = folder.with_name(f".latest-{folder.name}")
    try:
        link.symlink_to(folder.name)
        link.replace(folder.with_name("latest"))
    except OSError as error:
        with contextlib.suppress(OSError):
            link.unlink()
        return [f"{folder.with_name('latest')} does not lead to this run: {error.strerror}"]
    return []


def _why_not(folder: Path, error: OSError) -> str:
    reason = f"the disk is full ({error.strerror})" if error.errno in _FULL else str(error.strerror or error)
    return (
        f"report {folder.name} cannot be written: {reason}; free space (df -h {folder.parent}), for example with "
        "`perfkit reports clean`, and run it again. Earlier reports, the index and `latest` are as they were"
    )
