"""What transfers really took: statistics, predicted against actual, regret, circuit breakers. Standard library only.

Everything here is plain logic: the engine's thread brings what was recorded, and asks what follows from it.
"""

from __future__ import annotations

from perfkit.engine.outcomes.breaker import Breakers, BreakerState
from perfkit.engine.outcomes.corrections import CorrectionChange, Corrections
from perfkit.engine.outcomes.regret import Regret
from perfkit.engine.outcomes.statistics import MethodStatistics, OutcomeStatistics
from perfkit.engine.outcomes.taking import OTHER_POOLS, Outcome, Outcomes

__all__ = [
    "OTHER_POOLS",
    "BreakerState",
    "Breakers",
    "CorrectionChange",
    "Corrections",
    "MethodStatistics",
    "Outcome",
    "OutcomeStatistics",
    "Outcomes",
    "Regret",
]
