"""From the words of a condition to its tree. Every mistake is found here, with its column; none when it is asked."""

from __future__ import annotations

import difflib
import fnmatch
import re

from perfkit.config.expression_tokens import KEYWORDS, Token, tokens
from perfkit.config.expression_tree import (
    NAMES,
    VOCABULARIES,
    AllOf,
    Always,
    AnyOf,
    Compared,
    Condition,
    Like,
    Literal,
    Not,
    OneOf,
)
from perfkit.errors import ExpressionError, UnitError, UnknownNameError
from perfkit.units import parse_bytes

__all__ = ["MAX_CHARACTERS", "MAX_DEPTH", "parse_condition"]

MAX_CHARACTERS = 2_000
MAX_DEPTH = 32
_LARGEST = 2**63

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_EXAMPLES = {
    "bytes": "bytes > 64MiB",
    "pool": "pool like 'ml-*'",
    "load": "load == 'busy'",
    "state": "state != 'normal'",
    "in_flight": "in_flight > 4",
    "in_place": "in_place == true",
}
_ALLOWED = {
    "size": "a size such as 64MiB or '64MiB', or whole bytes",
    "number": "a whole number",
    "flag": "true or false",
    "text": "text in quotes",
}


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ExpressionError: with the column, what was got and what is allowed.

    >>> parse_condition("64KiB <= bytes")
    Compared(name='bytes', operator='>=', value=65536)
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the condition has {len(text)} characters, at most {MAX_CHARACTERS} are allowed; write several rules"
        raise ExpressionError(message, column=MAX_CHARACTERS)
    return _Parser(tuple(tokens(text))).whole()


