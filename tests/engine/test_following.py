"""An engine follows what it is told and what it sees: outcomes, failures, the host, its budget, its predictions."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perfkit import Engine
from perfkit.config.curves import CurveSet
from perfkit.config.engine_settings import ResourceSettings
from perfkit.engine import compiled
from perfkit.engine.events import (
    BreakerClosed,
    BreakerOpened,
    DecisionExplored,
    EngineEvent,
    OutcomesRecorded,
    PlanCorrected,
    PlanReloaded,
    SessionExposed,
    StateChanged,
)
from perfkit.engine.resources import Reader, Reading, ResourceMonitor
from perfkit.errors import InputError
from perfkit.journal.reading import decode_body, list_slots, open_slot
from perfkit.workflows.publish import publish

LINES = {"uds": (10_000, 0.1), "grpc": (11_000, 0.11), "shm_pool": (20_000, 0.4), "grpc_stream": (90_000, 2.0)}
CPU = {"uds": (50_000, 1.0), "grpc": (60_000, 1.0), "shm_pool": (9_000, 0.1), "grpc_stream": (90_000, 2.0)}
POOL = '[pools.default]\ngoal = "latency"\ntolerance = 0\n'
SECOND_NS = 10**9


class Fitted:
    def __init__(self, curves: CurveSet) -> None:
        self.curves = curves


class Host(Reader):
    """A host whose figures the test sets; its arenas are real."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: dict[str, float] = {}

    def read(self) -> Reading:
        arena = self.arenas.use()
        shares = {} if arena is None else {"arena_share": arena.share, "arenas_share": arena.share_of_all}
        return Reading(self._clock(), **{"cpu_share": 0.1, "memory_share": 0.1} | shares | self.figures)  # type: ignore[arg-type]


Load = Callable[..., Engine]


@pytest.fixture
def load(make_curves: Callable[..., CurveSet], tmp_path: Path) -> Iterator[Load]:
    """An engine that decides uds; where no thread runs, `follow` does what the thread would."""
    publish(Fitted(make_curves(LINES, cpu=CPU)), path=tmp_path / "thresholds.toml", force=True)
    loaded = []

    def make(settings: str = "", pool: str = POOL, *, thread: bool = False) -> Engine:
        own_host = "[resources]\nreact = false"  # whatever else this machine does
        text = f'{settings}\n{own_host}\n{pool}\n[pools."ml-*"]\ngoal = "latency"\n'
        (tmp_path / "perfkit.toml").write_text(text)
        engine = Engine.load(tmp_path / "perfkit.toml", background=thread)
        assert engine.health().errors == ()
        loaded.append(engine)
        return engine

    yield make
    for engine in loaded:
        engine.close()


@pytest.fixture
def host() -> Callable[[Engine], Host]:
    def watch(engine: Engine) -> Host:
        found = Host()
        engine._control.feedback.monitor = ResourceMonitor(ResourceSettings(), found)
        return found

    return watch


def follow(engine: Engine, times: int = 1) -> None:
    """What the engine's thread does at once, as if its interval had passed."""
    for _ in range(times):
        engine._control.feedback._looked_ns = None
        engine._control.follow()


def heard(engine: Engine, *kinds: type[EngineEvent]) -> list[EngineEvent]:
    events: list[EngineEvent] = []
    for kind in kinds:
        engine.on(kind, events.append)
    return events


def rows(tmp_path: Path, table: str) -> list[dict[str, Any]]:
    found = []
    for slot in list_slots(tmp_path / "data" / "journal"):
        with open_slot(slot.path) as reader:
            for batch in reader.batches(table):
                columns = {name: column.to_list() for name, column in decode_body(batch.body).items()}
                found += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return found


