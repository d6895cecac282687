"""Forks, kills, ends, and folders that cannot be used: what is kept, and that every row is counted."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfkit.config.engine_settings import RecorderSettings
from perfkit.engine import Engine
from perfkit.engine.decision import Decision
from perfkit.engine.recording import Recorder
from perfkit.journal.batches import EpochState
from perfkit.journal.counter import read_counter
from perfkit.journal.reading import list_slots, open_slot

Make = Callable[..., Recorder]
Rows = Callable[..., list[dict[str, Any]]]
Wait = Callable[..., None]
NEVER_NS = 3600 * 10**9


def epochs_of(folder: Path, slot: str = "slot-000") -> tuple[EpochState, ...]:
    with open_slot(folder / f"{slot}.sqlite") as reader:
        return reader.epochs()


def in_a_fork(work: Callable[[], bool]) -> int:
    """Do it in a forked child, which ends with code 0 where it returned true."""
    process = os.fork()
    if process == 0:
        code = 1
        with contextlib.suppress(BaseException):
            code = 0 if work() else 1
        os._exit(code)
    return process


def ended_well(process: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


@contextlib.contextmanager
def recording(recorder: Recorder, decision: Decision, threads: int) -> Iterator[list[int]]:
    """Record in threads, with short breaks; in the end the list has what each recorded."""
    counts, is_over = [0] * threads, threading.Event()

    def work(place: int) -> None:
        while not is_over.is_set():
            for _ in range(20):
                recorder.record(decision, 4096, place)
                counts[place] += 1
            time.sleep(0.002)

    running = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        for thread in running:
            thread.join()


def test_16_threads_and_forks_in_between(make: Make, decision: Decision, folder: Path, rows_in: Rows) -> None:
    recorder = make(flush_interval_ns=20_000_000)

    def child() -> bool:
        started = recorder.statistics()
        with recording(recorder, decision, 3) as counts:
            time.sleep(0.02)
        is_durable = recorder.flush()
        statistics = recorder.statistics()
        recorder.close()
        is_exact = statistics.accepted == statistics.committed == sum(counts) > 0 == statistics.buffered
        return started.accepted == started.threads == 0 and is_durable and is_exact

    children = []
    with recording(recorder, decision, 16) as counts:
        for _ in range(6):
            time.sleep(0.02)
            children.append(in_a_fork(child))
        assert all(map(ended_well, children))
    assert recorder.flush()
    statistics = recorder.statistics()
    assert statistics.accepted == statistics.committed + statistics.dropped == sum(counts)
    parents = [row["latency_ns"] for row in rows_in(folder) if row["slot"] == "slot-000"]
    assert len(parents) == statistics.committed
    assert statistics.dropped == 0


def test_a_child_does_not_write_what_its_parent_had_recorded(
    make: Make, decision: Decision, folder: Path, rows_in: Rows
) -> None:
    recorder = make(flush_interval_ns=NEVER_NS)
    recorder.start()
    recorder.record(decision, 4096, 1)

    def child() -> bool:
        recorder.record(decision, 4096, 2)
        return recorder.flush() and len(recorder.take(10)) == 1

    assert ended_well(in_a_fork(child))
    assert recorder.flush()
    assert sorted((row["slot"], row["latency_ns"]) for row in rows_in(folder)) == [("slot-000", 1), ("slot-001", 2)]
    assert len(recorder.take(10)) == 1


def record_in_a_worker(folder: Path, latency_ns: int) -> None:
    recorder = Recorder(RecorderSettings(flush_interval_ns=NEVER_NS, decision_share=0.0), folder)
    recorder.record(Engine.load("no-such-folder/perfkit.toml").decide(4096), 4096, latency_ns)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_rows_of_a_worker_of_multiprocessing_arrive(folder: Path, rows_in: Rows, method: str) -> None:
    worker = multiprocessing.get_context(method).Process(target=record_in_a_worker, args=(folder, 7))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    worker.close()
    assert [row["latency_ns"] for row in rows_in(folder)] == [7]


PREAMBLE = """
import mmap, os, sys, threading
from pathlib import Path
from perfkit.config.engine_settings import RecorderSettings
from perfkit.engine import Engine
from perfkit.engine.recording import Recorder
decision = Engine.load("no-such-folder/perfkit.toml").decide(4096)
def make(**settings):
    return Recorder(RecorderSettings(decision_share=0.0, **settings), Path(sys.argv[1]))
