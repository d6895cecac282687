"""A line for a crontab."""

from __future__ import annotations

import shlex
from pathlib import Path

from perfkit.report.schedule.job import ScheduledFile, ScheduledJob, Setup

__all__ = ["crontab_setup", "entry", "title"]


def crontab_setup(job: ScheduledJob) -> Setup:
    """The line of a job, and how to add it."""
    file = ScheduledFile(f"{job.name}.crontab", entry(job))
    command = f"(crontab -l 2>/dev/null; cat {file.name}) | crontab -"
    return Setup("crontab", (file,), "your crontab (`crontab -e`)", (command,))


def title(pipeline: str, project: Path) -> str:
    """The comment above the line, by which it is found again."""
    return f"# perfkit schedule {pipeline}, in {project}"


def entry(job: ScheduledJob) -> str:
    """Comment and line. What a run prints goes to ``reports/NAME.log``, for a cron would send it by mail."""
    path = f"{shlex.quote(str(job.python.parent))}:/usr/local/bin:/usr/bin:/bin"
    environment = f"env PATH={path} PERFKIT_STARTED_BY=schedule"
    log = f"reports/{job.pipeline}.log"
    command = f"cd {shlex.quote(str(job.project))} && mkdir -p reports && {environment} {shlex.join(job.command)}"
    # A cron takes an unescaped % for the end of the line.
    return (
        f"{title(job.pipeline, job.project)}\n{job.schedule.text} {command.replace('%', chr(92) + '%')} >> {log} 2>&1\n"
    )
