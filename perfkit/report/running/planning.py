"""What a run is going to be, all of it checked: anew, again as an earlier one, or as of what an earlier one read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.config.pipelines import PipelineSettings
from perfkit.errors import InputError, UnknownNameError
from perfkit.report.results import PipelineResult
from perfkit.report.running.recomputing import NOTHING_NEW, at_versions_of, earlier_grid, find_report
from perfkit.report.running.steps import Step, plan_steps

__all__ = ["RunPlan", "plan_run"]

_DEFAULT = "default"


@dataclasses.dataclass(frozen=True, slots=True)
class RunPlan:
    """A run that may begin.

    Args:
        name: of the pipeline.
        pipeline: what it is.
        steps: what runs, in this order.
        parameters: what the notebooks are given, by name, apart from the grid.
    """

    name: str
    pipeline: PipelineSettings
    steps: tuple[Step, ...]
    parameters: Mapping[str, Any]


def plan_run(
    name: str | None,
    parameters: Mapping[str, Any],
    pipelines: Mapping[str, PipelineSettings],
    notebooks_folder: Path,
    *,
    again: str | Path | None = None,
    as_of: str | Path | None = None,
) -> RunPlan:
    """Plan a run. Nothing is started, and no folder made.

    Args:
        name: of the pipeline; None for that of `again`, or "default".
        parameters: values by name; they win over all others.
        pipelines: by name.
        notebooks_folder: where notebooks are looked for by name.
        again: folder of a report whose pipeline is run again, with its parameters and its grid.
        as_of: folder of a report whose figures are computed again from what it read.

    Raises:
        UnknownNameError: there is no such pipeline, or no notebook has such a parameter.
        InputError: a notebook is missing or is none, or a parameter has the wrong type; `again` or `as_of` is no report
            that this can be done with.
    """
    if again is not None and as_of is not None:
        raise InputError("--again (newest data) and --as-of (what the report read) exclude each other; give one")
    repeated = None if again is None else find_report(again)
    computed = None if as_of is None else find_report(as_of)
    name = _name(name, repeated)
    if name not in pipelines:
        raise UnknownNameError("pipeline", name, pipelines, "perfkit.toml adds more, as [pipelines.NAME].")
    pipeline = _with_grid_of(repeated or computed, name, pipelines[name])
    given = {**(repeated.parameters if repeated else {}), **parameters}
    if_declared = {**computed.parameters, **NOTHING_NEW} if computed else {}
    steps = plan_steps(name, pipeline, given, notebooks_folder, if_declared)
    if computed is not None:
        steps = at_versions_of(computed, steps)
    declared = {parameter for step in steps for parameter in step.declared}
    taken = {parameter: value for parameter, value in if_declared.items() if parameter in declared}
    return RunPlan(name, pipeline, steps, {**pipeline.parameters, **taken, **given})


def _name(name: str | None, repeated: PipelineResult | None) -> str:
    if repeated is None:
        return name or _DEFAULT
    if name is not None and name != repeated.pipeline:
        raise InputError(
            f"report {repeated.run_id} is of pipeline {repeated.pipeline}, not of {name}; leave the name out"
        )
    return repeated.pipeline


def _with_grid_of(earlier: PipelineResult | None, name: str, pipeline: PipelineSettings) -> PipelineSettings:
    grid = earlier_grid(earlier) if earlier is not None and earlier.pipeline == name else {}
    return dataclasses.replace(pipeline, grid=grid) if grid else pipeline
