"""Composition: encode + transport + decode, from whatever curves there are."""

import dataclasses

import pytest

from perfkit.config.curves import CodecEntry, CurveKey, CurveSet
from perfkit.engine.costs import GOALS, Context, compose, cost_difference, goal_weights, method_cost
from perfkit.engine.ranges import compile_ranges
from perfkit.errors import UnknownNameError

ARROW = Context(kind="dataframe", format="arrow")


def test_plain_bytes_cost_their_transport_alone(transports, line):
    cost = method_cost(transports(uds=line(10_000, 0.5)), "uds", Context(), 1000)
    assert cost.value == 10_500
    assert dict(cost.parts) == {"encode": 0, "transport": 10_500, "decode": 0}
    assert cost.measured is False  # 1000 bytes are below the smallest measured size
    assert method_cost(transports(uds=line(10_000, 0.5)), "uds", Context(), 2000).measured


def test_serialization_family_encodes_and_moves_the_wire_bytes(arrow_curves):
    cost = method_cost(arrow_curves, "uds", ARROW, 10_000)
    assert dict(cost.parts) == {"encode": 7_000, "transport": 10_000 + 0.5 * 20_000, "decode": 3_000}
    assert cost.value == 30_000
    assert cost.n == 50  # of the thinnest part


def test_zero_copy_family_encodes_into_the_block(arrow_curves):
    cost = method_cost(arrow_curves, "shm_pool", ARROW, 10_000)
    assert dict(cost.parts) == {"encode": 5_000, "transport": 12_000, "decode": 3_000}


def test_a_payload_born_in_a_block_is_not_encoded(arrow_curves):
    cost = method_cost(arrow_curves, "shm_pool", dataclasses.replace(ARROW, in_place=True), 10_000)
    assert dict(cost.parts) == {"encode": 0, "transport": 12_000, "decode": 3_000}
    copied = method_cost(arrow_curves, "uds", dataclasses.replace(ARROW, in_place=True), 10_000)
    assert copied.parts["encode"] == 7_000  # other methods still have to encode it


def test_half_widths_of_parts_are_added_in_quadrature(arrow_curves):
    cost = method_cost(arrow_curves, "uds", ARROW, 10_000)
    half = (2_000**2 + 1_500**2) ** 0.5
    assert (cost.low, cost.high) == pytest.approx((30_000 - half, 30_000 + half))


def test_shared_parts_cancel_in_a_difference(arrow_curves):
    uds, pool = (compose(arrow_curves, method, ARROW) for method in ("uds", "shm_pool"))
    difference, low, high = cost_difference(uds, pool, 10_000)
    half = (2_000**2 + 500**2 + 600**2) ** 0.5  # the decode's 1 500 is in neither
    assert (difference, low, high) == pytest.approx((10_000, 10_000 - half, 10_000 + half))


def test_a_codec_nobody_measured_costs_nothing_and_is_an_estimate(transports, line):
    cost = method_cost(transports(uds=line(10_000, 0.5)), "uds", ARROW, 2000)
    assert cost.value == 11_000
    assert not cost.measured


def test_an_unknown_method_has_no_evidence(arrow_curves):
    assert method_cost(arrow_curves, "grpc", ARROW, 1000) is None


def test_signalling_is_looked_up_before_the_wildcard(line):
    def key(signalling):
        return CurveKey("transport", "latency_ns", "shm_pool", signalling, "copied")

    curves = CurveSet({key("uds"): line(1, 0), key("*"): line(3, 0)})
    assert method_cost(curves, "shm_pool", Context(), 2000).value == 1
    assert method_cost(curves, "shm_pool", Context(signalling="grpc"), 2000).value == 3
    only_uds = CurveSet({key("uds"): line(1, 0)})
    assert method_cost(only_uds, "shm_pool", Context(signalling="grpc"), 2000) is None


def test_another_load_or_placement_stands_in_as_an_estimate(transports, line):
    curves = transports(shm_pool=line(12_000, 0.3))
    for context in (Context(in_flight=16), Context(in_place=True)):
        cost = method_cost(curves, "shm_pool", context, 2000)
        assert (cost.value, cost.measured) == (12_600, False)


