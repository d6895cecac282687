"""Every key of `perfkit.toml` that an engine reads, as the reference shows it: made from what the reader goes by."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from perfkit.config.engine_reading import (
    BREAKER_KEYS,
    CALIBRATION_KEYS,
    ENGINE_KEYS,
    EXPLORATION_KEYS,
    RECORDER_KEYS,
    RESOURCE_KEYS,
)
from perfkit.config.engine_settings import EngineSettings
from perfkit.config.experiment_reading import EXPERIMENT_KEYS, VARIANT_KEYS
from perfkit.config.experiments import Experiment
from perfkit.config.pool_reading import POOL_KEYS
from perfkit.config.pool_settings import PoolSettings, Weights
from perfkit.config.pool_values import RULE_KEYS, THRESHOLD_KEYS, WEIGHT_KEYS
from perfkit.config.reading import Key
from perfkit.config.settings import LAKE_KEYS, PUBLISH_KEYS, LakeSettings, PublishSettings
from perfkit.config.slos import SLO_KEYS, Slo

__all__ = ["GROUPS", "Group", "settings_table"]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """The keys of one table of the file: its name, its keys, and an object that holds their defaults."""

    table: str
    keys: tuple[Key, ...]
    defaults: object


_ENGINE = EngineSettings()
GROUPS = (
    Group("engine", ENGINE_KEYS, _ENGINE),
    Group("engine", EXPLORATION_KEYS, _ENGINE.exploration),
    Group("resources", RESOURCE_KEYS, _ENGINE.resources),
    Group("breaker", BREAKER_KEYS, _ENGINE.breaker),
    Group("calibration", CALIBRATION_KEYS, _ENGINE.calibration),
    Group("recorder", RECORDER_KEYS, _ENGINE.recorder),
    Group("pools.NAME", POOL_KEYS, PoolSettings()),
    Group("pools.NAME.weights", WEIGHT_KEYS, Weights()),
    Group("pools.NAME.thresholds", THRESHOLD_KEYS, None),
    Group("pools.NAME.rules", RULE_KEYS, None),
    Group("experiments.NAME", EXPERIMENT_KEYS, Experiment("", ())),
    Group("experiments.NAME.variants.NAME", VARIANT_KEYS, None),
    Group("slos.NAME", SLO_KEYS, Slo("")),
    Group("publish", PUBLISH_KEYS, PublishSettings()),
    Group("lake", LAKE_KEYS, LakeSettings()),
)


def settings_table(*tables: str) -> str:
    """The table in Markdown: key, what it may hold, default, meaning.

    Args:
        tables: tables at the top of the file, such as ``engine``; without any, all of them.

    >>> settings_table("lake").splitlines()[3].split(" | ")[2]
    '`"400 days"`'
    """
    groups = [group for group in GROUPS if not tables or group.table.partition(".")[0] in tables]
    rows = [f"| {' | '.join(cells)} |" for group in groups for cells in _rows(group)]
    return "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _rows(group: Group) -> Iterator[tuple[str, str, str, str]]:
    for key in group.keys:
        default = key.default or key.kind.written(getattr(group.defaults, key.attribute))
        yield f"`{group.table}.{key.name}`", key.kind.allowed, default, key.meaning
