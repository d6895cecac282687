"""What keys of `perfkit.toml` may hold: choices, shares, numbers, durations, sizes, texts."""

from __future__ import annotations

import dataclasses
import math

from perfkit.config.reading import Section
from perfkit.config.source import shown
from perfkit.errors import UnitError, UnknownNameError
from perfkit.units import format_bytes, format_duration, parse_bytes, parse_duration, parse_share

__all__ = ["Choice", "Days", "Duration", "Flag", "Modules", "Number", "Ordered", "Share", "Size", "Text", "Whole"]

_DAY_NS = 86_400 * 10**9
_MAX_DAYS = 36_500
_LARGEST = 2**63


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """One of several words."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """What may be written."""
        return ", ".join(f"`{option}`" for option in self.options)

    def read(self, section: Section, key: str) -> str:
        """The word."""
        value = section.table[key]
        if not isinstance(value, str) or value not in self.options:
            problem = str(UnknownNameError(key, value if isinstance(value, str) else "", self.options))
            section.refuse(key, f" == {shown(value)}; {problem[problem.index('allowed: ') :]}")
        return value

    def written(self, value: str) -> str:
        """How it is written."""
        return f'`"{value}"`'


@dataclasses.dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "`true`, `false`"

    def read(self, section: Section, key: str) -> bool:
        """The flag."""
        value = section.table[key]
        if not isinstance(value, bool):
            section.refuse_value(key, "true or false")
        return value

    def written(self, value: bool) -> str:
        """How it is written."""
        return f"`{str(value).lower()}`"


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole; with `positive`, not none of it."""

    most: float = 1.0
    positive: bool = False

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"a share {'above' if self.positive else 'from'} 0 to {self.most:g}, such as 0.05 or '5%'"

    def read(self, section: Section, key: str) -> float:
        """The share as a fraction."""
        value = section.table[key]
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            section.refuse_value(key, self.allowed)
        try:
            share = parse_share(value)
        except (UnitError, ValueError):  # ValueError: an integer of over 4300 digits
            share = -1.0
        if not 0 <= share <= self.most or (self.positive and share == 0):
            section.refuse_value(key, self.allowed)
        return share

    def written(self, value: float) -> str:
        """How it is written."""
        return f'`"{value * 100:g}%"`'


