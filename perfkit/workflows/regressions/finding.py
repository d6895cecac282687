"""Find where measurements became worse for good: in a file, a frame or the lake."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, LakeError, UnknownNameError
from perfkit.lake import DEFAULT_LAKE_PATH, Lake
from perfkit.units import parse_duration
from perfkit.workflows.analyse_selection import parse_moment
from perfkit.workflows.events import read_events
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.regressions.causes import Surroundings, git_history
from perfkit.workflows.regressions.frozen import Frozen, FrozenBaseline, read_frozen, write_frozen
from perfkit.workflows.regressions.judging import Judged, RegressionsProgress, judge
from perfkit.workflows.regressions.patterns import find_patterns
from perfkit.workflows.regressions.result import Change, Regressions
from perfkit.workflows.regressions.series import Series
from perfkit.workflows.regressions.series_frame import read_frame, series_of_frame
from perfkit.workflows.regressions.series_lake import series_of_lake
from perfkit.workflows.regressions.steps import recommended_steps

__all__ = ["BASELINES", "BUCKET", "regressions"]

BASELINES = "baselines.json"
"""Where frozen baselines are, beside perfkit.toml and thresholds.toml."""
BUCKET = "1h"
"""Span of time whose transfers of services make one point."""

_BETTER = ("lower", "higher")
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class _Source:
    """What is judged, and where causes are looked for."""

    name: str
    series: Sequence[Series]
    around: Surroundings | None = None


def regressions(
    source: Any = None,
    *,
    index: str | None = None,
    value: str | None = None,
    groups: str | Sequence[str] = (),
    lake: str | Path | Lake = DEFAULT_LAKE_PATH,
    since: str | datetime.datetime | None = None,
    bucket: str = BUCKET,
    better: str = "lower",
    minimum_change: float = 0.05,
    tolerance: float = 0.2,
    baselines: str | Path = BASELINES,
    freeze: str | None = None,
    repository: str | Path = ".",
    progress: Callable[[RegressionsProgress], None] | None = None,
) -> Regressions:
    """Find changes of level in series of measurements, and newest points that are not what was expected.

    Args:
        source: a CSV file with a header, a Parquet file, or any frame; None reads the lake.
        index: of a source: column that orders the measurements: builds, times. Rows with the same one are repeated
            measurements of one point.
        value: of a source: column of measurements, above 0.
        groups: of a source: columns whose values tell series apart.
        lake: without a source: where runs and what services recorded are kept. Their latencies are judged, apart by
            method, size (class), kind, format, pool, setting and hardware.
        since: of the lake: how long ago, such as ``"30 days"``, or a moment with its time zone.
        bucket: of the lake: span of time whose transfers of services make one point, at least ``"1s"``; ``"1day"``
            keeps the hours of a day from looking like changes.
        better: of a source: ``lower`` or ``higher``: which values are better.
        minimum_change: smallest relative change of level that counts, between 0 and 1.
        tolerance: relative deviation of a newest point from its expected range that does not matter, above 0.
        baselines: of the lake: file of ranges that were frozen; where there is none, ranges move along.
        freeze: of the lake: name under which the present ranges are written to that file, such as a release.
        repository: of the lake: folder whose git history is asked for the commits at a change.
        progress: called before every series.

    Returns:
        Regressions, improvements and deviations, what may be behind them, and what to do next.

    Raises:
        InputError: the source cannot be read, or a column or value is not what it must be.
        UnknownNameError: `better` is neither.
        ConfigError: the file of baselines cannot be used.
        LakeError: the lake cannot be read, or has nothing to judge.
        FileError: the baselines cannot be written.

    >>> table = {"build": list(range(60)), "ms": [100.0, 101.0, 99.0, 100.5] * 10 + [120.0, 121.0, 119.0, 120.5] * 5}
    >>> found = regressions(table, index="build", value="ms")
    >>> [(one.row, one.index, round(one.relative, 2)) for one in found.regressions]
    [(40, 39, 0.2)]
    """
    _check(better, minimum_change, tolerance)
    if source is None:
        if index or value or groups or better != "lower":
            raise InputError("index, value, groups and better are of a file; name the file, or leave them out")
        frozen = None if freeze is not None else read_frozen(Path(baselines))
        found = _read_lake(lake, since, bucket, Path(repository))
    else:
        if index is None or value is None:
            raise InputError("name two columns of the file: what orders the rows (index), and what is measured (value)")
        if freeze is not None or since is not None:
            raise InputError("since and freeze are for the lake; leave them out, or name no file")
        names = (groups,) if isinstance(groups, str) else tuple(groups)
        series = series_of_frame(read_frame(source), index=index, value=value, groups=names)
        found = _Source(str(source) if isinstance(source, str | Path) else f"a {type(source).__name__}", series)
        frozen = None
    judged = judge(found.series, minimum_change, tolerance, frozen, progress)
    if freeze is not None:
        frozen = _freeze(Path(baselines), freeze, judged)
    return _result(found, judged, better, minimum_change, tolerance, frozen)


def _check(better: str, minimum_change: float, tolerance: float) -> None:
    if better not in _BETTER:
        raise UnknownNameError("direction", better, _BETTER)
    if not 0 < minimum_change < 1:
        raise InputError(f"minimum_change == {minimum_change}, must be between 0 and 1")
    if not 0 < tolerance < math.inf:
        raise InputError(f"tolerance == {tolerance}, must be above 0")


def _read_lake(
    lake: str | Path | Lake, since: str | datetime.datetime | None, bucket: str, repository: Path
) -> _Source:
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    found = series_of_lake(
        opened, since=None if since is None else parse_moment(since), bucket_ns=parse_duration(bucket)
    )
    if not found.series:
        period = "" if since is None else f" since {since}"
        raise LakeError(
            f"lake {opened.path} has no transfers to judge{period}: nothing was measured or recorded there. "
            "`perfkit bench` measures this machine; or name a file, or another lake"
        )
    around = Surroundings(read_events(opened), found.runs, git_history(repository))
    return _Source(str(opened.path), found.series, around)


def _freeze(path: Path, name: str, judged: Sequence[Judged]) -> Frozen:
    ranges = [FrozenBaseline(one.series.attributes, one.expected) for one in judged if one.expected]
    frozen = Frozen(name, datetime.datetime.now(datetime.UTC), tuple(ranges))
    write_frozen(path, frozen)
    return frozen


def _result(
    source: _Source,
    judged: Sequence[Judged],
    better: str,
    minimum_change: float,
    tolerance: float,
    frozen: Frozen | None,
) -> Regressions:
    changes = [change for one in judged for change in one.changes(source.around)]
    changes.sort(key=lambda one: -abs(one.relative))
    worse = tuple(one for one in changes if (one.relative > 0) == (better == "lower"))
    improved = tuple(one for one in changes if (one.relative > 0) != (better == "lower"))
    deviations = [one for one in (each.deviation(better) for each in judged) if one]
    runs = frozenset(source.around.runs) if source.around else frozenset()
    return Regressions(
        source=source.name,
        regressions=worse,
        improvements=improved,
        deviations=tuple(sorted(deviations, key=lambda one: (not one.is_worse, -abs(one.relative)))),
        patterns=tuple(one for found in (worse, improved) for one in find_patterns(source.series, found)),
        steps=recommended_steps(worse, source.name, runs) if source.around else (),
        series=tuple(one.summary for one in judged),
        better=better,
        unit="ns" if source.around else "",
        minimum_change=minimum_change,
        tolerance=tolerance,
        baselines=f"frozen as {frozen.name}" if frozen else "moving",
        warnings=_moved_controls(source.series, changes),
        histories=tuple(source.series),
        events=tuple(source.around.events) if source.around else (),
    )


def _moved_controls(series: Sequence[Series], changes: Sequence[Change]) -> tuple[str, ...]:
    """Controls that changed: the machine is not what it was, whatever else changed with it."""
    controls = {one.name for one in series if one.attributes.get("stage") == "control"}
    moved = [f"{one.series} {one.relative:+.0%} after {one.index}" for one in changes if one.series in controls]
    if not moved:
        return ()
    return (f"the machine itself changed, with no method involved: {', '.join(moved[:_NAMED])}",)
