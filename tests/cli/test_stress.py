"""`perfkit stress` on the command line."""

from __future__ import annotations

import pytest

from perfkit.workflows.stress_result import StressResult

RESULT = StressResult(
    sends=10, bytes=1000, seconds=1.0, senders=2, errors=0, lost=0, reordered=0, corrupted=0, leaked_bytes=0,
    descriptors_grown=0, memory_bytes=5, arena_bytes=5, latency_p50_ns=10, latency_p99_ns=20, methods={"uds": 10},
    error_texts={},
)  # fmt: skip


@pytest.fixture
def stressed(monkeypatch):
    """What the command asked for; it gets `answer`."""
    asked = []

    def answer(**options):
        asked.append(options)
        return answer.result

    answer.result = RESULT
    monkeypatch.setattr("perfkit.workflows.stress.stress", answer)
    return asked, answer


def test_the_options_reach_the_test_and_the_figures_come_back(perfkit, stressed) -> None:
    asked, _ = stressed
    outcome = perfkit("stress", "--seconds", "2", "--senders", "3", "--methods", "uds,shm", "--seed", "7", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.json()["verdict"] == "holds"
    assert asked == [
        {"seconds": 2.0, "senders": 3, "processes": 2, "methods": ("uds", "shm"), "seed": 7, "progress": None}
    ]


def test_what_went_wrong_is_the_exit_code(perfkit, stressed) -> None:
    import dataclasses

    _, answer = stressed
    answer.result = dataclasses.replace(RESULT, lost=1)
    outcome = perfkit("stress")
    assert outcome.exit_code == 1
    assert "fails: lost" in outcome.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--methods", "udz"), "unknown method 'udz'"),
        (("--methods", ","), "names nothing"),
        (("--senders", "0"), "0 is not in the range"),
        (("--processes", "many"), "'many' is not a valid integer"),
        (("--seconds", "0"), "0.0 is not in the range"),
    ],
)
def test_wrong_input_is_refused_with_what_is_allowed(perfkit, arguments, text) -> None:
    outcome = perfkit("stress", *arguments)
    assert outcome.exit_code == 2
    assert text in outcome.stderr


def test_an_interrupted_test_says_that_its_processes_have_ended(perfkit, stressed, monkeypatch) -> None:
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("perfkit.workflows.stress.stress", interrupted)
    outcome = perfkit("stress")
    assert outcome.exit_code == 130
    assert "all processes were ended" in outcome.stderr
