"""The five fields of a crontab line name the times that they should, whatever the clock does."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator

import pytest

from perfkit.errors import InputError
from perfkit.report.schedule import due_times, expected_period
from perfkit.report.schedule.times import read_schedule

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def local(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).astimezone()


def due(schedule: str, after: str, before: str) -> list[str]:
    return [f"{moment:%m-%d %H:%M%z}" for moment in due_times(schedule, local(after), local(before))]


@pytest.mark.usefixtures("berlin")
def test_a_time_that_the_clock_skips_is_not_due() -> None:
    night = due("30 2 * * *", "2026-03-28 00:00", "2026-03-31 00:00")
    assert night == ["03-28 02:30+0100", "03-30 02:30+0200"]


@pytest.mark.usefixtures("berlin")
def test_a_time_that_the_clock_shows_twice_is_due_once() -> None:
    assert due("30 2 * * *", "2026-10-25 00:00", "2026-10-26 00:00") == ["10-25 02:30+0200"]
    every_half_hour = due("*/30 * * * *", "2026-10-25 01:30", "2026-10-25 03:00")
    assert every_half_hour == ["10-25 02:00+0200", "10-25 02:30+0200", "10-25 03:00+0100"]


@pytest.mark.usefixtures("berlin")
def test_within_the_hour_that_is_shown_twice_the_next_due_time_lies_ahead() -> None:
    second_time = datetime.datetime(2026, 10, 25, 2, 20, fold=1).astimezone()
    following = due_times("*/30 * * * *", second_time, second_time + HOUR)
    assert [f"{moment:%H:%M%z}" for moment in following] == ["03:00+0100"]
    assert expected_period("*/30 * * * *", second_time) == 1.5 * HOUR  # 02:30 summer time until 03:00 winter time


@pytest.mark.usefixtures("berlin")
def test_a_day_is_as_long_as_it_is() -> None:
    assert expected_period("0 4 * * *", local("2026-03-28 12:00")) == 23 * HOUR
    assert expected_period("0 4 * * *", local("2026-10-24 12:00")) == 25 * HOUR
    assert expected_period("0 4 * * *", local("2026-06-01 04:00")) == 24 * HOUR


def test_what_is_due_at_the_first_moment_is_left_out_and_at_the_last_taken_in() -> None:
    assert due("0 * * * *", "2026-01-01 00:00", "2026-01-01 02:00") == due(
        "0 * * * *", "2026-01-01 00:00:01", "2026-01-01 02:59"
    )
    assert due("0 * * * *", "2026-01-01 02:00", "2026-01-01 01:00") == []


def test_moments_of_another_zone_are_moments_all_the_same() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=9))
    after, before = (local(text) for text in ("2026-01-01 02:59", "2026-01-01 03:01"))
    there = due_times("0 3 * * *", after.astimezone(zone), before.astimezone(zone))
    assert there == due_times("0 3 * * *", after, before)
    assert len(there) == 1


def test_either_field_of_days_is_enough_unless_one_begins_with_a_star() -> None:
    month = ("2026-06-01 00:00", "2026-06-30 23:59")
    assert [day[:5] for day in due("0 1 15 * mon", *month)] == ["06-01", "06-08", "06-15", "06-22", "06-29"]
    assert [day[:5] for day in due("0 1 */2 * mon", *month)] == ["06-01", "06-15", "06-29"]
    assert read_schedule("0 1 15 * 7").weekdays == (0,)


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        ("0 3 * *", "five fields"),
        ("@daily", "five fields"),
        ("0 25 * * *", "hour '25'; must be 0 to 23"),
        ("*/90 * * * *", "minute '*/90'; must be 0 to 59"),
        ("*/0 * * * *", "minute '*/0'"),
        ("5/10 * * * *", "minute '5/10'"),
        ("0 3 L * *", "day-of-month 'L'"),
        ("0 3 30 2 *", "day-of-month '30'; must be 1 to 31, and a day that its months have"),
        ("0 3 * sept *", "month 'sept'; must be 1 to 12, or jan to dec"),
        ("0 3 * * fri-mon", "day-of-week 'fri-mon'"),
        ("0 3 * * 5#2", "day-of-week '5#2'"),
    ],
)
def test_a_schedule_that_a_cron_would_not_read_is_refused_with_what_is_allowed(schedule: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        read_schedule(schedule)
    assert repr(schedule) in str(refused.value)
    assert told in str(refused.value)


def test_a_moment_without_a_zone_is_refused() -> None:
    naive = datetime.datetime(2026, 1, 1)
    with pytest.raises(InputError, match="no time zone"):
        due_times("0 3 * * *", naive, naive)
