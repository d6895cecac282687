"""Exploration: known probabilities, only what is plausible, within a budget; probes of what failed."""

from __future__ import annotations

import bisect
import dataclasses
import math
import random
from collections import Counter
from typing import Any

import pytest

import perfkit
from perfkit.config.engine_settings import BreakerSettings, EngineSettings, ExplorationSettings
from perfkit.config.experiments import Experiment, Variant
from perfkit.config.expressions import parse_expression
from perfkit.config.pool_settings import FixedRange, PoolSettings, Rule
from perfkit.config.settings import Settings
from perfkit.engine import engine as engine_module
from perfkit.engine.compiled import Arms, Conditions, Learned, Ready, make_plan, make_ready
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.decision import Decision
from perfkit.engine.exploring import Budget
from perfkit.engine.loading import Loaded
from perfkit.engine.outcomes.breaker import Breakers
from perfkit.engine.plan import Publication
from perfkit.engine.resolving import UNARY_MESSAGE_BYTES

KIB, MIB = 2**10, 2**20
CLOSE = {"uds": (10_000, 1.0), "grpc": (11_000, 1.1), "grpc_stream": (12_000, 1.2), "shm_pool": (90_000, 9.0)}
"""All but shm_pool are within 1.5 times of uds, at every size."""
RATE = 0.3
SECOND = 10**9


def loaded(
    curves: Any, exploration: ExplorationSettings | None = None, experiments: tuple[Experiment, ...] = (), **pool: Any
) -> Loaded:
    tried = exploration or ExplorationSettings(RATE, 1e12)
    wanted = PoolSettings(**{"goal": "latency", **pool})
    plan = Settings(
        engine=EngineSettings(exploration=tried, confidence=0), pools={"default": wanted}, experiments=experiments
    )
    return Loaded(plan, Publication(curves, 7 if curves else None))


def ready(files: Loaded, conditions: Conditions | None = None, learned: Learned | None = None) -> Ready:
    plan = make_plan(files, learned=learned or Learned())
    return make_ready(plan, Context(), conditions or Conditions(exploring=True), strict=True)


def at(table: Ready, payload_bytes: int) -> Decision:
    return table[1][bisect.bisect_right(table[0], payload_bytes)]


def tried(decision: Decision) -> set[str]:
    return {trial.decision.method for trial in decision.trials}


def test_propensities_add_up_to_1_in_every_range(make_curves) -> None:
    edges, decisions, chance, _ = ready(loaded(make_curves(CLOSE)))
    assert len(decisions) == len(edges) + 1
    assert chance == RATE
    for decision in decisions:
        assert decision.trials
        total = decision.propensity + math.fsum(trial.decision.propensity for trial in decision.trials)
        assert total == pytest.approx(1)
        assert len({trial.decision.id for trial in decision.trials} | {decision.id}) == len(decision.trials) + 1
        assert {trial.decision.source for trial in decision.trials} == {"exploration"}


def test_only_what_is_plausible_is_tried(make_curves) -> None:
    curves = make_curves(CLOSE)
    assert tried(at(ready(loaded(curves)), KIB)) == {"grpc", "grpc_stream"}
    for max_cost, expected in ((1.0, set()), (1.15, {"grpc"}), (100, {"grpc", "grpc_stream", "shm_pool"})):
        decision = at(ready(loaded(curves, ExplorationSettings(RATE, 1e12, max_cost))), KIB)
        assert tried(decision) == expected
        assert (decision.propensity < 1) == bool(expected)
        for trial in decision.trials:
            cost = method_cost(curves, trial.decision.method, Context(), trial.at_bytes)
            taken = method_cost(curves, "uds", Context(), trial.at_bytes)
            assert cost is not None
            assert taken is not None
            assert trial.excess_ns == pytest.approx(cost.value - taken.value)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ({"override": "uds"}, set()),
        ({"rules": (Rule(parse_expression("bytes < 1MiB"), ("uds",), (), "rule 1"),)}, set()),
        ({"rules": (Rule(parse_expression("bytes < 1MiB"), (), ("grpc",), "rule 1"),)}, {"grpc_stream"}),
        ({"methods": ("uds", "grpc")}, {"grpc"}),
        ({"methods": ("uds",)}, set()),
    ],
)
def test_nothing_is_tried_that_people_do_not_want(make_curves, pool: dict[str, Any], expected: set[str]) -> None:
    assert tried(at(ready(loaded(make_curves(CLOSE), **pool)), KIB)) == expected


