"""Bytes as they are, and text as UTF-8: the codecs that cost next to nothing."""

from __future__ import annotations

from typing import Any

from perfkit.errors import CodecError
from perfkit.transfer.codecs.codec import Codec, check_meta, make_prefix, ready
from perfkit.transfer.protocol import Encoded

__all__ = ["build"]

_BINARY = make_prefix("binary", "raw")
_TEXT = make_prefix("text", "raw")


def build(kind: str) -> Codec:
    """The raw codec of a kind.

    >>> build("text").encode("grüß").wire_bytes
    6
    """
    if kind == "binary":
        return Codec("binary", "raw", "none", _encode_bytes, _decode_bytes, into_block=False)
    return Codec("text", "raw", "none", _encode_text, _decode_text, into_block=False)


def byte_view(payload: Any) -> memoryview:
    """The memory of a bytes-like object as a flat view of bytes; copied only when it is not contiguous."""
    try:
        view = memoryview(payload)
    except TypeError:
        raise CodecError(
            f"{type(payload).__name__} is no binary payload; give bytes, bytearray, a memoryview or another buffer"
        ) from None
    if view.format == "B" and view.ndim == 1 and view.c_contiguous:
        return view
    if len(view.format) > 1 or view.format in "OP":
        raise CodecError(
            f"buffer with items of format {view.format!r} holds more than plain values; "
            "send a NumPy array as a tensor, or give its bytes"
        )
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def _encode_bytes(payload: Any) -> Encoded:
    return ready(_BINARY, byte_view(payload))


def _decode_bytes(meta: bytes, body: memoryview) -> memoryview:
    check_meta(_BINARY, meta, body)
    return body.toreadonly()


def _encode_text(payload: Any) -> Encoded:
    if not isinstance(payload, str):
        raise CodecError(f"{type(payload).__name__} is no text payload; give a str")
    try:
        return ready(_TEXT, payload.encode())
    except UnicodeEncodeError as error:
        raise CodecError(
            f"text has a lone surrogate {payload[error.start]!r} at {error.start}, which UTF-8 cannot carry; "
            "replace it, or send the original bytes as binary"
        ) from None


def _decode_text(meta: bytes, body: memoryview) -> str:
    check_meta(_TEXT, meta, body)
    try:
        return str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise CodecError(f"body is not UTF-8 at byte {error.start}; it was corrupted on the way") from None
