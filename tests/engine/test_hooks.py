"""Hooks, events and what an engine logs of itself."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading

import pytest

from perfkit.engine.event_log import ENGINE_LOGGER, EventLog
from perfkit.engine.events import (
    EVENTS,
    BreakerClosed,
    BreakerOpened,
    DecisionExplored,
    EngineEvent,
    LimitApproached,
    OutcomesRecorded,
    PlanCorrected,
    PlanReloaded,
    ReloadRefused,
    RowsDropped,
    SessionExposed,
    StateChanged,
    TrustChanged,
)
from perfkit.engine.hooks import Hooks

EXAMPLES: tuple[EngineEvent, ...] = (
    OutcomesRecorded([(1, None, 1024, 5000, None, True, None), (2, None, 1024, 0, None, False, "PeerLostError")]),
    StateChanged("normal", "memory_pressure", "92 % of memory in use"),
    PlanReloaded(2, 7, ("thresholds.toml: version 6 → 7",)),
    ReloadRefused(("perfkit.toml:3:8: goal == 'fast'",)),
    PlanCorrected("ml", "shm_pool", 1.0, 1.31, "uds instead of shm_pool below 96KiB, about 4 % less"),
    TrustChanged("ml", False),
    BreakerOpened("shm_pool", 5, 60 * 10**9, "NoRoomError"),
    BreakerClosed("shm_pool", 61 * 10**9),
    SessionExposed("user-17", "bigger-blocks", "B", "ml"),
    DecisionExplored("v7:ml#1~uds", "ml", "uds", "shm_pool", 2**20, 0.01),
    LimitApproached("arena", 0.78, 0.8, "give the arena 1.5GiB"),
    RowsDropped(120, 340, "the disk is slow"),
)


def test_every_event_speaks_to_people_and_to_machines() -> None:
    assert {type(event) for event in EXAMPLES} == set(EVENTS)
    assert len({event.name for event in EXAMPLES}) == len(EVENTS)
    for event in EXAMPLES:
        plain = json.loads(json.dumps(event.to_plain()))
        assert plain["event"] == event.name
        assert plain["message"] == event.message
        assert plain["severity"] in ("debug", "info", "warning", "error")
        assert plain["occurred_at_ns"] > 10**18
        assert event.subject in event.message or event.name in (
            "session exposed",
            "decision explored",
            "plan corrected",
        )
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.occurred_at_ns = 0  # type: ignore[misc]


def test_a_hook_gets_the_events_that_it_asked_for_until_it_is_removed() -> None:
    hooks, changes, everything = Hooks(), [], []
    hook = hooks.add(StateChanged, changes.append)
    hooks.add(EngineEvent, everything.append)
    assert hooks.wants(RowsDropped)
    for event in EXAMPLES:
        hooks.emit(event)
    assert changes == [EXAMPLES[1]]
    assert everything == list(EXAMPLES)
    hook.remove()
    hook.remove()
    hooks.emit(EXAMPLES[1])
    assert len(changes) == 1
    assert hooks.health().calls == len(EXAMPLES) + 2


@pytest.mark.parametrize(
    ("event", "function"), [("StateChanged", print), (int, print), (StateChanged, 5), (None, print)]
)
def test_what_is_no_event_or_no_function_is_refused(event: object, function: object) -> None:
    with pytest.raises(TypeError, match="must be"):
        Hooks().add(event, function)  # type: ignore[type-var, arg-type]


def test_a_hook_that_raises_is_counted_told_once_and_removed_after_a_hundred_failures(caplog) -> None:
    hooks, others = Hooks(), []

    def broken(event: EngineEvent) -> None:
        raise RuntimeError("of mine")

    hooks.add(RowsDropped, broken)
    hooks.add(RowsDropped, others.append)
    with caplog.at_level(logging.WARNING, "perfkit.engine.hooks"):
        for _ in range(120):
            hooks.emit(RowsDropped(1, 1))
    health = hooks.health()
    assert len(others) == 120
    assert health.failures == 100
    assert [name.rpartition(".")[2] for name in health.removed] == ["broken"]
    assert health.hooks == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


def test_a_hook_that_fails_now_and_then_stays() -> None:
    hooks, calls = Hooks(), []

    def moody(event: EngineEvent) -> None:
        calls.append(event)
        if len(calls) % 2:
            raise RuntimeError

    hooks.add(RowsDropped, moody)
    for _ in range(300):
        hooks.emit(RowsDropped(1, 1))
    assert hooks.health().failures == 150
    assert hooks.health().removed == ()


def test_a_slow_hook_is_named_with_its_share_of_the_time() -> None:
    hooks = Hooks()
    hooks.add(RowsDropped, lambda event: None)
    hooks.add(RowsDropped, slow)
    for _ in range(3):
        hooks.emit(RowsDropped(1, 1))
    health = hooks.health()
    assert health.slowest == "slow"
    assert 0.5 < health.time_share <= 1


def slow(event: EngineEvent) -> None:
    threading.Event().wait(0.02)


def test_hooks_come_and_go_from_many_threads_while_events_are_emitted() -> None:
    hooks = Hooks()

    def come_and_go() -> None:
        for _ in range(200):
            hooks.add(RowsDropped, lambda event: None).remove()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        hooks.emit(RowsDropped(1, 1))
    for thread in threads:
        thread.join()
    assert hooks.health().hooks == 0
    assert not hooks.wants(RowsDropped)


def test_the_log_has_a_limit_and_says_what_it_left_out(caplog) -> None:
    now = [0.0]
    log = EventLog(logging.getLogger(ENGINE_LOGGER), most_per_minute=3, clock=lambda: now[0])
    with caplog.at_level(logging.INFO, ENGINE_LOGGER):
        for method in ("uds", "grpc"):
            for _ in range(5):
                log(BreakerOpened(method, 5, 60 * 10**9))
        assert len(caplog.records) == 6
        now[0] = 61.0
        log(BreakerOpened("uds", 5, 60 * 10**9))
    assert "2 more records like this" in caplog.records[-1].getMessage()
    assert caplog.records[-1].perfkit_subject == "uds"
    assert caplog.records[-1].perfkit_event["failures"] == 5


def test_an_engine_logs_warnings_for_what_people_should_know_and_info_for_reloads(caplog) -> None:
    hooks = Hooks(EventLog(logging.getLogger(ENGINE_LOGGER)))
    with caplog.at_level(logging.DEBUG, ENGINE_LOGGER):
        for event in EXAMPLES:
            hooks.emit(event)
    assert hooks.health().hooks == 0
    assert not any(map(hooks.wants, EVENTS))
    levels = {record.perfkit_name: record.levelname for record in caplog.records}
    assert levels == {
        "state changed": "WARNING",
        "plan reloaded": "INFO",
        "reload refused": "WARNING",
        "plan corrected": "WARNING",
        "trust changed": "WARNING",
        "breaker opened": "WARNING",
        "breaker closed": "INFO",
        "limit approached": "WARNING",
        "rows dropped": "WARNING",
    }


def test_an_engine_is_silent_where_nobody_set_up_logging(capfd) -> None:
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    root.handlers.clear()
    try:
        EventLog(logging.getLogger(ENGINE_LOGGER))(RowsDropped(1, 1))
    finally:
        root.handlers[:] = handlers
    assert capfd.readouterr() == ("", "")
