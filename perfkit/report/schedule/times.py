"""The five fields of a crontab line: what they allow, and the times that they name in the host's own clock."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import re
from collections.abc import Iterator

from cronsim import CronSim, CronSimError

from perfkit.errors import InputError

__all__ = ["Schedule", "due_times", "expected_period", "next_due_times", "read_schedule"]

_FIELDS = {
    "minute": (60, "0 to 59"),
    "hour": (24, "0 to 23"),
    "day-of-month": (31, "1 to 31, and a day that its months have"),
    "month": (12, "1 to 12, or jan to dec"),
    "day-of-week": (7, "0 (Sunday) to 7 (Sunday again), or sun to sat"),
}
"""By the names that cronsim gives them in its messages: how many values there are, and which."""

# What every cron reads. cronsim reads more (L, #, a step of a single number), which nothing else here understands.
_VALUE = r"(?:\d{1,2}|[A-Za-z]{3})"
_TERM = re.compile(rf"(?:\*|{_VALUE}-{_VALUE})(?:/(?P<step>\d{{1,2}}))?|{_VALUE}", re.ASCII)
_EXAMPLE = "five fields of a crontab line (minute hour day month weekday), such as '0 3 * * *' for every night at 3:00"
_MOST_PUT_BACK = datetime.timedelta(hours=3)


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """What a schedule names.

    Args:
        text: the five fields.
        minutes: 0 to 59.
        hours: 0 to 23.
        days: of the month, 1 to 31.
        months: 1 to 12.
        weekdays: 0 (Sunday) to 6.
        either_day: cron's rule of old: where neither field of days begins with ``*``, one of both is enough.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool


def read_schedule(text: str) -> Schedule:
    """Read the five fields that every cron understands.

    Args:
        text: minute, hour, day of month, month and day of week: numbers, names of months and weekdays, lists, ranges,
            ``*``, and steps of a range or of ``*``.

    Returns:
        The values that each field names.

    Raises:
        InputError: there are not five fields, a value is none of its field, or the day never comes.

    >>> read_schedule("0,30 3 * * mon-fri").weekdays
    (1, 2, 3, 4, 5)
    """
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise InputError(f"schedule == {text!r}; must be {_EXAMPLE}")
    for (name, (size, _)), field in zip(_FIELDS.items(), fields, strict=True):
        for term in field.split(","):
            match = _TERM.fullmatch(term)
            if match is None or int(match["step"] or 1) > size:
                raise _unreadable(text, name, field)
    try:
        parsed = CronSim(text, datetime.datetime(2000, 1, 1))
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        raise _unreadable(text, name, fields[list(_FIELDS).index(name)]) from error
    return Schedule(
        text=" ".join(fields),
        minutes=tuple(sorted(parsed.minutes)),
        hours=tuple(sorted(parsed.hours)),
        days=tuple(sorted(parsed.days)),
        months=tuple(sorted(parsed.months)),
        weekdays=tuple(sorted({day % 7 for day in parsed.weekdays if isinstance(day, int)})),
        either_day=not parsed.day_and,
    )


def _unreadable(text: str, name: str, field: str) -> InputError:
    allowed = f"{_FIELDS[name][1]}; or lists (1,5), ranges that run upwards (1-5), steps of a range or of all (*/2)"
    return InputError(f"schedule == {text!r}: {name} {field!r}; must be {allowed}")


def due_times(schedule: str, after: datetime.datetime, before: datetime.datetime) -> list[datetime.datetime]:
    """When a pipeline was or will be due.

    The fields mean the host's own clock. A time that the clock skips when it is put forward is not due; one that it
    shows twice when it is put back is due the first time. So does a timer of systemd. A cron may run once more then.

    Args:
        schedule: five fields of a crontab line.
        after: an aware moment; what is due at that very moment is left out.
        before: an aware moment; what is due at that very moment is taken in.

    Returns:
        Aware times in the host's zone, in order.

    Raises:
        InputError: the schedule cannot be read, or a moment has no time zone.

    >>> day = datetime.datetime(2026, 11, 25).astimezone()
    >>> [f"{due:%d %H:%M}" for due in due_times("30 3,15 * * *", day, day + datetime.timedelta(days=1))]
    ['25 03:30', '25 15:30']
    """
    _refuse_naive(after, before)
    due = []
    for moment in _walk(read_schedule(schedule), after):
        if moment > before:
            break
        if moment > after:
            due.append(moment)
    return due


def next_due_times(schedule: Schedule, after: datetime.datetime, most: int) -> list[datetime.datetime]:
    """The next times at which a pipeline is due, `most` of them."""
    return list(itertools.islice((moment for moment in _walk(schedule, after) if moment > after), most))


def expected_period(schedule: str, now: datetime.datetime) -> datetime.timedelta:
    """How long it is from the last time that was due until the next.

    Args:
        schedule: five fields of a crontab line.
        now: an aware moment.

    Returns:
        The period; on a Sunday, that of a schedule for working days is three days.

    Raises:
        InputError: the schedule cannot be read, or the moment has no time zone.

    >>> sunday = datetime.datetime(2026, 11, 22, 12).astimezone()
    >>> expected_period("0 3 * * 1-5", sunday).days
    3
    """
    _refuse_naive(now)
    read = read_schedule(schedule)
    last = next(moment for moment in _walk(read, now, backwards=True) if moment <= now)
    return next(moment for moment in _walk(read, now) if moment > now) - last


def _refuse_naive(*moments: datetime.datetime) -> None:
    for moment in moments:
        if moment.tzinfo is None:
            raise InputError(f"{moment.isoformat()} has no time zone; give an aware moment, such as from .astimezone()")


def _walk(schedule: Schedule, start: datetime.datetime, *, backwards: bool = False) -> Iterator[datetime.datetime]:
    local = start.astimezone().replace(tzinfo=None)
    if backwards:
        local += _MOST_PUT_BACK  # within an hour that is shown twice, a later time may have been before
    # Naive, so that the platform says what an hour of the wall clock was, whatever its source of time zones.
    for wall_clock in CronSim(schedule.text, local, reverse=backwards):
        moment = wall_clock.astimezone()
        if moment.replace(tzinfo=None) == wall_clock:  # else the clock skipped it
            yield moment
