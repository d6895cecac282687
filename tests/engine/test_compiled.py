"""What is compiled and kept is bounded, whatever is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perfkit import Engine
from perfkit.engine import compiled
from perfkit.engine.compiled import Conditions, cell_of, circumstances_of, make_plan
from perfkit.engine.costs import Context


@pytest.fixture
def load(tmp_path: Path) -> Callable[[], Engine]:
    def load() -> Engine:
        (tmp_path / "perfkit.toml").write_text('[pools.default]\n[pools.own]\n[pools."ml-*"]\n')
        return Engine.load(tmp_path / "perfkit.toml", background=False)

    return load


def test_a_very_long_pool_is_decided_by_its_pattern_and_not_kept(load: Callable[[], Engine]) -> None:
    engine, name = load(), "ml-" + "x" * 1_000_000
    engine.decide(1000, pool=name)
    tables = engine._control.tables
    assert not tables.plan.matched_pools
    assert {names[0] for names in tables.cells} == {"ml-*"}


def test_matched_pools_leave_room_for_those_with_a_section(
    load: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_MOST_NAMES", 20)
    monkeypatch.setattr(compiled, "_MOST_MATCHED_NAMES", 10)
    engine = load()
    for number in range(50):
        engine.decide(1000, pool=f"ml-{number}")
    engine.decide(1000, pool="own")
    pools = [names[0] for names in engine._control.tables.cells]
    assert "own" in pools
    assert sum(pool.startswith("ml-") and pool != "ml-*" for pool in pools) == 10


def test_cells_of_conditions_that_are_over_are_dropped_when_there_are_too_many(
    load: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_MOST_CELLS", 10)
    plan = make_plan(load()._control.tables.plan.loaded)
    context = Context(available=plan.methods)
    normal = circumstances_of(plan, "default", Conditions())
    cell = cell_of(plan, context, normal)
    for number in range(30):
        cell_of(plan, context, circumstances_of(plan, "default", Conditions(open_methods=frozenset({str(number)}))))
    assert len(plan.compiled) <= 10
    assert cell_of(plan, context, normal) is cell
