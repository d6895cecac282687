"""Broken and malicious clients: refused by name, at their own expense, and nobody else notices."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import perfkit
from perfkit.channel import frames
from perfkit.channel.answering import _Cancellations
from perfkit.channel.choosing import default_engine
from perfkit.channel.core import Core
from perfkit.channel.documents import pack_document
from perfkit.channel.events import Cancelled, Ended, Failed, Greeted, Mapped, Message
from perfkit.channel.frames import (
    BYTES,
    CALLS_FROM,
    EXCLUSIVE,
    IN_BLOCK,
    NOTHING,
    SEGMENT,
    pack_frame,
    pack_header,
)
from perfkit.channel.greeting import Greeting
from perfkit.channel.grpc_calls import SEND, SERVICE, STREAM, TOKEN_KEY
from perfkit.channel.lane import Lane
from perfkit.channel.loading import Load
from perfkit.channel.peers import Peer
from perfkit.channel.requests import Outcome
from perfkit.channel.session import Session
from perfkit.errors import CodecError, PeerLostError, ProtocolError, TransferTimeoutError
from perfkit.transfer.arena import Arena
from perfkit.transfer.codecs import get_codec
from perfkit.transfer.grpc_pb.transfer_pb2 import Chunk, Payload
from perfkit.transfer.memory import Region

TARGET = Path(__file__).with_name("hostile_target.py")
STALLED_S = 1.0
NOBODY = 65_534


class Target:
    """A server in a process of its own, and a good client of it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "target.sock"
        self.address = f"unix:{self.path}"
        command = [sys.executable, str(TARGET), self.address, json.dumps(options)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.statistics()
        self.good = perfkit.connect(self.address, methods=["uds"], record=False, timeout_s=60)
        self.assert_serves()

    def statistics(self) -> dict[str, Any]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def assert_serves(self) -> None:
        """The good client is served, and was not thrown out meanwhile."""
        payload = np.random.default_rng(3).bytes(20_000)
        assert self.good.send(payload) == payload
        assert self.good.statistics().reconnects == 0
        assert self.good.statistics().retries == 0

    def close(self) -> None:
        self.good.close()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Target]:
    folder = Path(tempfile.mkdtemp(prefix="pk-"))
    target = Target(folder, **options)
    try:
        yield target
    finally:
        target.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def target():
    with running(stalled_s=STALLED_S, max_peers=20, max_in_flight=6) as started:
        yield started


class Anything(set[int]):
    """Numbers of requests: a client that says what it likes takes every answer."""

    def __contains__(self, number: object) -> bool:
        return True


class RawClient:
    """A client that says what it is told to say."""

    def __init__(self, target: Target | str, **greeting: Any) -> None:
        path = target.removeprefix("unix:") if isinstance(target, str) else str(target.path)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.core = Core(is_server=False)
        self.core._under_way = Anything()
        self.events: list[Any] = []
        self.token = ""
        if greeting.get("methods") != "none":
            self.greet(**greeting)

    def greet(self, **changed: Any) -> None:
        self.socket.sendall(self.core.hello({**HELLO, **changed}))
        [greeted] = self.read(Greeted)
        self.token = greeted.facts["token"]

    def send(self, data: bytes, *descriptors: int) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was said
            sent = self.socket.sendmsg([data], rights)
            self.socket.sendall(data[sent:])

    def read(self, *wanted: type) -> list[Any]:
        """All events up to one of these sorts; the end of the connection, at the latest."""
        seen: list[Any] = []
        while not any(isinstance(event, (*wanted, Ended)) for event in seen):
            buffer = self.core.get_buffer()
            try:
                count, ancillary, _, _ = self.socket.recvmsg_into([buffer], socket.CMSG_SPACE(16))
            except ConnectionResetError:
                count, ancillary = 0, []
            received = array.array("i")
            for _, _, data in ancillary:
                received.frombytes(data)
            self.core.descriptors_received(received)
            seen += self.core.buffer_updated(count) if count else self.core.end_received()
        return seen

    def refusal(self) -> str:
        """Why the server ended the connection: it says so, and does."""
        events = self.read()
        reasons = [event.text for event in events if isinstance(event, Failed) and event.request_id == 0]
        assert isinstance(events[-1], Ended), events
        return reasons[0] if reasons else ""

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.core.close()