def test_what_is_recorded_reaches_the_journal_and_the_statistics_by_the_thread(
    load: Load, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    engine = load(thread=True)
    events = heard(engine, OutcomesRecorded)
    decision = engine.decide(4096, pool="ml-1")
    for number in range(50):
        engine.record(decision, 4096, 20_000 + number, session=f"s{number % 5}")
    engine.record(decision, 4096, 9, ok=False, error=TimeoutError("late"))

    def counted() -> Any:
        outcomes = engine.statistics().outcomes
        return outcomes and outcomes.methods.get("ml-1", {}).get("uds")

    wait_until(lambda: counted() is not None and (counted().n, counted().failures) == (50, 1))
    wait_until(lambda: sum(len(event.outcomes) for event in events) == 51)  # type: ignore[attr-defined]
    engine.close()
    found = rows(tmp_path, "transfers")
    assert len(found) == 51
    assert {(row["method"], row["pool"], row["decision_id"], row["variant"], row["propensity"]) for row in found} == {
        ("uds", "ml-1", decision.id, "", 1.0)
    }
    assert {row["error"] for row in found if not row["ok"]} == {"TimeoutError"}
    assert engine.health().recorder.committed >= 51  # type: ignore[union-attr]


def test_what_is_observed_counts_and_leaves_no_row(load: Load, tmp_path: Path) -> None:
    engine = load()
    decision = engine.decide(4096)
    engine.observe(decision, 4096, 20_000)
    engine.observe(decision, 4096, 0, ok=False, error="PeerLostError")
    follow(engine)
    found = engine.statistics().outcomes.methods["default"]["uds"]  # type: ignore[union-attr]
    assert (found.n, found.failures) == (1, 1)
    engine.close()
    assert rows(tmp_path, "transfers") == []


def test_close_and_the_end_of_a_with_block_flush(load: Load, tmp_path: Path) -> None:
    load().close()
    with Engine.load(tmp_path / "perfkit.toml") as engine:
        engine.record(engine.decide(1), 1, 1000)
    assert len(rows(tmp_path, "transfers")) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "perfkit-engine"]


def test_a_method_that_fails_is_left_alone_tried_again_and_taken_again(
    load: Load, wait_until: Callable[..., None]
) -> None:
    engine = load('[breaker]\nopen = "300ms"', thread=True)
    bound, events = engine.bind(), heard(engine, BreakerOpened, BreakerClosed)
    first = engine.decide(1000)
    assert first.method == bound.decide(1000).method == "uds"
    for _ in range(5):
        engine.record(first, 1000, 1, ok=False, error=ConnectionError())
    wait_until(lambda: engine.decide(1000).method == bound.decide(1000).method == "grpc")
    (breaker,) = engine.health().breakers
    assert (breaker.method, breaker.failures, breaker.error) == ("uds", 5, "ConnectionError")
    assert engine.awaits_success

    def probe() -> Any:
        found: list[Any] = []
        wait_until(lambda: found.append(engine.decide(1000)) or found[-1].source == "probe")
        return found[-1]

    tried = probe()
    assert (tried.method, tried.propensity) == ("uds", 1.0)
    assert {engine.decide(1000).method for _ in range(20)} == {"grpc"}  # one at a time
    engine.record(tried, 1000, 1, ok=False, error="TimeoutError")
    wait_until(lambda: engine.health().breakers[0].opened == 2)
    engine.record(probe(), 1000, 20_000)
    wait_until(lambda: engine.decide(1000) == first and bound.decide(1000).method == "uds")
    assert engine.health().breakers == ()
    assert [type(event) for event in events][:1] == [BreakerOpened]
    assert [type(event) for event in events][-1:] == [BreakerClosed]


@pytest.mark.parametrize(
    ("figure", "share", "state", "method"),
    [
        ("memory_share", 0.97, "memory_pressure", None),
        ("cpu_share", 0.97, "cpu_pressure", "shm_pool"),
        ("arena_share", 0.9, "arena_low", "uds"),
        ("arenas_share", 0.97, "arena_exhausted", "uds"),
    ],
)
def test_a_state_swaps_decisions_and_bindings_and_the_end_of_it_swaps_them_back(
    load: Load,
    host: Callable[[Engine], Host],
    monkeypatch: pytest.MonkeyPatch,
    figure: str,
    share: float,
    state: str,
    method: str | None,
) -> None:
    engine = load()
    figures, events = host(engine).figures, heard(engine, StateChanged)
    bound, before = engine.bind(in_flight=4), engine.decide(1000)
    follow(engine)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled when it was already needed")

    monkeypatch.setattr(compiled, "compile_cell", refuse)  # the states were compiled in the first look
    figures[figure] = share
    follow(engine, 2)
    found = engine.decide(1000)
    assert (found.state, bound.decide(1000).state, engine.health().state) == (state, state, state)
    assert method in (None, found.method)
    figures[figure] = 0.1
    follow(engine)
    assert engine.decide(1000).state == state  # slow to believe
    follow(engine)
    assert engine.decide(1000) is before
    assert bound.decide(1000).state == "normal"
    changes = [(event.before, event.after) for event in events if isinstance(event, StateChanged)]
    assert changes == [("normal", state), (state, "normal")]


