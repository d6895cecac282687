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

_QUIET_S = 0.002
_LONGEST_WAIT = 50  # times _QUIET_S
_PAGE_BYTES = 4096  # no figure of resident memory is finer


@dataclasses.dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one transfer: held with shared pages counted once, and growth of the peaks of both sides."""

    resident_bytes: int
    peak_bytes: int


def transfer_footprint(
    send: Callable[[], object], wire_bytes: int, sender: Sender, is_shared: bool, usage: UsageConnection
) -> Footprint:
    """What the first transfer of a fresh connection takes.

    Args:
        send: the transfer.
        wire_bytes: what it carries.
        sender: the fresh connection; a pool's leases whole blocks, a fresh segment is as long as what it carries.
        is_shared: whether both sides map the same pages.
        usage: asks the receiver.
    """
    peak_bytes = sum(_growth(send, usage))
    mapped_bytes = (size_class(wire_bytes) if hasattr(sender, "lease") else wire_bytes) if is_shared else 0
    return Footprint(max(mapped_bytes, peak_bytes - mapped_bytes, _PAGE_BYTES), peak_bytes)


def codec_footprint(stage: str, codec: Encoder, payload: Any, sender: Sender, usage: UsageConnection) -> Footprint:
    """What encoding takes here, or decoding in the receiver.

    What is written into a block takes no memory but the block's, which the transport counts.
    """

    def encode() -> Encoded:
        encoded = codec.encode(payload)
        return Encoded(encoded.meta, encoded.wire_bytes, encoded.to_view())

    ready = encode()  # the first use of a library takes memory that no later one takes
    if stage == "decode":
        sender.send(ready, FLAG_DECODE)  # the connection's own memory has grown to this size, too
        grown_bytes = _growth(lambda: sender.send(ready, FLAG_DECODE), usage)[1]
    else:
        del ready
        act = (lambda: codec.encode(payload)) if stage == "encode_into" else encode
        grown_bytes = _growth(act, usage)[0]
    return Footprint(max(grown_bytes, _PAGE_BYTES), grown_bytes)


def _growth(act: Callable[[], object], usage: UsageConnection) -> tuple[int, int]:
    """Growth of peak resident memory in this process and in the receiver while something is done."""
    _await_quiet(usage)
    reset_peak_memory()
    before = memory_usage()[0], usage.reset_peak()
    act()
    return max(0, memory_usage()[1] - before[0]), max(0, usage.peak_bytes() - before[1])


def _await_quiet(usage: UsageConnection) -> None:
    """Until the receiver has freed what earlier connections held: freed later, it would hide what is taken."""
    held_bytes = usage.reset_peak()
    for _ in range(_LONGEST_WAIT):
        time.sleep(_QUIET_S)
        before, held_bytes = held_bytes, usage.reset_peak()
        if held_bytes >= before:
            return
