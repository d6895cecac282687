"""Experiments in the engine: sessions keep their variant, are exposed once, and can be freed."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfkit
from perfkit.errors import UnknownNameError
from perfkit.lake import drain, open_lake

FILE = """
[pools.default]
methods = ["uds", "grpc", "shm_pool"]
[pools.ml]
[experiments.by-memory]
pools = ["ml"]
enabled = {enabled}
[experiments.by-memory.variants.A]
share = {share_of_a}
override = "uds"
[experiments.by-memory.variants.B]
share = 0.3
override = "shm_pool"
"""
SESSIONS = [f"user-{number}" for number in range(300)]
METHODS = {"A": "uds", "B": "shm_pool", "": "grpc"}

Load = Callable[..., perfkit.Engine]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(*, enabled: str = "true", share_of_a: float = 0.3) -> perfkit.Engine:
        (tmp_path / "perfkit.toml").write_text(FILE.format(enabled=enabled, share_of_a=share_of_a))
        return perfkit.Engine.load(tmp_path / "perfkit.toml", background=False)

    return load


def variants(engine: perfkit.Engine, decide: Callable[..., Any] | None = None) -> dict[str, str]:
    """The variant of every session, with a method that fits it."""
    found = {}
    for session in SESSIONS:
        decision = decide(100, session) if decide else engine.decide(100, pool="ml", session=session)
        assert decision.method == METHODS[decision.variant]
        assert decision.experiment == ("by-memory" if decision.variant else "")
        found[session] = decision.variant
    return found


def exposures(engine: perfkit.Engine, tmp_path: Path) -> Counter[tuple[str, str]]:
    """What reached the lake: session and variant."""
    engine.close()
    drain(tmp_path / "lake", journal=tmp_path / "data" / "journal")
    rows = open_lake(tmp_path / "lake").decisions.to_pyarrow().to_pylist()
    return Counter((row["session"], row["variant"]) for row in rows if row["reason"] == "exposure")


def test_a_session_keeps_its_variant_by_whatever_way_it_asks_and_when(load: Load) -> None:
    engine = load()
    first = variants(engine)
    assert set(first.values()) == {"A", "B", ""}
    assert variants(engine, engine.bind(pool="ml").decide) == first
    assert variants(load()) == first
    larger = load(share_of_a=0.6)
    assert {(one, two) for one, two in zip(first.values(), variants(larger).values(), strict=True)} == {
        ("A", "A"), ("B", "B"), ("", "A"), ("", "")
    }  # fmt: skip


def test_only_sessions_in_the_pools_of_the_experiment_take_part(load: Load) -> None:
    engine = load()
    for pool, session in itertools.product(("default", "nobody-knows"), (*SESSIONS, None)):
        assert engine.decide(100, pool=pool, session=session).experiment == ""
    assert engine.decide(100, pool="ml").experiment == ""
    with pytest.raises(TypeError, match="session == 17"):
        engine.decide(100, pool="ml", session=17)  # type: ignore[arg-type]


def test_every_session_is_exposed_once_whoever_decides_first(load: Load, tmp_path: Path) -> None:
    engine = load()
    for session in SESSIONS:
        engine.decide(100, session=session)  # not in a pool that takes part
    threads = [threading.Thread(target=variants, args=(engine,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {(session, variant): 1 for session, variant in variants(engine).items() if variant}
    engine.reload()
    variants(engine)
    assert exposures(engine, tmp_path) == expected


def test_the_kill_switch_in_the_file_frees_everybody_and_exposes_nobody(load: Load, tmp_path: Path) -> None:
    never = load(enabled="false")
    assert set(variants(never).values()) == {""}
    assert sum(exposures(never, tmp_path).values()) == 0
    engine = load()
    assert set(variants(engine).values()) == {"A", "B", ""}
    load(enabled="false")
    engine.reload()
    assert set(variants(engine).values()) == {""}


def test_an_experiment_can_be_stopped_in_a_process_and_stays_so_through_a_reload(load: Load) -> None:
    engine = load()
    bound = engine.bind(pool="ml")
    variants(engine)
    engine.stop_experiment("by-memory")
    load(share_of_a=0.2)
    engine.reload()
    assert set(variants(engine).values()) == set(variants(engine, bound.decide).values()) == {""}
    with pytest.raises(UnknownNameError, match="by-memory"):
        engine.stop_experiment("by-memory")
