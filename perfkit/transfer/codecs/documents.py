"""MessagePack and JSON: for peers that read nothing else. Everything is copied, values are converted one by one.

Text carries a string or a document (dictionaries and lists; tuples become lists, JSON turns keys into strings). A
tensor travels as dtype, shape and data; a data frame as its columns and, for whoever reads Arrow, its exact schema.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from perfkit.errors import CodecError
from perfkit.transfer.codecs.codec import Codec, check_meta, make_prefix, ready
from perfkit.transfer.codecs.raw import byte_view
from perfkit.transfer.protocol import Encoded

__all__ = ["build_json", "build_msgpack"]

_TO_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double")
_JSON_TYPES = (*_NUMBERS, "bool", "string", "large_string", "string_view", "null")
_COLUMN_TYPES = {"json": _JSON_TYPES, "msgpack": (*_JSON_TYPES, "binary", "large_binary", "binary_view")}


def build_json(kind: str) -> Codec:
    """The JSON codec of a kind.

    >>> encoded = build_json("text").encode({"prompt": "hello", "tokens": [1, 2]})
    >>> bytes(encoded.body)
    b'{"prompt":"hello","tokens":[1,2]}'
    """
    return _build(kind, "json", _pack_json, _unpack_json)


def build_msgpack(kind: str) -> Codec:
    """The MessagePack codec of a kind.

    >>> bytes(build_msgpack("binary").encode(b"abc").body)
    b'\\xc4\\x03abc'
    """
    return _build(kind, "msgpack", _pack_msgpack, _unpack_msgpack)


def _build(kind: str, format: str, pack: Callable[[Any], bytes], unpack: Callable[[memoryview], Any]) -> Codec:
    prefix = make_prefix(kind, format)
    to_document, from_document = _conversions(kind, format)

    def encode(payload: Any) -> Encoded:
        return ready(prefix, pack(to_document(payload)))

    def decode(meta: bytes, body: memoryview) -> Any:
        check_meta(prefix, meta, body)
        return from_document(unpack(body))

    return Codec(kind, format, "none", encode, decode, into_block=False)


def _conversions(kind: str, format: str) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if kind == "tensor":
        to_list = format == "json"
        return functools.partial(_tensor_to_document, as_list=to_list), functools.partial(
            _document_to_tensor, as_list=to_list
        )
    if kind == "dataframe":
        return functools.partial(_frame_to_document, format=format), functools.partial(
            _document_to_frame, format=format
        )
    return (byte_view, _require_bytes) if kind == "binary" else (_require_document, _require_document)


def _pack_json(document: Any) -> bytes:
    try:
        return _TO_JSON.encode(document).encode()
    except (TypeError, ValueError, RecursionError) as error:  # a lone surrogate is a ValueError too
        raise CodecError(
            f"payload cannot be written as JSON ({error}); convert that value or use another format"
        ) from None


def _unpack_json(body: memoryview) -> Any:
    try:
        return json.loads(str(body, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise CodecError(f"body is no JSON ({error}); it was corrupted on the way") from None


def _pack_msgpack(document: Any) -> bytes:
    import msgpack

    try:
        packed: bytes = msgpack.packb(document)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(
            f"payload cannot be written as MessagePack ({error}); convert it or use another format"
        ) from None
    return packed


def _unpack_msgpack(body: memoryview) -> Any:
    import msgpack

    try:
        return msgpack.unpackb(body, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"body is no MessagePack ({error!r}); it was corrupted on the way") from None


def _require_document(document: Any) -> Any:
    if not isinstance(document, str | dict | list):
        raise CodecError(f"{type(document).__name__} is no text payload; give a str, or a document of dict and list")
    return document


def _require_bytes(document: Any) -> bytes:
    if not isinstance(document, bytes):
        raise CodecError(f"body holds a {type(document).__name__}, expected bytes; it was corrupted on the way")
    return document


def _tensor_to_document(payload: Any, *, as_list: bool) -> dict[str, Any]:
    from perfkit.transfer.codecs.arrays import describe_dtype, require_array

    array = require_array(payload)
    if as_list and array.dtype.kind not in "biuf":
        raise CodecError(f"JSON holds booleans, integers and floats, not {array.dtype}; use format 'numpy'")
    data: Any = array.reshape(-1).tolist() if as_list else array.tobytes()
    return {"dtype": describe_dtype(array.dtype), "shape": list(array.shape), "data": data}


def _document_to_tensor(document: Any, *, as_list: bool) -> Any:
    import numpy as np

    from perfkit.transfer.codecs.arrays import read_dtype, view_array

    try:
        dtype, data = read_dtype(str(document["dtype"])), document["data"]
        shape = tuple(int(length) for length in document["shape"])
        if min(shape, default=0) < 0:
            raise ValueError(f"shape {shape}")
        values = np.array(data, dtype).tobytes() if as_list else data
        return view_array(dtype, shape, memoryview(values))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"document is no tensor ({error!r}); it was corrupted on the way") from None


def _frame_to_document(payload: Any, *, format: str) -> dict[str, Any]:
    from perfkit.transfer.codecs.frames import to_table

    table, source = to_table(payload)
    _check_column_types(table.schema, format)
    schema = table.schema.serialize().to_pybytes()
    columns = [
        {"name": name, "values": column.to_pylist()}
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return {"source": source, "schema": schema if format == "msgpack" else schema.hex(), "columns": columns}


def _document_to_frame(document: Any, *, format: str) -> Any:
    import pyarrow as pa

    from perfkit.transfer.codecs.frames import from_table

    try:
        schema = document["schema"] if format == "msgpack" else bytes.fromhex(document["schema"])
        schema = pa.ipc.read_schema(pa.py_buffer(schema))
        _check_column_types(schema, format)
        columns = zip(document["columns"], schema.types, strict=True)
        arrays = [pa.array(column["values"], column_type) for column, column_type in columns]
        table = pa.Table.from_arrays(arrays, schema=schema)
        source = document["source"]
    except (KeyError, TypeError, ValueError, OverflowError, OSError, pa.ArrowException) as error:
        raise CodecError(f"document is no data frame ({error!r}); it was corrupted on the way") from None
    return from_table(table, source)


def _check_column_types(schema: Any, format: str) -> None:
    for name, column_type in zip(schema.names, schema.types, strict=True):
        if str(column_type) not in _COLUMN_TYPES[format]:
            allowed = ", ".join(_COLUMN_TYPES[format])
            raise CodecError(
                f"column {name!r} is {column_type}; {format} holds {allowed}; cast it or use format 'arrow'"
            )
