"""Calls through both interceptors behave as calls without them, in every form."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import perfkit.grpc
from perfkit.engine import Decision, Engine
from perfkit.errors import InputError
from perfkit.grpc.wire import ANSWER_KEY, POOL_PREFIX
from perfkit.journal import open_journal
from perfkit.transfer.arena import Arena

THRESHOLD_BYTES = 2**16


@pytest.mark.parametrize("size", [0, 1, THRESHOLD_BYTES - 1, THRESHOLD_BYTES, THRESHOLD_BYTES + 1, 2**20, 5 * 2**20])
def test_what_is_sent_arrives_and_comes_back(ends: Any, service: Any, size: int) -> None:
    server = ends.server()
    stub, client = ends.known()
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    for _ in range(3):
        assert stub.echo(service.Blob(data=body, name="n")) == service.Blob(data=body, name="n")
    pooled = 3 if size >= THRESHOLD_BYTES else 0
    for side in (client.statistics(), server.statistics()):
        assert (side.pooled_calls, side.sent_fields, side.received_fields) == (pooled, pooled, pooled)
        assert side.sent_bytes == side.received_bytes == pooled * size
        assert (side.repeated_calls, dict(side.fallbacks)) == (0, {})
    assert client.statistics().calls == 4


def test_fields_at_every_depth_arrive_and_the_callers_message_stays_as_it_was(
    ends: Any, make_blob: Callable[..., Any]
) -> None:
    server = ends.server()
    stub, client = ends.known()
    blob = make_blob()
    before = blob.SerializeToString(deterministic=True)
    answer = stub.echo(blob)
    assert answer == blob
    assert answer.SerializeToString(deterministic=True) == before
    assert blob.SerializeToString(deterministic=True) == before
    assert client.statistics().sent_fields == server.statistics().sent_fields == 9


def test_the_first_call_goes_inline_and_asks(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.client()
    blob = service.Blob(data=b"x" * 2**20)
    assert stub.echo(blob) == blob
    assert client.statistics().pooled_calls == 0
    assert stub.echo(blob) == blob
    assert client.statistics().pooled_calls == 1


def test_small_requests_may_have_large_answers(ends: Any, service: Any) -> None:
    server = ends.server()
    stub, client = ends.known()
    for _ in range(5):
        assert stub.make(service.Blob(name="1000000")).data == b"m" * 1_000_000
    assert client.statistics().received_fields == server.statistics().sent_fields == 5
    assert client.statistics().pooled_calls == 0
    stub.count(service.Blob())
    assert server.statistics().held_blocks == 0  # the last lease came back with the last call


def test_all_forms_of_a_call_work(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    blob = service.Blob(data=b"x" * 2**20, name="n")
    assert stub.echo(blob) == blob
    answer, call = stub.echo.with_call(blob)
    assert (answer, call.code()) == (blob, grpc.StatusCode.OK)
    future = stub.echo.future(blob)
    assert future.result(timeout=20) == blob
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert future.exception() is None
    assert future.traceback() is None
    assert future.code() is grpc.StatusCode.OK
    called = threading.Event()
    future.add_done_callback(lambda done: called.set() if done is future else None)
    assert called.is_set()
    assert [one.name for one in stub.stream(blob)] == [f"{index} {2**20}" for index in range(3)]
    assert client.statistics().pooled_calls == 4
    assert client.statistics().held_blocks == 0


def test_futures_under_way_at_once(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    blobs = [service.Blob(data=bytes([index]) * (2**17 + index)) for index in range(20)]
    heard: list[Any] = []
    futures = [stub.echo.future(blob) for blob in blobs]
    for future in futures:
        future.add_done_callback(heard.append)
    assert [future.result(timeout=30) for future in futures] == blobs
    assert len(heard) == 20
    assert client.statistics().held_blocks == 0


@pytest.mark.parametrize("code", ["NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED", "UNAVAILABLE", "INTERNAL"])
@pytest.mark.parametrize("form", ["__call__", "with_call", "future"])
def test_errors_of_a_handler_pass_and_are_never_repeated(ends: Any, service: Any, code: str, form: str) -> None:
    ends.server()
    stub, client = ends.known()
    for method in ("fail", "fail_softly"):
        handler = getattr(stub, method)
        request = service.Blob(data=b"x" * 2**18, name=code)
        with pytest.raises(grpc.RpcError) as raised:
            handler.future(request).result() if form == "future" else getattr(handler, form)(request)
        assert raised.value.code() is grpc.StatusCode[code]
        assert raised.value.details() == ("softly" if method == "fail_softly" else f"{2**18} bytes are no good")
        assert ("x-why" in dict(raised.value.trailing_metadata())) == (method == "fail")
        assert ends.handlers.runs[method] == 1
    figures = client.statistics()
    assert (figures.pooled_calls, figures.repeated_calls, figures.held_blocks) == (2, 0, 0)
    assert stub.echo(service.Blob(data=b"x" * 2**18)).data == b"x" * 2**18
    assert client.statistics().pooled_calls == 3  # an error is no reason to forget the server


def test_metadata_passes_in_both_directions(ends: Any, service: Any) -> None:
    server = ends.server()
    stub, client = ends.known()
    blob = service.Blob(data=b"x" * 2**18)
    answer, call = stub.metadata.with_call(blob, metadata=(("x-user", "somebody"),))
    assert (answer.name, answer.data) == ("somebody", blob.data)
    assert ("x-initial", "1") in tuple(call.initial_metadata())
    assert ("x-trailing", "2") in tuple(call.trailing_metadata())
    # The handler has sent initial metadata itself: there is no safe place to announce a block in.
    assert server.statistics().fallbacks == {"initial metadata was sent already": 1}
    assert server.statistics().held_blocks == 0
    assert client.statistics().pooled_calls == 1


def test_many_threads_at_once(ends: Any, service: Any) -> None:
    server = ends.server(arena=ends.arena(2**25))
    stub, client = ends.known(arena=ends.arena(2**23))  # too small for all of them: some go inline

    def call(index: int) -> bool:
        blob = service.Blob(data=bytes([index % 256]) * (2**18 + index), many=[b"s", bytes([index % 251]) * 2**17])
        return bool(stub.echo(blob) == blob)

    with ThreadPoolExecutor(16) as executor:
        assert all(executor.map(call, range(300)))
    figures = client.statistics()
    assert figures.calls == 301
    assert figures.pooled_calls > 50
    assert figures.pooled_calls + figures.fallbacks.get("no room in shared memory", 0) == 300
    assert (figures.held_blocks, figures.repeated_calls) == (0, 0)
    stub.count(service.Blob())
    assert server.statistics().received_fields == figures.sent_fields


def test_without_room_calls_go_inline(ends: Any, service: Any) -> None:
    server = ends.server(arena=ends.arena(2**16))
    stub, client = ends.known(arena=ends.arena(2**16))
    blob = service.Blob(data=b"x" * 2**20)
    assert stub.echo(blob) == blob
    assert client.statistics().fallbacks == server.statistics().fallbacks == {"no room in shared memory": 1}


def test_a_client_holds_no_more_than_its_share(ends: Any, service: Any) -> None:
    server = ends.server(client_limit_bytes=3 * 2**18)
    stub, client = ends.known()
    with ThreadPoolExecutor(6) as executor:
        answers = list(executor.map(lambda _: stub.make(service.Blob(name=str(2**18))).data, range(30)))
    assert answers == [b"m" * 2**18] * 30
    assert server.statistics().fallbacks.keys() <= {"over the client's cap"}
    assert server.statistics().sent_fields == client.statistics().received_fields > 0
    ends_with = server.statistics()
    assert ends_with.held_blocks <= 3


def test_an_answer_that_nobody_confirms_is_kept_for_a_while_only(
    ends: Any, service: Any, wait_until: Callable[..., None]
) -> None:
    server = ends.server(lease_s=0.2)
    stub, _ = ends.known()
    stub.make(service.Blob(name="1000000"))
    assert server.statistics().held_blocks == 1
    wait_until(lambda: server.statistics().held_blocks == 0)


def test_more_fields_than_the_metadata_can_name(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    sizes = [2**16 + index for index in range(300)]
    blob = service.Blob(many=[b"f" * size for size in sizes])
    assert stub.echo(blob) == blob
    figures = client.statistics()
    assert 100 < figures.sent_fields < 300
    assert figures.sent_bytes == sum(sorted(sizes)[-figures.sent_fields :])  # the largest ones
    assert figures.fallbacks == {"no room in the metadata": 1}


def test_a_service_with_much_metadata_of_its_own_is_left_room(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    blob = service.Blob(many=[b"f" * 2**16] * 60)
    for own_bytes in (100, 5500, 6600):
        assert stub.echo(blob, metadata=(("x-long", "v" * own_bytes),)) == blob
    assert client.statistics().sent_fields < 180
    assert client.statistics().fallbacks == {"no room in the metadata": 2}


def test_a_message_of_another_make_goes_inline(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    newer = service.Blob.FromString(service.Blob(data=b"x" * 2**18).SerializeToString() + b"\xfa\x06\x01?")
    assert stub.echo(newer).SerializeToString() == newer.SerializeToString()
    assert client.statistics().fallbacks == {"fields unknown to the message's class": 1}


def test_the_engine_decides_where_there_is_one(ends: Any, service: Any, folder: str) -> None:
    engine = Engine.load(f"{folder}/none.toml")
    binding = engine.bind(signalling="grpc", available=("grpc", "shm_pool"))
    sizes = [2**exponent for exponent in range(18, 26)]
    wanted = [size for size in sizes if binding.decide(size).method == "shm_pool"]
    assert 0 < len(wanted) < len(sizes)
    server = ends.server(engine=engine)
    stub, client = ends.known(engine=engine)
    for size in sizes:
        assert len(stub.echo(service.Blob(data=b"x" * size)).data) == size
    assert client.statistics().sent_fields == server.statistics().sent_fields == len(wanted)


def test_a_plan_that_is_replaced_while_it_runs_is_followed(ends: Any, service: Any, folder: str) -> None:
    ends.server()
    settings = Path(folder, "perfkit.toml")
    engine = Engine.load(settings)
    stub, client = ends.known(engine=engine)
    blob = service.Blob(data=b"x" * 2**24)
    stub.echo(blob)
    assert client.statistics().pooled_calls == 1
    settings.write_text('[pools.default]\nmethods = ["grpc"]\n')
    engine.reload()
    stub.echo(blob)
    assert client.statistics().pooled_calls == 1


def test_every_call_is_recorded_and_the_engine_hears_of_what_it_decided(
    ends: Any, service: Any, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perfkit.journal.reading import decode_body, list_slots, open_slot

    ends.server()
    engine = Engine.load(f"{folder}/none.toml", background=False)
    told: list[tuple[str, int, bool, bool]] = []

    def listen(decision: Decision, payload_bytes: int, latency_ns: int, ok: bool = True, error: object = None) -> None:
        told.append((decision.method, payload_bytes, latency_ns > 0, ok))

    monkeypatch.setattr(engine, "observe", listen)
    monkeypatch.setattr(Engine, "available_bytes", 2**33)
    with open_journal(f"{folder}/journal") as journal:
        stub, _ = ends.known(journal=journal, engine=engine, pool="default")
        stub.echo(service.Blob(data=b"x" * 2**24))
        stub.slow(service.Blob(data=b"x" * 100, name="0.3"))
        with pytest.raises(grpc.RpcError):
            stub.fail(service.Blob(name="NOT_FOUND"))
        assert journal.flush(20)
        rows = []
        for slot in list_slots(f"{folder}/journal"):
            with open_slot(slot.path) as reader:
                for batch in reader.batches("transfers"):
                    columns = decode_body(batch.body)
                    names = list(columns)
                    rows += zip(*(columns[name].to_list() for name in names), strict=True)
    rows = [dict(zip(names, row, strict=True)) for row in rows]
    assert [row["method"] for row in rows] == ["grpc", "shm_pool", "grpc", "grpc"]
    assert [row["payload_bytes"] for row in rows] == [0, 2**24, 100, 0]
    assert {row["available_bytes"] for row in rows} == {2**33}
    assert [row["error"] for row in rows] == [None, None, None, "NOT_FOUND"]
    assert {(row["source"], row["signalling"], row["kind"], row["format"], row["stage"]) for row in rows} == {
        ("service", "grpc", "binary", "raw", "whole")
    }
    assert [re.sub("~[0-9a-f]{8}", "", row["decision_id"]) for row in rows] == [
        "",
        "default:default/binary/raw/none/grpc#1",
        "default:default/binary/raw/none/grpc#0",
        "",
    ]
    assert {(row["variant"], row["propensity"], row["plan_version"]) for row in rows} == {("", 1.0, 0)}
    assert told == [("shm_pool", 2**24, True, True), ("grpc", 100, True, True)]
    slow = rows[2]
    assert slow["handler_ns"] > 0.25e9  # the handler's sleep is not part of the transfer
    assert 0 < slow["latency_ns"] < 0.25e9


def test_figures_are_shown(ends: Any, service: Any) -> None:
    ends.server()
    stub, client = ends.known()
    stub.echo(service.Blob(data=b"x" * 2**20))
    figures = client.statistics()
    assert figures.inline_calls == 1
    assert "1MiB" in str(figures)
    assert "pooled_calls" in figures._repr_html_()
    assert json.loads(json.dumps(figures.to_plain()))["pooled_calls"] == 1
    with pytest.raises(AttributeError):
        figures.calls = 7


def test_a_client_that_says_nothing_pays_nothing(ends: Any, service: Any) -> None:
    server = ends.server()
    with grpc.insecure_channel(f"unix:{ends.socket}", options=service.UNLIMITED) as channel:
        _, call = service.Stub(channel).echo.with_call(service.Blob(data=b"x" * 2**20))
    assert ANSWER_KEY not in dict(call.trailing_metadata())
    assert server.statistics().calls == 0


def test_others_may_intercept_too(ends: Any, service: Any) -> None:
    seen: list[Any] = []

    class Other(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            seen.append((details.method, len(request.data)))
            return continuation(details, request)

    ends.server()
    stub, client = ends.known(Other())
    stub.echo(service.Blob(data=b"x" * 2**18))
    assert seen[-1] == ("/test.Blobs/echo", 2**18)
    assert client.statistics().pooled_calls == 1


def test_a_strangers_pooled_call_finds_no_handler(ends: Any, service: Any) -> None:
    ends.server()
    with grpc.insecure_channel(f"unix:{ends.socket}") as channel:
        call = channel.unary_unary(
            f"{POOL_PREFIX}/test.Blobs/echo", service.Blob.SerializeToString, service.Blob.FromString
        )
        with pytest.raises(grpc.RpcError) as raised:
            call(service.Blob(name="no offer"))
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert not ends.handlers.runs


def test_after_closing_calls_go_on_inline(ends: Any, service: Any) -> None:
    server = ends.server()
    stub, client = ends.known()
    blob = service.Blob(data=b"x" * 2**18)
    client.close()
    assert stub.echo(blob) == blob
    server.close()
    assert stub.echo(blob) == blob
    assert client.statistics().pooled_calls == 0


@pytest.mark.parametrize("options", [{"threshold_bytes": 0}, {"limit_bytes": -1}, {"retry_s": -1.0}])
def test_a_client_that_makes_no_sense_is_refused(options: Any) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        perfkit.grpc.client_interceptor(**options)


@pytest.mark.parametrize("options", [{"threshold_bytes": 0}, {"client_limit_bytes": -1}, {"lease_s": 0.0}])
def test_a_server_that_makes_no_sense_is_refused(options: Any) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        perfkit.grpc.server_interceptor(**options)


def test_its_own_arena_is_made_when_it_is_needed(ends: Any, service: Any, wait_until: Callable[..., None]) -> None:
    ends.server(arena=None)
    stub, client = ends.known(arena=None, limit_bytes=2**24)

    def is_pooled() -> bool:
        assert stub.echo(service.Blob(data=b"x" * 2**20)).data == b"x" * 2**20
        return bool(client.statistics().pooled_calls and client.statistics().received_fields)

    wait_until(is_pooled)


def test_an_arena_may_serve_several_channels(ends: Any, service: Any) -> None:
    ends.server()
    arena = Arena(2**24)
    stubs = [ends.known(arena=arena) for _ in range(3)]
    for stub, client in stubs:
        assert stub.echo(service.Blob(data=b"x" * 2**20)).data == b"x" * 2**20
        client.close()
    assert arena.stats().leased_blocks == 0
    arena.release(arena.lease(4096))  # it is still open
    arena.close()