"""

ENDED = """
recorder = make(flush_interval_ns=3600 * 10**9)
threads = [threading.Thread(target=lambda: [recorder.record(decision, 1, n) for n in range(700)]) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
recorder.record(decision, 1, 700)
"""


def test_an_interpreter_that_ends_writes_what_was_recorded(folder: Path, rows_in: Rows) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", PREAMBLE + ENDED, folder], check=True, timeout=60)
    assert len(rows_in(folder)) == 2101


# Signals in processes of their own: what raises in a handler may leave locks of a debugger or of coverage held.

HANDLER_RECORDS = """
import signal
recorder, handled, recorded = Recorder(RecorderSettings(buffer_rows=10**7), None), 0, 0
def handle(number, frame):
    global handled
    handled += 1
    recorder.record(decision, 4096, 2)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
while handled < 1000:
    recorder.record(decision, 4096, 1)
    recorded += 1
signal.setitimer(signal.ITIMER_REAL, 0)
said = recorder.statistics()
assert (said.accepted, said.buffered, said.dropped) == (recorded + handled, recorded + handled, 0), said
"""
HANDLER_RAISES = """
import signal
recorder, interrupted = Recorder(RecorderSettings(buffer_rows=10**7), None), 0
def interrupt(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
while interrupted < 300:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        while True:
            recorder.record(decision, 4096, 1)
    except KeyboardInterrupt:
        interrupted += 1
said = recorder.statistics()
assert (said.buffered, said.dropped, said.committed) == (said.accepted, 0, 0), said
assert len(recorder.take(10**7)) == said.accepted
"""
HANDLER_FORKS = """
import random, signal
from perfkit.journal.counter import read_counter
recorder, parent, children, recorded = make(flush_interval_ns=3600 * 10**9, buffer_rows=10**6), os.getpid(), [], 0
assert recorder.start()
recorder.record(decision, 4096, 1)  # starts the journal's thread: a child that is forked within waits for it for ever
recorded += 1
signal.signal(signal.SIGALRM, lambda number, frame: children.append(os.fork()))
while len(children) < 12:
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.003))
    forked = len(children)
    while len(children) == forked:
        recorder.record(decision, 4096, 1)  # the child goes on with the very row that was interrupted
        recorded += 1
    if os.getpid() != parent:
        recorder.record(decision, 4096, 1)
        os._exit(0)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
in_page = read_counter(Path(sys.argv[1]) / "slot-000.counter").accepted
assert in_page == recorder.statistics().accepted == recorded, (in_page, recorder.statistics(), recorded)
"""


@pytest.mark.parametrize("code", [HANDLER_RECORDS, HANDLER_RAISES, HANDLER_FORKS], ids=["records", "raises", "forks"])
def test_a_signals_handler_may_do_what_it_likes_while_a_row_is_recorded(folder: Path, code: str) -> None:
    command = [sys.executable, "-W", "error", "-c", PREAMBLE + code, folder]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        assert process.wait(60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):  # with the children that it forked
            os.killpg(process.pid, signal.SIGKILL)


RECORDED_AND_NOT_WRITTEN = """
recorder = make(flush_interval_ns=3600 * 10**9, buffer_rows=1000)
assert recorder.start()
threads = [threading.Thread(target=lambda: [recorder.record(decision, 1, n) for n in range(300)]) for _ in range(10)]
for thread in threads: thread.start()
for thread in threads: thread.join()
recorder.record(decision, 1, 1)
assert recorder.flush()
for _ in range(123):
    recorder.record(decision, 1, 1)
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_is_known_to_have_lost_every_row_that_it_had_not_written(folder: Path, rows_in: Rows) -> None:
    subprocess.run([sys.executable, "-c", PREAMBLE + RECORDED_AND_NOT_WRITTEN, folder], check=False, timeout=60)
    (state,) = epochs_of(folder)
    assert (state.accepted, state.committed, state.dropped, state.lost) == (3124, 3001, 0, 123)
    assert len(rows_in(folder)) == 3001


