"""A task of the Windows Task Scheduler that starts perfkit in the Windows Subsystem for Linux.

The subsystem sleeps while nobody uses it, and with it every cron and timer within; a task of Windows wakes it up.
Elements and their order: https://learn.microsoft.com/windows/win32/taskschd/task-scheduler-schema
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from itertools import pairwise, product
from typing import Any

from perfkit.errors import InputError
from perfkit.report.schedule.job import ScheduledFile, ScheduledJob, Setup
from perfkit.report.schedule.times import Schedule

__all__ = ["windows_setup"]

NAMESPACE = "http://schemas.microsoft.com/windows/2004/02/mit/task"
_MOST_TRIGGERS = 48  # of one task, says its documentation
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_BEGIN = "2026-01-01"  # some day that is over

_Tree = Mapping[str, Any]


def windows_setup(job: ScheduledJob, distribution: str = "") -> Setup:
    """The task of a job, and how to create it.

    Args:
        job: what to run.
        distribution: of the subsystem; empty for the one that Windows takes by default.

    Raises:
        InputError: a task cannot keep this schedule.
    """
    root = ET.Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
    _fill(root, _task(job, distribution))
    ET.indent(root)
    text = f'<?xml version="1.0" encoding="UTF-16"?>\n{ET.tostring(root, encoding="unicode")}\n'
    file = ScheduledFile(f"{job.name}.xml", text, encoding="utf-16")
    command = f"schtasks.exe /create /tn {job.name} /xml {file.name}"
    return Setup("windows", (file,), "any folder that Windows can read", (command,))


def _task(job: ScheduledJob, distribution: str) -> _Tree:
    chosen = ("-d", distribution) if distribution else ()
    environment = ("/usr/bin/env", "PERFKIT_STARTED_BY=schedule")
    arguments = (*chosen, "--cd", str(job.project), "--exec", *environment, *job.command)
    return {
        "RegistrationInfo": {"Description": f"perfkit runs the pipeline {job.pipeline} ({job.schedule.text})"},
        "Triggers": {"CalendarTrigger": list(_triggers(job.schedule))},
        "Principals": {"Principal": {"@id": "Author", "LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"}},
        "Settings": {
            "MultipleInstancesPolicy": "IgnoreNew",
            "DisallowStartIfOnBatteries": "false",
            "StopIfGoingOnBatteries": "false",
            "StartWhenAvailable": "true",
            "ExecutionTimeLimit": f"PT{job.limit_s:.0f}S",
            "Priority": "5",  # that of a program which a person starts: what is measured would depend on it
        },
        "Actions": {
            "@Context": "Author",
            "Exec": {"Command": "wsl.exe", "Arguments": subprocess.list2cmdline(arguments)},
        },
    }


def _triggers(schedule: Schedule) -> Iterator[_Tree]:
    days = list(_days(schedule))
    clocks = _clocks(schedule, _MOST_TRIGGERS // len(days))
    for (minute_of_day, repetition), day in product(clocks, days):
        begin = f"{_BEGIN}T{minute_of_day // 60:02d}:{minute_of_day % 60:02d}:00"
        yield {"Enabled": "true", "StartBoundary": begin, **repetition, **day}


def _days(schedule: Schedule) -> Iterator[_Tree]:
    every_weekday, every_day = len(schedule.weekdays) == 7, len(schedule.days) == 31
    every_month = len(schedule.months) == 12
    if schedule.either_day and (every_weekday or every_day):
        every_weekday = every_day = True
    if not every_weekday:
        if not every_month:
            raise _not_expressible(schedule, "days of the week in some months only")
        if not every_day and not schedule.either_day:
            raise _not_expressible(schedule, "days that must match both fields of days")
        names: _Tree = {_DAYS[day]: {} for day in schedule.weekdays}
        yield {"ScheduleByWeek": {"WeeksInterval": "1", "DaysOfWeek": names}}
    if every_weekday and every_day and every_month:
        yield {"ScheduleByDay": {"DaysInterval": "1"}}
    elif every_weekday or schedule.either_day:
        days = {"Day": [str(day) for day in (range(1, 32) if every_day else schedule.days)]}
        months: _Tree = {_MONTHS[month - 1]: {} for month in schedule.months}
        yield {"ScheduleByMonth": {"DaysOfMonth": days, "Months": months}}


def _clocks(schedule: Schedule, most: int) -> list[tuple[int, _Tree]]:
    """Minutes of the day at which a trigger begins, with how it goes on from there."""
    minutes = [60 * hour + minute for hour, minute in product(schedule.hours, schedule.minutes)]
    steps = {later - earlier for earlier, later in pairwise(minutes)}
    if len(steps) == 1 and len(minutes) > 2:
        # Half a minute more than until the last one, so that nobody has to know whether the end is taken in.
        until_s = 60 * (minutes[-1] - minutes[0]) + 30
        repetition = {"Interval": f"PT{steps.pop()}M", "Duration": f"PT{until_s}S"}
        return [(minutes[0], {"Repetition": repetition})]
    if len(minutes) > most:
        raise _not_expressible(schedule, f"{len(minutes)} times a day at uneven distances (up to {most} are possible)")
    return [(minute, {}) for minute in minutes]


def _not_expressible(schedule: Schedule, what: str) -> InputError:
    return InputError(
        f"a task of Windows cannot keep the schedule {schedule.text!r}: {what}; use another schedule, or --systemd or "
        "--crontab"
    )


def _fill(parent: ET.Element, tree: _Tree) -> None:
    for name, value in tree.items():
        for one in value if isinstance(value, list) else [value]:
            if name.startswith("@"):
                parent.set(name[1:], one)
                continue
            child = ET.SubElement(parent, name)
            if isinstance(one, Mapping):
                _fill(child, one)
            else:
                child.text = one
