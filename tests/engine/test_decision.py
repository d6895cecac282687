"""Decisions explain themselves."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from perfkit.config.curves import CurveKey
from perfkit.config.engine_settings import EngineSettings, ExplorationSettings
from perfkit.config.expressions import parse_expression
from perfkit.config.pool_settings import FixedRange, Rule
from perfkit.config.settings import PoolSettings, Settings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import GOALS, Context
from perfkit.engine.decision import Decision, ready_decisions
from perfkit.engine.exploring import with_trials
from perfkit.engine.plan import Publication, compile_cell


def decide(payload_bytes: int, publication: Publication, pool: PoolSettings) -> Decision:
    cell = compile_cell(Settings(pools={"default": pool}), publication, Context())
    _, decisions = ready_decisions(cell)
    return decisions[cell.ranges.index(cell.at(payload_bytes))]


def test_an_explanation_holds_costs_margin_evidence_and_rule(make_curves) -> None:
    decision = decide(10**6, Publication(make_curves(), 7, "01RUN"), PoolSettings(goal="latency"))
    explanation = decision.explain(10**6)
    assert list(explanation.costs) == ["shm_pool", "uds", "grpc"]
    assert explanation.costs["uds"].cost.value == pytest.approx(310_000)
    assert explanation.margin == pytest.approx(310 / 140 - 1)
    text = str(explanation)
    for part in ("take shm_pool", "310us", "the cheapest", "121% more", "version 7, run 01RUN, 270 observations in 3"):
        assert part in text
    assert "(?)" not in text
    plain = json.loads(json.dumps(explanation.to_plain()))
    assert plain["costs"]["uds"]["cost"]["n"] == 90
    assert plain["method"] == decision.method


def test_balanced_is_said_in_figures(make_curves) -> None:
    cpu = {"uds": (2_000, 0.0), "shm_pool": (1_000, 0.0), "grpc": (3_000, 0.0)}
    publication = Publication(make_curves(cpu=cpu), 7)
    explained = {goal: str(decide(100, publication, PoolSettings(goal=goal)).explain(100)) for goal in GOALS}
    assert "70% of the latency and 30% of both sides' processor time" in explained["balanced"]
    assert not any("both sides" in text for goal, text in explained.items() if goal != "balanced")


def test_without_a_size_the_middle_of_the_range_is_explained(make_curves) -> None:
    decision = decide(10, Publication(make_curves(), 7), PoolSettings(goal="latency"))
    assert 0 < decision.explain().payload_bytes < 150_000
    assert "<table>" in decision.explain()._repr_html_()


def test_beyond_what_was_measured_the_figures_are_estimates(make_curves) -> None:
    decision = decide(2**40, Publication(make_curves(), 7), PoolSettings(goal="latency"))
    assert "(?)" in str(decision.explain(2**40))


def test_a_simpler_method_is_explained_by_what_it_costs(make_curves) -> None:
    curves = make_curves({"uds": (10_300, 0.0), "shm_pool": (10_000, 0.0)}, half_width=0.1)
    decision = decide(100, Publication(curves, 7), PoolSettings(goal="latency"))
    assert decision.method == "uds"
    explanation = decision.explain(100)
    assert explanation.margin == pytest.approx(-0.029, abs=0.001)
    assert "indistinguishable" in str(explanation)
    assert "3% less" in str(explanation)


def test_costs_are_shown_in_the_unit_of_the_goal(make_curves) -> None:
    cpu = {"uds": (2_000_000, 0.0), "shm_pool": (1_000_000, 0.0), "grpc": (3_000_000, 0.0)}
    decision = decide(100, Publication(make_curves(cpu=cpu), 7), PoolSettings(goal="balanced"))
    explanation = decision.explain(100)
    assert (decision.method, explanation.to_table().columns[1]) == ("shm_pool", "balanced")
    assert explanation.costs["shm_pool"].cost.value == pytest.approx(0.7 * 40_010 + 0.3 * 1_000_000)
    assert explanation.costs["shm_pool"].latency.value == pytest.approx(40_010)


def test_a_default_says_that_there_is_no_evidence() -> None:
    explanation = decide(100, Publication(), PoolSettings()).explain(100)
    assert explanation.margin is None
    assert explanation.costs == {}
    for part in ("below 10MiB", "Evidence: none", "perfkit run"):
        assert part in str(explanation)


LINES = {"uds": (100_000, 1.0), "grpc": (103_000, 1.0), "grpc_stream": (105_000, 1.1), "shm_pool": (140_000, 1.2)}
RULES = (
    Rule(parse_expression("bytes > 64MiB and kind == 'binary'"), (), ("uds", "shm_pool"), "rule 1 (bytes > 64MiB)"),
)
CASES = {
    "override": (PoolSettings(override="grpc_stream"), Circumstances()),
    "a rule that avoids": (PoolSettings(rules=RULES, thresholds=(FixedRange(math.inf, "uds"),)), Circumstances()),
    "a policy that nobody registered": (PoolSettings(policy="nobody registered this"), Circumstances()),
    "a state": (PoolSettings(goal="throughput"), Circumstances("cpu_pressure")),
    "everything fails": (
        PoolSettings(),
        Circumstances("arena_exhausted", frozenset({"uds", "grpc_stream"}), (("grpc", 1.3), ("uds", 0.8))),
    ),
    "not trusted": (PoolSettings(), Circumstances(is_trusted=False)),
}


@pytest.mark.parametrize("size", [100, 2**27, 2**33])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["decide", "observe"])
def test_every_explanation_fits_on_a_terminal(make_curves, case: str, mode: str, size: int) -> None:
    pool, now = CASES[case]
    plan = Settings(engine=EngineSettings(mode=mode, confidence=0.9), pools={"default": pool})
    for curves in (make_curves(LINES, half_width=0.2), None):
        cell = compile_cell(plan, Publication(curves, 7 if curves else None, "01RUN"), Context(), now)
        _, decisions = ready_decisions(cell)
        decision = decisions[cell.ranges.index(cell.at(size))]
        exploration = ExplorationSettings(0.05, 1e12)
        (explored, *_) = with_trials(cell, (), (decision,), exploration)[1]
        for one in (decision, explored, *(trial.decision for trial in explored.trials)):
            text = str(one.explain(size))
            assert max(map(len, text.splitlines())) <= 80
            assert f"take {one.method}" in text
            assert "Why: " in text


def test_an_explanation_names_what_is_excluded_and_why() -> None:
    pool, now = CASES["everything fails"]
    cell = compile_cell(Settings(pools={"default": pool}), Publication(), Context(), now)
    text = str(ready_decisions(cell)[1][0].explain(100))
    assert "Excluded: grpc_stream, uds (circuit breaker open)." in text
    assert "Excluded: shm_pool, shm (arena exhausted)." in text
    assert "grpc 1.30 times" in text


@pytest.mark.parametrize("case", CASES)
def test_what_is_expected_is_what_an_explanation_says(make_curves, case: str) -> None:
    pool, now = CASES[case]
    cell = compile_cell(Settings(pools={"default": pool}), Publication(make_curves(LINES), 7), Context(), now)
    for decision in ready_decisions(cell)[1]:
        for size in (0, 1, 100, 2**20, 2**33):
            explained = decision.explain(size).costs.get(decision.method)
            if explained is None:
                assert math.isnan(decision.expected_ns(size))
            else:
                assert decision.expected_ns(size) == pytest.approx(explained.latency.value)


def test_nothing_is_expected_where_nothing_is_published() -> None:
    (decision, *_) = ready_decisions(compile_cell(Settings(), Publication(), Context()))[1]
    assert math.isnan(decision.expected_ns(100))


def test_decisions_under_pressure_follow_the_curves_of_that_state(make_curves) -> None:
    plain = make_curves({"uds": (10_000, 0.3), "shm_pool": (40_000, 0.3)})
    key = CurveKey("transport", "latency_ns", "uds")
    pressed = dataclasses.replace(key, state="cpu_pressure")
    curves = dataclasses.replace(
        plain, curves={**plain.curves, pressed: make_curves({"uds": (900_000, 0.3)}).curves[key]}
    )
    taken = {}
    for state in ("normal", "memory_pressure", "cpu_pressure"):
        cell = compile_cell(Settings(), Publication(curves, 7), Context(), Circumstances(state))
        decision = ready_decisions(cell)[1][0]  # of small sizes
        taken[state] = decision.method
        assert set(decision.explain(100).costs) == {"uds", "shm_pool"}
        assert decision.expected_ns(0) == (40_000 if decision.method == "shm_pool" else 10_000)
    assert taken == {"normal": "uds", "memory_pressure": "uds", "cpu_pressure": "shm_pool"}
