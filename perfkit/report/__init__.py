"""Show what was measured: charts, headline figures, notebooks as pages, and the index of all reports.

Imported when first used: the process that executes a notebook draws nothing, and need not load what draws.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfkit.report.charts import comparison_chart as comparison_chart
    from perfkit.report.charts import latency_chart as latency_chart
    from perfkit.report.charts import profile_chart as profile_chart
    from perfkit.report.charts import ranges_chart as ranges_chart
    from perfkit.report.charts import ratios_chart as ratios_chart
    from perfkit.report.charts import regret_chart as regret_chart
    from perfkit.report.charts import stages_chart as stages_chart
    from perfkit.report.charts import tails_chart as tails_chart
    from perfkit.report.notebook.lake_versions import open_recorded as open_recorded
    from perfkit.report.notebook.lake_versions import record_versions as record_versions
    from perfkit.report.notebook.records import record as record
    from perfkit.report.notebook.rendering import prepare_notebook as prepare_notebook
    from perfkit.report.notebook.verdicts import Verdict as Verdict
    from perfkit.report.notebook.verdicts import analysis_verdict as analysis_verdict
    from perfkit.report.notebook.verdicts import benchmark_verdict as benchmark_verdict
    from perfkit.report.notebook.verdicts import publish_verdict as publish_verdict
    from perfkit.report.notebook.verdicts import ranges_verdict as ranges_verdict
    from perfkit.report.results import NotebookResult as NotebookResult
    from perfkit.report.results import PipelineResult as PipelineResult
    from perfkit.report.running.runner import run_pipeline as run_pipeline

_HOMES = {
    "NotebookResult": "results",
    "PipelineResult": "results",
    "Verdict": "notebook.verdicts",
    "analysis_verdict": "notebook.verdicts",
    "benchmark_verdict": "notebook.verdicts",
    "comparison_chart": "charts",
    "latency_chart": "charts",
    "prepare_notebook": "notebook.rendering",
    "profile_chart": "charts",
    "publish_verdict": "notebook.verdicts",
    "ranges_chart": "charts",
    "ranges_verdict": "notebook.verdicts",
    "ratios_chart": "charts",
    "regret_chart": "charts",
    "open_recorded": "notebook.lake_versions",
    "record": "notebook.records",
    "record_versions": "notebook.lake_versions",
    "run_pipeline": "running.runner",
    "stages_chart": "charts",
    "tails_chart": "charts",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perfkit.report' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"perfkit.report.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
