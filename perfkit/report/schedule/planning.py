"""From a pipeline of `perfkit.toml` to what keeps its schedule."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from perfkit.config.pipelines import PipelineSettings, read_pipelines
from perfkit.config.source import read_source
from perfkit.errors import InputError, UnknownNameError
from perfkit.report.running.pipelines import DEFAULT_SETTINGS_PATH, all_pipelines
from perfkit.report.running.process import SHUTDOWN_S
from perfkit.report.running.steps import plan_steps
from perfkit.report.schedule.crontab import crontab_setup
from perfkit.report.schedule.job import KINDS, WAIT, ScheduledJob, Setup
from perfkit.report.schedule.systemd import systemd_setup
from perfkit.report.schedule.times import read_schedule
from perfkit.report.schedule.windows import windows_setup
from perfkit.units import parse_duration

__all__ = ["check_schedules", "default_kind", "find_pipeline", "plan_job", "plan_setup"]

_DISTRIBUTION_VARIABLE = "WSL_DISTRO_NAME"  # set by the Windows Subsystem for Linux
_SPARE_S = 600.0
_STOPPING_S = SHUTDOWN_S + 10.0  # what an attempt that ran out of time takes beyond it, until all of it is killed
_ANSWER_S = 5.0


def find_pipeline(name: str, project: Path) -> PipelineSettings:
    """A pipeline of a project.

    Args:
        name: built in, or of the project's `perfkit.toml`.
        project: the folder that holds `perfkit.toml`, if there is one.

    Raises:
        UnknownNameError: there is no such pipeline.
        ConfigError: `perfkit.toml` cannot be read, or a pipeline in it is wrong.
    """
    pipelines = all_pipelines(project / DEFAULT_SETTINGS_PATH)
    if name not in pipelines:
        raise UnknownNameError("pipeline", name, pipelines, "Pipelines stand in perfkit.toml, as [pipelines.NAME].")
    return pipelines[name]


def plan_job(name: str, project: Path, at: str = "") -> ScheduledJob:
    """What is to be run, and when.

    Args:
        name: a pipeline of the project.
        project: the folder that holds the notebooks.
        at: the schedule of a pipeline that has none in `perfkit.toml`.

    Raises:
        UnknownNameError, ConfigError: as `find_pipeline`.
        InputError: there is no schedule, or two, or it cannot be read; or a run could not even begin, for want of a
            notebook or with a parameter that does not exist.
    """
    settings = find_pipeline(name, project)
    if at and settings.schedule:
        raise InputError(
            f"pipeline {name!r} has the schedule {settings.schedule!r} in perfkit.toml; change it there, without --at"
        )
    if not at and not settings.schedule:
        raise InputError(
            f"pipeline {name!r} has no schedule; add schedule = '0 3 * * *' to [pipelines.{name}] in perfkit.toml, or "
            "give --at '0 3 * * *'"
        )
    schedule = read_schedule(at or settings.schedule)
    steps = plan_steps(name, settings, {}, project / "notebooks")
    attempts = len(steps) * (settings.retries + 1)
    email = settings.notify.email if settings.notify else None
    return ScheduledJob(
        pipeline=name,
        schedule=schedule,
        project=project.resolve(),
        python=Path(sys.executable),
        limit_s=parse_duration(WAIT) / 1e9 + attempts * (settings.timeout_s + _STOPPING_S) + _SPARE_S,
        needs_password=email is not None and bool(email.password_variable),
    )


def plan_setup(job: ScheduledJob, kind: str) -> Setup:
    """What keeps the schedule.

    Args:
        job: what is to be run.
        kind: one of `KINDS`.

    Raises:
        UnknownNameError: there is no such kind.
        InputError: this kind has no words for the schedule.
    """
    if kind == "systemd":
        return systemd_setup(job)
    if kind == "crontab":
        return crontab_setup(job)
    if kind == "windows":
        return windows_setup(job, os.environ.get(_DISTRIBUTION_VARIABLE, ""))
    raise UnknownNameError("kind of schedule", kind, KINDS)


def default_kind() -> str:
    """What keeps schedules on this machine: Windows around its subsystem, systemd where a user has one, else cron."""
    if os.environ.get(_DISTRIBUTION_VARIABLE):
        return "windows"
    if shutil.which("systemctl"):
        asked = ["systemctl", "--user", "show-environment"]
        try:
            if subprocess.run(asked, capture_output=True, timeout=_ANSWER_S).returncode == 0:
                return "systemd"
        except (OSError, subprocess.TimeoutExpired):
            return "crontab"
    return "crontab"


def check_schedules(path: Path) -> None:
    """Read the schedule of every pipeline in `perfkit.toml`.

    Args:
        path: the file; there need be none.

    Raises:
        ConfigError: one cannot be read: with path, line, column, what was got and what is allowed.
    """
    for name, settings in read_pipelines(path).items():
        try:
            if settings.schedule:
                read_schedule(settings.schedule)
        except InputError as error:
            read_source(path).refuse(f"pipelines.{name}", "schedule", str(error).removeprefix("schedule"))
