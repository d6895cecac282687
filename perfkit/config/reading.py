"""Read a table of a file by a list of its keys: each key says what it may hold, what it means and what it sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from perfkit.config.source import Source, shown

__all__ = ["Key", "Section", "ValueKind", "read_keys"]


class ValueKind(Protocol):
    """What a key may hold. The same words are used in messages and in the reference of the files."""

    @property
    def allowed(self) -> str:
        """What may be written, such as ``a whole number from 1, such as 3``."""

    def read(self, section: Section, key: str) -> Any:
        """The value, as the settings hold it; a `ConfigError` with its place where it is none."""

    def written(self, value: Any) -> str:
        """How a value is written in the file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of a table.

    Args:
        name: as it is written.
        kind: what it may hold.
        meaning: one phrase for the reference.
        field: attribute of the settings that it sets; by default its name.
        default: what the reference says of a key that is left out; by default the value of `field`.
    """

    name: str
    kind: ValueKind
    meaning: str
    field: str = ""
    default: str = ""

    @property
    def attribute(self) -> str:
        """Attribute of the settings that it sets."""
        return self.field or self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Section:
    """One table of a file.

    Args:
        source: the file.
        name: full name, such as ``pools.ml.rules[2]``, where lists are counted from 1; empty for the whole file.
        table: its content.
        methods: methods that may be named.
        pause: called at every table that is read: a service's other threads get their turn.
    """

    source: Source
    name: str
    table: Mapping[str, Any]
    methods: tuple[str, ...] = ()
    pause: Callable[[], None] | None = None

    def refuse(self, key: str, message: str, *, character: int | None = None) -> NoReturn:
        """Raise a `ConfigError` that names the file, the place and the key (empty: the table)."""
        self.source.refuse(self.name, key, message, character=character)

    def refuse_value(self, key: str, allowed: str) -> NoReturn:
        """Raise a `ConfigError` that says what was got and what is allowed."""
        self.refuse(key, f" == {shown(self.table[key])}; must be {allowed}")

    def refuse_unknown(self, keys: Iterable[Key] | Collection[str]) -> None:
        """Raise a `ConfigError` for the first key that does not exist."""
        allowed = [key if isinstance(key, str) else key.name for key in keys]
        self.source.refuse_unknown(self.name, self.table, allowed)

    def inner(self, key: str) -> Section:
        """The table under a key; an empty one where there is none."""
        if self.pause is not None:
            self.pause()
        table = self.source.table(self.table, self.name, key)
        return dataclasses.replace(self, name=f"{self.name}.{key}".lstrip("."), table=table)

    def listed(self, key: str) -> tuple[Section, ...]:
        """The tables in the list under a key, each with its number."""
        value = self.table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
            self.refuse_value(key, f"a list of tables, written as [[{self.name}.{key}]] or {key} = [{{ … }}, {{ … }}]")
        name = f"{self.name}.{key}"
        return tuple(
            dataclasses.replace(self, name=f"{name}[{number}]", table=table)
            for number, table in enumerate(value, start=1)
        )


def read_keys(section: Section, keys: Sequence[Key]) -> dict[str, Any]:
    """What a table says, by attribute of the settings; what it does not say is left out."""
    return {key.attribute: key.kind.read(section, key.name) for key in keys if key.name in section.table}