def test_a_full_arena_is_believed_at_once_and_one_that_is_gone_is_none(
    load: Load, host: Callable[[Engine], Host]
) -> None:
    engine = load(pool=POOL + 'methods = ["shm_pool", "uds"]\noverride = "shm_pool"\n')
    host(engine)

    def full() -> tuple[int, int]:
        return 99, 100

    handle = engine.watch_arena(full)
    assert engine.decide(1000).method == "shm_pool"
    follow(engine)
    assert (engine.decide(1000).method, engine.decide(1000).state) == ("uds", "arena_exhausted")
    assert engine.bind(in_place=True).decide(1000).method == "shm_pool"
    handle.remove()
    follow(engine, 2)
    assert engine.decide(1000).method == "shm_pool"


def test_contexts_met_in_one_state_are_there_in_the_next(load: Load, host: Callable[[Engine], Host]) -> None:
    engine = load()
    figures = host(engine).figures
    follow(engine)
    figures["memory_share"] = 0.97
    follow(engine, 2)
    engine.decide(1000, pool="ml-late")
    bound = engine.bind(pool="ml-later")
    figures["memory_share"] = 0.1
    follow(engine, 2)
    assert ("ml-late", "binary", "raw", "none", "uds") in engine._control.tables.cells
    assert bound.decide(1000).state == "normal"


