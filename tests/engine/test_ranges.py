"""Ranges: where each method wins, and how sure that is."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.config.curves import CostCurve, CurveKey, CurveSet, IntervalPoint, Piece
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.ranges import compile_ranges, range_at
from perfkit.schema import SIMPLICITY_ORDER

LINES = st.dictionaries(
    st.sampled_from(SIMPLICITY_ORDER),
    st.tuples(st.floats(1e3, 1e6), st.floats(1e-3, 10.0), st.floats(0.0, 0.4)),
    min_size=1,
)


def curve_set(lines):
    def curve(fixed, per_byte, half_width):
        points = (IntervalPoint(1.0, 1 - half_width, 1 + half_width),)
        return CostCurve((Piece(0.0, fixed, per_byte),), points, 1024.0, 2.0**30, 90, 3)

    return CurveSet({CurveKey("transport", "latency_ns", method): curve(*line) for method, line in lines.items()})


def test_two_lines_cross_where_algebra_says(transports, line):
    ranges = compile_ranges(transports(uds=line(10_000, 0.3), shm_pool=line(40_000, 0.1)), Context(), tolerance=0)
    assert [part.method for part in ranges] == ["uds", "shm_pool"]
    assert ranges[0].end_bytes == pytest.approx(150_000, rel=0.01)
    assert (ranges[0].start_bytes, ranges[1].end_bytes) == (0, math.inf)
    assert ranges[0].crossover == pytest.approx((150_000, 150_000), rel=0.01)
    assert ranges[1].crossover is None


def test_the_crossover_interval_is_where_the_difference_may_be_zero(transports, line):
    curves = transports(uds=line(10_000, 0.3, 0.1), shm_pool=line(40_000, 0.1, 0.1))
    low, high = compile_ranges(curves, Context(), tolerance=0)[0].crossover
    for edge in (low, high):
        uds, pool = (method_cost(curves, method, Context(), edge) for method in ("uds", "shm_pool"))
        half = math.hypot(uds.value * 0.1, pool.value * 0.1)
        assert abs(uds.value - pool.value) == pytest.approx(half, rel=0.02)
    assert low < 150_000 < high


def test_an_edge_that_the_evidence_does_not_bound_is_open(transports, line):
    curves = transports(uds=line(10_000, 0.30, 0.3), shm_pool=line(10_400, 0.25, 0.3))
    (first, _) = compile_ranges(curves, Context(), tolerance=0.05)
    assert first.crossover == (0.0, math.inf)


def test_a_method_that_wins_nowhere_is_in_no_range(transports, line):
    curves = transports(uds=line(10_000, 0.3), grpc=line(300_000, 2.0))
    (only,) = compile_ranges(curves, Context())
    assert only.method == "uds"
    assert list(only.alternatives) == ["grpc"]


def test_the_simpler_of_two_indistinguishable_methods_is_taken(transports, line):
    curves = transports(uds=line(10_300, 0.103, 0.1), shm_pool=line(10_000, 0.1, 0.1))
    assert [part.method for part in compile_ranges(curves, Context())] == ["uds"]
    other_order = compile_ranges(curves, Context(), simplicity_order=("shm_pool", "uds"))
    assert [part.method for part in other_order] == ["shm_pool"]


def test_a_small_but_certain_loss_is_not_accepted_for_simplicity(transports, line):
    curves = transports(uds=line(10_300, 0.103, 0.001), shm_pool=line(10_000, 0.1, 0.001))
    assert [part.method for part in compile_ranges(curves, Context())] == ["shm_pool"]


def test_noise_does_not_buy_a_real_loss(transports, line):
    curves = transports(uds=line(12_000, 0.12, 0.5), shm_pool=line(10_000, 0.1, 0.5))
    assert [part.method for part in compile_ranges(curves, Context())] == ["shm_pool"]


def test_ignorance_beyond_the_measured_sizes_changes_no_method(transports):
    """Measured, the pool is surely cheaper by 4 %; far beyond, intervals are wide, which is no reason to turn back."""

    def curve(fixed, per_byte):
        points = (IntervalPoint(2.0**20, 0.999, 1.001), IntervalPoint(2.0**31, 0.5, 1.5))
        return CostCurve((Piece(0.0, fixed, per_byte),), points, 1024.0, 2.0**20, 90, 3)

    curves = transports(uds=curve(10_000, 0.104), shm_pool=curve(12_000, 0.1))
    assert [part.method for part in compile_ranges(curves, Context())] == ["uds", "shm_pool"]


def test_a_range_too_thin_to_matter_is_absorbed(transports, line):
    curves = transports(uds=line(10_000, 0.300), grpc=line(24_500, 0.200), shm_pool=line(40_000, 0.100))
    assert [part.method for part in compile_ranges(curves, Context(), tolerance=0.05)] == ["uds", "shm_pool"]


def test_only_available_methods_are_considered(transports, line):
    curves = transports(uds=line(10_000, 0.3), shm_pool=line(40_000, 0.1))
    assert [part.method for part in compile_ranges(curves, Context(available=("shm_pool", "grpc")))] == ["shm_pool"]
    assert compile_ranges(curves, Context(available=("grpc",))) == ()


def test_a_method_of_ones_own_counts_as_less_simple(transports, line):
    curves = transports(mine=line(10_000, 0.1, 0.1), shm=line(10_000, 0.1, 0.1))
    (only,) = compile_ranges(curves, Context(available=("mine", "shm")))
    assert only.method == "shm"


def test_estimates_outside_the_measured_sizes_are_marked(transports, line):
    curves = transports(uds=line(10_000, 0.3), shm_pool=line(10_000 + 0.1 * 2**33, 0.2))
    first, second = compile_ranges(curves, Context(), tolerance=0)
    assert first.end_bytes == pytest.approx(2.0**33, rel=0.01)
    assert (first.measured, second.measured) == (True, False)


@settings(max_examples=40, deadline=None)
@given(LINES)
def test_ranges_cover_every_size_once(lines):
    ranges = compile_ranges(curve_set(lines), Context())
    assert ranges[0].start_bytes == 0
    assert ranges[-1].end_bytes == math.inf
    for before, after in itertools.pairwise(ranges):
        assert before.end_bytes == after.start_bytes
        assert before.method != after.method
        assert before.crossover[0] <= before.end_bytes <= before.crossover[1]


@settings(max_examples=40, deadline=None)
@given(LINES, st.floats(1.0, 2.0**32))
def test_what_is_taken_costs_at_most_the_tolerance_more(lines, payload_bytes):
    curves = curve_set(lines)
    costs = {method: method_cost(curves, method, Context(), payload_bytes).value for method in lines}
    taken = range_at(compile_ranges(curves, Context(), tolerance=0.05), payload_bytes).method
    assert costs[taken] <= min(costs.values()) * 1.06  # edges are refined to 0.2 %, thin ranges absorbed


@settings(max_examples=40, deadline=None)
@given(LINES, st.floats(1.1, 10.0))
def test_a_uniformly_worse_method_changes_no_choice(lines, factor):
    before = compile_ranges(curve_set(lines), Context())
    worse = max(lines, key=SIMPLICITY_ORDER.index)
    fixed, per_byte, half_width = lines[worse]
    more = {**lines, "mine": (fixed * factor, per_byte * factor, half_width)}
    after = compile_ranges(curve_set(more), Context(available=(*SIMPLICITY_ORDER, "mine")))
    assert [part.method for part in after] == [part.method for part in before]


@settings(max_examples=40, deadline=None)
@given(LINES)
def test_the_order_of_the_methods_asked_for_changes_nothing(lines):
    curves = curve_set(lines)
    forwards = compile_ranges(curves, Context(available=SIMPLICITY_ORDER))
    backwards = compile_ranges(curves, Context(available=SIMPLICITY_ORDER[::-1]))
    assert forwards == backwards
