"""Which codecs there are, and how to get one. Formats load their libraries when they are first asked for."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from perfkit.errors import CodecError, UnknownNameError
from perfkit.schema import COMPRESSIONS, KINDS
from perfkit.transfer.codecs.codec import PREFIX_BYTES, Codec, read_prefix

__all__ = ["FORMATS_OF_KIND", "decode", "detect", "get_codec", "supported"]

FORMATS_OF_KIND: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tensor": ("numpy", "arrow", "msgpack", "json", "pickle"),
        "dataframe": ("arrow", "msgpack", "json", "pickle"),
        "binary": ("raw", "msgpack", "pickle"),
        "text": ("raw", "msgpack", "json", "pickle"),
    }
)
"""The formats of each kind, the natural one first."""

_BUILDERS = {
    "numpy": ("arrays", "build"),
    "arrow": ("arrow", "build"),
    "msgpack": ("documents", "build_msgpack"),
    "json": ("documents", "build_json"),
    "pickle": ("pickled", "build"),
    "raw": ("raw", "build"),
}


@functools.cache
def get_codec(kind: str, format: str, compression: str = "none", *, allow_pickle: bool = False) -> Codec:
    """The codec of a kind in a format with a compression.

    Args:
        kind: tensor, dataframe, binary or text.
        format: one of `FORMATS_OF_KIND[kind]`.
        compression: none, lz4 or zstd; applied to the whole body.
        allow_pickle: `pickle` runs code that the other side chose; both sides have to ask for it.

    Returns:
        The codec; the same object every time.

    Raises:
        UnknownNameError: no such kind, no such format of that kind, no such compression.
        CodecError: `pickle` without `allow_pickle`.

    >>> codec = get_codec("text", "raw", "zstd")
    >>> encoded = codec.encode("perfkit " * 100)
    >>> encoded.wire_bytes < 100, codec.decode(encoded.meta, encoded.to_view())[:7]
    (True, 'perfkit')
    """
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    if format not in FORMATS_OF_KIND[kind]:
        raise UnknownNameError(f"format of kind {kind!r}", format, FORMATS_OF_KIND[kind])
    if compression not in COMPRESSIONS:
        raise UnknownNameError("compression", compression, COMPRESSIONS)
    if format == "pickle" and not allow_pickle:
        raise CodecError(
            "format 'pickle' runs code chosen by the other side while it decodes; pass allow_pickle=True on both sides "
            f"if you trust it, or use {', '.join(name for name in FORMATS_OF_KIND[kind] if name != 'pickle')}"
        )
    if compression != "none":
        from perfkit.transfer.codecs.compression import compressed

        return compressed(get_codec(kind, format, allow_pickle=allow_pickle), compression)
    module, function = _BUILDERS[format]
    build: Callable[[str], Codec] = getattr(importlib.import_module(f"perfkit.transfer.codecs.{module}"), function)
    return build(kind)


def decode(meta: bytes, body: memoryview, *, allow_pickle: bool = False) -> Any:
    """Decode what any codec encoded: the description says which one.

    Args:
        meta: the description that came with the body.
        body: the body; what is returned may be a view of it and keeps it alive.
        allow_pickle: whether a pickled body may run its code here.

    Returns:
        A readable payload, read-only where it is a view.

    Raises:
        CodecError: description or body are cut off, corrupted or contradict each other, or pickle is not allowed.

    >>> encoded = get_codec("binary", "raw").encode(b"abc")
    >>> bytes(decode(encoded.meta, encoded.to_view()))
    b'abc'
    """
    return _decoder(meta[:PREFIX_BYTES], allow_pickle)(meta, body)


@functools.lru_cache(maxsize=256)
def _decoder(prefix: bytes, allow_pickle: bool) -> Callable[[bytes, memoryview], Any]:
    kind, format_name, compression = read_prefix(prefix)
    try:
        return get_codec(kind, format_name, compression, allow_pickle=allow_pickle).decode
    except UnknownNameError as error:
        raise CodecError(
            f"description names a codec that does not exist ({error}); it was corrupted on the way"
        ) from None


def detect(payload: Any) -> tuple[str, str]:
    """The natural kind and format of a payload.

    Raises:
        CodecError: perfkit has no natural way to carry it.

    >>> detect(b"abc"), detect("abc"), detect({"a": 1})
    (('binary', 'raw'), ('text', 'raw'), ('text', 'json'))
    """
    if isinstance(payload, bytes | bytearray | memoryview):
        return "binary", "raw"
    if isinstance(payload, str):
        return "text", "raw"
    if _is_instance(payload, "numpy", "ndarray"):
        return "tensor", "numpy"
    if any(_is_instance(payload, *name) for name in _FRAME_TYPES):
        return "dataframe", "arrow"
    if isinstance(payload, dict | list):
        return "text", "json"
    raise CodecError(
        f"{type(payload).__name__} has no natural format; give a NumPy array, an Arrow table, a pandas or polars "
        "frame, bytes, str, dict or list, or name kind and format ('pickle' with allow_pickle=True carries any object)"
    )


_FRAME_TYPES = (("pyarrow", "Table"), ("pyarrow", "RecordBatch"), ("pandas", "DataFrame"), ("polars", "DataFrame"))


def _is_instance(payload: Any, module: str, name: str) -> bool:
    """Whether it is of that type, without importing the library: nobody can hold an instance of what is not loaded."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(payload, getattr(loaded, name, ()))


def supported() -> tuple[tuple[str, str, str], ...]:
    """Every kind, format and compression that there is; `pickle` among them needs to be allowed.

    >>> ("tensor", "numpy", "lz4") in supported(), ("binary", "numpy", "none") in supported()
    (True, False)
    """
    return tuple(
        (kind, format_name, compression)
        for kind, formats in FORMATS_OF_KIND.items()
        for format_name in formats
        for compression in COMPRESSIONS
    )
