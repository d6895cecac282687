"""Events as log records."""

from __future__ import annotations

import logging

from perfkit.engine.events import BreakerOpened, OutcomesRecorded, PlanReloaded, SessionExposed, StateChanged
from perfkit.telemetry import log_to


def test_events_become_records_with_their_fields_until_it_is_removed(engine, caplog) -> None:
    attached = log_to(engine, "service.transfers")
    with caplog.at_level(logging.DEBUG, "service.transfers"):
        engine.emit(StateChanged("normal", "arena_low", "85 % of the arena in use"))
        engine.emit(PlanReloaded(2, 8))
        engine.emit(SessionExposed("user-17", "blocks", "B"))
        engine.emit(OutcomesRecorded([]))
        attached.remove()
        attached.remove()
        engine.emit(PlanReloaded(3, 9))
    records = [record for record in caplog.records if record.name == "service.transfers"]
    assert [record.levelname for record in records] == ["WARNING", "INFO", "DEBUG"]
    assert records[0].getMessage() == "state normal → arena_low: 85 % of the arena in use"
    assert records[0].perfkit_event["after"] == "arena_low"
    assert records[1].perfkit_name == "plan reloaded"


def test_a_limit_holds_for_each_method_and_a_logger_can_be_given_itself(engine, caplog) -> None:
    log_to(engine, logging.getLogger("limited"), most_per_minute=2)
    with caplog.at_level(logging.INFO, "limited"):
        for method in ("uds", "shm_pool"):
            for _ in range(4):
                engine.emit(BreakerOpened(method, 5, 60 * 10**9))
    subjects = [record.perfkit_subject for record in caplog.records if record.name == "limited"]
    assert subjects == ["uds", "uds", "shm_pool", "shm_pool"]
