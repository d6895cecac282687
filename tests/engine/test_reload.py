"""An engine takes over what is published, and keeps the last good plan whatever its files hold meanwhile."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfkit.config.curves import CurveSet
from perfkit.config.settings import Settings
from perfkit.config.thresholds import curves_path, history_folder
from perfkit.engine import Engine, compiled, control
from perfkit.engine.loading import Files, Loaded, Signature, load_files
from perfkit.engine.plan import Publication
from perfkit.engine.watching import settled
from perfkit.errors import InputError
from perfkit.workflows.publish import publish, rollback

UDS_WINS = {"uds": (10_000, 0.1), "grpc": (500_000, 2.0)}
GRPC_WINS = {"uds": (10_000_000, 0.3), "grpc": (5_000, 0.1)}
LATENCY = '[pools.default]\ngoal = "latency"\n'


class Fitted:
    def __init__(self, curves: CurveSet) -> None:
        self.curves = curves


@pytest.fixture
def put(make_curves, tmp_path: Path) -> Callable[..., None]:
    """Publish curves into the folder of the test."""

    def put_lines(lines: dict[str, tuple[float, float]]) -> None:
        publish(Fitted(make_curves(lines)), path=tmp_path / "thresholds.toml", force=True)

    return put_lines


@pytest.fixture
def engine(put, tmp_path: Path) -> Iterator[Engine]:
    """An engine that decides uds by version 1."""
    (tmp_path / "perfkit.toml").write_text(LATENCY)
    put(UDS_WINS)
    engine = Engine.load(tmp_path / "perfkit.toml", background=False)
    yield engine
    engine.close()


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "perfkit-engine"]


def in_use(engine: Engine) -> tuple[str, str, int | None]:
    return engine.decide(1000).method, engine.health().status, engine.health().version


def test_a_reload_takes_over_what_was_published(engine: Engine, put) -> None:
    bound, generation = engine.bind(), engine.generation
    assert in_use(engine) == ("uds", "ok", 1)
    put(GRPC_WINS)
    assert in_use(engine) == ("uds", "ok", 1)
    health = engine.reload()
    assert (health.status, health.version, health.failures) == ("ok", 2, 0)
    assert engine.decide(1000).id.startswith("v2:")
    assert engine.generation > generation
    assert (bound.decide(1000).method, engine.bind().decide(1000).method) == ("grpc", "grpc")
    assert engine.plan().to_plain()["version"] == 2


def test_a_rollback_and_new_settings_are_taken_over_too(engine: Engine, put, tmp_path: Path) -> None:
    put(GRPC_WINS)
    engine.reload()
    rollback(tmp_path / "thresholds.toml", version=1)
    engine.reload()
    assert in_use(engine) == ("uds", "ok", 3)
    (tmp_path / "perfkit.toml").write_text(LATENCY + 'methods = ["grpc"]\n[pools.ml]\n')
    engine.reload()
    assert (engine.decide(1000).method, engine.decide(1000, pool="ml").method) == ("grpc", "grpc")
    assert engine.statistics().unknown == {}


def test_files_that_say_the_same_are_no_new_plan(engine: Engine, tmp_path: Path) -> None:
    decision, generation = engine.decide(1000), engine.generation
    for file in tmp_path.glob("*.*"):
        file.touch()
    engine.reload()
    assert engine.generation == generation
    assert engine.decide(1000) is decision


def test_what_was_in_use_is_compiled_before_the_new_plan_is_taken(
    engine: Engine, put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled on the path of a decision")

    def use() -> set[str]:
        decided = engine.decide(1000, kind="tensor", format="numpy")
        bound = engine.bind(in_place=True), engine.bind(available=("grpc", "uds"), in_flight=4)
        return {decided.id[:2], *(binding.decide(1000).id[:2] for binding in bound)}

    assert use() == {"v1"}
    put(GRPC_WINS)
    engine.reload()
    monkeypatch.setattr(compiled, "compile_cell", refuse)
    assert use() == {"v2"}
    assert engine.health().status == "ok"


def break_thresholds(folder: Path) -> None:
    path = folder / "thresholds.toml"
    path.write_bytes(path.read_bytes()[:200])


def break_curves(folder: Path) -> None:
    curves_path(folder / "thresholds.toml").write_text("{}")


def remove_curves(folder: Path) -> None:
    curves_path(folder / "thresholds.toml").unlink()


def break_settings(folder: Path) -> None:
    (folder / "perfkit.toml").write_text("[pools.default]\ngoal = 'fast'\n")


def remove_settings(folder: Path) -> None:
    (folder / "perfkit.toml").unlink()


def remove_thresholds(folder: Path) -> None:
    (folder / "thresholds.toml").unlink()


DAMAGES = (break_thresholds, break_curves, remove_curves, break_settings, remove_settings, remove_thresholds)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_keeps_the_last_good_plan_until_it_is_good_again(
    engine: Engine, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    decision, generation = engine.decide(1000), engine.generation
    good = {file: file.read_bytes() for file in tmp_path.glob("*.*") if file.is_file()}
    damage(tmp_path)
    health = engine.reload()
    assert (health.status, health.version, health.failures) == ("degraded", 1, 1)
    assert str(tmp_path) in health.errors[0]
    assert health.settings_path == str(tmp_path / "perfkit.toml")
    assert (engine.decide(1000), engine.generation) == (decision, generation)
    assert engine.reload().failures == 2
    for file, content in good.items():
        file.write_bytes(content)
    health = engine.reload()
    assert (health.status, health.errors, health.failures) == ("ok", (), 2)
    assert engine.statistics().failures == 2
    assert engine.decide(1000) is decision


def test_a_file_that_is_gone_is_told_with_what_to_do(engine: Engine, tmp_path: Path) -> None:
    remove_settings(tmp_path)
    (error,) = engine.reload().errors
    assert error.startswith(f"{tmp_path / 'perfkit.toml'}: there is no such file any more")
    assert "put it back, or restart" in error


def test_a_good_file_is_taken_over_beside_a_broken_one(engine: Engine, put, tmp_path: Path) -> None:
    put(GRPC_WINS)
    break_settings(tmp_path)
    assert engine.reload().status == "degraded"
    assert (engine.decide(1000).method, engine.decide(1000).cell.goal) == ("grpc", "latency")
    (tmp_path / "perfkit.toml").write_text(LATENCY + 'methods = ["uds"]\n')
    break_thresholds(tmp_path)
    assert engine.reload().status == "degraded"
    assert (engine.decide(1000).method, engine.health().version) == ("uds", 2)


def test_files_that_appear_are_taken_over(put, tmp_path: Path) -> None:
    engine = Engine.load(tmp_path / "perfkit.toml", background=False)
    assert engine.reload().status == "default"
    assert engine.health().failures == 0
    break_settings(tmp_path)
    assert engine.reload().status == "degraded"
    (tmp_path / "perfkit.toml").write_text(LATENCY)
    put(UDS_WINS)
    assert engine.reload().status == "ok"
    assert in_use(engine) == ("uds", "ok", 1)


def test_a_service_that_started_with_a_broken_file_takes_over_the_repaired_one(put, tmp_path: Path) -> None:
    put(UDS_WINS)
    good = (tmp_path / "thresholds.toml").read_bytes()
    break_thresholds(tmp_path)
    engine = Engine.load(tmp_path / "perfkit.toml", background=False)
    assert in_use(engine) == ("grpc", "degraded", None)
    (tmp_path / "thresholds.toml").write_bytes(good)
    engine.reload()
    assert in_use(engine) == ("uds", "ok", 1)


def test_between_the_two_files_of_a_publication_the_earlier_version_stays_in_force(
    engine: Engine, put, tmp_path: Path
) -> None:
    path = tmp_path / "thresholds.toml"
    first = path.read_bytes()
    put(GRPC_WINS)
    second = path.read_bytes()
    path.write_bytes(first)  # the curves are those of version 2
    assert engine.reload().status == "ok"  # those of version 1 are in the history
    assert in_use(engine) == ("uds", "ok", 1)
    for kept in history_folder(path).glob("*.curves.json"):
        kept.unlink()
    assert engine.reload().status == "degraded"
    assert in_use(engine) == ("uds", "degraded", 1)
    path.write_bytes(second)
    engine.reload()
    assert in_use(engine) == ("grpc", "ok", 2)
    assert engine.health().failures == 1


def test_curves_that_cannot_be_compiled_are_not_put_in_force(
    engine: Engine, put, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a curve without an end")

    assert in_use(engine)[0] == "uds"
    put(GRPC_WINS)
    with monkeypatch.context() as patched:
        patched.setattr(compiled, "compile_cell", fail)
        health = engine.reload()
        assert (health.status, health.version, health.failures) == ("degraded", 1, 1)
        assert "version 2: ZeroDivisionError('a curve without an end')" in health.errors[0]
        assert "perfkit publish --rollback" in health.errors[0]
        assert in_use(engine)[0] == "uds"
    assert engine.reload().status == "ok"
    assert engine.decide(1000).method == "grpc"


def test_whatever_goes_wrong_while_reading_raises_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("too much")

    monkeypatch.setattr(control, "load_files", fail)
    health = engine.reload()
    assert health.status == "degraded"
    assert "MemoryError('too much')" in health.errors[0]
    assert engine.decide(1000).method == "uds"


def test_a_reload_inside_a_reload_keeps_what_is_newer(engine: Engine, put, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal's handler may call it at any moment."""

    def load(files: Files, last: Loaded | None) -> Loaded:
        monkeypatch.undo()
        found = load_files(files, last)
        put(UDS_WINS)
        engine.reload()
        return found

    put(GRPC_WINS)
    monkeypatch.setattr(control, "load_files", load)
    assert engine.reload().version == 3
    assert engine.decide(1000).method == "uds"


