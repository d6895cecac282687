"""Pickle with its buffers beside the stream."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest

from perfkit.errors import CodecError
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.codecs.codec import make_prefix, start_meta

CODEC = get_codec("tensor", "pickle", allow_pickle=True)


@dataclasses.dataclass
class Sample:
    name: str
    values: np.ndarray


def test_any_object_comes_back() -> None:
    sample = Sample("a", np.arange(3.0))
    encoded = CODEC.encode({"samples": [sample, None]})
    got = CODEC.decode(encoded.meta, encoded.to_view())["samples"]
    assert (got[0].name, got[0].values.tolist(), got[1]) == ("a", [0.0, 1.0, 2.0], None)


def test_arrays_inside_are_aligned_read_only_views_of_the_body() -> None:
    arrays = [np.arange(5, dtype="u1"), np.arange(1000.0)]
    encoded = CODEC.encode(arrays)
    body = np.zeros(encoded.wire_bytes + 64, np.uint8)
    body = body[-body.ctypes.data % 64 :][: encoded.wire_bytes]
    encoded.write_into(body.data)
    for got, sent in zip(CODEC.decode(encoded.meta, body.data), arrays, strict=True):
        assert np.array_equal(got, sent)
        assert np.shares_memory(got, body)
        assert got.ctypes.data % 64 == 0
        assert not got.flags.writeable


def test_what_cannot_be_pickled_is_refused_with_the_reason() -> None:
    with pytest.raises(CodecError, match=r"function cannot be pickled: .*lambda"):
        CODEC.encode(lambda: None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 0),
        struct.pack("<Q", 2**63),
        struct.pack("<QQ", 1, 2**40),
        struct.pack("<QQQ", 2, 8, 2**64 - 1) + bytes(64),
        struct.pack("<QQ", 1, 4) + bytes(48) + b"junk",
    ],
)
def test_a_table_of_lengths_that_lies_is_refused(body: bytes) -> None:
    with pytest.raises(CodecError):
        CODEC.decode(start_meta(make_prefix("tensor", "pickle"), len(body)), memoryview(body))
