"""Compressed bodies: smaller, and safe to decompress whatever a peer claims."""

from __future__ import annotations

import concurrent.futures
import tracemalloc

import lz4.frame
import numpy as np
import pytest
import zstandard

from perfkit.errors import CodecError
from perfkit.transfer.codecs import compression as module
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.codecs.codec import make_prefix, start_meta

ALGORITHMS = ["lz4", "zstd"]


def claim(compression: str, body: bytes, raw_bytes: int) -> tuple[bytes, memoryview]:
    """A description of a compressed binary payload, as a peer could forge it."""
    inner = start_meta(make_prefix("binary", "raw"), raw_bytes)
    meta = start_meta(make_prefix("binary", "raw", compression), len(body)) + raw_bytes.to_bytes(8, "little") + inner
    return meta, memoryview(body)


def compress(compression: str, content: bytes) -> bytes:
    return lz4.frame.compress(content) if compression == "lz4" else zstandard.compress(content)


@pytest.mark.parametrize("compression", ALGORITHMS)
def test_bodies_are_frames_that_others_can_read(compression: str) -> None:
    body = bytes(get_codec("binary", "raw", compression).encode(b"abc" * 1000).to_view())
    read = lz4.frame.decompress if compression == "lz4" else zstandard.decompress
    assert read(body) == b"abc" * 1000
    assert len(body) < 100


@pytest.mark.parametrize("compression", ALGORITHMS)
@pytest.mark.parametrize("length", [0, 1, 100, 2**20])
def test_honest_frames_are_read(compression: str, length: int) -> None:
    meta, body = claim(compression, compress(compression, bytes(length)), length)
    assert get_codec("binary", "raw", compression).decode(meta, body) == bytes(length)


@pytest.mark.parametrize("compression", ALGORITHMS)
@pytest.mark.parametrize("claimed_bytes", [0, 999, 1001, 2**31, 2**40, 2**64 - 1])
def test_a_claim_other_than_what_is_inside_is_refused_before_memory_is_taken(
    compression: str, claimed_bytes: int
) -> None:
    codec = get_codec("binary", "raw", compression)
    meta, body = claim(compression, compress(compression, bytes(1000)), claimed_bytes)
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            codec.decode(meta, body)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claimed_bytes", [999, 1001, 2**31 - 1])
def test_a_frame_that_lies_itself_is_refused(claimed_bytes: int) -> None:
    body = bytearray(lz4.frame.compress(bytes(1000)))
    at = body.index((1000).to_bytes(8, "little"))
    body[at : at + 8] = claimed_bytes.to_bytes(8, "little")
    for raw_bytes in (1000, claimed_bytes):
        with pytest.raises(CodecError):
            get_codec("binary", "raw", "lz4").decode(*claim("lz4", bytes(body), raw_bytes))


@pytest.mark.parametrize("compression", ALGORITHMS)
def test_frames_without_a_stated_length_and_trailing_bytes_are_refused(compression: str) -> None:
    codec = get_codec("binary", "raw", compression)
    unstated = (
        lz4.frame.compress(bytes(100), store_size=False)
        if compression == "lz4"
        else zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    )
    for body in (unstated, compress(compression, bytes(100)) + b"more", b"", b"no frame at all"):
        with pytest.raises(CodecError):
            codec.decode(*claim(compression, body, 100))


@pytest.mark.parametrize("compression", ALGORITHMS)
def test_what_is_over_the_limit_is_refused_on_both_sides(compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = get_codec("binary", "raw", compression)
    encoded = codec.encode(bytes(5000))
    monkeypatch.setattr(module, "MAX_RAW_BYTES", 4999)
    with pytest.raises(CodecError, match="5000 bytes are too many to compress, at most 4999; use compression 'none'"):
        codec.encode(bytes(5000))
    with pytest.raises(CodecError, match="limit of 4999"):
        codec.decode(encoded.meta, encoded.to_view())


@pytest.mark.parametrize("compression", ALGORITHMS)
def test_threads_do_not_disturb_each_other(compression: str) -> None:
    codec = get_codec("tensor", "numpy", compression)

    def round_trip(seed: int) -> bool:
        array = np.random.default_rng(seed).integers(0, 50, 20_000)
        encoded = codec.encode(array)
        return np.array_equal(codec.decode(encoded.meta, encoded.to_view()), array)

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert all(threads.map(round_trip, range(40)))
