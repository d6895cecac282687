"""The whole: rows of a recorder in, corrections and statistics out."""

import dataclasses
import json
import math
import random
import threading

import pytest

from perfkit.config.curves import CostCurve, CurveKey, CurveSet, IntervalPoint, Piece
from perfkit.config.engine_settings import CalibrationSettings
from perfkit.config.settings import Settings
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.decision import ready_decisions
from perfkit.engine.outcomes import OTHER_POOLS, Outcomes
from perfkit.engine.outcomes.prediction import Predictor
from perfkit.engine.plan import Publication, compile_cell

SECOND = 10**9
SHARES = {"uds": 0.7, "shm_pool": 0.2, "grpc": 0.1}


class Clock:
    now_ns = SECOND

    def __call__(self):
        return self.now_ns


def made_curves(scale=1.0):
    lines = {"uds": (20_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 1.0)}
    interval = (IntervalPoint(1.0, 0.95, 1.05),)
    return CurveSet(
        {
            CurveKey("transport", "latency_ns", name, placement="copied"): CostCurve(
                (Piece(0.0, scale * fixed, scale * per_byte), Piece(2.0**20, scale * fixed, scale * per_byte)),
                interval,
                1024.0,
                2.0**30,
                90,
                3,
            )
            for name, (fixed, per_byte) in lines.items()
        }
    )


CURVES = made_curves()


class Service:
    """Records transfers that take what the curves say, times a factor per method, with noise."""

    def __init__(self, outcomes, clock, curves=CURVES, pool="ml", seed=0):
        self.outcomes, self.clock, self.curves, self.pool = outcomes, clock, curves, pool
        self.random = random.Random(seed)
        self.cell = compile_cell(Settings(), Publication(curves, 1), Context(pool=pool))
        ready = ready_decisions(self.cell)[1][0]
        self.decisions = {
            name: dataclasses.replace(ready, method=name, propensity=share) for name, share in SHARES.items()
        }

    def row(self, factors):
        method = self.random.choices(list(SHARES), list(SHARES.values()))[0]
        payload_bytes = int(2 ** self.random.uniform(3, 22))
        cost = method_cost(CURVES, method, self.cell.context, payload_bytes, "latency").value
        latency_ns = int(cost * factors.get(method, 1.0) * math.exp(self.random.gauss(0, 0.3)))
        return (0, self.decisions[method], payload_bytes, latency_ns, None, True, None)

    def serve(self, seconds, factors=None, per_second=60):
        for _ in range(seconds):
            self.clock.now_ns += SECOND
            self.outcomes.take([self.row(factors or {}) for _ in range(per_second)])
            self.outcomes.corrections()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outcomes(clock):
    return Outcomes(CalibrationSettings(), clock=clock)


def test_predictions_on_the_grid_are_those_of_the_curves():
    cell = compile_cell(Settings(), Publication(CURVES, 1), Context())
    predictor, rng = Predictor(), random.Random(1)
    for payload_bytes in [0, 1, 2**20, 2**45, 2**70, *(int(2 ** rng.uniform(0, 34)) for _ in range(300))]:
        for method in SHARES:
            exact = method_cost(CURVES, method, cell.context, min(max(payload_bytes, 1), 2**50), "latency").value
            predicted = math.exp(predictor.log_latency(cell, method, payload_bytes))
            assert predicted == pytest.approx(exact, rel=0.01)
    assert predictor.log_latency(cell, "carrier_pigeon", 1) is None


def test_a_slow_method_is_corrected_and_said_once(outcomes, clock):
    Service(outcomes, clock).serve(90, {"shm_pool": 1.5})
    assert outcomes.corrections().of("ml") == {"shm_pool": pytest.approx(1.5, rel=0.12)}
    changes = outcomes.changes()
    assert 1 <= len(changes) <= 2
    assert {change.method for change in changes} == {"shm_pool"}
    assert outcomes.changes() == ()
    assert outcomes.untrusted_pools() == frozenset()


def test_statistics_of_each_pool_and_method(outcomes, clock):
    service = Service(outcomes, clock)
    service.serve(40, {"shm_pool": 1.5})
    outcomes.take([(0, service.decisions["grpc"], 10, None, None, False, "PeerLostError")] * 3)
    found = outcomes.statistics()
    assert set(found.methods["ml"]) == set(SHARES)
    assert sum(method.n for method in found.methods["ml"].values()) == 2400
    grpc, uds = found.methods["ml"]["grpc"], found.methods["ml"]["uds"]
    assert (grpc.failures, uds.failures) == (3, 0)
    assert grpc.p50_ns < grpc.p95_ns
    assert grpc.p999_ns is None
    assert uds.p50_ns < uds.p99_ns
    assert found.methods["ml"]["shm_pool"].factor == pytest.approx(1.5, rel=0.2)
    assert uds.error_p50 == pytest.approx(math.exp(0.6745 * 0.3), rel=0.1)


def test_statistics_three_ways(outcomes, clock):
    service = Service(outcomes, clock)
    service.serve(40, {"shm_pool": 1.5}, per_second=150)
    outcomes.take([(0, service.decisions["grpc"], 10, None, None, False, "PeerLostError"), (0, None, None)])
    found = outcomes.statistics()
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert "Failed in pool ml: 1 transfer by grpc" in text
    assert "Regret in pool ml: " in text
    assert "1 outcome without readable figures" in text
    assert all(name in text for name in SHARES)
    assert json.loads(json.dumps(found.to_plain()))["methods"]["ml"]["uds"]["n"] > 3000
    assert "<table>" in found._repr_html_()
    assert str(Outcomes(CalibrationSettings()).statistics()) == "Outcomes: none was recorded"


