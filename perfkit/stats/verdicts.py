"""The four words in which every comparison ends."""

from __future__ import annotations

__all__ = ["BETTER", "EQUIVALENT", "INCONCLUSIVE", "VERDICTS", "WORSE"]

BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"
"""Inconclusive is not equivalent: that a change as large as the margin is ruled out has to be shown, too."""

VERDICTS = (BETTER, WORSE, EQUIVALENT, INCONCLUSIVE)
