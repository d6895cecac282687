"""Where keys and values of a TOML file stand."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.places import find_places, line_and_column, offset_in_text

TEXT = '''\
top = 1  # a comment = 2
"quoted key".'literal' = "a # b"
[pools.ml]
goal = "memory" # [not.a.header]
weights = { latency = 1, cpu = [1, 2] }
lists = [
  "one", # ]
  """two
]""",
  { use = 'x', deep = { er = 1979-05-27 07:32:00 } },
]
[[pools.ml.rules]]
when = "one"
[[pools.ml.rules]]
  when = 'two'
[pools.ml.rules.sub]
a.b = """x"""""
[[pools.ml.rules]]
when = """
three"""
'''


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("top", (1, 1), (1, 7)),
        ("quoted key", (2, 1), None),
        ("quoted key.literal", (2, 1), (2, 26)),
        ("pools", (3, 1), None),
        ("pools.ml", (3, 1), None),
        ("pools.ml.goal", (4, 1), (4, 8)),
        ("pools.ml.weights.cpu", (5, 26), (5, 32)),
        ("pools.ml.weights.cpu[2]", (5, 36), (5, 36)),
        ("pools.ml.lists[2]", (8, 3), (8, 3)),
        ("pools.ml.lists[3].use", (10, 5), (10, 11)),
        ("pools.ml.lists[3].deep.er", (10, 25), (10, 30)),
        ("pools.ml.rules", (12, 1), None),
        ("pools.ml.rules[1]", (12, 1), None),
        ("pools.ml.rules[1].when", (13, 1), (13, 8)),
        ("pools.ml.rules[2].when", (15, 3), (15, 10)),
        ("pools.ml.rules[2].sub.a.b", (17, 1), (17, 7)),
        ("pools.ml.rules[3].when", (19, 1), (19, 8)),
        ("pools.ml.rules.when", (13, 1), (13, 8)),
    ],
)
def test_every_key_and_value_is_found(name: str, key: tuple[int, int], value: tuple[int, int] | None) -> None:
    place = find_places(TEXT)[name]
    assert line_and_column(TEXT, place.key) == key
    assert (None if place.value is None else line_and_column(TEXT, place.value)) == value


@pytest.mark.parametrize(
    ("value", "character", "expected"),
    [
        ('"abc"', 2, "c"),
        ("'a\\bc'", 3, "c"),
        (r'"a\tb\u00e9c\\d"', 4, "c"),
        (r'"a\tb\u00e9c\\d"', 6, "d"),
        ('"""\nabc"""', 1, "b"),
        ('"""a\\\n   bc"""', 1, "b"),
        ("'''\na\nc'''", 2, "c"),
        ("'abc'", 3, "'"),
        ("''", 5, ""),
    ],
)
def test_a_character_of_a_quoted_value_is_found(value: str, character: int, expected: str) -> None:
    offset = offset_in_text(f"key = {value}", 6, character)
    assert f"key = {value}"[offset : offset + 1] == expected


def leaves(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(f"{name}.{key}".lstrip("."), inner)
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value, start=1):
            yield from leaves(f"{name}[{number}]", inner)
    else:
        yield name


def test_the_names_are_those_that_toml_has() -> None:
    names = set(leaves("", tomllib.loads(TEXT)))
    assert names <= set(find_places(TEXT))
    assert len(names) == 14


@given(st.one_of(st.text(), st.text(alphabet="ab.[]{}=\"',#\\\n 1")))
def test_any_text_is_gone_through(text: str) -> None:
    places = find_places(text)
    for place in places.values():
        assert 0 <= place.key <= len(text)
        assert 0 <= offset_in_text(text, place.value or 0, 5) <= len(text)


def test_before_a_mistake_everything_is_found() -> None:
    whole = find_places(TEXT)
    for end in (match.end() for match in re.finditer(r"\n(?=\[)", TEXT)):
        before = {name: place for name, place in whole.items() if place.key < end}
        assert find_places(TEXT[:end] + "= mistake\n" + TEXT[end:]) == before
