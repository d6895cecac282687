"""Changes of level in what was measured, and what may be behind them. Start at `regressions`."""

from perfkit.workflows.regressions.finding import regressions
from perfkit.workflows.regressions.result import Change, Deviation, Pattern, Regressions, SeriesSummary

__all__ = ["Change", "Deviation", "Pattern", "Regressions", "SeriesSummary", "regressions"]
