"""The files that people write and `perfkit publish` writes: models, loading, checks, history. Standard library only."""

from __future__ import annotations

from perfkit.config.settings import PoolSettings, Settings, load_perfkit_toml
from perfkit.config.template import PERFKIT_TOML
from perfkit.config.thresholds import Thresholds, load_thresholds

__all__ = ["PERFKIT_TOML", "PoolSettings", "Settings", "Thresholds", "load_perfkit_toml", "load_thresholds"]
