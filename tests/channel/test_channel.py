"""What a channel promises, by every method: the payload arrives, the answer comes back, memory is used again."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.settings import PoolSettings, Settings
from perfkit.engine.loading import Loaded
from perfkit.engine.plan import Publication
from perfkit.errors import (
    CodecError,
    HandlerError,
    InputError,
    MethodUnavailableError,
    PayloadTooLargeError,
    PeerLostError,
    TransferCancelledError,
    TransferTimeoutError,
    UnknownNameError,
)
from perfkit.schema import SIMPLICITY_ORDER

SIZES = (0, 1, 63, 64, 1000, 8192, 8193, 16_384, 65_536, 131_072, 200_000, 1_048_577, 5 * 2**20)
PAYLOADS = {
    "array": np.arange(12.0).reshape(3, 4),
    "Fortran array": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided array": np.arange(24.0)[::2],
    "empty array": np.empty((0, 3), "i2"),
    "bytes": b"abc" * 1000,
    "no bytes": b"",
    "text": "grüß" * 1000,
    "dict": {"a": [1, 2.5, None], "b": "c"},
    "table": pa.table({"x": [1, 2, 3], "s": ["a", None, "c"]}),
    "pandas": pd.DataFrame({"x": [1.5, 2.5], "s": ["a", "b"]}),
    "polars": pl.DataFrame({"x": [1, 2], "s": ["a", "b"]}),
    "nothing": None,
}


def echo(payload):
    return payload


@pytest.fixture(params=SIMPLICITY_ORDER)
def method(request):
    return request.param


@pytest.fixture
def server(address):
    with perfkit.serve(echo, address) as running:
        yield running


@pytest.fixture
def engine_of(make_curves):
    """An engine with curves by hand; see the fixture `make_curves`."""

    def make(*lines):
        settings = Settings(pools={"default": PoolSettings(goal="latency")})
        return perfkit.Engine(Loaded(settings, Publication(make_curves(*lines), version=1)))

    return make


def same(one, other) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one.equals(other) if hasattr(one, "equals") else one == other


@pytest.mark.parametrize("name", PAYLOADS)
def test_every_payload_comes_back_as_it_was_sent(server, connect, method, name):
    channel = connect(methods=[method])
    assert same(channel.send(PAYLOADS[name]), PAYLOADS[name])


@pytest.mark.parametrize("size", SIZES)
def test_every_size_arrives_whole(server, connect, method, size):
    payload = np.random.default_rng(size).bytes(size)
    channel = connect(methods=[method])
    assert channel.send(payload) == payload
    statistics = channel.statistics()
    assert statistics.requests == 1
    assert statistics.failures == {}
    assert statistics.methods == {method: 1}


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_payloads_arrive(server, connect, method, compression):
    channel = connect(methods=[method])
    payload = np.zeros(100_000)
    assert same(channel.send(payload, compression=compression), payload)


def test_sizes_may_come_in_any_order(server, connect, method):
    """Memory that is used again never shows an earlier payload's bytes."""
    channel = connect(methods=[method])
    for size in (100, 3_000_000, 50, 70_000, 1, 3_000_000, 2):
        payload = np.random.default_rng(size).bytes(size)
        assert channel.send(payload) == payload


def test_many_threads_get_their_own_answers(server, connect, method):
    channel = connect(methods=[method], max_in_flight=8)

    def send(number: int) -> bool:
        payload = np.full(number * 500 + 1, number)
        return same(channel.send(payload), payload)

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(send, range(120)))
    assert channel.statistics().lanes <= 8


def test_answers_are_read_only_and_keep_their_values_while_they_are_held(server, connect, method):
    channel = connect(methods=[method])
    sent = [np.full(200_000, number, "i4") for number in range(5)]
    answers = [channel.send(payload) for payload in sent]
    assert all(map(same, answers, sent))
    with pytest.raises(ValueError, match="read-only"):
        answers[0][0] = 1