def test_encode_stands_in_for_encode_into(line):
    codec = {"kind": "dataframe", "format": "arrow", "compression": "none"}
    curves = CurveSet(
        {
            CurveKey("transport", "latency_ns", "shm_pool", placement="in_place"): line(12_000, 0),
            CurveKey("encode", "latency_ns", **codec): line(5_000, 0),
        },
        (CodecEntry("dataframe", "arrow", "none", 1.0, True),),
    )
    cost = method_cost(curves, "shm_pool", ARROW, 2000)
    assert (cost.value, cost.measured) == (17_000, False)


def test_goals_weigh_their_quantities(line):
    figures = {"latency_ns": 1_000, "cpu_ns": 500, "resident_bytes": 64}
    curves = CurveSet({CurveKey("transport", name, "uds"): line(value, 0) for name, value in figures.items()})
    expected = {"latency": 1_000, "throughput": 1_000, "balanced": 850, "memory": 64.001, "cpu": 500}
    for goal, cost in expected.items():
        assert method_cost(curves, "uds", Context(), 2000, goal).value == pytest.approx(cost)


def test_goals_fall_back_to_latency_without_their_quantities(transports, line):
    curves = transports(uds=line(1_000, 0))
    for goal in GOALS:
        assert goal_weights(curves, goal) == {"latency_ns": 1.0}


def test_codec_latency_stands_in_for_processor_time(arrow_curves, line):
    curves = dict(arrow_curves.curves)
    curves[CurveKey("transport", "cpu_ns", "uds", placement="copied")] = line(8_000, 0)
    cost = method_cost(CurveSet(curves, arrow_curves.codecs), "uds", ARROW, 10_000, "cpu")
    assert (cost.value, cost.measured) == (8_000 + 7_000 + 3_000, False)


def test_an_unknown_goal_is_refused_with_the_known_ones(transports, line):
    with pytest.raises(UnknownNameError, match=r"unknown goal 'latancy'.*Did you mean 'latency'"):
        method_cost(transports(uds=line(1, 0)), "uds", Context(), 2000, "latancy")


TENSOR = Context(kind="tensor", format="numpy")
BY_UDS = CurveKey("transport", "latency_ns", "uds", placement="copied")


def test_a_codecs_own_transport_comes_before_the_one_for_any_codec(transports, line):
    own = dataclasses.replace(BY_UDS, kind="tensor", format="numpy", compression="none")
    curves = CurveSet({**transports(uds=line(10_000, 0.5)).curves, own: line(7_000, 0.5)})
    assert method_cost(curves, "uds", TENSOR, 2000).value == 8_000
    assert method_cost(curves, "uds", Context(), 2000).value == 11_000
    assert method_cost(curves, "uds", dataclasses.replace(TENSOR, in_flight=4), 2000).value == 8_000


def test_a_transport_at_the_load_asked_for_comes_before_the_codecs_own_at_another(transports, line):
    own = dataclasses.replace(BY_UDS, kind="tensor", format="numpy", compression="none")
    loaded = dataclasses.replace(BY_UDS, in_flight=4)
    curves = CurveSet({BY_UDS: line(10_000, 0), own: line(7_000, 0), loaded: line(30_000, 0)})
    assert method_cost(curves, "uds", dataclasses.replace(TENSOR, in_flight=4), 2000).value == 30_000


def test_codecs_that_nobody_measured_are_told_apart_where_their_transports_are(line):
    own = {"kind": "text", "format": "raw", "compression": "none"}
    by_pool = dataclasses.replace(BY_UDS, method="shm_pool")
    curves = CurveSet(
        {
            BY_UDS: line(10_000, 0.5),
            by_pool: line(20_000, 0.5),
            dataclasses.replace(BY_UDS, **own): line(40_000, 0.5),
            dataclasses.replace(by_pool, **own): line(15_000, 0.5),
        }
    )
    for context, method in ((Context(), "uds"), (Context(kind="text"), "shm_pool"), (Context(kind="tensor"), "uds")):
        assert [one.method for one in compile_ranges(curves, context)] == [method]


def test_curves_of_one_state_alone_say_nothing_of_others(line):
    pressed = dataclasses.replace(BY_UDS, state="memory_pressure")
    curves = CurveSet({pressed: line(10_000, 0.5)})
    assert method_cost(curves, "uds", Context(), 2000) is None
    assert method_cost(curves.in_state("memory_pressure"), "uds", Context(), 2000).value == 11_000
