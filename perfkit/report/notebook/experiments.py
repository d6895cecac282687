"""Open an experiment for a notebook: of a lake, of a file, or one that is simulated and whose truth is known."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import InputError
from perfkit.tables import plural

if TYPE_CHECKING:
    import pyarrow as pa

    from perfkit.workflows.experiment.report import ExperimentReport
    from perfkit.workflows.experiment.reporting import Analysis

__all__ = ["SIMULATED", "OpenedExperiment", "open_experiment"]

SIMULATED = "simulated"
"""Name of an experiment that nobody ran."""

_SEED = 40
_FIRST_DAY, _DAYS = "2026-11-02", 14


@dataclasses.dataclass(frozen=True)
class OpenedExperiment:
    """An experiment with the rows that it rests on.

    Args:
        report: what it has shown until now.
        rows: one per observation, with the columns that `unit` and `metrics` name.
        origin: where the rows come from, in one sentence; of a simulation also what is true.
    """

    report: ExperimentReport
    rows: pa.Table
    origin: str

    @property
    def unit(self) -> str:
        """Column that names what was randomised."""
        return self.report.result.unit

    @property
    def metrics(self) -> dict[str, tuple[str, ...]]:
        """Statistics that were compared, by metric."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self.report.result.effects:
            found[one.metric] = tuple(dict.fromkeys((*found.get(one.metric, ()), one.statistic)))
        return found

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.origin)}</p>"

    def __str__(self) -> str:
        return self.origin


def open_experiment(
    name: str = "",
    *,
    file_path: str = "",
    metric: str = "latency_ns",
    statistics: Sequence[str] = ("mean", "p50", "p95", "p99"),
    time: str = "",
    segments: Sequence[str] = (),
    lake_path: str = "../data/lake",
    versions: str = "",
    settings_path: str = "../perfkit.toml",
    simulated_sessions: int = 1200,
    simulated_effect: float = -0.08,
) -> OpenedExperiment:
    """Read an experiment and report on it; where none is named, simulate one.

    Args:
        name: of an experiment of the lake, which is analysed by its plan.
        file_path: without a name: a file (.csv, .tsv, .parquet, .arrow) with columns session and variant, A being the
            control; without either, an experiment is simulated.
        metric: of a file, the column that is measured.
        statistics: of a file or a simulation: what is compared; the verdict rests on the first.
        time: of a file, the column with the moment of each row; empty where there is none.
        segments: of a file, columns by which sessions are told apart.
        lake_path: folder of the lake.
        versions: versions of its tables to read, as `open_recorded` takes them.
        settings_path: the `perfkit.toml` with the experiment.
        simulated_sessions: sessions of a simulation, 2 or more.
        simulated_effect: what B truly changes in it.

    Raises:
        UnknownNameError: there is no such experiment.
        InputError: the rows cannot be analysed, or both a name and a file are given.
        LakeError: the lake cannot be read.

    >>> opened = open_experiment(simulated_sessions=200, simulated_effect=-0.2)
    >>> print(opened)
    Simulated: 200 sessions over 14 days, in which B truly changes every latency by -20%.
    >>> opened.report.verdict
    'better'
    """
    from perfkit.report.notebook.lake_versions import open_recorded
    from perfkit.workflows.experiment.following import follow
    from perfkit.workflows.experiment.reporting import Analysis
    from perfkit.workflows.row_files import read_frame

    if name and file_path:
        raise InputError(f"experiment {name!r} and file {file_path} are both given; give one")
    if name:
        followed = follow(name, lake=open_recorded(lake_path, versions), settings=settings_path)
        return OpenedExperiment(
            followed.report, followed.recorded.rows, f"Experiment {name} of {Path(lake_path).resolve()}."
        )
    if file_path:
        rows, file_name = read_frame(file_path), Path(file_path).name
        analysis = Analysis({metric: tuple(statistics)}, time=time, segments=tuple(segments))
        return _built(rows, analysis, file_name, f"{plural(rows.num_rows, 'row')} of {file_name}.")
    rows = _simulated(simulated_sessions, simulated_effect)
    origin = (
        f"Simulated: {plural(simulated_sessions, 'session')} over {_DAYS} days, in which B truly changes every latency "
        f"by {simulated_effect:+.0%}."
    )
    simulated = Analysis({"latency_ns": tuple(statistics)}, time="observed_at", segments=("pool",))
    return _built(rows, simulated, SIMULATED, origin)


def _built(rows: Any, analysis: Analysis, name: str, origin: str) -> OpenedExperiment:
    from perfkit.workflows.experiment.reporting import build_report

    return OpenedExperiment(build_report(rows, analysis, name=name), rows, origin)


def _simulated(sessions: int, effect: float) -> pa.Table:
    """Sessions that come in evenly over two weeks, in two pools."""
    import numpy as np
    import pyarrow as pa

    from perfkit.stats.worlds import ab_traffic

    if sessions < 2:
        raise InputError(f"simulated_sessions == {sessions}, must be 2 or more: each variant needs one, better 100")
    traffic = ab_traffic(_SEED, sessions=sessions, effect=effect)
    session = traffic["session"]
    microseconds = ((session + 0.5) / sessions * _DAYS * 86_400e6).astype("timedelta64[us]")
    at = np.datetime64(_FIRST_DAY, "us") + microseconds
    pool = np.where(session % 3 == 0, "ml", "web")
    return pa.table({**traffic, "observed_at": at, "pool": pool})