@dataclasses.dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    least: int
    most: int
    example: int

    @property
    def allowed(self) -> str:
        """What may be written."""
        most = f" to {self.most}" if self.most < _LARGEST - 1 else ""
        return f"a whole number from {self.least}{most}, such as {self.example}"

    def read(self, section: Section, key: str) -> int:
        """The number."""
        value = section.table[key]
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            section.refuse_value(key, self.allowed)
        return value

    def written(self, value: int) -> str:
        """How it is written."""
        return f"`{value}`"


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A number that need not be whole, such as a factor; `least` itself is only allowed where it is `inclusive`."""

    what: str
    least: float
    most: float
    example: float
    inclusive: bool = True

    @property
    def allowed(self) -> str:
        """What may be written."""
        begin = "from" if self.inclusive else "of more than"
        most = f" to {self.most:g}" if self.most < math.inf else ""
        return f"a {self.what} {begin} {self.least:g}{most}, such as {self.example:g}"

    def read(self, section: Section, key: str) -> float:
        """The number."""
        value = section.table[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not self._holds(value):
            section.refuse_value(key, self.allowed)
        return float(value)

    def _holds(self, value: float) -> bool:
        above = value >= self.least if self.inclusive else value > self.least
        return above and value <= self.most and value < _LARGEST

    def written(self, value: float) -> str:
        """How it is written."""
        return f"`{value}`"


@dataclasses.dataclass(frozen=True, slots=True)
class Duration:
    """A time, in nanoseconds within the settings."""

    least_ns: int
    most_ns: int
    example: str

    @property
    def allowed(self) -> str:
        """What may be written."""
        least, most = format_duration(self.least_ns), format_duration(self.most_ns)
        return f"a duration from {least} to {most}, such as '{self.example}'"

    def read(self, section: Section, key: str) -> int:
        """The duration in nanoseconds."""
        value = section.table[key]
        try:
            duration_ns = parse_duration(value) if isinstance(value, str) else -1
        except (UnitError, OverflowError):  # OverflowError: '1e999s'
            duration_ns = -1
        if not self.least_ns <= duration_ns <= self.most_ns:
            section.refuse_value(key, self.allowed)
        return duration_ns

    def written(self, value: float) -> str:
        """How it is written."""
        return f'`"{format_duration(value)}"`'


@dataclasses.dataclass(frozen=True, slots=True)
class Days:
    """Whole days."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"whole days, from 1 to {_MAX_DAYS}, such as '7 days'"

    def read(self, section: Section, key: str) -> int:
        """The days."""
        value = section.table[key]
        try:
            days, rest = divmod(parse_duration(value) if isinstance(value, str) else 0, _DAY_NS)
        except (UnitError, OverflowError):  # OverflowError: '1e999 days'
            days, rest = 0, 0
        if rest or not 1 <= days <= _MAX_DAYS:
            section.refuse_value(key, self.allowed)
        return days

    def written(self, value: int) -> str:
        """How it is written."""
        return f'`"{value} days"`'


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """A size of payload, in bytes within the settings."""

    least: int = 0

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"a size from {format_bytes(self.least)} to below 8EiB, such as '10MiB'"

    def read(self, section: Section, key: str) -> int:
        """The size in bytes."""
        value = section.table[key]
        try:
            size = parse_bytes(value)
        except (UnitError, OverflowError, ValueError):  # OverflowError: '1e999MiB'
            size = -1
        if not self.least <= size < _LARGEST:
            section.refuse_value(key, self.allowed)
        return size

    def written(self, value: float) -> str:
        """How it is written."""
        return "none" if math.isinf(value) else f'`"{format_bytes(value)}"`'


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """Printable text of one line; with `optional`, empty text stands for none."""

    what: str
    most: int = 100
    optional: bool = False

    @property
    def allowed(self) -> str:
        """What may be written."""
        return self.what + (', or "" for none' if self.optional else "")

    def read(self, section: Section, key: str) -> str | None:
        """The text."""
        value = section.table[key]
        if self.optional and value == "":
            return None
        if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > self.most:
            section.refuse_value(key, f"{self.allowed}, at most {self.most} characters in one line")
        return value

    def written(self, value: str | None) -> str:
        """How it is written."""
        return f'`"{value}"`' if value else "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Modules:
    """Names of Python modules."""

    @property
    def allowed(self) -> str:
        """What may be written."""
        return "a list of modules, such as ['my_service.policies']"

    def read(self, section: Section, key: str) -> tuple[str, ...]:
        """The names, each once."""
        value = section.table[key]
        if not isinstance(value, list) or not all(isinstance(name, str) and _is_module(name) for name in value):
            section.refuse_value(key, self.allowed)
        return tuple(dict.fromkeys(value))

    def written(self, value: tuple[str, ...]) -> str:
        """How it is written."""
        return f"`{list(value)}`" if value else "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Ordered:
    """Some or all of several words in an order; those that are left out follow, and the last one stays the last."""

    what: str
    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """What may be written."""
        return f"a list of some or all of {', '.join(f'`{option}`' for option in self.options)}"

    def read(self, section: Section, key: str) -> tuple[str, ...]:
        """All of the words, in order."""
        value = section.table[key]
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            section.refuse_value(key, self.allowed.replace("`", "'"))
        for name in value:
            if name not in self.options:
                section.refuse(key, f": {UnknownNameError(self.what, name, self.options)}")
            if value.count(name) > 1:
                section.refuse(key, f": {name!r} is named {value.count(name)} times; name it once")
        last = self.options[-1]
        ordered = (*value, *(name for name in self.options if name not in value))
        if ordered[-1] != last:
            section.refuse(key, f": {last!r} always comes last, after all others; put it there or leave it out")
        return ordered

    def written(self, value: tuple[str, ...]) -> str:
        """How it is written."""
        return ", ".join(f"`{name}`" for name in value)


def _is_module(name: str) -> bool:
    return len(name) <= 200 and all(part.isidentifier() for part in name.split("."))
