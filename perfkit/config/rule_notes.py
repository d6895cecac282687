"""Rules that can never hold, and rules that an earlier one always comes before: found by trying every case there is."""

from __future__ import annotations

import fnmatch
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perfkit.config.expression_tree import LOADS_FROM, VOCABULARIES, Compared, Like, OneOf, leaves
from perfkit.config.pool_settings import DEFAULT_POOL, PoolSettings, Rule

__all__ = ["rule_notes"]

_MOST_CASES = 20_000
"""Beyond, nothing is said: a note is worth no second of waiting."""

_ANY_POOL = "\0any"  # no section can name it


def rule_notes(section: str, pool: PoolSettings, own_rules: int) -> Iterator[str]:
    """One sentence for each of a section's own rules that does nothing.

    Args:
        section: name of the pool or pattern.
        pool: its settings.
        own_rules: how many of its rules are its own; they come first.
    """
    for index, rule in enumerate(pool.rules[:own_rules]):
        earlier = [other for other in pool.rules[:index] if other.use] if rule.use else []
        cases = _cases(section, [rule, *earlier])
        if cases is None:
            continue
        held = [case for case in cases if rule.when.holds(case)]
        if not held:
            yield f"pool {section}, {rule.name}: can never hold; correct or remove it"
        elif earlier and all(any(other.when.holds(case) for other in earlier) for case in held):
            names = ", ".join(other.name for other in earlier if any(other.when.holds(case) for case in held))
            yield (
                f"pool {section}, {rule.name}: wherever it holds, {names} comes first; its methods are taken only where"
                " none of those is there"
            )


def _cases(section: str, rules: Sequence[Rule]) -> Sequence[Mapping[str, object]] | None:
    """One set of values for every case that these rules can tell apart; None where they are too many to try."""
    parts = [part for rule in rules for part in leaves(rule.when.tree)]
    names = {"in_flight" if part.name == "load" else part.name for part in parts}
    values: dict[str, Sequence[Any]] = {name: VOCABULARIES[name] for name in names & VOCABULARIES.keys()}
    if "bytes" in names:
        values["bytes"] = [0, *sorted({int(size) for rule in rules for size in rule.when.breakpoints})]
    if "in_flight" in names:
        compared = {number for part in parts if part.name == "in_flight" for number in _literals(part)}
        edges = {*LOADS_FROM, *compared, *(number + 1 for number in compared)}
        values["in_flight"] = sorted(number for number in edges if number >= 1)
    if "in_place" in names:
        values["in_place"] = (False, True)
    if "pool" in names:
        pools = _pools(section, parts)
        if pools is None:
            return None
        values["pool"] = pools
    if math.prod(map(len, values.values())) > _MOST_CASES:
        return None
    return [dict(zip(values, case, strict=True)) for case in itertools.product(*values.values())]


def _pools(section: str, parts: Sequence[Compared | OneOf | Like]) -> Sequence[str] | None:
    """Names of pools that the section decides for, one for every case; None where patterns leave too much open."""
    if section != DEFAULT_POOL and "*" not in section:
        return [section]
    if any(isinstance(part, Like) for part in parts):
        return None
    named = {name for part in parts if part.name == "pool" for name in _literals(part)}
    if section == DEFAULT_POOL:  # its rules are inherited by pools of any name
        return [*named, _ANY_POOL]
    return [*(name for name in named if fnmatch.fnmatchcase(name, section)), section]


def _literals(part: Compared | OneOf | Like) -> tuple[Any, ...]:
    if isinstance(part, OneOf):
        return part.values
    return (part.value,) if isinstance(part, Compared) else ()
