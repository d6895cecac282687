"""MessagePack and JSON: what they hold, and what they refuse rather than change."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import CodecError
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.codecs.codec import make_prefix, start_meta

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
DOCUMENTS = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


@pytest.mark.parametrize("format_name", ["json", "msgpack"])
@given(document=DOCUMENTS.filter(lambda document: isinstance(document, str | list | dict)))
def test_any_document_comes_back(format_name: str, document: object) -> None:
    codec = get_codec("text", format_name)
    encoded = codec.encode(document)
    assert codec.decode(encoded.meta, encoded.to_view()) == document


def test_a_frame_is_json_that_others_can_read() -> None:
    encoded = get_codec("dataframe", "json").encode(pa.table({"a": [1, None], "b": ["x", "y"]}))
    assert json.loads(bytes(encoded.to_view()))["columns"] == [
        {"name": "a", "values": [1, None]},
        {"name": "b", "values": ["x", "y"]},
    ]


def test_the_index_of_a_pandas_frame_survives() -> None:
    frame = pd.DataFrame({"a": [1.5]}, index=pd.Index(["row"], name="key"))
    for format_name in ("json", "msgpack"):
        encoded = get_codec("dataframe", format_name).encode(frame)
        pd.testing.assert_frame_equal(
            get_codec("dataframe", format_name).decode(encoded.meta, encoded.to_view()), frame
        )


@pytest.mark.parametrize(
    ("kind", "format_name", "payload", "message"),
    [
        ("text", "json", {"a": float("nan")}, "not JSON compliant"),
        ("text", "json", ["\ud800"], "surrogates"),
        ("text", "json", {"a": {1}}, "set"),
        ("text", "json", b"abc", "bytes is no text payload"),
        ("text", "msgpack", {"a": {1}}, "set"),
        ("text", "msgpack", [2**64], "out of range"),
        ("text", "msgpack", 5, "int is no text payload"),
        ("binary", "msgpack", "text", "str is no binary payload"),
        ("tensor", "json", np.array([np.inf]), "not JSON compliant"),
        ("tensor", "json", np.array([1j]), "not complex128; use format 'numpy'"),
        ("tensor", "msgpack", np.array([None]), "references"),
        ("dataframe", "json", pa.table({"a": [b"x"]}), "column 'a' is binary; json holds .* use format 'arrow'"),
        ("dataframe", "msgpack", pa.table({"a": [[1]]}), "column 'a' is list"),
        ("dataframe", "json", pa.table({"a": [float("nan")]}), "not JSON compliant"),
    ],
)
def test_what_the_format_would_change_is_refused(kind: str, format_name: str, payload: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        get_codec(kind, format_name).encode(payload)


@pytest.mark.parametrize("format_name", ["json", "msgpack"])
def test_nesting_beyond_the_interpreter_is_refused_both_ways(format_name: str) -> None:
    codec = get_codec("text", format_name)
    document: list[object] = []
    for _ in range(5000):
        document = [document]
    with pytest.raises(CodecError):
        codec.encode(document)
    body = b"[" * 100_000 if format_name == "json" else b"\x91" * 100_000
    with pytest.raises(CodecError):
        codec.decode(start_meta(make_prefix("text", format_name), len(body)), memoryview(body))


@pytest.mark.parametrize("kind", ["tensor", "dataframe", "binary"])
def test_a_document_of_another_shape_is_refused(kind: str) -> None:
    for format_name in ("msgpack", "json") if kind != "binary" else ("msgpack",):
        other = get_codec("text", format_name)
        for document in ({}, [], "text", {"dtype": "<f4", "shape": [-1], "data": []}, {"schema": "00", "columns": 5}):
            body = other.encode(document).to_view()
            with pytest.raises(CodecError):
                get_codec(kind, format_name).decode(start_meta(make_prefix(kind, format_name), len(body)), body)
