"""Memory that payloads arrive in: whoever views it keeps it, by whatever view, and nobody else does."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from perfkit.channel import borrowing
from perfkit.channel.borrowing import BodyMemory, Budget, Regions
from perfkit.channel.events import Descriptor, Forgotten, Mapped, Message
from perfkit.channel.frames import IN_BLOCK, REQUEST, SEGMENT
from perfkit.channel.session import Session
from perfkit.errors import NoRoomError, ProtocolError, TransferError
from perfkit.transfer.arena import Arena
from perfkit.transfer.codecs import decode, get_codec
from perfkit.transfer.memory import Region, open_descriptor

REGION_BYTES = 2**20


@pytest.fixture
def region():
    made = Region(REGION_BYTES)
    yield made
    made.close()


@pytest.fixture
def session(region):
    """A session whose peer has introduced a region."""
    arena = Arena(2**20)
    made = Session(arena, 2**20, os.getpid())
    made.handle(introduction(region))
    yield made
    made.end()
    arena.close()


def introduction(region: Region, number: int | None = None) -> Mapped:
    number = region.id if number is None else number
    return Mapped(number, region.size_bytes, Descriptor(os.dup(region.descriptor)))


def message_in(region: Region, body: memoryview | bytes, offset: int = 0) -> Message:
    """A request whose body lies in a block of the peer."""
    region.view[offset : offset + len(body)] = body
    return Message(REQUEST, 1, IN_BLOCK, 0, b"", len(body), len(body), region.id, offset, 0)


def open_descriptors() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


# --- views -----------------------------------------------------------------------------------------------------------

NUMBERS = np.arange(30_000, dtype="f8")
TABLE = pa.table({"x": NUMBERS, "s": ["a", "bc"] * 15_000})
FRAME = pd.DataFrame({"x": NUMBERS, "s": ["a", "bc"] * 15_000})


def encoded(kind: str, format_name: str, payload: Any) -> tuple[bytes, memoryview]:
    made = get_codec(kind, format_name).encode(payload)
    return made.meta, made.to_view()


RAW = encoded("binary", "raw", NUMBERS.tobytes())
ARRAY = encoded("tensor", "numpy", NUMBERS)
ARROW = encoded("dataframe", "arrow", TABLE)
PANDAS = encoded("dataframe", "arrow", FRAME)

VIEWS = {
    "payload of bytes": (RAW, lambda payload: payload),
    "part of a memoryview": (RAW, lambda payload: payload[8:80]),
    "memoryview cast": (RAW, lambda payload: payload.cast("d")[5:]),
    "array": (ARRAY, lambda payload: payload),
    "slice of a slice": (ARRAY, lambda payload: payload.reshape(-1, 3)[5:][::7].T),
    "one value as an array": (ARRAY, lambda payload: payload[7:8].reshape(())),
    "array over a memoryview of an array": (ARRAY, lambda payload: np.asarray(memoryview(payload)[100:200])),
    "Arrow buffer over an array": (ARRAY, lambda payload: pa.py_buffer(payload)),
    "torch-like export": (ARRAY, lambda payload: np.from_dlpack(Exporter(payload))),
    "table": (ARROW, lambda payload: payload),
    "column of a table": (ARROW, lambda payload: payload.column("s")),
    "slice of a chunk": (ARROW, lambda payload: payload.column("x").chunk(0)[10:20]),
    "array from a chunk": (ARROW, lambda payload: payload.column("x").chunk(0).to_numpy()[::5]),
}


class Exporter:
    """What another library makes of an array, which DLPack wants writable: it holds the array alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**{"copy": None, **options})

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def same(one: Any, other: Any) -> bool:
    return one.equals(other) if hasattr(one, "equals") else np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("name", VIEWS)
def test_block_is_returned_only_after_the_last_view_died(session, region, name):
    """The payload is gone, a view of a view is left: the block stays, with its values, until that is gone, too."""
    (meta, body), view_of = VIEWS[name]
    message = message_in(region, body, 128)
    borrowed_body, borrowed = session.borrow(message)
    payload = decode(meta, borrowed_body)
    view = view_of(payload)
    del payload, borrowed_body
    gc.collect()
    assert borrowed.is_viewed()
    assert session.give_back(borrowed) is False
    del borrowed
    gc.collect()
    assert not session.has_news
    assert same(view, view_of(decode(meta, body)))
    del view
    gc.collect()
    assert list(session.to_release) == [(region.id, 128)]


