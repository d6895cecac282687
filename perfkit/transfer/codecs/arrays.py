"""NumPy arrays as their own memory: a short description, and the bytes of the array.

Contiguous arrays (C or Fortran order) are ready: the body *is* the array. Other arrays are written straight into the
destination. The receiver gets a read-only array over the body, without a copy.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import re
import struct
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perfkit.errors import CodecError
from perfkit.transfer.codecs.codec import LENGTH_BYTES, PREFIX_BYTES, Codec, make_prefix, start_meta
from perfkit.transfer.protocol import Encoded

__all__ = ["build", "describe_dtype", "require_array", "view_array"]

Array = NDArray[Any]

_PREFIX = make_prefix("tensor", "numpy")
_SHAPE_AND_DTYPE = struct.Struct("<cBH")  # order, number of dimensions, length of the dtype's text
_PLAIN_DTYPE = re.compile(r"[<>|=][?bhiufcmMSUV]\d{1,18}(\[\d{0,9}[a-zA-Zμ]{1,7}\])?")
_BYTES = np.dtype(np.uint8)


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    body_bytes: int
    meta: bytes
    castable: bool  # memoryview.cast knows the item format, which is the fastest way to a view of bytes


def build(kind: str) -> Codec:
    """The NumPy codec of tensors.

    >>> codec = build("tensor")
    >>> encoded = codec.encode(np.eye(2, dtype="f4"))
    >>> codec.decode(encoded.meta, encoded.to_view())
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    return Codec(kind, "numpy", "none", _encode, _decode, into_block=False)


def require_array(payload: Any) -> Array:
    """The payload as a plain array, or `CodecError` when it is none or would lose something on the way."""
    if type(payload) is np.ndarray:
        return payload
    if not isinstance(payload, np.ndarray):
        raise CodecError(f"{type(payload).__name__} is no tensor payload; give a NumPy array, e.g. numpy.asarray(...)")
    if isinstance(payload, np.ma.MaskedArray):
        raise CodecError("a masked array would lose its mask; send filled() and the mask, or use format 'pickle'")
    return np.asarray(payload)


@functools.lru_cache(maxsize=512)
def describe_dtype(dtype: np.dtype[Any]) -> str:
    """The text that `read_dtype` turns back into the same dtype; raises `CodecError` for items that are references."""
    if dtype.hasobject:
        raise CodecError(
            f"dtype {dtype} holds references, not values; convert the array, "
            "or ask for format 'pickle' with allow_pickle=True on both sides"
        )
    if not dtype.itemsize:
        raise CodecError(f"dtype {dtype} has items of 0 bytes and carries nothing; give the items a length")
    try:
        descriptor = np.lib.format.dtype_to_descr(dtype) if dtype.names is not None else dtype.str
        text = descriptor if isinstance(descriptor, str) else repr(descriptor)
        if len(text.encode()) < 2**16 and read_dtype(text) == dtype:
            return text
    except ValueError:  # overlapping fields have no descriptor; the one answer for all of these is below
        pass
    raise CodecError(f"dtype {dtype} cannot be described in full; convert the array to standard NumPy types")


@functools.lru_cache(maxsize=512)
def read_dtype(text: str) -> np.dtype[Any]:
    """The dtype that `describe_dtype` described. Raises `CodecError` for anything else.

    >>> read_dtype("<M8[ns]"), read_dtype("[('x', '<f4'), ('y', '|b1', (2,))]").itemsize
    (dtype('<M8[ns]'), 6)
    """
    try:
        descriptor: Any = text if _PLAIN_DTYPE.fullmatch(text) else ast.literal_eval(text)
        _check_descriptor(descriptor)
        dtype: np.dtype[Any] = np.lib.format.descr_to_dtype(descriptor)
    except (ValueError, TypeError, SyntaxError, IndexError, MemoryError, RecursionError, OverflowError) as error:
        raise CodecError(f"dtype {text[:80]!r} cannot be read ({error}); the description was corrupted") from None
    if dtype.hasobject or not dtype.itemsize:
        raise CodecError(f"dtype {text[:80]!r} holds references or nothing; only plain values are decoded")
    return dtype


