"""The words of a condition: names, numbers and sizes, quoted text, operators; each knows its column."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from perfkit.errors import ExpressionError

__all__ = ["KEYWORDS", "Token", "tokens"]

KEYWORDS = ("and", "or", "not", "in", "like", "true", "false")

_TOKEN = re.compile(
    r"""(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[A-Za-z_]*)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>'[^']*'|"[^"]*")
      | (?P<operator>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
      | (?P<space>[ \t\r\n]+)""",
    re.VERBOSE,
)
_INSTEAD = {
    "&": "write `and`",
    "|": "write `or`",
    "!": "write `not`, or != for 'is another than'",
    "=": "write == to compare",
    "'": "close the text with the quote that it began with",
    '"': "close the text with the quote that it began with",
    "-": "sizes and numbers are 0 or more; text needs quotes",
    "{": "write a list in [ ]",
    "*": "write patterns as text, such as pool like 'ml-*'",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One word. `kind` is ``number``, ``name``, ``keyword``, ``text``, ``operator`` or ``end``; columns begin at 1."""

    kind: str
    text: str
    column: int

    @property
    def shown(self) -> str:
        """The word as messages quote it, cut at 40 characters."""
        if self.kind == "end":
            return "the end"
        return self.text if len(self.text) <= 40 else f"{self.text[:37]}..."


def tokens(text: str) -> Iterator[Token]:
    """The words of a text, and a last one of the kind ``end``.

    Raises:
        ExpressionError: a character that no word begins with, or text without closing quote.

    >>> [token.text for token in tokens("bytes>=64KiB")]
    ['bytes', '>=', '64KiB', '']
    """
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            character = text[position]
            advice = _INSTEAD.get(character, "write a condition such as bytes > 64MiB and kind == 'tensor'")
            raise ExpressionError(f"got {character!r}, which means nothing here; {advice}", column=position + 1)
        kind = match.lastgroup or ""
        if kind != "space":
            word = match.group()
            yield Token("keyword" if word in KEYWORDS else kind, word, position + 1)
        position = match.end()
    yield Token("end", "", len(text) + 1)