def test_frame_of_pandas_keeps_its_values(session, region):
    """What pandas copied needs the block no more, what it did not keeps it: the values are right in both cases."""
    meta, body = PANDAS
    borrowed_body, borrowed = session.borrow(message_in(region, body))
    frame = decode(meta, borrowed_body)
    del borrowed_body
    if session.give_back(borrowed):
        region.view[: len(body)] = bytes(len(body))  # the block is used again
    del borrowed
    column = frame["x"]
    pd.testing.assert_frame_equal(frame, FRAME)
    del frame
    gc.collect()
    assert np.array_equal(column, NUMBERS)
    del column
    gc.collect()
    assert list(session.to_release) == [(region.id, 0)]


def test_block_that_nobody_views_is_returned_at_once(session, region):
    body, borrowed = session.borrow(message_in(region, b"abc"))
    assert bytes(body) == b"abc"
    assert body.readonly
    del body
    assert session.give_back(borrowed) is True
    assert list(session.to_release) == [(region.id, 0)]


def test_each_of_two_requests_with_one_block_is_told_of(session, region):
    """A payload that was born in shared memory may be sent twice at once: its block is free after both."""
    message = message_in(region, b"twice")
    first, first_borrowed = session.borrow(message)
    second, second_borrowed = session.borrow(message)
    first, second = first[1:], second[2:]
    assert session.give_back(first_borrowed) is False
    assert session.give_back(second_borrowed) is False
    del first_borrowed, second_borrowed, first
    assert list(session.to_release) == [(region.id, 0)]
    assert bytes(second) == b"ice"
    del second
    assert list(session.to_release) == [(region.id, 0)] * 2


def test_blocks_that_are_used_again_and_again_are_told_of_once_each(session, region):
    for _ in range(100):
        body, borrowed = session.borrow(message_in(region, b"again", 64))
        kept = body[1:]
        del body
        assert session.give_back(borrowed) is False
        del borrowed, kept
        body, borrowed = session.borrow(message_in(region, b"again", 64))
        del body
        assert session.give_back(borrowed) is True
    assert Counter(session.to_release) == {(region.id, 64): 200}


def test_view_that_dies_in_a_cycle_is_told_of(session, region):
    """The garbage collector runs finalizers in any thread, in the middle of anything."""
    body, borrowed = session.borrow(message_in(region, b"cycle"))
    cycle: list[Any] = [body]
    cycle.append(cycle)
    del body
    assert session.give_back(borrowed) is False
    del borrowed, cycle
    assert not session.has_news
    gc.collect()
    assert list(session.to_release) == [(region.id, 0)]


def test_threads_that_share_a_region_return_each_block_once(session, region):
    kept: list[Any] = []

    def use(number: int) -> None:
        for turn in range(200):
            offset = 64 * (number * 200 + turn)
            body, borrowed = session.borrow(Message(REQUEST, 1, IN_BLOCK, 0, b"", 50, 50, region.id, offset, 0))
            if turn % 3 == 0:
                kept.append(np.frombuffer(body, "u1")[5:])
            del body
            session.give_back(borrowed)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert len(session.to_release) == 1600 - len(kept)
    kept.clear()
    gc.collect()
    assert Counter(session.to_release) == {(region.id, 64 * number): 1 for number in range(1600)}


def test_owner_of_views_is_told_through_the_one_who_waits(session, region):
    told = threading.Event()
    session.when_told(told.set)
    body, borrowed = session.borrow(message_in(region, b"x"))
    session.give_back(borrowed)
    del borrowed
    assert not told.is_set()
    del body
    assert told.is_set()


# --- regions ---------------------------------------------------------------------------------------------------------

