"""Whatever is asked, written or broken: the engine decides on, by a whole plan, and says what is wrong."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfkit import Engine
from perfkit.config.curves import CurveSet
from perfkit.config.settings import Settings, load_perfkit_toml
from perfkit.config.thresholds import curves_path, history_folder
from perfkit.engine import Decision
from perfkit.engine.loading import Files, Loaded, load_files
from perfkit.engine.plan import Publication
from perfkit.errors import ConfigError
from perfkit.workflows.publish import publish

WINNERS = {1: "uds", 0: "grpc"}
"""By the version: odd ones are published with curves by which uds wins."""
LINES = {
    1: {"uds": (10_000, 0.1), "grpc": (500_000, 2.0), "shm_pool": (900_000, 0.2)},
    0: {"uds": (10_000_000, 0.3), "grpc": (5_000, 0.1), "shm_pool": (900_000, 3.0)},
}
FILE = """\
[engine]
exploration_rate = "5%"
[resources]
react = false
[pools.default]
goal = "latency"
[pools.ml]
goal = "balanced"
methods = ["uds", "grpc", "shm_pool"]
margin = "1%"
[[pools.ml.rules]]
when = "bytes > 1MiB"
use = "grpc"
[pools."batch-*"]
goal = "throughput"
thresholds = [{ up_to = "10MiB", use = "grpc" }, { use = "uds" }]
[experiments.x]
pools = ["ml"]
[experiments.x.variants.A]
share = 0.5
[experiments.x.variants.B]
share = 0.5
override = "shm_pool"
"""
POOLS = ("default", "ml", "batch-1", "nobody")
SIZES = (0, 1000, 2**20 - 1, 2**21, 2**24, 2**33)


class Fitted:
    def __init__(self, curves: CurveSet) -> None:
        self.curves = curves


@pytest.fixture
def put(make_curves: Callable[..., CurveSet], tmp_path: Path) -> Callable[[int], None]:
    """Publish the next version; 1 for curves by which uds wins, 0 for grpc."""

    def put_version(parity: int) -> None:
        publish(Fitted(make_curves(LINES[parity])), path=tmp_path / "thresholds.toml", force=True)

    return put_version


@pytest.fixture
def engine(put: Callable[[int], None], tmp_path: Path) -> Iterator[Engine]:
    (tmp_path / "perfkit.toml").write_text(FILE)
    put(1)
    engine = Engine.load(tmp_path / "perfkit.toml", background=False)
    assert engine.health().status == "ok"
    yield engine
    engine.close()


def torn(decision: Decision) -> bool:
    """Whether it mixes two plans: its id names the version, and the curves of each let another method win."""
    version = decision.cell.publication.version
    if not decision.id.startswith(f"v{version}:") or decision.part not in decision.cell.ranges:
        return True
    is_planned = decision.source == "model" and decision.cell.context.pool == "default"
    return is_planned and decision.method != WINNERS[(version or 0) % 2]


class Odd(str):
    """Text, but not plainly."""


class Whole:
    """An index that raises."""

    def __index__(self) -> int:
        raise ZeroDivisionError


names = st.sampled_from(["", "default", "ml", "ml-1", "tensor", "numpy", "uds", "\0", "\ud800", "é" * 300, Odd("ml")])
anything = st.one_of(
    names,
    st.text(max_size=8),
    st.integers(),
    st.sampled_from([0, 1, True, 2**63, 2**64, -1, 10**400, numpy.int64(7), numpy.float32(1), numpy.zeros(2)]),
    st.floats(),
    st.none(),
    st.binary(max_size=4),
    st.sampled_from([(), [], {}, set(), object, object(), lambda: 0, 1j]),
    st.lists(names, max_size=2),
    st.tuples(names),
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("asked") / "perfkit.toml"
    path.write_text(FILE)
    with Engine.load(path, background=False) as engine:
        yield engine
        assert str(engine.health())
        assert str(engine.statistics())


def answered(ask: Callable[[], Any]) -> Any:
    """The answer; None where the question is refused at the edge."""
    try:
        return ask()
    except (TypeError, ValueError):
        return None


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    size=st.one_of(anything, st.integers(0, 2**40)),
    context=st.dictionaries(st.sampled_from(["pool", "kind", "format", "compression", "signalling"]), anything),
    session=anything,
    more=st.fixed_dictionaries({}, optional={"available": anything, "in_place": st.booleans(), "in_flight": anything}),
    outcome=st.tuples(anything, anything, anything, anything),
)
def test_any_type_and_value_is_answered_or_refused(
    asked: Engine, size: Any, context: dict[str, Any], session: Any, more: dict[str, Any], outcome: tuple[Any, ...]
) -> None:
    decision = answered(lambda: asked.decide(size, **context, session=session))
    assert decision is None or isinstance(decision, Decision)
    binding = answered(lambda: asked.bind(**context, **more))
    bound = binding and answered(lambda: binding.decide(size, session))
    assert bound is None or isinstance(bound, Decision)
    answered(lambda: asked.explain(outcome[0]))
    answered(lambda: asked.plan(**context))
    for one in (asked.decide(1), outcome[0]):
        asked.record(one, size, outcome[1], session, ok=outcome[2], error=outcome[3])
        asked.observe(one, size, outcome[1], ok=outcome[2], error=outcome[3])
    asked._control.follow()
    assert asked.decide(1000).method


def mutated(chance: random.Random, content: bytes) -> bytes:
    """A file as a slip of the hand, a full disk or a bad cable leaves it."""
    lines = content.splitlines(keepends=True)
    first, second = (chance.randrange(len(lines)) for _ in range(2))
    match chance.randrange(6):
        case 0:
            flipped = bytearray(content)
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            return bytes(flipped)
        case 1:
            return content[: chance.randrange(len(content))]
        case 2:
            del lines[first]
        case 3:
            lines[first], lines[second] = lines[second], lines[first]
        case 4:
            lines.insert(first, lines[second])
        case 5:
            lines[first] = chance.choice(
                [b"x = 1\n", b"goal = 'memory'\n", b"override = 'grpc'\n", b"[lake]\n", b"\xff\n"]
            )
    return b"".join(lines)


def methods(engine: Engine) -> list[str]:
    """What is taken for every pool and size, where nobody explores."""
    return [planned(engine, size, pool).method for pool in POOLS for size in SIZES]


def planned(engine: Engine, size: int, pool: str) -> Decision:
    while (decision := engine.decide(size, pool=pool)).source == "exploration":
        pass
    return decision


def test_damaged_files_are_taken_as_a_whole_or_not_at_all(engine: Engine, tmp_path: Path) -> None:
    chance, changed, refused = random.Random(20261126), 0, 0
    paths = (tmp_path / "perfkit.toml", tmp_path / "thresholds.toml", curves_path(tmp_path / "thresholds.toml"))
    good = {path: path.read_bytes() for path in paths}
    binding = engine.bind(pool="ml")
    for _ in range(300):
        path = chance.choice((*paths, paths[0]))
        path.write_bytes(mutated(chance, good[path]))
        before = engine._control.tables.plan
        health = engine.reload()
        after = engine._control.tables.plan
        verdict = load_files(Files(*paths[:2]), before.loaded)
        is_whole = after.loaded.settings in (before.loaded.settings, verdict.settings)
        assert is_whole, path.read_bytes()
        assert after.loaded.publication in (before.loaded.publication, verdict.publication)
        assert (health.status == "degraded") == bool(verdict.errors or after.errors)
        changed += after is not before
        refused += bool(verdict.errors)
        fresh = Engine(Loaded(after.loaded.settings, after.loaded.publication))
        assert methods(engine) == methods(fresh)
        assert binding.decide(2**21).cell.pool == after.loaded.settings.pool("ml")
        path.write_bytes(good[path])
    assert engine.reload().status == "ok"
    assert changed > 15
    assert refused > 100


def test_a_clock_that_jumps_stops_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    walls = [time.time(), 0.0, -1e9, 4e9, 1e15, time.time()]
    ticks = [time.monotonic_ns() + jump for jump in (0, 10**9, 10**15, 10**18, 10**18)]
    monkeypatch.setattr("perfkit.engine.recording.recorder.time", lambda: walls[0])
    monkeypatch.setattr(time, "monotonic_ns", lambda: ticks[0])
    while len(walls) > 1 or len(ticks) > 1:
        for _ in range(6):
            engine.record(engine.decide(1000), 1000, 20_000, ok=False, error="TimeoutError")
        engine._control.follow()
        assert engine.decide(1000).method
        walls, ticks = walls[1:] or walls, ticks[1:] or ticks
    monkeypatch.undo()
    engine._control.follow()
    assert engine._control.look_error == ""
    assert str(engine.health())
    assert engine.reload().errors == ()


def test_children_of_a_busy_process_decide_record_reload_and_end(engine: Engine, put: Callable[[int], None]) -> None:
    engine.watch(0.01)
    binding, done, wrong = engine.bind(), threading.Event(), []

    def serve() -> None:
        try:
            while not done.is_set():
                decision = engine.decide(1000, pool="ml", session=str(time.time_ns()))
                engine.record(decision, 1000, 20_000, ok=time.time_ns() % 3 > 0)
                time.sleep(0.0002)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what must not be
            wrong.append(error)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    children = []
    for parity in (0, 1, 0, 1):
        put(parity)  # so that the parent is compiling now and then
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for number in range(100):
                    engine.record(engine.decide(number, pool="batch-9"), number, 20_000, session=str(number))
                    assert binding.decide(number).method
                assert engine.reload().errors == ()
                assert engine.health().is_watching
                engine.close()
                recorder = engine.health().recorder
                assert recorder is not None
                assert (recorder.accepted, recorder.committed, recorder.dropped) == (
                    recorder.committed,
                    recorder.accepted,
                    0,
                )
                assert recorder.accepted >= 100
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0, 0]
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_no_decision_is_torn_while_files_are_rewritten_under_64_threads(
    engine: Engine, put: Callable[[int], None], tmp_path: Path
) -> None:
    path = tmp_path / "thresholds.toml"
    versions = []
    for parity in (0, 1):
        put(parity)
        versions.append((path.read_bytes(), curves_path(path).read_bytes()))
    done, wrong, decided = threading.Event(), [], [0] * 64
    binding = engine.bind()

    def serve(number: int) -> None:
        try:
            while not done.is_set():
                found = [binding.decide(1000), engine.decide(1000)]
                found.append(engine.decide(1000, pool=POOLS[number % 4], session=f"s{decided[number]}"))
                wrong.extend(decision for decision in found if torn(decision))
                if number % 4 == 0:
                    engine.record(found[0], 1000, 20_000)
                decided[number] += 1
                time.sleep(0.002)  # whoever writes needs the interpreter, too
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what must not be
            wrong.append(error)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    engine.watch(0.02)
    swaps, chance, until_s = set(), random.Random(1), time.monotonic() + 3
    while time.monotonic() < until_s or (len(swaps) <= 2 and time.monotonic() < until_s + 30):  # on a busy machine
        toml, curves = versions[chance.randrange(2)]
        replace(path, toml)
        replace(curves_path(path), curves)
        (tmp_path / "perfkit.toml").write_text(chance.choice([FILE, FILE.replace('"1%"', '"2%"'), FILE[:200]]))
        if chance.random() < 0.2:
            swaps.add(engine.reload().generation)
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(swaps) > 2
    assert min(decided) > 10
    (tmp_path / "perfkit.toml").write_text(FILE)
    assert engine.reload().errors == ()
    assert engine._control.look_error == ""


def replace(path: Path, content: bytes) -> None:
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)


def test_a_folder_that_is_gone_changes_no_decision(
    engine: Engine, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    before = methods(engine)
    engine.record(engine.decide(1), 1, 1000)
    shutil.copytree(tmp_path, tmp_path.with_name("kept"))
    engine.watch(0.02)
    for path in tmp_path.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    wait_until(lambda: len(engine.health().errors) == 2)
    assert all("no such file any more" in error for error in engine.health().errors)
    assert methods(engine) == before
    engine.record(engine.decide(1), 1, 1000)
    shutil.copytree(tmp_path.with_name("kept"), tmp_path, dirs_exist_ok=True)
    wait_until(lambda: engine.health().status == "ok")
    assert methods(engine) == before


def test_a_journal_that_cannot_be_written_costs_rows_and_nothing_else(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder of the journal should be")
    for number in range(20):
        engine.record(engine.decide(number), number, 20_000)
    engine._control.follow()
    outcomes = engine.statistics().outcomes
    assert outcomes is not None
    assert sum(method.n for by_method in outcomes.methods.values() for method in by_method.values()) == 20
    assert not engine._control.feedback.recorder.flush(1.0)
    recorder = engine.health().recorder
    assert recorder is not None
    assert recorder.failures > 0
    assert "data" in recorder.last_error
    engine.close()
    recorder = engine.health().recorder
    assert recorder is not None
    assert recorder.accepted == recorder.dropped >= 20
    assert engine.decide(1000).method == "uds"


def test_a_slot_of_the_journal_that_is_no_database_is_passed_over(engine: Engine, tmp_path: Path) -> None:
    journal = tmp_path / "data" / "journal"
    journal.mkdir(parents=True)
    (journal / "slot-000.sqlite").write_bytes(os.urandom(8192))
    for number in range(20):
        engine.record(engine.decide(number), number, 20_000)
    assert engine._control.feedback.recorder.flush(20.0)
    recorder = engine.health().recorder
    assert recorder is not None
    assert recorder.committed >= 20


def test_a_history_that_is_damaged_stops_no_service(engine: Engine, put: Callable[[int], None], tmp_path: Path) -> None:
    path = tmp_path / "thresholds.toml"
    first = path.read_bytes()
    put(0)
    for kept in history_folder(path).iterdir():
        kept.write_bytes(b"\xff" * 100)
    path.write_bytes(first)  # its curves would be in the history
    assert engine.reload().status == "degraded"
    assert engine.decide(1000).id.startswith("v1:")
    curves_path(path).write_bytes(b"{}")
    late = Engine.load(tmp_path / "perfkit.toml", background=False)
    assert late.health().status == "degraded"
    assert late.decide(1000).source == "default"


def test_tasks_of_an_event_loop_decide_and_record(engine: Engine, put: Callable[[int], None]) -> None:
    async def transfer(number: int) -> Decision:
        decision = engine.decide(1000, pool="ml", session=f"user-{number}")
        await asyncio.sleep(0.001)
        engine.record(decision, 1000, 20_000, session=f"user-{number}")
        return decision

    async def serve() -> list[Decision]:
        found = []
        for _ in range(3):
            found += await asyncio.gather(*(transfer(number) for number in range(50)))
            put(0)
            await asyncio.to_thread(engine.reload)
        return found

    engine.watch(0.02)
    found = asyncio.run(serve())
    by_session = [{decision.variant for decision in found[number::50]} for number in range(50)]
    assert all(len(variants) == 1 for variants in by_session)
    engine.close()
    recorder = engine.health().recorder
    assert recorder is not None
    assert recorder.committed >= 150


def test_settings_that_nobody_can_read_are_told_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "perfkit.toml").mkdir()
    (tmp_path / "thresholds.toml").mkdir()
    with pytest.raises(ConfigError):
        load_perfkit_toml(tmp_path / "perfkit.toml")
    with Engine.load(tmp_path / "perfkit.toml") as engine:
        assert engine.health().status == "degraded"
        assert engine.decide(1000).source == "default"
    assert Engine(Loaded(Settings(), Publication())).decide(1).method