def test_exploring_hands_out_other_methods_until_its_budget_is_spent_and_goes_on_when_it_has_filled(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load('[engine]\nexploration_rate = "50%"\nexploration_budget = "50us"')
    events, now_ns = heard(engine, DecisionExplored), [SECOND_NS]
    monkeypatch.setattr("perfkit.engine.feedback.time.monotonic_ns", lambda: now_ns[0])
    follow(engine)
    taken = [engine.decide(1000) for _ in range(400)]
    assert {(one.source, one.method, one.propensity) for one in taken} == {
        ("model", "uds", 0.5), ("exploration", "grpc", 0.5)
    }  # fmt: skip
    follow(engine)
    assert {engine.decide(1000).source for _ in range(50)} == {"model"}
    assert engine.decide(1000).propensity == 1.0
    now_ns[0] += 60 * SECOND_NS
    follow(engine)
    assert {engine.decide(1000).source for _ in range(50)} == {"model", "exploration"}
    assert engine.statistics().explored_ns > 0
    explored = sum(one.source == "exploration" for one in taken)
    assert len(events) >= explored
    engine.close()
    kept = [row for row in rows(tmp_path, "decisions") if row["reason"] == "exploration"]
    assert len(kept) >= explored
    assert {row["propensity"] for row in kept} == {0.5}


def test_nobody_explores_while_the_host_is_short_of_something(load: Load, host: Callable[[Engine], Host]) -> None:
    engine = load('[engine]\nexploration_rate = "50%"')
    figures = host(engine).figures
    figures["memory_share"] = 0.97
    follow(engine, 2)
    assert {engine.decide(1000).propensity for _ in range(50)} == {1.0}
    figures["memory_share"] = 0.1
    follow(engine, 2)
    assert {engine.decide(1000).propensity for _ in range(50)} == {0.5}


def test_a_variant_is_kept_over_a_reload_that_leaves_the_experiment_alone(load: Load, tmp_path: Path) -> None:
    trial = '[experiments.x.variants.A]\nshare = 0.5\n[experiments.x.variants.B]\nshare = 0.5\noverride = "grpc"\n'
    engine = load(pool=POOL + trial)
    events, reloaded = heard(engine, SessionExposed), heard(engine, PlanReloaded)
    sessions = [f"user-{number}" for number in range(40)]
    before = [engine.decide(1000, session=session).variant for session in sessions]
    assert set(before) == {"A", "B"}
    load(pool=POOL + "margin = 0.2\n" + trial)
    engine.reload()
    assert [engine.decide(1000, session=session).variant for session in sessions] == before
    follow(engine)
    assert (len(events), len(reloaded)) == (40, 1)
    decision = engine.decide(1000, session="user-1")
    engine.record(decision, 1000, 20_000, session="user-1")
    engine.close()
    (row,) = rows(tmp_path, "transfers")
    assert (row["experiment"], row["variant"], row["session"]) == ("x", decision.variant, "user-1")


def transfer(engine: Engine, seconds: int, factors: dict[str, float], now_ns: list[int], n: int = 60) -> None:
    """Seconds of traffic in which each method takes so many times what its curve says."""
    noise = random.Random(seconds)
    for _ in range(seconds):
        now_ns[0] += SECOND_NS + 1
        for _ in range(n):
            decision = engine.decide(1000)
            fixed, per_byte = LINES[decision.method]
            latency_ns = (fixed + 1000 * per_byte) * factors.get(decision.method, 1.0) * noise.lognormvariate(0, 0.05)
            engine.observe(decision, 1000, int(latency_ns))
        follow(engine)


def planned(engine: Engine) -> set[str]:
    """What the plan takes where it explores nothing."""
    return {one.method for one in (engine.decide(1000) for _ in range(99)) if one.source == "model"}


def test_a_method_that_is_slower_than_predicted_is_corrected_and_uncorrected_when_it_is_as_predicted(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load('[engine]\nexploration_rate = "40%"\nexploration_budget = "1s"\nexploration_max_cost = 50')
    now_ns, events = [SECOND_NS], heard(engine, PlanCorrected)
    monkeypatch.setattr(engine._control.feedback.outcomes, "_clock", lambda: now_ns[0])
    assert planned(engine) == {"uds"}
    transfer(engine, 120, {"uds": 3.0}, now_ns)
    factors = engine.health().corrections["default"]
    assert factors.get("uds", 1.0) / factors.get("grpc", 1.0) > 1.5  # which of both is off, nobody can tell
    assert planned(engine) == {"grpc"}
    assert {event.pool for event in events} == {"default"}  # type: ignore[attr-defined]
    assert "times what its curve says" in events[0].message
    transfer(engine, 400, {}, now_ns)
    assert engine.health().corrections == {}
    assert planned(engine) == {"uds"}
    assert "its cost is now multiplied by 1.00" in events[-1].message


def test_curves_that_are_far_off_decide_nothing_until_they_are_right_again(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = 'thresholds = [{ up_to = "1MiB", use = "grpc_stream" }, { use = "shm_pool" }]\n'
    engine = load(pool=POOL + fixed)
    now_ns = [SECOND_NS]
    monkeypatch.setattr(engine._control.feedback.outcomes, "_clock", lambda: now_ns[0])
    assert engine.decide(1000).source == "model"
    transfer(engine, 30, dict.fromkeys(LINES, 9.0), now_ns)
    decision = engine.decide(1000)
    assert (decision.source, decision.method) == ("threshold", "grpc_stream")
    assert engine.health().untrusted_pools == ("default",)
    transfer(engine, 100, {}, now_ns)
    assert engine.decide(1000).source == "model"
    assert engine.health().untrusted_pools == ()


def test_a_decision_is_explained_by_its_id_even_when_its_plan_is_gone(load: Load) -> None:
    engine = load()
    decision = engine.decide(1000)
    engine.observe(decision, 1000, 20_000)
    follow(engine)
    load(pool='[pools.default]\noverride = "grpc"\n')
    engine.reload()
    assert engine.decide(1000).method == "grpc"
    assert engine.explain(engine.decide(1000).id).decision.source == "override"
    assert engine.explain(decision.id).decision is decision
    with pytest.raises(InputError, match="is not kept"):
        engine.explain("v9:nobody#0")


def test_pools_of_a_pattern_are_pools_of_their_own_and_unknown_ones_are_counted(load: Load) -> None:
    engine = load("[recorder]\nenabled = false")
    for name in ("ml-a", "ml-b"):
        engine.observe(engine.decide(1000, pool=name), 1000, 20_000)
    for number in range(7):
        engine.observe(engine.decide(1000, pool=f"nobody-{number % 2}"), 1000, 20_000)
    follow(engine)
    statistics = engine.statistics()
    assert statistics.outcomes is not None
    assert {name: methods["uds"].n for name, methods in statistics.outcomes.methods.items()} == {
        "ml-a": 1, "ml-b": 1, "default": 7
    }  # fmt: skip
    assert statistics.unknown == {"pool": 7}
    assert set(statistics.unknown_names) == {"pool 'nobody-0'", "pool 'nobody-1'"}
