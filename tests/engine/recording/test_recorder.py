"""What the recorder keeps, passes on, refuses and counts."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfkit.config.engine_settings import RecorderSettings
from perfkit.engine.decision import Decision
from perfkit.engine.recording import Outcome, Recorder, RecorderStatistics
from perfkit.journal import counter
from perfkit.schema import DECISION_COLUMNS, TRANSFER_COLUMNS

Make = Callable[..., Recorder]
Rows = Callable[..., list[dict[str, Any]]]


def assert_exact(statistics: RecorderStatistics, accepted: int) -> None:
    assert statistics.accepted == accepted
    assert statistics.accepted == statistics.committed + statistics.dropped + statistics.buffered
    assert min(statistics.committed, statistics.dropped, statistics.buffered) >= 0


def in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_row_says_what_was_decided_and_how_it_ended(
    make: Make, decision: Decision, folder: Path, rows_in: Rows
) -> None:
    recorder = make()
    before_s = time.time()
    recorder.record(decision, 4096, 21_500, session="user-17", ok=False, error=TimeoutError())
    assert recorder.flush()
    (row,) = rows_in(folder)
    assert row.keys() - {"slot", "epoch", "sequence"} <= {column.name for column in TRANSFER_COLUMNS}
    assert abs(row["observed_at"].timestamp() - before_s) < 60
    context = decision.cell.context
    assert (row["pool"], row["kind"], row["format"], row["compression"], row["signalling"], row["in_flight"]) == (
        context.pool, context.kind, context.format, context.compression, context.signalling, context.in_flight,
    )  # fmt: skip
    assert (row["method"], row["decision_id"]) == (decision.method, decision.id)
    assert (row["variant"], row["experiment"], row["propensity"], row["plan_version"]) == ("", "", 1.0, 0)
    assert (row["source"], row["stage"], row["placement"]) == ("service", "whole", "copied")
    assert (row["payload_bytes"], row["latency_ns"]) == (4096, 21_500)
    assert (row["session"], row["ok"], row["error"]) == ("user-17", False, "TimeoutError")


def test_a_row_says_what_memory_was_left_in_the_last_look(decision: Decision, folder: Path, rows_in: Rows) -> None:
    left = [None, 2**33]
    settings = RecorderSettings(decision_share=0.0, flush_interval_ns=10**15)
    recorder = Recorder(settings, folder, available_bytes=lambda: left[0])
    recorder.record(decision, 1, 1)
    assert recorder.flush()
    left.reverse()
    recorder.record(decision, 2, 1)
    recorder.record(decision, 3, 1)
    assert recorder.flush()
    recorder.close()
    assert {row["payload_bytes"]: row["available_bytes"] for row in rows_in(folder)} == {1: None, 2: 2**33, 3: 2**33}


def test_a_decision_is_kept_with_its_reason(make: Make, decision: Decision, folder: Path, rows_in: Rows) -> None:
    recorder = make()
    recorder.record_decision(decision, 4096, None, "exposure")
    assert recorder.flush()
    assert recorder.take(10) == []
    (row,) = rows_in(folder, "decisions")
    assert row.keys() - {"slot", "epoch", "sequence"} <= {column.name for column in DECISION_COLUMNS}
    assert (row["decision_id"], row["method"], row["goal"]) == (decision.id, decision.method, decision.cell.goal)
    assert (row["payload_bytes"], row["session"], row["reason"]) == (4096, "", "exposure")
    assert_exact(recorder.statistics(), 1)


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 350, 650), (1.0, 1000, 1000)])
def test_a_share_of_the_decisions_is_kept(
    make: Make, decision: Decision, folder: Path, rows_in: Rows, share: float, least: int, most: int
) -> None:
    recorder = make(decision_share=share)
    for index in range(1000):
        recorder.record(decision, index, 1)
    assert recorder.flush()
    kept = rows_in(folder, "decisions")
    assert least <= len(kept) <= most
    assert {row["reason"] for row in kept} <= {decision.rule}
    assert_exact(recorder.statistics(), 1000 + len(kept))


def test_the_engine_gets_every_outcome_that_the_journal_gets(
    make: Make, decision: Decision, folder: Path, rows_in: Rows
) -> None:
    recorder = make(flush_interval_ns=10_000_000)
    taken: list[tuple[Any, ...]] = []
    for index in range(3000):
        recorder.record(decision, 4096, index, f"s{index % 7}")
        if index % 500 == 0:
            taken += recorder.take(200)
            time.sleep(0.005)
    assert recorder.flush()
    while found := recorder.take(200):
        assert len(found) <= 200
        taken += found
    assert [Outcome(*row).latency_ns for row in taken] == [*range(3000)]
    assert all(Outcome(*row).decision is decision for row in taken)
    assert sorted(row["latency_ns"] for row in rows_in(folder)) == [*range(3000)]


@pytest.mark.parametrize("is_off", ["no folder", "not enabled"])
def test_without_a_journal_the_engine_gets_the_outcomes(decision: Decision, folder: Path, is_off: str) -> None:
    before = threading.active_count()
    recorder = Recorder(RecorderSettings(enabled=is_off != "not enabled"), None if is_off == "no folder" else folder)
    for index in range(10):
        recorder.record(decision, 4096, index)
    recorder.record_decision(decision, 4096, None, "nobody reads it")
    assert recorder.statistics().buffered == 10
    assert len(recorder.take(7)) == 7
    assert len(recorder.take(7)) == 3
    assert_exact(recorder.statistics(), 10)
    assert recorder.statistics().committed == 10
    assert recorder.flush()
    recorder.close()
    assert not folder.exists()
    assert threading.active_count() == before


def test_a_full_buffer_drops_its_oldest_rows(decision: Decision) -> None:
    recorder = Recorder(RecorderSettings(buffer_rows=100), None)
    for index in range(250):
        recorder.record(decision, 4096, index)
    assert recorder.statistics().dropped == 150
    assert [row[3] for row in recorder.take(1000)] == [*range(150, 250)]
    assert_exact(recorder.statistics(), 250)
    recorder.close()


def test_the_first_row_of_a_thread_and_a_buffer_that_is_half_full_wake_the_engine(decision: Decision) -> None:
    woken: list[int] = []
    recorder = Recorder(RecorderSettings(buffer_rows=100), None, wake=lambda: woken.append(1))
    recorder.record(decision, 4096, 0)
    assert len(woken) == 1
    for index in range(98):
        recorder.record(decision, 4096, index)
    assert len(woken) == 2
    recorder.take(100)
    for index in range(51):
        recorder.record(decision, 4096, index)
    assert len(woken) == 3
    recorder.close()


def test_what_comes_after_the_end_is_counted(make: Make, decision: Decision, folder: Path, rows_in: Rows) -> None:
    recorder = make()
    recorder.record(decision, 4096, 1)
    recorder.close()
    recorder.close()
    recorder.record(decision, 4096, 2)
    in_threads(2, lambda: recorder.record(decision, 4096, 3))
    assert_exact(recorder.statistics(), 4)
    assert (recorder.statistics().committed, recorder.statistics().dropped) == (1, 3)
    assert [row["latency_ns"] for row in rows_in(folder)] == [1]


def test_64_threads_lose_nothing(make: Make, decision: Decision, folder: Path, rows_in: Rows) -> None:
    recorder = make(flush_interval_ns=20_000_000)
    barrier = threading.Barrier(64)

    def work() -> None:
        barrier.wait()
        for index in range(150):
            recorder.record(decision, 4096, index)

    in_threads(64, work)
    assert recorder.flush()
    statistics = recorder.statistics()
    assert_exact(statistics, 64 * 150)
    assert (statistics.committed, statistics.dropped) == (64 * 150, 0)
    rows = rows_in(folder)
    assert sorted(row["latency_ns"] for row in rows) == sorted([*range(150)] * 64)
    assert sorted(row["sequence"] for row in rows) == [*range(1, 64 * 150 + 1)]


def test_a_thread_that_ended_leaves_its_rows_and_then_its_buffer_goes(decision: Decision) -> None:
    recorder = Recorder(RecorderSettings(), None)
    for _ in range(30):
        in_threads(5, lambda: recorder.record(decision, 4096, 1))
        assert recorder.statistics().threads <= 5
        assert len(recorder.take(1000)) == 5
    assert recorder.statistics().threads == 0
    assert_exact(recorder.statistics(), 150)
    recorder.close()


def test_more_threads_than_the_page_has_cells_are_counted_all_the_same(
    make: Make, decision: Decision, folder: Path, rows_in: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter, "LANES", 2)
    recorder = make(flush_interval_ns=3600 * 10**9)
    assert recorder.start()
    in_threads(8, lambda: [recorder.record(decision, 4096, index) for index in range(10)] and None)
    assert_exact(recorder.statistics(), 80)
    assert recorder.flush()
    assert_exact(recorder.statistics(), 80)
    recorder.close()
    assert len(rows_in(folder)) == 80


def test_coroutines_record_without_waiting(make: Make, decision: Decision, folder: Path, rows_in: Rows) -> None:
    recorder = make()

    async def transfer(index: int) -> None:
        await asyncio.sleep(0)
        recorder.record(decision, 4096, index)

    async def serve() -> None:
        await asyncio.gather(*(transfer(index) for index in range(500)))

    asyncio.run(serve())
    assert recorder.flush()
    assert sorted(row["latency_ns"] for row in rows_in(folder)) == [*range(500)]


class Hostile:
    """Raises whatever one does with it."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __index__(self) -> int:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(st.characters(), max_size=3),
    st.binary(max_size=3), st.lists(st.integers(), max_size=2), st.builds(object), st.builds(Hostile),
    st.sampled_from([ValueError, ValueError("x"), "\ud800", int, float("nan")]),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(*[ANYTHING] * 6), max_size=4), flags=st.lists(st.booleans(), min_size=6, max_size=6))
