"""A loop that survives what goes wrong in a round, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from perfkit.errors import InputError, LakeError
from perfkit.workflows.learning import watching
from perfkit.workflows.learning.refreshed import RefreshResult
from perfkit.workflows.learning.watching import watch


def rounds_of(monkeypatch, outcomes):
    """Let each round come out as told; the last one ends the loop."""
    stop, left, told = threading.Event(), list(outcomes), []

    def play(*_, **__):
        outcome = left.pop(0)
        if not left:
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(watching, "refresh", play)
    return watch(every_s=0.001, progress=told.append, stop=stop), told


def test_a_round_that_fails_is_told_counted_and_followed_by_longer_pauses(monkeypatch):
    fine = RefreshResult("updated", 300, 2)
    result, told = rounds_of(monkeypatch, [LakeError("no disk"), OSError("no disk"), fine, fine])
    assert (result.rounds, result.failed) == (4, 2)
    assert [one.pause_s for one in told] == [0.002, 0.004, 0.001, 0.001]
    assert "failed: LakeError: no disk" in str(told[0])
    assert str(told[2]).endswith("round 3: updated, 300 new observations, version 2")
    assert result.to_plain()["last"]["verdict"] == "updated"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_after_the_round_and_are_given_back(monkeypatch, number):
    before = signal.getsignal(number)

    def play(*_, **__):
        os.kill(os.getpid(), number)
        return RefreshResult("nothing new", 0, 1)

    monkeypatch.setattr(watching, "refresh", play)
    result = watch(every_s=30)
    assert (result.rounds, result.failed) == (1, 0)
    assert signal.getsignal(number) is before


def test_a_folder_without_a_model_is_watched_until_there_is_one(tmp_path):
    stop, told = threading.Event(), []

    def tell(one):
        told.append(one)
        stop.set()

    watch(tmp_path / "lake", tmp_path / "models", every_s=1, progress=tell, stop=stop)
    assert told[0].result.verdict == "no model"
    assert "a model needs 1000" in told[0].result.warnings[0]


def test_it_can_be_stopped_before_it_begins_and_from_another_thread(tmp_path):
    stop = threading.Event()
    stop.set()
    assert watch(tmp_path, stop=stop).rounds == 0
    stop = threading.Event()
    ended = []
    thread = threading.Thread(
        target=lambda: ended.append(watch(tmp_path / "lake", tmp_path / "models", every_s=60, stop=stop))
    )
    thread.start()
    stop.set()
    thread.join(20)
    assert ended
    assert ended[0].rounds <= 1


@pytest.mark.parametrize("every_s", [0, -1, float("nan"), float("inf"), "60", True])
def test_a_pause_that_is_none_is_refused(every_s):
    with pytest.raises(InputError, match="every_s"):
        watch(every_s=every_s)
