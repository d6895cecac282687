"""Bytes and text as they are."""

from __future__ import annotations

import array
import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import CodecError
from perfkit.transfer.codecs import get_codec

BINARY = get_codec("binary", "raw")
TEXT = get_codec("text", "raw")


@given(st.binary())
def test_any_bytes_come_back(payload: bytes) -> None:
    encoded = BINARY.encode(payload)
    assert BINARY.decode(encoded.meta, encoded.to_view()) == payload


@given(st.text())
def test_any_text_comes_back(payload: str) -> None:
    encoded = TEXT.encode(payload)
    assert TEXT.decode(encoded.meta, encoded.to_view()) == payload


def test_bytes_are_ready_without_a_copy() -> None:
    payload = bytearray(b"abc")
    body = BINARY.encode(payload).body
    assert body is not None
    assert np.shares_memory(np.frombuffer(body, np.uint8), np.frombuffer(payload, np.uint8))


@pytest.mark.parametrize(
    "payload", [array.array("i", [1, 2]), np.arange(3.0), np.zeros((0, 3)), memoryview(b"abcdef")[::2]]
)
def test_other_buffers_travel_as_their_bytes(payload: object) -> None:
    encoded = BINARY.encode(payload)
    assert bytes(encoded.to_view()) == memoryview(payload).tobytes()


@pytest.mark.parametrize("payload", [np.array([None]), np.zeros(1, [("x", "O")]), (ctypes.c_void_p * 1)(), "text", 5])
def test_references_and_things_without_bytes_are_refused(payload: object) -> None:
    with pytest.raises(CodecError, match="buffer"):
        BINARY.encode(payload)


def test_a_lone_surrogate_is_refused_with_its_place() -> None:
    with pytest.raises(CodecError, match=r"'\\ud800' at 2, .* as binary"):
        TEXT.encode("ab\ud800")


def test_bytes_that_are_no_text_are_refused_with_their_place() -> None:
    with pytest.raises(CodecError, match="not UTF-8 at byte 1"):
        TEXT.decode(TEXT.encode("abc").meta, memoryview(b"a\xffc"))
    with pytest.raises(CodecError, match="give a str"):
        TEXT.encode(b"abc")
