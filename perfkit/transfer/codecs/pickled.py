"""Pickle, protocol 5: any object, its large buffers beside the stream instead of inside it.

Off unless both sides ask for it, because unpickling runs code that the sender chose. The body is a table of lengths,
the stream, then each buffer at an aligned offset, so that arrays are views of the body on the receiving side.
"""

from __future__ import annotations

import dataclasses
import functools
import pickle
import struct
from typing import Any

from perfkit.errors import CodecError
from perfkit.transfer.codecs.codec import Codec, check_meta, make_prefix, start_meta
from perfkit.transfer.protocol import Encoded

__all__ = ["build"]

_ALIGNMENT_BYTES = 64


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    offset: int
    content: memoryview


def build(kind: str) -> Codec:
    """The pickle codec of a kind; `get_codec` gives it only with ``allow_pickle=True``."""
    prefix = make_prefix(kind, "pickle")

    def encode(payload: Any) -> Encoded:
        buffers: list[pickle.PickleBuffer] = []
        try:
            stream = pickle.dumps(payload, protocol=5, buffer_callback=buffers.append)
            contents = [memoryview(stream), *(buffer.raw() for buffer in buffers)]
        except Exception as error:  # reducers of any class run here
            raise CodecError(f"{type(payload).__name__} cannot be pickled: {error!r}") from error
        parts, body_bytes = _arrange(contents)
        return Encoded(start_meta(prefix, body_bytes), body_bytes, None, functools.partial(_write, parts))

    def decode(meta: bytes, body: memoryview) -> Any:
        check_meta(prefix, meta, body)
        stream, *buffers = _split(body.toreadonly())
        try:
            return pickle.loads(stream, buffers=buffers)
        except Exception as error:  # any code runs here, and may fail in any way
            raise CodecError(f"body cannot be unpickled: {error!r}") from error

    return Codec(kind, "pickle", "none", encode, decode, into_block=True)


def _arrange(contents: list[memoryview]) -> tuple[list[_Part], int]:
    lengths = struct.pack(f"<Q{len(contents)}Q", len(contents), *(content.nbytes for content in contents))
    parts, end = [], 0
    for content in (memoryview(lengths), *contents):
        start = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        parts.append(_Part(start, content))
        end = start + content.nbytes
    return parts, end


def _write(parts: list[_Part], destination: memoryview) -> None:
    end = 0
    for part in parts:
        destination[end : part.offset] = bytes(part.offset - end)  # a reused block must not leak what it held
        end = part.offset + part.content.nbytes
        destination[part.offset : end] = part.content


def _split(body: memoryview) -> list[memoryview]:
    if body.nbytes < 8:
        raise CodecError(f"pickled body of {body.nbytes} bytes has no table of lengths; it was corrupted on the way")
    (count,) = struct.unpack_from("<Q", body)
    if not 0 < count <= body.nbytes // 8 - 1:
        raise CodecError(f"pickled body of {body.nbytes} bytes claims {count} parts; it was corrupted on the way")
    contents, end = [], 8 + 8 * count
    for length in struct.unpack_from(f"<{count}Q", body, 8):
        start = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        end = start + length
        if end > body.nbytes:
            raise CodecError(
                f"pickled body of {body.nbytes} bytes claims a part up to {end}; it was corrupted on the way"
            )
        contents.append(body[start:end])
    return contents
