"""From what the lake keeps to a fit that can be published."""

from __future__ import annotations

import json
from pathlib import Path

from perfkit.errors import LakeError, UnknownNameError
from perfkit.lake import open_lake
from perfkit.learn import Fit, fit

__all__ = ["fit_run"]

FINISHED = ("complete", "budget")


def fit_run(lake: str | Path = "data/lake", run_id: str | None = None) -> Fit:
    """Fit the observations of one run.

    Args:
        lake: folder of the lake.
        run_id: the run; None takes the newest one that finished (an interrupted run has to be asked for).

    Returns:
        The fit, with the run's fingerprint and the versions of the tables that it was read from.

    Raises:
        UnknownNameError: the lake has no such run.
        LakeError: the lake has no finished run, or cannot be read.
        FitError: the run measured too little.
    """
    opened = open_lake(lake)
    runs = opened.runs.to_pyarrow().to_pylist()  # newest first
    if run_id is None:
        chosen = next((run for run in runs if run["status"] in FINISHED), None)
        if chosen is None:
            raise LakeError(f"{lake} has no finished run to fit; `perfkit bench` measures one")
    else:
        chosen = next((run for run in runs if run["run_id"] == run_id), None)
        if chosen is None:
            raise UnknownNameError("run", run_id, [run["run_id"] for run in runs], "`perfkit bench` measures one.")
    transfers = opened.transfers
    observations = transfers.filter(transfers.run_id == chosen["run_id"]).to_pyarrow()
    return fit(observations, fingerprint=json.loads(chosen["fingerprint"]), table_versions=opened.versions())
