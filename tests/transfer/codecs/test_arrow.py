"""Frames and tensors in Arrow IPC: types, chunks, and what becomes of pandas and polars frames."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import CodecError
from perfkit.transfer.codecs import get_codec

CODEC = get_codec("dataframe", "arrow")
COLUMNS = {
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(),
    pa.large_binary(): st.binary(),
    pa.list_(pa.int8()): st.lists(st.integers(-128, 127), max_size=3),
    pa.struct([("a", pa.string()), ("b", pa.float32())]): st.fixed_dictionaries({"a": st.text(), "b": st.none()}),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from("abc"),
    pa.null(): st.none(),
}


def round_trip(payload: object) -> object:
    encoded = CODEC.encode(payload)
    return CODEC.decode(encoded.meta, encoded.to_view())


@given(st.data(), st.integers(0, 20), st.lists(st.sampled_from(list(COLUMNS)), max_size=4))
def test_any_table_comes_back_however_it_is_cut(data: st.DataObject, rows: int, types: list[pa.DataType]) -> None:
    columns = [pa.array(data.draw(st.lists(st.none() | COLUMNS[t], min_size=rows, max_size=rows)), t) for t in types]
    table = pa.Table.from_arrays(columns, [f"column {index % 3}" for index in range(len(columns))])
    start, length = data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows))
    table = pa.concat_tables([table, table.slice(start, length)])
    got = round_trip(table)
    got.validate(full=True)
    assert got.equals(table, check_metadata=True)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": pd.Categorical(["x", "y"])}, index=pd.MultiIndex.from_tuples([(1, 2), (3, 4)])),
        pd.DataFrame({"t": pd.to_datetime(["2020-01-01", None]), "b": [None, "x"]}),
        pl.DataFrame(),
        pl.DataFrame({"a": [[1], None], "b": pl.Series(["u", "v"], dtype=pl.Categorical)}),
    ],
)
def test_a_frame_comes_back_as_what_it_was(frame: pd.DataFrame | pl.DataFrame) -> None:
    got = round_trip(frame)
    assert type(got) is type(frame)
    assert got.equals(frame)


def test_polars_columns_are_views_of_the_body() -> None:
    encoded = CODEC.encode(pl.DataFrame({"a": np.arange(1000)}))
    body = memoryview(bytearray(encoded.to_view()))
    got = CODEC.decode(encoded.meta, body)["a"].to_numpy(allow_copy=False)
    assert np.shares_memory(got, np.frombuffer(body, np.uint8))
    assert not got.flags.writeable


@pytest.mark.parametrize(
    ("module", "frame"), [("pandas", pd.DataFrame({"a": [1]})), ("polars", pl.DataFrame({"a": [1]}))]
)
def test_without_its_library_a_frame_arrives_as_a_table(
    module: str, frame: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = CODEC.encode(frame)
    monkeypatch.setitem(sys.modules, module, None)
    got = CODEC.decode(encoded.meta, encoded.to_view())
    assert isinstance(got, pa.Table)
    assert got.to_pydict() == {"a": [1]}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (pd.DataFrame({"a": [1, "x"]}), "convert that column"),
        (pd.DataFrame({"a": [1], 5: [2]}), "rename them"),
        (pl.DataFrame({"a": [object()]}), "references"),
        (pl.LazyFrame({"a": [1]}), "LazyFrame is no dataframe payload"),
        (pd.Series([1]), "Series is no dataframe payload"),
        ({"a": [1]}, "dict is no dataframe payload"),
    ],
)
def test_what_is_no_frame_is_refused(payload: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        CODEC.encode(payload)


def test_notes_for_pandas_that_do_not_fit_are_refused() -> None:
    encoded = CODEC.encode(pd.DataFrame({"a": [1]}))
    forged = bytes(encoded.to_view()).replace(b'"index_columns"', b'"index_column!"')
    with pytest.raises(CodecError, match="cannot become a pandas frame"):
        CODEC.decode(encoded.meta, memoryview(forged))


def test_values_that_polars_would_trip_over_are_refused() -> None:
    encoded = CODEC.encode(pl.DataFrame({"a": ["grüß"]}))
    forged = bytes(encoded.to_view()).replace("grüß".encode(), b"gr\xff\xff\xff\xff")
    with pytest.raises(CodecError, match="cannot become a polars frame"):
        CODEC.decode(encoded.meta, memoryview(forged))


@pytest.mark.parametrize("dtype", ["?", "c8", "M8[s]", ">f4", "U3"])
def test_tensors_that_arrow_cannot_hold_are_refused(dtype: str) -> None:
    with pytest.raises(CodecError, match="use format 'numpy'"):
        get_codec("tensor", "arrow").encode(np.zeros(3, dtype))
