"""Goals: what is minimised, from which quantities, and what happens without them."""

import math

import numpy as np
import pytest

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, IntervalPoint, Piece
from perfkit.config.pool_settings import Weights
from perfkit.engine.costs import Context, compose, cost_at, cost_difference, method_cost
from perfkit.engine.goals import GOALS, PRESSURE_GOALS, goal_in_force, goal_notes, goal_weights

ARROW = Context(kind="dataframe", format="arrow")
FIGURES = {"latency_ns": 1_000, "cpu_ns": 500, "resident_bytes": 64, "copied_bytes": 128, "setup_ns": 9_000}


@pytest.fixture
def measured(line):
    """A curve set in which `uds` has the given quantities, each a constant of `FIGURES`."""

    def build(*quantities):
        return CurveSet({CurveKey("transport", name, "uds"): line(FIGURES[name], 0) for name in quantities})

    return build


def test_memory_adds_what_is_held_and_what_is_copied(measured):
    assert method_cost(measured(*FIGURES), "uds", Context(), 2000, "memory").value == pytest.approx(64 + 128 + 0.001)
    without = measured("latency_ns", "resident_bytes")
    assert method_cost(without, "uds", Context(), 2000, "memory").value == pytest.approx(64.001)
    assert goal_in_force(without, "memory") == "memory"
    assert "copied bytes not measured" in goal_notes(without, "memory")[0]


def test_balanced_adds_up_its_weights(measured):
    weights = Weights(latency=1.0, cpu=2.0, memory=3.0, copied=4.0, setup=5.0)
    cost = method_cost(measured(*FIGURES), "uds", Context(), 2000, "balanced", weights=weights)
    assert cost.value == pytest.approx(1_000 + 2 * 500 + 3 * 64 + 4 * 128 + 5 * 9_000)
    assert goal_notes(measured(*FIGURES), "balanced", weights) == ()


def test_only_what_has_a_weight_must_have_been_measured(measured):
    weights = Weights(latency=1.0, cpu=0.0)
    assert dict(goal_weights(measured("latency_ns"), "balanced", weights)) == {"latency_ns": 1.0}
    assert goal_in_force(measured("latency_ns"), "balanced", weights) == "balanced"
    heavy = Weights(memory=1.0)
    assert goal_in_force(measured("latency_ns", "cpu_ns"), "balanced", heavy) == "latency"
    assert goal_in_force(measured("latency_ns", "cpu_ns"), "balanced", Weights(latency=0.0, cpu=0.0)) == "latency"


@pytest.mark.parametrize("goal", [*GOALS, *PRESSURE_GOALS])
def test_with_latency_alone_every_goal_gives_a_cost_and_says_what_it_lacks(measured, goal):
    curves = measured("latency_ns")
    assert method_cost(curves, "uds", Context(), 2000, goal).value == 1_000
    assert bool(goal_notes(curves, goal)) == (goal not in ("latency", "throughput"))


def test_setup_that_only_one_method_measured_makes_the_other_an_estimate(line):
    curves = CurveSet(
        {
            CurveKey("transport", "latency_ns", "uds"): line(1_000, 0),
            CurveKey("transport", "latency_ns", "shm_pool"): line(1_000, 0),
            CurveKey("transport", "setup_ns", "shm_pool"): line(5_000, 0),
        }
    )
    weights = Weights(cpu=0.0, latency=1.0, setup=1.0)
    uds, pool = (
        method_cost(curves, name, Context(), 2000, "balanced", weights=weights) for name in ("uds", "shm_pool")
    )
    assert (uds.value, uds.measured) == (1_000, False)
    assert (pool.value, pool.measured) == (6_000, True)


def test_throughput_is_the_slowest_stage(arrow_curves):
    cost = method_cost(arrow_curves, "uds", ARROW, 10_000, "throughput")
    assert dict(cost.parts) == {"encode": 7_000, "transport": 20_000, "decode": 3_000}
    assert cost.value == 20_000
    in_place = method_cost(arrow_curves, "shm_pool", ARROW, 10_000, "throughput")
    assert in_place.value == max(5_000, 12_000, 3_000)


