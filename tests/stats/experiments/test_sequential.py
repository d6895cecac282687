"""Looking as often as one likes costs nothing, and experiments end when they have shown enough."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import perfkit
from perfkit.errors import InputError
from perfkit.stats.experiments.estimates import Estimate, fixed_interval, fixed_p_value
from perfkit.stats.experiments.sequential import (
    UNITS_NEEDED,
    always_valid_half_width,
    always_valid_p_value,
    sequential_interval,
    sequential_p_value,
    sequential_p_value_one_sided,
    stopping,
)

Floats = npt.NDArray[np.float64]

EFFECTS = st.floats(-1.0, 1.0)
ERRORS = st.floats(0.005, 0.5)
FREEDOMS = st.floats(10.0, 5000.0)


def estimate(effect: float, error: float, freedom: float = 500.0, *, above: float = 0.0, units: int = 300) -> Estimate:
    """An estimate of 300 units per variant."""
    return Estimate(1e6, 1e6 * math.exp(effect), effect, error, error, above or error, freedom, units, units, 9000, "")


def test_the_p_value_is_the_mixture_of_likelihood_ratios() -> None:
    distance, error, prior = 0.05, 0.02, 0.1
    density = stats.norm.pdf(distance, 0, error)

    def weighted(effect: float) -> float:
        return float(stats.norm.pdf(distance, effect, error) * stats.norm.pdf(effect, 0, prior))

    mixed, _ = integrate.quad(weighted, -1, 1, points=[distance])
    assert always_valid_p_value(distance, error, prior) == pytest.approx(density / mixed, rel=1e-6)
    above, _ = integrate.quad(lambda effect: 2 * weighted(effect), 0, 1, points=[distance])
    one_sided = sequential_p_value_one_sided(estimate(distance, error, 1e12), 0.0, 1, prior)
    assert one_sided == pytest.approx(density / above, rel=1e-4)


@given(EFFECTS, ERRORS, ERRORS, FREEDOMS, EFFECTS)
def test_the_interval_leaves_out_exactly_what_is_rejected(
    effect: float, below: float, above: float, freedom: float, null: float
) -> None:
    one = estimate(effect, below, freedom, above=above)
    low, high = sequential_interval(one, 0.05)
    if min(abs(null - low), abs(null - high)) > 1e-6:
        assert (sequential_p_value(one, null) <= 0.05) == (not low <= null <= high)


@given(EFFECTS, ERRORS, FREEDOMS, EFFECTS)
def test_looking_often_has_a_price(effect: float, error: float, freedom: float, null: float) -> None:
    one = estimate(effect, error, freedom)
    assert sequential_p_value(one, null) >= fixed_p_value(one, null)
    (low, high), (fixed_low, fixed_high) = sequential_interval(one, 0.05), fixed_interval(one, 0.05)
    assert low < fixed_low < fixed_high < high


def test_few_units_reject_nothing_however_large_the_effect() -> None:
    one = estimate(3.0, 0.001, units=UNITS_NEEDED - 1)
    assert sequential_p_value(one) == 1.0
    assert sequential_p_value_one_sided(one, 0.0, 1) == 1.0
    assert sequential_interval(one, 0.05) == (-math.inf, math.inf)
    assert sequential_p_value(estimate(3.0, 0.001, units=UNITS_NEEDED)) < 0.001


def test_an_effect_without_noise_is_certain() -> None:
    assert sequential_p_value(estimate(0.1, 0.0)) == 0.0
    assert sequential_p_value(estimate(0.0, 0.0)) == 1.0
    assert sequential_interval(estimate(0.1, 0.0), 0.05) == (0.1, 0.1)


def paths(effect: float, runs: int, looks: int, seed: int) -> tuple[Floats, Floats]:
    """Estimates and errors of `runs` experiments while information grows evenly to that of an error of 2 %."""
    rng = np.random.default_rng(seed)
    information = np.linspace(0, 2500, looks + 1)[1:]
    steps = rng.normal(0, math.sqrt(2500 / looks), (runs, looks)).cumsum(axis=1)
    return effect + steps / information, 1 / np.sqrt(information)


def test_a_hundred_looks_at_nothing_reject_at_most_as_often_as_promised() -> None:
    effects, errors = paths(0.0, 4000, 100, seed=1)
    rejected = (always_valid_p_value(effects, errors) <= 0.05).any(axis=1).mean()
    assert 0.005 < rejected < 0.05
    naive = (np.abs(effects) > 1.96 * errors).any(axis=1).mean()
    assert naive > 0.3


def test_a_hundred_looks_all_hold_the_truth() -> None:
    effects, errors = paths(0.08, 4000, 100, seed=2)
    assert (np.abs(effects - 0.08) <= always_valid_half_width(errors)).all(axis=1).mean() > 0.95


@pytest.mark.parametrize("true", [0.05, 0.1, 0.2])
def test_an_effect_stops_the_experiment_about_as_soon_as_a_fixed_test_would(true: float) -> None:
    effects, errors = paths(true, 2000, 500, seed=3)
    rejects = always_valid_p_value(effects, errors) <= 0.05
    looks = np.where(rejects.any(axis=1), rejects.argmax(axis=1) + 1, 500)
    fixed = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 / true**2
    assert looks.mean() / 500 * 2500 / fixed < 1.5


def test_what_allows_to_stop() -> None:
    assert stopping((-0.2, -0.01)).verdict == "better"
    assert stopping((-0.2, -0.01), direction="more").verdict == "worse"
    assert stopping((-0.04, 0.04)).verdict == "equivalent"
    no_gain = stopping((-0.04, 0.2))
    assert (no_gain.may_stop, no_gain.verdict, no_gain.reason) == (True, "inconclusive", "no gain")
    harmless = stopping((-0.3, 0.02))
    assert (harmless.may_stop, harmless.is_harmless) == (False, True)
    assert stopping((-math.inf, math.inf)).sentence.startswith("Go on")


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(InputError, match="margin == 0, must be above 0"):
        stopping((-0.1, 0.1), margin=0)
    with pytest.raises(InputError, match="unknown direction 'up'; allowed: less, more"):
        stopping((-0.1, 0.1), direction="up")


def test_an_experiment_is_judged_always_valid_when_asked() -> None:
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(400), 10)
    variant = np.where(session % 2 == 1, "B", "A")
    latency_ns = 1e6 * rng.lognormal(0, 0.2, 400)[session] * np.where(variant == "B", 1.2, 1.0)
    frame = {"session": session, "variant": variant, "latency_ns": latency_ns * rng.lognormal(0, 0.3, session.size)}
    metrics = {"latency_ns": ["mean", "p95", "p99.9"]}
    fixed, sequential = (perfkit.ab(frame, metrics=metrics, inference=one) for one in ("fixed", "sequential"))
    for one, other in zip(fixed.effects[:2], sequential.effects[:2], strict=True):
        assert other.interval[0] < one.interval[0] < one.interval[1] < other.interval[1]
        assert one.p_value < other.p_value < 0.05
        assert (other.verdict, other.method) == ("worse", f"{one.method}; always valid")
    assert sequential.effects[2].verdict == "inconclusive"
    few = {name: column[session < 40] for name, column in frame.items()}
    early = perfkit.ab(few, metrics={"latency_ns": ["mean"]}, inference="sequential").effects[0]
    assert early.warnings == ("a variant has 20 units; always-valid bounds start at 30",)
    assert (early.p_value, early.verdict) == (1.0, "inconclusive")
