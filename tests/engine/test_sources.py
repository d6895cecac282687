"""Who is followed: every source, in any order, under rules that forbid and methods that are excluded."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import perfkit
from perfkit.config.curves import CurveSet
from perfkit.config.engine_settings import RESOURCE_STATES, SOURCES, EngineSettings
from perfkit.config.expressions import parse_expression
from perfkit.config.pool_settings import FixedRange, PoolSettings, Rule
from perfkit.config.settings import Settings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context
from perfkit.engine.decision import Decision, ready_decisions
from perfkit.engine.plan import Cell, Publication, compile_cell
from perfkit.engine.policies import _POLICIES
from perfkit.engine.resolving import UNARY_MESSAGE_BYTES
from perfkit.schema import SIMPLICITY_ORDER, ZERO_COPY_FAMILY

KIB, MIB = 2**10, 2**20
EACH = {
    "override": "grpc_stream",
    "rule": "shm",
    "policy": "shm_pool",
    "model": "uds",
    "threshold": "mine",
    "default": "grpc",
}
"""A method of its own for every source, at 1 KiB."""
AVAILABLE = ("grpc", "grpc_stream", "uds", "shm_pool", "shm", "mine")


@pytest.fixture(autouse=True)
def policies() -> Iterator[None]:
    before = dict(_POLICIES)
    perfkit.policy("named")(lambda context, figures: EACH["policy"])
    yield
    _POLICIES.clear()
    _POLICIES.update(before)


def rule(when: str, *, use: tuple[str, ...] = (), avoid: tuple[str, ...] = ()) -> Rule:
    return Rule(parse_expression(when), use, avoid, f"rule ({when})")


def pool_with(sources: set[str]) -> PoolSettings:
    given = {
        "override": {"override": EACH["override"]},
        "rule": {"rules": (rule("bytes >= 0", use=(EACH["rule"],)),)},
        "policy": {"policy": "named"},
        "threshold": {"thresholds": (FixedRange(math.inf, EACH["threshold"]),)},
    }
    changes = {key: value for source in sources & set(given) for key, value in given[source].items()}
    return dataclasses.replace(PoolSettings(goal="latency"), **changes)


def compiled(
    pool: PoolSettings,
    curves: CurveSet | None = None,
    circumstances: Circumstances = Circumstances(),
    *,
    engine: EngineSettings = EngineSettings(confidence=0),
    **context: object,
) -> Cell:
    where = Context(**{"available": AVAILABLE, **context})
    plan = Settings(engine=engine, pools={"default": pool})
    return compile_cell(plan, Publication(curves, 7 if curves else None), where, circumstances)


def decided(cell: Cell, payload_bytes: float) -> Decision:
    _, decisions = ready_decisions(cell)
    return decisions[cell.ranges.index(cell.at(payload_bytes))]


@pytest.mark.parametrize("first", SOURCES)
def test_the_first_in_the_order_of_priority_that_names_a_method_is_followed(make_curves, first: str) -> None:
    curves = make_curves()
    rotated = SOURCES[SOURCES.index(first) :] + SOURCES[: SOURCES.index(first)]
    for priority in (rotated, rotated[::-1], tuple(sorted(SOURCES, key=lambda source: (source != first, source)))):
        engine = EngineSettings(priority=priority, confidence=0)
        silent: set[str] = set()
        for expected in priority:
            speaking = set(SOURCES) - silent
            cell = compiled(pool_with(speaking), curves if "model" in speaking else None, engine=engine)
            decision = decided(cell, KIB)
            assert (decision.source, decision.method) == (expected, EACH[expected])
            named = {loser.source: loser.method for loser in decision.explain(KIB).losers}
            assert named == {source: EACH[source] for source in speaking if source != expected}
            if expected == "default":
                break  # it always names a method
            silent.add(expected)


def test_an_explanation_tells_the_winner_and_the_losers(make_curves) -> None:
    explanation = decided(compiled(pool_with(set(SOURCES)), make_curves()), KIB).explain(KIB)
    plain = json.loads(json.dumps(explanation.to_plain()))
    assert (plain["source"], plain["method"]) == ("override", "grpc_stream")
    assert [loser["source"] for loser in plain["losers"]] == list(SOURCES[1:])
    assert {loser["because"] for loser in plain["losers"]} == {"asked after override"}
    text = " ".join(str(explanation).split())
    for part in ("Why: override", "Not followed: rule, shm (rule (bytes >= 0)), asked after override."):
        assert part in text


def test_losers_are_those_at_the_size_asked_about(make_curves) -> None:
    thresholds = (FixedRange(MIB, "grpc"), FixedRange(math.inf, "shm"))
    cell = compiled(PoolSettings(override="uds", thresholds=thresholds), make_curves())
    (whole,) = cell.ranges
    decision = decided(cell, 1)
    for size, expected in ((MIB - 1, "grpc"), (MIB, "shm")):
        assert [one.method for one in decision.explain(size).losers if one.source == "threshold"] == [expected]
    assert whole.end_bytes == math.inf


@pytest.mark.parametrize(("when", "edge"), [("bytes > 64KiB", 64 * KIB + 1), ("bytes >= 64KiB", 64 * KIB)])
def test_rules_change_exactly_at_their_breakpoint(make_curves, when: str, edge: int) -> None:
    cell = compiled(PoolSettings(rules=(rule(when, use=("shm",)), rule("bytes < 1GiB", use=("mine",)))), make_curves())
    edges, decisions = ready_decisions(cell)
    assert edges[0] == edge
    assert [decision.method for decision in decisions[:2]] == ["mine", "shm"]
    assert cell.at(edge - 1).method == "mine"
    assert cell.at(edge).method == "shm"


def test_a_rule_takes_the_first_of_its_methods_that_can_be_taken() -> None:
    pool = PoolSettings(rules=(rule("bytes >= 0", use=("uds", "shm")), rule("bytes >= 0", use=("mine",))))
    for opened, expected in ((set(), "uds"), ({"uds"}, "shm"), ({"uds", "shm"}, "mine")):
        cell = compiled(pool, circumstances=Circumstances(open_methods=frozenset(opened)))
        assert {part.method for part in cell.ranges} == {expected}
    only = compiled(
        PoolSettings(rules=pool.rules[:1]), circumstances=Circumstances(open_methods=frozenset({"uds", "shm"}))
    )
    (loser, *_) = decided(only, 1).explain(1).losers
    assert "cannot take uds (circuit breaker open), shm (circuit breaker open)" in loser.rule


@pytest.mark.parametrize("source", ["policy", "model", "threshold", "default"])
def test_what_a_rule_avoids_is_avoided_by_every_source_after_rules_and_by_none_before(make_curves, source: str) -> None:
    method = EACH[source]
    avoiding = (rule("bytes >= 1KiB", avoid=(method,)),)
    pool = dataclasses.replace(pool_with({source}), rules=avoiding)
    curves = make_curves() if source == "model" else None
    after, before = (
        compiled(pool, curves),
        compiled(
            pool,
            curves,
            engine=EngineSettings(priority=(source, *(one for one in SOURCES if one != source)), confidence=0),
        ),
    )
    assert after.at(KIB - 1).method == before.at(KIB).method == method
    assert all(part.method != method for part in after.ranges if part.start_bytes >= KIB)
    if source in ("policy", "threshold"):
        (loser,) = [one for one in decided(after, KIB).explain(KIB).losers if one.source == source]
        assert loser.because == "avoided by rule (bytes >= 1KiB)"


def test_observe_does_not_take_by_default_what_a_rule_avoids(make_curves) -> None:
    pool = PoolSettings(rules=(rule("bytes >= 0", avoid=("grpc",)),))
    cell = compiled(pool, make_curves(), engine=EngineSettings(mode="observe"))
    assert cell.at(KIB).method == "grpc_stream"
    assert cell.at(KIB).advised == "uds"
    (said, *_) = decided(cell, KIB).explain(KIB).losers
    assert (said.source, said.method, said.because) == ("model", "uds", "mode observe")


@pytest.mark.parametrize(
    "pool", [PoolSettings(override="grpc"), PoolSettings(rules=(rule("bytes > 1KiB", use=("grpc",)),))]
)
def test_no_source_sends_by_grpc_what_no_message_carries(make_curves, pool: PoolSettings) -> None:
    for curves, engine in itertools.product((None, make_curves()), (EngineSettings(), EngineSettings(mode="observe"))):
        cell = compiled(pool, curves, engine=engine, available=("grpc", "grpc_stream", "uds"))
        assert cell.at(UNARY_MESSAGE_BYTES - 1).method == "grpc" or engine.mode == "observe"
        assert cell.at(UNARY_MESSAGE_BYTES).method != "grpc"
        assert compiled(pool, curves, available=("grpc",)).at(2**40).method == "grpc"
    reasons = [one.because + one.rule for one in decided(compiled(pool, None), 2**32).explain(2**32).losers]
    assert any("larger than a gRPC message" in reason for reason in reasons)


def test_a_rule_of_two_methods_takes_the_second_for_what_no_message_carries() -> None:
    cell = compiled(PoolSettings(rules=(rule("bytes > 1KiB", use=("grpc", "uds")),)))
    assert [(part.end_bytes, part.method) for part in cell.ranges[1:]] == [
        (UNARY_MESSAGE_BYTES, "grpc"),
        (math.inf, "uds"),
    ]


def test_an_exhausted_arena_still_carries_what_was_born_in_it(make_curves) -> None:
    exhausted = Circumstances("arena_exhausted")
    for pool, curves in ((PoolSettings(override="shm_pool"), None), (PoolSettings(), make_curves())):
        copied = compiled(pool, curves, exhausted)
        assert not {part.method for part in copied.ranges} & set(ZERO_COPY_FAMILY)
        assert compiled(pool, curves, exhausted, in_place=True).at(64 * MIB).method == "shm_pool"


methods = st.sampled_from(AVAILABLE)
some = st.lists(methods, min_size=1, max_size=3, unique=True).map(tuple)
sizes = st.sampled_from(["bytes < 1KiB", "bytes > 64KiB", "1KiB <= bytes < 3GiB", "state != 'normal'", "not in_place"])
rules = st.builds(
    lambda when, use, avoid: rule(when, use=use, avoid=avoid),
    sizes,
    st.one_of(st.just(()), some),
    st.one_of(st.just(()), some),
)
pools = st.builds(
    PoolSettings,
    goal=st.sampled_from(["balanced", "latency", "throughput", "memory"]),
    methods=st.one_of(st.none(), some),
    override=st.one_of(st.none(), methods),
    rules=st.lists(rules, max_size=3).map(tuple),
    policy=st.sampled_from([None, "named", "nobody registered this"]),
    thresholds=st.one_of(
        st.just(()), st.builds(lambda one, two: (FixedRange(MIB, one), FixedRange(math.inf, two)), methods, methods)
    ),
    zero_copy_bytes=st.sampled_from([0, 1, 10 * MIB, 2**33]),
)
circumstances = st.builds(
    Circumstances,
    state=st.sampled_from(RESOURCE_STATES),
    open_methods=st.frozensets(methods),
    factors=st.sampled_from([(), (("uds", 1.7),)]),
    is_trusted=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pool=pools,
    now=circumstances,
    available=some,
    priority=st.permutations(SOURCES),
    mode=st.sampled_from(["decide", "observe"]),
    confidence=st.sampled_from([0.0, 0.5, 1.0]),
    in_place=st.booleans(),
    is_published=st.booleans(),
)
def test_whatever_is_asked_for_something_sane_is_taken(
    make_curves, pool, now, available, priority, mode, confidence, in_place, is_published
) -> None:
    engine = EngineSettings(mode=mode, priority=tuple(priority), confidence=confidence)
    curves = make_curves(cpu={"uds": (9_000, 0.2), "shm_pool": (5_000, 0.1)}) if is_published else None
    cell = compiled(pool, curves, now, engine=engine, available=available, in_place=in_place)
    assert cell.ranges[0].start_bytes == 0
    assert cell.ranges[-1].end_bytes == math.inf
    excluded = set(now.exclusions(in_place=in_place))
    wanted = [name for name in available if name in (pool.methods or available)] or list(available)
    after_rules = priority[priority.index("rule") + 1 :]
    for part, following in itertools.zip_longest(cell.ranges, cell.ranges[1:]):
        assert part.start_bytes < part.end_bytes
        assert following is None or part.end_bytes == following.start_bytes
        assert part.method in available
        carried = [name for name in wanted if name != "grpc" or part.start_bytes < UNARY_MESSAGE_BYTES] or wanted
        if part.start_bytes >= UNARY_MESSAGE_BYTES and set(carried) - {"grpc"}:
            assert part.method != "grpc"
        working = [name for name in carried if name not in excluded]
        assert not working or part.method not in excluded
        if part.source in after_rules:
            values = {"bytes": part.start_bytes, "state": now.state, "in_place": in_place}
            avoided = {name for one in pool.rules if one.when.holds(values) for name in one.avoid}
            assert part.method not in avoided or not set(working or carried) - avoided
    for decision in ready_decisions(cell)[1]:
        assert decision.explain().decision is decision
        assert len(json.dumps(decision.explain().to_plain()))


def test_the_methods_of_these_tests_are_all_there_are() -> None:
    assert set(SIMPLICITY_ORDER) <= set(AVAILABLE)
    assert set(EACH) == set(SOURCES)
