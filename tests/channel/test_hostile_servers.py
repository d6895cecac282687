"""Broken and malicious servers: their client gets an error that says so, in time, and keeps nothing behind."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.channel import borrowing, frames
from perfkit.channel.core import Core
from perfkit.channel.documents import pack_document, pack_error
from perfkit.channel.events import Message
from perfkit.channel.frames import BYTES, IN_BLOCK, NOTHING, SEGMENT, pack_frame, pack_header
from perfkit.errors import MethodUnavailableError, NoRoomError, PerfkitError, TransferError, TransferTimeoutError
from perfkit.transfer.codecs import get_codec

WELCOME = {
    "version": frames.VERSION,
    "methods": ["uds", "shm_pool", "shm"],
    "pickle": False,
    "message_bytes": 2**32,
    "pid": os.getpid(),
    "pool": "default",
    "token": "0" * 32,
    "grpc": "",
    "lanes": 8,
    "fingerprint": {},
}
META = get_codec("binary", "raw").encode(b"1234567890").meta


class FakeServer:
    """Greets as it is told, and answers the first request of each connection with what it is told."""

    def __init__(self, path: Path, welcome: bytes, answer: Callable[[int], bytes], *descriptors: int) -> None:
        self.welcome, self.answer, self.descriptors = welcome, answer, descriptors
        self.pause_s = 0.0
        self.connections: list[socket.socket] = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        core = Core(is_server=True)
        with contextlib.suppress(OSError):
            self._read(connection, core)
            core.welcome({})
            self._write(connection, self.welcome)
            while events := self._read(connection, core):
                for event in events:
                    if isinstance(event, Message):
                        self._write(connection, self.answer(event.request_id), *self.descriptors)
                        core.reply(event.request_id, 0)

    def _read(self, connection: socket.socket, core: Core) -> list[Any]:
        while True:
            count, ancillary, _, _ = connection.recvmsg_into([core.get_buffer()], socket.CMSG_SPACE(16))
            received = array.array("i")
            for _, _, data in ancillary:
                received.frombytes(data)
            core.descriptors_received(received)
            if not count:
                return []
            if events := core.buffer_updated(count):
                return events

    def _write(self, connection: socket.socket, data: bytes, *descriptors: int) -> None:
        if self.pause_s:
            for byte in data:
                connection.sendall(bytes([byte]))
                time.sleep(self.pause_s)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        if data:
            sent = connection.sendmsg([data], rights)
            connection.sendall(data[sent:])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


@pytest.fixture
def fake(tmp_path):
    """Start servers that lie; closed at the test's end."""
    with contextlib.ExitStack() as stack:

        def start(
            welcome: bytes | None = None, answer: Callable[[int], bytes] = lambda number: b"", *descriptors: int
        ) -> FakeServer:
            greeting = pack_document(frames.WELCOME, WELCOME) if welcome is None else welcome
            server = FakeServer(tmp_path / "channel.sock", greeting, answer, *descriptors)
            stack.callback(server.close)
            return server

        yield start


def welcome(**changed: Any) -> bytes:
    return pack_document(frames.WELCOME, {**WELCOME, **changed})


def reply(number: int, body: bytes = b"1234567890", meta: bytes = META, **fields: Any) -> bytes:
    fields = {"carrier": BYTES, "body_bytes": len(body), **fields}
    header = pack_header(frames.REPLY, number, meta_bytes=len(meta), **fields)
    data = pack_frame(header, meta)
    return data + body + bytes(-len(body) % 64) if fields["carrier"] == BYTES else data


# --- the greeting ----------------------------------------------------------------------------------------------------

