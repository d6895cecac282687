"""Charts of transfers: fixed colours, intervals as bands, sizes and durations as people write them.

Every function takes results and returns an Altair chart that is as wide as its container; the chart's description says
how to read it, and the report prints it below the chart.
"""

from __future__ import annotations

from perfkit.report.charts.changes import comparison_chart
from perfkit.report.charts.coverage import coverage_chart
from perfkit.report.charts.crossovers import crossover_chart, crossovers
from perfkit.report.charts.demand import demand_chart
from perfkit.report.charts.effects import effects_chart
from perfkit.report.charts.latency import latency_chart
from perfkit.report.charts.looks import looks_chart
from perfkit.report.charts.powers import power_chart
from perfkit.report.charts.profile import profile_chart
from perfkit.report.charts.ranges import ranges_chart
from perfkit.report.charts.ratios import ratios_chart
from perfkit.report.charts.regressions import regressions_chart
from perfkit.report.charts.regret import regret_chart
from perfkit.report.charts.scalability import scalability_chart
from perfkit.report.charts.series import series_chart
from perfkit.report.charts.shifts import shifts_chart
from perfkit.report.charts.splits import sample_ratio_chart
from perfkit.report.charts.stages import stages_chart
from perfkit.report.charts.tails import tails_chart
from perfkit.report.charts.utilisation import utilisation_chart

__all__ = [
    "comparison_chart",
    "coverage_chart",
    "crossover_chart",
    "crossovers",
    "demand_chart",
    "effects_chart",
    "latency_chart",
    "looks_chart",
    "power_chart",
    "profile_chart",
    "ranges_chart",
    "ratios_chart",
    "regressions_chart",
    "regret_chart",
    "sample_ratio_chart",
    "scalability_chart",
    "series_chart",
    "shifts_chart",
    "stages_chart",
    "tails_chart",
    "utilisation_chart",
]
