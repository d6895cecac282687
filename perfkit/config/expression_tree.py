"""What a condition of a rule is made of: a tree of frozen values that can be asked whether it holds."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perfkit.config.engine_settings import RESOURCE_STATES
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

__all__ = [
    "CROWDED_FROM",
    "LOADS",
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
]

LOADS = ("idle", "busy", "crowded")
"""One send under way at once; up to 4; more."""

CROWDED_FROM = 5
_BUSY_FROM = 2

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
_TYPES: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {"size": (int, float), "number": (int, float), "text": (str,), "flag": (bool,)}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Always:
    """``true`` or ``false``."""

    value: bool = True

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        return self.value

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        return iter(())


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """One name compared with one value; a value that the name can never have is only ever ``!=``."""

    name: str
    operator: str  # == != < <= > >=
    value: Literal

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        got = _value(values, self.name)
        if got is None:
            return self.operator == "!="
        return _compared(got, self.operator, self.value)

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        if self.name == "bytes" and isinstance(self.value, int):
            if self.operator in ("==", "!=", "<", ">="):
                yield self.value
            if self.operator in ("==", "!=", "<=", ">"):
                yield self.value + 1


@dataclasses.dataclass(frozen=True, slots=True)
class OneOf:
    """One name that has one of several values."""

    name: str
    values: tuple[Literal, ...]

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        got = _value(values, self.name)
        return got is not None and got in self.values

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        for value in self.values:
            yield from Compared(self.name, "==", value).changes()


@dataclasses.dataclass(frozen=True, slots=True)
class Like:
    """One name that fits a pattern, such as ``ml-*``."""

    name: str
    pattern: str

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        got = _value(values, self.name)
        return isinstance(got, str) and fnmatch.fnmatchcase(got, self.pattern)

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        return iter(())


@dataclasses.dataclass(frozen=True, slots=True)
class Not:
    """What holds where another condition does not."""

    condition: Condition

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        return not self.condition.holds(values)

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        return self.condition.changes()


@dataclasses.dataclass(frozen=True, slots=True)
class AllOf:
    """Conditions joined by ``and``."""

    conditions: tuple[Condition, ...]

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        return all(condition.holds(values) for condition in self.conditions)

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        for condition in self.conditions:
            yield from condition.changes()


@dataclasses.dataclass(frozen=True, slots=True)
class AnyOf:
    """Conditions joined by ``or``."""

    conditions: tuple[Condition, ...]

    def holds(self, values: Mapping[str, object]) -> bool:
        """Whether it holds for what is known of a decision."""
        return any(condition.holds(values) for condition in self.conditions)

    def changes(self) -> Iterator[int]:
        """Sizes in bytes from which it may be another than for the size before."""
        for condition in self.conditions:
            yield from condition.changes()


Condition = Always | Compared | OneOf | Like | Not | AllOf | AnyOf


def _value(values: Mapping[str, object], name: str) -> int | float | str | bool | None:
    """What is known under a name; None where nothing is, or nothing that the name can be."""
    if name == "load":
        in_flight = _value(values, "in_flight")
        if in_flight is None or isinstance(in_flight, str):
            return None
        return LOADS[(in_flight >= _BUSY_FROM) + (in_flight >= CROWDED_FROM)]
    got = values.get(name)
    if got is True or got is False:
        return got if NAMES[name] == "flag" else None
    return got if isinstance(got, _TYPES[NAMES[name]]) else None  # type: ignore[return-value]


def _compared(got: int | float | str | bool, operator: str, value: Literal) -> bool:
    if operator == "==":
        return got == value
    if operator == "!=":
        return got != value
    if isinstance(got, str) or isinstance(value, str):  # the parser lets no order of texts through
        return False
    if operator == "<":
        return got < value
    if operator == "<=":
        return got <= value
    return got > value if operator == ">" else got >= value
