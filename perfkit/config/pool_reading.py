"""`[pools.NAME]` of `perfkit.toml`: what a pool says itself, and what it takes from ``[pools.default]``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from perfkit.config.pool_settings import DEFAULT_POOL, GOALS, PoolSettings
from perfkit.config.pool_values import Method, Methods, Ranges, Rules, WeightTable
from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.values import Choice, Share, Size, Text

__all__ = ["POOL_KEYS", "read_changes", "read_pools", "refuse_what_cannot_be_used"]

POOL_KEYS = (
    Key("goal", Choice(GOALS), 'what "cheapest" means'),
    Key("methods", Methods(), "which methods may be chosen"),
    Key(
        "tolerance",
        Share(),
        "how much a simpler method may be expected to lose when the evidence cannot tell two apart",
    ),
    Key("margin", Share(), "benefit below which the simpler method is taken, however sure the benefit is"),
    Key("simplicity_order", Methods(), "from simple to complicated"),
    Key("weights", WeightTable(), "what the goal `balanced` adds up; what is not named weighs nothing"),
    Key("override", Method(optional=True), "the method to take whatever the size"),
    Key("policy", Text("the name of a `@perfkit.policy` function", optional=True), "who is asked for a method"),
    Key("thresholds", Ranges(), "handwritten thresholds, taken where nothing better is known"),
    Key(
        "zero_copy_from",
        Size(),
        "size from which the default is shared memory",
        field="zero_copy_bytes",
    ),
    Key("rules", Rules(), "which methods to take or avoid when; the first rule that holds is followed"),
)


def read_pools(whole: Section) -> Mapping[str, PoolSettings]:
    """The pools that the file names, and ``default``, which they take from what they do not say.

    Args:
        whole: the file.

    Raises:
        ConfigError: a key or value that does not exist, with its place.
    """
    pools = whole.inner("pools")
    own = {name: read_changes(pools.inner(name)) for name in (DEFAULT_POOL, *pools.table)}
    default = PoolSettings().changed_by(own[DEFAULT_POOL])
    inherited = dataclasses.replace(default, rules=tuple(_inherited_rules(default)))
    read = {DEFAULT_POOL: default}
    for name, changes in own.items():
        if name != DEFAULT_POOL:
            read[name] = inherited.changed_by(changes)
        refuse_what_cannot_be_used(pools.inner(name), changes, read[name])
    return read


def read_changes(section: Section, *other_keys: str) -> dict[str, Any]:
    """The fields of `PoolSettings` that a table gives.

    Args:
        section: a pool, or a variant of an experiment.
        other_keys: keys that the table may have beside those of a pool.
    """
    section.refuse_unknown([*other_keys, *(key.name for key in POOL_KEYS)])
    return read_keys(section, POOL_KEYS)


def refuse_what_cannot_be_used(
    section: Section, changes: Mapping[str, Any], pool: PoolSettings, whose: str = ""
) -> None:
    """Raise a `ConfigError` where the table itself names a method that the pool may not use.

    Args:
        section: the table.
        changes: what it gives.
        pool: what comes of it.
        whose: whose methods they are, where that is not plain.
    """
    if pool.methods is None:
        return
    for name, key, method in _named_methods(section, changes):
        if method not in pool.methods:
            named = f"{whose or 'the pool'} may only use {', '.join(pool.methods)}"
            place = dataclasses.replace(section, name=name)
            place.refuse(key, f": {method!r} is not among the methods: {named}; add it to 'methods', or take another")


def _named_methods(section: Section, changes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Table, key and name of every method that is to be taken."""
    if changes.get("override"):
        yield section.name, "override", changes["override"]
    for number, rule in enumerate(changes.get("rules", ()), start=1):
        for method in rule.use:
            yield f"{section.name}.rules[{number}]", "use", method
    for number, part in enumerate(changes.get("thresholds", ()), start=1):
        yield f"{section.name}.thresholds[{number}]", "use", part.method


def _inherited_rules(default: PoolSettings) -> Iterator[Any]:
    for rule in default.rules:
        yield dataclasses.replace(rule, name=f"{DEFAULT_POOL}'s {rule.name}")
