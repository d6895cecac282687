"""Test payloads of every kind in stated entropy classes, quickly made and the same for the same seed.

A class promises what compression makes of the encoded payload, from 64 KiB on: ``1.5:1`` and ``4:1`` within 15 % under
lz4 and under zstd, level 1. ``incompressible`` means that lz4 finds nothing; zstd, which also squeezes an uneven use of
byte values, still gains up to 22 % on text, because printable ASCII carries 6.5 bits a byte.

A payload is a random block repeated. Within a block, random stretches alternate with constant ones; their shares set
the ratio. A block is longer than the windows of both compressors, so that they cannot see the repetition.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import ENTROPIES, KINDS

__all__ = ["make_payload"]

BytesOrText = TypeVar("BytesOrText", bytes, str)

_BLOCK_BYTES = 8 * 2**20
_RATIOS: Mapping[str, float] = MappingProxyType({"incompressible": 1.0, "1.5:1": 1.5, "4:1": 4.0})
_PERIOD_BYTES = 1024  # one random and one constant stretch: long enough that their bookkeeping hardly counts
_PRINTABLE = np.frombuffer(bytes(sorted(set(range(32, 127)) - set(b'"\\'))), np.uint8)  # JSON writes these as they are
_BLOCK_ROWS = 2**17
_PERIOD_ROWS = 128
_WORD_BYTES = 16
_ROW_BYTES = 2 * 8 + 4 * 8 + 4 + 1 / 8 + 4 + _WORD_BYTES  # see _make_table; a word has an offset of four bytes
_LARGEST_TABLE_BYTES = 8 * 2**30  # beyond, the words outgrow 32-bit offsets
_TEXT_GAIN = 8 / math.log2(len(_PRINTABLE))  # what zstd gains on random printable text


def make_payload(kind: str, payload_bytes: int, entropy: str = "incompressible", seed: int = 0) -> Any:
    """A test payload.

    Args:
        kind: ``tensor`` (float32, one dimension, all finite), ``dataframe`` (an Arrow table of integers, floats,
            booleans and strings), ``binary`` (bytes) or ``text`` (printable ASCII).
        payload_bytes: its size, 0 or more: exact for binary and text, to 4 bytes for a tensor, to one row of
            72.125 bytes of columns for a data frame - within 1 % from 4 KiB on, within 4 % from 1 KiB on.
        entropy: ``incompressible``, ``1.5:1`` or ``4:1``.
        seed: payloads of different seeds have nothing in common.

    Returns:
        A NumPy array, an Arrow table, bytes or str.

    Raises:
        UnknownNameError: no such kind or entropy class.
        InputError: a negative size, or a data frame above 8 GiB.

    >>> make_payload("tensor", 4096).shape, len(make_payload("text", 1000, "4:1"))
    ((1024,), 1000)
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    if entropy not in ENTROPIES:
        raise UnknownNameError("entropy class", entropy, ENTROPIES)
    if payload_bytes < 0:
        raise InputError(f"payload_bytes == {payload_bytes}, must be 0 or more")
    if kind == "dataframe" and payload_bytes > _LARGEST_TABLE_BYTES:
        raise InputError(f"payload_bytes == {payload_bytes}, must be at most {_LARGEST_TABLE_BYTES} for a dataframe")
    generator = np.random.default_rng(seed)
    ratio = _RATIOS[entropy]
    if kind == "tensor":
        return _make_tensor(payload_bytes // 4, ratio, generator)
    if kind == "dataframe":
        return _make_table(round(payload_bytes / _ROW_BYTES), ratio, generator)
    block_bytes = min(payload_bytes, _BLOCK_BYTES)
    if kind == "binary":
        return _repeat_sequence(_make_block(generator, block_bytes, ratio).tobytes(), payload_bytes)
    return _repeat_sequence(_make_text_block(generator, block_bytes, ratio).tobytes().decode(), payload_bytes)


def _make_block(generator: np.random.Generator, block_bytes: int, ratio: float) -> NDArray[np.uint8]:
    block = np.frombuffer(generator.bytes(block_bytes), np.uint8).copy()
    block[~_random_stretches(block_bytes, _PERIOD_BYTES, ratio)] = 0
    return block


def _make_text_block(generator: np.random.Generator, block_bytes: int, ratio: float) -> NDArray[np.uint8]:
    block: NDArray[np.uint8] = _PRINTABLE[generator.integers(0, len(_PRINTABLE), block_bytes, np.uint8)]
    block[~_random_stretches(block_bytes, _PERIOD_BYTES, _between_compressors(ratio))] = ord(" ")
    return block


def _between_compressors(ratio: float) -> float:
    """The ratio without zstd's gain on text, such that lz4 stays as far below the class as zstd is above."""
    return max(ratio / math.sqrt(_TEXT_GAIN), 1.0) if ratio > 1 else 1.0


def _random_stretches(length: int, period: int, ratio: float) -> NDArray[np.bool_]:
    """Which positions are random: the first ``1 / ratio`` of each period."""
    return np.arange(length) % period < round(period / ratio)


def _repeat_sequence(block: BytesOrText, length: int) -> BytesOrText:
    whole, rest = divmod(length, max(len(block), 1))
    return block[:0].join([block] * whole + [block[:rest]])


def _repeat(block: NDArray[Any], length: int) -> NDArray[Any]:
    repeated = np.empty(length, block.dtype)
    for start in range(0, length, max(len(block), 1)):
        stop = min(start + len(block), length)
        repeated[start:stop] = block[: stop - start]
    return repeated


def _make_tensor(length: int, ratio: float, generator: np.random.Generator) -> NDArray[np.float32]:
    block = _make_block(generator, min(length * 4, _BLOCK_BYTES), ratio).view(np.float32)
    return _repeat(_make_finite(block), length)


def _make_table(rows: int, ratio: float, generator: np.random.Generator) -> pa.Table:
    block_rows = min(rows, _BLOCK_ROWS)
    is_random = _random_stretches(block_rows, _PERIOD_ROWS, _without_offsets(ratio))

    def make_column(dtype: str) -> NDArray[Any]:
        column = np.frombuffer(generator.bytes(block_rows * np.dtype(dtype).itemsize), dtype).copy()
        column[~is_random] = 0
        return _repeat(_make_finite(column) if column.dtype.kind == "f" else column, rows)

    columns: dict[str, Any] = {"id": make_column("i8"), "parent": make_column("i8")}
    columns |= {name: make_column("f8") for name in ("x", "y", "z", "weight")}
    columns |= {"count": make_column("i4"), "valid": make_column("i1") > 0}
    columns["name"] = _make_words(generator, rows, is_random)
    return pa.table(columns)


def _make_words(generator: np.random.Generator, rows: int, is_random: NDArray[np.bool_]) -> Any:
    words = _PRINTABLE[generator.integers(0, len(_PRINTABLE), (len(is_random), _WORD_BYTES), np.uint8)]
    words[~is_random] = ord(" ")
    letters = _repeat(words.reshape(-1), rows * _WORD_BYTES)
    offsets = _WORD_BYTES * np.arange(rows + 1, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(offsets.data), pa.py_buffer(letters.data)])


def _without_offsets(ratio: float) -> float:
    """The ratio that the values need, because lz4 leaves the offsets of the words as they are."""
    offsets = 4 / _ROW_BYTES
    return (1 - offsets) / (1 / ratio - offsets)


def _make_finite(values: NDArray[Any]) -> NDArray[Any]:
    """Random bits without infinities and NaN, so that all values compare, and can be written as JSON."""
    values[~np.isfinite(values)] = -1.5
    return values
