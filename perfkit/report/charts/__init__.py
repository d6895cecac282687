"""Charts of transfers: fixed colours, intervals as bands, sizes and durations as people write them.

Every function takes results and returns an Altair chart that is as wide as its container; the chart's description says
how to read it, and the report prints it below the chart.
"""

from __future__ import annotations

from perfkit.report.charts.latency import latency_chart
from perfkit.report.charts.ranges import ranges_chart
from perfkit.report.charts.ratios import ratios_chart

__all__ = ["latency_chart", "ranges_chart", "ratios_chart"]