def test_what_a_rule_avoids_for_some_sizes_is_tried_for_none_of_the_same_range(make_curves) -> None:
    avoiding = (Rule(parse_expression("bytes > 1MiB"), (), ("grpc",), "rule 1"),)
    files = loaded(make_curves(CLOSE), rules=avoiding, thresholds=(FixedRange(math.inf, "uds"),))
    engine = dataclasses.replace(
        files.settings.engine, priority=("override", "rule", "threshold", "policy", "model", "default")
    )
    files = dataclasses.replace(files, settings=dataclasses.replace(files.settings, engine=engine))
    table = ready(files)
    assert len(table[1]) == 1
    assert tried(table[1][0]) == {"grpc_stream"}


def test_nothing_is_tried_that_fails_or_that_nothing_is_known_about(make_curves) -> None:
    curves = make_curves(CLOSE)
    failing = Conditions(open_methods=frozenset({"grpc"}), exploring=True)
    assert tried(at(ready(loaded(curves), failing), KIB)) == {"grpc_stream"}
    assert not tried(at(ready(loaded(None)), KIB))
    assert not tried(at(ready(loaded(curves), Conditions(exploring=False)), KIB))
    doubted = Learned(untrusted=frozenset({"default"}))
    files = loaded(curves, thresholds=(FixedRange(math.inf, "uds"),))
    assert not tried(at(ready(files, learned=doubted), KIB))
    assert tried(at(ready(files), KIB))
    assert ready(loaded(curves, ExplorationSettings(0.0)))[2] == 0


def test_no_message_is_tried_that_grpc_does_not_carry(make_curves) -> None:
    table = ready(loaded(make_curves(CLOSE)))
    assert "grpc" in tried(at(table, UNARY_MESSAGE_BYTES - 1))
    assert tried(at(table, UNARY_MESSAGE_BYTES)) == {"grpc_stream"}
    large = at(table, UNARY_MESSAGE_BYTES)
    assert large.propensity + math.fsum(trial.decision.propensity for trial in large.trials) == pytest.approx(1)


def test_a_trial_that_costs_more_than_the_budget_of_a_second_is_not_made(make_curves) -> None:
    table = ready(loaded(make_curves({"uds": (10_000, 1.0), "grpc": (11_000, 1.1)}), ExplorationSettings(RATE, 500.0)))
    assert not any(tried(decision) for decision in table[1])
    assert table[2] == 0


def test_an_explanation_of_a_trial_says_what_it_takes_the_place_of(make_curves) -> None:
    (trial, *_) = at(ready(loaded(make_curves(CLOSE))), KIB).trials
    text = " ".join(str(trial.decision.explain(KIB)).split())
    assert "In place of: model, uds (published curve: the cheapest)." in text
    assert f"taken with probability {RATE / 2:.3g}" in text


def test_the_engine_explores_as_often_as_it_says(make_curves, monkeypatch) -> None:
    generator = random.Random(6)
    monkeypatch.setattr(engine_module, "random", generator.random)
    monkeypatch.setattr("perfkit.engine.control.random", generator.random)
    engine = perfkit.Engine(loaded(make_curves(CLOSE)))
    engine._control.swap(conditions=Conditions(exploring=True))  # as its thread would
    times = 20_000
    found = Counter((decision.method, decision.propensity) for decision in (engine.decide(KIB) for _ in range(times)))
    engine.close()
    assert {method for method, _ in found} == {"uds", "grpc", "grpc_stream"}
    assert len(found) == 3
    for (_, propensity), count in found.items():
        spread = math.sqrt(times * propensity * (1 - propensity))
        assert abs(count - times * propensity) < 4.5 * spread


