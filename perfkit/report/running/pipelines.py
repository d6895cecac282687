"""What `perfkit run` can run: the built-in pipelines, and those of `perfkit.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perfkit.config.pipelines import PipelineSettings, read_pipelines

__all__ = ["BUILT_IN_PIPELINES", "DEFAULT_SETTINGS_PATH", "all_pipelines"]

DEFAULT_SETTINGS_PATH = Path("perfkit.toml")

_MEASURE_AND_TUNE = ("10_benchmark", "20_analysis", "30_tune")
_TUNE = {"dry_run": False, "lake_path": "data/lake", "thresholds_path": "thresholds.toml"}
BUILT_IN_PIPELINES: Mapping[str, PipelineSettings] = {
    "default": PipelineSettings(_MEASURE_AND_TUNE, {**_TUNE, "preset": "default", "replay_budget_s": 120.0}),
    "quick": PipelineSettings(_MEASURE_AND_TUNE, {**_TUNE, "preset": "quick", "replay_budget_s": 45.0}),
    "full": PipelineSettings(_MEASURE_AND_TUNE, {**_TUNE, "preset": "full", "replay_budget_s": 240.0}),
    "tune": PipelineSettings(("30_tune",), _TUNE),
    "analyse": PipelineSettings(("20_analysis",), {"lake_path": "data/lake"}),
    "ab": PipelineSettings(("40_ab_test",), {"lake_path": "data/lake", "settings_path": "perfkit.toml"}),
    "regressions": PipelineSettings(
        ("50_regressions",), {"lake_path": "data/lake", "baselines_path": "baselines.json"}
    ),
    "capacity": PipelineSettings(
        ("60_capacity",), {"lake_path": "data/lake", "models_path": "data/models", "thresholds_path": "thresholds.toml"}
    ),
}
"""All but the first three read what was measured before; the last three simulate where there is nothing."""


def all_pipelines(settings: str | Path = DEFAULT_SETTINGS_PATH) -> Mapping[str, PipelineSettings]:
    """Every pipeline by name; one of the settings replaces a built-in one of its name.

    Args:
        settings: `perfkit.toml`; there need be none.

    Raises:
        ConfigError: the settings cannot be read, or a pipeline in them is wrong.
    """
    return {**BUILT_IN_PIPELINES, **read_pipelines(settings)}
