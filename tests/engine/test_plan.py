"""The plan: which method for which size, in every setting."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from perfkit.config.curves import CodecEntry, CurveKey, CurveSet
from perfkit.config.engine_settings import EngineSettings
from perfkit.config.settings import PoolSettings, Settings
from perfkit.engine.costs import GOALS, Context
from perfkit.engine.decision import ready_decisions
from perfkit.engine.defaults import default_ranges
from perfkit.engine.plan import (
    Cell,
    Publication,
    compile_cell,
    known_contexts,
    known_methods,
)
from perfkit.engine.resolving import UNARY_MESSAGE_BYTES
from perfkit.engine.view import PlanView
from perfkit.schema import SERIALIZATION_FAMILY, SIMPLICITY_ORDER, ZERO_COPY_FAMILY

MIB = 2**20


def compiled(curves: CurveSet | None = None, pool: PoolSettings | None = None, mode: str = "decide", **context) -> Cell:
    settings = Settings(engine=EngineSettings(mode=mode), pools={"default": pool or PoolSettings()})
    return compile_cell(settings, Publication(curves, 7 if curves else None), Context(**context))


def methods(cell: Cell) -> list[str]:
    return [part.method for part in cell.ranges]


def test_the_ranges_follow_the_curves_without_gaps(make_curves) -> None:
    cell = compiled(make_curves())
    assert methods(cell) == ["uds", "shm_pool"]
    assert cell.ranges[0].end_bytes == pytest.approx(150_000, rel=0.15)
    assert cell.ranges[0].start_bytes == 0
    assert cell.ranges[-1].end_bytes == math.inf
    for left, right in itertools.pairwise(cell.ranges):
        assert left.end_bytes == right.start_bytes


def test_a_decision_changes_exactly_at_the_edge(make_curves) -> None:
    cell = compiled(make_curves())
    (edge,), decisions = ready_decisions(cell)
    assert isinstance(edge, int)
    assert cell.at(edge).method == "shm_pool"
    assert cell.at(edge - 1).method == "uds"
    assert [decision.method for decision in decisions] == ["uds", "shm_pool"]


@pytest.mark.parametrize(("goal", "expected"), [("latency", "uds"), ("throughput", "uds"), ("balanced", "shm_pool")])
def test_each_goal_has_its_own_plan(make_curves, goal: str, expected: str) -> None:
    lines = {"uds": (10_000, 0), "shm_pool": (12_000, 0), "grpc": (100_000, 0)}
    processor = {"uds": (90_000, 0), "shm_pool": (20_000, 0), "grpc": (5_000, 0)}
    cell = compiled(make_curves(lines, cpu=processor), PoolSettings(goal=goal))
    assert (cell.goal, cell.at(MIB).method) == (goal, expected)


def test_a_goal_without_its_quantities_falls_back_to_latency_and_says_so(make_curves) -> None:
    cell = compiled(make_curves(), PoolSettings(goal="memory"))
    assert cell.goal == "latency"
    assert any("goal memory" in warning for warning in cell.warnings)
    assert compiled(make_curves(), PoolSettings(goal="latency")).warnings == ()


def test_a_pool_takes_only_its_own_methods(make_curves) -> None:
    assert methods(compiled(make_curves(), PoolSettings(methods=("uds", "grpc")))) == ["uds"]
    assert methods(compiled(make_curves(), PoolSettings(methods=("shm_pool",)))) == ["shm_pool"]


def test_a_pool_whose_methods_this_machine_lacks_takes_what_there_is(make_curves) -> None:
    assert methods(compiled(make_curves(), PoolSettings(methods=("shm_pool",)), available=("uds",))) == ["uds"]


def test_the_simpler_of_two_equals_is_taken_in_the_pools_own_order(make_curves) -> None:
    curves = make_curves({"uds": (10_000, 0.300), "grpc": (10_000, 0.299)}, half_width=0.1)
    assert compiled(curves).at(MIB).method == "uds"
    assert "simpler" in compiled(curves).at(MIB).rule
    assert compiled(curves, PoolSettings(simplicity_order=("grpc", "uds"))).at(MIB).method == "grpc"
    assert compiled(curves, PoolSettings(simplicity_order=("uds", "grpc"), tolerance=0)).at(MIB).method == "grpc"


def test_unary_grpc_ends_below_the_message_limit(make_curves) -> None:
    curves = make_curves({"grpc": (1_000, 0.1), "grpc_stream": (2_000, 0.2)})
    cell = compiled(curves)
    assert methods(cell) == ["grpc", "grpc_stream"]
    assert cell.ranges[0].end_bytes == UNARY_MESSAGE_BYTES
    assert methods(compiled(curves, available=("grpc",))) == ["grpc"]


def test_an_encoding_that_grows_the_payload_lowers_the_message_limit(make_curves) -> None:
    codec = CodecEntry("tensor", "json", "none", 2.0, into_block=False)
    curves = make_curves({"grpc": (1_000, 0.1), "grpc_stream": (2_000, 0.2)}, codecs=(codec,))
    cell = compiled(curves, kind="tensor", format="json")
    assert cell.ranges[0].end_bytes == UNARY_MESSAGE_BYTES / 2


def test_the_message_limit_is_the_one_that_the_method_keeps() -> None:
    common = pytest.importorskip("perfkit.transfer.grpc_common")
    assert common.MAX_MESSAGE_BYTES == UNARY_MESSAGE_BYTES


def test_observe_does_the_default_and_says_what_it_would_do(make_curves) -> None:
    cell = compiled(make_curves(), mode="observe")
    assert cell.at(1000).method == "grpc"
    assert cell.at(1000).advised == "uds"
    assert cell.at(MIB).method == "grpc"
    assert cell.at(MIB).advised == "shm_pool"
    assert cell.at(10 * MIB).method == "shm_pool"
    assert "mode observe" in cell.at(1000).rule
    for left, right in itertools.pairwise(cell.ranges):
        assert left.end_bytes == right.start_bytes


def test_without_evidence_the_defaults_hold(make_curves) -> None:
    for cell in (compiled(), compiled(make_curves({"shm": (1, 1)}), available=("grpc", "shm_pool"))):
        assert cell.at(10 * MIB - 1).method == "grpc"
        assert cell.at(10 * MIB).method == "shm_pool"
        assert cell.at(2**40).method == "shm_pool"
        assert all(part.evidence is None and part.rule.startswith("default") for part in cell.ranges)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_defaults_take_available_methods_of_the_right_family(count: int) -> None:
    for available in itertools.combinations(("mine", *SIMPLICITY_ORDER), count):
        small, large = default_ranges(available)
        assert {small.method, large.method} <= set(available)
        assert (small.method in SERIALIZATION_FAMILY) or not set(available) & set(SERIALIZATION_FAMILY)
        assert (large.method in ZERO_COPY_FAMILY) or not set(available) & set(ZERO_COPY_FAMILY)


def test_methods_of_ones_own_enter_the_plan(make_curves) -> None:
    curves = make_curves({"uds": (10_000, 0.3), "carrier_pigeon": (100, 0.01)})
    publication = Publication(curves, 1)
    assert known_methods(publication) == (*SIMPLICITY_ORDER, "carrier_pigeon")
    (context, *_) = known_contexts(Settings(), publication)
    assert methods(compile_cell(Settings(), publication, context)) == ["carrier_pigeon"]


def test_every_codec_with_evidence_is_shown_once_per_pool_and_signalling(make_curves) -> None:
    settings = Settings(pools={"default": PoolSettings(), "ml": PoolSettings(goal="latency")})
    contexts = known_contexts(settings, Publication(make_curves(), 1))
    names = [(c.pool, c.kind, c.format, c.signalling) for c in contexts]
    assert len(names) == len(set(names)) == 2 * 2 * 2
    assert ("ml", "tensor", "numpy", "grpc") in names


def test_a_plan_shows_the_interval_of_what_it_expects(make_curves) -> None:
    view = PlanView(Publication(), (compiled(make_curves(half_width=0.12), PoolSettings(goal="latency")),))
    expected = [row["expect"] for row in view.to_table().to_plain()]
    assert all("±12%" in text for text in expected)
    assert "±" not in str(PlanView(Publication(), (compiled(),)))


@pytest.mark.parametrize("goal", GOALS)
def test_a_plan_fits_on_a_terminal(make_curves, goal: str) -> None:
    lines = {"grpc": (10_000, 0.1), "grpc_stream": (900_000, 0.01)}
    view = PlanView(Publication(), (compiled(make_curves(lines, half_width=1.5), PoolSettings(goal=goal)),))
    assert max(map(len, str(view).splitlines())) <= 80


def test_settings_and_costs_know_the_same_goals() -> None:
    from perfkit.config.settings import GOALS as NAMES

    assert set(NAMES) == set(GOALS)
    assert dataclasses.asdict(PoolSettings())["goal"] in GOALS


def test_codecs_of_which_only_whole_transfers_are_known_are_contexts_too(make_curves) -> None:
    plain = make_curves()
    own = CurveKey("transport", "latency_ns", "uds", kind="text", format="json", compression="lz4")
    curves = dataclasses.replace(plain, curves={**plain.curves, own: next(iter(plain.curves.values()))})
    before, after = (
        {(one.kind, one.format, one.compression) for one in known_contexts(Settings(), Publication(known))}
        for known in (plain, curves)
    )
    assert after - before == {("text", "json", "lz4")}