HELLO = {
    "version": frames.VERSION,
    "methods": ["uds", "shm_pool", "shm"],
    "pickle": False,
    "message_bytes": 2**32,
    "pid": 1,
    "pool": "default",
    "token": "",
    "grpc": "",
    "lanes": 1,
    "fingerprint": {},
}


def meta_of(length: int) -> bytes:
    """No session, and the description of that many bytes."""
    return b"\0\0\1%\0" + length.to_bytes(8, "little")


assert meta_of(7) == b"\0\0" + get_codec("binary", "raw").encode(b"payload").meta


def request(request_id: int = 1, body: bytes = b"payload", meta: bytes | None = None, **fields: Any) -> bytes:
    fields = {"flags": EXCLUSIVE, "carrier": BYTES, "body_bytes": len(body), **fields}
    meta = meta_of(min(fields["body_bytes"], 2**63)) if meta is None else meta
    header = pack_header(frames.REQUEST, request_id, meta_bytes=len(meta), **fields)
    data = pack_frame(header, meta)
    return data + body + bytes(-len(body) % 64) if fields["carrier"] == BYTES else data


def memory(size: int = 8192, *, sealed: bool = True, reserved: int = -1) -> int:
    descriptor = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if reserved:
        os.posix_fallocate(descriptor, 0, size if reserved < 0 else reserved)
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return descriptor


def region(number: int = 1, size: int = 8192) -> bytes:
    return pack_header(frames.REGION, region=number, body_bytes=size)


def block(offset: int, length: int, number: int = 1) -> bytes:
    return request(carrier=IN_BLOCK, body_bytes=length, region=number, offset=offset)


def segment(size: int = 8192, length: int = 10) -> bytes:
    return request(carrier=SEGMENT, body_bytes=length, region=size)


