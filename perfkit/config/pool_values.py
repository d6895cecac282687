"""What keys of a pool may hold: methods, conditions, rules, weights, ranges."""

from __future__ import annotations

import dataclasses
import math
from typing import NoReturn

from perfkit.config.expressions import Expression, parse_expression
from perfkit.config.pool_settings import FixedRange, Rule, Weights
from perfkit.config.reading import Key, Section, read_keys
from perfkit.config.source import shown
from perfkit.config.values import Number, Size
from perfkit.errors import ExpressionError, UnknownNameError

__all__ = [
    "RULE_KEYS",
    "THRESHOLD_KEYS",
    "WEIGHT_KEYS",
    "Condition",
    "Method",
    "Methods",
    "Ranges",
    "Rules",
    "WeightTable",
]

_MAX_RULES = 100
_MAX_RANGES = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """One method; with `optional`, empty text stands for none."""

    optional: bool = False

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a method such as 'shm_pool'" + (', or "" for none' if self.optional else "")

    def read(self, section: Section, key: str) -> str | None:
        """The method's name."""
        value = section.table[key]
        if self.optional and value == "":
            return None
        if not isinstance(value, str):
            section.refuse_value(key, self.allowed)
        if value not in section.methods:
            _refuse_method(section, key, value)
        return value

    def written(self, value: str | None) -> str:
        """How it is written."""
        return f'`"{value}"`' if value else "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Methods:
    """A list of methods; with `or_one`, one may stand alone."""

    or_one: bool = False

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"a {'method or a ' if self.or_one else ''}list of methods such as ['grpc', 'shm_pool']"

    def read(self, section: Section, key: str) -> tuple[str, ...]:
        """The methods' names."""
        value = section.table[key]
        value = [value] if self.or_one and isinstance(value, str) else value
        if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
            section.refuse_value(key, self.allowed)
        for name in value:
            if name not in section.methods:
                _refuse_method(section, key, name)
            if value.count(name) > 1:
                section.refuse(key, f": method {name!r} is named {value.count(name)} times; name it once")
        return tuple(value)

    def written(self, value: tuple[str, ...] | None) -> str:
        """How it is written."""
        return ", ".join(f"`{name}`" for name in value) if value else "all"


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """What must hold for a rule."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a condition such as \"bytes > 64MiB and kind == 'tensor'\""

    def read(self, section: Section, key: str) -> Expression:
        """The condition; a mistake in it has the place of its character."""
        value = section.table[key]
        if not isinstance(value, str):
            section.refuse_value(key, self.allowed)
        try:
            return parse_expression(value)
        except ExpressionError as error:
            section.refuse(key, f", column {error.column}: {error.message}", character=error.column)

    def written(self, value: Expression) -> str:
        """How it is written."""
        return f"`{value.text}`"


RULE_KEYS = (
    Key("when", Condition(), "what must hold", default="always"),
    Key("use", Methods(or_one=True), "the methods to take, the first that is there", default="none"),
    Key("avoid", Methods(or_one=True), "methods not to take for any later reason", default="none"),
)
WEIGHT_KEYS = (
    Key("latency", Number("weight", 0, 10**6, 0.7), "weight of a nanosecond of one transfer"),
    Key("cpu", Number("weight", 0, 10**6, 0.3), "weight of a nanosecond of processor time, of both sides"),
    Key("memory", Number("weight", 0, 10**6, 0.001), "nanoseconds that a byte of memory held is worth"),
    Key("copied", Number("weight", 0, 10**6, 0.01), "nanoseconds that a byte copied is worth"),
    Key("setup", Number("weight", 0, 10**6, 0.1), "weight of a nanosecond that the first use of memory takes longer"),
)
THRESHOLD_KEYS = (
    Key("up_to", Size(1), "the size in bytes at which the range ends; the last range has none", default="no end"),
    Key("use", Method(), "the method to take below it", default="required"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a pool, in order."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"up to {_MAX_RULES} tables, each with `use`, `avoid` or both"

    def read(self, section: Section, key: str) -> tuple[Rule, ...]:
        """The rules."""
        tables = section.listed(key)
        if len(tables) > _MAX_RULES:
            section.refuse(key, f" has {len(tables)} rules; at most {_MAX_RULES} are allowed: join some with `or`")
        return tuple(_rule(table, number) for number, table in enumerate(tables, start=1))

    def written(self, value: tuple[Rule, ...]) -> str:
        """How it is written."""
        return f"{len(value)} rules" if value else "none"


@dataclasses.dataclass(frozen=True, slots=True)
class WeightTable:
    """What the goal ``balanced`` adds up; what the table does not name weighs nothing."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a table such as { latency = 0.7, cpu = 0.3 }"

    def read(self, section: Section, key: str) -> Weights:
        """The weights."""
        table = section.inner(key)
        table.refuse_unknown(WEIGHT_KEYS)
        weights = {name.name: 0.0 for name in WEIGHT_KEYS} | read_keys(table, WEIGHT_KEYS)
        if not any(weights.values()):
            section.refuse_value(key, f"{self.allowed}, with a weight above 0")
        return Weights(**weights)

    def written(self, value: Weights) -> str:
        """How it is written."""
        given = {name: weight for name, weight in dataclasses.asdict(value).items() if weight}
        return f"`{{ {', '.join(f'{name} = {weight:g}' for name, weight in given.items())} }}`"