GREETINGS = {
    "noise": (b"HTTP/1.1 400 Bad Request\r\n" * 9, "frame begins with b'HTTP', must be b'pfc1'"),
    "another version": (welcome(version=2), "the peer speaks version 2 of the channel's protocol, this side 1"),
    "nothing in it": (pack_document(frames.WELCOME, {}), "the peer speaks version None"),
    "methods of numbers": (welcome(methods=[1]), "methods in the greeting are no names"),
    "no methods": (welcome(methods={}), "methods == 'None' in the greeting"),
    "lanes of text": (welcome(lanes="many"), "lanes == 'many' in the greeting"),
    "half a letter": (welcome(token="\udc00"), "a name in the greeting is no text"),
    "a hello": (pack_document(frames.HELLO, WELCOME), "frame HELLO in state 'greeting'; allowed: WELCOME, ERROR"),
    "an answer": (reply(1), "frame REPLY in state 'greeting'"),
    "a list": (pack_document(frames.WELCOME, []), "WELCOME is a JSON list, must be an object"),  # type: ignore[arg-type]
    "70 KB": (welcome(pool="x" * 70_000), "WELCOME of 70"),
    "a huge description": (pack_header(frames.WELCOME, meta_bytes=2**32 - 1), "description of 4294967295 bytes"),
    "a refusal of 4 KB": (
        pack_error(0, "protocol", "X" * 10**6, "no! " * 10**6),
        "refused the connection: no!",
    ),
    "a refusal of nonsense": (
        pack_document(frames.ERROR, {"text": [1, {}]}),
        "refused the connection: [1, {}]",
    ),
    "two welcomes": (welcome() * 2, "frame WELCOME in state 'open'"),
}


@pytest.mark.parametrize("case", GREETINGS)
def test_broken_greeting_is_an_error_of_connect(fake, address, case):
    data, reason = GREETINGS[case]
    fake(data)
    with pytest.raises(TransferError) as caught:
        perfkit.connect(address, record=False, connect_timeout_s=20)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 6000


@pytest.mark.parametrize("data", [b"", welcome()[:100], pack_document(frames.GOODBYE, {})], ids=["", "half", "goodbye"])
def test_greeting_that_never_comes_is_given_up_in_time(fake, address, data):
    fake(data)
    started = time.monotonic()
    with pytest.raises(PerfkitError):
        perfkit.connect(address, record=False, connect_timeout_s=0.5)
    assert time.monotonic() - started < 15


def test_greeting_byte_by_byte_has_no_longer_than_others(fake, address):
    fake().pause_s = 0.1
    with pytest.raises(MethodUnavailableError, match="takes connections and does not greet"):
        perfkit.connect(address, record=False, connect_timeout_s=0.5)


@pytest.mark.parametrize("lanes", [0, -5, 2**70])
def test_nonsense_number_of_connections_does_no_harm(fake, address, lanes):
    fake(welcome(lanes=lanes), reply)
    with perfkit.connect(address, methods=["uds"], record=False) as channel:
        assert channel.send(b"x") == b"1234567890"


def test_server_without_a_method_in_common_gets_bytes(fake, address):
    fake(welcome(methods=[]), reply)
    with perfkit.connect(address, methods=["shm_pool"], record=False) as channel:
        assert channel.send(b"x") == b"1234567890"


# --- answers ---------------------------------------------------------------------------------------------------------


def memory(size: int = 8192, *, sealed: bool = True) -> int:
    descriptor = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    os.posix_fallocate(descriptor, 0, min(size, 8192))
    if sealed:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return descriptor


def region(number: int = 1, size: int = 8192) -> bytes:
    return pack_header(frames.REGION, region=number, body_bytes=size)


def in_block(number: int, offset: int, length: int = 10, of: int = 1) -> bytes:
    return reply(number, carrier=IN_BLOCK, region=of, offset=offset, body_bytes=length)


