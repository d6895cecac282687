"""Earlier reports: run them again with the newest data, or compute their figures again from what they read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfkit.errors import InputError
from perfkit.report.results import RUN_FILE, PipelineResult, read_run
from perfkit.report.running.steps import Step

__all__ = ["NOTHING_NEW", "VERSIONS_PARAMETER", "at_versions_of", "earlier_grid", "find_report"]

VERSIONS_PARAMETER = "versions"
"""Parameter of the notebooks that read from a lake: the versions of its tables; empty for the newest."""

NOTHING_NEW: Mapping[str, Any] = {"dry_run": True, "replay_budget_s": 0.0}
"""What keeps a notebook from measuring and publishing, when it only computes again."""


def find_report(folder: str | Path) -> PipelineResult:
    """The run that a report's folder is of.

    Raises:
        InputError: the folder holds no report of this perfkit.
    """
    try:
        return read_run(Path(folder))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder} is no report: {RUN_FILE} cannot be read ({error}); give a folder such as reports/latest"
        ) from error


def earlier_grid(earlier: PipelineResult) -> dict[str, tuple[Any, ...]]:
    """The values of the grid that the earlier run went over, by parameter; empty when it had none."""
    grid: dict[str, list[Any]] = {}
    for notebook in earlier.notebooks:
        for name, value in notebook.point.items():
            values = grid.setdefault(name, [])
            if value not in values:
                values.append(value)
    return {name: tuple(values) for name, values in grid.items()}


def at_versions_of(earlier: PipelineResult, steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps with the versions of the lake's tables that each notebook read for the earlier report.

    Raises:
        InputError: a notebook measures anew, or did not say there what it read.
    """
    read = {
        **{notebook.name: notebook.versions for notebook in earlier.notebooks},
        **{notebook.page_name: notebook.versions for notebook in earlier.notebooks},
    }
    chosen = []
    for step in steps:
        if VERSIONS_PARAMETER not in step.declared:
            raise InputError(f"notebook {step.name} measures anew and cannot be computed again; run the pipeline tune")
        versions = read.get(step.page) or read.get(step.name)
        if not versions:
            raise InputError(f"report {earlier.run_id} does not say what {step.name} read; an older perfkit wrote it")
        at_versions = {**step.parameters, VERSIONS_PARAMETER: json.dumps(versions)}
        chosen.append(dataclasses.replace(step, parameters=at_versions))
    return tuple(chosen)
