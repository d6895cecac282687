"""Everything that the scoreboard knows how to run."""

from __future__ import annotations

from perfkit.workflows.scoreboard import (
    changes,
    demand,
    experiments,
    large,
    launches,
    learning,
    off_policy,
    predictions,
    releases,
    scalability,
    sequences,
)
from perfkit.workflows.scoreboard.claims import Entry

__all__ = ["ENTRIES"]

ENTRIES: tuple[Entry, ...] = (
    *experiments.ENTRIES,
    *sequences.ENTRIES,
    *changes.ENTRIES,
    *releases.ENTRIES,
    *launches.ENTRIES,
    *large.ENTRIES,
    *scalability.ENTRIES,
    *demand.ENTRIES,
    *learning.ENTRIES,
    *off_policy.ENTRIES,
    *predictions.ENTRIES,
)
