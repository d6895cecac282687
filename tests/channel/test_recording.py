"""Every transfer is a row: which method carried it, how long each stage took, and how it ended."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import perfkit
from perfkit.errors import HandlerError
from perfkit.lake import drain, open_lake
from perfkit.schema import SIMPLICITY_ORDER

STAGES = ("encode_ns", "wait_ns", "copy_ns", "signal_ns", "decode_ns")


@pytest.fixture(scope="module", autouse=True)
def _lake_has_started(tmp_path_factory):
    """From its first use on it keeps sockets of its own open."""
    folder = tmp_path_factory.mktemp("first")
    with perfkit.open_journal(folder / "journal") as journal:
        journal.append("events", {"name": ["first"]})
    drain(folder / "lake", journal=folder / "journal")


def rows_of(channel, tmp_path):
    """What reached the lake."""
    channel.close()
    drain(tmp_path / "lake", journal=tmp_path / "journal")
    return open_lake(tmp_path / "lake").transfers.order_by("observed_at").to_pyarrow().to_pylist()


@pytest.fixture(params=SIMPLICITY_ORDER)
def method(request):
    return request.param


def test_request_and_answer_are_rows_with_their_stages(address, connect, tmp_path, method):
    def handler(payload):
        time.sleep(0.4)
        return np.asarray(payload) * 2

    with perfkit.serve(handler, address):
        channel = connect(methods=[method], record=tmp_path / "journal", pool="ml")
        channel.send(np.arange(30_000, dtype="f4"), session="user-17")
        request, reply = sorted(rows_of(channel, tmp_path), key=lambda row: row["direction"] == "reply")
    for row in (request, reply):
        assert (row["source"], row["stage"], row["pool"], row["session"]) == ("service", "whole", "ml", "user-17")
        assert (row["kind"], row["format"], row["payload_bytes"]) == ("tensor", "numpy", 120_000)
        assert row["method"] == method
        assert row["ok"]
        assert row["error"] is None
        assert row["latency_ns"] == sum(row[stage] for stage in STAGES)
        assert row["available_bytes"] is None or row["available_bytes"] > 0  # null until the host was looked at
        assert row["decision_id"].startswith("default:default/tensor/numpy/none/uds~")  # no file knows the pool "ml"
    assert request["handler_ns"] >= 400e6
    assert reply["handler_ns"] is None
    assert request["latency_ns"] < request["handler_ns"]  # the handler is not part of it


def test_a_row_says_what_memory_the_engine_saw_last(address, connect, tmp_path):
    engine = perfkit.Engine.load(tmp_path / "none.toml", background=False)
    with perfkit.serve(lambda payload: None, address):
        channel = connect(methods=["uds"], record=tmp_path / "journal", engine=engine)
        channel.send(b"abc")  # before anybody looked
        engine._feedback.look_around()
        channel.send(b"abc")
        first, second = rows_of(channel, tmp_path)
    assert (first["available_bytes"], second["available_bytes"]) == (None, engine.available_bytes)
    assert engine.available_bytes > 0


def test_failure_is_a_row_with_its_exception(address, connect, tmp_path):
    def handler(payload):
        raise LookupError("no")

    with perfkit.serve(handler, address):
        channel = connect(methods=["uds"], record=tmp_path / "journal")
        with pytest.raises(HandlerError):
            channel.send(b"abc")
        [row] = rows_of(channel, tmp_path)
    assert (row["ok"], row["error"], row["handler_ns"]) == (False, "LookupError", None)


def test_fallback_is_in_the_row(address, connect, tmp_path):
    with perfkit.serve(lambda payload: None, address):
        channel = connect(methods=["shm_pool", "uds"], arena_bytes="1MiB", record=tmp_path / "journal")
        channel.send(bytes(12 * 2**20))
        [row] = rows_of(channel, tmp_path)
    assert (row["method"], row["fallback"]) == ("uds", "shm_pool: no room")


def test_payload_born_in_shared_memory_is_in_place(address, connect, tmp_path):
    with perfkit.serve(lambda payload: None, address):
        channel = connect(methods=["shm_pool"], record=tmp_path / "journal")
        channel.send(channel.empty(1000))
        [row] = rows_of(channel, tmp_path)
    assert (row["placement"], row["copy_ns"]) == ("in_place", 0)


def test_time_until_a_lane_is_free_is_waiting(address, connect, tmp_path):
    with perfkit.serve(lambda payload: time.sleep(0.1), address):
        channel = connect(methods=["uds"], max_in_flight=1, record=tmp_path / "journal")
        threads = [threading.Thread(target=channel.send, args=(b"x",)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = rows_of(channel, tmp_path)
    assert max(row["wait_ns"] for row in rows) > 50e6
    assert min(row["wait_ns"] for row in rows) < 50e6
    assert all(row["signal_ns"] < 50e6 for row in rows)


EXPERIMENT = """
[experiments.by-memory]
pools = ["default"]
[experiments.by-memory.variants.A]
share = 0.4
override = "uds"
[experiments.by-memory.variants.B]
share = 0.4
override = "shm_pool"
"""


def test_rows_say_which_variant_a_session_had_and_it_keeps_it(address, connect, tmp_path):
    (tmp_path / "perfkit.toml").write_text(EXPERIMENT)
    sessions = [f"user-{number}" for number in range(40)]
    with perfkit.serve(lambda payload: None, address):
        rows = []
        for _ in range(2):  # as after a restart
            with perfkit.Engine.load(tmp_path / "perfkit.toml", background=False) as engine:
                channel = connect(engine=engine, record=tmp_path / "journal")
                for session in (*sessions, ""):
                    channel.send(b"x" * 100_000, session=session)
                rows = rows_of(channel, tmp_path)
    assert len(rows) == 82
    variants = {}
    for row in rows:
        variants.setdefault(row["session"], set()).add(row["variant"])
        carried = row["fallback"].partition(":")[0] or row["method"]  # the first block may not be there yet
        assert carried == {"A": "uds", "B": "shm_pool"}.get(row["variant"], "uds")
        assert row["experiment"] == ("by-memory" if row["variant"] else "")
        assert (row["propensity"], row["plan_version"]) == (1.0, 0)
    assert variants.pop("") == {""}
    assert all(len(seen) == 1 for seen in variants.values())
    assert {"A", "B", ""} == set().union(*variants.values())


def test_settings_file_says_where_rows_go(address, tmp_path):
    (tmp_path / "perfkit.toml").write_text("[engine]\n")
    engine = perfkit.Engine.load(tmp_path / "perfkit.toml")
    with perfkit.serve(lambda payload: None, address), perfkit.connect(address, engine=engine) as channel:
        channel.send(b"x")
    assert list((tmp_path / "data" / "journal").iterdir())


def test_without_settings_nothing_is_written(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with perfkit.serve(lambda payload: None, address), perfkit.connect(address) as channel:
        channel.send(b"x")
        assert channel.recorder is None
    assert list(tmp_path.iterdir()) == []


def test_journal_that_cannot_be_written_never_reaches_the_service(address, connect, tmp_path):
    """Rows are dropped and counted; the channel says so."""
    (tmp_path / "journal").write_text("a file is in the way")
    with perfkit.serve(lambda payload: payload, address):
        channel = connect(methods=["uds"], record=tmp_path / "journal")
        for number in range(20):
            assert channel.send(bytes([number])) == bytes([number])
        channel.close()
        health = channel.health()
    assert health.rows_dropped == 40
    assert "40 observations were not recorded" in health.notes[0]


def test_journal_of_the_service_may_be_shared(address, connect, tmp_path):
    """A channel that is closed leaves a journal open that it did not open."""
    with (
        perfkit.open_journal(tmp_path / "journal") as journal,
        perfkit.serve(lambda payload: None, address),
        perfkit.connect(address, record=journal) as one,
    ):
        with perfkit.connect(address, record=journal) as other:
            other.send(b"x")
        one.send(b"x")
        journal.flush()
        assert journal.statistics().committed == 2
