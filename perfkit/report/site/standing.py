"""How a report stands: its last run, success and failure, whether runs were missed, whether its figures are stale."""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import itertools
from collections.abc import Mapping, Sequence

from perfkit.config.pipelines import PipelineSettings
from perfkit.errors import InputError
from perfkit.report.schedule.times import due_times, expected_period, next_due_times, read_schedule
from perfkit.report.site.runs import KeptRun, started

__all__ = ["GRACE", "STALE_DUE_TIMES", "Standing", "standings"]

STALE_DUE_TIMES = 2
"""Due times after the last success that make it stale: the run of the first may be late, or still under way."""
GRACE = datetime.timedelta(minutes=10)
"""How late a run may start: a timer has its jitter, and another run may hold the lock."""
_EARLY = datetime.timedelta(minutes=1)
_LOOK_BACK = datetime.timedelta(days=30)
_MOST_DUE = 50
_AHEAD = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Standing:
    """One report.

    Args:
        name: the pipeline.
        runs: its runs, newest first.
        schedule: five fields of a crontab line; empty for by hand.
        missed: when runs were due that never started, of the last 30 days at most.
        due: the next times when one is due.
        stale_after: when the last success gets stale; None without a schedule or a success.
        problem: why the schedule says nothing; empty when it does.
    """

    name: str
    runs: tuple[KeptRun, ...]
    schedule: str = ""
    missed: tuple[datetime.datetime, ...] = ()
    due: tuple[datetime.datetime, ...] = ()
    stale_after: datetime.datetime | None = None
    problem: str = ""

    @property
    def last(self) -> KeptRun | None:
        """The newest run."""
        return next((one for one in self.runs if not one.is_from_future), None)

    @property
    def last_good(self) -> KeptRun | None:
        """The newest run that completed."""
        return next((one for one in self.runs if one.is_good and not one.is_from_future), None)

    @property
    def last_failed(self) -> KeptRun | None:
        """The newest run that ended badly."""
        return next((one for one in self.runs if one.is_failure and not one.is_from_future), None)

    def is_stale(self, now: datetime.datetime) -> bool:
        """Whether `STALE_DUE_TIMES` runs were due since the last success, and none has completed."""
        return self.stale_after is not None and now > self.stale_after


def standings(
    runs: Sequence[KeptRun],
    pipelines: Mapping[str, PipelineSettings],
    now: datetime.datetime,
    scheduled_since: datetime.datetime | None = None,
) -> list[Standing]:
    """Every report that ran or is to run, those that ran last first.

    Args:
        runs: as `read_runs` gives them, newest first.
        pipelines: with their schedules.
        now: an aware moment.
        scheduled_since: since when the schedules are what they are: nothing was due by them before. None where unknown.
    """
    grouped: dict[str, list[KeptRun]] = {}
    for one in runs:
        grouped.setdefault(one.run.pipeline, []).append(one)
    for name, settings in pipelines.items():
        if settings.schedule:
            grouped.setdefault(name, [])
    return [
        _standing(name, tuple(kept), pipelines[name].schedule if name in pipelines else "", now, scheduled_since)
        for name, kept in grouped.items()
    ]


def _standing(
    name: str,
    runs: tuple[KeptRun, ...],
    schedule: str,
    now: datetime.datetime,
    scheduled_since: datetime.datetime | None,
) -> Standing:
    plain = Standing(name, runs, schedule)
    if not schedule:
        return plain
    try:
        period = expected_period(schedule, now)
        due = due_times(schedule, now, now + _AHEAD * period)[:_AHEAD]
        missed = _missed(schedule, runs, period, now, scheduled_since)
    except InputError as error:  # what `perfkit check` says, too
        return dataclasses.replace(plain, problem=str(error))
    good = plain.last_good
    stale_after = None if good is None else _stale_after(schedule, started(good.run))
    return dataclasses.replace(plain, missed=tuple(missed), due=tuple(due), stale_after=stale_after)


def _stale_after(schedule: str, last_success: datetime.datetime) -> datetime.datetime:
    """Counted in due times, because the gaps of a schedule differ: a weekend, or a night between working hours."""
    return next_due_times(read_schedule(schedule), last_success + _EARLY, STALE_DUE_TIMES)[-1] + GRACE


def _missed(
    schedule: str,
    runs: Sequence[KeptRun],
    period: datetime.timedelta,
    now: datetime.datetime,
    scheduled_since: datetime.datetime | None,
) -> list[datetime.datetime]:
    """Due times after which no run started before the next one was due."""
    present = [one.run for one in runs if not one.is_from_future]
    starts = sorted(started(run) for run in present)
    if not starts:
        return []
    # Before a timer first started one, or nobody's run was there, nothing was due.
    since = min((started(run) for run in present if run.started_by == "schedule"), default=starts[-1])
    since = max(since, now - min(_LOOK_BACK, _MOST_DUE * period), scheduled_since or since)
    due = due_times(schedule, since + _EARLY, now - GRACE)
    missed = []
    for moment, following in itertools.pairwise([*due, now]):
        index = bisect.bisect_left(starts, moment - _EARLY)
        if index == len(starts) or starts[index] >= following:
            missed.append(moment)
    return missed
