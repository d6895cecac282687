"""Show what was measured: charts, headline figures, notebooks as pages, and the index of all reports.

Imported when first used: the process that executes a notebook draws nothing, and need not load what draws.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfkit.report.charts import latency_chart as latency_chart
    from perfkit.report.charts import ranges_chart as ranges_chart
    from perfkit.report.charts import ratios_chart as ratios_chart
    from perfkit.report.records import record as record
    from perfkit.report.rendering import use_charts as use_charts
    from perfkit.report.results import NotebookResult as NotebookResult
    from perfkit.report.results import PipelineResult as PipelineResult
    from perfkit.report.runner import run_pipeline as run_pipeline
    from perfkit.report.verdicts import Verdict as Verdict
    from perfkit.report.verdicts import benchmark_verdict as benchmark_verdict
    from perfkit.report.verdicts import publish_verdict as publish_verdict
    from perfkit.report.verdicts import ranges_verdict as ranges_verdict

_HOMES = {
    "NotebookResult": "results",
    "PipelineResult": "results",
    "Verdict": "verdicts",
    "benchmark_verdict": "verdicts",
    "latency_chart": "charts",
    "publish_verdict": "verdicts",
    "ranges_chart": "charts",
    "ranges_verdict": "verdicts",
    "ratios_chart": "charts",
    "record": "records",
    "run_pipeline": "runner",
    "use_charts": "rendering",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perfkit.report' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"perfkit.report.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
