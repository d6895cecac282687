"""Calls that end before they are answered: deadlines, cancellation, streams that are dropped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest


@pytest.mark.parametrize("form", ["call", "future"])
@pytest.mark.parametrize("asks_by", ["call", "stream"])
def test_a_deadline_holds_and_the_block_waits_for_word_of_the_server(
    ends: Any, service: Any, form: str, asks_by: str
) -> None:
    ends.server()
    stub, client = ends.known()
    blob = service.Blob(data=b"x" * 2**18, name="0.6")
    started_s = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        stub.slow(blob, timeout=0.2) if form == "call" else stub.slow.future(blob, timeout=0.2).result()
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started_s < 0.6
    assert client.statistics().quarantined_blocks == 1
    if asks_by == "stream":
        list(stub.stream(blob))  # asks, and hears at the end of the stream
    else:
        stub.count(service.Blob())
    assert client.statistics().quarantined_blocks == client.statistics().held_blocks == 0
    assert stub.echo(blob) == blob


def test_a_block_that_is_being_read_is_not_used_again(ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ends.server()
    stub, client = ends.known(arena=ends.arena(2**22))
    stub.echo(service.Blob(data=b"x" * 2**18))
    (session,) = server._sessions._all()
    reads, goes_on, copy_out = threading.Event(), threading.Event(), session.memory.copy_out

    def copy_slowly(parcel: Any) -> Any:
        reads.set()
        assert goes_on.wait(20)
        return copy_out(parcel)

    monkeypatch.setattr(session.memory, "copy_out", copy_slowly)
    with pytest.raises(grpc.RpcError):
        stub.echo(service.Blob(data=b"a" * 2**18), timeout=0.3)
    assert reads.wait(20)
    monkeypatch.setattr(session.memory, "copy_out", copy_out)
    for _ in range(3):
        stub.echo(service.Blob(data=b"b" * 2**18))
    assert client.statistics().quarantined_blocks == 1  # asked for three times: it is still being read
    goes_on.set()
    deadline_s = time.monotonic() + 20
    while client.statistics().quarantined_blocks and time.monotonic() < deadline_s:
        stub.count(service.Blob())
        time.sleep(0.02)
    assert client.statistics().quarantined_blocks == 0


def test_a_cancelled_future_is_cancelled_and_its_block_comes_back(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    future = stub.slow.future(service.Blob(data=b"x" * 2**18, name="0.5"))
    assert not future.done()
    assert future.is_active()
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(grpc.FutureCancelledError):
        future.result(timeout=20)
    stub.count(service.Blob())
    assert client.statistics().held_blocks == 0


def test_a_future_that_is_not_waited_for_long_enough_says_so(ends: Any, service: Any) -> None:
    ends.server()
    stub, _ = ends.known()
    future = stub.slow.future(service.Blob(data=b"x" * 2**18, name="0.5"))
    for ask in (future.result, future.exception, future.traceback):
        with pytest.raises(grpc.FutureTimeoutError):
            ask(timeout=0.01)
    assert future.result(timeout=20).name == str(2**18)


def test_a_stream_that_is_dropped_or_cancelled_gives_its_block_back(
    ends: Any, service: Any, wait_until: Callable[..., None]
) -> None:
    ends.server()
    stub, client = ends.known()
    blob = service.Blob(data=b"x" * 2**18)
    stream = stub.stream(blob)
    assert next(stream).name == f"0 {2**18}"
    del stream
    other = stub.stream(blob)
    heard = threading.Event()
    other.add_callback(heard.set)
    other.cancel()
    with contextlib.suppress(grpc.RpcError):
        list(other)
    assert heard.wait(20)

    def all_back() -> bool:
        stub.count(service.Blob())
        return bool(client.statistics().held_blocks == 0)

    wait_until(all_back)
