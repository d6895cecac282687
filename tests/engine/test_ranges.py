"""Ranges: where each method wins, and how sure that is."""

import dataclasses
import gc
import itertools
import math
import threading
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, IntervalPoint, Piece
from perfkit.config.pool_settings import Weights
from perfkit.engine.costs import Context, compose, method_cost
from perfkit.engine.memo import Bounded
from perfkit.engine.ranges import (
    CHEAPEST,
    INDISTINGUISHABLE,
    MARGINAL,
    ONLY,
    PENALISED,
    choose,
    compile_ranges,
    range_at,
)
from perfkit.schema import SIMPLICITY_ORDER, ZERO_COPY_FAMILY

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


def test_a_small_benefit_is_not_worth_the_less_simple_method(transports, line):
    """Surely 0 to 20 % dearer: taken where a benefit of up to 10 % is marginal."""
    curves = transports(uds=line(10_000, 0.12, 0.001), shm_pool=line(10_000, 0.1, 0.001))
    sure = compile_ranges(curves, Context(), tolerance=0.0)
    assert [(part.method, part.reason) for part in sure] == [("shm_pool", CHEAPEST)]
    marginal, large = compile_ranges(curves, Context(), tolerance=0.0, margin=0.1)
    assert (marginal.method, marginal.reason, large.method) == ("uds", MARGINAL, "shm_pool")
    assert marginal.end_bytes == pytest.approx(100_000, rel=0.01)


def test_a_range_says_why_its_method_is_taken(transports, line):
    curves = transports(uds=line(10_300, 0.103, 0.1), shm_pool=line(10_000, 0.1, 0.1))
    assert [part.reason for part in compile_ranges(curves, Context())] == [INDISTINGUISHABLE]
    assert [part.reason for part in compile_ranges(curves, Context(available=("shm_pool",)))] == [ONLY]
    penalised = compile_ranges(curves, Context(), simplicity_order=("shm_pool", "uds"), penalties={"shm_pool": 2.0})
    assert [(part.method, part.reason) for part in penalised] == [("uds", PENALISED)]


def test_a_penalised_family_is_taken_only_where_it_costs_at_most_half(transports, line):
    curves = transports(uds=line(10_000, 0.4), shm_pool=line(40_000, 0.1))
    penalties = dict.fromkeys(ZERO_COPY_FAMILY, 2.0)
    before, after = compile_ranges(curves, Context(), tolerance=0.0, penalties=penalties)
    assert (before.method, after.method) == ("uds", "shm_pool")
    edge = before.end_bytes
    costs = {method: method_cost(curves, method, Context(), edge).value for method in ("uds", "shm_pool")}
    assert costs["uds"] == pytest.approx(2 * costs["shm_pool"], rel=0.01)
    assert before.crossover == pytest.approx((edge, edge), rel=0.01)  # of what is compared
    assert after.expected.value == pytest.approx(method_cost(curves, "shm_pool", Context(), after.middle_bytes).value)


def test_corrections_move_the_edge(transports, line):
    curves = transports(uds=line(10_000, 0.3), shm_pool=line(40_000, 0.1))
    first, _ = compile_ranges(curves, Context(), tolerance=0.0, factors={"shm_pool": 1.5})
    assert first.end_bytes == pytest.approx((60_000 - 10_000) / (0.3 - 0.15), rel=0.01)
    assert first.alternatives["shm_pool"].value == pytest.approx(60_000 + 0.15 * first.middle_bytes)


def test_pools_with_the_same_wishes_share_their_ranges(transports, line):
    curves = transports(uds=line(10_000, 0.3), shm_pool=line(40_000, 0.1))
    one = compile_ranges(curves, Context(pool="one"), factors={"uds": 1.0}, weights=Weights())
    assert compile_ranges(curves, Context(pool="two")) is one
    codecs_that_nobody_measured = [Context(kind="text", format="json"), Context(kind="tensor", compression="zstd")]
    first, second = (compile_ranges(curves, context) for context in codecs_that_nobody_measured)
    assert first is second
    assert first[0].end_bytes == one[0].end_bytes
    assert not first[0].measured  # of raw bytes it is
    assert compile_ranges(curves, Context(), tolerance=0.2) is not one
    assert compile_ranges(CurveSet(dict(curves.curves)), Context()) is not one


def test_what_was_compiled_is_gone_with_its_curves(transports, line):
    curves = transports(uds=line(10_000, 0.3), shm_pool=line(40_000, 0.1))
    compile_ranges(curves, Context())
    still_there = weakref.ref(curves)
    del curves
    gc.collect()
    assert still_there() is None


def test_threads_that_compile_the_same_get_the_same(transports, line):
    curves = transports(uds=line(10_000, 0.3), shm_pool=line(40_000, 0.1))
    barrier, found = threading.Barrier(8), []

    def compile_once():
        barrier.wait()
        found.append(compile_ranges(curves, Context()))

    threads = [threading.Thread(target=compile_once) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(ranges) for ranges in found}) == 1


