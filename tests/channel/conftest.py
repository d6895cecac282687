"""Servers for the tests of the channel: in this process, or in one of their own that can be killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import perfkit

HANDLERS = Path(__file__).with_name("server_process.py")


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Where a test's server listens."""
    return f"unix:{tmp_path}/channel.sock"


@pytest.fixture
def connect(address: str) -> Iterator[Callable[..., perfkit.Channel]]:
    """Connect to the test's server; closed at its end."""
    with contextlib.ExitStack() as stack:

        def connect(**options: object) -> perfkit.Channel:
            return stack.enter_context(perfkit.connect(address, **{"record": False, "timeout_s": 20, **options}))

        yield connect


class ServerProcess:
    """A server in a process of its own; see `server_process.py` for its handlers."""

    def __init__(self, address: str, handler: str, *options: str) -> None:
        self.command = [sys.executable, str(HANDLERS), address, handler, *options]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        return process

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """End it the hard way."""
        self.process.kill()
        self._forget()

    def restart(self) -> None:
        """Start its successor at the same address."""
        self.process = self._start()

    def close(self) -> None:
        """Let it end by itself."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        self.kill()

    def _forget(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture
def server_process(address: str) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers in processes of their own; killed at the test's end."""
    servers: list[ServerProcess] = []

    def start(handler: str, *options: str) -> ServerProcess:
        servers.append(ServerProcess(address, handler, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """No test leaves a descriptor or a name in /dev/shm; what ends a moment later may."""
    before = _left()
    yield
    deadline = time.monotonic() + 10
    while (left := _left()) > before:
        if time.monotonic() > deadline:
            open_now = {str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
            pytest.fail(f"left behind: {left - before} descriptors or segments; open now: {sorted(open_now)}")
        time.sleep(0.05)


def _left() -> int:
    # gRPC keeps descriptors of its own (eventfd, epoll) from its first use on.
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(entry.readlink()))
    ours = [link for link in links if "perfkit" in link or link.startswith("socket:") or "pidfd" in link]
    return len(ours) + len(list(Path("/dev/shm").glob("perfkit*")))
