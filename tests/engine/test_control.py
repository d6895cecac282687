"""What stands behind an engine: its thread outlives whatever others do, and nothing half done is put in force."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfkit.config.curves import CurveSet
from perfkit.engine import Engine
from perfkit.engine import control as control_module
from perfkit.engine.background import Background
from perfkit.engine.compiled import Conditions, Plan
from perfkit.engine.control import _asking
from perfkit.errors import ConfigError, InputError
from perfkit.workflows.publish import publish

EXPLORING = '[engine]\nexploration_rate = "50%"\nexploration_budget = "1s"\nexploration_max_cost = 50\n'
"""As much as it may."""
EXPERIMENT = """
[experiments.sizes]
variants = { as-now = { share = "50%" }, memory = { share = "50%", goal = "memory" } }
"""


class Fitted:
    def __init__(self, curves: CurveSet) -> None:
        self.curves = curves


@pytest.fixture
def load(make_curves: Callable[..., CurveSet], tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    publish(
        Fitted(make_curves({"grpc": (90_000, 1), "uds": (60_000, 1)})),
        path=tmp_path / "thresholds.toml",
        force=True,
    )
    loaded = []

    def make(settings: str = "", *, background: bool = False) -> Engine:
        (tmp_path / "perfkit.toml").write_text(settings + "\n[resources]\nreact = false\n")
        loaded.append(Engine.load(tmp_path / "perfkit.toml", background=background))
        return loaded[-1]

    yield make
    for engine in loaded:
        engine.close()


class Looked:
    """In the place of a control: what its looks are asked to do."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.wait_s = 0.0
        self.waits: list[tuple[bool, float]] = []

    def look(self, has_ended: Callable[[float], bool]) -> None:
        self.at_s.append(time.monotonic())
        started_s = time.monotonic()
        has_waited = has_ended(self.wait_s)
        self.waits.append((has_waited, time.monotonic() - started_s))


def test_what_wakes_the_thread_does_not_cut_its_waiting_short_and_stopping_does(
    wait_until: Callable[..., None],
) -> None:
    looked = Looked()
    looked.wait_s = 0.3
    background = Background(looked, 60)  # type: ignore[arg-type]
    background.wake()
    wait_until(lambda: looked.at_s)
    background.wake()
    wait_until(lambda: looked.waits)
    assert looked.waits[0][0] is False
    assert looked.waits[0][1] >= 0.29
    wait_until(lambda: len(looked.at_s) == 2)
    looked.wait_s = 60
    background.wake()
    wait_until(lambda: len(looked.at_s) == 3)
    background.stop()
    assert looked.waits[-1][0] is True
    assert not background.is_alive


def test_a_thousand_wakes_are_not_a_thousand_looks(wait_until: Callable[..., None]) -> None:
    looked = Looked()
    background = Background(looked, 60)  # type: ignore[arg-type]
    for _ in range(100):
        background.wake()
        time.sleep(0.001)
    wait_until(lambda: looked.at_s)
    background.stop()
    between_s = [later - earlier for earlier, later in zip(looked.at_s, looked.at_s[1:], strict=False)]
    assert min(between_s, default=1) >= 0.019


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), KeyboardInterrupt()], ids=repr)
def test_the_thread_outlives_whatever_a_look_raises(
    load: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None], error: BaseException
) -> None:
    engine = load(background=True)
    calls = []

    def leave() -> None:
        calls.append(1)
        raise error

    monkeypatch.setattr(engine._control.feedback, "look_around", leave)
    engine._control.wake()
    wait_until(lambda: len(calls) > 1)
    health = engine.health()
    assert health.is_watching
    assert any(type(error).__name__ in one for one in health.errors)


def test_a_dead_thread_is_replaced(load: Callable[..., Engine]) -> None:
    engine = load(background=True)
    dead = engine._control.background
    assert dead is not None
    dead.stop()
    engine.watch()
    assert engine._control.background is not dead
    assert engine._control.background is not None
    assert engine._control.background.is_alive


def test_what_waits_for_a_child_s_thread_explores_nothing(load: Callable[..., Engine]) -> None:
    engine = load(EXPLORING)
    engine._control.follow()
    binding = engine.bind()
    before = binding._bound.ready
    assert any(one.trials for one in before[1])
    binding._bound.ready = _asking(before)
    taken = [binding.decide(1000) for _ in range(50)]
    assert {(one.source == "exploration", one.propensity) for one in taken} == {(False, 1.0)}