def test_what_is_kept_is_bounded():
    kept = Bounded(10)
    for number in range(1000):
        assert kept.keep(number, str(number)) == str(number)
        assert len(kept) <= 10
    assert kept.get(999) == "999"
    assert kept.get(0) is None
    assert kept.keep(999, "later") == "999"


def test_compiling_gives_way_between_small_pieces_of_work(transports, line):
    """However much there is to do, no more than a few methods or sizes are looked at between two pauses."""
    curves = transports(**{name: line(10_000 + index, 0.1, 0.3) for index, name in enumerate(SIMPLICITY_ORDER)})
    pauses = []
    compile_ranges(curves, Context(), pause=lambda: pauses.append(None))
    assert len(pauses) > 2 * len(SIMPLICITY_ORDER) + 100 / 24
    pauses.clear()
    compile_ranges(curves, Context(), pause=lambda: pauses.append(None))
    assert not pauses  # it was kept


def test_the_evidence_of_a_range_is_what_its_costs_say(arrow_curves):
    context = Context(kind="dataframe", format="arrow")
    for goal in ("latency", "throughput"):
        for part in compile_ranges(arrow_curves, context, goal):
            costs = {
                name: method_cost(arrow_curves, name, context, part.middle_bytes, goal) for name in ("uds", "shm_pool")
            }
            assert part.expected == costs.pop(part.method)
            assert part.alternatives == costs


def test_choosing_at_a_size_agrees_with_the_ranges(arrow_curves):
    context = Context(kind="dataframe", format="arrow")
    compositions = [compose(arrow_curves, name, context) for name in ("uds", "shm_pool")]
    ranges = compile_ranges(arrow_curves, context)
    for part in ranges:
        assert choose(compositions, part.middle_bytes).method == part.method


CURVES = st.tuples(
    st.floats(1e3, 1e6),
    st.floats(1e-3, 10.0),
    st.floats(1e3, 1e8),
    st.floats(0.2, 4.0),
    st.floats(0.0, 0.4),
)
STAGES = st.fixed_dictionaries(dict.fromkeys(("uds", "grpc", "shm_pool", "encode", "encode_into", "decode"), CURVES))


@settings(max_examples=40, deadline=None)
@given(
    STAGES,
    st.sampled_from(["latency", "throughput"]),
    st.sampled_from([0.0, 0.05]),
    st.sampled_from([0.0, 0.15]),
    st.lists(st.floats(1.0, 2.0**32), min_size=5, max_size=5),
    st.permutations(["uds", "grpc", "shm_pool"]),
)
def test_whatever_the_curves_every_size_is_decided_well(stages, goal, tolerance, margin, sizes, order):
    """Kneed curves, a codec, both ways of adding up: no gap, no more loss than allowed, whatever the order."""
    curves, context = codec_set(stages), Context(kind="tensor", format="numpy", available=tuple(order))
    ranges = compile_ranges(curves, context, goal, tolerance=tolerance, margin=margin)
    assert (ranges[0].start_bytes, ranges[-1].end_bytes) == (0, math.inf)
    assert all(before.end_bytes == after.start_bytes for before, after in itertools.pairwise(ranges))
    for size in sizes:
        costs = {method: method_cost(curves, method, context, size, goal).value for method in order}
        taken = range_at(ranges, size).method
        # Edges are refined to 0.2 %, and thin ranges absorbed.
        assert costs[taken] <= min(costs.values()) * (1 + max(tolerance, margin)) * 1.01
    again = CurveSet(curves.curves, curves.codecs)  # nothing is kept of it
    assert (
        compile_ranges(
            again,
            dataclasses.replace(context, available=tuple(sorted(order))),
            goal,
            tolerance=tolerance,
            margin=margin,
        )
        == ranges
    )


def codec_set(stages):
    """Three methods and a codec that writes into blocks, every curve with one knee."""

    def curve(fixed, per_byte, knee, steeper, half_width):
        pieces = (Piece(0.0, fixed, per_byte), Piece(knee, fixed + per_byte * knee * (1 - steeper), per_byte * steeper))
        return CostCurve(pieces, (IntervalPoint(1.0, 1 - half_width, 1 + half_width),), 1024.0, 2.0**30, 90, 3)

    codec = {"kind": "tensor", "format": "numpy", "compression": "none"}
    keys = {
        name: CurveKey(name, "latency_ns", **codec) if "code" in name else CurveKey("transport", "latency_ns", name)
        for name in stages
    }
    curves = {keys[name]: curve(*figures) for name, figures in stages.items()}
    return CurveSet(curves, (CodecEntry("tensor", "numpy", "none", 0.7, True),))
