"""Read a TOML file that people edit, and say where in it something is wrong."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NoReturn

from perfkit.config.places import find_places, line_and_column, offset_in_text
from perfkit.errors import ConfigError, UnknownNameError

__all__ = ["Source", "read_source", "read_text", "shown"]

_POSITION = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_ELEMENT = re.compile(r"\[\d+\]$")

_ONCE = "every key and every table may be given once; remove or join the repetition"
_EXPECTED = {
    "Invalid value": "expected a value such as 'text', 1, 0.5, true or ['list']; text needs quotes",
    "Invalid statement": "expected `key = value` or a header such as [table]; a comment begins with #",
    "Invalid initial character": "expected a name of letters, digits, - and _; other names need quotes",
    "Invalid date": "expected a date such as 2026-01-31; text needs quotes",
    "Expected '='": "expected `key = value`",
    "Expected ']": "close the header, such as [table] or [[list]]",
    "Expected newline": "expected one `key = value` or [table] per line; text needs quotes",
    "Unclosed array": "separate the values by commas and close the list with ]",
    "Unclosed inline table": "separate the keys by commas and close the table with }",
    "Unterminated string": "close the text with the quotes that it began with",
    "Illegal character": "close the text in its line with the quote that it began with",
    'Expected "': "close the text with the quotes that it began with",
    "Found invalid character": "close the text in its line with the quote that it began with",
    "Escaped character": "write a backslash as \\\\, or put the text into single quotes",
    "Invalid hex value": "write a backslash as \\\\, or put the text into single quotes",
    "Unescaped": "write a backslash as \\\\, or put the text into single quotes",
    "Cannot declare": _ONCE,
    "Cannot overwrite": _ONCE,
    "Cannot mutate": _ONCE,
    "Cannot redefine": _ONCE,
    "Duplicate inline table key": _ONCE,
    "Exceeds the limit": "expected a number of fewer digits",
}
"""How the messages of `tomllib` begin, and what to do about each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A parsed TOML file with its text, so that an error can name the line of a key.

    >>> source = Source("perfkit.toml", "[pools.ml]\\ngoal = 'fast'", {"pools": {"ml": {"goal": "fast"}}})
    >>> source.position("pools.ml", "goal")
    (2, 1)
    """

    path: str
    text: str
    body: Mapping[str, Any]

    def position(self, table: str, key: str, character: int | None = None) -> tuple[int | None, int | None]:
        """Line and column of `key` in `table`, or of the closest table around it that is there, counted from 1.

        Args:
            table: full name, such as ``pools.ml.rules[2]``, where lists are counted from 1.
            key: name within it; empty for the table itself.
            character: which character of the key's text is meant, counted from 1; by default the key is.
        """
        text = self.text.replace("\r\n", "\n")
        places = find_places(text)
        name = f"{table}.{key}".strip(".")
        while name and name not in places:
            name, character = _around(name), None
        if not name:
            return None, None
        place = places[name]
        if character is None or place.value is None:
            return line_and_column(text, place.key)
        return line_and_column(text, offset_in_text(text, place.value, character - 1))

    def refuse(self, table: str, key: str, message: str, *, character: int | None = None) -> NoReturn:
        """Raise the `ConfigError` that names the file, the place and the full name of the key."""
        line, column = self.position(table, key, character)
        name = f"{table}.{key}" if table and key else table or key
        raise ConfigError(f"{name}{message}", path=self.path, line=line, column=column)

    def table(self, parent: Mapping[str, Any], name: str, key: str) -> Mapping[str, Any]:
        """The table `key` of `parent`, whose full name is `name`; empty when absent."""
        value = parent.get(key, {})
        if not isinstance(value, dict):
            self.refuse(name, key, f" == {shown(value)}; must be a table, written as [{f'{name}.{key}'.lstrip('.')}]")
        return value

    def refuse_unknown(self, table: str, given: Mapping[str, Any], allowed: Collection[str]) -> None:
        """Raise a `ConfigError` for the first key of `given` that does not exist."""
        for key in given:
            if key not in allowed:
                problem = UnknownNameError("key", key, allowed)
                line, column = self.position(table, key)
                raise ConfigError(
                    f"{problem}" if not table else f"[{table}]: {problem}", path=self.path, line=line, column=column
                )


def read_source(path: str | Path, *, advice: str = "") -> Source:
    """Read and parse a TOML file; a byte-order mark is allowed.

    Args:
        path: the file.
        advice: what to do when there is no such file.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8, or is not TOML (with line and column). Its ``__cause__`` is
            a `FileNotFoundError` when there is no such file.
    """
    text = read_text(path, advice=advice)
    try:
        body = tomllib.loads(text)
    except RecursionError:
        raise ConfigError("nested too deeply to be read; write fewer brackets", path=path) from None
    except ValueError as error:  # also plain ones: a number of over 4300 digits
        message = str(error)
        position = _POSITION.search(message)
        line, column = (None, None)
        if position:
            message = message[: position.start()]
            line = int(position.group(1)) if position.group(1) else text.count("\n") + 1
            column = int(position.group(2)) if position.group(2) else len(text) - text.rfind("\n")
        raise ConfigError(
            f"not TOML: {message[:200]}; {_expectation(message)}", path=path, line=line, column=column
        ) from None
    return Source(str(path), text, body)


def _expectation(message: str) -> str:
    """What to write instead of what `tomllib` complains about."""
    found = (expected for beginning, expected in _EXPECTED.items() if message.startswith(beginning))
    return next(found, "toml.io describes what may stand here")


def read_text(path: str | Path, *, advice: str = "") -> str:
    """The text of a regular file in UTF-8, without byte-order mark. Raises `ConfigError` when it cannot be had."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe would hang, a device may never end
            raise ConfigError("is a folder or a device; name a regular file", path=path)
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"not UTF-8: byte {error.object[error.start]:#04x}; save the file as UTF-8"
        raise ConfigError(message, path=path, line=line) from None
    except FileNotFoundError as error:
        raise ConfigError(f"there is no such file; {advice}".rstrip("; "), path=path) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path=str(path)) from error


def shown(value: object) -> str:
    """A value for a message: its representation, cut at 60 characters.

    >>> shown("fast"), shown([1] * 100)[-3:]
    ("'fast'", '...')
    """
    try:
        text = repr(value)
    except ValueError:  # an integer of over 4300 digits has no decimal text
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _around(name: str) -> str:
    """The table or list that holds what has this name."""
    return _ELEMENT.sub("", name) if _ELEMENT.search(name) else name.rpartition(".")[0]
