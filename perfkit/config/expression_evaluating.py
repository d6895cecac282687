"""Ask a condition. It is made into functions once, for plans ask it for every context, state and breakpoint."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from perfkit.config.expression_tree import (
    LOADS,
    LOADS_FROM,
    NAMES,
    AllOf,
    Always,
    AnyOf,
    Compared,
    Condition,
    Like,
    Not,
    OneOf,
    leaves,
)

__all__ = ["Test", "breakpoints", "test_of"]

Test = Callable[[Mapping[str, object]], bool]
"""Whether a condition holds for values by name. What is missing, or of another type, is different from every value."""

_NUMBERS = frozenset((int, float))  # and not bool, which is an int to Python
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def breakpoints(condition: Condition) -> tuple[int, ...]:
    """Sizes in bytes, ascending, from which the condition may be another than for the size before."""
    return tuple(sorted({size for leaf in leaves(condition) for size in _changes(leaf) if size > 0}))


def test_of(condition: Condition) -> Test:
    """The function that says whether a condition holds."""
    match condition:
        case Always():
            return _constant(condition.value)
        case Compared(name, "!=", value):
            return _negated(_equal(name, (value,)))
        case Compared(name, "==", value):
            return _equal(name, (value,))
        case Compared(name, symbol, value):
            return _ordered(name, _COMPARE[symbol], value)
        case OneOf(name, values):
            return _equal(name, values)
        case Like(name, pattern):
            return _like(name, pattern)
        case Not(inner):
            return _negated(test_of(inner))
        case AllOf(conditions):
            return _all([test_of(inner) for inner in conditions])
        case AnyOf(conditions):
            return _any([test_of(inner) for inner in conditions])


def _constant(value: bool) -> Test:
    return lambda values: value


def _changes(leaf: Compared | OneOf | Like) -> Iterator[int]:
    if leaf.name != "bytes" or isinstance(leaf, Like):
        return
    symbol, sizes = ("==", leaf.values) if isinstance(leaf, OneOf) else (leaf.operator, (leaf.value,))
    for size in sizes:
        if symbol not in ("<=", ">"):
            yield int(size)
        if symbol not in ("<", ">="):
            yield int(size) + 1


def _equal(name: str, wanted: tuple[object, ...]) -> Test:
    known = frozenset(wanted)
    if name == "load":
        return _loaded(known)
    if NAMES[name] == "text":

        def text(values: Mapping[str, object]) -> bool:
            got = values.get(name)
            return isinstance(got, str) and got in known

        return text
    types = frozenset((bool,)) if NAMES[name] == "flag" else _NUMBERS

    def exactly(values: Mapping[str, object]) -> bool:
        got = values.get(name)
        return type(got) in types and got in known

    return exactly


def _loaded(wanted: frozenset[object]) -> Test:
    """Whether what is in flight makes one of the loads that are wanted."""
    _, busy_from, crowded_from = LOADS_FROM

    def loaded(values: Mapping[str, object]) -> bool:
        got = values.get("in_flight")
        if not isinstance(got, int | float) or isinstance(got, bool):
            return False
        return LOADS[(got >= busy_from) + (got >= crowded_from)] in wanted

    return loaded


def _ordered(name: str, compare: Callable[[Any, Any], bool], value: object) -> Test:
    def ordered(values: Mapping[str, object]) -> bool:
        got = values.get(name)
        return type(got) in _NUMBERS and compare(got, value)

    return ordered


def _like(name: str, pattern: str) -> Test:
    fits = re.compile(fnmatch.translate(pattern)).match

    def like(values: Mapping[str, object]) -> bool:
        got = values.get(name)
        return isinstance(got, str) and fits(got) is not None

    return like


def _negated(test: Test) -> Test:
    return lambda values: not test(values)


def _all(tests: list[Test]) -> Test:
    def every(values: Mapping[str, object]) -> bool:
        for test in tests:  # noqa: SIM110 - all() with a generator takes three times as long
            if not test(values):
                return False
        return True

    return every


def _any(tests: list[Test]) -> Test:
    def some(values: Mapping[str, object]) -> bool:
        for test in tests:  # noqa: SIM110 - as above
            if test(values):
                return True
        return False

    return some