def test_an_engine_that_was_made_without_files_has_nothing_to_read(make_curves) -> None:
    engine = Engine(Loaded(Settings(), Publication(make_curves(), 7)))
    assert engine.reload().version == 7
    assert engine.generation == 1
    engine.close()


def test_threads_decide_by_the_earlier_or_the_new_plan_while_it_is_replaced(engine: Engine, put) -> None:
    expected = {1: "uds", 0: "grpc"}  # by the version: odd ones are published with UDS_WINS
    wrong: list[object] = []
    done = threading.Event()

    def use() -> None:
        versions = [0]
        while not done.is_set():
            try:
                generation = engine.generation
                found = engine.decide(1000, kind="tensor", format="numpy"), engine.bind(in_flight=2).decide(1000)
                for decision in found:
                    version = int(decision.id[1 : decision.id.index(":")])
                    if decision.method != expected[version % 2] or version < versions[-1]:
                        wrong.append(decision)
                if engine.generation < generation:
                    wrong.append(generation)
                versions.append(int(found[0].id[1 : found[0].id.index(":")]))
                time.sleep(0.0002)  # whoever publishes needs the interpreter, too
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what must not be
                wrong.append(error)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for lines in (GRPC_WINS, UDS_WINS) * 5:
        put(lines)
        assert engine.reload().status == "ok"
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert (engine.health().version, engine.generation) == (11, 11)