def test_handler_error_reaches_the_caller_and_nobody_else(address, connect, method):
    def handler(payload):
        raise LookupError(f"no model for {len(payload)} bytes")

    with perfkit.serve(handler, address) as server:
        channel = connect(methods=[method])
        for _ in range(3):
            with pytest.raises(HandlerError, match="the handler raised LookupError: no model for 5 bytes") as caught:
                channel.send(b"12345")
            assert caught.value.kind == "LookupError"
        assert server.statistics().failures == {"LookupError": 3}
        assert channel.statistics().arena.leased_blocks == 0


def test_answer_that_cannot_be_sent_is_an_error_of_the_caller(address, connect, method):
    reason = "what the handler returned cannot be sent: object has no natural format"
    with perfkit.serve(lambda payload: object(), address), pytest.raises(CodecError, match=reason):
        connect(methods=[method]).send(b"x")


def test_handler_may_ask_about_its_request(address, connect, method):
    def handler(payload, request):
        return {"session": request.session, "pool": request.pool, "bytes": request.payload_bytes}

    with perfkit.serve(handler, address):
        channel = connect(methods=[method], pool="ml")
        assert channel.send(b"abc", session="user-17 ü") == {"session": "user-17 ü", "pool": "ml", "bytes": 3}
        assert channel.send(b"") == {"session": "", "pool": "ml", "bytes": 0}


def test_several_requests_may_be_under_way_from_one_thread(address, connect, method):
    release = threading.Event()

    def handler(payload):
        if payload[0] == 0:
            release.wait(20)
        return payload

    with perfkit.serve(handler, address):
        channel = connect(methods=[method])
        exchanges = [channel.begin(bytes([number])) for number in range(4)]
        assert [exchange.result() for exchange in exchanges[:0:-1]] == [b"\3", b"\2", b"\1"]
        release.set()
        assert exchanges[0].result() == b"\0"
        assert exchanges[0].result() == b"\0"


def test_request_in_time_out_is_an_error_and_the_channel_goes_on(address, connect, method):
    release = threading.Event()

    def handler(payload):
        if payload == b"wait":
            release.wait(20)
        return payload

    with perfkit.serve(handler, address):
        channel = connect(methods=[method])
        with pytest.raises(TransferTimeoutError):
            channel.send(b"wait", timeout_s=0.3)
        assert channel.send(b"go on") == b"go on"
        release.set()


def test_cancelled_request_is_told_to_the_handler(address, connect, method):
    noticed, begun = threading.Event(), threading.Event()

    def handler(payload, request):
        begun.set()
        while not request.is_cancelled:
            time.sleep(0.002)
        noticed.set()
        return b"too late"

    with perfkit.serve(handler, address):
        channel = connect(methods=[method])
        exchange = channel.begin(np.zeros(50_000))
        assert begun.wait(20)
        exchange.cancel()
        with pytest.raises(TransferCancelledError):
            exchange.result()
        assert noticed.wait(20)


def test_block_of_a_cancelled_request_comes_back(address, connect, wait_until):
    release = threading.Event()

    def handler(payload):
        release.wait(20)

    with perfkit.serve(handler, address):
        channel = connect(methods=["shm_pool"])
        channel.begin(np.zeros(50_000)).cancel()
        assert channel.statistics().arena.leased_blocks == 1
        release.set()
        wait_until(lambda: channel.statistics().arena.leased_blocks == 0)
        wait_until(lambda: channel.send(b"x") is None)


# --- methods ---------------------------------------------------------------------------------------------------------


def test_next_method_carries_what_the_first_cannot(server, connect):
    """A payload larger than the arena falls back, in order, and the reason is counted."""
    channel = connect(methods=["shm_pool", "uds"], arena_bytes="1MiB")
    payload = bytes(12 * 2**20)  # above the default's threshold for shared memory
    assert channel.send(payload) == payload
    statistics = channel.statistics()
    assert statistics.methods == {"uds": 1}
    assert statistics.fallbacks == {"shm_pool: no room": 1}