KILLED = """
page = memoryview(mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 4096)).cast("Q")
recorder = make(flush_interval_ns=5_000_000, buffer_rows=300)
assert recorder.start()
def work(place):
    for index in range(10**9):
        page[2 * place] = index + 1
        recorder.record(decision, 1, index)
        page[2 * place + 1] = index + 1
        if index % 50 == 0: threading.Event().wait(0.0005)
threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(4)]
for thread in threads: thread.start()
print("ready", flush=True)
while True: recorder.take(100), threading.Event().wait(0.003)
"""


def test_what_killed_processes_lost_is_told_to_the_row(folder: Path, tmp_path: Path, rows_in: Rows) -> None:
    chance, lost = random.Random(3), 0
    for attempt in range(5):
        said = tmp_path / f"said-{attempt}"
        said.write_bytes(bytes(4096))
        command = [sys.executable, "-c", PREAMBLE + KILLED, folder, said]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0.02, 0.2))
            process.kill()
        page = memoryview(said.read_bytes()).cast("Q")
        begun, done = sum(page[0:8:2]), sum(page[1:8:2])
        state = epochs_of(folder)[-1]
        assert done <= state.accepted <= begun <= done + 4
        assert state.committed == sum(row["epoch"] == state.epoch for row in rows_in(folder))
        assert state.lost == state.accepted - state.committed - state.dropped
        lost += state.lost
    assert lost > 0


def test_a_folder_that_cannot_be_used_is_counted_and_used_once_it_can_be(
    make: Make, decision: Decision, folder: Path, rows_in: Rows, wait_until: Wait
) -> None:
    folder.write_text("a file where the folder should be")
    recorder = make(buffer_rows=50, flush_interval_ns=10_000_000)
    assert not recorder.start()
    for index in range(200):
        recorder.record(decision, 4096, index)
    assert not recorder.flush(0.2)
    during = recorder.statistics()
    assert (during.accepted, during.committed, during.dropped, during.buffered) == (200, 0, 150, 50)
    assert during.failures > 0
    assert str(folder) in during.last_error
    folder.unlink()
    wait_until(lambda: recorder.statistics().buffered == 0)
    assert sorted(row["latency_ns"] for row in rows_in(folder)) == [*range(150, 200)]
    assert recorder.statistics().committed == 50


def test_a_folder_that_vanishes_again_and_again_loses_what_was_in_it_and_no_count(
    make: Make, decision: Decision, folder: Path, rows_in: Rows
) -> None:
    recorder = make(flush_interval_ns=2_000_000)
    with recording(recorder, decision, 6) as counts:
        for _ in range(12):
            time.sleep(0.03)
            shutil.rmtree(folder, ignore_errors=True)
    assert recorder.flush(20)
    statistics = recorder.statistics()
    assert statistics.accepted == statistics.committed + statistics.dropped == sum(counts)
    assert statistics.buffered == 0
    recorder.record(decision, 4096, 99)
    assert recorder.flush()
    assert rows_in(folder)[-1]["latency_ns"] == 99
    (slot,) = list_slots(folder)
    state = epochs_of(folder, slot.name)[-1]
    assert (state.lost, state.is_open) == (0, True)
    said = read_counter(folder / f"{slot.name}.counter")
    assert said.accepted == said.committed + said.dropped


def test_workers_of_a_pre_fork_server_record_through_one_engine(tmp_path: Path, rows_in: Rows) -> None:
    (tmp_path / "perfkit.toml").write_text("[recorder]\ndecision_share = 0.0\n")
    engine = Engine.load(tmp_path / "perfkit.toml")
    engine.record(engine.decide(4096), 4096, 0)

    def serve(number: int) -> bool:
        for _ in range(100):
            engine.record(engine.decide(4096), 4096, number)
        engine.close()
        statistics = engine.health().recorder
        return statistics is not None and statistics.accepted == statistics.committed == 100

    workers = [in_a_fork(lambda number=number: serve(number)) for number in (1, 2, 3)]  # type: ignore[misc]
    assert all(map(ended_well, workers))
    engine.close()
    found = sorted(row["latency_ns"] for row in rows_in(tmp_path / "data" / "journal"))
    assert found == [0, *[1] * 100, *[2] * 100, *[3] * 100]
