"""What a receiver does with a payload before it acknowledges: decode it, read it, digest it, as the sender asked."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable

import numpy as np

from perfkit.transfer.codecs import decode
from perfkit.transfer.wire import FLAG_DECODE, FLAG_TIME_DECODE, FLAG_TOUCH, FLAG_VERIFY

__all__ = ["Deliver", "digest", "make_deliver", "touch"]

Deliver = Callable[[bytes, memoryview, int], int]
"""``(meta, body, flags) -> value``: called once the body is readable; the value travels with the acknowledgement."""


def make_deliver(*, allow_pickle: bool = False) -> Deliver:
    """What a receiver does with each payload, as its flags ask.

    ``FLAG_DECODE``: make the object that the description names; ``FLAG_TIME_DECODE`` beside it: return how many
    nanoseconds that took; ``FLAG_TOUCH``: read every byte; ``FLAG_VERIFY``:
    return the digest. Without flags the payload is only held, and 0 returned.

    Args:
        allow_pickle: whether a pickled payload may be decoded, hence run its code here.
    """

    def deliver(meta: bytes, body: memoryview, flags: int) -> int:
        if flags == 0:
            return 0
        if flags & FLAG_DECODE:
            started_ns = time.perf_counter_ns()
            decode(meta, body, allow_pickle=allow_pickle)
            if flags & FLAG_TIME_DECODE:
                return time.perf_counter_ns() - started_ns
        if flags & FLAG_TOUCH:
            touch(body)
        return digest(body) if flags & FLAG_VERIFY else 0

    return deliver


def touch(body: memoryview) -> int:
    """Read every byte, as fast as the memory allows; returns a sum so that nothing can be skipped."""
    whole = body.nbytes // 8 * 8
    words = np.frombuffer(body[:whole], np.uint64)
    return int(words.sum(dtype=np.uint64)) + sum(body[whole:])


def digest(body: memoryview) -> int:
    """A checksum of the bytes, the same on both sides."""
    return zlib.crc32(body)
