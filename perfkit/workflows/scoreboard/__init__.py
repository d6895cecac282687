"""Every statistic on worlds whose truth is known: how often it errs, held against what it claims."""

from __future__ import annotations

from perfkit.workflows.scoreboard.result import Failure, Figure, Scoreboard
from perfkit.workflows.scoreboard.running import scoreboard

__all__ = ["Failure", "Figure", "Scoreboard", "scoreboard"]