ANSWERS: dict[str, tuple[Callable[[int], bytes], str]] = {
    "noise": (lambda number: b"\x00" * 200, "frame begins with"),
    "reply to something else": (lambda number: reply(number + 7), "reply to request 8, which is not under way"),
    "error of something else": (lambda n: pack_error(n + 7, "x", "x", "x"), "error of request 8, which is not under"),
    "request": (lambda number: pack_header(frames.REQUEST, 1), "frame REQUEST in state 'open'"),
    "end of the connection": (lambda number: pack_error(0, "protocol", "X", "enough"), "ended the connection: enough"),
    "unknown carrier": (lambda number: reply(number, carrier=77), "carrier 77; allowed: 0 to 3"),
    "description of 4 GB": (lambda n: pack_header(frames.REPLY, n, meta_bytes=2**32 - 1), "description of 4294967295"),
    "body of an exabyte": (lambda number: reply(number, body_bytes=2**60), "payload of 1152921504606846976 bytes"),
    "body that nothing carries": (
        lambda number: reply(number, carrier=NOTHING),
        "10 bytes that nothing carries",
    ),
    "description that is none": (lambda number: reply(number, meta=b"?"), ""),
    "description of another body": (lambda number: reply(number, b"123"), "body has 3 bytes, its description says 10"),
    "pickle": (lambda n: reply(n, b"x" * 10, meta=b"\1\x32\0\x0a" + bytes(7)), "pickle"),
    "block of an unknown region": (
        lambda number: in_block(number, 0, of=5),
        "region 5, which was never intro",
    ),
    "half a release": (lambda n: pack_frame(pack_header(frames.RELEASE, meta_bytes=3), b"abc"), "release of 3 bytes"),
    "segment without memory": (lambda number: reply(number, carrier=SEGMENT), "announced without its descriptor"),
    "nonsense error": (lambda number: pack_document(frames.ERROR, {"code": [], "text": {}}, number), "{}"),
    "error of 4 KB": (lambda n: pack_error(n, "handler", "X" * 10**6, "\U0001f600" * 10**6), "the handler raised XXX"),
}
WITH_MEMORY: dict[str, tuple[Callable[[int], bytes], Callable[[], int], str]] = {
    "block beyond its region": (lambda number: region() + in_block(number, 8192), memory, "is outside its region"),
    "block over the edge": (lambda number: region() + in_block(number, 8128, 65), memory, "is outside its region"),
    "block far away": (lambda n: region() + in_block(n, 2**64 - 64, 2**63), memory, "is outside its region of 8192"),
    "misaligned block": (lambda number: region() + in_block(number, 1), memory, "or not aligned"),
    "unsealed region": (lambda number: region(), lambda: memory(sealed=False), "not sealed against truncation"),
    "sparse region": (lambda number: region(1, 2**40), lambda: memory(2**40), "reserved 8192 of 1099511627776"),
    "region of another size": (lambda number: region(1, 2**20), memory, "region of 8192 bytes announced as 1048576"),
    "unsealed segment": (
        lambda number: reply(number, carrier=SEGMENT, region=8192),
        lambda: memory(sealed=False),
        "not sealed against truncation",
    ),
    "body beyond its segment": (
        lambda number: reply(number, carrier=SEGMENT, region=8192, body_bytes=8193),
        memory,
        "lies outside its region of 8192",
    ),
}


def assert_error(address: str, reason: str) -> None:
    """The request ends in an error that says so; the channel goes on, with new connections."""
    with perfkit.connect(address, methods=["uds"], record=False, timeout_s=20, max_in_flight=2) as channel:
        for _ in range(4):
            with pytest.raises(TransferError) as caught:
                channel.send(b"x")
            assert reason in str(caught.value)
            assert len(str(caught.value)) < 6000
            assert channel.lanes.busy == 0
        assert sum(channel.statistics().failures.values()) == 4
        assert channel.statistics().arena.leased_blocks == 0


@pytest.mark.parametrize("case", ANSWERS)
def test_broken_answer_is_an_error_of_the_request(fake, address, case):
    answer, reason = ANSWERS[case]
    fake(None, answer)
    assert_error(address, reason)


@pytest.mark.parametrize("case", WITH_MEMORY)
def test_broken_memory_is_an_error_of_the_request(fake, address, case):
    answer, make, reason = WITH_MEMORY[case]
    descriptor = make()
    fake(None, answer, descriptor)
    assert_error(address, reason)
    os.close(descriptor)


