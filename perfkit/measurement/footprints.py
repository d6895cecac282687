"""The memory that one transfer takes, both sides, shared pages once; measured apart from latency.

Resident memory grows by what a transfer takes only if nothing that was used before is kept for it: an allocator that
reuses what was freed a moment ago would hide all of it. Footprints are therefore taken in processes of their own, in
which large allocations go straight to the system and back (`ALLOCATOR`); latencies are not measured there.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from perfkit.transfer.arena import size_class
from perfkit.transfer.process import memory_usage, reset_peak_memory
from perfkit.transfer.protocol import Encoded, Encoder, Sender
from perfkit.transfer.receiver import UsageConnection
from perfkit.transfer.wire import FLAG_DECODE

__all__ = ["ALLOCATOR", "SMALLEST_PROBED_BYTES", "Footprint", "codec_footprint", "transfer_footprint"]

ALLOCATOR: Mapping[str, str] = MappingProxyType(
    {"MALLOC_MMAP_THRESHOLD_": "32768", "ARROW_DEFAULT_MEMORY_POOL": "system"}
)
"""Environment of processes whose footprints are measured."""

SMALLEST_PROBED_BYTES = 64 * 2**10
"""Below, the pages that the interpreter itself takes drown the payload."""

_QUIET_S = 0.01  # a connection that was closed is noticed within this
_LONGEST_WAIT = 20  # times _QUIET_S
_PAGE_BYTES = 4096  # no figure of resident memory is finer


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one transfer: held with shared pages counted once, and growth of the peaks of both sides."""

    resident_bytes: int
    peak_bytes: int


def transfer_footprint(
    encode: Callable[[], Encoded], sender: Sender, flags: int, is_shared: bool, usage: UsageConnection
) -> Footprint:
    """What the first transfer of a fresh connection takes while both sides hold it.

    What encoding takes and gives back before anything is sent counts only where it is more than all the rest: added up,
    it would be charged to methods that need their memory at another time.

    Args:
        encode: makes what is carried, or hands over what is ready.
        flags: what the receiver does with it.
        sender: the fresh connection; a pool's leases whole blocks, a fresh segment is as long as what it carries.
        is_shared: whether both sides map the same pages.
        usage: asks the receiver.
    """
    _await_quiet(usage)
    reset_peak_memory()
    before = memory_usage()[0], usage.reset_peak()
    encoded = encode()
    encoding_bytes = memory_usage()[1] - before[0]
    reset_peak_memory()
    sender.send(encoded, flags)
    peak_bytes = max(0, memory_usage()[1] - before[0]) + max(0, usage.peak_bytes() - before[1])
    mapped_bytes = (size_class(encoded.wire_bytes) if hasattr(sender, "lease") else encoded.wire_bytes) * is_shared
    resident_bytes = max(mapped_bytes, peak_bytes - mapped_bytes, encoding_bytes, _PAGE_BYTES)
    return Footprint(resident_bytes, max(peak_bytes, encoding_bytes))


def codec_footprint(stage: str, codec: Encoder, payload: Any, sender: Sender, usage: UsageConnection) -> Footprint:
    """What an encoded payload holds here, or decoding takes in the receiver.

    What is written into a block takes no memory but the block's, which the transport counts.
    """

    def encode() -> Encoded:
        encoded = codec.encode(payload)
        return Encoded(encoded.meta, encoded.wire_bytes, encoded.to_view())

    ready = encode()  # the first use of a library takes memory that no later one takes
    if stage == "decode":
        sender.send(ready, FLAG_DECODE)  # the connection's own memory has grown to this size, too
        _await_quiet(usage)
        before_bytes = usage.reset_peak()
        sender.send(ready, FLAG_DECODE)
        grown_bytes = usage.peak_bytes() - before_bytes
    else:
        del ready
        _await_quiet(usage)
        reset_peak_memory()
        before_bytes = memory_usage()[0]
        encoded = codec.encode(payload) if stage == "encode_into" else encode()
        grown_bytes = memory_usage()[0] - before_bytes
        del encoded
    return Footprint(max(grown_bytes, _PAGE_BYTES), max(grown_bytes, 0))


def _await_quiet(usage: UsageConnection) -> None:
    """Until the receiver has freed what earlier connections held: freed later, it would hide what is taken."""
    held_bytes = usage.reset_peak()
    for _ in range(_LONGEST_WAIT):
        time.sleep(_QUIET_S)
        before, held_bytes = held_bytes, usage.reset_peak()
        if held_bytes >= before:
            return
