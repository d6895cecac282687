"""What the engine hears of a channel's transfers: how long they took, and failures that are their method's fault."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.channel import loading
from perfkit.channel.frames import IN_BLOCK
from perfkit.channel.session import Session
from perfkit.engine import Decision
from perfkit.errors import HandlerError, PeerLostError, TransferError, TransferTimeoutError

PAYLOAD = bytes(100_000)


class Heard:
    """What an engine was told, in order: method, bytes, latency, whether it succeeded, error."""

    def __init__(self, engine: perfkit.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[Any, ...]] = []
        observe = engine.observe

        def listen(decision: Decision, payload_bytes: int, latency_ns: int, ok: bool = True, error: Any = None) -> None:
            self.told.append((decision.method, payload_bytes, latency_ns, ok, error))
            observe(decision, payload_bytes, latency_ns, ok, error)

        monkeypatch.setattr(engine, "observe", listen)


@pytest.fixture
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[perfkit.Engine]:
    """An engine that takes one method for everything, `uds` where a test names none."""
    method = getattr(request, "param", "uds")
    (tmp_path / "perfkit.toml").write_text(f'[pools.default]\noverride = "{method}"\n')
    with perfkit.Engine.load(tmp_path / "perfkit.toml", background=False) as engine:
        yield engine


@pytest.fixture
def heard(engine: perfkit.Engine, monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(engine, monkeypatch)


def no_descriptor(*_: Any) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def test_recorded_request_is_told_with_its_latency(address, connect, engine, heard, tmp_path) -> None:
    def handler(payload):
        time.sleep(0.2)

    with perfkit.serve(handler, address):
        channel = connect(engine=engine, record=tmp_path / "journal")
        started_ns = time.perf_counter_ns()
        channel.send(PAYLOAD)
        whole_ns = time.perf_counter_ns() - started_ns
    [(method, payload_bytes, latency_ns, ok, error)] = heard.told
    assert (method, payload_bytes, ok, error) == ("uds", len(PAYLOAD), True, None)
    assert 0 < latency_ns < whole_ns - 0.19e9  # the handler is not part of it


def test_without_records_a_success_is_told_only_to_an_engine_that_awaits_one(address, connect, engine, heard) -> None:
    with perfkit.serve(lambda payload: None, address):
        channel = connect(engine=engine)
        channel.send(PAYLOAD)
        assert heard.told == []
        engine.observe(engine.decide(1), 1, 0, ok=False, error="SomeError")
        for _ in range(2):
            channel.send(PAYLOAD)
    assert heard.told[1:] == [("uds", len(PAYLOAD), 0, True, None)]


def test_what_goes_wrong_in_the_handler_is_not_the_methods_fault(address, connect, engine, heard, tmp_path) -> None:
    with perfkit.serve(lambda payload: 1 / 0, address):
        channel = connect(engine=engine, record=tmp_path / "journal")
        with pytest.raises(HandlerError):
            channel.send(PAYLOAD)
    assert heard.told == []


def test_death_of_the_server_is_not_the_methods_fault(address, connect, engine, heard, server_process) -> None:
    server = server_process("slow")
    channel = connect(engine=engine)
    threading.Timer(0.3, server.kill).start()
    with pytest.raises(PeerLostError):
        channel.send(PAYLOAD)
    assert heard.told == []


@pytest.mark.parametrize("engine", ["uds", "grpc"], indirect=True)
def test_a_timeout_is_the_fault_of_a_method_with_a_call_of_its_own(address, connect, engine, heard) -> None:
    method = engine.decide(1).method
    with perfkit.serve(lambda payload: time.sleep(0.5), address), pytest.raises(TransferTimeoutError):
        connect(engine=engine, methods=[method], timeout_s=0.2).send(PAYLOAD)
    fault = (method, len(PAYLOAD), 0, False, TransferTimeoutError)
    assert heard.told == ([fault] if method == "grpc" else [])


@pytest.mark.parametrize("engine", ["shm"], indirect=True)
def test_method_that_the_system_refuses_is_replaced_and_told(address, connect, engine, heard, monkeypatch) -> None:
    monkeypatch.setattr(loading, "Region", no_descriptor)
    with perfkit.serve(lambda payload: None, address):
        channel = connect(engine=engine, methods=["shm", "uds"])
        channel.send(PAYLOAD)
        assert channel.statistics().fallbacks == {"shm: EMFILE": 1}
    assert heard.told == [("shm", len(PAYLOAD), 0, False, OSError)]


@pytest.mark.parametrize("engine", ["shm_pool"], indirect=True)
def test_no_room_and_what_the_peer_lacks_are_not_the_methods_fault(address, connect, engine, heard) -> None:
    with perfkit.serve(lambda payload: None, address):
        channel = connect(engine=engine, methods=["shm_pool", "uds"], arena_bytes="64KiB")
        channel.send(PAYLOAD)
        assert channel.statistics().fallbacks == {"shm_pool: no room": 1}
        connect(engine=engine, methods=["uds"]).send(PAYLOAD)
    assert heard.told == []


@pytest.mark.parametrize("engine", ["shm_pool"], indirect=True)
def test_refusal_by_the_server_is_the_methods_fault(address, connect, engine, heard, monkeypatch) -> None:
    borrow = Session.borrow

    def refuse(session, message):
        if message.carrier == IN_BLOCK:
            raise TransferError("the block cannot be mapped")
        return borrow(session, message)

    monkeypatch.setattr(Session, "borrow", refuse)
    with perfkit.serve(lambda payload: None, address):
        channel = connect(engine=engine, methods=["shm_pool", "uds"])
        payload = channel.empty(1000)  # a block is at hand
        with pytest.raises(TransferError, match="cannot be mapped"):
            channel.send(payload)
    [(method, _, _, ok, error)] = heard.told
    assert (method, ok, error) == ("shm_pool", False, PeerLostError)


def test_method_that_fails_again_and_again_is_left_alone(address, connect, tmp_path, monkeypatch) -> None:
    (tmp_path / "perfkit.toml").write_text('[pools.default]\noverride = "shm"\n')
    monkeypatch.setattr(loading, "Region", no_descriptor)
    with perfkit.serve(lambda payload: None, address), perfkit.Engine.load(tmp_path / "perfkit.toml") as engine:
        channel = connect(engine=engine, methods=["shm", "uds"])
        deadline_s = time.monotonic() + 20
        while channel.send(PAYLOAD) is None and channel.statistics().methods["uds"] < 5:
            pass
        while engine.decide(len(PAYLOAD)).method == "shm" and time.monotonic() < deadline_s:
            time.sleep(0.02)
        before = channel.statistics().fallbacks["shm: EMFILE"]
        channel.send(PAYLOAD)
        assert channel.statistics().fallbacks["shm: EMFILE"] == before
        assert before >= 5
