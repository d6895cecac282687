"""A timer and a service of systemd, for the user's own manager."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from perfkit.report.schedule.job import ScheduledFile, ScheduledJob, Setup
from perfkit.report.schedule.times import Schedule

__all__ = ["on_calendar", "systemd_setup", "working_directory"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_GRACE_S = 60


def on_calendar(schedule: Schedule) -> tuple[str, ...]:
    """The lines of ``OnCalendar`` that name the same times.

    Args:
        schedule: the fields of a crontab line.

    Returns:
        One line; two where either field of days is enough, for systemd wants both of one line to hold.

    >>> from perfkit.report.schedule.times import read_schedule
    >>> on_calendar(read_schedule("*/15 3 * * 1-5"))
    ('Mon..Fri *-*-* 03:00/15:00',)
    >>> on_calendar(read_schedule("0 3 1,15 * 0"))
    ('Sun *-*-* 03:00:00', '*-*-01,15 03:00:00')
    """
    months = _values(schedule.months, 1, 12)
    days = _values(schedule.days, 1, 31)
    clock = f"{_values(schedule.hours, 0, 23)}:{_values(schedule.minutes, 0, 59)}:00"
    weekdays = "" if len(schedule.weekdays) == len(_DAYS) else f"{_weekdays(schedule.weekdays)} "
    if schedule.either_day:
        return f"{weekdays}*-{months}-* {clock}", f"*-{months}-{days} {clock}"
    return (f"{weekdays}*-{months}-{days} {clock}",)


def systemd_setup(job: ScheduledJob) -> Setup:
    """The two units of a job, and how to start them."""
    files = (
        ScheduledFile(f"{job.name}.timer", _timer(job)),
        ScheduledFile(f"{job.name}.service", _service(job)),
    )
    commands = (
        "systemctl --user daemon-reload",
        f"systemctl --user enable --now {job.name}.timer",
        "loginctl enable-linger  # so that it runs while you are not logged in, too",
    )
    return Setup("systemd", files, "~/.config/systemd/user", commands)


def _timer(job: ScheduledJob) -> str:
    lines = "\n".join(f"OnCalendar={line}" for line in on_calendar(job.schedule))
    return f"""\
# Written by `perfkit schedule {job.pipeline}`, from the schedule {job.schedule.text}
[Unit]
Description=When perfkit runs the pipeline {job.pipeline}

[Timer]
{lines}
# A run that was missed while the machine was off is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


def _service(job: ScheduledJob) -> str:
    password = "# The password of the SMTP server, as NAME=value; readable by you only.\n" if job.needs_password else ""
    password += "EnvironmentFile=-%h/.config/perfkit/environment\n" if job.needs_password else ""
    return f"""\
# Written by `perfkit schedule {job.pipeline}`
[Unit]
Description=perfkit runs the pipeline {job.pipeline}

[Service]
Type=oneshot
{working_directory(job.project)}
Environment=PERFKIT_STARTED_BY=schedule
{password}ExecStart={" ".join(map(_quoted, job.command))}
# perfkit stops a notebook that takes too long; this is for the case that perfkit itself hangs.
TimeoutStartSec={job.limit_s:.0f}
# Asked to stop, perfkit ends its notebook in order and finishes the report.
KillMode=mixed
TimeoutStopSec={_GRACE_S}
# No other priority than a shell's: what is measured would depend on it.
Nice=0
"""


def working_directory(project: Path) -> str:
    """The line of a service by which its project is known."""
    return f"WorkingDirectory={str(project).replace('%', '%%')}"


def _quoted(argument: str) -> str:
    escaped = argument.replace("%", "%%")
    return escaped if re.fullmatch(r"[\w./:=%+@-]+", escaped, re.ASCII) else f'"{escaped}"'


def _weekdays(weekdays: Sequence[int]) -> str:
    ordered = sorted((day - 1) % len(_DAYS) for day in weekdays)
    runs = _runs(ordered)
    return ",".join(
        f"{_DAYS[run[0]]}..{_DAYS[run[-1]]}" if len(run) > 2 else ",".join(_DAYS[day] for day in run) for run in runs
    )


def _values(values: Sequence[int], least: int, most: int) -> str:
    """As short as a person would write it."""
    if len(values) == most - least + 1:
        return "*"
    step = values[1] - values[0] if len(values) > 3 else 0
    # Where a step does not divide the cycle evenly, systemd (252) leaves out the first value after midnight.
    if least == 0 and step > 1 and (most + 1) % step == 0 and list(values) == list(range(0, most + 1, step)):
        return f"00/{step}"
    return ",".join(
        f"{run[0]:02d}..{run[-1]:02d}" if len(run) > 2 else ",".join(f"{value:02d}" for value in run)
        for run in _runs(values)
    )


def _runs(values: Sequence[int]) -> list[list[int]]:
    """Values that follow each other, together."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return runs
