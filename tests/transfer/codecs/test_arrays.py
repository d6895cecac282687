"""NumPy arrays: every dtype and layout of plain values, nothing that holds references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from perfkit.errors import CodecError
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.codecs.arrays import describe_dtype, read_dtype

CODEC = get_codec("tensor", "numpy")
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
SCALARS = npst.scalar_dtypes()
DTYPES = SCALARS | npst.array_dtypes(SCALARS, max_size=3, allow_subarrays=True)


def round_trip(array: np.ndarray) -> np.ndarray:
    encoded = CODEC.encode(array)
    return CODEC.decode(encoded.meta, encoded.to_view())


@given(npst.arrays(DTYPES, SHAPES))
def test_any_array_comes_back_bit_by_bit(array: np.ndarray) -> None:
    got = round_trip(array)
    assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(npst.arrays(SCALARS, npst.array_shapes(max_dims=3, max_side=5)), st.data())
def test_any_slice_comes_back_bit_by_bit(array: np.ndarray, data: st.DataObject) -> None:
    view = np.asarray(array[data.draw(npst.basic_indices(array.shape, allow_newaxis=True))])
    got = round_trip(view)
    assert (got.dtype, got.shape, got.tobytes()) == (view.dtype, view.shape, view.tobytes())


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">f4"),
        np.array(["2020"], "M8[ns]"),
        np.zeros(2, [("x", "f4")]),
        np.array(1.5),
    ],
)
def test_contiguous_arrays_are_ready_without_a_copy(array: np.ndarray) -> None:
    body = CODEC.encode(array).body
    assert body is not None
    assert np.shares_memory(np.frombuffer(body, np.uint8), array)


def test_the_memory_order_survives() -> None:
    got = round_trip(np.asfortranarray(np.arange(6).reshape(2, 3)))
    assert got.flags.f_contiguous
    assert not got.flags.c_contiguous


def test_a_layout_with_holes_is_written_into_the_destination() -> None:
    encoded = CODEC.encode(np.arange(10, dtype="u1")[::2])
    destination = bytearray(5)
    assert encoded.write_into is not None
    encoded.write_into(memoryview(destination))
    assert destination == bytes([0, 2, 4, 6, 8])


def test_the_view_keeps_the_body_alive() -> None:
    body = bytearray(CODEC.encode(np.arange(4)).to_view())
    view = CODEC.decode(CODEC.encode(np.arange(4)).meta, memoryview(body))
    with pytest.raises(BufferError):
        body.append(0)
    del view
    body.append(0)


@pytest.mark.parametrize(
    "array",
    [
        np.array([None]),
        np.zeros(2, [("x", "O")]),
        np.array(["x"], np.dtypes.StringDType()),
        np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [0, 2]})),
        np.ndarray((3,), "S0"),
        np.ma.array([1], mask=[True]),
        [1, 2],
        np.float32(1),
    ],
)
def test_what_would_lose_something_is_refused_with_a_way_out(array: object) -> None:
    with pytest.raises(CodecError, match=r"pickle|convert|length|asarray"):
        CODEC.encode(array)


@pytest.mark.parametrize(
    "text",
    [
        "O",
        "|O",
        "f4,f4",
        "__import__('os')",
        "[('x', '|O')]",
        "[('x', 'a5')]",
        "[('x',)]",
        "(" * 5000,
        "<f3",
        "|V0",
        "[]",
    ],
)
def test_a_dtype_is_read_only_from_what_a_dtype_writes(text: str) -> None:
    with pytest.raises(CodecError):
        read_dtype(text)


def test_a_description_of_a_huge_array_allocates_nothing() -> None:
    meta = CODEC.encode(np.zeros(2)).meta
    for length in (2**62, 2**63, 2**64 - 1):
        forged = meta.replace((2).to_bytes(8, "little"), length.to_bytes(8, "little"))
        with pytest.raises(CodecError):
            CODEC.decode(forged, memoryview(bytes(16)))
    zero_by_huge = CODEC.encode(np.zeros((0, 2))).meta.replace((2).to_bytes(8, "little"), (2**63).to_bytes(8, "little"))
    with pytest.raises(CodecError, match="impossible"):
        CODEC.decode(zero_by_huge, memoryview(b""))


def test_lengths_have_sixty_four_bits() -> None:
    array = np.broadcast_to(np.zeros((), "u1"), (3 * 2**31,))
    encoded = CODEC.encode(array)
    assert encoded.wire_bytes == 3 * 2**31
    assert (3 * 2**31).to_bytes(8, "little") in encoded.meta


def test_descriptions_are_readable_text() -> None:
    assert describe_dtype(np.dtype("f4")) == "<f4"
    assert describe_dtype(np.dtype([("x", ">i2", (2,))])) == "[('x', '>i2', (2,))]"
