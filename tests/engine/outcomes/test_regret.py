"""Regret from explored traffic: against a known truth, in the mean and in its interval."""

import math
import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.engine.outcomes.regret import NEEDED, Explored, Sums

HOUR = 3600 * 10**9
CLASSES = [8 + 0.7 * index for index in range(6)]  # log latency of the plan's method in each size class


def simulated(seed, effects, n=8000, rate=0.1, noise=0.4):
    """Explored traffic of a plan that always takes "uds", while methods differ from it by `effects`, on a log scale."""
    rng = random.Random(seed)
    explored = Explored(seed)
    explored.begin(0)
    others = [name for name in effects[0] if name != "uds"]
    for _ in range(n):
        size_class = int(rng.random() * len(CLASSES))
        explores = rng.random() < rate
        method = rng.choice(others) if explores else "uds"
        propensity = rate / len(others) if explores else 1 - rate
        log_latency = CLASSES[size_class] + effects[size_class][method] + rng.gauss(0, noise)
        explored.add("ml", "uds", method, 2 ** (size_class + 8), log_latency, propensity)
    return explored.regret()["ml"]


def truth(effects):
    spent = [math.exp(level + effect["uds"]) for level, effect in zip(CLASSES, effects, strict=True)]
    best = [math.exp(level + min(effect.values())) for level, effect in zip(CLASSES, effects, strict=True)]
    return 1 - sum(best) / sum(spent)


CASES = {
    "the plan is right": [{"uds": 0, "grpc": 0.3, "shm_pool": 0.4}] * 6,
    "all are the same": [{"uds": 0, "grpc": 0, "shm_pool": 0}] * 6,
    "another is better at some sizes": [{"uds": 0, "grpc": (-0.2, 0.3)[i % 2], "shm_pool": 0.3} for i in range(6)],
    "two are better, nearly the same": [{"uds": 0, "grpc": -0.3, "shm_pool": -0.25}] * 6,
}


@pytest.mark.parametrize("case", CASES)
def test_estimate_and_interval_find_the_truth(case):
    true = truth(CASES[case])
    found = [simulated(seed, CASES[case]) for seed in range(60)]
    assert statistics.fmean(one.share for one in found) == pytest.approx(true, abs=0.025)
    assert sum(one.low <= true <= one.high for one in found) >= 0.88 * len(found)  # nominal 95 %, n = 60
    assert all(one.covered > 0.99 and one.n > 600 for one in found)
    if true > 0.1:
        assert sum(one.low > 0 for one in found) > 0.9 * len(found)  # and it does notice


def test_more_traffic_narrows_the_interval():
    effects = CASES["another is better at some sizes"]
    few, many = (simulated(1, effects, n) for n in (8000, 64_000))
    assert (many.high - many.low) < 0.5 * (few.high - few.low)


@given(st.lists(st.tuples(st.floats(-3, 20), st.floats(0.01, 0.99)), min_size=1, max_size=50))
def test_sums_are_the_self_normalised_mean_and_its_delta_variance(rows):
    sums = Sums()
    for value, propensity in rows:
        sums.add(value, 1 / propensity)
    values, weights = np.array([value for value, _ in rows]), np.array([1 / p for _, p in rows])
    mean = np.average(values, weights=weights)
    assert sums.mean == pytest.approx(mean, abs=1e-9)
    expected = np.sum(weights**2 * (values - mean) ** 2) / weights.sum() ** 2
    assert sums.variance == pytest.approx(expected, abs=1e-6)


def test_weights_undo_what_the_propensity_did():
    """Half of the transfers of a method are costlier; they are taken nine times as often, and still count as half."""
    rng = random.Random(3)
    sums = Sums()
    for _ in range(20_000):
        costly = rng.random() < 0.5
        propensity = 0.9 if costly else 0.1
        if rng.random() < propensity:
            sums.add(float(costly), 1 / propensity)
    assert sums.mean == pytest.approx(0.5, abs=0.02)


def added(explored, method, count, log_latency=10.0, pool="ml", size=4096):
    for _ in range(count):
        explored.add(pool, "uds", method, size, log_latency, 0.9 if method == "uds" else 0.1)


def test_too_little_says_so():
    explored = Explored()
    explored.begin(0)
    added(explored, "uds", 500)
    added(explored, "grpc", NEEDED // 2)
    regret = explored.regret()["ml"]
    assert (regret.share, regret.low, regret.high, regret.covered) == (None, None, None, 0.0)
    assert str(regret) == "not enough explored (n = 15)"
    assert Explored().regret() == {}


def test_a_size_class_without_enough_is_left_out_and_said():
    explored = Explored()
    explored.begin(0)
    for method in ("uds", "grpc"):
        added(explored, method, 200)
    added(explored, "uds", 200, size=2**30)
    regret = explored.regret()["ml"]
    assert regret.share == 0
    assert 0.5 < regret.covered < 1


def test_what_is_older_than_two_hours_is_forgotten():
    explored = Explored()
    explored.begin(0)
    added(explored, "uds", 100)
    explored.begin(HOUR)
    added(explored, "uds", 50)
    added(explored, "grpc", 50)
    assert explored.regret()["ml"].n == 50
    explored.begin(2 * HOUR)
    assert explored.regret()["ml"].n == 50
    explored.begin(3 * HOUR)
    assert explored.regret() == {}


def test_memory_is_bounded():
    explored = Explored()
    explored.begin(0)
    for number in range(6000):
        added(explored, "uds", 1, pool=f"pool {number}")
    assert len(explored.regret()) == 5000
