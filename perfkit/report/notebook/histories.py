"""Look for regressions for a notebook: in a file, a lake, or histories that are simulated and whose truth is known."""

from __future__ import annotations

import dataclasses
import datetime
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.tables import plural

if TYPE_CHECKING:
    from perfkit.workflows.regressions.result import Change, Regressions

__all__ = ["SIMULATION", "OpenedHistories", "open_regressions"]

SIMULATION = "a simulation"
"""Source of what was not measured."""

_SEED = 50
_POINTS, _CHANGED_AT, _IMPROVED_AT = 90, 60, 40
_STEP, _GAIN = 0.18, -0.15
_FIRST_DAY = datetime.datetime(2026, 8, 1, 6, tzinfo=datetime.UTC)
_TYPICAL_US = {"grpc": 350, "uds": 40, "shm_pool": 60}
_FACTORS = {"4KiB": 1, "64KiB": 2, "1MiB": 6, "16MiB": 70}
_FASTER = ("uds", "4KiB")


@dataclasses.dataclass(frozen=True)
class OpenedHistories:
    """What was found, and where.

    Args:
        found: changes of level and newest points that are off.
        origin: where the measurements come from, in one sentence; of a simulation also what is true.
    """

    found: Regressions
    origin: str

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.origin)}</p>"

    def __str__(self) -> str:
        return self.origin


def open_regressions(
    file_path: str = "",
    *,
    index: str = "",
    value: str = "",
    groups: Sequence[str] = (),
    better: str = "lower",
    lake_path: str = "../data/lake",
    versions: str = "",
    since: str = "",
    baselines_path: str = "../baselines.json",
    minimum_change: float = 0.05,
    tolerance: float = 0.2,
) -> OpenedHistories:
    """Look for regressions in a file, or without one in a lake; where no series of the lake has points enough, in a
    simulation.

    Args:
        file_path: CSV or Parquet file; empty reads the lake.
        index: of a file: column that orders the rows.
        value: of a file: column that was measured.
        groups: of a file: columns that tell series apart.
        better: of a file: ``lower`` or ``higher`` values are better.
        lake_path: folder of the lake.
        versions: versions of its tables to read, as `open_recorded` takes them.
        since: of the lake: how long ago, such as ``30 days``; empty takes everything.
        baselines_path: of the lake: file of expected ranges that were frozen.
        minimum_change: smallest relative change of level that counts.
        tolerance: relative deviation of a newest point that does not matter.

    Raises:
        InputError: the file or an argument cannot be used.
        LakeError: the lake cannot be read.
    """
    from perfkit.errors import LakeError
    from perfkit.report.notebook.lake_versions import open_recorded
    from perfkit.workflows.regressions import regressions

    sizes: dict[str, Any] = {"minimum_change": minimum_change, "tolerance": tolerance}
    if file_path:
        found = regressions(file_path, index=index, value=value, groups=groups, better=better, **sizes)
        return OpenedHistories(found, f"{plural(found.n, 'series', ['series'])} of {Path(file_path).name}.")
    lake = open_recorded(lake_path, versions)
    try:
        found = regressions(lake=lake, since=since or None, baselines=baselines_path, **sizes)
    except LakeError:
        if lake.versions()["transfers"] >= 0:
            raise
        why = "the lake has no transfers"
    else:
        if any(one.expected for one in found.series):
            return OpenedHistories(found, f"{plural(found.n, 'series', ['series'])} of {Path(lake_path).resolve()}.")
        why = "no series of the lake has more than a few points yet"
    return OpenedHistories(simulated_regressions(**sizes), f"Simulated, as {why}. {_TRUTH}")


_TRUTH = (
    f"Truly, every gRPC path is slower by {_STEP:.0%} from point {_CHANGED_AT + 1} of {_POINTS} on, and "
    f"{' at '.join(_FASTER)} faster by {-_GAIN:.0%} from point {_IMPROVED_AT + 1} on; the others only spread."
)


def simulated_regressions(**sizes: Any) -> Regressions:
    """What is found in histories of twelve series, one point a day, four of which became slower on the same day.

    Args:
        sizes: arguments of `perfkit.regressions`.
    """
    import numpy as np

    from perfkit.workflows.events import Event
    from perfkit.workflows.regressions import regressions

    days = [_FIRST_DAY + datetime.timedelta(days=number) for number in range(_POINTS)]
    names = [(method, size) for method in _TYPICAL_US for size in _FACTORS]
    frame = {
        "day": np.repeat([f"{day:%Y-%m-%d}" for day in days], len(names)),
        "method": np.tile([method for method, _ in names], _POINTS),
        "payload": np.tile([size for _, size in names], _POINTS),
        "latency_ns": np.stack([_history(number, *name) for number, name in enumerate(names)], axis=1).ravel(),
    }
    found = regressions(frame, index="day", value="latency_ns", groups=("method", "payload"), **sizes)
    night = datetime.timedelta(hours=12)
    events = (
        Event(days[_IMPROVED_AT] - night, "published", "v6", "thresholds of a new fit"),
        Event(days[_CHANGED_AT] - night, "deployed", "2.4.0", "a new release"),
    )
    times = np.array([day.timestamp() for day in days])
    histories = tuple(dataclasses.replace(one, times=times) for one in found.histories)
    return _explained(dataclasses.replace(found, source=SIMULATION, unit="ns", histories=histories, events=events))


def _explained(found: Regressions) -> Regressions:
    """The events of the simulation as the causes that a search in a lake finds."""
    from perfkit.workflows.regressions.causes import Surroundings, find_causes
    from perfkit.workflows.regressions.patterns import find_patterns

    around = Surroundings(found.events, {}, lambda *_: ())
    by_name = {one.name: one for one in found.histories}

    def explained(changes: Sequence[Change]) -> tuple[Change, ...]:
        places = [int(by_name[one.series].rows.searchsorted(one.row, side="right")) for one in changes]
        return tuple(
            dataclasses.replace(one, causes=find_causes(by_name[one.series], place, (0, _POINTS), around))
            for one, place in zip(changes, places, strict=True)
        )

    worse, better = explained(found.regressions), explained(found.improvements)
    patterns = tuple(one for changes in (worse, better) for one in find_patterns(found.histories, changes))
    return dataclasses.replace(found, regressions=worse, improvements=better, patterns=patterns)


def _history(number: int, method: str, size: str) -> Any:
    from perfkit.stats.worlds import benchmark_series

    is_faster = (method, size) == _FASTER
    step_at, step = (_CHANGED_AT, _STEP) if method == "grpc" else (_IMPROVED_AT, _GAIN) if is_faster else (None, 0.0)
    noise = "spikes" if method == "shm_pool" else "lognormal"
    values = benchmark_series(_SEED + number, points=_POINTS, noise=noise, spread=0.03, step_at=step_at, step=step)
    return values / 100 * _TYPICAL_US[method] * _FACTORS[size] * 1000
