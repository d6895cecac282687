"""What a model says survives as curves, and engines follow them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.config.curves import CodecEntry, CostCurve, CurveKey, CurveSet, Evidence, IntervalPoint, Piece
from perfkit.config.settings import Settings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.decision import ready_decisions
from perfkit.engine.plan import Publication, compile_cell
from perfkit.errors import InputError
from perfkit.learn.models.distilling import TOLERANCE, distil
from perfkit.learn.pieces import straight_pieces

LINES = {"uds": (30e3, 0.3), "shm_pool": (60e3, 0.1), "grpc": (300e3, 2.0)}
ARROW = ("dataframe", "arrow", "none")
RAW = ("binary", "raw", "none")
LOW, HIGH = 1024.0, 2.0**26
COSTS = st.floats(0, 1e9)


def straight(fixed: float, per_byte: float) -> CostCurve:
    return CostCurve((Piece(0, fixed, per_byte),), (IntervalPoint(1024, 0.95, 1.05),), LOW, HIGH, n=90, launches=3)


def fitted(loads: tuple[int, ...] = (1,), targets: tuple[str, ...] = ("latency_ns",)) -> CurveSet:
    """Three methods, raw bytes and a codec that writes straight into a block."""
    curves = {}
    for target, load, (method, line) in itertools.product(targets, loads, LINES.items()):
        signallings = ("uds", "grpc") if method == "shm_pool" else ("*",)
        for signalling in signallings:
            extra = 250e3 if signalling == "grpc" else 0.0
            key = CurveKey("transport", target, method, signalling, "copied", load)
            curves[key] = straight(line[0] * load + extra, line[1])
            if method == "shm_pool":
                curves[dataclasses.replace(key, placement="in_place")] = straight(line[0] * load + extra, 0.001)
    codec = {"kind": ARROW[0], "format": ARROW[1], "compression": ARROW[2]}
    for target, (stage, line) in itertools.product(
        targets, (("encode", (9e3, 0.05)), ("encode_into", (9e3, 0.05)), ("decode", (4e3, 0.0)))
    ):
        curves[CurveKey(stage, target, **codec)] = straight(*line)
    return CurveSet(curves, (CodecEntry(*ARROW, 1.5, True),), {"cpu": "x"}, Evidence(("01RUN",), 9000, 3, 9))


@dataclasses.dataclass(frozen=True)
class Stub:
    """A model whose medians are what `truth` says of sizes and conditions."""

    truth: object
    seen: tuple = ()
    memory_seen: tuple[float, float] | None = None
    champion: str = "model"
    names: tuple[str, ...] = ("latency_ns",)
    metrics: dict = dataclasses.field(default_factory=dict)

    @property
    def targets(self):
        return {name: types.SimpleNamespace(champion=self.champion, metrics=self.metrics) for name in self.names}

    def median(self, payload_bytes, *, target, **conditions):
        return self.truth(np.asarray(payload_bytes, float), target=target, **conditions)


def seen(method: str, codec=RAW, signalling="uds", source="bench", **facts):
    names = dict(zip(("kind", "format", "compression"), codec, strict=True))
    numbers = {"n": 500, "min_bytes": LOW, "max_bytes": HIGH, "max_in_flight": 1.0} | facts
    return types.SimpleNamespace(
        method=method, **names, signalling=signalling, placement="copied", source=source, **numbers
    )


SEEN = tuple(seen(method, codec) for method in LINES for codec in (RAW, ARROW))


def cost(method, payload_bytes, *, kind="binary", available_bytes=math.nan, **_):
    """Straight up to a knee, dearer for frames and much dearer where memory is short."""
    fixed, per_byte = np.array([LINES[name] for name in np.broadcast_to(method, payload_bytes.shape)]).T
    factor = np.where(np.asarray(kind) == "dataframe", 1.7, 1.2)
    knee = np.maximum(payload_bytes - 2**22, 0.0) * per_byte * 2
    pressed = np.where(np.asarray(available_bytes) < 1e9, 1.5, 1.0)
    return (fixed + per_byte * payload_bytes + knee) * factor * pressed + 30e3


def truth(payload_bytes, *, target, method, **conditions):
    return cost(method, payload_bytes, **conditions)


def test_curves_follow_the_model_closely_in_every_context() -> None:
    distilled = distil(Stub(truth, SEEN), fitted())
    fidelity = distilled.fidelity
    assert fidelity.is_faithful
    assert fidelity.verdict == "faithful"
    assert fidelity.within_5 == 1.0
    assert fidelity.worst_error < 2 * TOLERANCE
    assert fidelity.same_choice > 0.97
    assert fidelity.choice_loss < 0.001
    sizes = 16 * 3  # doublings that were seen, at three sizes each
    # shm_pool for each signalling that was seen, the others for any.
    assert fidelity.n == len(SEEN) * sizes
    for method, (codec, signalling) in itertools.product(LINES, itertools.product((RAW, ARROW), ("uds",))):
        context = Context("default", *codec, signalling)
        for size in (1500.0, 77_777.0, 2.0**22, 5e7):
            wanted = cost(method, np.array([size]), kind=codec[0])[0]
            assert method_cost(distilled.curves, method, context, size).value == pytest.approx(wanted, rel=0.05)


def test_only_transports_are_written_and_codecs_stay_as_they_were_measured() -> None:
    before = fitted()
    distilled = distil(Stub(truth, SEEN), before, name="v7")
    new = {key: curve for key, curve in distilled.curves.curves.items() if key not in before.curves}
    assert len(new) == distilled.written == 6
    assert all(key.stage == "transport" and key.is_distilled for key in new)
    assert all(distilled.curves.curves[key] == curve for key, curve in before.curves.items())
    assert distilled.curves.evidence == dataclasses.replace(before.evidence, model="v7")
    assert CurveSet.from_json(distilled.curves.to_json()) == distilled.curves


def test_an_engine_decides_by_what_the_model_says_of_a_codec() -> None:
    def favours_pool(payload_bytes, *, target, method, kind, **_):
        dearer = (np.asarray(kind) == "dataframe") & (np.asarray(method) != "shm_pool")
        return np.where(dearer, 5e6, 1e6) + 0.0001 * payload_bytes

    distilled = distil(Stub(favours_pool, SEEN), fitted())
    publication = Publication(CurveSet.from_json(distilled.curves.to_json()), 3)
    frame = Context("default", *ARROW, available=tuple(LINES))
    (*_, last) = ready_decisions(compile_cell(Settings(), publication, frame))[1]
    assert last.method == "shm_pool"
    assert last.expected_ns(10**6) == pytest.approx(1e6, rel=0.05)


def test_a_payload_born_in_a_block_keeps_the_curve_that_was_measured() -> None:
    before, after = fitted(), distil(Stub(truth, SEEN), fitted()).curves
    for codec in (RAW, ARROW):
        born = Context("default", *codec, in_place=True)
        assert method_cost(after, "shm_pool", born, 10**6) == method_cost(before, "shm_pool", born, 10**6)
        assert method_cost(after, "uds", born, 10**6) != method_cost(before, "uds", born, 10**6)


def test_memory_pressure_gets_curves_where_the_model_shows_a_difference() -> None:
    before = fitted()
    distilled = distil(Stub(truth, SEEN, memory_seen=(5e8, 8e9)), before)
    states = {key.state for key in distilled.curves.curves}
    assert states == {"*", "memory_pressure"}
    assert distilled.fidelity.within_5 == 1.0
    pressed = distilled.curves.in_state("memory_pressure")
    for curves, available_bytes in ((distilled.curves, 8e9), (pressed, 5e8)):
        wanted = cost("uds", np.array([1e5]), available_bytes=available_bytes)[0]
        assert method_cost(curves, "uds", Context(), 1e5).value == pytest.approx(wanted, rel=0.05)
    cell = compile_cell(Settings(), Publication(distilled.curves, 1), Context(), Circumstances("memory_pressure"))
    assert cell.publication.curves is pressed
    for decision in ready_decisions(cell)[1]:
        wanted = cost(decision.method, np.array([1e5]), available_bytes=5e8)[0]
        assert decision.expected_ns(100_000) == pytest.approx(wanted, rel=0.05)


def test_nothing_is_written_for_a_state_in_which_nothing_differs() -> None:
    def blind(payload_bytes, *, target, method, kind, **_):
        return cost(method, payload_bytes, kind=kind)

    distilled = distil(Stub(blind, SEEN, memory_seen=(5e8, 8e9)), fitted())
    assert {key.state for key in distilled.curves.curves} == {"*"}
    assert distilled.written == 6


def test_where_the_model_agrees_with_the_curves_these_stay() -> None:
    before = fitted()

    def same(payload_bytes, *, target, **conditions):
        names = ("method", "kind", "format", "compression", "signalling")
        rows = zip(payload_bytes.tolist(), *(conditions[name].tolist() for name in names), strict=True)
        costs = (method_cost(before, method, Context("p", *names), size) for size, method, *names in rows)
        return np.array([cost.value for cost in costs])

    distilled = distil(Stub(same, SEEN), before)
    assert distilled.written == 0
    assert distilled.curves is before
    assert distilled.fidelity.worst_error < 1e-9


def test_intervals_say_how_far_the_model_may_be_off() -> None:
    doubt = {"median_doubt": 0.05, "median_doubt/uds/1 in flight": 0.15}
    before = fitted()
    after = distil(Stub(truth, SEEN, metrics=doubt), before).curves
    for method, sd in (("uds", 0.15), ("grpc", 0.05)):
        found = method_cost(after, method, Context(), 10**6)
        assert math.log(found.high / found.value) == pytest.approx(1.96 * sd, rel=0.1)
        assert math.log(found.value / found.low) == pytest.approx(1.96 * sd, rel=0.1)
    silent = method_cost(distil(Stub(truth, SEEN), before).curves, "grpc", Context(), 10**6)
    assert silent.high / silent.value == pytest.approx(1 + math.hypot(0.05, TOLERANCE), rel=0.01)


@pytest.mark.parametrize(
    "model",
    [Stub(truth, SEEN, champion="curves"), Stub(truth, ()), Stub(truth, (seen("carrier pigeon"),))],
    ids=["curves are the champion", "nothing seen", "unknown method"],
)
def test_without_a_champion_or_evidence_the_curves_are_what_they_were(model: Stub) -> None:
    before = fitted()
    distilled = distil(model, before)
    assert distilled.curves is before
    assert (distilled.written, distilled.fidelity.n) == (0, 0)
    assert distilled.fidelity.is_faithful
    assert distilled.fidelity.verdict == "nothing distilled"
    assert "Nothing was distilled" in str(distilled)
    assert json.loads(json.dumps(distilled.to_plain(), allow_nan=False))["fidelity"]["within_15"] is None


def test_what_an_earlier_model_was_distilled_to_is_forgotten() -> None:
    before = fitted()
    pressed = distil(Stub(truth, SEEN, memory_seen=(5e8, 8e9)), before, name="v1").curves
    narrow = Stub(truth, SEEN[:2])
    assert distil(narrow, pressed, name="v2").curves == distil(narrow, before, name="v2").curves
    assert distil(narrow, pressed, name="v2").curves.sha256() != pressed.sha256()
    degraded = distil(Stub(truth, SEEN, champion="curves"), pressed)
    assert degraded.curves.sha256() == before.sha256()


def test_outside_the_sizes_that_were_seen_the_curve_goes_on_in_proportion() -> None:
    narrow = tuple(seen(method, min_bytes=2.0**14, max_bytes=2.0**18) for method in LINES)
    after = distil(Stub(truth, narrow), fitted()).curves
    for method, (fixed, per_byte) in LINES.items():
        for edge, outside in ((2.0**14, 100.0), (2.0**18, 2.0**28)):
            at_edge = method_cost(after, method, Context(), edge).value
            ratio = at_edge / (fixed + per_byte * edge)
            wanted = (fixed + per_byte * outside) * ratio
            assert method_cost(after, method, Context(), outside).value == pytest.approx(wanted)
        assert method_cost(after, method, Context(), HIGH).measured


def test_loads_that_were_seen_get_curves_and_what_nobody_saw_keeps_its_own() -> None:
    before = fitted(loads=(1, 4, 16))
    contexts = (*(seen(method, max_in_flight=5.0) for method in LINES), seen("shm_pool", signalling="grpc"))
    after = distil(Stub(truth, contexts), before).curves
    new = {(key.method, key.signalling, key.in_flight) for key in after.curves if key not in before.curves}
    assert new == {
        *itertools.product(("uds", "grpc"), "*", (1, 2, 4)),
        *itertools.product(("shm_pool",), ("uds",), (1, 2, 4)),
        ("shm_pool", "grpc", 1),
    }


def test_a_load_that_costs_what_the_fit_says_of_one_does_not_follow_what_the_model_says_of_one() -> None:
    def dearer_alone(payload_bytes, *, target, method, in_flight, **_):
        fixed, per_byte = np.array([LINES[name] for name in np.broadcast_to(method, payload_bytes.shape)]).T
        return (fixed + per_byte * payload_bytes) * np.where(np.asarray(in_flight) == 1, 1.5, 1.0)

    contexts = tuple(seen(method, max_in_flight=2.0) for method in LINES)
    after = distil(Stub(dearer_alone, contexts), fitted()).curves
    costs = [method_cost(after, "uds", Context(in_flight=load), 10**6).value for load in (1, 2)]
    assert costs[0] / costs[1] == pytest.approx(1.5, rel=0.05)


def test_what_services_sent_counts_where_it_is_known_of_all_methods() -> None:
    def by_source(payload_bytes, *, target, method, source, **_):
        return np.where(np.asarray(source) == "service", 9e6, 4e6) + payload_bytes

    bench = tuple(seen(method) for method in LINES)
    served = tuple(seen(method, source="service", n=20) for method in LINES)
    for contexts, wanted in (((*bench, *served), 9e6), ((*bench, *served[:2]), 4e6)):
        after = distil(Stub(by_source, contexts), fitted()).curves
        assert method_cost(after, "uds", Context(), 1024).value == pytest.approx(wanted, rel=0.05)


def test_processor_time_and_memory_are_distilled_for_themselves() -> None:
    targets = ("latency_ns", "cpu_ns", "resident_bytes")

    def by_target(payload_bytes, *, target, method, **_):
        return {"latency_ns": 1e6, "cpu_ns": 2e6, "resident_bytes": 3e6}[target] + payload_bytes

    after = distil(Stub(by_target, SEEN, names=targets), fitted(targets=targets))
    assert after.written == 6 * 3
    assert after.fidelity.within_5 == 1.0
    assert method_cost(after.curves, "uds", Context(), 10**5, "cpu").value == pytest.approx(2.1e6, rel=0.05)


def test_curves_that_cannot_follow_are_called_unfaithful() -> None:
    def less_than_its_codec(payload_bytes, *, target, method, **_):
        return 1000.0 + 0.0 * payload_bytes

    fidelity = distil(Stub(less_than_its_codec, (seen("uds", ARROW),)), fitted()).fidelity
    assert fidelity.verdict == "unfaithful"
    assert fidelity.within_15 == 0.0
    assert "latency_ns of uds, dataframe/arrow/none" in fidelity.worst_at
    assert "Warning: only 0.0% of the cells are within 15 % of the model" in str(fidelity)
    assert max(map(len, str(fidelity).splitlines())) <= 80


def test_curves_without_a_latency_are_refused() -> None:
    with pytest.raises(InputError, match="hold no latency of any method"):
        distil(Stub(truth, SEEN), CurveSet({}))


@settings(max_examples=30)
@given(
    heights=st.lists(st.floats(0, 1e9), min_size=2, max_size=12),
    codec=st.sampled_from([RAW, ARROW]),
    low=st.integers(0, 20),
)
def test_distilled_curves_are_positive_and_never_fall(heights: list[float], codec, low: int) -> None:
    """Whatever the model says: a staircase that goes down, too."""

    def stairs(payload_bytes, *, target, **_):
        place = np.clip(np.log2(payload_bytes).astype(int) - low, 0, len(heights) - 1)
        return np.array(heights)[place] + 1.0

    contexts = tuple(seen(method, codec, min_bytes=2.0**low, max_bytes=2.0 ** (low + len(heights))) for method in LINES)
    before = fitted()
    after = distil(Stub(stairs, contexts), before).curves
    for key in after.curves.keys() - before.curves.keys():
        curve = after.curves[key]
        sizes = [0.0, *np.geomspace(1, 2.0**40, 200), *(piece.start_bytes for piece in curve.pieces)]
        values = [curve.at(size) for size in sorted(sizes)]
        assert all(math.isfinite(value) and value > 0 for value in values)
        assert all(later >= earlier - 1e-9 * values[-1] for earlier, later in itertools.pairwise(values))


@settings(max_examples=50)
@given(
    steps=st.lists(st.tuples(st.floats(0.01, 10), COSTS), min_size=1, max_size=40),
    tolerance=st.floats(0, 0.5),
)
def test_straight_pieces_stay_within_what_is_allowed(steps: list[tuple[float, float]], tolerance: float) -> None:
    sizes = np.cumsum([width for width, _ in steps])
    values = np.cumsum([height for _, height in steps]) + 1.0
    pieces = straight_pieces(sizes, values, tolerance * values)
    starts = [piece.start_bytes for piece in pieces]
    assert len(pieces) < len(steps) or not pieces
    for size, value in zip(sizes, values, strict=True):
        if pieces:
            piece = pieces[max(np.searchsorted(starts, size, "right") - 1, 0)]
            assert abs(piece.fixed + piece.per_byte * size - value) <= tolerance * value + 1e-6 * values[-1]
