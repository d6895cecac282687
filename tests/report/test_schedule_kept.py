"""systemd, cron and Windows keep the schedule that perfkit.toml says, in folders with inconvenient names."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError
from perfkit.report.schedule import due_times
from perfkit.report.schedule.crontab import crontab_setup
from perfkit.report.schedule.job import ScheduledJob
from perfkit.report.schedule.systemd import on_calendar, systemd_setup
from perfkit.report.schedule.times import read_schedule
from perfkit.report.schedule.windows import NAMESPACE, windows_setup

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze, of Debian's package systemd"
)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
COMPARED = 12
SCHEDULES_A_CALL = 8


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that writes down how it was called."""
    path = tmp_path / "a b%c" / "python"
    path.parent.mkdir()
    noted = 'printf \'%s\\n\' "$PWD" "$PERFKIT_STARTED_BY" "$PATH" "$@" > called\necho done'
    path.write_text(f"#!/bin/sh\n{noted}\n")
    path.chmod(0o755)
    return path


def make_job(schedule: str, project: Path = Path("/srv/perfkit"), python: Path = Path(sys.executable)) -> ScheduledJob:
    return ScheduledJob("nightly", read_schedule(schedule), project, python, limit_s=18_600)


def field(least: int, most: int) -> st.SearchStrategy[str]:
    value = st.integers(least, most)
    span = st.tuples(value, value).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(st.one_of(st.just("*"), span), st.integers(1, most - least)).map(
        lambda one: f"{one[0]}/{one[1]}"
    )
    listed = st.lists(st.one_of(value.map(str), span, stepped), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), listed)


@st.composite
def readable_schedules(draw: st.DrawFn) -> str:
    limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    schedule = " ".join(draw(field(*one)) for one in limits)
    try:
        read_schedule(schedule)
    except InputError:  # a day that its months do not have
        return "0 3 * * *"
    return schedule


@contextlib.contextmanager
def host_in(zone: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        try:
            yield
        finally:
            patch.undo()
            time.tzset()


def elapses(schedules: list[str], start: datetime.datetime, zone: str) -> list[list[datetime.datetime]]:
    """The next times at which systemd itself would start each, of all their lines together."""
    lines = [line for schedule in schedules for line in on_calendar(read_schedule(schedule))]
    base = f"--base-time={start.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    command = ["systemd-analyze", "calendar", f"--iterations={COMPARED}", base, *lines]
    environment = {**os.environ, "TZ": zone, "LC_ALL": "C"}
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    parts = iter(re.split(r"\n\n", shown))
    found = []
    for schedule in schedules:
        times = set()
        for _ in on_calendar(read_schedule(schedule)):
            times.update(re.findall(r"(?:Next elapse|Iter. #\d+|\(in UTC\)): \w+ (\S+ \S+) UTC", next(parts)))
        found.append([datetime.datetime.fromisoformat(f"{one}+00:00") for one in sorted(times)][:COMPARED])
    return found


@needs_systemd
@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    schedules=st.lists(readable_schedules(), min_size=SCHEDULES_A_CALL, max_size=SCHEDULES_A_CALL),
    start=st.datetimes(datetime.datetime(2024, 1, 1), datetime.datetime(2030, 1, 1), timezones=st.just(datetime.UTC)),
)
def test_systemd_starts_at_the_very_times_that_are_due(
    zone: str, schedules: list[str], start: datetime.datetime
) -> None:
    start = start.replace(microsecond=0)
    with host_in(zone):
        for schedule, found in zip(schedules, elapses(schedules, start, zone), strict=True):
            assert due_times(schedule, start, found[-1]) == found, (schedule, on_calendar(read_schedule(schedule)))


@needs_systemd
@pytest.mark.parametrize(("zone", "around"), [("Europe/Berlin", "03-29"), ("Europe/Berlin", "10-25"), ("UTC", "02-28")])
@pytest.mark.parametrize("clock", ["*/20 * * * *", "30 2 * * *", "0 2,3 * * 0", "15 1-3 29 2,3,10 *"])
def test_systemd_agrees_when_the_clock_is_changed(zone: str, around: str, clock: str) -> None:
    start = datetime.datetime.fromisoformat(f"2026-{around}T00:10:00+00:00")
    with host_in(zone):
        (found,) = elapses([clock], start, zone)
        assert due_times(clock, start, found[-1]) == found


@needs_systemd
def test_systemd_loses_no_start_at_midnight() -> None:
    """It does with steps that do not divide an hour or a day, such as `*:00/19`."""
    start = datetime.datetime(2026, 6, 1, 23, 41, tzinfo=datetime.UTC)
    schedules = [f"*/{step} * * * *" for step in range(2, 31)] + [f"0 */{step} * * *" for step in range(2, 24)]
    with host_in("UTC"):
        for schedule, found in zip(schedules, elapses(schedules, start, "UTC"), strict=True):
            assert due_times(schedule, start, found[-1]) == found, schedule


