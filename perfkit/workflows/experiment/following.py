"""The report of an experiment in its present state, by its plan, from the lake."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from perfkit.errors import InputError, PerfkitError, UnknownNameError
from perfkit.lake import DEFAULT_LAKE_PATH, Lake
from perfkit.stats.experiments.sample_ratio import sample_ratio
from perfkit.workflows.experiment.configuring import plan_digest
from perfkit.workflows.experiment.planned import Planned, find_experiment
from perfkit.workflows.experiment.recorded import DERIVED, Recorded, read_recorded
from perfkit.workflows.experiment.report import ExperimentReport
from perfkit.workflows.experiment.reporting import Analysis, build_report
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.row_files import FILE_ENDINGS, read_frame

__all__ = ["Followed", "experiment_report", "follow"]

_SURE_LOSS = 30
"""Sessions assigned to a variant of which, by no chance, not one has sent yet."""


@dataclasses.dataclass(frozen=True)
class Followed:
    """An experiment, what was recorded of it, and its report.

    Args:
        planned: what its files say.
        recorded: what the lake holds.
        report: what it has shown until now.
        observations: rows of each variant.
    """

    planned: Planned
    recorded: Recorded
    report: ExperimentReport
    observations: Mapping[str, int]


def experiment_report(
    source: Any,
    analysis: Analysis | None = None,
    *,
    name: str = "",
    lake: str | Path | Lake = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
) -> ExperimentReport:
    """What an experiment has shown until now: effects, how they moved, and how much it could have found.

    Args:
        source: name of an experiment in the lake; a file (.csv, .tsv, .parquet, .arrow); or a frame.
        analysis: what is asked of a file or a frame; by default the mean and quantiles of ``latency_ns`` by
            ``session`` and ``variant`` against ``A``. An experiment of the lake is analysed by its plan.
        name: what a frame is called.
        lake: where services record; a lake that is open is read as it is.
        settings: the `perfkit.toml` with the experiment; its plan lies in `experiments/` beside it.

    Raises:
        UnknownNameError: there is no such experiment.
        InputError: the rows cannot be analysed, or none were recorded.
        LakeError: the lake cannot be read.

    >>> import numpy as np
    >>> session = np.repeat(np.arange(60), 10)
    >>> latency_ns = np.random.default_rng(0).lognormal(13, 0.2, 600)
    >>> frame = {"session": session, "variant": np.where(session % 2, "B", "A"), "latency_ns": latency_ns}
    >>> experiment_report(frame, Analysis({"latency_ns": ["mean"]}, looks=3)).n
    60
    """
    if isinstance(source, str | Path) and Path(source).suffix.lower() not in FILE_ENDINGS:
        if analysis is not None:
            raise InputError(f"experiment {str(source)!r} is analysed by its plan; leave the analysis out")
        return follow(str(source), lake=lake, settings=settings).report
    asked = analysis or Analysis({"latency_ns": ("mean", "p50", "p95", "p99")})
    if isinstance(source, str | Path):
        return build_report(read_frame(source), asked, name=name or Path(source).name)
    return build_report(source, asked, name=name or "of a frame")


def follow(
    name: str,
    *,
    lake: str | Path | Lake = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
    inference: str | None = None,
) -> Followed:
    """Read an experiment and report on it by its plan.

    Args:
        name: of the experiment.
        lake: where services record; of a path, what waits in the journal is drained first.
        settings: the `perfkit.toml`.
        inference: another one than the plan's: who looks before the end looks sequentially.

    Raises:
        UnknownNameError: there is no such experiment.
        InputError: nothing was recorded, or the rows cannot be analysed.
        PerfkitError: a variant was assigned to many sessions, none of which sent: stop it.
        LakeError: the lake cannot be read.
    """
    planned = find_experiment(name, settings)
    if not planned.variants:
        raise UnknownNameError(
            "experiment",
            name,
            [one.name for one in planned.settings.experiments],
            f"Its plan is there: add its section to {settings}.",
        )
    analysis = planned.analysis()
    analysis = dataclasses.replace(analysis, inference=inference or analysis.inference)
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    recorded = read_recorded(opened, name, [*analysis.metrics, *analysis.guardrails, *analysis.segments])
    counts = _counts(recorded.rows, "variant")
    _refuse_missing(planned, recorded, counts, opened.path)
    quiet = tuple(name for name in analysis.guardrails if name in DERIVED and not pc.sum(recorded.rows[name]).as_py())
    guardrails = {name: given for name, given in analysis.guardrails.items() if name not in quiet}
    report = build_report(
        recorded.rows,
        dataclasses.replace(analysis, guardrails=guardrails),
        name=name,
        hypothesis=planned.plan.hypothesis,
        warnings=_warnings(planned, recorded, opened),
    )
    shares = analysis.shares if recorded.exposed else None
    exposure = sample_ratio(recorded.exposed, shares) if shares else None
    report = dataclasses.replace(report, exposure=exposure, never_happened=quiet)
    return Followed(planned, recorded, report, counts)


def _refuse_missing(planned: Planned, recorded: Recorded, counts: Mapping[str, int], lake: str | Path) -> None:
    """Refuse variants that sent nothing; where sessions were assigned to them, those may fail before they send."""
    missing = [variant for variant in planned.variants if not counts.get(variant)]
    if missing:
        lost = [
            f"{variant} was assigned to {recorded.exposed[variant]} sessions"
            for variant in missing
            if recorded.exposed.get(variant)
        ]
        is_chance = max((recorded.exposed.get(name, 0) for name in missing), default=0) < _SURE_LOSS or not counts
        raise (InputError if is_chance else PerfkitError)(
            f"{'' if is_chance else 'STOP: '}"
            f"experiment {planned.name!r} has no transfers of {', '.join(missing)} in {lake} ({planned.state}"
            f"{'; ' + ', '.join(lost) + ': do they fail before they send?' if lost else ''}); "
            "name a session in `decide` and `record`, and wait until services have sent"
        )


def _counts(rows: pa.Table, column: str) -> dict[str, int]:
    counted = pc.value_counts(rows[column]).to_pylist()
    return {str(one["values"]): int(one["counts"]) for one in counted}


def _warnings(planned: Planned, recorded: Recorded, lake: Any) -> list[str]:
    """What makes the experiment hard to believe, other than its figures."""
    found = []
    if not planned.has_plan:
        found.append("no plan was written before the data came: metrics and margins are the defaults, not a promise")
    at = planned.plan.registered_at
    if at is not None and recorded.since is not None and at > recorded.since:
        found.append(f"the plan was written at {at:%Y-%m-%d %H:%M}, after the first transfer of the experiment")
    if planned.has_plan and _was_edited(planned, lake):
        found.append("the plan is not what it was when it was written: metrics or margins were chosen later")
    if len(recorded.plan_versions) > 1:
        versions = ", ".join(map(str, recorded.plan_versions))
        found.append(f"thresholds were published while it ran (versions {versions}): variants met several plans")
    return found


def _was_edited(planned: Planned, lake: Any) -> bool:
    """Whether a plan differs from what its event says; unknown without an event."""
    import json

    events = lake.events
    told = events.filter(events.name == "experiment planned", events.subject == planned.name).order_by("occurred_at")
    rows = lake.read(told.select("details")).to_pylist()
    if not rows:
        return False
    known = json.loads(rows[-1]["details"]).get("sha256")
    return bool(known) and known != plan_digest(planned.outcome_path.with_name(f"{planned.name}.toml"))
