"""`perfkit.toml`: what people decide about the engine and its pools."""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType

from perfkit.config.engine_reading import read_engine
from perfkit.config.engine_settings import MODES, EngineSettings
from perfkit.config.experiment_reading import read_experiments
from perfkit.config.experiments import Experiment
from perfkit.config.pool_reading import read_pools
from perfkit.config.pool_settings import DEFAULT_POOL, GOALS, PoolSettings
from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.slos import Slo, read_slos
from perfkit.config.source import read_source
from perfkit.config.values import Days, Number, Share, Whole
from perfkit.errors import ConfigError
from perfkit.schema import SIMPLICITY_ORDER

__all__ = [
    "DEFAULT_POOL",
    "GOALS",
    "LAKE_KEYS",
    "MODES",
    "PUBLISH_KEYS",
    "LakeSettings",
    "PoolSettings",
    "PublishSettings",
    "Settings",
    "load_perfkit_toml",
    "read_settings",
]

_LARGEST = 2**63 - 1

PUBLISH_KEYS = (
    Key("min_launches", Whole(1, _LARGEST, 3), "fewest launches that a published range may rest on"),
    Key("min_observations", Whole(1, _LARGEST, 30), "fewest observations that a published range may rest on"),
    Key("max_uncertainty", Share(), "cost that not knowing better may be expected to lose, in any context"),
    Key("max_loss", Share(), "cost that a candidate may surely lose against what is in force"),
    Key(
        "max_step",
        Number("factor", 1, math.inf, 4, inclusive=False),
        "factor by which an edge between two methods may surely move",
    ),
)
LAKE_KEYS = (
    Key("keep_rows", Days(), "how long `perfkit maintain` keeps transfers and decisions", field="keep_rows_days"),
    Key("keep_rollups", Days(), "how long rollups and events, not below `keep_rows`", field="keep_rollups_days"),
)
_TABLES = (
    "engine",
    "resources",
    "breaker",
    "calibration",
    "recorder",
    "pools",
    "experiments",
    "slos",
    "publish",
    "lake",
    "pipelines",
)


@dataclasses.dataclass(frozen=True, slots=True)
class PublishSettings:
    """What `perfkit publish` asks of evidence.

    Args:
        min_launches: fewest launches that a range may rest on, 1 or more.
        min_observations: fewest observations that a range may rest on, 1 or more.
        max_uncertainty: largest cost that not knowing better may be expected to lose, as a share from 0 to 1.
        max_loss: largest cost that a candidate may surely lose against what is in force, as a share from 0 to 1.
        max_step: largest factor by which an edge between two methods may surely move, more than 1.
    """

    min_launches: int = 3
    min_observations: int = 30
    max_uncertainty: float = 0.10
    max_loss: float = 0.05
    max_step: float = 4.0


@dataclasses.dataclass(frozen=True, slots=True)
class LakeSettings:
    """How long `perfkit maintain` keeps what was observed.

    Args:
        keep_rows_days: days that transfers and decisions are kept, 1 or more.
        keep_rollups_days: days that rollups and events are kept, not below `keep_rows_days`.
    """

    keep_rows_days: int = 7
    keep_rollups_days: int = 400


@dataclasses.dataclass(frozen=True)
class Settings:
    """The content of `perfkit.toml`. Without a file, everything has its default.

    >>> Settings().pool("ml").goal
    'balanced'
    """

    path: str | None = None
    engine: EngineSettings = EngineSettings()
    pools: Mapping[str, PoolSettings] = dataclasses.field(
        default_factory=lambda: MappingProxyType({DEFAULT_POOL: PoolSettings()})
    )
    experiments: tuple[Experiment, ...] = ()
    publish: PublishSettings = PublishSettings()
    lake: LakeSettings = LakeSettings()
    slos: tuple[Slo, ...] = ()

    def section(self, name: str) -> str | None:
        """The section of the file that a pool is decided by: its own, or the longest pattern (``ml-*``) that fits.

        Returns:
            The section's name, or None where no section names the pool, so that `default` holds.
        """
        if name in self.pools:
            return name
        patterns = sorted((p for p in self.pools if "*" in p), key=lambda pattern: (-len(pattern), pattern))
        return next((pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)), None)

    def pool(self, name: str) -> PoolSettings:
        """The settings of a pool; those of `default` for a pool that the file does not name."""
        return self.pools[self.section(name) or DEFAULT_POOL]


def load_perfkit_toml(
    path: str | Path = "perfkit.toml",
    *,
    measured_methods: Collection[str] = (),
    pause: Callable[[], None] | None = None,
) -> Settings:
    """Read and check `perfkit.toml`.

    A pool takes what its table does not say from ``[pools.default]``; its own rules come before those from there.

    Args:
        path: the file.
        measured_methods: methods of your own that the published curves know: they may be named, too.
        pause: called between two tables, once the file is TOML: a service's other threads get their turn.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds a key or value that does not exist: with path, line,
            column, what was got and what is allowed.
    """
    source = read_source(path, advice="`perfkit init` writes one")
    whole = Section(source, "", source.body, tuple(dict.fromkeys((*SIMPLICITY_ORDER, *measured_methods))), pause)
    whole.refuse_unknown(_TABLES)
    engine = read_engine(whole)
    pools = read_pools(whole)
    experiments = read_experiments(whole, pools)
    publish, lake = _publish(whole.inner("publish")), _lake(whole.inner("lake"))
    slos = read_slos(whole)
    return Settings(str(path), engine, MappingProxyType(dict(pools)), experiments, publish, lake, slos)


def _publish(section: Section) -> PublishSettings:
    section.refuse_unknown(PUBLISH_KEYS)
    return PublishSettings(**read_keys(section, PUBLISH_KEYS))


def _lake(section: Section) -> LakeSettings:
    section.refuse_unknown(LAKE_KEYS)
    given = read_keys(section, LAKE_KEYS)
    default = LakeSettings()
    rows = given.get("keep_rows_days", default.keep_rows_days)
    rollups = given.get("keep_rollups_days", max(rows, default.keep_rollups_days))
    if rollups < rows:
        section.refuse("keep_rollups", f" == '{rollups} days'; must not be below keep_rows, which is {rows} days")
    return LakeSettings(rows, rollups)


def read_settings(path: str | Path | None, *, measured_methods: Collection[str] = ()) -> Settings:
    """The settings of a file, or the defaults where `path` is None or there is no such file.

    Raises:
        ConfigError: as `load_perfkit_toml`.
    """
    if path is None:
        return Settings()
    try:
        return load_perfkit_toml(path, measured_methods=measured_methods)
    except ConfigError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Settings()
        raise
