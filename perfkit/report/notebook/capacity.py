"""Everything that notebook 60 asks, from a lake and files, or from a simulated host whose truth is known."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from perfkit.tables import plural, sentence_html

if TYPE_CHECKING:
    from perfkit.lake import Lake
    from perfkit.learn.models.report import ModelReport
    from perfkit.stats.capacity.queues import LittleCheck
    from perfkit.workflows.forecast import Forecast
    from perfkit.workflows.forecast.ladders import Ladder

__all__ = ["OpenedCapacity", "open_capacity"]


@dataclasses.dataclass(frozen=True)
class OpenedCapacity:
    """What is known of a host and its demand.

    Args:
        found: the law, demand, the date of the limit, and what gives way first.
        little: whether the ladder's figures fit together; None where it has no latencies.
        history: ISO times and values of demand.
        model: what the cost model in force is worth; None without one.
        simulated: which parts were not measured: of ``ladder``, ``demand`` and ``cost model``.
        origins: where everything comes from, a sentence each.
    """

    found: Forecast
    little: LittleCheck | None
    history: tuple[tuple[str | int, ...], tuple[float, ...]]
    model: ModelReport | None
    simulated: tuple[str, ...]
    origins: tuple[str, ...]

    def _repr_html_(self) -> str:
        return f"<ul>{''.join(f'<li>{sentence_html(one)}</li>' for one in self.origins)}</ul>"

    def __str__(self) -> str:
        return " ".join(self.origins)


def open_capacity(
    *,
    lake_path: str = "../data/lake",
    versions: str = "",
    models_path: str = "../data/models",
    thresholds_path: str = "../thresholds.toml",
    ladder_path: str = "",
    demand_path: str = "",
    run: str = "",
    ladder: str = "",
    horizon: str = "",
    what_if: str = "",
    workers: int = 0,
    seed: int = 0,
) -> OpenedCapacity:
    """Forecast capacity from files or the lake; what neither has is simulated.

    A cost model is simulated only where nothing at all was measured.

    Args:
        lake_path: folder of the lake, whose newest ladder and whose traffic of services count.
        versions: versions of its tables to read, as `open_recorded` takes them.
        models_path: folder of the cost models.
        thresholds_path: what is published; says what a transfer takes where no model does.
        ladder_path: CSV file with ``concurrency`` and ``throughput``; empty reads the lake.
        demand_path: CSV file with ``time`` and ``value``; empty reads the lake.
        run: run of the lake whose ladder counts; empty for the newest.
        ladder: which one counts where there are several, such as ``uds 64KiB``; empty for the one of the highest
            throughput.
        horizon: how far ahead; empty for as far as the demand supports.
        what_if: what is supposed to be otherwise, as `perfkit.forecast` takes it; empty for nothing.
        workers: how many transfers the service carries at once; 0 for as many as are best.
        seed: of the intervals.

    Raises:
        InputError: a file or an argument cannot be used.
        UnknownNameError: the ladder has no such method.
        LakeError: the lake cannot be read.
        ModelError: the model in force cannot be read.
    """
    from perfkit.report.notebook import capacity_simulated as simulation
    from perfkit.report.notebook.lake_versions import open_recorded
    from perfkit.stats.capacity.series import even_series
    from perfkit.units import parse_bytes
    from perfkit.workflows.forecast import Host, forecast

    lake = open_recorded(lake_path, versions)
    method, _, size = ladder.strip().partition(" ")
    wish = (run or None, method or None, parse_bytes(size) if size.strip() else None)
    known, little = _ladder(lake, ladder_path, wish, seed)
    law = known.law if known else None
    if law is None:
        law, little = simulation.simulated_ladder(seed)
    series, is_from_lake = _demand(lake, demand_path)
    times, values = series or simulation.simulated_demand()
    model = _model(models_path)
    is_known = (("ladder", known), ("demand", series), ("cost model", model or known or series))
    simulated = tuple(name for name, source in is_known if not source)
    found = forecast(
        ladder=law,
        demand=None if is_from_lake else {"time": times, "value": values},
        lake=lake if is_from_lake else None,
        method=known.method if known else None,
        size=known.payload_bytes if known else None,
        horizon=horizon or None,
        what_if=what_if or None,
        host=Host(workers=workers or None),
        models=models_path if model else None,
        thresholds=thresholds_path,
        seed=seed,
    )
    even = even_series(times, values)
    history = (tuple(even.time(row) for row in range(len(even.values))), tuple(map(float, even.values)))
    report = simulation.simulated_model(seed) if "cost model" in simulated else model
    notes = (*(known.notes if known else ()), *found.notes)
    return OpenedCapacity(found, little, history, report, simulated, _origins(found, simulated, notes))


def _origins(found: Forecast, simulated: tuple[str, ...], notes: tuple[str, ...]) -> tuple[str, ...]:
    from perfkit.report.notebook.capacity_simulated import true_values

    measured = plural(found.usl.n if found.usl else 0, "measurement")
    said = [f"{measured} of a ladder and {plural(found.demand.n if found.demand else 0, 'value')} of demand."]
    for note in notes:  # which name options of the command line; here they are the notebook's parameters
        own = note.replace("--method and --size name another", "ladder names another").replace("--run", "run")
        said.append(f"{own[:1].upper()}{own[1:]}.")
    if simulated:
        parts = f"{', '.join(simulated[:-1])} and {simulated[-1]}" if len(simulated) > 1 else simulated[0]
        said.append(f"Simulated: {parts}. {true_values(simulated)}")
    return tuple(said)


def _ladder(
    lake: Lake, path: str, wish: tuple[str | None, str | None, int | None], seed: int
) -> tuple[Ladder | None, LittleCheck | None]:
    """The ladder of a file or of the lake, and the check of its figures; None where there is none."""
    from perfkit.errors import LakeError
    from perfkit.workflows.forecast.ladders import ladder_from, newest_ladder
    from perfkit.workflows.ladder import ladder_of

    if path:
        return ladder_from(path, wish[1], wish[2], seed), None
    try:
        found = newest_ladder(lake, *wish, seed)
    except LakeError:
        if wish != (None, None, None):
            raise
        return None, None
    measured = ladder_of(lake, found.run_id)
    kind = (found.method, found.payload_bytes)
    points = tuple(one for one in measured.points if (one.method, one.payload_bytes) == kind)
    return found, dataclasses.replace(measured, points=points).little()


def _demand(lake: Lake, path: str) -> tuple[tuple[list[Any], list[float]] | None, bool]:
    """Times and values of a file or of the lake's traffic, None where there are none; and whether the lake's count."""
    from perfkit.errors import LakeError
    from perfkit.workflows.forecast.reading import read_pairs
    from perfkit.workflows.forecast.traffic import traffic_of

    if path:
        return read_pairs(path, ("time", "value"), "demand"), False
    try:
        traffic = traffic_of(lake)
    except LakeError:
        return None, False
    return (list(traffic.times), list(map(float, traffic.transfers_per_s))), True


def _model(folder: str) -> ModelReport | None:
    from pathlib import Path

    from perfkit.workflows.learning.versions import load_current

    if not Path(folder).is_dir():
        return None
    model = load_current(folder)
    return None if model is None else model.report
