"""Compressed bodies: any codec, its body compressed as a whole.

The body is compressed into memory of its own, because its length is known only afterwards. Decompression allocates no
more than the body can hold: the length that the frame states must be the one described, and neither may exceed what the
algorithm can pack into so few bytes.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

from perfkit.errors import CodecError
from perfkit.transfer.codecs.codec import LENGTH_BYTES, Codec, check_meta, make_prefix, ready
from perfkit.transfer.protocol import Encoded

__all__ = ["MAX_RAW_BYTES", "ZSTD_LEVEL", "compressed"]

MAX_RAW_BYTES = 4 * 2**30
"""Largest body that is compressed or decompressed; what is larger travels uncompressed."""
ZSTD_LEVEL = 1
"""Between processes of one machine, time is scarcer than bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Algorithm:
    compress: Callable[[memoryview], bytes]
    decompress: Callable[[memoryview, int], Any]  # the length is the one that `stated_bytes` returned
    stated_bytes: Callable[[memoryview], int]
    highest_ratio: int  # no valid frame expands by more


def compressed(codec: Codec, compression: str) -> Codec:
    """`codec` with its body compressed by `compression`: lz4 or zstd."""
    algorithm = _lz4() if compression == "lz4" else _zstd()
    prefix = make_prefix(codec.kind, codec.format, compression)

    def encode(payload: Any) -> Encoded:
        encoded = codec.encode(payload)
        if encoded.wire_bytes > MAX_RAW_BYTES:
            raise CodecError(
                f"{encoded.wire_bytes} bytes are too many to compress, at most {MAX_RAW_BYTES}; use compression 'none'"
            )
        details = encoded.wire_bytes.to_bytes(LENGTH_BYTES, "little") + encoded.meta
        return ready(prefix, algorithm.compress(encoded.to_view()), details)

    def decode(meta: bytes, body: memoryview) -> Any:
        details = check_meta(prefix, meta, body)
        raw_bytes = int.from_bytes(details[:LENGTH_BYTES], "little")
        raw = _decompress(algorithm, body, raw_bytes, compression)
        return codec.decode(details[LENGTH_BYTES:], raw)

    return dataclasses.replace(codec, compression=compression, encode=encode, decode=decode, into_block=False)


def _decompress(algorithm: _Algorithm, body: memoryview, raw_bytes: int, compression: str) -> memoryview:
    if raw_bytes > min(MAX_RAW_BYTES, body.nbytes * algorithm.highest_ratio):
        raise CodecError(
            f"{compression} body of {body.nbytes} bytes claims to hold {raw_bytes}, "
            f"more than it can or than the limit of {MAX_RAW_BYTES}; it is not decompressed"
        )
    stated_bytes = algorithm.stated_bytes(body)
    if stated_bytes != raw_bytes:
        raise CodecError(
            f"{compression} body states {stated_bytes} bytes, its description {raw_bytes}; one is corrupted"
        )
    raw = memoryview(algorithm.decompress(body, raw_bytes)).toreadonly()
    if raw.nbytes != raw_bytes:
        raise CodecError(
            f"{compression} body held {raw.nbytes} bytes instead of {raw_bytes}; it was corrupted on the way"
        )
    return raw.cast("B") if raw.format != "B" else raw


def _lz4() -> _Algorithm:
    import lz4.frame
    import pyarrow as pa

    decoder = pa.Codec("lz4")  # three times as fast as lz4.frame on large bodies: its memory is reused, not returned

    def stated_bytes(body: memoryview) -> int:
        try:
            return int(lz4.frame.get_frame_info(body)["content_size"])
        except RuntimeError as error:
            raise CodecError(f"body is no lz4 frame ({error}); it was corrupted on the way") from None

    def decompress(body: memoryview, raw_bytes: int) -> Any:
        try:
            return decoder.decompress(body, raw_bytes) if raw_bytes else b""
        except (OSError, pa.ArrowException) as error:
            raise CodecError(f"lz4 body cannot be decompressed ({error}); it was corrupted on the way") from None

    return _Algorithm(lz4.frame.compress, decompress, stated_bytes, highest_ratio=255)


def _zstd() -> _Algorithm:
    import zstandard

    contexts = threading.local()  # a context serves one thread, and is costly to make for a small payload

    def compress(body: memoryview) -> bytes:
        if not hasattr(contexts, "compressor"):
            contexts.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        compressed_body: bytes = contexts.compressor.compress(body)
        return compressed_body

    def stated_bytes(body: memoryview) -> int:
        try:
            return zstandard.frame_content_size(body)
        except zstandard.ZstdError as error:
            raise CodecError(f"body is no zstd frame ({error}); it was corrupted on the way") from None

    def decompress(body: memoryview, raw_bytes: int) -> bytes:
        if not hasattr(contexts, "decompressor"):
            contexts.decompressor = zstandard.ZstdDecompressor()
        try:
            raw: bytes = contexts.decompressor.decompress(body, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CodecError(f"zstd body cannot be decompressed ({error}); it was corrupted on the way") from None
        return raw

    # a block of four bytes can stand for at most 128 KiB
    return _Algorithm(compress, decompress, stated_bytes, highest_ratio=2**15)
