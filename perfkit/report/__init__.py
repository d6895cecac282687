"""Show what was measured: charts, headline figures, notebooks as pages, and the index of all reports.

Imported when first used: the process that executes a notebook draws nothing, and need not load what draws.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfkit.report.charts import comparison_chart as comparison_chart
    from perfkit.report.charts import coverage_chart as coverage_chart
    from perfkit.report.charts import crossover_chart as crossover_chart
    from perfkit.report.charts import demand_chart as demand_chart
    from perfkit.report.charts import effects_chart as effects_chart
    from perfkit.report.charts import latency_chart as latency_chart
    from perfkit.report.charts import looks_chart as looks_chart
    from perfkit.report.charts import power_chart as power_chart
    from perfkit.report.charts import profile_chart as profile_chart
    from perfkit.report.charts import ranges_chart as ranges_chart
    from perfkit.report.charts import ratios_chart as ratios_chart
    from perfkit.report.charts import regressions_chart as regressions_chart
    from perfkit.report.charts import regret_chart as regret_chart
    from perfkit.report.charts import sample_ratio_chart as sample_ratio_chart
    from perfkit.report.charts import scalability_chart as scalability_chart
    from perfkit.report.charts import series_chart as series_chart
    from perfkit.report.charts import shifts_chart as shifts_chart
    from perfkit.report.charts import stages_chart as stages_chart
    from perfkit.report.charts import tails_chart as tails_chart
    from perfkit.report.charts import utilisation_chart as utilisation_chart
    from perfkit.report.notebook.addresses import temporary_address as temporary_address
    from perfkit.report.notebook.analysis_verdicts import analysis_verdict as analysis_verdict
    from perfkit.report.notebook.analysis_verdicts import dominance_verdict as dominance_verdict
    from perfkit.report.notebook.analysis_verdicts import profile_verdict as profile_verdict
    from perfkit.report.notebook.analysis_verdicts import quality_verdict as quality_verdict
    from perfkit.report.notebook.analysis_verdicts import relations_verdict as relations_verdict
    from perfkit.report.notebook.analysis_verdicts import stages_verdict as stages_verdict
    from perfkit.report.notebook.analysis_verdicts import tails_verdict as tails_verdict
    from perfkit.report.notebook.capacity import open_capacity as open_capacity
    from perfkit.report.notebook.capacity_verdicts import capacity_verdict as capacity_verdict
    from perfkit.report.notebook.capacity_verdicts import coverage_targets as coverage_targets
    from perfkit.report.notebook.capacity_verdicts import demand_verdict as demand_verdict
    from perfkit.report.notebook.capacity_verdicts import law_verdict as law_verdict
    from perfkit.report.notebook.capacity_verdicts import little_verdict as little_verdict
    from perfkit.report.notebook.capacity_verdicts import model_verdict as model_verdict
    from perfkit.report.notebook.capacity_verdicts import utilisation_verdict as utilisation_verdict
    from perfkit.report.notebook.experiment_verdicts import ab_verdict as ab_verdict
    from perfkit.report.notebook.experiment_verdicts import effects_verdict as effects_verdict
    from perfkit.report.notebook.experiment_verdicts import looks_verdict as looks_verdict
    from perfkit.report.notebook.experiment_verdicts import power_verdict as power_verdict
    from perfkit.report.notebook.experiment_verdicts import sample_ratio_verdict as sample_ratio_verdict
    from perfkit.report.notebook.experiment_verdicts import self_check_verdict as self_check_verdict
    from perfkit.report.notebook.experiment_verdicts import shifts_verdict as shifts_verdict
    from perfkit.report.notebook.experiments import open_experiment as open_experiment
    from perfkit.report.notebook.headlines import headlines as headlines
    from perfkit.report.notebook.headlines import record_headlines as record_headlines
    from perfkit.report.notebook.histories import open_regressions as open_regressions
    from perfkit.report.notebook.lake_versions import open_recorded as open_recorded
    from perfkit.report.notebook.lake_versions import record_versions as record_versions
    from perfkit.report.notebook.records import record as record
    from perfkit.report.notebook.regressions_verdicts import causes_verdict as causes_verdict
    from perfkit.report.notebook.regressions_verdicts import changes_verdict as changes_verdict
    from perfkit.report.notebook.regressions_verdicts import deviations_verdict as deviations_verdict
    from perfkit.report.notebook.regressions_verdicts import regressions_verdict as regressions_verdict
    from perfkit.report.notebook.regressions_verdicts import series_verdict as series_verdict
    from perfkit.report.notebook.rendering import prepare_notebook as prepare_notebook
    from perfkit.report.notebook.sends_verdicts import crossover_verdict as crossover_verdict
    from perfkit.report.notebook.sends_verdicts import fastest_verdict as fastest_verdict
    from perfkit.report.notebook.service_verdicts import channel_verdict as channel_verdict
    from perfkit.report.notebook.service_verdicts import check_verdict as check_verdict
    from perfkit.report.notebook.service_verdicts import decision_verdict as decision_verdict
    from perfkit.report.notebook.service_verdicts import diagnosis_verdict as diagnosis_verdict
    from perfkit.report.notebook.service_verdicts import drain_verdict as drain_verdict
    from perfkit.report.notebook.verdicts import Verdict as Verdict
    from perfkit.report.notebook.verdicts import benchmark_verdict as benchmark_verdict
    from perfkit.report.notebook.verdicts import composition_verdict as composition_verdict
    from perfkit.report.notebook.verdicts import publish_verdict as publish_verdict
    from perfkit.report.notebook.verdicts import ranges_verdict as ranges_verdict
    from perfkit.report.notebook.verdicts import ratios_verdict as ratios_verdict
    from perfkit.report.notebook.verdicts import replay_verdict as replay_verdict
    from perfkit.report.notebook.verdicts import settings_verdict as settings_verdict
    from perfkit.report.results import NotebookResult as NotebookResult
    from perfkit.report.results import PipelineResult as PipelineResult
    from perfkit.report.running.runner import run_pipeline as run_pipeline
    from perfkit.report.widgets import explore_latency as explore_latency
    from perfkit.report.widgets import explore_profile as explore_profile
    from perfkit.report.widgets import explore_stages as explore_stages
    from perfkit.report.widgets import explore_tails as explore_tails

_HOMES = {
    "NotebookResult": "results",
    "PipelineResult": "results",
    "Verdict": "notebook.verdicts",
    "ab_verdict": "notebook.experiment_verdicts",
    "analysis_verdict": "notebook.analysis_verdicts",
    "benchmark_verdict": "notebook.verdicts",
    "capacity_verdict": "notebook.capacity_verdicts",
    "causes_verdict": "notebook.regressions_verdicts",
    "changes_verdict": "notebook.regressions_verdicts",
    "channel_verdict": "notebook.service_verdicts",
    "check_verdict": "notebook.service_verdicts",
    "comparison_chart": "charts",
    "composition_verdict": "notebook.verdicts",
    "coverage_chart": "charts",
    "crossover_chart": "charts",
    "crossover_verdict": "notebook.sends_verdicts",
    "decision_verdict": "notebook.service_verdicts",
    "demand_chart": "charts",
    "coverage_targets": "notebook.capacity_verdicts",
    "demand_verdict": "notebook.capacity_verdicts",
    "deviations_verdict": "notebook.regressions_verdicts",
    "diagnosis_verdict": "notebook.service_verdicts",
    "dominance_verdict": "notebook.analysis_verdicts",
    "drain_verdict": "notebook.service_verdicts",
    "effects_chart": "charts",
    "effects_verdict": "notebook.experiment_verdicts",
    "explore_latency": "widgets",
    "explore_profile": "widgets",
    "explore_stages": "widgets",
    "explore_tails": "widgets",
    "fastest_verdict": "notebook.sends_verdicts",
    "headlines": "notebook.headlines",
    "latency_chart": "charts",
    "law_verdict": "notebook.capacity_verdicts",
    "little_verdict": "notebook.capacity_verdicts",
    "looks_chart": "charts",
    "looks_verdict": "notebook.experiment_verdicts",
    "model_verdict": "notebook.capacity_verdicts",
    "open_capacity": "notebook.capacity",
    "open_experiment": "notebook.experiments",
    "open_recorded": "notebook.lake_versions",
    "open_regressions": "notebook.histories",
    "power_chart": "charts",
    "power_verdict": "notebook.experiment_verdicts",
    "prepare_notebook": "notebook.rendering",
    "profile_chart": "charts",
    "profile_verdict": "notebook.analysis_verdicts",
    "publish_verdict": "notebook.verdicts",
    "quality_verdict": "notebook.analysis_verdicts",
    "ranges_chart": "charts",
    "ranges_verdict": "notebook.verdicts",
    "ratios_chart": "charts",
    "ratios_verdict": "notebook.verdicts",
    "record": "notebook.records",
    "record_headlines": "notebook.headlines",
    "record_versions": "notebook.lake_versions",
    "regressions_chart": "charts",
    "regressions_verdict": "notebook.regressions_verdicts",
    "regret_chart": "charts",
    "relations_verdict": "notebook.analysis_verdicts",
    "replay_verdict": "notebook.verdicts",
    "run_pipeline": "running.runner",
    "sample_ratio_chart": "charts",
    "sample_ratio_verdict": "notebook.experiment_verdicts",
    "scalability_chart": "charts",
    "self_check_verdict": "notebook.experiment_verdicts",
    "series_chart": "charts",
    "series_verdict": "notebook.regressions_verdicts",
    "settings_verdict": "notebook.verdicts",
    "shifts_chart": "charts",
    "shifts_verdict": "notebook.experiment_verdicts",
    "stages_chart": "charts",
    "stages_verdict": "notebook.analysis_verdicts",
    "tails_chart": "charts",
    "tails_verdict": "notebook.analysis_verdicts",
    "temporary_address": "notebook.addresses",
    "utilisation_chart": "charts",
    "utilisation_verdict": "notebook.capacity_verdicts",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perfkit.report' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"perfkit.report.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
