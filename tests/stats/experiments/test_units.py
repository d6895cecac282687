"""Labels become codes, whatever they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfkit.stats.experiments.units import code_labels

WORDS = np.array(["", "a", "bb", "session-1", "session-2", "é"])


@pytest.mark.parametrize("n", [50, 120_000])
@pytest.mark.parametrize("kind", ["numpy", "arrow", "large", "chunked", "dictionary", "object"])
def test_text_is_coded_and_empty_text_is_none(n: int, kind: str) -> None:
    words = WORDS[np.random.default_rng(1).integers(0, WORDS.size, n)]
    column: Any = words
    if kind == "object":
        column = words.astype(object)
    elif kind != "numpy":
        column = pa.array(words, pa.large_string() if kind == "large" else pa.string())
    if kind == "chunked":
        column = pa.chunked_array([column, column.slice(0, 0)])
    if kind == "dictionary":
        column = column.dictionary_encode()
    coded = code_labels(column)
    assert sorted(coded.names) == sorted(WORDS[1:])
    assert ((coded.codes == -1) == (words == "")).all()
    assert [coded.name(code) for code in coded.codes[:40] if code >= 0] == [one for one in words[:40] if one]


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint8, np.uint64, np.float64, bool])
def test_numbers_are_coded(kind: Any) -> None:
    values = np.array([0, 1, 1, 100, 120, 7]).astype(kind)
    coded = code_labels(values)
    assert coded.n_labels == np.unique(values).size
    assert [coded.name(code) for code in coded.codes] == [str(one) for one in values.tolist()]


def test_the_ends_of_a_narrow_type_do_not_overflow() -> None:
    coded = code_labels(np.array([-128, 127, 0], np.int8))
    assert [coded.name(code) for code in coded.codes] == ["-128", "127", "0"]
