"""Arrow IPC for data frames and tensors: written straight into the destination, read without a copy.

A body is structurally checked when it is read. Its *values* are not, because that would read every byte: a table from a
peer that is not trusted needs `table.validate(full=True)` before it is used. Frames that become pandas or polars frames
are checked in full.
"""

from __future__ import annotations

import functools
from typing import Any

import pyarrow as pa
from pyarrow import ipc

from perfkit.errors import CodecError
from perfkit.transfer.codecs.arrays import Array, require_array
from perfkit.transfer.codecs.codec import Codec, check_meta, make_prefix, start_meta
from perfkit.transfer.codecs.frames import SOURCES, from_table, to_table
from perfkit.transfer.protocol import Encoded

__all__ = ["build"]

_FRAME = make_prefix("dataframe", "arrow")
_TENSOR = make_prefix("tensor", "arrow")


def build(kind: str) -> Codec:
    """The Arrow codec of a kind.

    >>> codec = build("dataframe")
    >>> encoded = codec.encode(pa.table({"a": [1, 2]}))
    >>> codec.decode(encoded.meta, encoded.to_view()).to_pydict()
    {'a': [1, 2]}
    """
    if kind == "dataframe":
        return Codec("dataframe", "arrow", "none", _encode_frame, _decode_frame, into_block=True)
    return Codec("tensor", "arrow", "none", _encode_tensor, _decode_tensor, into_block=True)


def _encode_frame(payload: Any) -> Encoded:
    table, source = to_table(payload)
    size = pa.MockOutputStream()  # counts what the writer would write, and copies nothing
    _write_stream(table, size)
    meta = start_meta(_FRAME, size.size()) + bytes((SOURCES.index(source),))
    return Encoded(meta, size.size(), None, functools.partial(_write_frame, table))


def _write_stream(table: pa.Table, sink: pa.NativeFile) -> None:
    try:
        with ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    except pa.ArrowException as error:
        raise CodecError(f"table cannot be written as Arrow IPC ({error}); cast that column to another type") from None


def _write_frame(table: pa.Table, destination: memoryview) -> None:
    with pa.FixedSizeBufferWriter(pa.py_buffer(destination)) as sink:
        _write_stream(table, sink)


def _decode_frame(meta: bytes, body: memoryview) -> Any:
    details = check_meta(_FRAME, meta, body)
    if len(details) != 1 or details[0] >= len(SOURCES):
        raise CodecError(f"table description ends in {details[:16]!r}, expected one byte; it was corrupted on the way")
    try:
        table = ipc.open_stream(pa.py_buffer(body.toreadonly())).read_all()
        table.validate()
        table.column_names  # noqa: B018 - decodes them, so that a corrupted name is found here
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise CodecError(f"body is no Arrow stream ({error}); it was corrupted on the way") from None
    return from_table(table, SOURCES[details[0]])


def _encode_tensor(payload: Any) -> Encoded:
    array = require_array(payload)
    if array.dtype.kind not in "iuf" or not array.dtype.isnative or array.dtype.char == "g":
        raise CodecError(f"Arrow tensors hold native integers and floats, not {array.dtype}; use format 'numpy'")
    if min(array.strides, default=0) < 0:  # the one layout that Arrow has no words for
        array = array.copy()
    tensor = pa.Tensor.from_numpy(array)
    body_bytes = ipc.get_tensor_size(tensor)
    return Encoded(start_meta(_TENSOR, body_bytes), body_bytes, None, functools.partial(_write_tensor, tensor))


def _write_tensor(tensor: pa.Tensor, destination: memoryview) -> None:
    with pa.FixedSizeBufferWriter(pa.py_buffer(destination)) as sink:
        ipc.write_tensor(tensor, sink)


def _decode_tensor(meta: bytes, body: memoryview) -> Array:
    check_meta(_TENSOR, meta, body)
    try:
        array: Array = ipc.read_tensor(pa.BufferReader(pa.py_buffer(body.toreadonly()))).to_numpy()
        array.flags.writeable = False  # an empty one would be writable
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        raise CodecError(f"body is no Arrow tensor ({error}); it was corrupted on the way") from None
    return array