def test_a_budget_stops_exploring_and_fills_again() -> None:
    budget = Budget(1_000.0)
    assert budget.allows(0, was_exploring=True)
    budget.spend(600.0)
    assert budget.allows(0, was_exploring=True)
    budget.spend(600.0)
    assert not budget.allows(0, was_exploring=True)
    assert not budget.allows(SECOND // 4, was_exploring=False)  # 50 of 1000: more than nothing, less than half
    assert budget.allows(SECOND, was_exploring=False)
    assert budget.allows(10 * SECOND, was_exploring=True)
    budget.spend(1_100.0)
    assert not budget.allows(10 * SECOND, was_exploring=True)  # what is not spent is not saved up
    assert budget.total_spent_ns == 2_300
    assert not Budget(0.0).allows(SECOND, was_exploring=True)


def test_a_budget_survives_a_clock_that_jumps_back() -> None:
    budget = Budget(1_000.0)
    assert budget.allows(10 * SECOND, was_exploring=True)
    budget.spend(2_000.0)
    assert not budget.allows(0, was_exploring=True)
    assert budget.allows(2 * SECOND, was_exploring=False)


def test_a_probe_is_possible_exactly_where_the_method_would_be_taken(make_curves) -> None:
    curves = make_curves()  # uds and shm_pool cross at 150 000 bytes
    half_open = Conditions(open_methods=frozenset({"shm_pool"}), probing=frozenset({"shm_pool"}))
    table = ready(loaded(curves), half_open)
    whole = ready(loaded(curves), Conditions())
    assert table[2] == 1.0
    assert table[0] == whole[0]
    for size in (1, KIB, whole[0][0] - 1, whole[0][0], MIB, 2**40):
        decision = at(table, size)
        assert decision.method == "uds"
        assert tried(decision) == ({"shm_pool"} if at(whole, size).method == "shm_pool" else set())
        for trial in decision.trials:
            assert (trial.decision.source, trial.decision.propensity) == ("probe", 1.0)
            assert "half open" in str(trial.decision.explain(size))


def test_nothing_is_probed_that_is_taken_nowhere(make_curves) -> None:
    half_open = Conditions(open_methods=frozenset({"grpc"}), probing=frozenset({"grpc"}), exploring=True)
    table = ready(loaded(make_curves(CLOSE)), half_open)
    assert table[2] == RATE
    assert tried(at(table, KIB)) == {"grpc_stream"}


def test_one_decision_probes_a_method_whose_breaker_is_half_open(make_curves) -> None:
    files = loaded(make_curves(), ExplorationSettings())
    engine = perfkit.Engine(files)
    now = 0
    breakers = engine._control.feedback.breakers = Breakers(BreakerSettings(failures=1), lambda: now)
    breakers.record_failure("shm_pool", "OSError")
    now = 61 * SECOND
    conditions = Conditions(open_methods=frozenset({"shm_pool"}), probing=breakers.half_open())
    engine._control.swap(conditions=conditions)
    methods = Counter(engine.decide(MIB).source for _ in range(20))
    engine.close()
    assert methods == {"model": 19, "probe": 1}


def test_variants_have_their_changes_ids_and_names(make_curves) -> None:
    variants = (
        Variant("A", 0.4),
        Variant("B", 0.4, {"rules": (Rule(parse_expression("bytes > 1MiB"), ("grpc",), (), "rule B"),)}),
        Variant("C", 0.1, {"thresholds": (FixedRange(math.inf, "shm"),), "override": "shm_pool"}),
    )
    files = loaded(make_curves(CLOSE), ExplorationSettings(), (Experiment("by-rule", variants),), override=None)
    plain = ready(files)
    arms = plain[3]
    assert isinstance(arms, Arms)
    found = [at(table, 2 * MIB) for table in arms.ready]
    assert [decision.method for decision in found] == ["uds", "grpc", "shm_pool", "uds"]
    assert [decision.variant for decision in found] == ["A", "B", "C", ""]
    assert [decision.experiment for decision in found] == ["by-rule"] * 3 + [""]
    assert len({decision.id for decision in found}) == 4
    assert at(plain, 2 * MIB).id == found[-1].id
    assert "Experiment by-rule, variant B." in str(found[1].explain())
    assert found[2].explain().to_plain()["variant"] == "C"
    assert [loser.method for loser in found[2].explain(2 * MIB).losers] == ["uds", "shm", "grpc"]


def test_cells_that_differ_in_nothing_that_matters_share_their_ranges(make_curves) -> None:
    curves = make_curves(CLOSE)
    pools = {name: PoolSettings(goal="latency") for name in ("default", *map(str, range(20)))}
    files = Loaded(Settings(pools=pools), Publication(curves, 7))
    plan = make_plan(files)
    for pool in pools:
        for kind in ("tensor", "dataframe", "binary", "text"):
            for signalling in ("uds", "grpc"):
                make_ready(plan, Context(pool, kind, "pickle", "zstd", signalling), Conditions(), strict=True)
    cells = list(plan.compiled.values())
    assert len(cells) == 21 * 4 * 2
    assert len({id(cell.ranges) for cell in cells}) == 2  # one per signalling
    assert len({id(cell.circumstances) for cell in cells}) == 1