class _Parser:
    """Reads one token after the other; each method reads one kind of phrase, the loosest first."""

    def __init__(self, words: tuple[Token, ...]) -> None:
        self._words = words
        self._position = 0
        self._depth = 0

    def whole(self) -> Condition:
        if self._next.kind == "end":
            raise _refused(self._next, "nothing", "write one such as bytes > 64MiB, or leave 'when' out: always")
        condition = self._alternatives()
        if self._next.kind != "end":
            raise _refused(self._next, None, "expected `and`, `or` or the end")
        return condition

    def _alternatives(self) -> Condition:
        conditions = [self._conjunction()]
        while self._taken("or"):
            conditions.append(self._conjunction())
        return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))

    def _conjunction(self) -> Condition:
        conditions = [self._negation()]
        while self._taken("and"):
            conditions.append(self._negation())
        return conditions[0] if len(conditions) == 1 else AllOf(tuple(conditions))

    def _negation(self) -> Condition:
        word = self._next
        if not self._taken("not"):
            return self._phrase()
        self._deeper(word)
        condition = Not(self._negation())
        self._depth -= 1
        return condition

    def _phrase(self) -> Condition:
        word = self._next
        if self._taken("("):
            self._deeper(word)
            condition = self._alternatives()
            if not self._taken(")"):
                raise _refused(self._next, None, f"expected `and`, `or`, or ) for the ( in column {word.column}")
            self._depth -= 1
            return condition
        first = self._operand()
        negated = self._next.text == "not" and self._words[self._position + 1].text in ("in", "like")
        if negated:
            self._take()
        if self._taken("in"):
            condition = self._membership(first)
        elif self._taken("like"):
            condition = self._likeness(first)
        elif self._next.kind == "operator" and self._next.text in _COMPARISONS:
            condition = self._comparison(first)
        else:
            condition = self._alone(first)
        return Not(condition) if negated else condition

    def _comparison(self, left: Token) -> Condition:
        pairs = []
        while self._next.kind == "operator" and self._next.text in _COMPARISONS:
            operator = self._take()
            right = self._operand()
            pairs.append(_pair(left, operator, right))
            left = right
        return pairs[0] if len(pairs) == 1 else AllOf(tuple(pairs))

    def _membership(self, name: Token) -> Condition:
        _require_name(name, "in")
        if not self._taken("["):
            raise _refused(self._next, None, f"expected a list, such as {name.text} in {_list_example(name.text)}")
        values = [_literal(name.text, self._take())]
        while self._taken(","):
            values.append(_literal(name.text, self._take()))
        if not self._taken("]"):
            raise _refused(self._next, None, "expected a comma, or ] to close the list")
        return OneOf(name.text, tuple(values))

    def _likeness(self, name: Token) -> Condition:
        _require_name(name, "like")
        if name.text != "pool":
            raise _refused(name, None, f"only a pool can be `like` a pattern; write {_example(name.text)}")
        pattern = self._take()
        if pattern.kind != "text":
            raise _refused(pattern, None, "expected a pattern in quotes, such as pool like 'ml-*'")
        try:
            re.compile(fnmatch.translate(pattern.text[1:-1]))
        except re.error:
            raise _refused(pattern, None, "expected a pattern such as 'ml-*', where * is any text") from None
        return Like(name.text, pattern.text[1:-1])

    def _alone(self, word: Token) -> Condition:
        if word.text in ("true", "false"):
            return Always(word.text == "true")
        if word.text == "in_place":
            return Compared("in_place", "==", True)
        if word.kind == "name":
            kind = {"size": "a size", "number": "a number", "text": "text"}[NAMES[word.text]]
            raise _refused(word, f"{word.shown} alone, which is {kind}", f"compare it, such as {_example(word.text)}")
        raise _refused(word, f"{word.shown} alone", "compare a name with it, such as bytes > 64MiB")

    def _operand(self) -> Token:
        word = self._take()
        if word.kind in ("number", "text") or word.text in ("true", "false"):
            return word
        if word.kind == "name":
            if word.text not in NAMES:
                raise _unknown_name(word)
            return word
        raise _refused(word, None, f"expected a name to compare ({', '.join(NAMES)}), a value, `not` or (")

    @property
    def _next(self) -> Token:
        return self._words[self._position]

    def _take(self) -> Token:
        word = self._next
        if word.kind != "end":
            self._position += 1
        return word

    def _taken(self, text: str) -> bool:
        """Take the next word if it is this keyword or operator."""
        found = self._next.text == text and self._next.kind in ("keyword", "operator")
        self._position += found
        return found

    def _deeper(self, word: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _refused(word, f"the {MAX_DEPTH + 1}th `not` or ( within another", f"at most {MAX_DEPTH} are allowed")


def _pair(left: Token, operator: Token, right: Token) -> Condition:
    """One comparison, with its name on the left."""
    names = [word for word in (left, right) if word.kind == "name"]
    if len(names) != 1:
        what = "two names" if names else "two values"
        example = _example(names[0].text) if names else "bytes > 64MiB"
        raise _refused(
            right, f"{left.shown} {operator.text} {right.shown}: {what}", f"compare a name with a value: {example}"
        )
    name, value = (left, right) if left.kind == "name" else (right, left)
    symbol = operator.text if name is left else _TURNED.get(operator.text, operator.text)
    if NAMES[name.text] in ("text", "flag") and symbol not in ("==", "!="):
        raise _refused(operator, None, f"{name.text} has no order; allowed: ==, !=")
    return Compared(name.text, symbol, _literal(name.text, value))


def _literal(name: str, word: Token) -> Literal:
    """The value that a name is compared with, checked against what the name can be."""
    kind = NAMES[name]
    if kind == "flag" and word.text in ("true", "false"):
        return word.text == "true"
    if kind == "text" and word.kind == "text":
        return _known_text(name, word)
    if kind == "number" and word.kind == "number":
        return _whole_number(name, word)
    if kind == "size" and word.kind in ("number", "text"):
        return _size(word)
    quotes = f"; write '{word.text}'" if kind == "text" and word.kind in ("name", "number", "keyword") else ""
    raise _refused(word, None, f"{name} is compared with {_ALLOWED[kind]}{quotes}")


def _known_text(name: str, word: Token) -> str:
    text, known = word.text[1:-1], VOCABULARIES.get(name)
    if known is not None and text not in known:
        raise ExpressionError(f"{UnknownNameError(name, _cut(text), known)}", column=word.column)
    return text


def _whole_number(name: str, word: Token) -> int:
    digits = word.text.replace("_", "")
    if not digits.isdigit() or len(digits) > 18:
        raise _refused(word, None, f"{name} is compared with a whole number below 10^18, such as 4")
    return int(digits)


def _size(word: Token) -> int:
    text = word.text[1:-1].strip() if word.kind == "text" else word.text
    digits = text.replace("_", "")
    try:
        size = int(digits) if digits.isdecimal() and len(digits) < 20 else parse_bytes(text)
        whole = size < _LARGEST and (digits.isdecimal() or text[-1:].isalpha())
    except (UnitError, OverflowError, ValueError):  # OverflowError: 1e999MiB
        whole, size = False, 0
    if not whole:
        raise _refused(word, None, "bytes is compared with a size below 8EiB, such as 64MiB, '1.5GB' or 4096")
    return size


def _require_name(word: Token, keyword: str) -> None:
    if word.kind != "name":
        raise _refused(word, f"{word.shown} before `{keyword}`", f"expected a name: {', '.join(NAMES)}")


def _unknown_name(word: Token) -> ExpressionError:
    lower = word.text.lower()
    close = difflib.get_close_matches(lower, (*NAMES, *KEYWORDS), n=1)
    known = ", ".join(NAMES)
    hint = f" Did you mean {close[0]}?" if close else " Text needs quotes."
    return ExpressionError(f"unknown name {_cut(word.text)!r}; allowed: {known}.{hint}", column=word.column)


def _example(name: str) -> str:
    return _EXAMPLES.get(name) or f"{name} == {VOCABULARIES[name][0]!r}"


def _list_example(name: str) -> str:
    if NAMES[name] == "text":
        return str(list(VOCABULARIES.get(name, ("ml", "images"))[:2]))
    return {"size": "[0, 64KiB]", "number": "[1, 4]", "flag": "[true]"}[NAMES[name]]


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _refused(word: Token, got: str | None, advice: str) -> ExpressionError:
    return ExpressionError(f"got {got or word.shown}; {advice}", column=word.column)
