"""Where in the text of a TOML file its keys and values stand; `tomllib` does not tell. Used once something is wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Mapping

__all__ = ["Place", "find_places", "line_and_column", "offset_in_text"]

_TRIVIA = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_NAME = rf"[ \t]*({_PART}(?:[ \t]*\.[ \t]*{_PART})*)[ \t]*"
_KEY_PART = re.compile(_PART)
_ASSIGNMENT = re.compile(rf"{_NAME}=[ \t]*")
_HEADER = re.compile(rf"\[{_NAME}\]")
_LIST_HEADER = re.compile(rf"\[\[{_NAME}\]\]")
_SCALAR = re.compile(
    r'''"""(?:\\.|[^\\])*?""""{0,2}'''
    r"""|'''.*?''''{0,2}"""
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}#\n]+""",
    re.DOTALL,
)
_COMMA = re.compile(",")
_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_LINE_ENDING_BACKSLASH = re.compile(r"\\[ \t]*\n[ \t\n]*")


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Offsets in the text: where a key or header begins, and where its value does (None for a header)."""

    key: int
    value: int | None = None


def find_places(text: str) -> Mapping[str, Place]:
    """The place of every key, by its full name: ``pools.ml.rules[2].when`` is in the second rule.

    The name without numbers, ``pools.ml.rules.when``, is where it comes first. Of a text that is not TOML, what was
    understood before the mistake is returned.

    Args:
        text: content of the file, with line ends of one character.

    >>> places = find_places("[pools.ml]\\nrules = [{ use = 'uds' }]")
    >>> places["pools.ml"].key, places["pools.ml.rules[1].use"].value
    (0, 28)
    """
    scan = _Scan(text)
    with contextlib.suppress(_NotUnderstoodError, RecursionError):
        scan.document()
    return scan.places


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, both counted from 1.

    >>> line_and_column("a\\nbc", 3)
    (2, 2)
    """
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def offset_in_text(text: str, value: int, characters: int) -> int:
    """The offset of a character of a quoted value, escapes counted as what they stand for.

    Args:
        text: content of the file.
        value: offset of the value's opening quote.
        characters: how many characters of the value come before the one that is asked for.
    """
    quote = text[value : value + 3] if text[value : value + 3] in ('"""', "'''") else text[value : value + 1]
    if quote not in ('"', "'", '"""', "'''"):
        return value
    offset = value + len(quote)
    if len(quote) == 3 and text[offset : offset + 1] == "\n":
        offset += 1
    while offset < len(text):
        continued = _LINE_ENDING_BACKSLASH.match(text, offset) if quote[0] == '"' else None
        if continued:
            offset = continued.end()
        elif characters > 0:
            escape = _ESCAPE.match(text, offset) if quote[0] == '"' else None
            offset = escape.end() if escape else offset + 1
            characters -= 1
        else:
            break
    return offset


class _NotUnderstoodError(Exception):
    """The text is not TOML from here on."""


class _Scan:
    """Goes once through a document. Names are kept with numbers for the elements of lists, and without."""

    def __init__(self, text: str) -> None:
        self.places: dict[str, Place] = {}
        self._text = text
        self._offset = 0
        self._elements: dict[str, int] = {}

    def document(self) -> None:
        table = ""
        self._skip(_TRIVIA)
        while self._offset < len(self._text):
            if self._text.startswith("[", self._offset):
                table = self._header()
            else:
                self._assignment(table)
            self._skip(_TRIVIA)

    def _header(self) -> str:
        start = self._offset
        is_list = self._text.startswith("[[", start)
        parts = self._key_parts(_LIST_HEADER if is_list else _HEADER)
        name = ""
        for number, part in enumerate(parts, start=1):
            name = f"{name}.{part}".lstrip(".")
            self._note(name, Place(start))
            if number == len(parts) and is_list:
                self._elements[name] = self._elements.get(name, 0) + 1
            if name in self._elements:
                name = f"{name}[{self._elements[name]}]"
                self._note(name, Place(start))
        return name

    def _assignment(self, table: str) -> None:
        start = self._offset
        parts = self._key_parts(_ASSIGNMENT)
        name = table
        for part in parts[:-1]:
            name = f"{name}.{part}".lstrip(".")
            self._note(name, Place(start))
        name = f"{name}.{parts[-1]}".lstrip(".")
        self._note(name, Place(start, self._offset))
        self._value(name)

    def _value(self, name: str) -> None:
        if self._text.startswith("[", self._offset):
            self._list(name)
        elif self._text.startswith("{", self._offset):
            self._inline_table(name)
        else:
            self._take(_SCALAR)

    def _list(self, name: str) -> None:
        self._offset += 1
        number = 0
        self._skip(_TRIVIA)
        while not self._text.startswith("]", self._offset):
            number += 1
            element = f"{name}[{number}]"
            self._note(element, Place(self._offset, self._offset))
            self._value(element)
            self._separator("]")
        self._offset += 1

    def _inline_table(self, name: str) -> None:
        self._offset += 1
        self._skip(_TRIVIA)
        while not self._text.startswith("}", self._offset):
            self._assignment(name)
            self._separator("}")
        self._offset += 1

    def _separator(self, end: str) -> None:
        self._skip(_TRIVIA)
        if not self._text.startswith(end, self._offset):
            self._take(_COMMA)
            self._skip(_TRIVIA)

    def _key_parts(self, pattern: re.Pattern[str]) -> list[str]:
        name = self._take(pattern)[1]
        parts = _KEY_PART.findall(name)
        return [part[1:-1] if part[0] in "\"'" else part for part in parts]

    def _note(self, name: str, place: Place) -> None:
        self.places.setdefault(name, place)
        if "[" in name:
            self.places.setdefault(re.sub(r"\[\d+\]", "", name), place)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._offset)
        self._offset = match.end() if match else self._offset

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._offset)
        if match is None:
            raise _NotUnderstoodError
        self._offset = match.end()
        return match