@needs_systemd
def test_systemd_accepts_the_units(tmp_path: Path, python: Path) -> None:
    setup = systemd_setup(make_job("0 3 1,15 * mon", python.parent, python))
    for file in setup.files:
        (tmp_path / file.name).write_text(file.text, encoding=file.encoding)
    command = ["systemd-analyze", "verify", "--user", *(str(tmp_path / file.name) for file in setup.files)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    verified = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    assert [line for line in verified.stderr.splitlines() if "perfkit-nightly" in line] == []
    broken = tmp_path / "perfkit-nightly.timer"
    broken.write_text(broken.read_text().replace("Mon", "Moon"))
    complaint = subprocess.run(command, env=environment, capture_output=True, text=True).stderr
    assert "perfkit-nightly.timer" in complaint  # so the test above could have failed


def test_the_units_say_who_started_the_run_and_what_limits_it() -> None:
    timer, service = (file.text.splitlines() for file in systemd_setup(make_job("0 3 1,15 * mon")).files)
    assert [line for line in timer if line.startswith("OnCalendar")] == [
        "OnCalendar=Mon *-*-* 03:00:00",
        "OnCalendar=*-*-01,15 03:00:00",
    ]
    assert "Persistent=true" in timer
    assert {
        "WorkingDirectory=/srv/perfkit",
        "Environment=PERFKIT_STARTED_BY=schedule",
        f"ExecStart={sys.executable} -m perfkit run nightly --wait 1h",
        "TimeoutStartSec=18600",
    } <= set(service)


def as_cron(line: str) -> str:
    """What a cron hands to the shell: after five fields, up to the first % that has no backslash before it."""
    command = line.split(maxsplit=5)[5]
    return re.split(r"(?<!\\)%", command)[0].replace("\\%", "%")


def test_cron_runs_the_line_in_a_folder_with_blanks_quotes_and_percent_signs(tmp_path: Path, python: Path) -> None:
    project = tmp_path / "it's 100% mine"
    project.mkdir()
    (file,) = crontab_setup(make_job("*/5 * * * *", project, python)).files
    (line,) = file.text.splitlines()
    assert line.startswith("*/5 * * * * ")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SHELL": "/bin/sh"}
    for _ in range(2):
        subprocess.run(["/bin/sh", "-c", as_cron(line)], cwd="/", env=environment, check=True)
    folder, started_by, path, *arguments = (project / "called").read_text().splitlines()
    assert (folder, started_by) == (str(project), "schedule")
    assert path == f"{python.parent}:/usr/local/bin:/usr/bin:/bin"
    assert arguments == ["-m", "perfkit", "run", "nightly", "--wait", "1h"]
    assert (project / "reports" / "nightly.log").read_text() == "done\ndone\n"  # added, not replaced


@pytest.mark.parametrize("place", ["/srv/a\nb", "/srv/a\\b", '/srv/"a"', "/srv/$HOME"])
def test_a_folder_that_no_timer_can_name_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="cannot be written into a timer"):
        make_job("0 3 * * *", Path(place))


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(InputError, match="'night/ly' cannot be scheduled under this name"):
        ScheduledJob("night/ly", read_schedule("0 3 * * *"), Path("/"), Path("/"), 1)


