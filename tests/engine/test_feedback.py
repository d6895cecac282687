"""What comes back to an engine: nothing that a service hands in reaches it again, and nothing old is learned anew."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

from perfkit.config.settings import Settings
from perfkit.engine import Engine
from perfkit.engine.events import DecisionExplored, OutcomesRecorded
from perfkit.engine.loading import Loaded
from perfkit.engine.outcomes import Outcomes
from perfkit.engine.plan import Publication
from perfkit.lake import drain, open_lake


class Hostile(Exception):
    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


@pytest.fixture
def engine(make_curves) -> Engine:
    return Engine(Loaded(Settings(), Publication(make_curves(), 7)))


@pytest.mark.parametrize(
    "error", [Hostile(), Hostile, 17, "text", None], ids=["raises", "class", "number", "text", "none"]
)
@pytest.mark.parametrize("decision", [None, "nonsense", object()])
def test_nothing_that_is_recorded_or_observed_raises(engine: Engine, decision: object, error: object) -> None:
    for told in (engine.record, engine.observe):
        told(decision, 1, 2, ok=False, error=error)  # type: ignore[operator]
        told(engine.decide(1), 1, 2, ok=False, error=error)  # type: ignore[operator]
    engine._control.follow()


def test_an_exception_that_was_observed_is_not_kept_with_what_its_frames_hold(engine: Engine) -> None:
    class Payload:
        pass

    def fail() -> None:
        kept = Payload()
        gone.append(weakref.ref(kept))
        raise ValueError(str(kept))

    gone: list[weakref.ref[Payload]] = []
    try:
        fail()
    except ValueError as error:
        engine.observe(engine.decide(1), 1, 2, ok=False, error=error)
    gc.collect()
    assert gone[0]() is None


def test_hooks_get_observed_outcomes_that_are_whole(engine: Engine) -> None:
    heard: list[OutcomesRecorded] = []
    engine.on(OutcomesRecorded, heard.append)
    engine.observe("nonsense", 1, 2)  # type: ignore[arg-type]
    engine.observe(engine.decide(1), 1, 2, ok=False, error=OSError())
    engine._control.follow()
    (outcome,) = heard[0].outcomes
    assert outcome[0] > 10**15
    assert outcome[-1] == "OSError"


def test_a_hook_that_leaves_the_process_is_counted_like_any_other(engine: Engine) -> None:
    engine.on(OutcomesRecorded, lambda event: sys.exit(3))
    engine.observe(engine.decide(1), 1, 2)
    engine._control.follow()
    assert engine.health().hooks.failures == 1


def test_a_hook_that_makes_events_does_not_hold_up_the_look(engine: Engine) -> None:
    feedback, calls = engine._control.feedback, []
    event = DecisionExplored("v1", "ml", "uds", "grpc", 1, 0.1)

    def refill(_: DecisionExplored) -> None:
        calls.append(1)
        if len(calls) < 50:
            feedback._noted.extend((event, event))

    engine.on(DecisionExplored, refill)
    feedback._noted.append(event)
    engine._control.follow()
    assert len(calls) == 1


def test_what_was_learned_about_other_curves_is_void_before_the_first_outcome_under_them(make_curves) -> None:
    outcomes = Outcomes(Settings().engine.calibration)
    first, other = make_curves(), make_curves({"uds": (1, 1)})
    outcomes.use_curves(first)
    resets: list[str] = []
    outcomes._calibrator.reset = resets.append  # type: ignore[method-assign]
    outcomes.use_curves(make_curves())  # equal ones, read again
    assert resets == []
    outcomes.use_curves(other)
    assert resets == ["other curves are in force"]


def test_a_breaker_and_the_budget_outlive_other_settings_of_them(put_settings, make_curves) -> None:
    engine = put_settings("[breaker]\nfailures = 2\n")
    decision = engine.decide(1000)
    for _ in range(2):
        engine.record(decision, 1000, 1, ok=False, error="OSError")
    put_settings("[breaker]\nfailures = 3\n", engine)
    assert [one.method for one in engine.health().breakers] == [decision.method]


@pytest.fixture
def put_settings(tmp_path: Path):
    def put(text: str, engine: Engine | None = None) -> Engine:
        (tmp_path / "perfkit.toml").write_text(text)
        if engine is None:
            return Engine.load(tmp_path / "perfkit.toml", background=False)
        engine.reload()
        return engine

    return put


def test_rows_say_what_memory_the_host_had_left(tmp_path: Path) -> None:
    (tmp_path / "perfkit.toml").write_text('[recorder]\njournal = "journal"\n')
    engine = Engine.load(tmp_path / "perfkit.toml")
    try:
        assert engine.available_bytes is None or engine.available_bytes > 0
        engine._control.feedback.look_around()
        assert engine.available_bytes is not None
        engine.record(engine.decide(4096), 4096, 1000)
    finally:
        engine.close()
    drain(tmp_path / "lake", journal=tmp_path / "journal")
    (row,) = open_lake(tmp_path / "lake").transfers.to_pyarrow().to_pylist()
    assert row["available_bytes"] == engine.available_bytes > 0