def test_limit_of_the_peer_is_kept(address, connect):
    with perfkit.serve(len, address, max_message_bytes="1MiB"):
        with pytest.raises(PayloadTooLargeError, match="the peer takes at most 1048576 as bytes"):
            connect(methods=["uds"]).send(bytes(2 * 2**20))
        channel = connect(methods=["uds", "shm"])
        with pytest.raises(CodecError, match="int has no natural format"):
            channel.send(bytes(2 * 2**20))
        assert channel.statistics().methods == {}
        assert channel.statistics().fallbacks == {"uds: too large": 1}


def test_method_that_the_peer_lacks_is_not_taken(address, connect):
    with perfkit.serve(echo, address, methods=["uds"]):
        channel = connect()
        assert channel.send(bytes(20 * 2**20)) == bytes(20 * 2**20)
        assert channel.statistics().methods == {"uds": 1}


def test_without_thresholds_a_channel_takes_its_lanes(server, connect):
    """The engine's fixed defaults take gRPC for small payloads; on a channel a socket is at hand."""
    channel = connect()
    channel.send(b"x")
    assert channel.statistics().methods == {"uds": 1}


def test_answer_larger_than_the_request_takes_its_own_method(address, connect, engine_of):
    """A small request by gRPC is answered through shared memory: the answer is fetched over a lane."""
    with perfkit.serve(lambda payload: np.zeros(3_000_000), address):
        channel = connect(engine=engine_of({"grpc": (1_000, 5.0), "shm_pool": (100_000, 0.1)}))
        for _ in range(2):
            assert channel.send(b"x").nbytes == 24_000_000
            time.sleep(0.3)  # the server's arena grows in the background
        assert channel.statistics().methods == {"grpc": 2}
        assert "grpc" not in channel.statistics().reply_methods


def test_blocks_are_used_again(server, connect):
    channel = connect(methods=["shm_pool"])
    for _ in range(200):
        channel.send(np.zeros(20_000))
    assert channel.statistics().arena.cut_bytes < 2**20
    assert server.statistics().arena.cut_bytes < 2**20


def test_view_that_the_handler_keeps_holds_the_block(address, connect, wait_until):
    """A block is used again only after the last view of it died; the sender hears of it while it is idle."""
    kept = []

    def keep(payload):
        kept.append(payload[10:20])

    with perfkit.serve(keep, address) as server:
        channel = connect(methods=["shm_pool"])
        for number in range(3):
            channel.send(np.full(10_000, number))
        assert channel.statistics().arena.leased_blocks == 3
        assert [int(view[0]) for view in kept] == [0, 1, 2]
        wait_until(lambda: server.statistics().late_views == channel.statistics().late_views == 3)
        kept.clear()
        gc.collect()
        wait_until(lambda: channel.statistics().arena.leased_blocks == 0)


def test_answer_that_the_caller_keeps_holds_the_servers_block(address, connect, wait_until):
    with perfkit.serve(lambda payload: np.full(10_000, payload[0]), address) as server:
        channel = connect(methods=["shm_pool"])
        answers = [channel.send(bytes([number]))[5:] for number in range(3)]
        assert server.statistics().arena.leased_blocks == 3
        assert [int(answer[0]) for answer in answers] == [0, 1, 2]
        answers.clear()
        wait_until(lambda: server.statistics().arena.leased_blocks == 0)


def test_client_that_keeps_everything_gets_its_answers_as_bytes(address, connect):
    """The cap of one peer: whoever views half of the server's memory gets no more of it."""
    with perfkit.serve(lambda payload: np.zeros(100_000), address, arena_bytes="8MiB") as server:
        channel = connect(methods=["shm_pool", "uds"])
        engine_free = [channel.send(b"x") for _ in range(12)]
        assert len(engine_free) == 12
        assert server.statistics().lent_bytes <= 4 * 2**20


# --- born in shared memory -------------------------------------------------------------------------------------------