def test_a_watched_engine_takes_over_by_itself(engine: Engine, put, tmp_path: Path, wait_until) -> None:
    engine.watch(0.02)
    put(GRPC_WINS)
    wait_until(lambda: in_use(engine) == ("grpc", "ok", 2))
    break_settings(tmp_path)
    wait_until(lambda: in_use(engine) == ("grpc", "degraded", 2))
    remove_settings(tmp_path)
    wait_until(lambda: "no such file any more" in engine.health().errors[0])
    (tmp_path / "perfkit.toml").write_text(LATENCY)
    wait_until(lambda: in_use(engine) == ("grpc", "ok", 2))
    assert engine.health().failures == 2


def test_what_changed_before_it_is_watched_is_seen(engine: Engine, put, wait_until) -> None:
    put(GRPC_WINS)
    engine.watch(0.02)
    wait_until(lambda: in_use(engine) == ("grpc", "ok", 2))


def test_what_was_reloaded_by_hand_is_not_read_again(engine: Engine, tmp_path: Path) -> None:
    break_settings(tmp_path)
    engine.reload()
    engine.watch(0.02)
    time.sleep(0.3)
    assert engine.health().failures == 1


def test_one_thread_watches_until_it_is_closed(engine: Engine, put, wait_until) -> None:
    engine.watch(60)
    engine.watch(60)
    assert len(watchers()) == 1
    assert watchers()[0].daemon
    engine.close()
    engine.close()
    assert watchers() == []
    assert engine.decide(1000).method == "uds"
    engine.watch(0.02)
    put(GRPC_WINS)
    wait_until(lambda: in_use(engine) == ("grpc", "ok", 2))


def test_an_engine_that_nobody_holds_is_not_kept_by_its_thread(engine: Engine, tmp_path: Path, wait_until) -> None:
    lost = Engine.load(tmp_path / "perfkit.toml", background=False)
    lost.watch(0.02)
    gone = weakref.ref(lost)
    (thread,) = watchers()
    del lost
    gc.collect()
    wait_until(lambda: gone() is None and not thread.is_alive())


