"""Judge rows of any file, or of an experiment in the lake, by a question of the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import InputError
from perfkit.lake import DEFAULT_LAKE_PATH
from perfkit.stats.experiments import ABResult, ab
from perfkit.workflows.experiment.planned import find_experiment
from perfkit.workflows.experiment.recorded import read_recorded
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.row_files import FILE_ENDINGS, read_frame

__all__ = ["judge"]

_METRICS: Mapping[str, Sequence[str]] = {"latency_ns": ("mean", "p50", "p95", "p99")}


def judge(
    source: str | Path,
    *,
    control: str | None = None,
    shares: Mapping[str, float] | None = None,
    metrics: Mapping[str, Sequence[str]] = _METRICS,
    guardrails: Mapping[str, Sequence[str]] | None = None,
    segments: Sequence[str] = (),
    lake: str | Path = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
    **question: Any,
) -> ABResult:
    """Judge rows once, by what is asked now: nothing is planned, kept or told.

    Args:
        source: a file (.csv, .tsv, .parquet, .arrow), or the name of an experiment in the lake.
        control: variant to compare with; by default ``A``, or the experiment's first.
        shares: planned share of the units of each variant; by default equal ones, or the experiment's.
        metrics: statistics by metric; the verdict rests on the first.
        guardrails: likewise; what must not get worse.
        segments: columns by which units are told apart.
        lake: where services record.
        settings: the `perfkit.toml` with the experiment.
        question: further arguments of `perfkit.ab`.

    Raises:
        InputError: the rows cannot be judged; the message says why.
        UnknownNameError: there is no such experiment or column.
        LakeError: the lake cannot be read.
    """
    asked = {"metrics": metrics, "guardrails": guardrails or {}, "segments": tuple(segments), **question}
    if Path(source).suffix.lower() in FILE_ENDINGS or Path(source).is_file():
        return ab(read_frame(source), control=control or "A", shares=shares, **asked)
    planned = find_experiment(str(source), settings)
    analysis = planned.analysis()
    columns = [*metrics, *asked["guardrails"], *segments]
    rows = read_recorded(open_fresh_lake(lake), planned.name, columns).rows
    if rows.num_rows == 0:
        raise InputError(f"experiment {planned.name!r} has no transfers in {lake} ({planned.state}); wait for some")
    return ab(rows, control=control or analysis.control, shares=shares or analysis.shares, **asked)
