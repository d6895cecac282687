"""A service in this process or in one of its own, and channels to it with and without the interceptor."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

import perfkit.grpc
from perfkit.transfer.arena import Arena

SERVICE_FILE = Path(__file__).with_name("service.py")
THRESHOLD_BYTES = 2**16


@pytest.fixture(scope="session")
def service() -> ModuleType:
    """The module with the service and its messages."""
    spec = importlib.util.spec_from_file_location("perfkit_test_service", SERVICE_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder() -> Iterator[str]:
    """A folder whose name is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="pk-", dir="/tmp") as path:
        yield path


class Ends:
    """Servers and channels of one test, all closed at its end."""

    def __init__(self, service: ModuleType, folder: str, stack: contextlib.ExitStack) -> None:
        self.service, self.folder, self._stack = service, folder, stack
        self.socket = f"{folder}/s"

    def arena(self, limit_bytes: int = 2**26) -> Arena:
        """An arena that makes room at once, so that the first call that may be pooled is."""
        arena = Arena(limit_bytes, region_bytes=min(limit_bytes, 2**23))
        self._stack.callback(arena.close)
        return arena

    def server(self, **options: Any) -> Any:
        """A server in this process with an interceptor, which is returned; its handlers at `handlers`."""
        interceptor = perfkit.grpc.server_interceptor(
            **({"threshold_bytes": THRESHOLD_BYTES, "arena": self.arena()} | options)
        )
        self.handlers = self.service.Handlers()
        server = self.service.start(self.socket, [interceptor], handlers=self.handlers)
        self._stack.callback(interceptor.close)
        self._stack.callback(lambda: server.stop(None).wait())
        return interceptor

    def plain_server(self) -> None:
        """A server in this process that has never heard of perfkit."""
        self.handlers = self.service.Handlers()
        server = self.service.start(self.socket, handlers=self.handlers)
        self._stack.callback(lambda: server.stop(None).wait())

    def process(self, kind: str) -> subprocess.Popen[str]:
        """A server in a process of its own."""
        command = [sys.executable, str(SERVICE_FILE), self.socket, kind]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(self.end, process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def end(self, process: subprocess.Popen[str], *, kill: bool = False) -> None:
        """End a server, and wait until it is gone."""
        if kill:
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()

    def client(self, *others: Any, **options: Any) -> tuple[Any, Any]:
        """A stub whose channel has an interceptor, and the interceptor; `others` stand before it."""
        interceptor = perfkit.grpc.client_interceptor(
            **({"threshold_bytes": THRESHOLD_BYTES, "arena": self.arena()} | options)
        )
        channel_options = [*self.service.UNLIMITED, ("grpc.use_local_subchannel_pool", 1)]
        channel_options += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        raw = grpc.insecure_channel(f"unix:{self.socket}", options=channel_options)
        self._stack.callback(interceptor.close)
        self._stack.callback(raw.close)
        return self.service.Stub(grpc.intercept_channel(raw, *others, interceptor)), interceptor

    def known(self, *others: Any, **options: Any) -> tuple[Any, Any]:
        """As `client`, and it has met its server already."""
        stub, interceptor = self.client(*others, **options)
        stub.count(self.service.Blob(), wait_for_ready=True)
        return stub, interceptor


@pytest.fixture
def ends(service: ModuleType, folder: str) -> Iterator[Ends]:
    """Makes the two ends of a test."""
    with contextlib.ExitStack() as stack:
        yield Ends(service, folder, stack)


@pytest.fixture
def make_blob(service: ModuleType) -> Callable[..., Any]:
    """A message with large and small fields at every place where one can be."""

    def make(size: int = 100_000) -> Any:
        blob = service.Blob(data=b"d" * size, many=[b"1" * size, b"", b"s", b"2" * size], name="näme")
        blob.inner.data, blob.inner.number = b"i" * size, -7
        blob.items.add(data=b"small", number=1)
        blob.items.add(data=b"e" * size, words=["a", "b"])
        blob.table["key"] = b"t" * size
        blob.left = b"l" * size
        blob.maybe = b"y" * size
        blob.deeper.deeper.data = b"z" * size
        blob.deeper.name = "deep"
        blob.nothing.SetInParent()
        setattr(blob, "import", b"k" * size)
        return blob

    return make
