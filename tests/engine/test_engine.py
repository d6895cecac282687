"""The engine: decisions, and that nothing in a file makes it raise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.config.curves import CurveSet
from perfkit.config.settings import PoolSettings, Settings
from perfkit.config.thresholds import curves_path
from perfkit.engine import Engine
from perfkit.engine.loading import Loaded
from perfkit.engine.plan import Publication
from perfkit.errors import InputError, UnknownNameError
from perfkit.workflows.publish import publish

SETTINGS = Settings(pools={"default": PoolSettings(goal="latency"), "ml": PoolSettings(methods=("grpc",))})

FORBIDDEN = {
    "numpy",
    "pyarrow",
    "grpc",
    "duckdb",
    "pandas",
    "polars",
    "sklearn",
    "msgspec",
    "asyncio",
    "rich",
}


class Fitted:
    def __init__(self, curves: CurveSet) -> None:
        self.curves = curves


@pytest.fixture
def engine(make_curves) -> Engine:
    return Engine(Loaded(SETTINGS, Publication(make_curves(), 7, "01RUN"), "thresholds.toml"))


@pytest.fixture
def published(make_curves, tmp_path: Path) -> Path:
    publish(Fitted(make_curves()), path=tmp_path / "thresholds.toml")
    return tmp_path / "perfkit.toml"


def test_decisions_follow_size_and_pool(engine: Engine) -> None:
    assert engine.decide(0).method == "uds"
    assert engine.decide(10**9).method == "shm_pool"
    assert engine.decide(10**9, pool="ml", kind="tensor", format="numpy", session="user-17").method == "grpc"


def test_equal_contexts_give_the_same_object(engine: Engine) -> None:
    assert engine.decide(1000) is engine.decide(1001)
    assert engine.decide(1000) is not engine.decide(1000, kind="tensor", format="numpy")
    assert re.fullmatch(r"v7:default/binary/raw/none/uds~[0-9a-f]{8}#0", engine.decide(1000).id)


@given(payload_bytes=st.integers(0, 2**50))
def test_a_bound_context_decides_as_the_engine_does(make_curves, payload_bytes: int) -> None:
    engine = Engine(Loaded(SETTINGS, Publication(make_curves(), 7)))
    bound = engine.bind(kind="tensor", format="numpy")
    assert bound.decide(payload_bytes) == engine.decide(payload_bytes, kind="tensor", format="numpy")


def test_a_binding_knows_what_the_peer_has_and_where_the_payload_is(engine: Engine) -> None:
    assert engine.bind(available=("grpc",)).decide(1000).method == "grpc"
    assert engine.bind(in_place=True, in_flight=4).decide(1000).id.partition("~")[0].endswith("/in place/4 in flight")
    with pytest.raises(InputError, match="at least one"):
        engine.bind(available=())
    with pytest.raises(InputError, match="1 or more"):
        engine.bind(in_flight=0)


@pytest.mark.parametrize("size", ["1MiB", None, 1.5, float("nan"), True, b"1", [1]])
def test_a_size_of_a_wrong_type_is_refused(engine: Engine, size: object) -> None:
    for decide in (engine.decide, engine.bind().decide):
        with pytest.raises(TypeError, match="payload_bytes"):
            decide(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [-1, -(10**30)])
def test_a_negative_size_is_refused(engine: Engine, size: int) -> None:
    for decide in (engine.decide, engine.bind().decide):
        with pytest.raises(ValueError, match="negative"):
            decide(size)


def test_sizes_of_numpy_are_welcome(engine: Engine) -> None:
    numpy = pytest.importorskip("numpy")
    assert engine.decide(numpy.int64(1000)) is engine.decide(1000)


@pytest.mark.parametrize("name", ["pool", "kind", "format", "compression", "signalling"])
def test_a_name_that_is_no_text_is_refused(engine: Engine, name: str) -> None:
    for call in (lambda **names: engine.decide(1000, **names), engine.bind):
        with pytest.raises(TypeError):
            call(**{name: None})
        with pytest.raises(TypeError):
            call(**{name: ["list"]})


def test_unknown_names_get_the_default_and_are_counted(engine: Engine) -> None:
    assert engine.decide(1000, pool="nobody") is engine.decide(1000)
    assert engine.decide(1000, kind="video", format="numpy") is engine.decide(1000)
    assert engine.decide(1000, signalling="smoke") is engine.decide(1000)
    for number in range(100):
        engine.decide(1000, pool=f"pool-{number}")
    statistics = engine.statistics()
    assert statistics.unknown == {"pool": 101, "codec": 1, "signalling": 1}
    assert "pool 'nobody'" in statistics.unknown_names
    assert len(statistics.unknown_names) == 8
    assert statistics.cells == 1
    assert "unknown pool" in str(statistics)


def test_a_known_payload_that_was_not_measured_is_decided_by_its_transport(engine: Engine) -> None:
    decision = engine.decide(1000, kind="text", format="msgpack", compression="zstd")
    assert decision.method == "uds"
    assert engine.statistics().unknown == {}
    assert "(?)" in str(decision.explain(1000))


def test_a_published_version_is_in_force(published: Path) -> None:
    engine = Engine.load(published)
    assert engine.decide(1000).id.startswith("v1:")
    assert (engine.health().status, engine.health().version) == ("ok", 1)
    assert engine.health().settings_path is None
    other_place = Engine.load(
        published.parent / "sub" / "perfkit.toml", thresholds=published.parent / "thresholds.toml"
    )
    assert other_place.health().version == 1


def test_another_host_is_a_warning(make_curves, tmp_path: Path) -> None:
    publish(Fitted(make_curves(fingerprint={"cpu": "Abacus 3000"})), path=tmp_path / "thresholds.toml", force=True)
    engine = Engine.load(tmp_path / "perfkit.toml")
    (warning,) = engine.health().warnings
    assert "Abacus 3000" in warning
    assert "perfkit run" in warning
    assert warning in str(engine.plan()).replace("\n", " ")
    assert warning in engine.decide(1).explain().to_plain()["warnings"]


def test_nothing_published_means_the_defaults(tmp_path: Path) -> None:
    engine = Engine.load(tmp_path / "perfkit.toml")
    assert engine.health().status == "default"
    assert engine.decide(1000).method == "grpc"
    assert engine.decide(11 * 2**20).id.startswith("default:")


def break_curves(folder: Path) -> None:
    curves_path(folder / "thresholds.toml").write_text("{}")


def remove_curves(folder: Path) -> None:
    curves_path(folder / "thresholds.toml").unlink()


def truncate_thresholds(folder: Path) -> None:
    path = folder / "thresholds.toml"
    path.write_bytes(path.read_bytes()[:100])


def break_settings(folder: Path) -> None:
    (folder / "perfkit.toml").write_text("[pools.default]\ngoal = 'fast'\n")


def make_folder(folder: Path) -> None:
    (folder / "perfkit.toml").mkdir()


@pytest.mark.parametrize("damage", [break_curves, remove_curves, truncate_thresholds, break_settings, make_folder])
def test_a_broken_file_means_the_default_and_is_told(published: Path, damage) -> None:
    damage(published.parent)
    engine = Engine.load(published)
    health = engine.health()
    assert (health.status, health.failures) == ("degraded", 1)
    assert str(published.parent) in health.errors[0]
    assert engine.decide(1000).method in ("grpc", "uds")
    assert f"Error: {health.errors[0]}" in health.to_table().notes
    assert json.loads(json.dumps(health.to_plain()))["status"] == "degraded"


@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_thresholds_file_leaves_an_engine_that_decides(tmp_path_factory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "thresholds.toml").write_bytes(content)
    engine = Engine.load(folder / "perfkit.toml")
    assert engine.decide(1000).method == "grpc"
    assert engine.health().status == "degraded"


def test_curves_that_cannot_be_compiled_mean_the_default_and_are_told(make_curves) -> None:
    curves = make_curves({"uds": (0, 0), "shm_pool": (0, 0)})
    object.__setattr__(next(iter(curves.curves.values())), "pieces", ())
    engine = Engine(Loaded(SETTINGS, Publication(curves, 7)))
    assert engine.decide(1000).method == "grpc"
    assert engine.health().status == "degraded"
    assert "cannot be compiled" in engine.health().errors[0]


def test_threads_agree_while_the_plan_is_compiled(engine: Engine) -> None:
    seen: list[str] = []
    barrier = threading.Barrier(8)

    def decide() -> None:
        barrier.wait()
        seen.extend(engine.decide(size).method for size in (1000, 10**9))

    threads = [threading.Thread(target=decide) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["shm_pool"] * 8 + ["uds"] * 8


def test_the_plan_shows_what_decide_does(engine: Engine) -> None:
    view = engine.plan(pool="default", kind="binary", signalling="uds")
    (table,) = view.to_plain()["tables"]
    assert [(part["method"], part["n"], part["measured"]) for part in table["ranges"]] == [
        ("uds", 90, True),
        ("shm_pool", 90, True),
    ]
    for part in table["ranges"]:
        assert engine.decide(int(part["start_bytes"]) + 1).method == part["method"]
        assert part["low_ns"] < part["expect_ns"] < part["high_ns"]
    assert table["ranges"][0]["crossover_bytes"][0] < table["ranges"][0]["up_to_bytes"]
    assert table["ranges"][-1]["up_to_bytes"] is None
    text = str(view)
    assert "binary/raw, signalling over uds (pool default, goal latency)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "<table>" in view._repr_html_()
    assert len(view.to_table().rows) == 2


def test_the_plan_marks_where_the_simpler_of_two_equals_is_taken(make_curves) -> None:
    curves = make_curves({"uds": (10_300, 0.0), "shm_pool": (10_000, 0.0)}, half_width=0.1)
    text = str(Engine(Loaded(SETTINGS, Publication(curves, 7))).plan(pool="default", kind="binary"))
    assert "uds ≈" in text
    assert "≈: cannot be told apart" in text


def test_the_plan_refuses_names_that_do_not_exist(engine: Engine) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ml'"):
        engine.plan(pool="mll")
    with pytest.raises(UnknownNameError, match="unknown kind"):
        engine.plan(kind="video")


def test_the_plan_of_a_payload_without_evidence_can_be_asked_for(engine: Engine) -> None:
    (table,) = engine.plan(kind="text", format="json").to_plain()["tables"]
    assert (table["kind"], table["format"], table["compression"]) == ("text", "json", "none")
    assert not any(part["measured"] for part in table["ranges"])


def test_a_service_loads_no_analytics_library(published: Path) -> None:
    code = (
        "import sys, perfkit\n"
        f"engine = perfkit.Engine.load({str(published)!r})\n"
        "assert engine.decide(1000).id.startswith('v1:')\n"
        "engine.bind(kind='tensor', format='numpy').decide(10)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert FORBIDDEN.isdisjoint(done.stdout.split())


def test_the_benchmark_prints_its_figures_as_the_last_line() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "decide.py"
    command = [sys.executable, str(script), "--json", "--blocks", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    assert {"p50_ns", "p999_ns", "bound_p50_ns", "empty_call_p50_ns", "n", "blocks"} <= set(figures)
    assert figures["n"] == 100_000
