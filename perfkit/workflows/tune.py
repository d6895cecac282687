"""From what the lake keeps to a fit that can be published."""

from __future__ import annotations

import json
from pathlib import Path

from perfkit.lake import Lake
from perfkit.learn import Fit, fit
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.runs import refuse_without_rows, resolve_run

__all__ = ["fit_run"]


def fit_run(lake: str | Path | Lake = "data/lake", run_id: str | None = None) -> Fit:
    """Fit the observations of one run.

    Args:
        lake: folder of the lake, drained before; or a lake, read as it was opened.
        run_id: the run, as `perfkit.workflows.runs.resolve_run` takes it; None takes the newest one that finished (an
            interrupted run has to be asked for).

    Returns:
        The fit, with the run's fingerprint and the versions of the tables that it was read from.

    Raises:
        InputError: no run, or more than one, is meant.
        LakeError: the lake has no finished run, or no observations of the run (any more), or cannot be read.
        FitError: the run measured too little.
    """
    opened = lake if isinstance(lake, Lake) else open_fresh_lake(lake)
    chosen = resolve_run(opened, run_id or "latest")
    observations = opened.observations_of(chosen.run_id)
    if not observations.num_rows:
        refuse_without_rows(opened, chosen.run_id)
    return fit(observations, fingerprint=json.loads(chosen.fingerprint), table_versions=opened.versions())
