"""A line for a crontab."""

from __future__ import annotations

import shlex
from pathlib import Path

from perfkit.report.schedule.job import ScheduledFile, ScheduledJob, Setup

__all__ = ["crontab_setup", "entry", "is_entry"]


def crontab_setup(job: ScheduledJob) -> Setup:
    """The line of a job, and how to add it."""
    file = ScheduledFile(f"{job.name}.crontab", f"{entry(job)}\n")
    command = f"(crontab -l 2>/dev/null; cat {file.name}) | crontab -"
    return Setup("crontab", (file,), "your crontab (`crontab -e`)", (command,))


def is_entry(line: str, pipeline: str, project: Path) -> bool:
    """Whether a line of a crontab is perfkit's for this pipeline, on whatever schedule; none that is commented out.

    >>> line = "0 3 * * * cd /srv/perfkit && …  # perfkit schedule nightly, in /srv/perfkit"
    >>> is_entry(line, "nightly", Path("/srv/perfkit")), is_entry(f"# {line}", "nightly", Path("/srv/perfkit"))
    (True, False)
    """
    return line.rstrip().endswith(f"  {_mark(pipeline, project)}") and not line.lstrip().startswith("#")


def entry(job: ScheduledJob) -> str:
    """The line, without its end. What a run prints goes to ``reports/NAME.log``, for a cron would send it by mail."""
    path = f"{shlex.quote(str(job.python.parent))}:/usr/local/bin:/usr/bin:/bin"
    environment = f"env PATH={path} PERFKIT_STARTED_BY=schedule"
    log = f"reports/{job.pipeline}.log"
    command = f"cd {shlex.quote(str(job.project))} && mkdir -p reports && {environment} {shlex.join(job.command)}"
    return f"{job.schedule.text} {_escaped(command)} >> {log} 2>&1  {_mark(job.pipeline, job.project)}"


def _mark(pipeline: str, project: Path) -> str:
    """By what the line is found again: a comment to the shell, and in the line, for lines come between two others."""
    return _escaped(f"# perfkit schedule {pipeline}, in {project}")


def _escaped(text: str) -> str:
    return text.replace("%", "\\%")  # a cron takes a bare % for the end of the command