def test_regret_is_of_pools_that_explore_and_care_for_latency(clock):
    for goal, expected in (("latency", {"ml"}), ("memory", set())):
        outcomes = Outcomes(CalibrationSettings(), clock=clock)
        service = Service(outcomes, clock)
        pool = dataclasses.replace(service.cell.pool, goal=goal)
        cell = dataclasses.replace(service.cell, pool=pool)
        curves = {
            dataclasses.replace(key, quantity=quantity): curve
            for key, curve in CURVES.curves.items()
            for quantity in ("latency_ns", "resident_bytes")
        }
        cell = dataclasses.replace(cell, publication=Publication(CurveSet(curves), 1))
        service.decisions = {n: dataclasses.replace(d, cell=cell) for n, d in service.decisions.items()}
        service.serve(20)
        assert set(outcomes.statistics().regret) == expected


def test_without_curves_there_are_statistics_alone(outcomes, clock):
    service = Service(outcomes, clock, curves=None)
    service.serve(30, {"shm_pool": 3.0})
    found = outcomes.statistics()
    assert found.methods["ml"]["shm_pool"].factor is None
    assert not outcomes.corrections().factors
    assert found.regret == {}


def test_curves_that_are_far_off_are_reported(outcomes, clock):
    Service(outcomes, clock, curves=made_curves(scale=0.1)).serve(40)
    assert outcomes.untrusted_pools() == {"ml"}
    assert not outcomes.corrections().factors  # all methods are equally far off
    assert "too far off to decide in pool ml" in str(outcomes.statistics())


def test_other_curves_begin_anew_and_the_last_rows_of_before_change_nothing(outcomes, clock):
    before = Service(outcomes, clock)
    before.serve(60, {"shm_pool": 1.5})
    assert outcomes.corrections().factors
    outcomes.changes()
    after = Service(outcomes, clock, curves=made_curves(scale=1.01))
    after.serve(2)
    before.serve(2)
    after.serve(2)
    assert not outcomes.corrections().factors
    assert ["other curves" in change.sentence for change in outcomes.changes()] == [True]
    after.serve(60)
    assert not outcomes.corrections().factors


def test_the_same_curves_read_again_are_the_same(outcomes, clock):
    Service(outcomes, clock).serve(60, {"shm_pool": 1.5})
    corrections = outcomes.corrections()
    Service(outcomes, clock, curves=made_curves()).serve(1, {"shm_pool": 1.5})
    assert outcomes.corrections() == corrections


def test_other_settings_begin_anew(outcomes, clock):
    Service(outcomes, clock).serve(60, {"shm_pool": 1.5})
    outcomes.configure(CalibrationSettings())
    assert outcomes.corrections().factors
    outcomes.configure(CalibrationSettings(correct=False))
    assert not outcomes.corrections().factors


def test_pools_beyond_a_thousand_are_summed_up(outcomes, clock):
    service = Service(outcomes, clock)
    decision = service.decisions["uds"]
    for number in range(1100):
        cell = dataclasses.replace(service.cell, context=Context(pool=f"pool {number}"))
        outcomes.take([(0, dataclasses.replace(decision, cell=cell), 1000, 20_000, None, True, None)])
    found = outcomes.statistics().methods
    assert len(found) == 1001
    assert found[OTHER_POOLS]["uds"].n == 100


def test_rows_that_are_no_rows_are_counted_and_the_others_taken(outcomes, clock):
    service = Service(outcomes, clock)
    good, bad = service.row({}), service.decisions["uds"]
    rows = [good, None, (1, 2, 3), (0, None, 1, 1, None, True, None), (0, bad, "1", 5, None, True, None), good]
    rows += [(0, bad, 10, latency, None, True, None) for latency in (math.nan, math.inf, -1, 0, None)]
    outcomes.take([*rows, (0, bad, 10, "1", None, True, None)])
    found = outcomes.statistics()
    assert sum(method.n for method in found.methods["ml"].values()) == 2
    assert found.unreadable == 5


def test_the_interpreter_is_given_back_after_every_few_rows(outcomes, clock):
    service = Service(outcomes, clock)
    rows = [service.row({}) for _ in range(640)]
    pauses = []
    outcomes.take(rows, lambda: pauses.append(1))
    assert len(pauses) >= 20


def test_the_same_rows_and_seed_give_the_same_corrections(clock):
    made = []
    for _ in range(2):
        clock.now_ns = SECOND
        outcomes = Outcomes(CalibrationSettings(), seed=4, clock=clock)
        Service(outcomes, clock, seed=2).serve(60, {"shm_pool": 1.5}, per_second=300)
        made.append((outcomes.corrections(), outcomes.statistics().to_plain()))
    assert made[0] == made[1]


def test_statistics_may_be_asked_for_while_rows_are_taken(outcomes, clock):
    service, failed, stop = Service(outcomes, clock), [], threading.Event()

    def ask():
        while not stop.is_set():
            found = outcomes.statistics().methods.get("ml", {})
            failed.extend(name for name, method in found.items() if method.n and method.mean_ns is None)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        service.serve(30, per_second=100)
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert sum(method.n for method in outcomes.statistics().methods["ml"].values()) == 3000