def test_a_child_without_threads_decides_and_tells(
    load: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load(EXPLORING)
    engine._control.follow()
    binding = engine.bind()
    binding._bound.ready = _asking(binding._bound.ready)
    engine._control._resumed_s = 0.25
    tried = []

    def refuse(*_: object) -> None:
        tried.append(1)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(control_module, "Background", refuse)
    for _ in range(20):
        binding.decide(1000)
    assert len(tried) == 1
    assert "can't start new thread" in engine.health().errors[-1]


def test_stopping_before_a_child_s_thread_began_restores_what_is_bound(load: Callable[..., Engine]) -> None:
    engine = load()
    binding = engine.bind()
    binding._bound.ready = _asking(binding._bound.ready)
    engine._control._resumed_s = 0.25
    engine.close()
    assert binding._bound.ready[2] == 0.0


def test_nobody_explores_before_the_thread_runs_and_after_it_ended(load: Callable[..., Engine]) -> None:
    engine = load(EXPLORING)
    binding = engine.bind()
    assert {engine.decide(1000).propensity for _ in range(30)} == {1.0}
    engine._control.follow()
    assert {engine.decide(1000).propensity for _ in range(30)} == {0.5}
    engine._control.swap(conditions=Conditions("cpu_pressure", frozenset({"uds"})))
    engine.close()
    assert engine.health().state == "normal"
    assert binding.decide(1000).method == engine.decide(1000).method == "uds"
    assert {binding.decide(1000).propensity for _ in range(30)} == {1.0}


def test_an_unexpected_error_of_one_moment_is_no_last_word_on_the_files(
    load: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = load()
    (tmp_path / "perfkit.toml").write_text('[engine]\nmode = "observe"\n')
    with monkeypatch.context() as broken:
        broken.setattr(control_module, "load_files", lambda *_: [][0])
        engine.reload()
    assert "IndexError" in engine.health().errors[0]
    engine._control._look_at_files(lambda _: False)
    assert engine.health().mode == "observe"
    assert engine.health().errors == ()


def test_an_experiment_is_stopped_whatever_cannot_be_compiled(
    load: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load()
    tables, swap, calls = engine._control.tables, engine._control.swap, []

    def picky(plan: Plan | None = None, *_: object, strict: bool = True, **__: object) -> bool:
        calls.append(strict)
        if strict:
            raise ConfigError("cannot be compiled", path="thresholds.toml")
        return swap(plan, strict=strict)

    monkeypatch.setattr(engine._control, "swap", picky)
    engine._control.stop_experiment("sizes")
    assert calls == [True, False]
    assert engine._control.tables is not tables


def test_a_plan_that_somebody_else_put_in_force_is_not_taken_back(load: Callable[..., Engine]) -> None:
    engine = load()
    control = engine._control
    engine.decide(1000)
    newer = dataclasses.replace(control.tables.plan, generation=7)
    made = dataclasses.replace(control.tables.plan, generation=2)
    done = []

    def meanwhile() -> None:
        if not done:
            done.append(1)
            control.swap(newer)

    assert control.swap(made, None, meanwhile) is False
    assert engine.generation == 7


def test_contexts_are_bound_while_others_are_swapped(load: Callable[..., Engine]) -> None:
    engine = load()
    errors: list[BaseException] = []
    is_over = threading.Event()

    def bind() -> None:
        try:
            kept = []
            while not is_over.is_set():
                kept.append(engine.bind(pool="ml"))
                del kept[:-50]
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=bind) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(40):
        engine._control.swap(conditions=Conditions(("normal", "cpu_pressure")[number % 2]))
        list(engine._control.decisions())
    is_over.set()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"available": "grpc"}, "available == 'grpc'"),
        ({"available": ("grpc", 3)}, "available names 3"),
        ({"available": 7}, "available == 7"),
        ({"in_flight": 1.5}, "in_flight == 1.5"),
        ({"in_flight": True}, "in_flight == True"),
        ({"kind": []}, "kind == \\[\\] is of type list"),
    ],
)
def test_what_cannot_be_bound_is_named(load: Callable[..., Engine], arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(TypeError, match=named):
        load().bind(**arguments)


def test_nothing_in_flight_and_no_method_are_refused_and_any_collection_is_taken(load: Callable[..., Engine]) -> None:
    engine = load()
    for arguments in ({"in_flight": 0}, {"available": []}):
        with pytest.raises(InputError, match=next(iter(arguments))):
            engine.bind(**arguments)  # type: ignore[arg-type]
    assert engine.bind(available=["grpc"]).decide(1000).method == "grpc"  # type: ignore[arg-type]


def test_a_name_that_cannot_be_looked_up_is_named(load: Callable[..., Engine]) -> None:
    with pytest.raises(TypeError, match=r"pool == \[\] is of type list, must be text"):
        load().decide(1000, pool=[])  # type: ignore[arg-type]


def test_health_tells_of_rows_that_cannot_be_written(load: Callable[..., Engine], tmp_path: Path) -> None:
    engine = load()
    (tmp_path / "data").write_text("in the way of the journal's folder")
    engine.record(engine.decide(1000), 1000, 5)
    engine.close()
    engine.record(engine.decide(1000), 1000, 5)
    assert any("were dropped: " in warning for warning in engine.health().warnings)


def test_no_experiment_runs_where_the_engine_only_observes(load: Callable[..., Engine]) -> None:
    assert load(EXPERIMENT).health().experiments == ("sizes",)
    assert load('[engine]\nmode = "observe"\n' + EXPERIMENT).health().experiments == ()
