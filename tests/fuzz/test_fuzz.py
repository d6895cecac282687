"""Whatever a peer sends: an error that says so, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.channel import frames
from perfkit.channel.documents import pack_document
from perfkit.errors import PeerLostError, ProtocolError, TransferTimeoutError

HARNESS = Path(__file__).with_name("fuzz_frames.py")
GREETING: dict[str, Any] = {
    "version": frames.VERSION, "methods": ["uds", "grpc"], "pickle": False, "message_bytes": 2**32, "pid": 0,
    "pool": "default", "token": "", "grpc": "", "lanes": 8, "fingerprint": {},
}  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_broken_frames_bring_errors_of_the_protocol_and_no_growth(short_path: Path) -> None:
    """`FUZZ_FRAMES` frames, 50 000 without it; the seed of a run that fails is in what it prints."""
    environment = {**os.environ, "TMPDIR": str(short_path)}
    command = [sys.executable, str(HARNESS), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, env=environment)
    assert done.stdout, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["ok"], figures
    assert figures["frames"] >= int(os.environ.get("FUZZ_FRAMES", "50000"))
    assert 0 < figures["refused"] < figures["conversations"]
    assert figures["good_answers"] > 0


WITH_A_CORE_THAT_IS_BROKEN = """
import json, os
import fuzz_frames

class BrokenSession(fuzz_frames.Session):
    def borrow(self, message):
        if message.body_bytes == 65:
            os.dup(0)
            raise IndexError("a bug")
        return super().borrow(message)

fuzz_frames.Session = BrokenSession
fuzz_frames.LIVE_SHARE = 0
figures = fuzz_frames.run(20_000, 7)
print(json.dumps([figures.crashes, figures.fds_grown, figures.failures[0]]))
"""


def test_the_harness_sees_a_crash_and_a_descriptor_that_is_left_open() -> None:
    """A harness that cannot fail proves nothing."""
    command = [sys.executable, "-c", WITH_A_CORE_THAT_IS_BROKEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=HARNESS.parent)
    assert done.stdout, done.stderr
    crashes, descriptors_left, failure = json.loads(done.stdout)
    assert crashes > 0
    assert descriptors_left > 0
    assert "IndexError: a bug" in failure


@pytest.fixture
def hostile_server(short_path: Path) -> Iterator[Callable[..., str]]:
    """A server that greets as it is told, and then does what it is told."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def start(facts: dict[str, Any], then: Callable[[socket.socket], None]) -> str:
        path = short_path / "hostile.sock"
        listener.bind(str(path))
        listener.listen(16)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(2**16)
                    connection.sendall(pack_document(frames.WELCOME, {**GREETING, **facts}))
                    then(connection)

        threading.Thread(target=run, daemon=True).start()
        return f"unix:{path}"

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def say_goodbye(connection: socket.socket) -> None:
    """Leave every request alone."""
    if connection.recv(2**16):
        connection.sendall(pack_document(frames.GOODBYE, {"reason": "always"}, 0))


def test_a_server_that_always_says_goodbye_is_asked_until_the_time_is_over(hostile_server) -> None:
    address = hostile_server({}, say_goodbye)
    with perfkit.connect(address, record=False, methods=["uds"], timeout_s=0.4) as channel:
        begun_s = time.monotonic()
        with pytest.raises(TransferTimeoutError, match="about to close"):
            channel.send(b"payload")
        assert time.monotonic() - begun_s >= 0.3
        assert 1 <= channel.statistics().retries < 20


def test_a_server_whose_process_number_no_system_has_is_talked_to(hostile_server) -> None:
    address = hostile_server({"pid": 2**40}, lambda connection: None)
    with (
        perfkit.connect(address, record=False, methods=["uds"], timeout_s=0.4) as channel,
        pytest.raises(PeerLostError),
    ):
        channel.send(b"payload")


@pytest.mark.parametrize("place", ["/run/\0", "/run/\ud800"])
def test_a_place_that_cannot_be_named_is_refused(hostile_server, place) -> None:
    address = hostile_server({"grpc": place}, lambda connection: None)
    with pytest.raises(ProtocolError, match="no text"):
        perfkit.connect(address, record=False, methods=["grpc"], timeout_s=0.4)