def test_whatever_is_recorded_nothing_is_raised_and_all_is_counted(
    shared: Recorder, decision: Decision, rows: list[tuple[Any, ...]], flags: list[bool]
) -> None:
    before = shared.statistics()
    usual = (decision, 4096, 21_500, None, True, None)
    for row in rows:
        mixed: list[Any] = [one if is_odd else two for one, two, is_odd in zip(row, usual, flags, strict=True)]
        shared.record(*mixed)
        shared.record_decision(mixed[0], mixed[1], mixed[3], mixed[5])
    shared.record(decision, 4096, 1)
    taken = shared.take(10**6)
    assert taken
    for outcome in map(Outcome._make, taken):
        assert outcome.payload_bytes >= 0 <= outcome.latency_ns
        assert outcome.session is None or isinstance(outcome.session, str)
    assert shared.flush()
    after = shared.statistics()
    assert_exact(after, before.accepted + 2 * len(rows) + 1)
    assert after.buffered == 0
    assert after.dropped - before.dropped <= 2 * len(rows)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    recorder = Recorder(RecorderSettings(decision_share=0.0), tmp_path_factory.mktemp("recorder") / "journal")
    yield recorder
    recorder.close()


def test_an_exception_is_not_kept_alive(decision: Decision) -> None:
    """Its frames may hold payloads, and rows may wait for long."""

    class Failed(Exception):
        pass

    recorder = Recorder(RecorderSettings(), None)
    error = Failed("in 5 s")
    kept = weakref.ref(error)
    recorder.record(decision, 4096, 1, ok=False, error=error)
    recorder.record(decision, 4096, 1, ok=False, error=ConnectionError)
    del error
    gc.collect()
    assert kept() is None
    assert [Outcome(*row).error for row in recorder.take(10)] == ["Failed", "ConnectionError"]
    recorder.close()


def test_statistics_show_themselves(make: Make, decision: Decision) -> None:
    recorder = make()
    recorder.record(decision, "four", 1)  # type: ignore[arg-type]
    recorder.flush()
    statistics = recorder.statistics()
    assert statistics.failures == statistics.dropped == 1
    assert "four" in statistics.last_error or "str" in statistics.last_error
    assert statistics.to_plain()["failures"] == 1
    assert statistics.last_error in str(statistics)
    assert "failures" in statistics._repr_html_()