# Which elements the documented schema of tasks has where, as far as a pipeline needs them.
# https://learn.microsoft.com/windows/win32/taskschd/task-scheduler-schema
SCHEMA: dict[str, tuple[str, ...]] = {
    "Task": ("RegistrationInfo", "Triggers", "Principals", "Settings", "Actions"),
    "RegistrationInfo": ("Description",),
    "Triggers": ("CalendarTrigger",),
    "CalendarTrigger": (
        *("Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "RandomDelay"),
        *("ScheduleByDay", "ScheduleByWeek", "ScheduleByMonth"),
    ),
    "Repetition": ("Interval", "Duration", "StopAtDurationEnd"),
    "ScheduleByDay": ("DaysInterval",),
    "ScheduleByWeek": ("WeeksInterval", "DaysOfWeek"),
    "ScheduleByMonth": ("DaysOfMonth", "Months"),
    "DaysOfWeek": ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "DaysOfMonth": ("Day",),
    "Months": (
        *("January", "February", "March", "April", "May", "June", "July"),
        *("August", "September", "October", "November", "December"),
    ),
    "Principals": ("Principal",),
    "Principal": ("LogonType", "RunLevel"),
    "Settings": (
        *("MultipleInstancesPolicy", "DisallowStartIfOnBatteries", "StopIfGoingOnBatteries"),
        *("StartWhenAvailable", "ExecutionTimeLimit", "Priority"),
    ),
    "Actions": ("Exec",),
    "Exec": ("Command", "Arguments", "WorkingDirectory"),
}


def follows_schema(element: ET.Element) -> None:
    name = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    children = [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]
    allowed = SCHEMA.get(name, ())
    assert children == sorted(children, key=allowed.index), f"{name}: {children}"
    for child in element:
        follows_schema(child)


def task_of(schedule: str, distribution: str = "Debian") -> ET.Element:
    (file,) = windows_setup(make_job(schedule, Path("/srv/my kit"), Path("/srv/kit/bin/python")), distribution).files
    return ET.fromstring(file.text.encode(file.encoding))


def triggers(schedule: str) -> list[tuple[str, str, str]]:
    task = task_of(schedule)
    follows_schema(task)
    space = {"": NAMESPACE}
    return [
        (
            one.findtext("StartBoundary", "", space)[-8:],
            "/".join(found.text or "" for found in one.findall("Repetition/*", space)),
            one[-1].tag.removeprefix(f"{{{NAMESPACE}}}ScheduleBy"),
        )
        for one in task.findall("Triggers/CalendarTrigger", space)
    ]


def test_a_task_of_windows_keeps_the_schedules_that_it_can() -> None:
    assert triggers("0 3 * * *") == [("03:00:00", "", "Day")]
    assert triggers("30 3,15 * * *") == [("03:30:00", "", "Day"), ("15:30:00", "", "Day")]
    assert triggers("*/15 * * * 1-5") == [("00:00:00", "PT15M/PT85530S", "Week")]
    assert triggers("0 3 1,15 * mon") == [("03:00:00", "", "Week"), ("03:00:00", "", "Month")]  # either is enough
    assert triggers("0 3 1-31 * mon") == [("03:00:00", "", "Day")]
    assert triggers("0 3 * 1,7 *") == [("03:00:00", "", "Month")]


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        ("0,1 * * * *", "48 times"),
        ("0 3 * 1 mon", "days of the week in some months only"),
        ("0 3 */2 * mon", "days that must match both fields"),
    ],
)
def test_a_schedule_that_windows_has_no_words_for_is_refused_with_the_reason(schedule: str, reason: str) -> None:
    if reason == "48 times":
        assert len(triggers(schedule)) == 48
        schedule, reason = "0,1,3 * * * *", "72 times a day"
    with pytest.raises(InputError, match=reason):
        task_of(schedule)


def started_by_windows(task: ET.Element, day: datetime.date) -> set[datetime.datetime]:
    """When a task starts on a day, as its documentation says."""
    space, found = {"": NAMESPACE}, set()
    for trigger in task.iterfind("Triggers/CalendarTrigger", space):
        week = [one.tag.partition("}")[2] for one in trigger.iterfind("ScheduleByWeek/DaysOfWeek/*", space)]
        days = [int(one.text or "") for one in trigger.iterfind("ScheduleByMonth/DaysOfMonth/Day", space)]
        months = [one.tag.partition("}")[2] for one in trigger.iterfind("ScheduleByMonth/Months/*", space)]
        is_daily = trigger.find("ScheduleByDay", space) is not None
        if is_daily or f"{day:%A}" in week or (day.day in days and f"{day:%B}" in months):
            clock = datetime.time.fromisoformat(trigger.findtext("StartBoundary", "", space)[-8:])
            interval = int(trigger.findtext("Repetition/Interval", "PT1M", space)[2:-1])
            duration_s = int(trigger.findtext("Repetition/Duration", "PT0S", space)[2:-1])
            begin = datetime.datetime.combine(day, clock, datetime.UTC)
            found |= {begin + datetime.timedelta(seconds=later) for later in range(0, duration_s + 1, 60 * interval)}
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(schedule="* * 1 1 0,*/1", day=datetime.date(2024, 1, 1))  # either field is enough, and one names every day
@given(schedule=readable_schedules(), day=st.dates(datetime.date(2024, 1, 1), datetime.date(2030, 1, 1)))
def test_a_task_of_windows_starts_at_the_very_times_that_are_due(schedule: str, day: datetime.date) -> None:
    try:
        task = task_of(schedule)
    except InputError:  # Windows has no words for it
        return
    follows_schema(task)
    with host_in("UTC"):
        for offset in range(8):
            one = day + datetime.timedelta(days=offset)
            midnight = datetime.datetime.combine(one, datetime.time(), datetime.UTC)
            before = midnight - datetime.timedelta(seconds=1)
            due = due_times(schedule, before, before + datetime.timedelta(days=1))
            assert started_by_windows(task, one) == set(due), one


def test_the_task_of_windows_starts_perfkit_where_it_runs() -> None:
    space = {"": NAMESPACE}
    arguments = task_of("0 3 * * *").findtext("Actions/Exec/Arguments", "", space)
    assert arguments == (
        '-d Debian --cd "/srv/my kit" --exec /usr/bin/env PERFKIT_STARTED_BY=schedule '
        "/srv/kit/bin/python -m perfkit run nightly --wait 1h"
    )
    assert not task_of("0 3 * * *", "").findtext("Actions/Exec/Arguments", "", space).startswith("-d")


def test_the_interpreter_runs_perfkit_without_a_path() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "perfkit", "check", "--json"],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(shown.stdout.splitlines()[-1])["ok"] is True