BROKEN = {
    "beyond its end": (REGION_BYTES, 1, r"block 1048576\+1 is outside its region of 1048576 bytes or not aligned"),
    "over its end": (REGION_BYTES - 64, 65, r"block 1048512\+65 is outside its region"),
    "far away": (2**64 - 64, 64, r"block 18446744073709551552\+64 is outside its region"),
    "as long as can be": (0, 2**64 - 1, r"block 0\+18446744073709551615 is outside its region"),
    "misaligned": (32, 10, r"block 32\+10 is outside its region of 1048576 bytes or not aligned"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_block_outside_its_region_is_refused(session, region, case):
    offset, length, message = BROKEN[case]
    with pytest.raises(ProtocolError, match=message):
        session.borrow(Message(REQUEST, 1, IN_BLOCK, 0, b"", length, length, region.id, offset, 0))


def test_block_up_to_the_end_of_its_region_is_taken(session, region):
    body, _ = session.borrow(Message(REQUEST, 1, IN_BLOCK, 0, b"", 64, 64, region.id, REGION_BYTES - 64, 0))
    assert len(body) == 64
    empty, _ = session.borrow(Message(REQUEST, 1, IN_BLOCK, 0, b"", 0, 0, region.id, REGION_BYTES, 0))
    assert len(empty) == 0


def test_region_that_was_never_introduced_is_refused(session, region):
    with pytest.raises(ProtocolError, match=f"block of region {region.id + 1}, which was never introduced"):
        session.borrow(Message(REQUEST, 1, IN_BLOCK, 0, b"", 0, 0, region.id + 1, 0, 0))


def test_forgotten_region_is_unmapped_and_its_views_live_on(session, region):
    kept, borrowed = session.borrow(message_in(region, b"kept"))
    session.give_back(borrowed)
    del borrowed
    assert session.regions.mapped_bytes == REGION_BYTES
    session.handle(Forgotten(region.id))
    session.handle(Forgotten(region.id))
    assert session.regions.mapped_bytes == 0
    region.close()
    assert bytes(kept) == b"kept"
    with pytest.raises(ProtocolError, match="never introduced"):
        session.borrow(Message(REQUEST, 1, IN_BLOCK, 0, b"", 4, 4, region.id, 0, 0))


def test_region_is_unmapped_when_its_last_view_is_gone(session, region):
    kept, borrowed = session.borrow(message_in(region, b"kept"))
    session.give_back(borrowed)
    del borrowed
    session.handle(Forgotten(region.id))
    maps = Path("/proc/self/maps")
    ours = maps.read_text().count("memfd:perfkit")
    del kept
    gc.collect()
    assert maps.read_text().count("memfd:perfkit") == ours - 1


def test_region_that_is_introduced_twice_is_mapped_once(session, region):
    """Connections race: each introduces a region until one was answered. The first counts."""
    before = open_descriptors()
    body, _ = session.borrow(message_in(region, b"first"))
    other = Region(REGION_BYTES)
    session.handle(introduction(region))
    session.handle(introduction(other, region.id))
    other.close()
    assert session.regions.mapped_bytes == REGION_BYTES
    assert open_descriptors() == before
    assert bytes(body) == b"first"


def test_too_many_regions_are_refused(region):
    regions = Regions(max_regions=3)
    for number in range(3):
        regions.add(number, open_descriptor(region.descriptor, REGION_BYTES))
    with pytest.raises(ProtocolError, match="more than 3 regions of shared memory; the peer is broken"):
        regions.add(3, open_descriptor(region.descriptor, REGION_BYTES))
    regions.forget(0)
    regions.add(3, open_descriptor(region.descriptor, REGION_BYTES))
    regions.close()
    assert regions.mapped_bytes == 0


def hostile(size: int, *, sealed: bool, reserved: int) -> int:
    import fcntl

    descriptor = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if reserved:
        os.posix_fallocate(descriptor, 0, reserved)
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return descriptor


HOSTILE_MEMORY = {
    "unsealed": (lambda: hostile(8192, sealed=False, reserved=8192), "not sealed against truncation; refused"),
    "sparse": (lambda: hostile(2**40, sealed=True, reserved=4096), "the peer reserved 4096 of 1099511627776 bytes"),
    "of another size": (lambda: hostile(4096, sealed=True, reserved=4096), "region of 4096 bytes announced as 8192"),
    "empty": (lambda: hostile(0, sealed=True, reserved=0), "region of 0 bytes announced as"),
    "no memory at all": (lambda: os.open("/dev/null", os.O_RDONLY), "not sealed against truncation; refused"),
}


@pytest.mark.parametrize("case", HOSTILE_MEMORY)
@pytest.mark.parametrize("carrier", ["region", "segment"])
def test_hostile_memory_is_refused_and_its_descriptor_closed(session, case, carrier):
    make, message = HOSTILE_MEMORY[case]
    announced = {"sparse": 2**40, "empty": 0}.get(case, 8192)
    before = open_descriptors()
    mapped = Mapped(99, announced, Descriptor(make()))
    segment = Message(REQUEST, 1, SEGMENT, 0, b"", 10, 10, announced, 0, 0)
    segment.descriptor = mapped.descriptor
    with pytest.raises(TransferError, match=message):
        session.handle(mapped) if carrier == "region" else session.borrow(segment)
    assert open_descriptors() == before
    assert 99 not in session.regions


def test_segment_lives_as_long_as_its_views(session):
    before = open_descriptors()
    segment = Region(8192)
    segment.view[:5] = b"once!"
    message = Message(REQUEST, 1, SEGMENT, 0, b"", 5, 5, segment.size_bytes, 0, 0)
    message.descriptor = Descriptor(os.dup(segment.descriptor))
    body, borrowed = session.borrow(message)
    segment.close()
    assert borrowed is None
    assert open_descriptors() - before <= 1  # the map's own
    kept = np.frombuffer(body, "u1")[1:]
    del body, message
    gc.collect()
    assert bytes(kept) == b"nce!"
    del kept
    gc.collect()
    assert open_descriptors() == before


def test_body_beyond_its_segment_is_refused(session):
    segment = Region(8192)
    message = Message(REQUEST, 1, SEGMENT, 0, b"", 8193, 5, segment.size_bytes, 0, 0)
    message.descriptor = Descriptor(os.dup(segment.descriptor))
    with pytest.raises(TransferError, match=r"block 0\+8193 lies outside its region of 8192 bytes"):
        session.borrow(message)
    segment.close()


# --- private memory for bodies ---------------------------------------------------------------------------------------


def address(view: Any) -> int:
    return np.frombuffer(view, "u1").__array_interface__["data"][0]


BODY_VIEWS = {
    "memoryview": lambda body: body[5:],
    "array": lambda body: np.frombuffer(body, "u1")[::3],
    "Arrow buffer": pa.py_buffer,
    "read-only": lambda body: body.toreadonly()[1:2],
}


@pytest.mark.parametrize("name", BODY_VIEWS)
def test_memory_of_a_body_is_used_again_once_nobody_views_it(name):
    memory = BodyMemory()
    body = memory.allocate(100_000)
    first, view = address(body), BODY_VIEWS[name](body)
    del body
    second = memory.allocate(100_000)
    assert address(second) != first
    del view
    gc.collect()
    assert address(memory.allocate(100_000)) == first
    assert bytes(second[:0]) == b""


def test_memory_of_a_body_is_not_used_for_a_much_smaller_one():
    memory = BodyMemory()
    first = address(memory.allocate(100_000))
    assert address(memory.allocate(40_000)) != first
    assert address(memory.allocate(50_000)) == first


def test_memory_that_is_kept_for_bodies_is_bounded():
    memory = BodyMemory(kept_bytes=250_000)
    bodies = [memory.allocate(100_000) for _ in range(10)]
    assert sum(anchor.nbytes for anchor in memory._kept) <= 250_000
    memory.allocate(10**6)
    assert sum(anchor.nbytes for anchor in memory._kept) <= 250_000
    assert len({address(body) for body in bodies}) == 10


@pytest.mark.parametrize("length", [0, 64, 100_032, 3 * 2**20])
def test_memory_of_a_body_is_aligned_and_writable(length):
    body = BodyMemory().allocate(length)
    assert body.nbytes == length
    assert not body.readonly
    assert not length or address(body) % 64 == 0


def test_kept_memory_is_given_up_before_a_body_is_refused(monkeypatch):
    """Headroom is short: what is only kept goes first, and only then the peer is refused."""
    memory, asked = BodyMemory(), []
    memory.allocate(100_000)

    def check_room(length: int, purpose: str) -> None:
        asked.append(len(memory._kept))
        if memory._kept or length > 10**6:
            raise NoRoomError(f"no headroom {purpose}")

    monkeypatch.setattr(borrowing, "check_room", check_room)
    assert memory.allocate(500_000).nbytes == 500_000
    assert asked == [1, 0]
    with pytest.raises(NoRoomError, match="no headroom for a payload that a peer announced"):
        memory.allocate(2 * 10**6)


def test_threads_never_get_the_same_memory_for_two_bodies():
    memory = BodyMemory()

    def use(number: int) -> bool:
        for turn in range(300):
            body = np.frombuffer(memory.allocate(20_000 + turn), "u1")
            body[:] = number
            if not (body == number).all():
                return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(use, range(8)))


def test_budget_lets_one_go_on_when_another_is_done():
    """More than fits waits; one that alone is larger than the limit goes on when nobody else has any."""
    budget = Budget(100, longest_wait_s=60)
    budget.take(80)
    taken = threading.Event()
    waiting = threading.Thread(target=lambda: (budget.take(1000), taken.set()))
    waiting.start()
    assert not taken.wait(0.1)
    budget.give_back(80)
    assert taken.wait(20)
    waiting.join()
    assert budget.used_bytes == 1000
    budget.give_back(1000)
    assert budget.used_bytes == 0


def test_budget_is_no_deadlock():
    """A handler that sends to its own server has some of the budget, and needs more of it to be done."""
    budget = Budget(100, longest_wait_s=0.05)
    budget.take(80)
    budget.take(80)
    assert budget.used_bytes == 160
