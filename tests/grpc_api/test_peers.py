"""Whatever is at the other end, or happens to it, calls are answered, and nothing is left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

import perfkit.grpc.client
import perfkit.grpc.own
import perfkit.grpc.peer
from perfkit.engine import Engine
from perfkit.errors import TransferError
from perfkit.grpc.fields import Found
from perfkit.grpc.own import OwnMemory
from perfkit.grpc.peer import PeerMemory

LARGE = b"x" * 2**20


def settle(stub: Any, service: Any, client: Any) -> None:
    """Call until the client knows its server."""
    for _ in range(100):
        stub.count(service.Blob(), wait_for_ready=True)
        if client.statistics().peers:
            return
        time.sleep(0.05)
    raise AssertionError("the server was never met")


# --- servers ---------------------------------------------------------------------------------------------------------


def test_a_server_that_has_never_heard_of_perfkit_is_served_inline(ends: Any, service: Any) -> None:
    ends.plain_server()
    stub, client = ends.client()
    for _ in range(5):
        assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    figures = client.statistics()
    assert (figures.calls, figures.pooled_calls, figures.repeated_calls, figures.peers) == (5, 0, 0, 0)
    assert client._server.offer()[0] is None  # it is left alone for a while


def test_between_processes(ends: Any, service: Any, wait_until: Callable[..., None]) -> None:
    ends.process("perfkit")
    stub, client = ends.known()
    for size in (10, 2**16, 2**20, 2**23):
        assert stub.echo(service.Blob(data=b"y" * size)).data == b"y" * size
    assert client.statistics().sent_fields == 3

    def comes_pooled() -> bool:  # once the server's arena has made room in the background
        assert stub.make(service.Blob(name="1000000")).data == b"m" * 1_000_000
        return bool(client.statistics().received_fields)

    wait_until(comes_pooled)


@pytest.mark.parametrize("form", ["call", "future", "stream"])
@pytest.mark.parametrize("successor", ["perfkit", "plain"])
def test_a_restarted_server_is_answered_by_one_repeated_call(
    ends: Any, service: Any, successor: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ends.process("perfkit")
    stub, client = ends.known(retry_s=0.0)
    stub.echo(service.Blob(data=LARGE))
    ends.end(first, kill=True)
    Path(ends.socket).unlink(missing_ok=True)
    ends.process(successor)
    # As if no call had noticed that the connection went: the next one is pooled for a server that is gone.
    monkeypatch.setattr(client._server, "forget", lambda: None)
    blob = service.Blob(data=LARGE, name="0")
    for _ in range(100):
        try:
            if form == "stream":
                assert [one.name for one in stub.stream(blob, wait_for_ready=True)] == [
                    f"{n} {2**20}" for n in range(3)
                ]
            else:
                answer = stub.slow.future(blob).result() if form == "future" else stub.slow(blob, wait_for_ready=True)
                assert answer.name == str(2**20)
            break
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:  # the old connection's end, as without us
                raise
            time.sleep(0.05)
    monkeypatch.undo()
    reason = "server started anew" if successor == "perfkit" else "server without perfkit"
    assert client.statistics().fallbacks == {reason: 1}
    assert client.statistics().repeated_calls == 1
    if successor == "perfkit":
        settle(stub, service, client)
        pooled_calls = client.statistics().pooled_calls
        assert stub.slow(blob).name == str(2**20)
        assert client.statistics().pooled_calls == pooled_calls + 1
    assert client.statistics().held_blocks == 0


def test_a_handler_runs_once_when_its_call_is_repeated(ends: Any, service: Any) -> None:
    server = ends.server()
    stub, client = ends.known()
    stub.echo(service.Blob(data=LARGE))
    server._own._begin(os.getpid())  # as after a restart: another token
    assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    assert client.statistics().repeated_calls == 1
    assert ends.handlers.runs["echo"] == 2


def test_a_repeated_call_has_what_is_left_of_its_time(ends: Any, service: Any) -> None:
    server = ends.server()
    stub, client = ends.known()
    server._own._begin(os.getpid())
    started_s = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        stub.slow(service.Blob(data=LARGE, name="2"), timeout=0.4)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - started_s < 1.5
    assert client.statistics().repeated_calls == 1


def test_a_killed_server_is_an_error_like_without_us_and_its_blocks_come_back(ends: Any, service: Any) -> None:
    process = ends.process("perfkit")
    stub, client = ends.known()
    future = stub.slow.future(service.Blob(data=LARGE, name="20"))
    time.sleep(0.3)
    ends.end(process, kill=True)
    with pytest.raises(grpc.RpcError) as raised:
        future.result(timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    Path(ends.socket).unlink(missing_ok=True)
    ends.process("perfkit")
    settle(stub, service, client)
    assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    assert client.statistics().held_blocks == 0  # the first server's process is gone: nobody reads


@pytest.mark.parametrize("error", [TransferError("no"), OSError(24, "too many open files"), MemoryError()])
def test_a_server_that_cannot_open_the_memory_gets_the_call_inline(
    ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    server = ends.server()
    settings = tmp_path / "perfkit.toml"
    settings.write_text('[pools.default]\noverride = "shm_pool"\n')
    engine = Engine.load(settings, background=False)
    stub, client = ends.known(engine=engine, pool="default")

    def refuse(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(PeerMemory, "_map", refuse)
    for _ in range(6):
        assert stub.digest(service.Blob(data=LARGE)).name
    assert ends.handlers.runs["digest"] == 6
    figures = client.statistics()
    assert figures.fallbacks == {"server refused the memory": 2}  # then it rests
    assert engine.awaits_success
    assert server.statistics().fallbacks == {"request refused": 2}
    assert (figures.pooled_calls, figures.held_blocks) == (0, 0)


def test_a_client_on_another_host_is_served_inline(ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ends.server()
    stub, client = ends.client()
    client._own.identity  # noqa: B018 - made before the server's
    monkeypatch.setattr(perfkit.grpc.own, "host_identity", lambda: b"elsewhere       ")
    for _ in range(3):
        assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    assert client.statistics().pooled_calls == server.statistics().peers == 0


def test_an_answer_that_cannot_be_read_is_asked_for_again_and_its_handler_runs_once(
    ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ends.server()
    stub, client = ends.known()

    def refuse(*_: Any) -> Any:
        raise TransferError("cannot be read")

    for form in ("call", "future"):
        monkeypatch.setattr(perfkit.grpc.client, "put_back", refuse)
        request = service.Blob(name="1000000")
        answer = stub.make.future(request).result() if form == "future" else stub.make(request)
        assert answer == service.Blob(name="1000000", data=b"m" * 1_000_000)
        monkeypatch.undo()
        client._server._can_read = True
        client._server._usual = None
    assert ends.handlers.runs["make"] == 2
    assert client.statistics().fallbacks == {"answer could not be read": 2}
    assert server.statistics().held_blocks == 0


def test_an_answer_that_cannot_be_had_any_more_is_an_error_and_not_an_empty_one(
    ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ends.server()
    stub, _ = ends.known()

    def refuse(*_: Any) -> Any:
        for session in server._sessions._all():
            session.close()
        raise TransferError("cannot be read")

    monkeypatch.setattr(perfkit.grpc.client, "put_back", refuse)
    with pytest.raises(grpc.RpcError) as raised:
        stub.make(service.Blob(name="1000000"))
    assert raised.value.code() is grpc.StatusCode.DATA_LOSS


def test_whatever_is_wrong_with_us_the_call_goes_out(ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ends.server()
    stub, client = ends.known()

    def fail(*_: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(perfkit.grpc.choosing, "copy_without", fail)
    assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    assert client.statistics().fallbacks == {"error: RuntimeError": 1}
    assert client.statistics().held_blocks == 0


def test_a_call_that_has_ended_is_not_spoilt_by_what_we_make_of_it(
    ends: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.server()
    stub, client = ends.client()

    def fail(*_: Any) -> Any:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(client._server, "learn", fail)
    assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    assert client.statistics().fallbacks == {"error: RuntimeError": 1}


# --- clients ---------------------------------------------------------------------------------------------------------

CLIENT = """
    import importlib.util, os, sys, time
    import grpc, perfkit.grpc
    from perfkit.transfer.arena import Arena
    spec = importlib.util.spec_from_file_location("service", sys.argv[1])
    service = importlib.util.module_from_spec(spec); spec.loader.exec_module(service)
    client = perfkit.grpc.client_interceptor(threshold_bytes=2**16, arena=Arena(2**24))
    channel = grpc.intercept_channel(grpc.insecure_channel(f"unix:{sys.argv[2]}", options=service.UNLIMITED), client)
    stub = service.Stub(channel)
    stub.count(service.Blob())
    for _ in range(3):
        assert stub.echo(service.Blob(data=b"c" * 2**20)).data == b"c" * 2**20
    assert client.statistics().pooled_calls == 3, client.statistics()
    print("ready", flush=True)
    stub.slow.future(service.Blob(data=b"c" * 2**20, name="4"))
    time.sleep(60)
