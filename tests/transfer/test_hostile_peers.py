"""A broken or malicious peer: refused by name, at its own expense, and nobody else notices."""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
import zlib

import numpy as np
import pytest

from perfkit.errors import PeerLostError, TransferError, TransferTimeoutError
from perfkit.transfer.protocol import Encoded, SenderOptions
from perfkit.transfer.receiver import start_receiver
from perfkit.transfer.registry import get_method
from perfkit.transfer.sockets import listen, stop_listening
from perfkit.transfer.wire import (
    ACKNOWLEDGEMENT,
    FLAG_VERIFY,
    HEADER,
    MAGIC,
    OP_BLOCK,
    OP_BYTES,
    OP_REGION,
    OP_SEGMENT,
)

METHODS = ("uds", "shm_pool", "shm")


@pytest.fixture(scope="module")
def receiver():
    with start_receiver(METHODS) as running:
        yield running


def header(magic=MAGIC, op=OP_BYTES, meta_bytes=0, body_bytes=0, region=0, offset=0, region_bytes=0) -> bytes:
    return HEADER.pack(magic, op, 0, 0, meta_bytes, os.getpid(), body_bytes, region, offset, region_bytes)


HOSTILE = {
    "noise": ("uds", b"GET / HTTP/1.1\r\n" * 10, "unexpected message"),
    "wrong operation": ("uds", header(op=OP_BLOCK), "unexpected message"),
    "absurd description": ("uds", header(meta_bytes=2**31), "description of 2147483648 bytes"),
    "petabyte": ("uds", header(body_bytes=2**50), "NoRoomError"),
    "overflow": ("uds", header(body_bytes=2**64 - 1), "NoRoomError"),
    "two messages at once": ("uds", (header(body_bytes=1) + b"x") * 2, "before the last one was acknowledged"),
    "unknown region": ("shm_pool", header(op=OP_BLOCK, region=77, body_bytes=10), "never introduced"),
    "pool wants bytes": ("shm_pool", header(op=OP_BYTES, body_bytes=10), "unexpected message"),
    "segment without descriptor": ("shm", header(op=OP_SEGMENT, body_bytes=10), "without its descriptor"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_message_is_refused_by_name(receiver, case):
    """The peer is told why, its connection ends, and the next connection is served."""
    method, message, reason = HOSTILE[case]
    with connect(receiver, method) as hostile:
        hostile.sendall(message)
        assert reason in refusal(hostile)
        assert hostile.recv(1) == b""
    assert_serves(receiver, method)


@pytest.mark.parametrize("method", METHODS)
def test_peer_that_goes_in_the_middle_of_a_message(receiver, method):
    with connect(receiver, method) as hostile:
        hostile.sendall(header(body_bytes=1000)[:30])
    assert_serves(receiver, method)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda fd: os.ftruncate(fd, 2**40), "not sealed"),
        (lambda fd: (os.ftruncate(fd, 2**40), seal(fd)), "reserved 0 of 1099511627776 bytes"),
        (lambda fd: (os.posix_fallocate(fd, 0, 4096), seal(fd)), "region of 4096 bytes announced as 1099511627776"),
    ],
    ids=["unsealed", "sparse", "of another size"],
)
def test_hostile_memory_is_refused(receiver, prepare, reason):
    """Neither a truncating peer nor one that lets us pay for its pages gets its memory mapped."""
    descriptor = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    prepare(descriptor)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    with connect(receiver, "shm") as hostile:
        hostile.sendmsg([header(op=OP_SEGMENT, body_bytes=10, region_bytes=2**40)], rights)
        assert reason in refusal(hostile)
    with connect(receiver, "shm_pool") as hostile:
        hostile.sendall(header(op=OP_REGION, region=1, region_bytes=2**40))
        assert hostile.recv(ACKNOWLEDGEMENT.size) == bytes(ACKNOWLEDGEMENT.size)
        hostile.sendmsg([b"x"], rights)
        assert reason in refusal(hostile)
    os.close(descriptor)
    assert_serves(receiver, "shm")
    assert_serves(receiver, "shm_pool")


def test_block_beyond_its_region_is_refused(receiver):
    sender = get_method("shm_pool").implementation.connect(receiver.folder, SenderOptions())
    block = sender.lease(10_000)
    with pytest.raises(TransferError, match="outside its region"):
        sender.send_block(block, 2**62)
    with pytest.raises(PeerLostError):
        sender.send_block(block, 100)
    sender.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [(struct.pack("<QQ", 2**60, 0), "error text of"), (b"short", "before it acknowledged"), (b"", "acknowledge")],
)
def test_hostile_receiver_cannot_hurt_the_sender(tmp_path, answer, error):
    def serve(connection):
        connection.recv(2**16)
        connection.sendall(answer)

    listener = listen(tmp_path / "uds.sock", serve)
    sender = get_method("uds").implementation.connect(str(tmp_path), SenderOptions(timeout_s=5))
    with pytest.raises(PeerLostError, match=error):
        sender.send(Encoded(b"", 10, memoryview(b"0123456789")))
    sender.close()
    stop_listening(listener)


def test_listening_ends_when_it_is_stopped(tmp_path):
    before = set(threading.enumerate())  # tests before this one may have left some that take their time
    listener = listen(tmp_path / "x.sock", lambda connection: None)
    stop_listening(listener)
    stop_listening(listener)
    with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "x.sock"))
    begun = set(threading.enumerate()) - before
    for thread in begun:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in begun)


def test_block_of_a_timed_out_send_is_not_used_again(tmp_path):
    """A slow receiver may still be reading it."""
    listener = listen(tmp_path / "shm_pool.sock", lambda connection: connection.recv(1) and threading.Event().wait(3))
    sender = get_method("shm_pool").implementation.connect(str(tmp_path), SenderOptions(timeout_s=0.2))
    with pytest.raises(TransferTimeoutError):
        sender.send(Encoded(b"", 10, memoryview(b"0123456789")))
    assert sender._arena.stats().leased_blocks == 1
    sender.close()
    stop_listening(listener)


def seal(descriptor: int) -> None:
    import fcntl

    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)


def connect(receiver, method: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(f"{receiver.folder}/{method}.sock")
    return connection


def refusal(connection: socket.socket) -> str:
    """The text with which the receiver refuses."""
    length, _ = ACKNOWLEDGEMENT.unpack(connection.recv(ACKNOWLEDGEMENT.size, socket.MSG_WAITALL))
    return connection.recv(length, socket.MSG_WAITALL).decode()


def assert_serves(receiver, method: str) -> None:
    payload = np.random.default_rng(3).bytes(5000)
    sender = get_method(method).implementation.connect(receiver.folder, SenderOptions(timeout_s=10))
    assert sender.send(Encoded(b"", len(payload), memoryview(payload)), FLAG_VERIFY) == zlib.crc32(payload)
    sender.close()
