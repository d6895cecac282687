"""What may be behind a change: events, commits and differences of the host between its two sides, and the stage."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import math
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfkit.config.fingerprint import FINGERPRINT_KEYS, UNKNOWN
from perfkit.workflows.events import Event
from perfkit.workflows.regressions.series import Series
from perfkit.workflows.regressions.series_lake import RunFacts

__all__ = ["Causes", "Surroundings", "find_causes", "git_history"]

Floats = npt.NDArray[np.float64]

_BLUR = 2
"""Points by which the place of a change may be wrong: an event so near may lie on its other side."""
_MOST_NAMED = 5
_GIT_LIMIT_S = 5.0
_CLEAR_SHARE = 0.5
_REVISION = re.compile(r"[0-9a-f]{4,64}")
"""Anybody may have written the table that revisions come from: nothing else of it reaches a command."""
_STAGES_OF_RUNS = ("encode", "encode_into", "decode", "transport")


@dataclasses.dataclass(frozen=True, slots=True)
class Causes:
    """What may be behind one change.

    Args:
        events: events at the change, the nearest first.
        commits: commits between the last point before it and the first after it, newest first, as ``hash subject``.
        host: what differs between the hosts of the two points, such as ``kernel: 6.12 -> 6.18``.
        stage: stage that more than half of the change lies in; empty when none does, or nobody measured it.
        stages_ns: median of each stage after the change minus before it.
    """

    events: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    stage: str = ""
    stages_ns: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Where causes are looked for.

    Args:
        events: events of the lake, in order of time.
        runs: what is known of the runs.
        commits: what `git_history` gives: the commits that arguments of ``git log`` select.
    """

    events: Sequence[Event]
    runs: Mapping[str, RunFacts]
    commits: Callable[..., tuple[str, ...]]


def find_causes(series: Series, place: int, segment: tuple[int, int], around: Surroundings) -> Causes:
    """What may be behind a change of a series.

    Args:
        series: the series.
        place: first point of the new level, from 0.
        segment: first point of the level before, and the one after the last of the new level.
        around: where to look.
    """
    stages = {name: _excess(values, place, segment) for name, values in series.stages_ns.items()}
    stages = {name: excess for name, excess in stages.items() if math.isfinite(excess)}
    before, after = str(series.index[place - 1]), str(series.index[place])
    facts = around.runs.get(before), around.runs.get(after)
    return Causes(
        _events_near(series, place, around.events),
        _commits_between(series, place, facts, around.commits),
        _host_differences(*facts),
        _probable_stage(series, stages),
        stages,
    )


def _excess(values: Floats, place: int, segment: tuple[int, int]) -> float:
    before, after = values[segment[0] : place], values[place : segment[1]]
    if not (np.isfinite(before).any() and np.isfinite(after).any()):
        return math.nan
    return float(np.nanmedian(after) - np.nanmedian(before))


def _probable_stage(series: Series, stages: Mapping[str, float]) -> str:
    if not stages:
        stage = series.attributes.get("stage", "")
        return stage if stage in _STAGES_OF_RUNS else ""
    total = sum(abs(excess) for excess in stages.values())
    name = max(stages, key=lambda stage: abs(stages[stage]))
    return name.removesuffix("_ns") if total and abs(stages[name]) > _CLEAR_SHARE * total else ""


def _events_near(series: Series, place: int, events: Sequence[Event]) -> tuple[str, ...]:
    if series.times is None:
        return ()
    times = series.times
    begin, end = times[max(place - 1 - _BLUR, 0)], times[min(place + _BLUR, times.size - 1)]
    inside = (times[place - 1], times[place])

    def distance(event: Event) -> float:
        at = event.occurred_at.timestamp()
        return float(max(inside[0] - at, at - inside[1], 0.0))

    near = [one for one in events if begin <= one.occurred_at.timestamp() <= end]
    return tuple(str(one) for one in sorted(near, key=distance)[:_MOST_NAMED])


def _host_differences(before: RunFacts | None, after: RunFacts | None) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    pairs = (
        (words, before.fingerprint.get(key), after.fingerprint.get(key)) for key, words in FINGERPRINT_KEYS.items()
    )
    return tuple(
        f"{words}: {old} -> {new}"
        for words, old, new in pairs
        if old and new and old != new and UNKNOWN not in (old, new)
    )


def _commits_between(
    series: Series, place: int, facts: tuple[RunFacts | None, RunFacts | None], commits: Callable[..., tuple[str, ...]]
) -> tuple[str, ...]:
    old, new = (one.git_revision if one else "" for one in facts)
    if _REVISION.fullmatch(old) and _REVISION.fullmatch(new):
        return () if old == new else commits(f"{old}..{new}")
    if series.times is None:
        return ()
    since, until = (_iso(series.times[one]) for one in (place - 1, place))
    return commits(f"--since={since}", f"--until={until}")


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def git_history(repository: Path) -> Callable[..., tuple[str, ...]]:
    """The newest commits that arguments of ``git log`` select, as ``hash subject``; each selection is asked for once.

    Args:
        repository: a folder of it; without git, or outside a repository, there are no commits.
    """

    @functools.cache
    def commits(*selection: str) -> tuple[str, ...]:
        command = ["git", "-C", str(repository), "log", "--no-color", "--format=%h %s", f"-{_MOST_NAMED}", *selection]
        try:
            done = subprocess.run(
                [*command, "--"], capture_output=True, text=True, errors="replace", timeout=_GIT_LIMIT_S, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return ()
        return tuple(done.stdout.splitlines()) if done.returncode == 0 else ()

    return commits
