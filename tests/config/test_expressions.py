"""Conditions of rules: what they mean, at which sizes they change, and how a mistake is named."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.config.engine_settings import RESOURCE_STATES
from perfkit.config.expression_parsing import MAX_CHARACTERS, MAX_DEPTH
from perfkit.config.expression_tokens import KEYWORDS
from perfkit.config.expression_tree import LOADS, NAMES
from perfkit.config.expressions import Expression, parse_expression
from perfkit.config.pool_settings import PoolSettings, Rule
from perfkit.config.rule_notes import rule_notes
from perfkit.errors import ExpressionError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

VALUES: dict[str, Any] = {
    "bytes": 64 * 2**20,
    "kind": "tensor",
    "format": "numpy",
    "compression": "none",
    "signalling": "uds",
    "pool": "ml-eu",
    "state": "normal",
    "in_flight": 4,
    "in_place": False,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes == 64MiB", True),
        ("bytes == '64MiB'", True),
        ('bytes == "64 MiB"', True),
        ("bytes == 67_108_864", True),
        ("bytes > 1.5MB", True),
        ("64KiB <= bytes < 1MiB", False),
        ("1MiB > bytes", False),
        ("bytes >= 64MiB and kind == 'tensor'", True),
        ("kind == 'text' or format == 'numpy' and compression == 'lz4'", False),
        ("(kind == 'text' or format == 'numpy') and compression == 'none'", True),
        ("not kind == 'tensor' or true", True),
        ("not (kind == 'tensor' or true)", False),
        ("not not in_place", False),
        ("in_place == false", True),
        ("in_place != true", True),
        ("kind in ['tensor', 'dataframe']", True),
        ("kind not in ['tensor', 'dataframe']", False),
        ("not kind in ['tensor']", False),
        ("bytes in [0, 64MiB]", True),
        ("pool like 'ml-*'", True),
        ("pool not like 'ml-*'", False),
        ("pool == 'ml-*'", False),
        ("in_flight in [1, 4]", True),
        ("1 < in_flight <= 4", True),
        ("load == 'busy'", True),
        ("load in ['idle', 'crowded']", False),
        ("'uds' == signalling and state != 'cpu_pressure'", True),
    ],
)
def test_a_condition_says_what_it_reads_like(text: str, expected: bool) -> None:
    assert parse_expression(text).holds(VALUES) is expected


@pytest.mark.parametrize(
    ("in_flight", "load"), [(1, "idle"), (2, "busy"), (4, "busy"), (5, "crowded"), (64, "crowded")]
)
def test_the_load_follows_from_what_is_in_flight(in_flight: int, load: str) -> None:
    values = {"in_flight": in_flight}
    assert [name for name in LOADS if parse_expression(f"load == '{name}'").holds(values)] == [load]


@pytest.mark.parametrize(
    ("text", "breakpoints"),
    [
        ("bytes < 10", (10,)),
        ("bytes <= 10", (11,)),
        ("bytes > 10", (11,)),
        ("bytes >= 10", (10,)),
        ("bytes == 10", (10, 11)),
        ("bytes != 10", (10, 11)),
        ("10 <= bytes < 1KiB or bytes in [3, 4]", (3, 4, 5, 10, 1024)),
        ("bytes >= 0", ()),
        ("kind == 'tensor' and in_flight > 4", ()),
    ],
)
def test_it_changes_at_its_breakpoints_only(text: str, breakpoints: tuple[int, ...]) -> None:
    assert parse_expression(text).breakpoints == breakpoints


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, ["got nothing", "leave 'when' out"]),
        ("   ", 4, ["got nothing"]),
        ("bytes >", 8, ["got the end", "expected a name to compare"]),
        ("bytes", 1, ["bytes alone, which is a size", "bytes > 64MiB"]),
        ("(bytes) > 5", 2, ["bytes alone"]),
        ("kind and true", 1, ["kind alone, which is text", "kind == 'tensor'"]),
        ("5MiB", 1, ["5MiB alone"]),
        ("bytes > 5 kind", 11, ["got kind", "`and`, `or` or the end"]),
        ("bytes == 'x'", 10, ["got 'x'", "a size below 8EiB, such as 64MiB"]),
        ("bytes == 10.5", 10, ["a size"]),
        ("bytes == 1e999MiB", 10, ["a size below 8EiB"]),
        ("bytes == 99999999999999999999", 10, ["a size below 8EiB"]),
        ("bytes == true", 10, ["bytes is compared with a size"]),
        ("bytes > -1", 9, ["got '-'", "0 or more"]),
        ("kind == 'tensr'", 9, ["unknown kind 'tensr'", "Did you mean 'tensor'?"]),
        ("format in ['numpy', 'arow']", 21, ["unknown format 'arow'", "Did you mean 'arrow'?"]),
        ("state == 'busy'", 10, ["unknown state", "cpu_pressure"]),
        ("load == 'normal'", 9, ["unknown load", "idle, busy, crowded"]),
        ("kind == tensor", 9, ["unknown name 'tensor'", "Text needs quotes"]),
        ("kind == 5", 9, ["text in quotes", "write '5'"]),
        ("kind < 'text'", 6, ["kind has no order", "==, !="]),
        ("in_place > true", 10, ["no order"]),
        ("in_place == 'yes'", 13, ["true or false"]),
        ("in_flight > 4KiB", 13, ["a whole number"]),
        ("in_flight > '4'", 13, ["a whole number"]),
        ("size > 5", 1, ["unknown name 'size'", "bytes"]),
        ("byte > 5", 1, ["Did you mean bytes?"]),
        ("in_place AND true", 10, ["got AND"]),
        ("True", 1, ["Did you mean true?"]),
        ("in_place && true", 10, ["write `and`"]),
        ("in_place || true", 10, ["write `or`"]),
        ("!in_place", 1, ["write `not`"]),
        ("bytes = 5", 7, ["write =="]),
        ("kind == 'tensor", 9, ["close the text"]),
        ("bytes > in_flight", 9, ["two names", "compare a name with a value"]),
        ("1 < 2", 5, ["two values"]),
        ("kind in 'tensor'", 9, ["expected a list", "['tensor', 'dataframe']"]),
        ("kind in []", 10, ["got ]", "text in quotes"]),
        ("kind in ['text'", 16, ["] to close the list"]),
        ("'a' in ['b']", 1, ["before `in`", "expected a name"]),
        ("kind like 't*'", 1, ["only a pool"]),
        ("pool like ml", 11, ["a pattern in quotes"]),
        ("(bytes > 5", 11, ["or ) for the ( in column 1"]),
        ("bytes > 5)", 10, ["got )"]),
        ("not", 4, ["got the end"]),
        ("import os", 1, ["unknown name 'import'"]),
        ("__import__('os')", 1, ["unknown name '__import__'"]),
        ("bytes.__class__ == 5", 6, ["got '.'"]),
        ("(" * 40 + "true" + ")" * 40, 33, ["at most 32"]),
        ("not " * 33 + "true", 129, ["at most 32"]),
        ("true or " * 300 + "true", 2000, ["at most 2000", "several rules"]),
        ("x" * 100, 1, ["unknown name 'xxx", "..."]),
    ],
)
def test_a_mistake_is_named_with_its_column_and_what_is_allowed(text: str, column: int, said: list[str]) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text)
    assert caught.value.column == column
    for part in said:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 400


def test_as_many_brackets_and_words_as_are_allowed_are_read() -> None:
    assert parse_expression("(" * MAX_DEPTH + "true" + ")" * MAX_DEPTH).holds({})
    wide = "true" + " and true" * ((MAX_CHARACTERS - 4) // 9)
    assert parse_expression(wide).holds({})


def test_conditions_are_values() -> None:
    one, same = parse_expression("bytes > 5"), parse_expression("bytes > 5")
    assert one == same
    assert hash(one) == hash(same)
    assert pickle.loads(pickle.dumps(one)) == one
    assert pickle.loads(pickle.dumps(one)).holds({"bytes": 6})
    assert one != parse_expression("bytes > 6")


SIZES = st.integers(0, 40)
LEAVES = st.one_of(
    st.builds("bytes {} {}".format, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), SIZES),
    st.builds("{} {} bytes".format, SIZES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="])),
    st.builds("{} <= bytes < {}".format, SIZES, SIZES),
    st.builds("bytes {} {}".format, st.sampled_from(["in", "not in"]), st.lists(SIZES, min_size=1, max_size=3)),
    st.builds("kind {} '{}'".format, st.sampled_from(["==", "!="]), st.sampled_from(KINDS)),
    st.builds("in_flight < {}".format, st.integers(0, 9)),
    st.sampled_from(["in_place", "in_place == false", "true", "false", "load == 'busy'"]),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds("{} and {}".format, inner, inner),
        st.builds("{} or {}".format, inner, inner),
        st.builds("not {}".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=8,
)


def by_python(text: str, values: dict[str, Any]) -> bool:
    """What Python says: its operators bind as those of a condition."""
    load = "idle" if values["in_flight"] <= 1 else "busy" if values["in_flight"] <= 4 else "crowded"
    return bool(eval(text, {}, {**values, "load": load, "true": True, "false": False}))


@given(CONDITIONS, st.sampled_from(KINDS), st.integers(1, 8), st.booleans())
def test_it_means_what_python_would_mean_and_is_constant_between_breakpoints(text, kind, in_flight, in_place) -> None:
    expression = parse_expression(text)
    rest = {"kind": kind, "in_flight": in_flight, "in_place": in_place}
    held = [expression.holds({"bytes": size, **rest}) for size in range(45)]
    assert held == [by_python(text, {"bytes": size, **rest}) for size in range(45)]
    changed = {size for size in range(1, 45) if held[size] != held[size - 1]}
    assert changed <= set(expression.breakpoints)
    assert list(expression.breakpoints) == sorted(set(expression.breakpoints))


EVERY_CASE = [
    {"bytes": size, "kind": kind, "in_flight": in_flight, "in_place": in_place}
    for size in range(43)
    for kind in KINDS
    for in_flight in range(1, 10)
    for in_place in (False, True)
]


@settings(max_examples=30)
@given(st.lists(CONDITIONS, min_size=1, max_size=3))
def test_a_rule_is_noted_where_no_case_is_left_to_it_and_only_there(texts: list[str]) -> None:
    conditions = [parse_expression(text) for text in texts]
    rules = tuple(Rule(condition, ("uds",), name=f"rule {n}") for n, condition in enumerate(conditions, start=1))
    noted = {
        note.split(",")[1].split(":")[0].strip() for note in rule_notes("ml", PoolSettings(rules=rules), len(rules))
    }
    left = [case for case in EVERY_CASE if not any(one.holds(case) for one in conditions[:-1])]
    last_has_nothing = not any(conditions[-1].holds(case) for case in left)
    assert (rules[-1].name in noted) == last_has_nothing


WORDS = st.one_of(
    st.sampled_from([*NAMES, *KEYWORDS, *KINDS, *FORMATS, *COMPRESSIONS, *SIGNALLINGS, *RESOURCE_STATES]),
    st.sampled_from(["'tensor'", "'", '"', "(", ")", "[", "]", ",", "==", "!=", "<", "<=", "64MiB", "5", "'ml-[*'"]),
    st.text(max_size=3),
)


@given(st.one_of(st.text(), st.lists(WORDS, max_size=12).map(" ".join)))
def test_any_text_is_a_condition_or_a_mistake_with_a_column(text: str) -> None:
    mistake = None
    try:
        expression = parse_expression(text)
    except ExpressionError as error:
        mistake = error
    if mistake is None:
        assert expression.holds(VALUES) in (True, False)
    else:
        assert 1 <= mistake.column <= len(text) + 1
        assert mistake.message


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.none()))


@given(CONDITIONS, st.dictionaries(st.sampled_from([*NAMES]), ANYTHING))
def test_values_of_any_type_are_answered(text: str, values: dict[str, Any]) -> None:
    assert parse_expression(text).holds(values) in (True, False)


def test_what_is_not_known_is_different_from_every_value() -> None:
    for text, expected in [("bytes > 0", False), ("kind != 'text'", True), ("kind in ['text']", False)]:
        assert Expression.holds(parse_expression(text), {}) is expected
        assert parse_expression(text).holds({"bytes": True, "kind": 5}) is expected
