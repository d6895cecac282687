"""Regret against an independent checker, by properties, and in worlds whose truth is known."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfkit.errors import InputError
from perfkit.stats.regret import best_threshold, cost_table, geometric_ratio, ratio_over_groups, regret_of

CHECKER = Path(__file__).parents[3] / "shared" / "judge" / "replay_check.py"


def sends(medians, *, noise=0.0, repetitions=4, seed=0):
    """Sends of every payload (rows) by every method (columns) around these medians, in two halves."""
    generator = np.random.default_rng(seed)
    payload, method, half, _ = np.indices((*medians.shape, 2, repetitions)).reshape(4, -1)
    cost = medians[payload, method] * np.exp(noise * generator.standard_normal(payload.size))
    names = np.array([f"m{index}" for index in range(medians.shape[1])])
    return payload, names[method], half, cost


def test_regret_equals_an_independent_checker():
    """Same figures, interval included, from the same sends."""
    if not CHECKER.exists():
        pytest.skip(f"{CHECKER} is not there")
    spec = importlib.util.spec_from_file_location("replay_check", CHECKER)
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    generator = np.random.default_rng(5)
    rows = sends(generator.uniform(1, 9, (23, 4)), noise=0.3, repetitions=5)
    choice = generator.integers(0, 4, 23)
    table = cost_table(*rows)
    ours = regret_of(table, choice)
    theirs = checker.regret(*rows, {payload: table.methods[index] for payload, index in enumerate(choice)})
    assert (ours.value, ours.total_ratio, ours.accuracy) == (
        theirs["regret"],
        theirs["total_ratio"],
        theirs["accuracy"],
    )
    assert [ours.low, ours.high] == pytest.approx(theirs["regret_ci"], rel=1e-12)
    assert (ours.n, ours.resolved) == (theirs["payloads"], theirs["resolved"])


def test_the_oracle_itself_loses_nothing_where_nothing_is_noise():
    table = cost_table(*sends(np.array([[1.0, 2.0], [4.0, 3.0]])))
    perfect = regret_of(table, [0, 1])
    assert (perfect.value, perfect.total_ratio, perfect.accuracy, perfect.resolved) == (0.0, 1.0, 1.0, 2)
    wrong = regret_of(table, [1, 0])
    assert wrong.value == pytest.approx(math.sqrt(2 * 4 / 3) - 1)
    assert wrong.total_ratio == pytest.approx(6 / 4)


def test_a_payload_whose_methods_tie_is_not_resolved():
    table = cost_table(*sends(np.array([[1.0, 1.05], [1.0, 1.2]])))
    assert table.resolved.tolist() == [False, True]
    assert regret_of(table, [1, 0]).accuracy == 1.0


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_regret_does_not_depend_on_the_unit_or_the_order_of_sends(seed, payloads, methods):
    generator = np.random.default_rng(seed)
    payload, method, half, cost = sends(generator.uniform(1, 9, (payloads, methods)), noise=0.2, seed=seed)
    choice = generator.integers(0, methods, payloads)
    order = generator.permutation(payload.size)
    one = regret_of(cost_table(payload, method, half, cost), choice)
    other = regret_of(cost_table(payload[order], method[order], half[order], 1000 * cost[order]), choice)
    assert other.value == pytest.approx(one.value, abs=1e-9)
    assert other.resolved == one.resolved
    assert one.low <= one.value + 1e-12
    assert one.value <= one.high + 1e-12


def test_whoever_picks_the_luckiest_method_earns_nothing():
    """Methods that cost the same: the regret of any of them is 0 on average, and its interval covers 0."""
    covered, values = 0, []
    for seed in range(200):
        regret = regret_of(cost_table(*sends(np.ones((30, 4)), noise=0.3, seed=seed)), [seed % 4] * 30)
        covered += regret.low <= 0 <= regret.high
        values.append(regret.value)
    assert abs(np.mean(values)) < 0.01
    assert covered >= 180


def test_the_interval_covers_a_known_regret():
    """Choosing a method that costs 20 % more on average: the truth is inside in nine of ten worlds and more."""
    truth = math.expm1(np.log(1.05 + np.random.default_rng(0).exponential(0.15, 1_000_000)).mean())
    covered = 0
    for seed in range(200):
        factors = 1.05 + np.random.default_rng(seed).exponential(0.15, 40)  # never cheaper than the oracle
        regret = regret_of(
            cost_table(*sends(np.stack([np.ones(40), factors], axis=1), noise=0.01, seed=seed)), [1] * 40
        )
        covered += regret.low <= truth <= regret.high
    assert covered >= 180


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_the_best_threshold_is_the_best_of_all(sizes, seed):
    """Against every pair of methods and every threshold, one by one."""
    logs = np.random.default_rng(seed).normal(size=(len(sizes), 3))

    def cost(below, threshold, above):
        return sum(logs[row, below if size < threshold else above] for row, size in enumerate(sizes))

    every = [
        cost(below, threshold, above) for below in range(3) for above in range(3) for threshold in (*sizes, math.inf)
    ]
    assert cost(*best_threshold(sizes, logs)) == pytest.approx(min(every))


def test_groups_count_alike_however_many_payloads_they_have():
    log_ratios = np.full((2, 10), np.nan)
    log_ratios[0] = math.log(2)
    log_ratios[1, :2] = math.log(8)
    estimate = ratio_over_groups(log_ratios)
    assert (round(estimate.value, 6), estimate.n) == (4.0, 10)


def test_a_single_payload_says_nothing_about_others():
    found = ratio_over_groups(np.log([[0.5]]))
    assert (found.value, found.low, found.high, found.n) == (0.5, 0, np.inf, 1)


def test_the_interval_of_a_ratio_covers_the_truth():
    covered = 0
    for seed in range(200):
        above = np.random.default_rng(seed).normal(0.5, 0.4, 50)
        ratio = geometric_ratio(above, np.zeros(50))
        covered += ratio.low <= math.exp(0.5) <= ratio.high
    assert covered >= 180


@pytest.mark.parametrize(("cost", "words"), [([], "no sends"), ([0.0], "cost == 0"), ([math.nan], "cost == nan")])
def test_costs_that_cannot_be_are_refused(cost, words):
    with pytest.raises(InputError, match=words):
        cost_table([1] * len(cost), ["a"] * len(cost), [0] * len(cost), cost)
