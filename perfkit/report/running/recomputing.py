"""Compute an earlier report's figures again, from the versions of the lake that it read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError
from perfkit.report.results import RUN_FILE, PipelineResult, read_run

__all__ = ["VERSIONS_PARAMETER", "at_versions_of", "earlier_parameters", "find_report"]

VERSIONS_PARAMETER = "versions"
"""Parameter of the notebooks that read from a lake: the versions of its tables; empty for the newest."""

_NOTHING_NEW: Mapping[str, Any] = {"dry_run": True, "replay_budget_s": 0.0}

_Parameters = Mapping[str, Mapping[str, Any]]


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


def earlier_parameters(earlier: PipelineResult, declared: _Parameters) -> dict[str, Any]:
    """What the earlier run was given, as far as the notebooks of this one take it; nothing is measured or published."""
    names = {name for parameters in declared.values() for name in parameters}
    taken = {name: value for name, value in earlier.parameters.items() if name in names}
    return taken | {name: value for name, value in _NOTHING_NEW.items() if name in names}


def at_versions_of(earlier: PipelineResult, given: _Parameters, declared: _Parameters) -> dict[str, dict[str, Any]]:
    """The parameters with the versions that each notebook read for the earlier report.

    Raises:
        InputError: a notebook measures anew, or did not say there what it read.
    """
    read = {notebook.name: notebook.versions for notebook in earlier.notebooks}
    chosen = {}
    for name, parameters in given.items():
        if VERSIONS_PARAMETER not in declared[name]:
            raise InputError(f"notebook {name} measures anew and cannot be computed again; run the pipeline tune")
        if not read.get(name):
            raise InputError(f"report {earlier.run_id} does not say what {name} read; an older perfkit wrote it")
        chosen[name] = {**parameters, VERSIONS_PARAMETER: json.dumps(read[name])}
    return chosen
