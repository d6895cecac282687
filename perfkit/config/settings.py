"""`perfkit.toml`: what people decide about the engine and its pools."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfkit.config.engine_settings import MODES, EngineSettings
from perfkit.config.experiments import Experiment
from perfkit.config.pool_settings import DEFAULT_POOL, GOALS, PoolSettings
from perfkit.config.source import Source, read_source, shown
from perfkit.errors import ConfigError, UnitError, UnknownNameError
from perfkit.schema import SIMPLICITY_ORDER
from perfkit.units import parse_duration, parse_share

__all__ = [
    "DEFAULT_POOL",
    "GOALS",
    "MODES",
    "LakeSettings",
    "PoolSettings",
    "PublishSettings",
    "Settings",
    "load_perfkit_toml",
    "read_settings",
]

_ENGINE_KEYS = ("mode", "exploration_rate")
_POOL_KEYS = ("goal", "methods", "tolerance", "simplicity_order")
_LAKE_KEYS = ("keep_rows", "keep_rollups")
_DAY_NS = 86_400 * 10**9
_MAX_DAYS = 36_500
_PUBLISH_KEYS = ("min_launches", "min_observations", "max_uncertainty", "max_loss", "max_step")


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


def load_perfkit_toml(path: str | Path = "perfkit.toml", *, measured_methods: Collection[str] = ()) -> Settings:
    """Read and check `perfkit.toml`.

    A pool takes what its table does not say from ``[pools.default]``.

    Args:
        path: the file.
        measured_methods: methods of your own that the published curves know: they may be named, too.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds a key or value that does not exist: with path, line,
            column, what was got and what is allowed.
    """
    source = read_source(path, advice="`perfkit init` writes one")
    source.refuse_unknown("", source.body, ("engine", "pools", "publish", "lake", "pipelines"))
    engine = source.table(source.body, "", "engine")
    source.refuse_unknown("engine", engine, _ENGINE_KEYS)
    mode = _choice(source, "engine", engine, "mode", MODES, "decide")
    _refuse_exploration(source, engine)
    known_methods = tuple(dict.fromkeys((*SIMPLICITY_ORDER, *measured_methods)))
    pools = source.table(source.body, "", "pools")
    default = _pool(source, pools, DEFAULT_POOL, PoolSettings(), known_methods)
    named = {name: _pool(source, pools, name, default, known_methods) for name in pools}
    publish = _publish(source, source.table(source.body, "", "publish"))
    lake = _lake(source, source.table(source.body, "", "lake"))
    pools_by_name = MappingProxyType({DEFAULT_POOL: default, **named})
    return Settings(str(path), EngineSettings(mode=mode), pools_by_name, publish=publish, lake=lake)


def _pool(
    source: Source, pools: Mapping[str, Any], name: str, inherited: PoolSettings, known_methods: Collection[str]
) -> PoolSettings:
    table = source.table(pools, "pools", name)
    full_name = f"pools.{name}"
    if "rules" in table:
        source.refuse(
            full_name,
            "rules",
            ": this version has no rules and would ignore them; remove them, or name the methods"
            " that the pool may use in 'methods'",
        )
    source.refuse_unknown(full_name, table, _POOL_KEYS)
    order = _methods(source, full_name, table, "simplicity_order", known_methods)
    return PoolSettings(
        goal=_choice(source, full_name, table, "goal", GOALS, inherited.goal),
        methods=_methods(source, full_name, table, "methods", known_methods) or inherited.methods,
        tolerance=_share(source, full_name, table, "tolerance", inherited.tolerance),
        simplicity_order=order or inherited.simplicity_order,
    )


def _publish(source: Source, table: Mapping[str, Any]) -> PublishSettings:
    source.refuse_unknown("publish", table, _PUBLISH_KEYS)
    default = PublishSettings()
    return PublishSettings(
        min_launches=_count(source, table, "min_launches", default.min_launches),
        min_observations=_count(source, table, "min_observations", default.min_observations),
        max_uncertainty=_share(source, "publish", table, "max_uncertainty", default.max_uncertainty),
        max_loss=_share(source, "publish", table, "max_loss", default.max_loss),
        max_step=_factor(source, table, "max_step", default.max_step),
    )


def _lake(source: Source, table: Mapping[str, Any]) -> LakeSettings:
    source.refuse_unknown("lake", table, _LAKE_KEYS)
    default = LakeSettings()
    rows = _days(source, table, "keep_rows", default.keep_rows_days)
    rollups = _days(source, table, "keep_rollups", max(rows, default.keep_rollups_days))
    if rollups < rows:
        value = shown(table["keep_rollups"])
        source.refuse("lake", "keep_rollups", f" == {value}; must not be below keep_rows, which is {rows} days")
    return LakeSettings(rows, rollups)


def _days(source: Source, table: Mapping[str, Any], key: str, default: int) -> int:
    value = table.get(key, f"{default} days")
    try:
        days, rest = divmod(parse_duration(value) if isinstance(value, str) else 0, _DAY_NS)
    except (UnitError, OverflowError):  # OverflowError: '1e999 days'
        days, rest = 0, 0
    if rest or not 1 <= days <= _MAX_DAYS:
        source.refuse("lake", key, f" == {shown(value)}; must be whole days, from 1 to {_MAX_DAYS}, such as '7 days'")
    return days


def _count(source: Source, table: Mapping[str, Any], key: str, default: int) -> int:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        source.refuse("publish", key, f" == {shown(value)}; must be a whole number from 1, such as {default}")
    return value


def _factor(source: Source, table: Mapping[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value < 2**63:
        source.refuse("publish", key, f" == {shown(value)}; must be a factor of more than 1, such as {default:g}")
    return float(value)


def _choice(
    source: Source, table_name: str, table: Mapping[str, Any], key: str, allowed: tuple[str, ...], default: str
) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or value not in allowed:
        hint = (
            str(UnknownNameError(key, value, allowed)) if isinstance(value, str) else f"allowed: {', '.join(allowed)}"
        )
        source.refuse(table_name, key, f" == {shown(value)}; {hint[hint.index('allowed') :]}")
    return value


def _share(source: Source, table_name: str, table: Mapping[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        source.refuse(table_name, key, f" == {shown(value)}; must be a share from 0 to 1, such as 0.05 or '5%'")
    try:
        return parse_share(value)
    except (UnitError, ValueError):  # ValueError: an integer of over 4300 digits
        source.refuse(table_name, key, f" == {shown(value)}; must be a share from 0 to 1, such as 0.05 or '5%'")


def _methods(
    source: Source, table_name: str, table: Mapping[str, Any], key: str, known: Collection[str]
) -> tuple[str, ...] | None:
    if key not in table:
        return None
    value = table[key]
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        source.refuse(table_name, key, f" == {shown(value)}; must be a list of methods such as ['grpc', 'shm_pool']")
    for name in value:
        if name not in known:
            hint = "A method of your own can be named once it was measured and published."
            problem = UnknownNameError("method", name, known, hint)
            source.refuse(table_name, key, f": {problem}")
        if value.count(name) > 1:
            source.refuse(table_name, key, f": method {name!r} is named {value.count(name)} times; name it once")
    return tuple(value)


def _refuse_exploration(source: Source, engine: Mapping[str, Any]) -> None:
    """Exploration is not built yet: a rate above 0 must not be taken for one that works."""
    if _share(source, "engine", engine, "exploration_rate", 0.0) > 0:
        value = shown(engine["exploration_rate"])
        source.refuse("engine", "exploration_rate", f" == {value}; this version does not explore yet, write 0.0")


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
