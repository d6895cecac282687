"""How codecs are found, and what is said when there is none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from perfkit.errors import CodecError, UnknownNameError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS
from perfkit.transfer.codecs import FORMATS_OF_KIND, decode, detect, get_codec, supported


def test_supported_covers_every_kind_format_and_compression() -> None:
    assert {kind for kind, _, _ in supported()} == set(KINDS)
    assert {format_name for _, format_name, _ in supported()} == set(FORMATS)
    assert {compression for _, _, compression in supported()} == set(COMPRESSIONS)
    assert len(supported()) == len(set(supported()))


def test_a_codec_says_what_it_is_and_is_made_once() -> None:
    for kind, format_name, compression in supported():
        codec = get_codec(kind, format_name, compression, allow_pickle=True)
        assert (codec.kind, codec.format, codec.compression) == (kind, format_name, compression)
        assert codec is get_codec(kind, format_name, compression, allow_pickle=True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tensr", "numpy"), r"unknown kind 'tensr'; allowed: tensor, dataframe, binary, text\. Did you mean 'tensor'"),
        (("binary", "numpy"), r"unknown format of kind 'binary' 'numpy'; allowed: raw, msgpack, pickle"),
        (("text", "raw", "gzip"), r"unknown compression 'gzip'; allowed: none, lz4, zstd"),
    ],
)
def test_unknown_names_are_refused_with_those_that_exist(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        get_codec(*names)


@pytest.mark.parametrize("kind", KINDS)
def test_pickle_is_off_unless_both_sides_ask_for_it(kind: str) -> None:
    with pytest.raises(CodecError, match="allow_pickle=True on both sides"):
        get_codec(kind, "pickle", "zstd")
    encoded = get_codec(kind, "pickle", allow_pickle=True).encode("payload")
    with pytest.raises(CodecError, match="allow_pickle=True on both sides"):
        decode(encoded.meta, encoded.to_view())
    assert decode(encoded.meta, encoded.to_view(), allow_pickle=True) == "payload"


@pytest.mark.parametrize(
    ("payload", "names"),
    [
        (np.zeros(3), ("tensor", "numpy")),
        (pa.table({"a": [1]}), ("dataframe", "arrow")),
        (pa.record_batch({"a": [1]}), ("dataframe", "arrow")),
        (pd.DataFrame({"a": [1]}), ("dataframe", "arrow")),
        (pl.DataFrame({"a": [1]}), ("dataframe", "arrow")),
        (b"a", ("binary", "raw")),
        (bytearray(b"a"), ("binary", "raw")),
        ("a", ("text", "raw")),
        ([1], ("text", "json")),
    ],
)
def test_the_natural_format_carries_the_payload(payload: object, names: tuple[str, str]) -> None:
    assert detect(payload) == names
    assert names[1] in FORMATS_OF_KIND[names[0]]
    assert get_codec(*names).encode(payload).wire_bytes > 0


def test_a_payload_without_a_natural_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(CodecError, match=r"object has no natural format.*allow_pickle=True"):
        detect(object())


@pytest.mark.parametrize("meta", [b"", b"\x09\x25\x00", b"\x01\xf5\x00", b"\x01\x25\x07", b"\x01\x20\x00" + bytes(8)])
def test_a_description_that_names_no_codec_is_refused(meta: bytes) -> None:
    with pytest.raises(CodecError):
        decode(meta, memoryview(b""))


def test_bytes_and_text_load_no_library_of_another_format() -> None:
    program = """
import sys
from perfkit.transfer.codecs import detect, get_codec
for payload in (b"bytes", "text", {"a": 1}):
    codec = get_codec(*detect(payload))
    encoded = codec.encode(payload)
    assert codec.decode(encoded.meta, encoded.to_view()) == payload
print(sorted({"pyarrow", "pandas", "polars", "lz4", "zstandard", "msgpack"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_arrays_and_tables_load_neither_pandas_nor_polars() -> None:
    program = """
import sys
import numpy, pyarrow
from perfkit.transfer.codecs import detect, get_codec
column = pyarrow.Array.from_buffers(pyarrow.int64(), 1, [None, pyarrow.py_buffer(bytes(8))])  # from a list loads pandas
for payload in (numpy.zeros(3), pyarrow.Table.from_arrays([column], ["a"])):
    codec = get_codec(*detect(payload), "zstd")
    encoded = codec.encode(payload)
    codec.decode(encoded.meta, encoded.to_view())
print(sorted({"pandas", "polars"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