def test_array_born_in_shared_memory_is_sent_without_a_copy(server, connect):
    channel = connect(methods=["shm_pool"])
    tensor = channel.empty((1024, 64), "float32")
    tensor[:] = np.arange(64)
    assert same(channel.send(tensor), np.asarray(tensor))
    assert same(channel.send(tensor[100:200]), np.asarray(tensor[100:200]))
    assert channel.statistics().arena.leased_blocks == 1
    assert same(channel.send(tensor[:, ::2]), np.asarray(tensor[:, ::2]))  # in pieces: copied into another block
    result = tensor + 1
    assert type(result) is np.ndarray
    assert channel.statistics().arena.leased_blocks == 1


def test_block_of_a_born_array_is_free_when_its_last_view_is_gone(server, connect, wait_until):
    channel = connect(methods=["shm_pool"])
    tensor = channel.empty(1000)
    view = tensor[5:10]
    del tensor
    assert channel.statistics().arena.leased_blocks == 1
    del view
    wait_until(lambda: channel.statistics().arena.leased_blocks == 0)


def test_array_born_in_one_channel_is_copied_into_another(server, connect):
    """Its block is leased to the channel that made it, and to no other."""
    mine, other = connect(methods=["shm_pool"]), connect(methods=["shm_pool"])
    tensor = mine.empty(10_000)
    tensor[:] = 7
    assert same(other.send(tensor), np.asarray(tensor))
    assert mine.statistics().arena.leased_blocks == 1
    del tensor
    assert mine.statistics().arena.leased_blocks == 0
    assert other.statistics().arena.leased_blocks == 0


def test_table_born_in_shared_memory_is_sent_without_a_copy(server, connect):
    channel = connect(methods=["shm_pool"])
    schema = pa.schema([("id", pa.int64()), ("score", pa.float32())])
    table = channel.table(schema, 1000)
    table["id"] = np.arange(1000)
    table["score"][:] = 0.5
    expected = pa.table({"id": np.arange(1000), "score": np.full(1000, 0.5, "f4")}, schema=schema)
    assert channel.send(table).equals(expected)
    assert table.to_arrow().equals(expected)
    assert channel.send(channel.table(schema, 0)).num_rows == 0


@pytest.mark.parametrize("other", ["uds", "grpc"])
def test_payload_born_in_shared_memory_goes_other_ways_too(server, connect, other):
    channel = connect(methods=[other])
    tensor = channel.empty((100, 100))
    tensor[:] = 3
    assert same(channel.send(tensor), np.asarray(tensor))
    table = channel.table(pa.schema([("x", pa.int32())]), 10)
    table["x"] = np.arange(10)
    assert channel.send(table).to_pydict() == {"x": list(range(10))}


def test_what_cannot_be_born_in_shared_memory_is_said(server, connect):
    channel = connect()
    with pytest.raises(CodecError, match="dtype object holds references"):
        channel.empty(3, object)
    with pytest.raises(InputError, match=r"shape == \(2, -1\), must not be negative"):
        channel.empty((2, -1))
    with pytest.raises(InputError, match="column 's' has type string; tables born in shared memory have columns of"):
        channel.table(pa.schema([("s", pa.string())]), 3)


# --- addresses and arguments -----------------------------------------------------------------------------------------


def test_two_servers_at_one_address_are_refused(server, address):
    with pytest.raises(InputError, match=r"a server listens at .*channel.sock already; stop it first"):
        perfkit.serve(echo, address)


def test_address_is_free_again_after_the_server(address, tmp_path):
    for _ in range(2):
        with perfkit.serve(echo, address):
            assert (tmp_path / "channel.sock").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_way_is_left_alone(address, tmp_path):
    (tmp_path / "channel.sock").write_text("precious")
    with pytest.raises(InputError, match="exists and is no socket"):
        perfkit.serve(echo, address)
    assert (tmp_path / "channel.sock").read_text() == "precious"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("tcp:localhost:80", "must be 'unix:' and a path"),
        ("unix:", "must be 'unix:' and a path"),
        ("unix:/no/such/folder/x.sock", "cannot listen at"),
        (f"unix:/{'x' * 120}", "has 121 bytes, too long for a socket; at most 98 bytes: choose a shorter folder"),
    ],
)
def test_bad_address_is_said(bad, message):
    with pytest.raises(InputError, match=message):
        perfkit.serve(echo, bad)


