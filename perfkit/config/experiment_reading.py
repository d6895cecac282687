"""`[experiments.NAME]` of `perfkit.toml`: variants of a pool's settings, their shares, and which pools take part."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from perfkit.config.experiments import Experiment, Variant
from perfkit.config.pool_reading import read_changes, refuse_what_cannot_be_used
from perfkit.config.pool_settings import PoolSettings
from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.values import Flag, Share, Text
from perfkit.errors import UnknownNameError

__all__ = ["EXPERIMENT_KEYS", "MAX_ENABLED", "MAX_VARIANTS", "VARIANT_KEYS", "read_experiments"]

MAX_ENABLED = 4
"""Experiments that may run at once: each multiplies the tables of the pools that take part."""

MAX_VARIANTS = 8
_ROUNDING = 1e-9
_NAME = Text("a name", 60)


@dataclasses.dataclass(frozen=True, slots=True)
class _PoolNames:
    """Sections of the file that describe pools; which ones there are is checked once they are known."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a list of pools that have a section, such as ['default', 'ml']"

    def read(self, section: Section, key: str) -> tuple[str, ...]:
        """The names, each once."""
        value = section.table[key]
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            section.refuse_value(key, self.allowed)
        return tuple(dict.fromkeys(value))

    def written(self, value: tuple[str, ...]) -> str:
        """How it is written."""
        return f"`{list(value)}`" if value else "all"


@dataclasses.dataclass(frozen=True, slots=True)
class _Variants:
    """The tables of the variants; they are read once the pools are known."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"2 to {MAX_VARIANTS} tables"

    def read(self, section: Section, key: str) -> Mapping[str, Section]:
        """The tables by name."""
        tables = section.inner(key)
        return {name: tables.inner(name) for name in tables.table}

    def written(self, value: Mapping[str, Section]) -> str:
        """How it is written."""
        return ", ".join(value)


EXPERIMENT_KEYS = (
    Key("enabled", Flag(), "whether it runs; `false` is the kill switch"),
    Key("pools", _PoolNames(), "sections of this file that take part"),
    Key("salt", Text("a text"), "another text assigns sessions anew", default="the experiment's name"),
    Key("variants", _Variants(), "what is compared; the first one is the control", default="required"),
)
VARIANT_KEYS = (Key("share", Share(), "of the sessions; those that no variant has take no part", default="required"),)


def read_experiments(whole: Section, pools: Mapping[str, PoolSettings]) -> tuple[Experiment, ...]:
    """The experiments that the file describes.

    Args:
        whole: the file.
        pools: settings of the pools that have a section, by name.

    Raises:
        ConfigError: a key or value that does not exist, with its place; shares of more than the whole; two experiments
            that would run in the same pool; too many experiments or variants.
    """
    tables = whole.inner("experiments")
    experiments: list[Experiment] = []
    for name in tables.table:
        _refuse_name(tables, name)
        table = tables.inner(name)
        experiment = _experiment(table, name, pools)
        if experiment.enabled:
            _refuse_crowding(table, experiment, [other for other in experiments if other.enabled], pools)
        experiments.append(experiment)
    return tuple(experiments)


def _experiment(table: Section, name: str, pools: Mapping[str, PoolSettings]) -> Experiment:
    table.refuse_unknown(EXPERIMENT_KEYS)
    given = read_keys(table, EXPERIMENT_KEYS)
    for pool in given.get("pools", ()):
        if pool not in pools:
            hint = f"Or write [pools.{pool}] into this file."
            table.refuse("pools", f": {UnknownNameError('pool', pool, pools, hint)}")
    concerned = {pool: pools[pool] for pool in given.get("pools") or pools}
    tables = given.pop("variants", {})
    if not 2 <= len(tables) <= MAX_VARIANTS:
        example = f"write [{table.name}.variants.A] with share = '50%', and B"
        table.refuse("variants", f" has {len(tables)} variants; must have 2 to {MAX_VARIANTS}: {example}")
    variants = []
    for variant, variant_table in tables.items():
        _refuse_name(table.inner("variants"), variant)
        variants.append(_variant(variant_table, variant, concerned))
    total = sum(variant.share for variant in variants)
    if total > 1 + _ROUNDING:
        table.refuse("variants", f": the shares add up to {total:.4g}; must be at most 1: lower one")
    return Experiment(name, tuple(variants), **given)


def _variant(table: Section, name: str, pools: Mapping[str, PoolSettings]) -> Variant:
    changes = read_changes(table, *(key.name for key in VARIANT_KEYS))
    if "share" not in table.table:
        table.refuse("", ": has no share of the sessions; add share = '50%'")
    if "rules" in changes:
        renamed = (dataclasses.replace(rule, name=f"variant {name}'s {rule.name}") for rule in changes["rules"])
        changes["rules"] = tuple(renamed)
    variant = Variant(name, read_keys(table, VARIANT_KEYS)["share"], MappingProxyType(changes))
    for pool, settings in pools.items():
        refuse_what_cannot_be_used(table, changes, variant.applied_to(settings), f"pool {pool}, which takes part,")
    return variant


def _refuse_crowding(
    table: Section, experiment: Experiment, running: list[Experiment], pools: Mapping[str, PoolSettings]
) -> None:
    """Raise a `ConfigError` where an experiment cannot run beside those that are enabled already."""
    if len(running) == MAX_ENABLED:
        table.refuse("enabled", f": {MAX_ENABLED} experiments are enabled already, more cannot run; write false")
    for other in running:
        shared = [pool for pool in other.pools or pools if pool in (experiment.pools or pools)]
        if shared:
            message = (
                f": pool {shared[0]!r} takes part in experiment {other.name!r} already; name other pools in 'pools'"
            )
            table.refuse("pools" if experiment.pools else "", f"{message}, or write enabled = false")


def _refuse_name(tables: Section, name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > _NAME.most:
        tables.refuse(name, f": {name[:60]!r} is no name; write printable text of 1 to {_NAME.most} characters")