def _check_descriptor(descriptor: Any) -> None:
    """Only what `describe_dtype` writes: NumPy itself reads far more, some of it with warnings."""
    if isinstance(descriptor, str):
        if not _PLAIN_DTYPE.fullmatch(descriptor):
            raise ValueError(f"{descriptor[:40]!r} is no plain dtype")
    elif isinstance(descriptor, list):
        for field in descriptor:
            if not (isinstance(field, tuple) and len(field) in (2, 3)):
                raise TypeError("a field is not (name, dtype) or (name, dtype, shape)")
            _check_descriptor(field[1])
    elif isinstance(descriptor, tuple) and len(descriptor) == 2:
        _check_descriptor(descriptor[0])
    else:
        raise TypeError(f"unexpected {type(descriptor).__name__}")


@functools.lru_cache(maxsize=512)
def _layout(dtype: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"]) -> _Layout:
    text = describe_dtype(dtype).encode()
    body_bytes = dtype.itemsize * math.prod(shape)
    details = _SHAPE_AND_DTYPE.pack(order.encode(), len(shape), len(text)) + struct.pack(f"<{len(shape)}Q", *shape)
    castable = dtype.isnative and dtype.kind in "biuf" and dtype.char != "g" and body_bytes > 0
    return _Layout(dtype, shape, order, body_bytes, start_meta(_PREFIX, body_bytes) + details + text, castable)


@functools.lru_cache(maxsize=512)
def _read_layout(meta: bytes) -> _Layout:
    start = PREFIX_BYTES + LENGTH_BYTES
    try:
        order, dimensions, text_bytes = _SHAPE_AND_DTYPE.unpack_from(meta, start)
        start += _SHAPE_AND_DTYPE.size
        shape = struct.unpack_from(f"<{dimensions}Q", meta, start)
        text = meta[start + 8 * dimensions :].decode()
    except (struct.error, UnicodeDecodeError):
        raise CodecError(f"array description of {len(meta)} bytes is cut off or corrupted") from None
    dtype = read_dtype(text)
    body_bytes = dtype.itemsize * math.prod(shape)
    if order not in (b"C", b"F") or len(text.encode()) != text_bytes:
        raise CodecError(f"array description {meta[:32]!r} contradicts itself; it was corrupted on the way")
    if body_bytes >= 2**64 or not meta.startswith(start_meta(_PREFIX, body_bytes)):
        raise CodecError(
            f"array description is not one of a {dtype} array of shape {shape}; it was corrupted on the way"
        )
    return _Layout(dtype, shape, "C" if order == b"C" else "F", body_bytes, meta, castable=False)


def view_array(dtype: np.dtype[Any], shape: tuple[int, ...], body: memoryview, order: Literal["C", "F"] = "C") -> Array:
    """A read-only array over `body`; raises `CodecError` when the body has another length."""
    if body.nbytes != dtype.itemsize * math.prod(shape):
        raise CodecError(
            f"body has {body.nbytes} bytes, {dtype} of shape {shape} needs {dtype.itemsize * math.prod(shape)}; "
            "it was cut or mixed up on the way"
        )
    flat: Array = np.frombuffer(body.toreadonly(), dtype)  # unlike np.ndarray(buffer=...), it keeps the body exported
    if len(shape) == 1:
        return flat
    try:
        return flat.reshape(shape) if order == "C" else flat.reshape(shape[::-1]).T
    except (ValueError, OverflowError) as error:  # more dimensions, or larger ones, than NumPy has
        raise CodecError(f"shape {shape} is impossible ({error}); the description was corrupted") from None


def _encode(payload: Any) -> Encoded:
    array = require_array(payload)
    flags = array.flags
    if flags.c_contiguous:
        layout = _layout(array.dtype, array.shape, "C")
    elif flags.f_contiguous:
        layout = _layout(array.dtype, array.shape, "F")
        array = array.T
    else:
        layout = _layout(array.dtype, array.shape, "C")
        return Encoded(layout.meta, layout.body_bytes, None, functools.partial(_write_array, array))
    if layout.castable:
        return Encoded(layout.meta, layout.body_bytes, array.data.cast("B"))
    return Encoded(layout.meta, layout.body_bytes, array.reshape(-1).view(_BYTES).data)


def _write_array(array: Array, destination: memoryview) -> None:
    np.copyto(np.ndarray(array.shape, array.dtype, destination), array)


def _decode(meta: bytes, body: memoryview) -> Array:
    layout = _read_layout(meta)
    return view_array(layout.dtype, layout.shape, body, layout.order)