NO_MEMORY: tuple[Any, ...] = ()
HOSTILE: dict[str, tuple[bytes, tuple[Any, ...], str]] = {
    # what is sent, what travels beside it, and why it is refused
    "noise": (b"GET / HTTP/1.1\r\n" * 9, NO_MEMORY, "frame begins with b'GET ', must be b'pfc1'"),
    "unsealed region": (region(), (lambda: memory(sealed=False),), "not sealed against truncation"),
    "sparse region": (region(1, 2**40), (lambda: memory(2**40, reserved=4096),), "reserved 4096 of 1099511627776"),
    "region of another size": (region(1, 2**30), (memory,), "region of 8192 bytes announced as 1073741824"),
    "region without memory": (region(), NO_MEMORY, "a region was announced without its descriptor"),
    "region that is no memory": (region(), (lambda: os.open("/dev/zero", os.O_RDONLY),), "not sealed against"),
    "region that is a socket": (region(), (lambda: socket.socket().detach(),), "not sealed against truncation"),
    "unsealed segment": (segment(), (lambda: memory(sealed=False),), "not sealed against truncation"),
    "segment without memory": (segment(), NO_MEMORY, "a segment was announced without its descriptor"),
    "body beyond its segment": (segment(length=8193), (memory,), "block 0+8193 lies outside its region of 8192"),
    "block beyond its region": (region() + block(8192, 64), (memory,), "block 8192+64 is outside its region of 8192"),
    "block over the edge": (region() + block(2**64 - 64, 128), (memory,), "is outside its region of 8192 bytes"),
    "misaligned block": (region() + block(8, 64), (memory,), "block 8+64 is outside its region of 8192 bytes or not"),
    "block of an unknown region": (block(0, 64, 77), NO_MEMORY, "block of region 77, which was never introduced"),
    "block of a forgotten region": (
        region() + pack_header(frames.FORGET, region=1) + block(0, 64),
        (memory,),
        "block of region 1, which was never introduced",
    ),
    "region that is lost behind a refusal": (region() * 2, (memory,), "a region was announced without its descr"),
    "more descriptors than a frame can have": (region(), (memory,) * 9, "more descriptors came with one frame"),
    "huge body": (request(body_bytes=2**62), NO_MEMORY, "payload of 4611686018427387904 bytes as bytes, at most 4294"),
    "body that nothing carries": (request(carrier=NOTHING), NO_MEMORY, "a body of 7 bytes that nothing carries"),
    "unknown carrier": (request(carrier=9), NO_MEMORY, "carrier 9; allowed: 0 to 3"),
    "description of another planet": (request(meta=b"\xff\xff"), NO_MEMORY, "names a session of 65535"),
    "no description": (request(meta=b""), NO_MEMORY, "request description of 0 bytes"),
    "second greeting": (pack_document(frames.HELLO, HELLO), NO_MEMORY, "frame HELLO in state 'open'; allowed: REQUEST"),
    "welcome from a client": (pack_document(frames.WELCOME, HELLO), NO_MEMORY, "frame WELCOME in state 'open'"),
    "reply from a client": (pack_header(frames.REPLY, 1), NO_MEMORY, "frame REPLY in state 'open'"),
    "unknown operation": (pack_header(200), NO_MEMORY, "frame 200 in state 'open'"),
    "same number twice": (request() + request(), NO_MEMORY, "request 1 after 1; numbers must grow"),
    "answer that nobody parked": (pack_header(frames.FETCH, CALLS_FROM), NO_MEMORY, "waits to be fetched"),
    "half a release": (pack_frame(pack_header(frames.RELEASE, meta_bytes=3), b"abc"), NO_MEMORY, "release of 3 bytes"),
    "broken description of one among many": (
        request(meta=b"\xff\xff", flags=0),
        NO_MEMORY,
        "names a session of 65535; the peer is broken",
    ),
    "block of an unknown region among many": (
        request(flags=0, carrier=IN_BLOCK, region=77),
        NO_MEMORY,
        "block of region 77, which was never introduced",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_frame_ends_its_own_connection_by_name(target, case, wait_until):
    """The peer is told why, the server counts it, keeps none of its descriptors, and serves the others all the time."""
    data, makes, reason = HOSTILE[case]
    before = settled(target, wait_until)
    descriptors = [make() for make in makes]
    with RawClient(target) as hostile:
        target.assert_serves()
        hostile.send(data, *descriptors)
        target.assert_serves()
        assert reason in hostile.refusal()
    for descriptor in descriptors:
        os.close(descriptor)
    after = settled(target, wait_until)
    assert after["refused"] == before["refused"] + 1
    assert reason in after["last_refusal"]
    assert after["descriptors"] <= before["descriptors"]
    target.assert_serves()


def settled(target: Target, wait_until: Any) -> dict[str, Any]:
    """Statistics once only the good client is left."""
    target.assert_serves()
    wait_until(lambda: target.statistics()["peers"] == 1 and target.statistics()["lanes"] == 1)
    return target.statistics()


BROKEN_HELLOS = {
    "of another version": ({"version": 2}, "the peer speaks version 2 of the channel's protocol, this side 1; run"),
    "with an endless version": ({"version": "9" * 10_000}, "the peer speaks version 99999999999999999999 of"),
    "without methods": ({"methods": None}, "methods == 'None' in the greeting; the peer is broken"),
    "with methods that are no names": ({"methods": [1, []]}, "methods in the greeting are no names"),
    "with a pickle of seven": ({"pickle": 7}, "pickle == '7' in the greeting"),
    "with true bytes": ({"message_bytes": True}, "message_bytes == 'True' in the greeting"),
    "with a long nonsense": ({"pool": ["x" * 10_000]}, "pool == \"['xxxx"),
    "with half a letter": ({"pool": "\ud800"}, "a name in the greeting is no text"),
    "of a list": ([], "HELLO is a JSON list, must be an object"),
    "of 70 KB": ({"pool": "x" * 70_000}, "HELLO of"),
}


@pytest.mark.parametrize("case", BROKEN_HELLOS)
def test_broken_greeting_is_refused_by_name(target, case, wait_until):
    changed, reason = BROKEN_HELLOS[case]
    before = settled(target, wait_until)
    facts = {**HELLO, **changed} if isinstance(changed, dict) else changed
    with RawClient(target, methods="none") as hostile:
        hostile.core.hello({})
        hostile.send(pack_document(frames.HELLO, facts))
        assert reason in hostile.refusal()
    after = settled(target, wait_until)
    assert after["refused"] == before["refused"] + 1
    assert len(after["last_refusal"]) < 500


@pytest.mark.parametrize("first", [request(), pack_document(frames.HELLO, HELLO) * 50], ids=["request", "50 HELLOs"])
def test_nothing_comes_before_the_welcome_but_one_hello(target, first):
    with RawClient(target, methods="none") as hostile:
        hostile.core.hello({})
        hostile.send(first)
        assert "in state" in hostile.refusal()
    target.assert_serves()


# --- tokens, users, numbers ------------------------------------------------------------------------------------------


def test_wrong_token_begins_a_conversation_of_its_own(target):
    """It is no secret to be guessed at: with a wrong one a client is a stranger, as without."""
    with RawClient(target) as one, RawClient(target, token="0" * 32) as other:
        assert len(one.token) == 32
        assert other.token not in ("", "0" * 32, one.token)
        one.send(region(1), memory_once := memory())
        os.close(memory_once)
        one.send(block(0, 64))
        [reply] = one.read(Message)
        assert reply.request_id == 1
        other.send(block(0, 64))
        assert "block of region 1, which was never introduced" in other.refusal()
        one.send(request(2))
        assert one.read(Message)[-1].request_id == 2
    target.assert_serves()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_before_a_word_is_heard():
    """Even where the socket lets everybody connect, the kernel says who it is."""
    with running() as target:
        target.path.parent.chmod(0o755)
        target.path.chmod(0o666)
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork among threads: the child makes system calls only
            child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                with RawClient(target, methods="none") as stranger:
                    stranger.core.hello({})
                    stranger.send(pack_document(frames.HELLO, HELLO))
                    os.write(writer, stranger.refusal().encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        text = os.read(reader, 10_000).decode()
        os.close(reader)
        assert text == f"the peer (process {child}) runs as user 65534; allowed: 0"
        assert target.statistics()["refused"] == 1
        assert target.statistics()["last_refusal"] == text
        target.assert_serves()


def test_one_client_cannot_take_all_connections(target, wait_until):
    settled(target, wait_until)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(RawClient(target))
        for _ in range(5):
            stack.enter_context(RawClient(target, token=first.token))
        late = stack.enter_context(RawClient(target, methods="none"))
        late.core.hello({})
        late.send(pack_document(frames.HELLO, {**HELLO, "token": first.token}))
        assert late.refusal() == "6 connections of one client are open, no more are served"
        target.assert_serves()
        first.send(request())
        assert first.read(Message)[-1].request_id == 1
    assert "6 connections of one client" in settled(target, wait_until)["last_refusal"]


def test_more_clients_than_are_served_are_told(target, wait_until):
    settled(target, wait_until)
    with contextlib.ExitStack() as stack:
        for _ in range(19):
            stack.enter_context(RawClient(target))
        late = stack.enter_context(RawClient(target, methods="none"))
        late.core.hello({})
        late.send(pack_document(frames.HELLO, HELLO))
        assert late.refusal() == "20 clients are connected, no more are served"
        target.assert_serves()
    settled(target, wait_until)
    with RawClient(target) as next_one:
        next_one.send(request())
        assert next_one.read(Message)[-1].request_id == 1


def test_client_opens_no_more_connections_than_the_server_takes(target):
    """Six are served; a channel that would have more waits for its turn instead of being refused."""
    from concurrent.futures import ThreadPoolExecutor

    with perfkit.connect(target.address, methods=["uds"], record=False, max_in_flight=30) as channel:
        with ThreadPoolExecutor(12) as threads:
            assert list(threads.map(channel.send, ["sleepy"] * 12)) == ["sleepy"] * 12
        assert channel.statistics().failures == {}
        assert channel.statistics().lanes <= 6


# --- slow ones -------------------------------------------------------------------------------------------------------


def test_peer_that_stops_reading_is_given_up(target, wait_until):
    """Its answer fills the socket's buffer; only the thread of its connection waits for it."""
    before = settled(target, wait_until)
    large = get_codec("text", "raw").encode("large")
    with RawClient(target, methods=["uds"]) as hostile:
        hostile.send(request(body=bytes(large.to_view()), meta=b"\0\0" + large.meta))
        target.assert_serves()
        wait_until(lambda: target.statistics()["refused"] > before["refused"])
        target.assert_serves()
        assert "does not read; is it stopped or overloaded?" in target.statistics()["last_refusal"]
        wait_until(lambda: target.statistics()["lanes"] == 1)
        hostile.read()  # what was in the buffer, and no frame that it could be taken for the rest of
        assert hostile.events == []


@pytest.mark.parametrize("said", [b"", request()[:10], request()[:100], request(body_bytes=10**7)], ids=len)
def test_peer_that_falls_silent_within_a_frame_is_given_up(target, wait_until, said):
    """In the greeting, the header, the description, the body; between frames it may be silent for ever."""
    before = settled(target, wait_until)
    with RawClient(target) as idle, RawClient(target, methods="none" if not said else ["uds"]) as hostile:
        hostile.send(said)
        wait_until(lambda: target.statistics()["refused"] > before["refused"])
        assert "did not answer in time; is it stopped or overloaded?" in target.statistics()["last_refusal"]
        target.assert_serves()
        idle.send(request())
        assert idle.read(Message)[-1].request_id == 1


def test_peer_that_greets_byte_by_byte_has_no_longer_than_others(target, wait_until):
    before = settled(target, wait_until)
    with RawClient(target, methods="none") as hostile:
        for byte in pack_document(frames.HELLO, HELLO)[:200]:
            hostile.send(bytes([byte]))
            if target.statistics()["refused"] > before["refused"]:
                break
            time.sleep(0.1)
        else:
            pytest.fail("it may take as long as it likes")
    assert "did not greet in time" in target.statistics()["last_refusal"]


def test_server_closes_in_time_although_a_peer_does_not_read(address):
    """The answer that nobody takes is cut off when the grace is over, not when the peer is given up."""
    server = perfkit.serve(lambda payload: bytes(64 * 2**20), address)
    with RawClient(address, methods=["uds"]) as hostile:
        hostile.send(request())
        time.sleep(0.3)
        closing = threading.Thread(target=server.close, args=(0.5,), daemon=True)
        closing.start()
        closing.join(20)  # below the 30 s after which a peer is given up
        assert not closing.is_alive()


# --- what crosses on two connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "crossing"),
    [(EXCLUSIVE, pack_header(frames.CANCEL, 1)), (0, request(2, flags=0))],
    ids=["cancel", "one request of many"],
)
def test_region_counts_as_known_elsewhere_only_when_its_introduction_was_surely_read(
    address, wait_until, flags, crossing
):
    """What crosses with the answer that introduces a region proves nothing, so the next connection is told of it."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(perfkit.serve(lambda payload: np.zeros(20_000), address, methods=["shm_pool"]))
        one = stack.enter_context(RawClient(address, methods=["shm_pool"]))
        other = stack.enter_context(RawClient(address, methods=["shm_pool"], token=one.token))
        server.arena.prepare(200_000)
        wait_until(lambda: server.statistics().arena.regions > 0)
        one.send(request(flags=flags))
        wait_until(lambda: server.statistics().lent_bytes > 0)
        time.sleep(0.1)  # the answer is written
        one.send(crossing)
        time.sleep(0.3)
        other.send(request())
        assert [type(event) for event in other.read(Message)] == [Mapped, Message]
        assert [type(event) for event in one.read(Message)][:2] == [Mapped, Message]
        if flags:  # what is sent now proves it
            one.send(request(2))
            assert [type(event) for event in one.read(Message)] == [Message]
            third = stack.enter_context(RawClient(address, methods=["shm_pool"], token=one.token))
            third.send(request())
            assert [type(event) for event in third.read(Message)] == [Message]


def test_cancel_of_what_is_not_under_way_is_forgotten(address):
    """A client may cancel as often as it likes: nothing is remembered of it."""
    ours, theirs = socket.socketpair()
    lane = Lane(ours, Core(is_server=True))
    cancellations = _Cancellations(lane, None)
    lane.core._under_way.add(5)
    for number in range(10):
        cancellations.take(Cancelled(number))
    assert cancellations.ids == {5}
    lane.close()
    theirs.close()


def test_nothing_follows_a_frame_that_was_not_written_to_its_end():
    """The peer would take it for the rest of that frame."""
    ours, theirs = socket.socketpair()
    lane, arena = Lane(ours, Core(is_server=True)), Arena(2**20)
    lane.session = Session(arena, 2**20)
    lane.set_timeout(0.1)
    body = bytes(32 * 2**20)
    header = lane.core.reply(1, 0, BYTES, len(body), len(body))
    load = Load("uds", memoryview(body))
    with pytest.raises(TransferTimeoutError):
        lane.write_message(header, b"", load)
    with pytest.raises(PeerLostError):
        lane.write(pack_header(frames.FORGET, region=1))
    ours.setblocking(False)
    received = b""
    while data := theirs.recv(2**20):
        received += data
    assert received == (header + body)[: len(received)]
    assert len(received) < len(body)
    lane.session.end()
    lane.close()
    theirs.close()
    arena.close()


def test_news_that_cannot_be_written_now_are_told_later():
    """The socket's buffer is full: a name that was taken out of the news and not sent would be lost for good."""
    ours, theirs = socket.socketpair()
    lane, arena = Lane(ours, Core(is_server=True)), Arena(2**20)
    lane.session = Session(arena, 2**20)
    ours.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            ours.send(bytes(65_536))
    ours.setblocking(True)
    lane.session.to_release.append((1, 64))
    assert lane.write_news() is False
    assert lane.session.has_news
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while theirs.recv(2**20):
            pass
    assert lane.write_news() is True
    assert not lane.session.has_news
    lane.session.end()
    lane.close()
    theirs.close()
    arena.close()


# --- pickle ----------------------------------------------------------------------------------------------------------


class Trap:
    """Runs code where it is decoded: it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("carrier", ["uds", "shm", "grpc"])
@pytest.mark.parametrize(("server_asks", "client_asks"), [(False, True), (True, False), (False, False)])
def test_pickle_is_refused_before_it_is_decoded_unless_both_asked(address, tmp_path, server_asks, client_asks, carrier):
    """Whatever the client sends: it does not choose the code that runs here."""
    trap = tmp_path / "trapped"
    encoded = get_codec("text", "pickle", allow_pickle=True).encode(Trap(trap))
    meta, body = b"\0\0" + encoded.meta, bytes(encoded.to_view())
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(perfkit.serve(lambda payload: None, address, allow_pickle=server_asks))
        hostile = stack.enter_context(RawClient(address, pickle=client_asks, methods=["uds", "shm", "grpc"]))
        if carrier == "grpc":
            lengths = {"meta_bytes": len(meta), "body_bytes": len(body)}
            frame = pack_header(frames.REQUEST, CALLS_FROM, carrier=BYTES, **lengths)
            answer = call(address, SEND, Payload(meta=frame + meta, body=body), hostile.token)
            facts = json.loads(answer.meta[64:].rstrip(b"\0"))
            assert (facts["code"], facts["kind"]) == ("codec", "CodecError")
            assert "pickle" in facts["text"]
        else:
            segment_of_ours = Region(len(body))
            segment_of_ours.view[: len(body)] = body
            if carrier == "shm":
                fields = {"carrier": SEGMENT, "region": segment_of_ours.size_bytes}
                hostile.send(request(body=body, meta=meta, **fields), segment_of_ours.descriptor)
            else:
                hostile.send(request(body=body, meta=meta))
            segment_of_ours.close()
            [failed] = hostile.read(Failed)
            assert (failed.request_id, failed.code, failed.kind) == (1, "codec", "CodecError")
            assert "pickle" in failed.text
        assert server.statistics().failures == {"CodecError": 1}
        assert not trap.exists()


def test_pickle_is_decoded_where_both_asked(address, tmp_path):
    """So that the tests above can fail."""
    trap = tmp_path / "trapped"
    encoded = get_codec("text", "pickle", allow_pickle=True).encode(Trap(trap))
    with perfkit.serve(lambda payload: None, address, allow_pickle=True), RawClient(address, pickle=True) as client:
        client.send(request(body=bytes(encoded.to_view()), meta=b"\0\0" + encoded.meta))
        assert client.read(Message)[-1].request_id == 1
    assert trap.exists()
    assert pickle.loads(pickle.dumps({"both": 1})) == {"both": 1}


@pytest.mark.parametrize(("server_asks", "client_asks"), [(False, True), (True, False)])
def test_sender_is_told_that_pickle_takes_two(address, server_asks, client_asks):
    with contextlib.ExitStack() as stack:
        stack.enter_context(perfkit.serve(lambda payload: payload, address, allow_pickle=server_asks))
        channel = stack.enter_context(perfkit.connect(address, record=False, allow_pickle=client_asks))
        with pytest.raises(CodecError, match=r"pass allow_pickle=True to connect\(\) and to serve\(\) if each trusts"):
            channel.send({1, 2}, format="pickle", kind="text")


# --- gRPC ------------------------------------------------------------------------------------------------------------


def call(address: str, method: str, message: Any, token: str | None) -> Any:
    """A call from outside; its answer."""
    metadata = () if token is None else ((TOKEN_KEY, token),)
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    with grpc.insecure_channel(f"{address}.grpc", options=options) as channel:
        path = f"/{SERVICE}/{method}"
        if method == SEND:
            send = channel.unary_unary(path, Payload.SerializeToString, Payload.FromString)
            return send(message, metadata=metadata, timeout=30, wait_for_ready=True)
        stream = channel.stream_stream(path, Chunk.SerializeToString, Chunk.FromString)
        return list(stream(iter(message), metadata=metadata, timeout=30, wait_for_ready=True))


def call_frame(body: bytes = b"abc", **fields: Any) -> bytes:
    meta = meta_of(len(body))
    fields = {"carrier": BYTES, "body_bytes": len(body), "meta_bytes": len(meta), **fields}
    return pack_header(frames.REQUEST, fields.pop("request_id", CALLS_FROM), **fields) + meta


@pytest.mark.parametrize("token", [None, "", "0" * 32], ids=["no token", "empty token", "wrong token"])
@pytest.mark.parametrize("method", [SEND, STREAM])
def test_call_of_a_stranger_is_refused(target, token, method):
    """Only who was let in over a connection of the channel, whose user the kernel tells, knows a token."""
    before = target.statistics()["requests"]
    message = Payload(meta=call_frame(), body=b"abc")
    chunks = [Chunk(meta=call_frame(), wire_bytes=3, data=b"abc")]
    with pytest.raises(grpc.RpcError) as caught:
        call(target.address, method, message if method == SEND else chunks, token)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert caught.value.details() == "the call belongs to no conversation; greet over a lane first"
    assert target.statistics()["requests"] == before
    target.assert_serves()


BROKEN_CALLS = {
    "without a header": (b"short", b"abc", "a call with a header of 5 bytes, must be 64 and its description"),
    "noise": (b"x" * 200, b"abc", "a call whose header does not fit what came with it"),
    "reply": (pack_header(frames.REPLY, CALLS_FROM), b"", "a call whose header does not fit what came with it"),
    "another length": (call_frame(), b"abcd", "a call whose header does not fit what came with it"),
    "another description": (call_frame() + b"x", b"abc", "a call whose header does not fit what came with it"),
    "number of a lane": (call_frame(request_id=1), b"abc", f"call 1, must be {CALLS_FROM} or more"),
    "broken session": (
        pack_header(frames.REQUEST, CALLS_FROM, carrier=BYTES, meta_bytes=2) + b"\xff\xff",
        b"",
        "names a session of 65535",
    ),
}


@pytest.mark.parametrize("case", BROKEN_CALLS)
def test_broken_call_is_refused_by_name(target, case):
    meta, body, reason = BROKEN_CALLS[case]
    with RawClient(target) as hostile:
        with pytest.raises(grpc.RpcError) as caught:
            call(target.address, SEND, Payload(meta=meta, body=body), hostile.token)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in caught.value.details()
    target.assert_serves()


BROKEN_STREAMS = {
    "of nothing": ([], "a stream of nothing"),
    "of more than it says": (
        [Chunk(meta=call_frame(), wire_bytes=3, data=b"a"), Chunk(data=b"x" * 10)],
        "over the ann",
    ),
    "of less than it says": ([Chunk(meta=call_frame(), wire_bytes=3, data=b"a")], "a stream of 1 bytes announced as 3"),
    "of a petabyte": ([Chunk(meta=call_frame(), wire_bytes=2**50, data=b"a")], "at most 4294967296 bytes are taken"),
}


@pytest.mark.parametrize("case", BROKEN_STREAMS)
def test_broken_stream_is_refused_by_name(target, case):
    chunks, reason = BROKEN_STREAMS[case]
    with RawClient(target) as hostile:
        with pytest.raises(grpc.RpcError) as caught:
            call(target.address, STREAM, chunks, hostile.token)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert reason in caught.value.details()
    target.assert_serves()


def test_limit_of_a_payload_holds_for_calls(address):
    """Of those who keep to it, and of those who do not."""
    with perfkit.serve(lambda payload: None, address, max_message_bytes="64KiB"):
        for method in ("uds", "grpc", "grpc_stream"):
            with perfkit.connect(address, methods=[method], record=False) as channel:
                with pytest.raises(perfkit.errors.PayloadTooLargeError, match="the peer takes at most 65536 as bytes"):
                    channel.send(bytes(65_537))
                assert channel.send(bytes(65_536)) is None
        with RawClient(address) as hostile, pytest.raises(grpc.RpcError) as caught:
            call(address, SEND, Payload(meta=call_frame(bytes(70_000)), body=bytes(70_000)), hostile.token)
        assert "a payload of 70000 bytes, at most 65536 are taken" in caught.value.details()


def test_answers_that_nobody_fetches_are_dropped_with_their_deadline():
    """Clients that time out leave them behind; only one that waits without end can fill the shelf."""
    arena = Arena(2**20)
    greeting = Greeting(("uds", "grpc"), False, 2**32)
    peer = Peer(greeting, Session(arena, 2**20), default_engine(), ("uds", "grpc"), allow_pickle=False)

    def park(number: int, time_ns: int) -> None:
        peer.park(number, Outcome(), Message(frames.REQUEST, number, BYTES, 0, b"", 0, 0, 0, 0, time_ns))

    for number in range(200):
        park(number, 1)
    park(200, 10**12)
    assert peer.fetch(200)[1].request_id == 200
    with pytest.raises(ProtocolError, match="no answer to request 200 waits to be fetched"):
        peer.fetch(200)
    for number in range(64):
        park(number, 0)
    with pytest.raises(ProtocolError, match="64 answers wait to be fetched; the client is broken"):
        park(64, 0)
    peer.session.end()
    arena.close()
