"""What a condition of a rule is made of: a tree of frozen values, and the names that it may ask about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perfkit.config.engine_settings import RESOURCE_STATES
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

__all__ = [
    "LOADS",
    "LOADS_FROM",
    "NAMES",
    "VOCABULARIES",
    "AllOf",
    "Always",
    "AnyOf",
    "Compared",
    "Condition",
    "Like",
    "Literal",
    "Not",
    "OneOf",
    "leaves",
]

LOADS = ("idle", "busy", "crowded")
"""One send under way at once; up to 4; more."""

LOADS_FROM = (1, 2, 5)
"""Sends under way at once from which each load holds."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bytes": "size",
        "kind": "text",
        "format": "text",
        "compression": "text",
        "signalling": "text",
        "pool": "text",
        "load": "text",
        "state": "text",
        "in_flight": "number",
        "in_place": "flag",
    }
)
"""What a condition may ask about, and what it is."""

VOCABULARIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "kind": KINDS,
        "format": FORMATS,
        "compression": COMPRESSIONS,
        "signalling": SIGNALLINGS,
        "load": LOADS,
        "state": RESOURCE_STATES,
    }
)
"""The values that a name can have; a pool may have any name."""

Literal = int | str | bool


@dataclasses.dataclass(frozen=True, slots=True)
class Always:
    """``true`` or ``false``."""

    value: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """One name compared with one value; a value that the name can never have is only ever ``!=``."""

    name: str
    operator: str  # == != < <= > >=
    value: Literal


@dataclasses.dataclass(frozen=True, slots=True)
class OneOf:
    """One name that has one of several values."""

    name: str
    values: tuple[Literal, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Like:
    """One name that fits a pattern, such as ``ml-*``."""

    name: str
    pattern: str


@dataclasses.dataclass(frozen=True, slots=True)
class Not:
    """What holds where another condition does not."""

    condition: Condition


@dataclasses.dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions joined by ``and``."""

    conditions: tuple[Condition, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AnyOf:
    """Conditions joined by ``or``."""

    conditions: tuple[Condition, ...]


Condition = Always | Compared | OneOf | Like | Not | AllOf | AnyOf


def leaves(condition: Condition) -> Iterator[Compared | OneOf | Like]:
    """What a condition asks about, in the order in which it is written."""
    if isinstance(condition, Compared | OneOf | Like):
        yield condition
    elif isinstance(condition, Not):
        yield from leaves(condition.condition)
    elif isinstance(condition, AllOf | AnyOf):
        for inner in condition.conditions:
            yield from leaves(inner)
