"""What every codec shares: the `Codec` record and the first bytes of the description that travels with a body.

A description (`meta`) starts with the layout's version, the kind and format, the compression and the exact length of
the body; a codec adds what it needs behind that. The receiver can therefore choose the decoder without being told, and
a body that arrived short is refused before anything reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from perfkit.errors import CodecError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS
from perfkit.transfer.protocol import Encoded

__all__ = ["LENGTH_BYTES", "PREFIX_BYTES", "Codec", "check_meta", "make_prefix", "read_prefix", "ready", "start_meta"]

META_VERSION = 1
PREFIX_BYTES = 3
LENGTH_BYTES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """One kind in one format with one compression; an `Encoder` of the transfer protocol.

    Args:
        kind: tensor, dataframe, binary or text.
        format: numpy, arrow, pickle, msgpack, json or raw.
        compression: none, lz4 or zstd.
        encode: payload to `Encoded`; raises `CodecError` for a payload that it cannot carry.
        decode: description and body to a readable payload; raises `CodecError` for what it cannot trust.
        into_block: whether encoding normally writes straight into the destination; otherwise the body is ready in
            memory and the method copies it.
    """

    kind: str
    format: str
    compression: str
    encode: Callable[[Any], Encoded]
    decode: Callable[[bytes, memoryview], Any]
    into_block: bool


def make_prefix(kind: str, format: str, compression: str = "none") -> bytes:
    """The first bytes of every description of this codec.

    >>> make_prefix("binary", "raw").hex(), read_prefix(make_prefix("text", "json", "zstd"))
    ('012500', ('text', 'json', 'zstd'))
    """
    return bytes((META_VERSION, KINDS.index(kind) << 4 | FORMATS.index(format), COMPRESSIONS.index(compression)))


def read_prefix(meta: bytes) -> tuple[str, str, str]:
    """Kind, format and compression named by a description; raises `CodecError` when it names none."""
    if len(meta) < PREFIX_BYTES or meta[0] != META_VERSION:
        raise CodecError(
            f"description starts with {meta[:PREFIX_BYTES]!r}, expected layout version {META_VERSION}; "
            "check that both sides run the same perfkit"
        )
    kind_index, format_index, compression_index = meta[1] >> 4, meta[1] & 15, meta[2]
    if kind_index >= len(KINDS) or format_index >= len(FORMATS) or compression_index >= len(COMPRESSIONS):
        raise CodecError(f"description {meta[:PREFIX_BYTES]!r} names no codec; it was corrupted on the way")
    return KINDS[kind_index], FORMATS[format_index], COMPRESSIONS[compression_index]


def start_meta(prefix: bytes, body_bytes: int) -> bytes:
    """The part of a description that every codec writes."""
    return prefix + body_bytes.to_bytes(LENGTH_BYTES, "little")


def check_meta(prefix: bytes, meta: bytes, body: memoryview) -> bytes:
    """The codec's own part of a description, after checking that it belongs to this codec and to a body of this length.

    Raises:
        CodecError: another codec's description, or a body that is shorter or longer than described.
    """
    if meta.startswith(start_meta(prefix, body.nbytes)):
        return meta[PREFIX_BYTES + LENGTH_BYTES :]
    if not meta.startswith(prefix) or len(meta) < PREFIX_BYTES + LENGTH_BYTES:
        expected = "/".join(read_prefix(prefix))
        raise CodecError(f"description {meta[:16]!r} is not one of {expected}; decode with the codec that encoded it")
    described = int.from_bytes(meta[PREFIX_BYTES : PREFIX_BYTES + LENGTH_BYTES], "little")
    raise CodecError(
        f"body has {body.nbytes} bytes, its description says {described}; it was cut or mixed up on the way"
    )


def ready(prefix: bytes, body: memoryview | bytes, details: bytes = b"") -> Encoded:
    """An `Encoded` whose body is in memory already."""
    view = memoryview(body)
    return Encoded(start_meta(prefix, view.nbytes) + details, view.nbytes, view)