def test_no_server_is_said(address):
    with pytest.raises(MethodUnavailableError, match=r"no server listens at unix:.*; start it, or check the address"):
        perfkit.connect(address, connect_timeout_s=0)


def test_connect_waits_for_a_server_that_is_starting(address, connect):
    started = []
    timer = threading.Timer(0.3, lambda: started.append(perfkit.serve(echo, address)))
    timer.start()
    assert connect(connect_timeout_s=20).send(b"x") == b"x"
    timer.join()
    started[0].close()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["pigeon"]}, UnknownNameError, "unknown method 'pigeon'"),
        ({"timeout_s": 0}, InputError, "timeout_s == 0, must be above 0"),
        ({"max_in_flight": 0}, InputError, "max_in_flight == 0, must be 1 or more"),
        ({"arena_bytes": "many"}, InputError, "size 'many' cannot be read"),
        ({"max_message_bytes": 10}, InputError, "max_message_bytes == 10, must be 65536 or more"),
    ],
)
def test_bad_argument_is_said(server, address, options, error, message):
    with pytest.raises(error, match=message):
        perfkit.connect(address, **options)


def test_bad_payload_names_what_it_is_and_leaves_the_channel_well(server, connect):
    channel = connect()
    with pytest.raises(CodecError, match="object has no natural format"):
        channel.send(object())
    with pytest.raises(UnknownNameError, match="unknown kind 'tensr'"):
        channel.send(b"x", kind="tensr")
    with pytest.raises(UnknownNameError, match="format of kind 'tensor'"):
        channel.send(np.zeros(3), format="raw")
    with pytest.raises(CodecError, match="runs code chosen by the other side"):
        channel.send(np.zeros(3), format="pickle")
    assert channel.send(b"x") == b"x"
    assert channel.statistics().lanes == 1


def test_closed_channel_says_so(server, connect):
    channel = connect()
    channel.close()
    channel.close()
    with pytest.raises(PeerLostError, match="the channel is closed; connect anew"):
        channel.send(b"x")
    assert channel.health().status == "closed"


def test_all_lanes_in_use_is_said_in_time(address, connect):
    release = threading.Event()
    with perfkit.serve(lambda payload: release.wait(20) and None, address):
        channel = connect(methods=["uds"], max_in_flight=2)
        waiting = [channel.begin(b"x") for _ in range(2)]
        with pytest.raises(TransferTimeoutError, match="all 2 connections of the channel are in use"):
            channel.send(b"x", timeout_s=0.2)
        release.set()
        assert [exchange.result() for exchange in waiting] == [None, None]


def test_engine_picks_the_method_of_each_payload(server, connect, engine_of, wait_until):
    """Below the crossover of the curves at 150 000 bytes the socket, above it the pool."""
    channel = connect(engine=engine_of())
    channel.send(np.zeros(10_000, "u1"))
    assert channel.statistics().methods == {"uds": 1}
    wait_until(lambda: channel.send(channel.empty(10)) is not None)  # the arena has been prepared
    before = channel.statistics().methods["uds"]
    channel.send(np.zeros(1_000_000, "u1"))
    assert channel.statistics().methods == {"uds": before, "shm_pool": 1}


def test_statistics_and_health_render(server, connect):
    channel = connect()
    channel.send(b"x")
    for shown in (channel.statistics(), channel.health(), server.statistics()):
        assert "<table" in shown._repr_html_()
        assert str(shown)
        assert shown.to_plain()
    assert channel.health().status == "ok"
    assert repr(channel).startswith("Channel('unix:")
    assert Path(str(server.address).removeprefix("unix:")).exists()
