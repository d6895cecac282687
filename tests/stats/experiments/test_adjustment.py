"""What was known before an experiment takes noise out of its effect, and adds no bias."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

import perfkit
from perfkit.stats.experiments.adjustment import adjust_mean, adjust_ratio
from perfkit.stats.experiments.estimates import Estimate, estimate_mean, estimate_ratio, fixed_interval
from perfkit.stats.experiments.units import Arm

Floats = npt.NDArray[np.float64]


def arm(means: Floats, covariate: Floats | None, counts: Floats | None = None) -> Arm:
    """An arm of units with these means."""
    sizes = np.full(means.size, 5.0) if counts is None else counts
    unit = np.repeat(np.arange(means.size), sizes.astype(int))
    return Arm(means[unit], unit, sizes, means * sizes, covariate)


def arms(seed: int, units: int, effect: float = 0.0, likeness: float = 0.7) -> tuple[Arm, Arm]:
    """Two arms of units whose speed before and during the experiment goes together."""
    rng = np.random.default_rng(seed)
    both = []
    for change in (0.0, effect):
        before, other = rng.normal(0, 0.3, (2, units))
        after = likeness * before + math.sqrt(1 - likeness**2) * other
        both.append(arm(1e6 * np.exp(after) * (1 + change), 1e6 * np.exp(before), 1.0 + rng.poisson(10, units)))
    return both[0], both[1]


def adjust(control: Arm, variant: Arm) -> Estimate:
    """The adjusted change of the mean."""
    return adjust_mean(control, variant, estimate_mean(control, variant))


def test_the_slope_is_that_of_least_squares_where_the_arms_are_alike() -> None:
    control, variant = arms(1, 5000, 0.1)
    adjusted, plain = adjust(control, variant), estimate_mean(control, variant)
    relative = [one.means / one.means.mean() for one in (control, variant)]
    before = [one.covariate for one in (control, variant)]
    assert before[0] is not None
    assert before[1] is not None
    slope = np.mean([stats.linregress(x, y).slope for x, y in zip(before, relative, strict=True)])
    shift = before[1].mean() - before[0].mean()
    assert adjusted.effect == pytest.approx(plain.effect - slope * shift, abs=0.02 * plain.standard_error)
    correlation = np.corrcoef(before[0], relative[0])[0, 1]
    assert adjusted.standard_error / plain.standard_error == pytest.approx(math.sqrt(1 - correlation**2), rel=0.02)
    assert adjusted.variant_value / adjusted.control_value == pytest.approx(math.exp(adjusted.effect))
    assert adjusted.method.endswith("adjusted by the covariate (variance 47% smaller)")


def test_the_adjusted_interval_holds_the_truth_and_is_not_biased() -> None:
    found = [adjust(*arms(seed, 40, 0.1)) for seed in range(500)]
    held = [low < math.log(1.1) < high for low, high in (fixed_interval(one, 0.05) for one in found)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)
    z = (np.mean([one.effect for one in found]) - math.log(1.1)) / stats.sem([one.effect for one in found])
    assert abs(z) < 3.5


def test_the_mean_over_rows_is_adjusted_too() -> None:
    control, variant = arms(2, 2000, 0.1)
    plain = estimate_ratio(control, variant)
    adjusted = adjust_ratio(control, variant, plain)
    assert adjusted.standard_error < 0.85 * plain.standard_error
    assert abs(adjusted.effect - math.log(1.1)) < 3 * adjusted.standard_error


def test_a_covariate_that_says_nothing_changes_nothing() -> None:
    adjusted, plain = adjust(*arms(3, 3000, likeness=0.0)), estimate_mean(*arms(3, 3000))
    assert adjusted.standard_error == pytest.approx(plain.standard_error, rel=0.05)


def test_units_without_a_covariate_are_counted_and_kept() -> None:
    control, variant = arms(4, 500)
    assert variant.covariate is not None
    partly = dataclasses.replace(variant, covariate=np.where(np.arange(500) < 250, variant.covariate, np.nan))
    adjusted = adjust(control, partly)
    assert adjusted.warnings == ("250 of 1000 units have no covariate; they were taken for average",)
    assert adjust(control, variant).standard_error < adjusted.standard_error
    assert adjusted.standard_error < estimate_mean(control, variant).standard_error


@pytest.mark.parametrize(
    ("covariate", "reason"),
    [
        (None, "0 and 0 units have a covariate, 10 of each variant are needed"),
        (np.full(50, np.nan), "0 and 0 units have a covariate"),
        (np.ones(50), "the covariate is the same for all units"),
    ],
)
def test_a_useless_covariate_is_told_and_leaves_the_estimate_alone(covariate: Floats | None, reason: str) -> None:
    control, variant = (dataclasses.replace(one, covariate=covariate) for one in arms(5, 50))
    adjusted, plain = adjust(control, variant), estimate_mean(control, variant)
    assert dataclasses.replace(adjusted, warnings=()) == plain
    assert f"not adjusted: {reason}" in adjusted.warnings[0]


def test_a_covariate_that_the_variant_moved_is_told() -> None:
    control, variant = arms(6, 500)
    assert variant.covariate is not None
    moved = dataclasses.replace(variant, covariate=variant.covariate * 1.2)
    assert "differs between the variants" in adjust(control, moved).warnings[0]


def test_without_noise_there_is_nothing_to_take_out() -> None:
    control, variant = (dataclasses.replace(one, sums=one.counts * 7.0) for one in arms(7, 50))
    assert adjust(control, variant) == estimate_mean(control, variant)


def test_a_covariate_that_says_everything_leaves_no_noise() -> None:
    rng = np.random.default_rng(8)
    first, second = rng.lognormal(0, 0.3, 50), rng.lognormal(0, 0.3, 50)
    adjusted = adjust(arm(first, first), arm(second, second))
    assert adjusted.standard_error < 0.1 * estimate_mean(arm(first, None), arm(second, None)).standard_error


def test_an_experiment_takes_a_column_as_covariate() -> None:
    rng = np.random.default_rng(9)
    session = np.repeat(np.arange(300), 10)
    speed = rng.lognormal(0, 0.3, 300)
    frame = {
        "session": session,
        "variant": np.where(session % 2 == 1, "B", "A"),
        "latency_ns": 1e6 * speed[session] * rng.lognormal(0, 0.3, session.size),
        "pre_latency_ns": 1e6 * (speed * rng.lognormal(0, 0.1, 300))[session],
    }
    metrics = {"latency_ns": ["mean", "ratio", "p50"]}
    plain, adjusted = (perfkit.ab(frame, metrics=metrics, covariate=one) for one in (None, "pre_latency_ns"))
    for statistic in ("mean", "ratio"):
        one, other = (found.metric("latency_ns", statistic) for found in (plain, adjusted))
        assert other.standard_error < 0.6 * one.standard_error
        assert "adjusted by the covariate" in other.method
    assert adjusted.effects[2] == plain.effects[2]
