"""What a connection leaves behind is given back at once, not when Python next looks for circles."""

from __future__ import annotations

import array
import fcntl
import gc
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfkit
from perfkit.channel import frames
from perfkit.channel.documents import pack_document
from perfkit.channel.frames import pack_frame, pack_header
from perfkit.channel.greeting import Greeting
from perfkit.transfer.codecs import get_codec

SIZE_BYTES = 4096


@pytest.fixture
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def segment() -> Iterator[int]:
    """Sealed memory of a client, whose name tells it from all others."""
    descriptor = os.memfd_create("garbage", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.posix_fallocate(descriptor, 0, SIZE_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    yield descriptor
    os.close(descriptor)


def mapped() -> int:
    """How often such memory is mapped here."""
    return Path("/proc/self/maps").read_text().count("memfd:garbage")


@pytest.mark.usefixtures("_without_collector")
def test_memory_of_a_client_that_goes_before_its_answers_is_let_go(address, segment, wait_until) -> None:
    """Requests that others may overtake are answered by workers, whose failure the reader raises."""
    has_gone, begun = threading.Event(), threading.Semaphore(0)

    def echo(payload):
        begun.release()
        has_gone.wait(20)
        return payload

    meta = b"\0\0" + get_codec("binary", "raw").encode(bytes(SIZE_BYTES)).meta
    with perfkit.serve(echo, address, methods=["uds", "shm"]) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(address.removeprefix("unix:"))
            connection.sendall(pack_document(frames.HELLO, Greeting(("uds", "shm"), False, 2**30).to_facts()))
            connection.recv(2**16)
            for number in (1, 2):
                header = pack_header(
                    frames.REQUEST,
                    number,
                    carrier=frames.SEGMENT,
                    meta_bytes=len(meta),
                    body_bytes=SIZE_BYTES,
                    payload_bytes=SIZE_BYTES,
                    region=SIZE_BYTES,
                )
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [segment]))]
                connection.sendmsg([pack_frame(header, meta)], rights)
                assert begun.acquire(timeout=20)
            assert mapped() == 2
        has_gone.set()
        wait_until(lambda: server.statistics().lanes == 0)
        wait_until(lambda: mapped() == 0, 5)