"""


def test_nothing_of_a_killed_client_is_kept(ends: Any, service: Any, wait_until: Callable[..., None]) -> None:
    server = ends.server()
    command = [sys.executable, "-c", textwrap.dedent(CLIENT), service.__file__, ends.socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        wait_until(lambda: (server.statistics().peers, server.statistics().held_blocks) == (1, 1))
        assert server.statistics().mapped_regions > 0
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: server.statistics().peers == 0)
    figures = server.statistics()
    assert (figures.held_blocks, figures.mapped_regions) == (0, 0)
    wait_until(lambda: server._sessions._sweeper is None)  # nobody is left to look after


def test_a_forked_child_has_memory_of_its_own(ends: Any, service: Any) -> None:
    own = OwnMemory(2**24, ends.arena())
    before, (block, parcel) = own.identity, own.put([Found(((1, -1),), LARGE)])
    assert not own.restarted()
    own._pid += 1  # what a child finds
    assert own.restarted()
    assert not own.restarted()
    assert own.identity.token != before.token
    own.release(block)  # the parent's: left alone
    assert PeerMemory(dataclasses.replace(before)).copy_out(parcel) == [LARGE]
    own.close()


def test_nothing_is_left_behind(ends: Any, service: Any, wait_until: Callable[..., None]) -> None:
    def memory_files() -> int:
        gc.collect()
        count = 0
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # that of the listing itself
                count += "memfd:perfkit" in str(descriptor.readlink())
        return count

    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:perfkit")

    gc.collect()
    before = memory_files(), mapped()
    arenas = [ends.arena(), ends.arena()]
    server = ends.server(arena=arenas[0])
    stub, client = ends.known(arena=arenas[1])
    for _ in range(5):
        assert stub.echo(service.Blob(data=LARGE)).data == LARGE
    assert memory_files() > before[0]
    client.close()
    server.close()
    for arena in arenas:
        arena.close()
    wait_until(lambda: (memory_files(), mapped()) == before)
