"""The Universal Scalability Law: published data, another solver, properties, and what its intervals cover."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from perfkit.errors import InputError
from perfkit.stats.capacity.scalability import scalability

USERS = [1, 18, 36, 72, 108, 144, 216]
SCRIPTS_PER_HOUR = [64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2]
LADDER = np.array([1.0, 2, 4, 8, 16, 32])


def law(n: Any, gamma: float, alpha: float, beta: float) -> Any:
    n = np.asarray(n, dtype=float)
    return gamma * n / (1 + alpha * (n - 1) + beta * n * (n - 1))


def test_the_published_parameters_of_spec_sdm91_are_found() -> None:
    found = scalability(USERS, SCRIPTS_PER_HOUR)
    for name, expected in {"gamma": 90.0, "alpha": 0.02773, "beta": 0.000104, "peak_concurrency": 96.5}.items():
        one = getattr(found, name)
        # Published to three digits; the fit of this objective is 0.000104366.
        assert one.value == pytest.approx(expected, rel=0.01)
        assert one.low < one.value < one.high
    with pytest.raises(InputError, match=r"400.*216"):
        found.at(400)
    assert found.at(280).low < found.at(280).value < found.at(280).high


def test_another_solver_finds_the_same_minimum() -> None:
    generator = np.random.default_rng(3)
    for beta in (0.0, 0.001, 0.02):
        values = law(LADDER, 500.0, 0.1, beta) * generator.lognormal(0, 0.1, len(LADDER))
        found = scalability(LADDER, values, draws=100)
        other = least_squares(
            lambda p, values=values: law(LADDER, *p) - values,
            [values[0], 0.1, 0.01],
            bounds=(0, np.inf),
            x_scale=[500, 0.1, 0.01],
            ftol=1e-14,
            xtol=1e-14,
        )
        ours = ((law(LADDER, *(float(getattr(found, k)) for k in ("gamma", "alpha", "beta"))) - values) ** 2).sum()
        assert ours <= 2 * other.cost * (1 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    gamma=st.floats(1e-3, 1e9),
    alpha=st.floats(0.001, 0.9),
    beta=st.floats(1e-5, 0.1),
    order=st.permutations(range(len(LADDER))),
)
def test_an_exact_ladder_gives_its_parameters_back_in_any_order_and_unit(
    gamma: float, alpha: float, beta: float, order: list[int]
) -> None:
    found = scalability(LADDER[order], law(LADDER, gamma, alpha, beta)[order], draws=100)
    assert found.gamma.value == pytest.approx(gamma, rel=1e-5)
    assert found.alpha.value == pytest.approx(alpha, rel=1e-3, abs=1e-6)
    assert found.beta.value == pytest.approx(beta, rel=1e-3, abs=1e-7)
    assert found.measured == tuple(LADDER)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(1e-6, 1e6), min_size=6, max_size=6))
def test_any_positive_ladder_gets_an_answer_within_the_law(values: list[float]) -> None:
    found = scalability(LADDER, values, draws=100)
    assert found.gamma.value > 0
    assert min(found.alpha.value, found.beta.value) >= 0
    for low, high in found.intervals.values():
        assert 0 <= low <= high
    at = found.at(8)
    assert at.low <= at.value <= at.high


def test_without_coherency_there_is_no_peak_and_the_result_says_so() -> None:
    found = scalability(LADDER, law(LADDER, 100.0, 0.2, 0.0))
    assert math.isinf(found.peak_concurrency.value)
    assert found.peak_throughput.value == pytest.approx(500.0, rel=1e-4)
    assert any("no peak" in warning for warning in found.warnings)


def test_a_peak_beyond_the_data_superlinear_growth_and_a_poor_fit_are_said() -> None:
    beyond = scalability([1, 2, 4, 8], law([1, 2, 4, 8], 100.0, 0.02, 0.0005))
    assert any("extrapolation" in warning for warning in beyond.warnings)
    superlinear = scalability(LADDER, 100 * LADDER**1.3)
    assert any("superlinear" in warning for warning in superlinear.warnings)
    poor = scalability(LADDER, [100, 300, 100, 400, 50, 700])
    assert any("poorly" in warning for warning in poor.warnings)
    assert not scalability(LADDER, law(LADDER, 100.0, 0.1, 0.01)).warnings


def test_replicates_are_measurements_of_one_level_and_a_missed_law_widens_the_bands() -> None:
    generator = np.random.default_rng(5)
    levels = np.repeat(LADDER, 4)
    good = scalability(levels, law(levels, 100, 0.1, 0.01) * generator.normal(1, 0.02, len(levels)))
    assert good.n == 24
    assert len(good.measured) == 6
    assert "between measurements" in good.method
    bent = scalability(levels, np.minimum(levels, 4) * 100 * generator.normal(1, 0.001, len(levels)))
    assert "around the law" in bent.method
    assert any("poorly" in warning for warning in bent.warnings)


@pytest.mark.parametrize(
    ("concurrency", "throughput", "expected"),
    [
        ([1, 2, 4], [1, 2, 3], "3 different concurrencies"),
        ([1, 1, 2, 2, 4], [1, 1, 2, 2, 3], "3 different"),
        ([0, 1, 2, 4], [1, 2, 3, 4], r"concurrency\[0\]"),
        ([-1, 1, 2, 4], [1, 2, 3, 4], r"concurrency\[0\]"),
        ([1, 2, 4, math.nan], [1, 2, 3, 4], r"concurrency\[3\]"),
        ([1, 2, 4, 8], [1, 2, math.inf, 4], r"throughput\[2\]"),
        ([1, 2, 4, 8], [1, 2, 0, 4], r"throughput\[2\]"),
        ([1, 2, 4, 8], [1, 2, 3], "4 values, throughput 3"),
        ([], [], "0 different"),
        (["a", 2, 3, 4], [1, 2, 3, 4], "not a number"),
        ([[1, 2], [3, 4]], [1, 2, 3, 4], "shape"),
    ],
)
def test_a_ladder_that_cannot_be_used_is_refused_by_name(concurrency: Any, throughput: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        scalability(concurrency, throughput)


@pytest.mark.parametrize("asked", [0, -1, math.nan, math.inf, "many", None])
def test_a_concurrency_that_makes_no_sense_is_refused(asked: Any) -> None:
    with pytest.raises(InputError, match="concurrency"):
        scalability(USERS, SCRIPTS_PER_HOUR, draws=100).at(asked)


def test_draws_and_level_are_checked() -> None:
    with pytest.raises(InputError, match="draws"):
        scalability(USERS, SCRIPTS_PER_HOUR, draws=10)
    with pytest.raises(InputError, match="level"):
        scalability(USERS, SCRIPTS_PER_HOUR, level=95)


def test_constant_throughput_is_all_contention() -> None:
    found = scalability(LADDER, [100.0] * 6)
    assert found.alpha.value == pytest.approx(1.0, rel=1e-3)
    assert found.efficiency(32).value == pytest.approx(1 / 32, rel=1e-3)


def test_the_result_is_the_same_for_a_seed_renders_and_is_plain() -> None:
    one, other = (scalability(USERS, SCRIPTS_PER_HOUR, seed=4) for _ in range(2))
    assert one == other
    plain = json.loads(json.dumps(one.to_plain()))
    assert {"gamma", "alpha", "beta", "peak_concurrency", "n", "method", "warnings"} <= plain.keys()
    assert plain["intervals"]["gamma"][0] < plain["gamma"] < plain["intervals"]["gamma"][1]
    assert max(map(len, str(one).splitlines())) <= 80
    assert one._repr_html_().startswith("<")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.n = 3  # type: ignore[misc]


@pytest.mark.parametrize(("replicates", "beta"), [(1, 0.001), (3, 0.0)])
def test_the_intervals_cover_the_truth_as_often_as_they_say(replicates: int, beta: float) -> None:
    generator = np.random.default_rng(20)
    levels = np.repeat(LADDER, replicates)
    truth = {"gamma": 100.0, "alpha": 0.05, "beta": beta}
    covered = dict.fromkeys((*truth, "at"), 0)
    runs = 60
    for seed in range(runs):
        found = scalability(levels, law(levels, **truth) * generator.normal(1, 0.03, len(levels)), seed=seed, draws=200)
        for name, true in truth.items():
            covered[name] += found.intervals[name][0] <= true <= found.intervals[name][1]
        at = found.at(16)
        covered["at"] += at.low <= float(law(16, **truth)) <= at.high
    # Fails intervals of 75 % four times in five. Where beta is 0, X(16) held 50 of these 60, and 93 % of 300 others.
    assert min(covered.values()) >= 49
