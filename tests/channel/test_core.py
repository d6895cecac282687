"""The protocol without I/O: what it makes of bytes, however they are cut; what it refuses; whose memory it keeps."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.channel import core as core_module
from perfkit.channel import frames
from perfkit.channel.core import Core, aligned_memory
from perfkit.channel.documents import pack_document
from perfkit.channel.events import (
    Cancelled,
    Ended,
    Failed,
    Fetched,
    Forgotten,
    Greeted,
    Leaving,
    Mapped,
    Message,
    Released,
)
from perfkit.channel.frames import (
    BYTES,
    EXCLUSIVE,
    HEADER_BYTES,
    IN_BLOCK,
    NOTHING,
    SEGMENT,
    pack_frame,
    pack_header,
    padded,
)
from perfkit.channel.limits import Limits, check_limits
from perfkit.errors import InputError, ProtocolError

READ_BYTES = core_module._READ_BYTES
COPIED_BYTES = core_module._COPIED_BYTES
AROUND = (0, 1, 63, 64, 65, COPIED_BYTES, COPIED_BYTES + 1, READ_BYTES - 64, READ_BYTES, READ_BYTES + 1, 3 * READ_BYTES)


def values(length: int, seed: int) -> bytes:
    """Bytes that tell where they belong."""
    return (np.arange(length, dtype=np.uint32) * 7 + seed * 31).astype(np.uint8).tobytes()


def framed(header: bytes, meta: bytes = b"", body: bytes = b"") -> bytes:
    return pack_frame(header, meta) + body + bytes(-len(body) % 64)


def request(request_id: int, meta: bytes = b"\0\0", body: bytes | None = None, **fields: Any) -> bytes:
    """A request on the wire."""
    if body is not None:
        fields = {"carrier": BYTES, "body_bytes": len(body), **fields}
    return framed(pack_header(frames.REQUEST, request_id, meta_bytes=len(meta), **fields), meta, body or b"")


def open_server(**options: Any) -> Core:
    core = Core(is_server=True, **options)
    feed(core, pack_document(frames.HELLO, {}))
    core.welcome({})
    return core


def open_client(**options: Any) -> Core:
    core = Core(is_server=False, **options)
    core.hello({})
    feed(core, pack_document(frames.WELCOME, {}))
    return core


def feed(core: Core, data: bytes) -> list[Any]:
    """Give a core bytes in reads as large as it wants them."""
    rest, events = memoryview(data), []
    while rest:
        buffer = core.get_buffer()
        assert len(buffer) > 0
        count = min(len(buffer), len(rest))
        buffer[:count] = rest[:count]
        events += core.buffer_updated(count)
        rest = rest[count:]
    return events


def feed_cut(core: Core, parts: list[tuple[bytes, bool]], cuts: set[int]) -> list[Any]:
    """Give a core bytes in reads that end at `cuts` and, as in the kernel, before each part with a descriptor."""
    data, start, descriptors = b"".join(part for part, _ in parts), 0, set()
    for part, has_descriptor in parts:
        if has_descriptor:
            descriptors.add(start)
        start += len(part)
    events, edges = [], sorted({0, *(cut for cut in cuts if cut < start), *descriptors, start})
    for begin, end in itertools.pairwise(edges):
        if begin in descriptors:
            core.descriptors_received([os.open("/dev/null", os.O_RDONLY)])
        events += feed(core, data[begin:end])
    return events


def plain(event: Any) -> Any:
    """An event as something that can be compared."""
    if isinstance(event, Message):
        body = bytes(event.body) if event.body is not None else None
        fields = (event.op, event.request_id, event.carrier, event.flags, event.meta, body, event.body_bytes)
        return (*fields, event.payload_bytes, event.region, event.offset, event.time_ns, event.descriptor is not None)
    return (event.region, event.region_bytes) if isinstance(event, Mapped) else event


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- however the bytes are cut ---------------------------------------------------------------------------------------

lengths = st.one_of(st.sampled_from(AROUND), st.integers(0, 300), st.integers(0, 2 * READ_BYTES))
metas = st.one_of(st.integers(2, 200), st.sampled_from((64, 4000, READ_BYTES - HEADER_BYTES, READ_BYTES + 1)))
small = st.integers(0, 2**64 - 1)


@st.composite
def frame(draw: st.DrawFn) -> tuple[str, Any]:
    kinds = ("bytes", "bytes", "bytes", "block", "nothing", "segment", "region", "cancel", "release", "forget")
    kind = draw(st.sampled_from(kinds))
    if kind == "bytes":
        return kind, (draw(metas), draw(lengths), draw(small))
    if kind in ("block", "nothing", "segment"):
        return kind, (draw(metas), draw(small), draw(small))
    if kind == "release":
        return kind, draw(st.lists(st.tuples(small, small), max_size=50))
    return kind, draw(small)


def parts_of(drawn: list[tuple[str, Any]]) -> list[tuple[bytes, bool]]:
    """The frames of a client, and which of them come with a descriptor."""
    client, parts = open_client(), []
    for index, (kind, value) in enumerate(drawn):
        if kind == "bytes":
            meta, body, time_ns = value
            header = client.request(meta, BYTES, body, 3 * body, timeout_ns=time_ns)
            parts.append((framed(header, values(meta, index), values(body, index)), False))
        elif kind in ("block", "segment", "nothing"):
            carrier = {"block": IN_BLOCK, "segment": SEGMENT, "nothing": NOTHING}[kind]
            meta, region, offset = value
            header = client.request(meta, carrier, 1000, 2000, region, offset)
            parts.append((framed(header, values(meta, index)), kind == "segment"))
        elif kind == "region":
            parts.append((client.region(value, value), True))
        else:
            makes = {"cancel": client.cancel, "forget": client.forget, "release": client.release}
            parts.append((makes[kind](value), False))
    return parts


@settings(deadline=None, max_examples=150)
@given(st.lists(frame(), min_size=1, max_size=8), st.data())
def test_frames_mean_the_same_however_they_are_cut(drawn, data):
    """All bodies are looked at in the end only: none is overwritten by what came later."""
    parts = parts_of(drawn)
    total = sum(len(part) for part, _ in parts)
    cuts = data.draw(st.sets(st.integers(1, total), max_size=20))
    starts = np.cumsum([len(part) for part, _ in parts])
    near = data.draw(st.sets(st.integers(-65, 65), max_size=5))
    cuts |= {int(start) + step for start in starts for step in near if 0 < start + step < total}
    whole = feed_cut(open_server(), parts, set())
    cut = feed_cut(open_server(), parts, cuts)
    assert [plain(event) for event in cut] == [plain(event) for event in whole]
    assert len(whole) == len(parts)


def test_frames_mean_the_same_byte_by_byte():
    drawn = [("bytes", (70, 200, 5)), ("release", [(1, 64)]), ("region", 7), ("bytes", (2, 0, 0))]
    parts = parts_of(drawn)
    total = sum(len(part) for part, _ in parts)
    whole = feed_cut(open_server(), parts, set())
    assert [plain(event) for event in feed_cut(open_server(), parts, set(range(total)))] == list(map(plain, whole))


@pytest.mark.parametrize("body_bytes", AROUND)
@pytest.mark.parametrize("meta_bytes", [2, 64, READ_BYTES, 2 * READ_BYTES])
def test_bodies_and_descriptions_arrive_beyond_the_read_buffer(body_bytes, meta_bytes):
    core = open_server()
    for number in (1, 2):
        body, meta = values(body_bytes, number), values(meta_bytes, number)
        [message] = feed(core, request(number, meta, body))
        assert message.meta == meta
        assert bytes(message.body) == body


def test_several_messages_in_one_read():
    core = open_server()
    events = feed(core, b"".join(request(number, body=values(1000 * number, number)) for number in range(1, 9)))
    assert [(event.request_id, bytes(event.body)) for event in events] == [
        (number, values(1000 * number, number)) for number in range(1, 9)
    ]
    assert not core.is_in_the_middle


def test_answers_may_come_in_any_order():
    client, server = open_client(), open_server()
    for _ in range(4):
        feed(server, framed(client.request(2), b"\0\0"))
    for number in (3, 1, 4, 2):
        [reply] = feed(client, framed(server.reply(number, 2), b"ok"))
        assert reply.request_id == number


def test_what_padding_holds_means_nothing():
    """A peer that pads with something else than zeros does no harm."""
    noisy = request(1, b"abc", b"xyz").replace(bytes(61), b"\xff" * 61)
    [message] = feed(open_server(), noisy)
    assert (message.meta, bytes(message.body)) == (b"abc", b"xyz")


# --- states ----------------------------------------------------------------------------------------------------------


def test_life_of_a_connection():
    client, server = Core(is_server=False), Core(is_server=True)
    assert (client.state, server.state) == ("new", "new")
    assert feed(server, client.hello({"version": 1})) == [Greeted({"version": 1})]
    assert (client.state, server.state) == ("greeting", "greeting")
    assert feed(client, server.welcome({"pid": 7})) == [Greeted({"pid": 7})]
    assert (client.state, server.state) == ("open", "open")
    assert feed(client, server.goodbye("closing", 3)) == [Leaving(3, "closing")]
    assert (client.state, server.state) == ("leaving", "leaving")
    assert server.end_received() == [Ended(in_the_middle=False)]
    server.close()
    assert server.state == "closed"


def test_request_under_way_is_answered_after_goodbye():
    client, server = open_client(), open_server()
    feed(server, framed(client.request(2), b"\0\0"))
    [leaving] = feed(client, server.goodbye("closing", 1))
    assert leaving.last_request_id == 1
    [reply] = feed(client, framed(server.reply(1, 0)))
    assert reply.request_id == 1


def test_end_in_the_middle_of_a_frame_is_told():
    core = open_server()
    feed(core, request(1)[:70])
    assert core.is_in_the_middle
    assert core.end_received() == [Ended(in_the_middle=True)]
    large = open_server()
    feed(large, request(1, body=bytes(10**6))[:-1])
    assert large.waits_for_body
    assert large.end_received() == [Ended(in_the_middle=True)]


SERVER_MAY_HEAR = {
    "new": ("HELLO",),
    "greeting": (),
    "open": ("REQUEST", "CANCEL", "RELEASE", "REGION", "FORGET", "FETCH", "GOODBYE", "ERROR"),
    "closed": (),
}
CLIENT_MAY_HEAR = {
    "new": (),
    "greeting": ("WELCOME", "ERROR", "GOODBYE"),
    "open": ("REPLY", "ERROR", "RELEASE", "REGION", "FORGET", "GOODBYE"),
    "closed": (),
}


def in_state(state: str, *, is_server: bool) -> Core:
    core = Core(is_server=is_server)
    if state == "greeting":
        feed(core, pack_document(frames.HELLO, {})) if is_server else core.hello({})
    elif state != "new":
        core = open_server() if is_server else open_client()
    if state == "closed":
        core.close()
    return core


@pytest.mark.parametrize("is_server", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("state", SERVER_MAY_HEAR)
def test_each_state_takes_its_frames_and_no_others(is_server, state):
    """All 256 operations in every state."""
    allowed = (SERVER_MAY_HEAR if is_server else CLIENT_MAY_HEAR)[state]
    for op in range(256):
        name = frames.OP_NAMES[op] if 0 < op < len(frames.OP_NAMES) else ""
        core = in_state(state, is_server=is_server)
        core.descriptors_received([os.open("/dev/null", os.O_RDONLY)])
        if name == "REPLY":
            core._under_way.add(1)
        frame = pack_header(op, 0 if name == "ERROR" else 1)
        if name in allowed:
            assert feed(core, frame) != []
        else:
            with pytest.raises(ProtocolError) as caught:
                feed(core, frame)
            says = ", ".join(sorted(allowed, key=frames.OP_NAMES.index)) or "nothing"
            assert str(caught.value) == f"frame {name or op} in state {state!r}; allowed: {says}"
        core.close()


def test_welcome_comes_once():
    client = open_client()
    with pytest.raises(ProtocolError, match="frame WELCOME in state 'open'"):
        feed(client, pack_document(frames.WELCOME, {}))


def test_requests_in_the_same_read_as_hello_are_refused():
    """A client waits for its welcome."""
    with pytest.raises(ProtocolError, match="frame REQUEST in state 'greeting'; allowed: nothing"):
        feed(Core(is_server=True), pack_document(frames.HELLO, {}) + request(1))


# --- rules -----------------------------------------------------------------------------------------------------------

RULES = {
    "noise": (b"GET / HTTP/1.1\r\n" * 4, "frame begins with b'GET ', must be b'pfc1'; does the peer run perfkit's"),
    "long description": (
        pack_header(frames.REQUEST, 1, meta_bytes=2**32 - 1),
        "description of 4294967295 bytes, at most 1048576 are allowed",
    ),
    "long body": (
        pack_header(frames.REQUEST, 1, carrier=BYTES, body_bytes=2**64 - 1),
        "payload of 18446744073709551615 bytes as bytes, at most 4294967296 are allowed",
    ),
    "unknown carrier": (request(1, carrier=4), r"carrier 4; allowed: 0 to 3 \(nothing, bytes, block, segment\)"),
    "same number": (request(7) + request(7), "request 7 after 7; numbers must grow and be below"),
    "smaller number": (request(7) + request(3), "request 3 after 7; numbers must grow and be below"),
    "number zero": (request(0), "request 0 after 0; numbers must grow and be below"),
    "number of a call": (request(2**63), f"request {2**63} after 0; numbers must grow and be below {2**63}"),
    "after an exclusive one": (request(1, flags=EXCLUSIVE) + request(2), "request 2 came before the answer to an excl"),
    "exclusive and not alone": (request(1) + request(2, flags=EXCLUSIVE), "came before the answer to others, and says"),
    "too many": (b"".join(request(number) for number in range(1, 66)), "more than 64 requests under way on one conn"),
    "segment without descriptor": (request(1, carrier=SEGMENT), "a segment was announced without its descriptor"),
    "region without descriptor": (pack_header(frames.REGION, region=1), "a region was announced without its desc"),
    "half a name": (framed(pack_header(frames.RELEASE, meta_bytes=8), bytes(8)), "release of 8 bytes; must be up to"),
    "too many names": (
        framed(pack_header(frames.RELEASE, meta_bytes=4097 * 16), bytes(4097 * 16)),
        "release of 65552 bytes; must be up to 4096 names of 16 bytes",
    ),
    "no JSON": (framed(pack_header(frames.GOODBYE, meta_bytes=3), b"{x}"), "GOODBYE is no JSON object"),
    "no UTF-8": (framed(pack_header(frames.ERROR, meta_bytes=2), b"\xff\xff"), "ERROR is no JSON object"),
    "JSON without end": (
        framed(pack_header(frames.GOODBYE, meta_bytes=60_000), b"[" * 60_000),
        "GOODBYE is no JSON object",
    ),
    "no object": (framed(pack_header(frames.GOODBYE, meta_bytes=2), b"[]"), "GOODBYE is a JSON list, must be an obje"),
    "long document": (
        framed(pack_header(frames.GOODBYE, meta_bytes=70_000), b" " * 70_000),
        "GOODBYE of 70000 bytes, at most 65536 are allowed",
    ),
}


@pytest.mark.parametrize("case", RULES)
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
def test_broken_rule_is_named(case, is_cut):
    data, message = RULES[case]
    with pytest.raises(ProtocolError, match=message):
        feed_cut(open_server(), [(data, False)], set(range(0, len(data), 50)) if is_cut else set())


@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
def test_limit_of_a_body_holds_however_it_comes(is_cut):
    """A small limit: bodies that fit the read buffer are judged as those that do not."""
    data = request(1, body=bytes(70_000))
    with pytest.raises(ProtocolError, match="payload of 70000 bytes as bytes, at most 65536 are allowed"):
        feed_cut(open_server(limits=Limits(65_536)), [(data, False)], {100, 30_000} if is_cut else set())
    [message] = feed(open_server(limits=Limits(65_536)), request(1, body=bytes(65_536)))
    assert message.body_bytes == 65_536


def test_limit_of_a_body_is_for_bytes_alone():
    """What lies in shared memory costs nothing here."""
    [message] = feed(open_server(limits=Limits(65_536)), request(1, carrier=IN_BLOCK, body_bytes=2**40))
    assert message.body_bytes == 2**40


@pytest.mark.parametrize("op", [frames.REPLY, frames.ERROR], ids=["reply", "error"])
def test_answer_to_what_was_not_asked_is_refused(op):
    client = open_client()
    client.request(2)
    with pytest.raises(ProtocolError, match=r"(reply to|error of) request 9, which is not under way"):
        feed(client, pack_header(op, 9))


@pytest.mark.parametrize("op", [frames.REPLY, frames.ERROR], ids=["reply", "error"])
def test_second_answer_is_refused(op):
    client = open_client()
    client.request(2)
    feed(client, pack_header(frames.REPLY, 1))
    with pytest.raises(ProtocolError, match="request 1, which is not under way"):
        feed(client, pack_header(op, 1))


def test_connection_outlives_four_billion_requests():
    """A busy lane has that many within a day."""
    client, server = open_client(), open_server()
    client.last_request_id = server.last_request_id = 2**32 - 2
    for number in (2**32 - 1, 2**32, 2**32 + 1):
        [message] = feed(server, framed(client.request(2), b"\0\0"))
        assert message.request_id == number
        [reply] = feed(client, server.reply(number, 0))
        assert reply.request_id == number


def test_answered_requests_make_room_for_others():
    client, server = open_client(), open_server(limits=Limits(in_flight=2))
    for _ in range(5):
        for _ in range(2):
            feed(server, framed(client.request(2), b"\0\0"))
        server.reply(client.last_request_id, 0)
        server.error(client.last_request_id - 1, "handler", "E", "t")


def test_limits_under_which_nothing_would_work_are_refused():
    with pytest.raises(InputError, match="max_message_bytes == 10, must be 65536 or more"):
        check_limits(10, 1)
    with pytest.raises(InputError, match="max_in_flight == 0, must be 1 or more"):
        check_limits(2**20, 0)


# --- what each frame says --------------------------------------------------------------------------------------------


def test_every_frame_of_a_client_says_what_was_meant():
    client, server = open_client(), open_server()
    assert feed(server, client.release([(1, 64), (2, 128)])) == [Released(((1, 64), (2, 128)))]
    assert feed(server, client.forget(3)) == [Forgotten(3)]
    assert feed(server, client.cancel(4)) == [Cancelled(4)]
    assert feed(server, client.fetch(5)) == [Fetched(5)]
    assert feed(server, client.goodbye("x" * 1000, 6)) == [Leaving(6, "x" * 200)]


def test_error_says_why_and_is_never_too_long_to_be_read():
    client, server = open_client(), open_server()
    client.request(2)
    feed(server, request(1))
    assert feed(client, server.error(1, "handler", "KeyError", "'x'", flags=frames.RELEASED)) == [
        Failed(1, "handler", "KeyError", "'x'", is_released=True)
    ]
    [failed] = feed(client, server.error(0, "protocol", "E" * 10**6, "\U0001f600" * 10**6))
    assert (len(failed.kind), failed.text) == (200, "\U0001f600" * 4000)


@pytest.mark.parametrize("length", [0, 100, 10**6, 2**64 - 1])
def test_fields_that_an_operation_does_not_use_mean_nothing(length):
    """A CANCEL has no body, whatever it says of one: the next frame begins behind its header."""
    core = open_server()
    strange = {"carrier": BYTES, "flags": 0xFFFF, "body_bytes": length, "payload_bytes": 9, "region": 9, "offset": 9}
    odd = pack_header(frames.CANCEL, 7, **strange, time_ns=9) + pack_header(frames.FETCH, 8, **strange)
    assert feed(core, odd + request(1, flags=0xFFFE))[:2] == [Cancelled(7), Fetched(8)]
    assert core.last_request_id == 1
    assert not core.is_in_the_middle


def test_documents_may_say_more_than_is_known():
    """A later version adds fields."""
    [failed] = feed(open_client(), pack_document(frames.ERROR, {"code": "protocol", "retry_after": 3, "text": ["x"]}))
    assert failed == Failed(0, "protocol", "", "['x']", is_released=False)


# --- memory ----------------------------------------------------------------------------------------------------------

VIEWS = {
    "memoryview": lambda body: body,
    "part of a memoryview": lambda body: body[100:-100],
    "array": lambda body: np.frombuffer(body, "u1"),
    "slice of an array": lambda body: np.frombuffer(body, "u1")[::3],
    "slice of a slice": lambda body: np.frombuffer(body, "u1").reshape(-1, 10)[5:][::2].T,
    "Arrow buffer": pa.py_buffer,
    "Arrow array": lambda body: pa.Array.from_buffers(pa.uint8(), len(body), [None, pa.py_buffer(body)])[50:],
}


@pytest.mark.parametrize("body_bytes", [20, 9000, 60_000, 200_000])
@pytest.mark.parametrize("name", VIEWS)
def test_body_keeps_its_values_while_it_is_viewed(name, body_bytes):
    """Although the connection reads on: small ones, those of the read buffer and large ones."""
    core, kept = open_server(), []
    body_bytes -= body_bytes % 10
    for number in range(1, 12):
        [message] = feed(core, request(number, body=values(body_bytes, number)))
        kept.append(VIEWS[name](message.body))
        message.body = None
    for number, view in enumerate(kept, 1):
        expected = VIEWS[name](memoryview(values(body_bytes, number)))
        assert same_bytes(view, expected)


def same_bytes(one: Any, other: Any) -> bool:
    return one.equals(other) if hasattr(one, "equals") else np.array_equal(np.asarray(one), np.asarray(other))


def test_bodies_of_one_read_keep_their_values():
    """Several messages come in one read, the last one cut in half: what is behind them is written, they are not."""
    core = open_server()
    data = b"".join(request(number, body=values(25_000, number)) for number in range(1, 8))
    events = feed(core, data[:120_000])
    events += feed(core, data[120_000:])
    assert [bytes(event.body) for event in events] == [values(25_000, number) for number in range(1, 8)]


@pytest.fixture
def allocations(monkeypatch):
    """Counts what the core allocates to read into."""
    seen: list[int] = []

    def counted(length: int) -> np.ndarray:
        seen.append(length)
        return aligned_memory(length)

    monkeypatch.setattr(core_module, "aligned_memory", counted)
    return seen


@pytest.mark.parametrize("body_bytes", [0, 20, 9000, READ_BYTES - 200])
def test_memory_is_used_again_when_nobody_views_it(allocations, body_bytes):
    core = open_server()
    for number in range(1, 200):
        [message] = feed(core, request(number, body=values(body_bytes, number)))
        assert len(message.body) == body_bytes
        del message
        core.reply(number, 0)
    assert len(allocations) == 1


def test_memory_is_replaced_only_while_it_is_viewed(allocations):
    core, kept = open_server(limits=Limits(in_flight=1000)), []
    for number in range(1, 31):
        [message] = feed(core, request(number, body=values(50_000, number)))
        if number <= 10:
            kept.append(message.body)
        del message
    assert len(allocations) == 11
    kept.clear()
    gc.collect()


def test_small_body_that_is_kept_does_not_keep_the_read_buffer(allocations):
    core, kept = open_server(), []
    for number in range(1, 60):
        [message] = feed(core, request(number, body=values(COPIED_BYTES, number)))
        kept.append(message.body)
    assert len(allocations) == 1


def test_long_descriptions_do_not_leave_ever_more_memory(allocations):
    core = open_server()
    for number in range(1, 20):
        feed(core, request(number, values(300_000, number)))
    assert sum(allocations) < 3 * 2**20


def test_large_body_is_allocated_once_and_filled_in_place():
    asked = []

    def allocate(length: int) -> memoryview:
        asked.append(aligned_memory(length))
        return asked[-1].data

    core = open_server(allocate=allocate)
    [message] = feed(core, request(1, body=values(1_000_001, 1)))
    assert [memory.nbytes for memory in asked] == [padded(1_000_001)]
    assert np.shares_memory(np.frombuffer(message.body, "u1"), asked[0])


@pytest.mark.parametrize("body_bytes", [COPIED_BYTES + 1, 10_000, READ_BYTES, 10**6])
@pytest.mark.parametrize("meta_bytes", [2, 63, 64, 65])
def test_bodies_begin_at_multiples_of_64_bytes(body_bytes, meta_bytes):
    """Wherever they come in a read. (Up to 8 KiB they are copied, to where Python puts them: multiples of 16.)"""
    core, body = open_server(), values(body_bytes, 1)
    data = b"".join(request(number, values(meta_bytes, number), body) for number in range(1, 4))
    for message in feed_cut(core, [(data, False)], {77, 5000, body_bytes + 99}):
        assert address(message.body) % 64 == 0
        assert message.body.readonly
    [message] = feed(open_server(), request(1, body=values(100, 1)))
    assert address(message.body) % 16 == 0
    assert message.body.readonly


def address(view: memoryview) -> int:
    return np.frombuffer(view, "u1").__array_interface__["data"][0]


# --- descriptors -----------------------------------------------------------------------------------------------------


def descriptors(count: int) -> list[int]:
    return [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]


def test_descriptors_that_nothing_announced_are_closed_with_the_connection():
    core, before = open_server(), open_descriptors()
    core.descriptors_received(descriptors(4))
    assert open_descriptors() == before + 4
    core.close()
    assert open_descriptors() == before


def test_too_many_descriptors_are_closed_and_refused():
    core, before = open_server(), open_descriptors()
    core.descriptors_received(descriptors(3))
    with pytest.raises(ProtocolError, match="more than 4 descriptors that nothing announced"):
        core.descriptors_received(descriptors(2))
    assert open_descriptors() == before
    assert core.state == "closed"


def test_descriptors_go_to_what_announces_them_in_order():
    core, sent = open_server(), descriptors(2)
    core.descriptors_received(sent)
    region, message = feed(core, pack_header(frames.REGION, region=9, body_bytes=4096) + request(1, carrier=SEGMENT))
    assert [region.descriptor.number, message.descriptor.number] == sent
    assert (region.region, region.region_bytes) == (9, 4096)


@pytest.mark.parametrize("broken", [b"noise".ljust(64), pack_header(frames.REGION, region=2)], ids=["noise", "region"])
def test_descriptors_of_events_that_get_lost_are_closed(broken):
    """A frame behind them breaks the rules: nobody ever sees the event."""
    core, before = open_server(), open_descriptors()
    core.descriptors_received(descriptors(1))
    with pytest.raises(ProtocolError):
        feed(core, pack_header(frames.REGION, region=1, body_bytes=4096) + broken)
    core.close()
    assert open_descriptors() == before


def test_descriptors_of_events_that_nobody_takes_are_closed():
    core, before = open_server(), open_descriptors()
    core.descriptors_received(descriptors(2))
    events = feed(core, pack_header(frames.REGION, region=1, body_bytes=4096) + request(1, carrier=SEGMENT))
    assert len(events) == 2
    del events
    gc.collect()
    assert open_descriptors() == before
