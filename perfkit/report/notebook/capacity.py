"""Everything that notebook 60 asks, from a lake and files, or from a simulated host whose truth is known."""

from __future__ import annotations

import dataclasses
import html
from typing import TYPE_CHECKING, Any

from perfkit.tables import plural

if TYPE_CHECKING:
    from perfkit.lake import Lake
    from perfkit.learn.models.report import ModelReport
    from perfkit.stats.capacity.queues import LittleCheck
    from perfkit.workflows.forecast import Forecast

__all__ = ["OpenedCapacity", "open_capacity"]

_SEED = 60
_GAMMA, _ALPHA, _BETA = 900.0, 0.05, 0.004
_LEVELS, _LAUNCHES = (1, 2, 4, 8, 12, 16, 24, 32), 3
_DAYS, _FIRST, _PER_DAY, _WEEK = 84, 1800.0, 12.0, 0.15


@dataclasses.dataclass(frozen=True)
class OpenedCapacity:
    """What is known of a host and its demand.

    Args:
        found: the law, demand, the date of the limit, and what gives way first.
        little: whether the ladder's figures fit together; None where it has no latencies.
        history: ISO times and values of demand.
        model: what the cost model in force is worth; None without one.
        simulated: which parts were not measured: of ``ladder`` and ``demand``.
        origin: where everything comes from, in one sentence.
    """

    found: Forecast
    little: LittleCheck | None
    history: tuple[tuple[str, ...], tuple[float, ...]]
    model: ModelReport | None
    simulated: tuple[str, ...]
    origin: str

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.origin)}</p>"

    def __str__(self) -> str:
        return self.origin


def open_capacity(
    *,
    lake_path: str = "../data/lake",
    versions: str = "",
    models_path: str = "../data/models",
    ladder_path: str = "",
    demand_path: str = "",
    horizon: str = "28d",
    what_if: str = "",
    workers: int = 0,
    seed: int = 0,
) -> OpenedCapacity:
    """Forecast capacity from files or the lake; what neither has is simulated.

    Args:
        lake_path: folder of the lake, whose newest ladder counts.
        versions: versions of its tables to read, as `open_recorded` takes them.
        models_path: folder of the cost models.
        ladder_path: CSV file with ``concurrency`` and ``throughput``; empty reads the lake.
        demand_path: CSV file with ``time`` and ``value``; empty simulates demand.
        horizon: how far ahead.
        what_if: what is supposed to be otherwise, as `perfkit.forecast` takes it; empty for nothing.
        workers: how many transfers the service carries at once; 0 for as many as are best.
        seed: of the intervals.

    Raises:
        InputError: a file or an argument cannot be used.
        LakeError: the lake cannot be read.
        ModelError: the model in force cannot be read.
    """
    from perfkit.report.notebook.lake_versions import open_recorded
    from perfkit.stats.capacity.series import even_series
    from perfkit.workflows.forecast import Host, forecast
    from perfkit.workflows.forecast.reading import read_pairs

    lake = open_recorded(lake_path, versions)
    ladder, little, is_measured = (ladder_path, None, True) if ladder_path else _ladder(lake, seed)
    times, values = read_pairs(demand_path, ("time", "value"), "demand") if demand_path else _simulated_demand()
    host = Host(workers=workers or None)
    found = forecast(
        ladder=ladder,
        demand={"time": times, "value": values},
        horizon=horizon,
        what_if=what_if or None,
        host=host,
        seed=seed,
    )
    series = even_series(times, values)
    history = (tuple(series.time(row) for row in range(len(series.values))), tuple(map(float, series.values)))
    parts = (("ladder", is_measured), ("demand", bool(demand_path)))
    simulated = tuple(name for name, is_known in parts if not is_known)
    return OpenedCapacity(found, little, history, _model(models_path), simulated, _origin(found, simulated))


def _origin(found: Forecast, simulated: tuple[str, ...]) -> str:
    rungs = plural(found.usl.n if found.usl else 0, "load")
    days = plural(found.demand.n if found.demand else 0, "value")
    said = f"{rungs} of a ladder and {days} of demand."
    if not simulated:
        return said
    truth = f"the law has gamma {_GAMMA:g}, alpha {_ALPHA:g} and beta {_BETA:g}; " if "ladder" in simulated else ""
    grows = f"demand grows by {_PER_DAY:g} a day; " if "demand" in simulated else ""
    return f"{said} Simulated: {' and '.join(simulated)}. Truly, {truth}{grows}the rest is noise."


def _ladder(lake: Lake, seed: int) -> tuple[Any, LittleCheck | None, bool]:
    """The law of the newest ladder in the lake, else of a simulated one, and the check of its figures."""
    from perfkit.errors import LakeError
    from perfkit.workflows.ladder import ladder_of

    try:
        measured = ladder_of(lake)
    except LakeError:
        return *_simulated_ladder(seed), False
    method, size = measured.ladders[0]
    return measured.scalability(method, size, seed=seed), measured.little(), True


def _simulated_ladder(seed: int) -> tuple[Any, LittleCheck]:
    import numpy as np

    from perfkit.stats.capacity.queues import little_check
    from perfkit.stats.capacity.scalability import scalability

    rng = np.random.default_rng(_SEED)
    levels = np.repeat(_LEVELS, _LAUNCHES).astype(float)
    true = _GAMMA * levels / (1 + _ALPHA * (levels - 1) + _BETA * levels * (levels - 1))
    throughput = true * np.exp(rng.normal(0, 0.02, levels.size))
    latency = levels / throughput * np.exp(rng.normal(0, 0.02, levels.size))
    return scalability(levels, throughput, seed=seed), little_check(levels, throughput, latency)


def _simulated_demand() -> tuple[list[Any], list[float]]:
    import datetime

    import numpy as np

    day = np.arange(_DAYS)
    noise = np.exp(np.random.default_rng(_SEED).normal(0, 0.03, _DAYS))
    values = (_FIRST + _PER_DAY * day) * (1 + _WEEK * np.sin(2 * np.pi * day / 7)) * noise
    first = datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC)
    return [(first + datetime.timedelta(days=int(one))).isoformat() for one in day], list(map(float, values))


def _model(folder: str) -> ModelReport | None:
    from pathlib import Path

    from perfkit.workflows.learning.versions import load_current

    if not Path(folder).is_dir():
        return None
    model = load_current(folder)
    return None if model is None else model.report