@dataclasses.dataclass(frozen=True, slots=True)
class Ranges:
    """Handwritten thresholds, in order of size."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a list such as [{ up_to = '10MiB', use = 'grpc' }, { use = 'shm_pool' }]"

    def read(self, section: Section, key: str) -> tuple[FixedRange, ...]:
        """The ranges, the last one without end; none where the list is empty."""
        tables = section.listed(key)
        if len(tables) > _MAX_RANGES:
            section.refuse(key, f" has {len(tables)} ranges; at most {_MAX_RANGES} are allowed")
        ranges: list[FixedRange] = []
        for table in tables:
            ranges.append(_range(table, last=table is tables[-1], start_bytes=ranges[-1].end_bytes if ranges else 0))
        return tuple(ranges)

    def written(self, value: tuple[FixedRange, ...]) -> str:
        """How it is written."""
        return f"{len(value)} ranges" if value else "none"


def _rule(table: Section, number: int) -> Rule:
    table.refuse_unknown(RULE_KEYS)
    given = read_keys(table, RULE_KEYS)
    use, avoid = given.get("use", ()), given.get("avoid", ())
    if not use and not avoid:
        table.refuse("", ": says neither what to use nor what to avoid; add use = 'shm_pool', or avoid = 'shm'")
    if both := [name for name in use if name in avoid]:
        table.refuse("avoid", f": {both[0]!r} is to be used and avoided; leave one of the two out")
    when = given.get("when")
    name = f"rule {number} ({_cut(when.text) if when else 'always'})"
    return Rule(when or parse_expression("true"), use, avoid, name)


def _range(table: Section, *, last: bool, start_bytes: float) -> FixedRange:
    table.refuse_unknown(THRESHOLD_KEYS)
    if "use" not in table.table:
        table.refuse("", ": names no method; add use = 'shm_pool'")
    given = read_keys(table, THRESHOLD_KEYS)
    if last and "up_to" in given:
        table.refuse("up_to", f" == {shown(table.table['up_to'])}; the last range has no end: leave up_to out")
    if not last and "up_to" not in given:
        table.refuse("", ": has no end, and is not the last; add up_to = '10MiB'")
    end_bytes = given.get("up_to", math.inf)
    if end_bytes <= start_bytes:
        table.refuse("up_to", f" == {shown(table.table['up_to'])}; must be more than that of the range before")
    return FixedRange(float(end_bytes), given["use"])


def _refuse_method(section: Section, key: str, name: str) -> NoReturn:
    hint = "A method of your own can be named once it was measured and published."
    section.refuse(key, f": {UnknownNameError('method', name, section.methods, hint)}")


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."
