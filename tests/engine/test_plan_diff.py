"""Two plans compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfkit.engine import Engine, diff_plans

RULES = """
[pools.default]
goal = "latency"
[[pools.default.rules]]
when = "bytes > '64MiB'"
use = "grpc_stream"
[pools.ml]
override = "shm_pool"
"""


class Fitted:
    """Anything with curves can be published."""

    def __init__(self, curves) -> None:
        self.curves = curves


@pytest.fixture
def load(tmp_path: Path, make_curves):
    """An engine of settings and published lines."""
    import perfkit

    def build(name: str, settings: str = "", lines=None, **facts) -> Engine:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "perfkit.toml").write_text(settings)
        if lines:
            fitted = Fitted(make_curves(lines, cpu=lines, **facts))
            perfkit.publish(fitted, path=folder / "thresholds.toml", force=True)
        engine = Engine.load(folder / "perfkit.toml", background=False)
        assert engine.health().errors == ()
        return engine

    return build


LINES = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}
SLOW_POOL = {**LINES, "shm_pool": (400_000, 0.1)}


def test_a_plan_does_not_differ_from_itself(load) -> None:
    engine = load("a", RULES, LINES)
    found = diff_plans(engine, engine)
    assert not found
    assert found.to_plain()["changes"] == []
    assert "no size takes another method" in str(found)


def test_a_moved_crossover_shows_the_sizes_between_both_edges_with_their_costs(load) -> None:
    found = diff_plans(load("a", "", LINES), load("b", "", SLOW_POOL))
    (part,) = found.changed[0].ranges
    assert (part.before, part.after) == ("shm_pool", "uds")
    assert (part.source_before, part.source_after) == ("model", "model")
    assert 140_000 < part.start_bytes < 170_000
    assert 1_700_000 < part.end_bytes < 2_200_000
    assert part.start_bytes < part.at_bytes < part.end_bytes
    assert part.cost_after.value < part.cost_before.value
    assert part.effect == pytest.approx(part.cost_after.value / part.cost_before.value - 1)


def test_every_decision_follows_the_diff(load) -> None:
    """What the diff says changes is what changes, size by size, and nothing else does."""
    old, new = load("a", "", LINES), load("b", RULES, SLOW_POOL)
    found = diff_plans(old, new)
    for one in found.contexts:
        names = {name: getattr(one.context, name) for name in ("pool", "kind", "format", "compression", "signalling")}
        for size in [0, 1, *(int(1.37**step) for step in range(70))]:
            before, after = (engine.decide(size, **names).method for engine in (old, new))
            told = [part for part in one.ranges if part.start_bytes <= size < part.end_bytes]
            assert [(part.before, part.after) for part in told] == ([(before, after)] if before != after else [])


def test_a_pool_that_only_one_plan_names_is_compared_with_the_default(load) -> None:
    found = diff_plans(load("a", "", LINES), load("b", RULES, LINES))
    pools = {one.context.pool: one.ranges for one in found.changed}
    assert {part.after for part in pools["ml"]} == {"shm_pool"}
    assert {part.source_after for part in pools["ml"]} == {"override"}
    assert [part.after for part in pools["default"] if part.source_after == "rule"] == ["grpc_stream"]
    assert [part.cost_after for part in pools["default"] if part.source_after == "rule"] == [None]


def test_it_fits_a_terminal_groups_what_is_alike_and_says_why(load) -> None:
    found = diff_plans(load("a"), load("b", RULES, LINES))
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert max(map(len, found.to_table().to_text().splitlines())) <= 80
    assert "more context" in text
    assert len(found.to_tables()) < len(found.changed)
    assert "published curve: the cheapest" in " ".join(text.split())
    assert "<table>" in found._repr_html_()
    assert "shm_pool" in found._repr_html_()
    plain = json.loads(json.dumps(found.to_plain(), allow_nan=False))
    assert plain["changed"]
    assert {part["source_after"] for one in plain["changes"] for part in one["ranges"]} == {"model", "rule", "override"}


def test_where_nothing_was_measured_no_cost_is_shown(load) -> None:
    text = str(diff_plans(load("a"), load("b", RULES)))
    assert "grpc_stream" in text
    assert "unknown" not in text


def test_what_moves_no_range_is_told_in_words(load) -> None:
    settings = "[breaker]\nfailures = 9\n"
    found = diff_plans(load("a"), load("b", settings))
    assert not found.changed
    assert found
    assert any("breaker: defaults → failures = 9" in note for note in found.notes)
