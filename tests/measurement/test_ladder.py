"""A ladder's loads: closed loops of threads, levels interleaved, and a budget that is kept."""

from __future__ import annotations

import threading
import time

import pytest

from perfkit.errors import InputError
from perfkit.measurement.ladder import plan_ladder
from perfkit.measurement.ladder_load import MOST_KEPT, drive


def test_a_load_keeps_every_sender_busy_and_counts_what_ends() -> None:
    under_way, most = 0, 0
    lock = threading.Lock()

    def send() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.005)
        with lock:
            under_way -= 1

    load = drive([send] * 4, 0.3)
    assert most == 4
    assert load.sequence == list(range(load.completed))
    assert load.ended_us == sorted(load.ended_us)
    assert min(load.latency_ns) >= 5_000_000
    # Little's law: what ended per second times how long it took is what was under way.
    per_s = (load.completed - 1) / ((load.ended_us[-1] - load.ended_us[0]) / 1e6)
    mean_s = sum(load.latency_ns) / load.completed / 1e9
    assert per_s * mean_s == pytest.approx(4, rel=0.25)


def test_a_long_load_keeps_a_part_that_still_tells_the_whole() -> None:
    load = drive([lambda: None], 0.05)
    assert load.completed > MOST_KEPT
    assert len(load.sequence) == len(load.latency_ns) == len(load.ended_us) == MOST_KEPT
    assert (load.sequence[0], load.sequence[-1]) == (0, load.completed - 1)


def test_a_sender_that_fails_ends_the_load_with_its_error() -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        drive([lambda: time.sleep(0.001), fail], 5.0)


def test_a_budget_is_shared_out() -> None:
    levels = [1, 2, 4, 8]
    plenty = plan_ladder(["uds"], [1024], levels, budget_s=600)
    scarce = plan_ladder(["uds", "shm_pool"], [1024, 2048], levels, budget_s=1)
    assert (plenty.rounds, plenty.load_s) == (10, 1.0)
    assert (scarce.rounds, scarce.load_s) == (1, pytest.approx(0.1))
    assert len(scarce.scenarios) == 16
    spent_s = plan_ladder(["uds"], [1024], levels, budget_s=30)
    assert spent_s.launches * spent_s.rounds * spent_s.load_s * 4 == pytest.approx(30 - 3 * 1.5)
    with pytest.raises(InputError, match="in_flight == 65"):
        plan_ladder(["uds"], [1024], [65], budget_s=1)