def test_a_shared_slowest_stage_hides_what_methods_differ_in(line):
    codec = {"kind": "dataframe", "format": "arrow", "compression": "none"}
    curves = CurveSet(
        {
            CurveKey("transport", "latency_ns", "uds"): line(10_000, 0, 0.01),
            CurveKey("transport", "latency_ns", "grpc"): line(30_000, 0, 0.01),
            CurveKey("decode", "latency_ns", **codec): line(50_000, 0, 0.1),
        },
        (CodecEntry("dataframe", "arrow", "none", 1.0, False),),
    )
    latency, throughput = (
        cost_difference(*(compose(curves, name, ARROW, goal) for name in ("grpc", "uds")), 2000)
        for goal in ("latency", "throughput")
    )
    assert latency[1] > 0  # surely dearer
    assert throughput == (0.0, 0.0, 0.0)  # and yet no slower, where decoding is what everybody waits for


def test_corrections_multiply_the_times_of_a_transport_alone(arrow_curves, line):
    cost = method_cost(arrow_curves, "uds", ARROW, 10_000, factors={"uds": 2.0, "shm_pool": 9.0})
    assert dict(cost.parts) == {"encode": 7_000, "transport": 40_000, "decode": 3_000}
    curves = CurveSet({CurveKey("transport", name, "uds"): line(value, 0) for name, value in FIGURES.items()})
    memory = method_cost(curves, "uds", Context(), 2000, "memory", factors={"uds": 2.0})
    assert memory.value == pytest.approx(64 + 128 + 0.002)
    assert method_cost(curves, "uds", Context(), 2000, "cpu", factors={"uds": 2.0}).value == 1_000


CASES = {
    "one stage is by far the slowest": ((100, 10, 10), (40, 20, 10)),
    "two stages tie": ((100, 100, 10), (80, 90, 10)),
    "all stages tie": ((100, 100, 100), (100, 100, 100)),
    "the shared stage is nearly the slowest": ((100, 10, 95), (90, 20, 95)),
    "own stages differ, the shared one ties with one": ((120, 60, 100), (100, 70, 100)),
    "another stage is the slowest of either": ((120, 60, 30), (50, 110, 30)),
}
"""True costs of transport, encoding and (shared) decoding of two methods."""


@pytest.mark.parametrize("case", CASES)
def test_intervals_of_slowest_stages_hold_the_truth(case):
    """1000 times, every stage is estimated with an error of 10 %; the true figures lie in 95 % of the intervals."""
    true_costs = np.array(CASES[case], float)
    random = np.random.default_rng(7)
    held = held_difference = 0
    draws = 1000
    for _ in range(draws):
        first, second = stage_compositions(true_costs * np.exp(random.normal(0, 0.1, (2, 3))))
        cost = cost_at(first, 2000)
        held += cost.low <= true_costs[0].max() <= cost.high
        _, low, high = cost_difference(first, second, 2000)
        held_difference += low <= true_costs[0].max() - true_costs[1].max() <= high
    least = 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)
    assert held / draws >= least
    assert held_difference / draws >= least


def stage_compositions(costs):
    """Two methods that encode and move in their own ways, and share the decoding of the first."""
    points = (IntervalPoint(1.0, math.exp(-0.196), math.exp(0.196)),)

    def flat(cost):
        return CostCurve((Piece(0.0, float(cost), 0.0),), points, 1024.0, 2.0**30, 90, 3)

    codec = {"kind": "dataframe", "format": "arrow", "compression": "none"}
    curves = {
        CurveKey("transport", "latency_ns", "uds"): flat(costs[0][0]),
        CurveKey("transport", "latency_ns", "shm_pool"): flat(costs[1][0]),
        CurveKey("encode", "latency_ns", **codec): flat(costs[0][1]),
        CurveKey("encode_into", "latency_ns", **codec): flat(costs[1][1]),
        CurveKey("decode", "latency_ns", **codec): flat(costs[0][2]),
    }
    curve_set = CurveSet(curves, (CodecEntry("dataframe", "arrow", "none", 1.0, True),))
    return [compose(curve_set, method, ARROW, "throughput") for method in ("uds", "shm_pool")]