@pytest.mark.parametrize("data", [b"", b"pfc1", reply(1)[:70], reply(1, bytes(100_000))[:5000]], ids=len)
def test_answer_that_does_not_come_is_given_up_in_time(fake, address, data):
    fake(None, lambda number: data)
    with perfkit.connect(address, methods=["uds"], record=False) as channel:
        started = time.monotonic()
        with pytest.raises(TransferTimeoutError):
            channel.send(b"x", timeout_s=0.3)
        assert time.monotonic() - started < 15


def test_answer_byte_by_byte_has_no_longer_than_others(fake, address):
    server = fake(None, lambda number: reply(number, meta=bytes(2**18)))
    with perfkit.connect(address, methods=["uds"], record=False) as channel:
        server.pause_s = 0.1
        started = time.monotonic()
        with pytest.raises(TransferTimeoutError):
            channel.send(b"x", timeout_s=0.5)
        assert time.monotonic() - started < 15


def test_goodbye_again_and_again_ends_with_the_timeout(fake, address):
    """Each says that it did not handle the request: it is sent again, but not for ever."""
    server = fake(None, lambda number: pack_document(frames.GOODBYE, {"reason": "closing"}, 0))
    with perfkit.connect(address, methods=["uds"], record=False) as channel:
        with pytest.raises(TransferTimeoutError, match="each server that was asked within 1 s was about to close"):
            channel.send(b"x", timeout_s=1)
        assert len(server.connections) < 100


def test_server_that_lies_about_its_process_keeps_the_blocks_that_it_may_read(fake, address):
    """A process of another number space may have any number; the kernel's word counts."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    server = fake(welcome(pid=process.pid), lambda number: b"")
    with perfkit.connect(address, methods=["shm_pool"], record=False) as channel:
        with pytest.raises(TransferTimeoutError):
            channel.send(bytes(20_000), timeout_s=0.3)
        server.close()
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            assert channel.statistics().arena.leased_blocks == 1
            time.sleep(0.05)


def test_reason_of_a_refusal_in_the_middle_of_a_request_reaches_the_caller(address, monkeypatch):
    """The server has no room for the payload: it is not sent again and again until the time is up."""

    def check_room(length: int, purpose: str) -> None:
        raise NoRoomError("no headroom, says the test")

    with perfkit.serve(len, address), perfkit.connect(address, methods=["uds"], record=False) as channel:
        monkeypatch.setattr(borrowing, "check_room", check_room)
        with pytest.raises(TransferError, match="the server refused the request: no headroom, says the test"):
            channel.send(bytes(30 * 2**20), timeout_s=60)
        assert channel.statistics().retries == 0


def test_answer_without_the_timings_that_were_asked_for_is_an_error(fake, address, tmp_path):
    fake(None, reply)
    with perfkit.connect(address, methods=["uds"], record=tmp_path / "journal", max_in_flight=2) as channel:
        for _ in range(4):
            with pytest.raises(TransferError, match="a timed request was answered without timings"):
                channel.send(b"x")
        assert channel.lanes.busy == 0


@pytest.mark.parametrize("timeout_s", [0, -1, float("inf"), float("nan"), 10**12])
def test_timeout_that_cannot_travel_is_said(address, timeout_s):
    with perfkit.serve(lambda payload: None, address):
        with pytest.raises(perfkit.errors.InputError, match=r"timeout_s == .*, must be above 0 and at most"):
            perfkit.connect(address, record=False, timeout_s=timeout_s)
        with perfkit.connect(address, methods=["shm_pool"], record=False) as channel:
            with pytest.raises(perfkit.errors.InputError, match=r"timeout_s == .*, must be above 0 and at most"):
                channel.send(bytes(20_000), timeout_s=timeout_s)
            assert channel.statistics().arena.leased_blocks == 0
