"""Bring a payload onto its carrier: the bytes themselves, a block of the arena, or a segment of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from errno import errorcode

from perfkit.channel.borrowing import BODIES
from perfkit.channel.frames import BYTES, IN_BLOCK, NOTHING, SEGMENT
from perfkit.channel.session import Session
from perfkit.errors import MethodUnavailableError, NoRoomError, PayloadTooLargeError, TransferError
from perfkit.transfer.arena import Block
from perfkit.transfer.copying import PLAIN, CopyPlan
from perfkit.transfer.memory import Region
from perfkit.transfer.protocol import Encoded

__all__ = ["LANE_METHODS", "METHOD_OF_CARRIER", "Load", "block_wait_s", "load", "load_first", "reason_of"]

LANE_METHODS = ("uds", "shm_pool", "shm")
"""Methods that a lane carries; the others are calls of their own."""
_SHORTEST_WAIT_S, _WAIT_S_PER_BYTE, _LONGEST_WAIT_S = 2e-4, 1e-9, 0.05
METHOD_OF_CARRIER = ("uds", "uds", "shm_pool", "shm")
"""By `frames.CARRIERS`: nothing and bytes come with the frame."""


class Load:
    """A payload on its carrier, and how long it took to get there."""

    # Defaults of the class: a small payload sets next to nothing of it.
    carrier = BYTES
    block: Block | None = None
    segment: Region | None = None
    is_born = False
    region = offset = wait_ns = copy_ns = 0

    def __init__(self, method: str, body: memoryview | None = None) -> None:
        self.method, self.body = method, body
        if body is not None and not body.nbytes:
            self.carrier, self.body = NOTHING, None

    def drop_segment(self) -> None:
        """The peer has the descriptor of a segment, or never will: our end of it goes."""
        if self.segment is not None:
            self.segment.close()
            self.segment = None


def load(
    method: str,
    encoded: Encoded,
    session: Session,
    max_bytes: int,
    wait_s: float,
    copy_plan: CopyPlan = PLAIN,
    born_in: Block | None = None,
) -> Load:
    """Bring an encoded payload onto the carrier of `method`. A block counts as lent from here on.

    Args:
        method: one of `LANE_METHODS`.
        encoded: what to carry.
        session: whose blocks and limits.
        max_bytes: what the peer takes as bytes.
        wait_s: how long to wait for a block.
        copy_plan: how to copy into it.
        born_in: the block that the payload lies in already.

    Raises:
        NoRoomError, PayloadTooLargeError: this method cannot carry it; another one may.
    """
    if method == "uds":
        return _load_bytes(encoded, max_bytes)
    if method == "shm_pool":
        return _load_block(encoded, session, wait_s, copy_plan, born_in)
    if method == "shm":
        return _load_segment(encoded, copy_plan)
    raise MethodUnavailableError(
        f"method {method!r} does not travel on a lane; those that do: {', '.join(LANE_METHODS)}"
    )


def block_wait_s(wire_bytes: int) -> float:
    """How long to wait for a block when another method could carry the payload: about what that one would cost.

    >>> round(block_wait_s(2**10), 6), block_wait_s(2**30)
    (0.000201, 0.05)
    """
    return min(_SHORTEST_WAIT_S + wire_bytes * _WAIT_S_PER_BYTE, _LONGEST_WAIT_S)


def load_first(
    methods: Sequence[str], carry: Callable[[str, bool], Load], count: Callable[[str, str], None]
) -> tuple[Load, str]:
    """The first method that can carry it, and which could not, as in ``shm_pool: no room``.

    Args:
        methods: in order.
        carry: loads by a method; told whether it is the last, which may take its time.
        count: told of each method that could not, with the reason.

    Raises:
        TransferError, OSError: none could; the error of the last.
    """
    fallback = ""
    for method in methods:
        is_last = method is methods[-1]
        try:
            return carry(method, is_last), fallback
        except (NoRoomError, PayloadTooLargeError, MethodUnavailableError, OSError) as error:
            reason = reason_of(error)
            count(method, reason)
            fallback = f"{fallback}, {method}: {reason}" if fallback else f"{method}: {reason}"
            if is_last:
                raise  # from here: an error that is kept would keep this frame, and with it the payload
    raise AssertionError("there is at least one method")


def reason_of(error: TransferError | OSError) -> str:
    """Why a method could not carry a payload, in the words of the statistics."""
    if isinstance(error, NoRoomError):
        return "no room"
    if isinstance(error, OSError):  # no descriptor left, say, or what the container forbids
        return errorcode.get(error.errno or 0, type(error).__name__)
    return "too large" if isinstance(error, PayloadTooLargeError) else "not at this peer"


def _load_bytes(encoded: Encoded, max_bytes: int) -> Load:
    if encoded.wire_bytes > max_bytes:
        raise PayloadTooLargeError(
            f"payload of {encoded.wire_bytes} bytes; the peer takes at most {max_bytes} as bytes: use shm_pool or shm"
        )
    if encoded.body is not None:
        return Load("uds", encoded.body)
    assert encoded.write_into is not None  # an encoded payload has one of the two
    started_ns = time.perf_counter_ns()
    body = BODIES.allocate(encoded.wire_bytes)
    encoded.write_into(body)
    loaded = Load("uds", body)
    loaded.copy_ns = time.perf_counter_ns() - started_ns
    return loaded


def _load_block(encoded: Encoded, session: Session, wait_s: float, copy_plan: CopyPlan, born_in: Block | None) -> Load:
    loaded = Load("shm_pool")
    loaded.carrier = IN_BLOCK
    if born_in is not None:
        session.lent.check(born_in.size_bytes)
        session.arena.retain(born_in)
        block = born_in
        loaded.is_born = True
        assert encoded.body is not None  # only codecs whose body is the payload's own memory find a block
        loaded.offset = block.offset + offset_in(block, encoded.body)
    else:
        started_ns = time.perf_counter_ns()
        session.lent.check(encoded.wire_bytes)
        block = session.arena.lease(encoded.wire_bytes, wait_s=wait_s)
        leased_ns = time.perf_counter_ns()
        try:
            encoded.write_to(block.view, copy_plan)
        except BaseException:
            session.arena.release(block)
            raise
        loaded.wait_ns, loaded.copy_ns = leased_ns - started_ns, time.perf_counter_ns() - leased_ns
        loaded.offset = block.offset
    session.lent.lend(block, loaded.offset)
    loaded.block, loaded.region = block, block.region.id
    return loaded


def _load_segment(encoded: Encoded, copy_plan: CopyPlan) -> Load:
    started_ns = time.perf_counter_ns()
    loaded = Load("shm")
    loaded.carrier = SEGMENT
    segment = Region(encoded.wire_bytes)
    reserved_ns = time.perf_counter_ns()
    try:
        encoded.write_to(segment.view, copy_plan)
    except BaseException:
        segment.close()
        raise
    loaded.segment, loaded.region = segment, segment.size_bytes
    loaded.wait_ns, loaded.copy_ns = reserved_ns - started_ns, time.perf_counter_ns() - reserved_ns
    return loaded


def offset_in(block: Block, body: memoryview) -> int:
    """Where in a block a view of it begins."""
    import numpy as np

    def address(view: memoryview) -> int:
        return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])

    return address(body) - address(block.view) if body.nbytes else 0
