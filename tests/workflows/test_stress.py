"""A stress test counts what goes wrong, and ends its processes whatever happens."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfkit.errors import InputError, MeasurementError, UnknownNameError
from perfkit.measurement.stress_parties import Checker, Sender, checksum
from perfkit.workflows import stress as stressing
from perfkit.workflows.stress import stress
from perfkit.workflows.stress_result import ALLOWED_BESIDE_ARENAS_BYTES, StressResult

RIGHT = StressResult(
    sends=10, bytes=1000, seconds=1.0, senders=2, errors=0, lost=0, reordered=0, corrupted=0, leaked_bytes=0,
    descriptors_grown=0, memory_bytes=5, arena_bytes=5, latency_p50_ns=10, latency_p99_ns=20, methods={"uds": 10},
    error_texts={},
)  # fmt: skip


class ToldRequest:
    """A request of which a handler sees the session only."""

    def __init__(self, session: str) -> None:
        self.session = session


class LyingChannel:
    """Answers as it is told, whatever is sent."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def send(self, payload: Any, session: str) -> Any:
        return self.answer(payload, *session.split(":"))


@pytest.fixture
def own_processes() -> Iterator[list[subprocess.Popen[str]]]:
    """The processes that stress tests start; all must have ended."""
    started: list[subprocess.Popen[str]] = []
    start = stressing.subprocess.Popen

    class Noted(start):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    stressing.subprocess.Popen = Noted  # type: ignore[misc]
    yield started
    stressing.subprocess.Popen = start  # type: ignore[misc]
    assert all(process.poll() is not None for process in started)


def test_everything_that_is_sent_arrives_once_and_whole(own_processes) -> None:
    told = []
    result = stress(
        seconds=1.0, senders=6, processes=2, methods=["uds", "shm_pool", "shm"], seed=3, progress=told.append
    )
    wrong = (result.errors, result.lost, result.reordered, result.corrupted, result.leaked_bytes)
    assert wrong == (0, 0, 0, 0, 0), str(result)
    assert result.sends == sum(result.methods.values()) > 6
    assert result.latency_p99_ns >= result.latency_p50_ns > 0
    assert told[-1].total == 1.0
    assert len(own_processes) == 3


def test_a_process_that_dies_ends_the_test(own_processes, monkeypatch) -> None:
    real = stressing.read_line

    def kill_and_read(process: subprocess.Popen[str], timeout_s: float) -> dict[str, Any]:
        if len(own_processes) == 3:
            own_processes[1].kill()
        return real(process, timeout_s)

    monkeypatch.setattr(stressing, "read_line", kill_and_read)
    with pytest.raises(MeasurementError, match="died"):
        stress(seconds=0.2, senders=2, processes=2, methods=["uds"])


def test_a_process_that_says_nothing_hangs() -> None:
    with subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, text=True) as process:
        try:
            with pytest.raises(MeasurementError, match="hangs"):
                stressing.read_line(process, 0.1)
        finally:
            process.kill()


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"senders": 0}, {"processes": 0}, {"senders": 2, "processes": 3}])
def test_a_load_that_cannot_be_is_refused(wrong) -> None:
    with pytest.raises(InputError, match="must be"):
        stress(**wrong)


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'uds'"):
        stress(methods=["udz"])


def test_the_server_sees_damage_and_disorder() -> None:
    checker, payload = Checker(), np.arange(100, dtype=np.uint8)
    right = checksum(payload)
    assert checker(payload, ToldRequest(f"a:1:{right}:1")) is payload
    assert checker(payload, ToldRequest(f"a:2:{right}:0")).tolist() == [right, 2]
    assert (checker.corrupted, checker.reordered) == (0, 0)
    checker(payload, ToldRequest(f"a:3:{right + 1}:0"))
    checker(payload, ToldRequest(f"a:2:{right}:0"))
    checker(payload, ToldRequest(f"b:1:{right}:0"))
    assert (checker.corrupted, checker.reordered) == (1, 1)
    assert checker.handled == {"a": 4, "b": 1}


@pytest.mark.parametrize("method", ["uds", "shm"])
def test_the_client_sees_wrong_answers_answers_to_others_and_errors(method) -> None:
    def run(answer: Any) -> Sender:
        sender = Sender("a", {method: LyingChannel(answer)}, np.zeros(65 * 2**20, np.uint8), "seed")
        for sequence in range(30):
            sender._send(method, sequence)
        return sender

    def right(payload: Any, name: str, sequence: str, expected: str, is_echo: str) -> Any:
        return payload if is_echo == "1" else np.array([int(expected), int(sequence)])

    def damaged(payload: Any, name: str, sequence: str, expected: str, is_echo: str) -> Any:
        return b"another" if is_echo == "1" else np.array([int(expected) + 1, int(sequence)])

    def of_another(payload: Any, name: str, sequence: str, expected: str, is_echo: str) -> Any:
        return payload if is_echo == "1" else np.array([int(expected), int(sequence) + 1])

    assert (run(right).corrupted, run(right).mixed_up) == (0, 0)
    assert run(damaged).corrupted == 30
    assert run(of_another).mixed_up > 0


def test_any_exception_is_counted_and_the_next_is_sent(monkeypatch) -> None:
    def fail(payload: Any, *_: Any) -> Any:
        raise IndexError("a bug")

    sender = Sender("a", {"uds": LyingChannel(fail)}, np.zeros(65 * 2**20, np.uint8), "seed")
    clock = iter([0.0, 1.0, 2.0])
    # The module's own name for it: threads of other tests ask the real clock.
    faked = types.SimpleNamespace(**{**vars(time), "monotonic": lambda: next(clock)})
    monkeypatch.setattr("perfkit.measurement.stress_parties.time", faked)
    sender.run(1.5)
    assert dict(sender.errors) == {"uds: IndexError: a bug": 2}


def test_a_table_and_its_bytes_have_one_checksum() -> None:
    numbers = np.arange(16)
    assert checksum(pa.table({"x": numbers})) == checksum(numbers.tobytes())


@pytest.mark.parametrize("name", ["errors", "lost", "reordered", "corrupted", "leaked_bytes"])
def test_whatever_is_not_nothing_fails(name) -> None:
    assert RIGHT.verdict == "holds"
    wrong = dataclasses.replace(RIGHT, **{name: 1})
    assert wrong.verdict == f"fails: {name}"
    assert "fails" in str(wrong)


def test_memory_beside_the_arenas_is_bounded() -> None:
    allowed = RIGHT.arena_bytes + ALLOWED_BESIDE_ARENAS_BYTES
    assert dataclasses.replace(RIGHT, memory_bytes=allowed).memory_ok
    assert dataclasses.replace(RIGHT, memory_bytes=allowed + 1).verdict == "fails: memory"
    assert dataclasses.replace(RIGHT, sends=0).verdict == "fails: nothing was sent"


def test_descriptors_are_counted() -> None:
    before = stressing._descriptors(os.getpid())
    with Path("/dev/null").open():
        assert stressing._descriptors(os.getpid()) == before + 1
