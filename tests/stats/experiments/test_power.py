"""Power is what simulations show, and counts units, not rows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import perfkit
from perfkit.errors import InputError
from perfkit.stats.experiments.power import (
    Design,
    Pilot,
    assumed_pilot,
    minimum_detectable_effect,
    pilot,
    pilot_of_effect,
    power,
    units_needed,
)
from perfkit.stats.experiments.sequential import UNITS_NEEDED

KNOWN = Pilot("mean", 0.3, 30, 5.0, 500, "")
SEQUENTIAL = Design(inference="sequential")


def rows(seed: int, units: int, per_unit: int = 20, change: float = 0.0) -> dict[str, npt.NDArray[np.generic]]:
    """Rows of units of which every other one is in B."""
    rng = np.random.default_rng(seed)
    session = np.repeat(np.arange(units), per_unit)
    latency_ns = 1e6 * rng.lognormal(0, 0.25, units)[session] * rng.lognormal(0, 0.5, session.size)
    in_b = session % 2 == 1
    return {
        "session": session,
        "variant": np.where(in_b, "B", "A"),
        "latency_ns": latency_ns * np.where(in_b, 1 + change, 1),
    }


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("units", [10, 600])
def test_power_is_that_of_the_noncentral_t_distribution(units: int, share: float) -> None:
    shift = math.log(1.1) / (0.3 * math.sqrt(1 / (units * share) + 1 / (units * (1 - share))))
    bound = stats.t.isf(0.025, units - 2)
    expected = stats.nct.sf(bound, units - 2, shift) + stats.nct.cdf(-bound, units - 2, shift)
    assert power(KNOWN, units, 0.1, Design(share=share)) == pytest.approx(expected, rel=1e-6)


def test_without_a_change_power_is_alpha() -> None:
    assert power(KNOWN, 600, 0.0) == pytest.approx(0.05)
    assert power(KNOWN, 600, 0.0, SEQUENTIAL) < 0.01


@settings(max_examples=25)
@given(st.floats(0.02, 2.0), st.floats(0.01, 1.0), st.floats(0.3, 0.99), st.sampled_from([Design(), SEQUENTIAL]))
def test_units_and_effects_are_the_inverse_of_power(noise: float, change: float, wanted: float, design: Design) -> None:
    known = dataclasses.replace(KNOWN, noise=noise)
    units = units_needed(known, change, wanted, design)
    assert power(known, units, change, design) >= wanted
    if units > 2 * UNITS_NEEDED + 1:
        assert power(known, units - 1, change, design) < wanted
        assert minimum_detectable_effect(known, units, wanted, design) == pytest.approx(change, rel=0.06)


def test_uneven_shares_and_looks_cost_units() -> None:
    assert units_needed(KNOWN, 0.05, design=Design(share=0.1)) > 2.5 * units_needed(KNOWN, 0.05)
    assert units_needed(KNOWN, 0.05) < units_needed(KNOWN, 0.05, design=SEQUENTIAL) < 2.5 * units_needed(KNOWN, 0.05)


def test_rows_of_like_units_are_worth_little() -> None:
    few, many = assumed_pilot(0.6, 30, 0.2), assumed_pilot(0.6, 3000, 0.2)
    assert many.noise == pytest.approx(0.6 * math.sqrt(0.2), rel=0.01)
    assert units_needed(many, 0.05) > 0.8 * units_needed(few, 0.05)
    assert assumed_pilot(0.6, 30, 0.0).design_effect == 1
    assert assumed_pilot(0.6, 30, 1.0).noise == pytest.approx(0.6)


@pytest.mark.parametrize("statistic", ["mean", "ratio", "p50", "p95"])
def test_a_pilot_finds_the_noise_that_the_world_has(statistic: str) -> None:
    known = pilot(rows(1, 4000), statistic=statistic)
    between, within = math.expm1(0.25**2), math.expm1(0.25**2 + 0.5**2)
    assumed = assumed_pilot(math.sqrt(within), 20, between / within, statistic)
    assert known.noise == pytest.approx(assumed.noise, rel=0.1)
    assert known.design_effect == pytest.approx(assumed.design_effect, rel=0.2)


def test_independent_rows_have_a_design_effect_of_one() -> None:
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(2000), 1 + rng.poisson(20, 2000))
    frame = {"session": session, "latency_ns": rng.lognormal(14, 0.5, session.size)}
    for statistic in ("mean", "ratio", "p95"):
        assert pilot(frame, statistic=statistic).design_effect == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("statistic", ["mean", "p95"])
def test_power_is_the_share_of_simulated_experiments_that_find_the_change(statistic: str) -> None:
    expected = power(pilot(rows(1, 4000), statistic=statistic), 150, 0.12)
    metrics = {"latency_ns": [statistic]}
    found = [perfkit.ab(rows(seed, 150, change=0.12), metrics=metrics).effects[0].p_value for seed in range(2, 252)]
    assert 0.3 < expected < 0.95
    assert float(np.mean(np.array(found) <= 0.05)) == pytest.approx(expected, abs=0.1)


def test_an_experiment_says_what_a_longer_one_would_find() -> None:
    effect = perfkit.ab(rows(3, 600)).metric("latency_ns", "mean")
    known = pilot_of_effect(effect)
    assert known.noise == pytest.approx(pilot(rows(4, 4000)).noise, rel=0.1)
    error = effect.standard_error / math.sqrt(2)
    assert Design().error(known, 1200) == pytest.approx(error)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: power(KNOWN, 2, 0.1), "units == 2, must be above 2"),
        (lambda: power(KNOWN, 100, -1), "change == -1, must be above -1"),
        (lambda: units_needed(KNOWN, 0), "change == 0: no number of units"),
        (lambda: units_needed(KNOWN, 1e-7), "takes over 1e\\+10 units"),
        (lambda: units_needed(KNOWN, 0.1, 0.04), "wanted == 0.04, must be a power above alpha"),
        (lambda: Design(share=1.0), "share == 1.0, must be above 0 and below 1"),
        (lambda: Design(inference="bayes"), "inference == 'bayes', must be fixed or sequential"),
        (lambda: assumed_pilot(0, 30, 0.1), "cv == 0, must be above 0"),
        (lambda: assumed_pilot(0.5, 0, 0.1), "rows_per_unit == 0"),
        (lambda: assumed_pilot(0.5, 30, 2), "intra_class_correlation == 2"),
        (lambda: pilot({"session": np.zeros(9, int), "latency_ns": np.ones(9)}), "1 unit\\(s\\) with values"),
        (lambda: pilot({"session": np.arange(9), "latency_ns": np.ones(9)}), "has no noise to plan with"),
        (lambda: pilot(rows(1, 5), statistic="p99.9"), "not enough data for p99.9"),
    ],
)
def test_what_cannot_be_planned_is_refused(wrong: object, message: str) -> None:
    assert callable(wrong)
    with pytest.raises(InputError, match=message):
        wrong()


def test_hopeless_experiments_are_told_so() -> None:
    assert minimum_detectable_effect(dataclasses.replace(KNOWN, noise=50.0), 10) == math.inf
    assert power(KNOWN, 30, 0.5, SEQUENTIAL) == 0.0
