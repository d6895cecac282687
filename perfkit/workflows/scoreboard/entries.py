"""Everything that the scoreboard knows how to run."""

from __future__ import annotations

from perfkit.workflows.scoreboard import (
    changes,
    experiments,
    large,
    launches,
    learning,
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
    *learning.ENTRIES,
)
