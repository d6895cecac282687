"""Payloads that are born in shared memory: written once, where the receiver reads them."""

from __future__ import annotations

import functools
import math
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from perfkit.errors import CodecError, InputError
from perfkit.transfer.arena import Arena, Block
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.protocol import Encoded

if TYPE_CHECKING:
    import pyarrow

__all__ = ["BlockArray", "BlockTable", "empty", "table"]


class _Home:
    """The block that a payload was born in; the lease ends with the last view of it."""

    __slots__ = ("__weakref__", "arena", "block")

    def __init__(self, arena: Arena, block: Block) -> None:
        self.arena, self.block = arena, block

    def hold(self, view: memoryview) -> memoryview:
        """The same memory, seen through an anchor that ends the lease with its last view."""
        anchor = np.frombuffer(view, np.uint8)
        weakref.finalize(anchor, self.arena.release, self.block).atexit = False
        return anchor.data


class BlockArray(np.ndarray[Any, np.dtype[Any]]):
    """An array in a block of a channel's arena; made by `Channel.empty`. Its views are such arrays, too.

    Sending it copies nothing. Write it before it is sent: the receiver reads the same memory.
    """

    home: _Home | None

    def __array_finalize__(self, parent: Any) -> None:
        self.home = getattr(parent, "home", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """The result of arithmetic lies in ordinary memory, so it is an ordinary array."""
        plain = np.asarray(array)
        return plain[()] if return_scalar else plain

    def __reduce__(self) -> Any:
        """Pickled, it is an ordinary array."""
        return np.asarray(self).copy().__reduce__()


class BlockTable:
    """A table whose columns lie in a block of a channel's arena; made by `Channel.table`.

    ``table["x"]`` is the column as a writable array. Sending it copies nothing; the receiver gets an Arrow table.
    """

    __slots__ = ("_columns", "_meta", "_stream", "home", "num_rows", "schema")

    def __init__(
        self, schema: pyarrow.Schema, rows: int, columns: dict[str, Any], meta: bytes, stream: memoryview, home: _Home
    ) -> None:
        self.schema, self.num_rows, self.home = schema, rows, home
        self._columns, self._meta, self._stream = columns, meta, stream

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        return sum(column.nbytes for column in self._columns.values())

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __setitem__(self, name: str, values: Any) -> None:
        self._columns[name][:] = values

    def encoded(self) -> Encoded:
        """The table as it lies in the block."""
        return Encoded(self._meta, self._stream.nbytes, self._stream)

    def to_arrow(self) -> pyarrow.Table:
        """The table, over the same memory."""
        import pyarrow as pa

        table: pyarrow.Table = pa.ipc.open_stream(pa.py_buffer(self._stream)).read_all()
        return table

    def __repr__(self) -> str:
        return f"BlockTable({self.num_rows} rows of {', '.join(self._columns)})"


def block_of(payload: Any, arena: Arena) -> Block | None:
    """The block of `arena` that a payload lies in, as one piece; None for one that has to be copied."""
    home: _Home | None = payload.home
    if home is None or home.arena is not arena:  # of another channel, or of the process that this one was forked from
        return None
    if isinstance(payload, BlockArray) and not (payload.flags.c_contiguous or payload.flags.f_contiguous):
        return None
    return home.block


def empty(arena: Arena, shape: int | tuple[int, ...], dtype: Any, wait_s: float) -> BlockArray:
    """An array in a block; its values are whatever was there before. See `Channel.empty`."""
    item = np.dtype(dtype)
    if item.hasobject:
        raise CodecError(f"dtype {item} holds references, which cannot be shared with another process")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(size < 0 for size in sizes):
        raise InputError(f"shape == {shape}, must not be negative")
    home, view = _lease(arena, max(item.itemsize * math.prod(sizes), 1), wait_s)
    array = np.frombuffer(view, np.uint8)[: item.itemsize * math.prod(sizes)].view(item).reshape(sizes)
    born: BlockArray = array.view(BlockArray)
    born.home = home
    return born


def table(arena: Arena, schema: pyarrow.Schema, rows: int, wait_s: float) -> BlockTable:
    """A table of zeros in a block. See `Channel.table`."""
    import pyarrow as pa

    if rows < 0:
        raise InputError(f"rows == {rows}, must be 0 or more")
    for field in schema:
        _check_column(field)
    zeros = [pa.Array.from_buffers(f.type, rows, [None, _zeros(rows * f.type.bit_width // 8)]) for f in schema]
    encoded = get_codec("dataframe", "arrow").encode(pa.Table.from_arrays(zeros, schema=schema))
    home, view = _lease(arena, encoded.wire_bytes, wait_s)
    stream = view[: encoded.wire_bytes]
    encoded.write_to(stream)
    batch = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
    columns = {
        field.name: _writable(stream, batch.column(index), rows, field.type.to_pandas_dtype())
        for index, field in enumerate(schema)
    }
    return BlockTable(schema, rows, columns, encoded.meta, stream, home)


def _lease(arena: Arena, size_bytes: int, wait_s: float) -> tuple[_Home, memoryview]:
    block = arena.lease(size_bytes, wait_s=wait_s)
    home = _Home(arena, block)
    return home, home.hold(block.view)


@functools.lru_cache(maxsize=4)
def _zeros(length: int) -> Any:
    import pyarrow as pa

    return pa.py_buffer(np.zeros(length, np.uint8))


def _check_column(field: Any) -> None:
    import pyarrow as pa

    kind = field.type
    is_number = pa.types.is_integer(kind) or (pa.types.is_floating(kind) and kind.bit_width >= 16)
    if not is_number:
        raise InputError(
            f"column {field.name!r} has type {kind}; tables born in shared memory have columns of whole numbers and "
            "floats: send an Arrow table for others"
        )


def _writable(stream: memoryview, column: Any, rows: int, dtype: Any) -> Any:
    """A column's values as a writable array in the block: where the reader of the stream found them."""
    if not rows:
        return np.empty(0, dtype)
    values = column.chunk(0).buffers()[1]
    begin = np.frombuffer(stream, np.uint8).__array_interface__["data"][0]
    return np.frombuffer(stream, dtype, rows, values.address - begin)