@pytest.mark.parametrize("interval_s", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_cannot_be_waited_for_is_refused(engine: Engine, interval_s: float) -> None:
    with pytest.raises(InputError, match=r"interval_s == .* above 0"):
        engine.watch(interval_s)
    assert watchers() == []


def test_a_service_that_goes_to_another_folder_finds_its_files(
    engine: Engine, put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Engine.load("perfkit.toml", background=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    put(GRPC_WINS)
    assert (relative.reload().status, relative.health().version) == ("ok", 2)
    assert relative.health().settings_path == "perfkit.toml"


def test_a_forked_child_of_a_watching_engine_watches_too(engine: Engine, put, tmp_path: Path, wait_until) -> None:
    engine.watch(0.02)
    engine._control.reloading.acquire()  # as if the parent were reloading
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert watchers() == []  # until the child asks
            assert in_use(engine)[0] == "uds"
            assert len(watchers()) == 1
            engine.reload()
            (tmp_path / "watching").touch()
            wait_until(lambda: in_use(engine) == ("grpc", "ok", 2))
            status = 0
        finally:
            os._exit(status)
    engine._control.reloading.release()
    wait_until((tmp_path / "watching").exists)
    put(GRPC_WINS)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    wait_until(lambda: in_use(engine) == ("grpc", "ok", 2))


class Written:
    """Files that are being written: each look finds another signature, as listed; then the last one stays."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.looks = sizes, 0

    def signature(self) -> Signature:
        self.looks += 1
        return ((0, self.sizes[min(self.looks, len(self.sizes)) - 1], 0),)


@pytest.mark.parametrize(
    ("sizes", "looks"), [((7,), 2), ((7, 20, 20), 3), (tuple(range(7, 99)), 6)], ids=["whole", "growing", "without end"]
)
def test_what_is_being_written_is_read_when_it_has_settled(sizes: tuple[int, ...], looks: int) -> None:
    files, waits = Written(*sizes), []
    settled(files, files.signature(), lambda pause_s: bool(waits.append(pause_s)))
    assert files.looks == looks
    assert sum(waits) == pytest.approx(0.1 * (looks - 1))


def test_a_thread_that_is_to_end_does_not_wait_for_whoever_writes() -> None:
    files = Written(7, 20, 20)
    settled(files, files.signature(), lambda pause_s: True)
    assert files.looks == 1


def test_a_binding_of_a_pool_that_appears_later_follows_it(engine: Engine, tmp_path: Path) -> None:
    bound = engine.bind(pool="ml")
    assert bound.decide(1000).method == "uds"
    (tmp_path / "perfkit.toml").write_text(LATENCY + '[pools.ml]\nmethods = ["grpc"]\n')
    engine.reload()
    assert bound.decide(1000).method == "grpc"
    assert bound.decide(1000).cell.context.pool == "ml"


def test_a_forked_child_that_only_decides_by_bindings_follows_the_files(
    engine: Engine, put, tmp_path: Path, wait_until
) -> None:
    bound = engine.bind()
    engine.watch(0.02)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert bound.decide(1000).method == "uds"
            assert len(watchers()) == 1
            (tmp_path / "deciding").touch()
            wait_until(lambda: bound.decide(1000).method == "grpc")
            status = 0
        finally:
            os._exit(status)
    wait_until((tmp_path / "deciding").exists)
    put(GRPC_WINS)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_decision_of_a_binding_is_explained_by_its_id(engine: Engine) -> None:
    bound = engine.bind(in_place=True, in_flight=4)
    decision = bound.decide(1000)
    assert engine.explain(decision.id).decision is decision


def test_a_service_that_starts_with_a_broken_file_logs_it(
    put, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(UDS_WINS)
    break_settings(tmp_path)
    with caplog.at_level("WARNING", "perfkit.engine"):
        Engine.load(tmp_path / "perfkit.toml", background=False)
    assert "the defaults hold in their place" in caplog.text


def test_a_policy_that_was_missing_comes_into_force_with_the_next_reading(
    put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(UDS_WINS)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "perfkit.toml").write_text(
        '[engine]\npolicies = ["late_policies"]\n[pools.default]\ngoal = "latency"\npolicy = "late"\n'
    )
    engine = Engine.load(tmp_path / "perfkit.toml", background=False)
    assert in_use(engine) == ("uds", "degraded", 1)
    (tmp_path / "late_policies.py").write_text(
        "import perfkit\n\n\n@perfkit.policy('late')\ndef late(context, figures):\n    return 'grpc'\n"
    )
    assert engine.reload().status == "ok"
    assert in_use(engine) == ("grpc", "ok", 1)
