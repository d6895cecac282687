"""What another policy would have cost: by hand, by properties, and on worlds whose truth is known."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.off_policy import off_policy_value
from perfkit.stats.worlds import METHODS, true_latency_ns

NAMES = np.array(METHODS)


def log_of(seed: int, rows: int = 6000, rate: float = 0.1) -> dict[str, Any]:
    """A service that always takes grpc, and explores; the candidate would take shm_pool above 64 KiB."""
    random = np.random.default_rng(seed)
    size = np.exp(random.uniform(math.log(2**10), math.log(2**26), rows))
    fixed, at_1mib = np.array([[true_latency_ns(seed, method, at) for method in METHODS] for at in (0, 2**20)])
    truth = fixed[:, None] + np.outer((at_1mib - fixed) / 2**20, size)
    grpc, pool = METHODS.index("grpc"), METHODS.index("shm_pool")
    other = (grpc + random.integers(1, 5, rows)) % 5
    explored = random.random(rows) < rate
    logged = np.where(explored, other, grpc)
    chosen = np.where(size > 2**16, pool, grpc)
    row = np.arange(rows)
    session = row // 10
    luck = random.normal(0, 0.1, session.max() + 1)[session]
    return {
        "cost": truth[logged, row] * np.exp(luck + random.normal(0, 0.2, rows)),
        "propensity": np.where(explored, rate / 4, 1 - rate),
        "logged": NAMES[logged],
        "chosen": NAMES[chosen],
        "against": np.full(rows, "grpc"),
        "predicted_logged": truth[logged, row],
        "predicted_chosen": truth[chosen, row],
        "predicted_against": truth[grpc],
        "clusters": session,
        "true_ratio": true_ratio(fixed, (at_1mib - fixed) / 2**20),
    }


def true_ratio(fixed: Any, per_byte: Any) -> float:
    """Of all traffic, not only of that which was logged."""
    size = np.geomspace(2**10, 2**26, 20_001)
    grpc, pool = (fixed[METHODS.index(name)] + per_byte[METHODS.index(name)] * size for name in ("grpc", "shm_pool"))
    return float(np.exp(np.where(size > 2**16, np.log(pool / grpc), 0.0).mean()))


def value_of(log: dict[str, Any], **changes: Any) -> Any:
    return off_policy_value(**{name: one for name, one in {**log, **changes}.items() if name != "true_ratio"})


def test_with_even_propensities_it_is_the_mean_of_what_was_taken() -> None:
    random = np.random.default_rng(3)
    logged = np.where(random.random(1000) < 0.5, "a", "b")
    cost = np.where(logged == "a", 2.0, 3.0) * random.lognormal(0, 0.1, 1000)
    found = off_policy_value(cost, np.full(1000, 0.5), logged, np.full(1000, "a"), against=np.full(1000, "b"))
    log_cost = np.log(cost)
    first, second = log_cost[logged == "a"], log_cost[logged == "b"]
    assert found.value == pytest.approx(math.exp(first.mean()))
    assert found.ratio == pytest.approx(math.exp(first.mean() - second.mean()))
    half = 1.96 * math.sqrt(first.var() / first.size + second.var() / second.size)
    assert math.log(found.ratio_interval[1] / found.ratio) == pytest.approx(half, rel=0.02)
    mean = off_policy_value(cost, np.full(1000, 0.5), logged, np.full(1000, "a"), scale="mean")
    assert mean.value == pytest.approx(cost[logged == "a"].mean())


def test_a_perfect_model_leaves_no_doubt_and_a_wrong_one_only_widens() -> None:
    log = log_of(5)
    models = ("predicted_logged", "predicted_chosen", "predicted_against")
    exact = value_of({**log, "cost": log["predicted_logged"]})
    assert math.log(exact.ratio) == pytest.approx(np.log(log[models[1]] / log[models[2]]).mean())
    right, wrong, none = (
        value_of(log),
        value_of(log, **{name: log[name] ** 0.7 for name in models}),
        value_of(log, method="snips"),
    )
    widths = [math.log(one.ratio_interval[1] / one.ratio_interval[0]) for one in (right, wrong, none)]
    assert widths == sorted(widths)
    assert all(one.ratio_interval[0] < log["true_ratio"] < one.ratio_interval[1] for one in (right, wrong, none))


@pytest.mark.parametrize("method", ["doubly_robust", "snips"])
def test_intervals_hold_the_truth_as_often_as_they_say(method: str) -> None:
    covered = []
    for seed in range(300):
        log = log_of(seed, rows=3000, rate=0.2)
        low, high = value_of(log, method=method).ratio_interval
        covered.append(low <= log["true_ratio"] <= high)
    assert 0.92 <= np.mean(covered) <= 0.99


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.sampled_from([0.05, 0.5, 1.0]), st.floats(1e-3, 1e3))
def test_policies_that_agree_cost_the_same_and_units_do_not_matter(seed: int, share: float, unit: float) -> None:
    log = log_of(seed, rows=400, rate=share * 0.8)
    same = value_of(log, chosen=log["against"], predicted_chosen=log["predicted_against"])
    assert (same.ratio, same.ratio_interval, same.verdict) == (1.0, (1.0, 1.0), "equivalent")
    scaled = {name: log[name] * unit for name in log if name.startswith("predicted") or name == "cost"}
    first, second = value_of(log), value_of({**log, **scaled})
    order = np.random.default_rng(seed).permutation(400)
    third = value_of({name: one[order] if isinstance(one, np.ndarray) else one for name, one in log.items()})
    for one in (second, third):
        assert one.verdict == first.verdict
        assert one.ratio_interval == pytest.approx(first.ratio_interval, rel=1e-6)


def test_without_support_nothing_is_concluded() -> None:
    log = log_of(7)
    never = value_of(log, propensity=np.ones(6000), logged=np.full(6000, "grpc"))
    assert never.verdict == "inconclusive"
    assert never.unsupported_share > 0.5
    assert never.ratio_interval[1] >= 1.0
    few = value_of({name: one[:200] if isinstance(one, np.ndarray) else one for name, one in log.items()})
    assert (few.verdict, few.ratio_interval) == ("inconclusive", (0.0, math.inf))
    assert "explore longer" in few.warnings[-1]
    json.dumps(few.to_plain(), allow_nan=False)
    assert "inconclusive" in str(few)


def test_propensities_that_contradict_what_was_taken_conclude_nothing() -> None:
    log = log_of(7)
    propensity = np.where(log["logged"] == log["against"], log["propensity"], 1e-9)
    found = value_of(log, propensity=propensity)
    assert (found.verdict, found.ratio_interval) == ("inconclusive", (0.0, math.inf))
    assert "smaller than what was taken" in found.warnings[-1]


def test_a_method_that_a_group_never_tried_is_left_out_and_named() -> None:
    log = log_of(8)
    group = np.arange(6000) % 2
    keep = ~((group == 1) & (log["logged"] == "shm_pool"))
    thinned = {name: one[keep] if isinstance(one, np.ndarray) else one for name, one in log.items()}
    found = value_of(thinned, groups=group[keep])
    assert 0.2 < found.unsupported_share < 0.5
    assert "left out" in found.warnings[0]
    assert any("weights add up" in one for one in value_of(thinned, against=None).warnings)


def test_sessions_that_share_their_luck_widen_the_interval() -> None:
    log = log_of(9, rate=0.4)
    luck = np.random.default_rng(9).normal(0, 0.8, 600)[log["clusters"]]
    log["cost"] = log["cost"] * np.exp(luck)
    alone, together = value_of(log, clusters=None), value_of(log)
    assert together.interval[1] / together.interval[0] > alone.interval[1] / alone.interval[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propensity": 0.0}, "propensity"),
        ({"propensity": 1.5}, "propensity"),
        ({"propensity": math.nan}, "propensity"),
        ({"cost": math.nan}, "cost"),
        ({"cost": 0.0}, "cost"),
        ({"cost": -1.0}, "cost"),
        ({"predicted_chosen": 0.0}, "predictions"),
    ],
)
def test_values_that_cannot_be_are_refused(change: dict[str, float], message: str) -> None:
    log = log_of(1, rows=100)
    for name, value in change.items():
        log[name] = np.where(np.arange(100) == 3, value, log[name])
    with pytest.raises(InputError, match=message):
        value_of(log)


def test_shapes_and_names_are_checked() -> None:
    log = log_of(1, rows=100)
    for change in ({"cost": []}, {"logged": ["a"]}, {"clusters": [1]}, {"groups": [1]}, {"cost": "x"}, {"level": 2}):
        with pytest.raises(InputError):
            value_of(log, **change)
    for change in ({"method": "ips"}, {"scale": "median"}):
        with pytest.raises(UnknownNameError):
            value_of(log, **change)
