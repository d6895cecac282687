"""How a report stands: its last run, success and failure, whether runs were missed, whether its figures are stale."""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import itertools
from collections.abc import Mapping, Sequence

from perfkit.config.pipelines import PipelineSettings
from perfkit.errors import InputError
from perfkit.report.schedule.times import due_times, expected_period
from perfkit.report.site.runs import KeptRun, started

__all__ = ["GRACE", "STALE_PERIODS", "Standing", "standings"]

STALE_PERIODS = 1.5
"""Schedule periods after which a last success is stale."""
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
        """Whether the last success is older than its schedule allows."""
        return self.stale_after is not None and now > self.stale_after


def standings(
    runs: Sequence[KeptRun], pipelines: Mapping[str, PipelineSettings], now: datetime.datetime
) -> list[Standing]:
    """Every report that ran or is to run, those that ran last first.

    Args:
        runs: as `read_runs` gives them, newest first.
        pipelines: with their schedules.
        now: an aware moment.
    """
    grouped: dict[str, list[KeptRun]] = {}
    for one in runs:
        grouped.setdefault(one.run.pipeline, []).append(one)
    for name, settings in pipelines.items():
        if settings.schedule:
            grouped.setdefault(name, [])
    return [
        _standing(name, tuple(kept), pipelines[name].schedule if name in pipelines else "", now)
        for name, kept in grouped.items()
    ]


def _standing(name: str, runs: tuple[KeptRun, ...], schedule: str, now: datetime.datetime) -> Standing:
    plain = Standing(name, runs, schedule)
    if not schedule:
        return plain
    try:
        period = expected_period(schedule, now)
        due = due_times(schedule, now, now + _AHEAD * period)[:_AHEAD]
        missed = _missed(schedule, runs, period, now)
    except InputError as error:  # what `perfkit check` says, too
        return dataclasses.replace(plain, problem=str(error))
    good = plain.last_good
    stale_after = None if good is None else started(good.run) + STALE_PERIODS * period
    return dataclasses.replace(plain, missed=tuple(missed), due=tuple(due), stale_after=stale_after)


def _missed(
    schedule: str, runs: Sequence[KeptRun], period: datetime.timedelta, now: datetime.datetime
) -> list[datetime.datetime]:
    """Due times after which no run started before the next one was due."""
    present = [one.run for one in runs if not one.is_from_future]
    starts = sorted(started(run) for run in present)
    if not starts:
        return []
    # Before a timer first started one, or nobody's run was there, nothing was due.
    since = min((started(run) for run in present if run.started_by == "schedule"), default=starts[-1])
    since = max(since, now - min(_LOOK_BACK, _MOST_DUE * period))
    due = due_times(schedule, since + _EARLY, now - GRACE)
    missed = []
    for moment, following in itertools.pairwise([*due, now]):
        index = bisect.bisect_left(starts, moment - _EARLY)
        if index == len(starts) or starts[index] >= following:
            missed.append(moment)
    return missed
