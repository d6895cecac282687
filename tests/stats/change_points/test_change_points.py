"""Changes of level are found where they are; spikes, machines, skew and autocorrelation are none."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.stats.change_points import change_points

WORLDS = Path(__file__).parents[4] / "shared/judge/worlds.py"
CLEAR = np.random.default_rng(11).normal(100, 3, 120) * np.where(np.arange(120) < 70, 1.0, 1.12)
NOISES = ("normal", "lognormal", "spikes", "two_machines", "ar1")


@pytest.fixture
def worlds(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    if not WORLDS.exists():
        pytest.skip("needs shared/judge/worlds.py beside the repository")
    spec = importlib.util.spec_from_file_location("worlds_of_series", WORLDS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@settings(max_examples=10)
@given(st.floats(1e-9, 1e9))
def test_the_unit_does_not_matter(factor: float) -> None:
    (plain,), (scaled,) = change_points(CLEAR), change_points(CLEAR * factor)
    assert scaled.index == plain.index
    assert scaled.before == pytest.approx(plain.before * factor)
    assert scaled.relative == pytest.approx(plain.relative)
    assert scaled.p_value == pytest.approx(plain.p_value)


def test_a_series_read_backwards_changes_at_the_same_place_the_other_way() -> None:
    (forward,), (backward,) = change_points(CLEAR), change_points(CLEAR[::-1])
    assert backward.index == 120 - forward.index
    assert 1 + backward.relative == pytest.approx(1 / (1 + forward.relative))


@settings(max_examples=10)
@given(st.integers(10, 110), st.sampled_from([0.7, 0.8, 1.25, 1.5]))
def test_a_factor_from_some_point_on_is_found_there(at: int, factor: float) -> None:
    values = np.random.default_rng(at).normal(100, 2, 120) * np.where(np.arange(120) < at, 1.0, factor)
    found = change_points(values)
    assert [point.index for point in found] == [at]
    assert found[0].relative == pytest.approx(factor - 1, abs=0.06)
    assert found[0].confidence > 0.99
    assert found[0].p_value < 1e-5


def test_a_level_that_came_and_went_is_two_changes() -> None:
    values = np.random.default_rng(3).normal(100, 3, 200)
    values[90:115] *= 1.1
    found = change_points(values)
    assert [abs(point.index - at) <= 2 for point, at in zip(found, (90, 115), strict=True)] == [True, True]
    assert found[0].relative > 0 > found[1].relative


def test_a_change_smaller_than_the_minimum_does_not_count() -> None:
    values = np.random.default_rng(4).normal(100, 1, 200) * np.where(np.arange(200) < 100, 1.0, 1.03)
    assert not change_points(values)
    assert len(change_points(values, minimum_change=0.02)) == 1


def test_a_level_that_drifts_without_a_step_is_warned_about() -> None:
    values = np.random.default_rng(9).normal(100, 1, 200)
    assert not change_points(values).warnings
    found = change_points(np.linspace(100.0, 200.0, 200))
    assert not found
    assert "+73%" in found.warnings[0]


def test_a_burst_of_spikes_is_no_change() -> None:
    values = np.random.default_rng(5).normal(100, 2, 200)
    values[[20, 90, 91, 92, 150]] *= 3
    assert not change_points(values)


def test_repeated_measurements_of_a_build_are_one_point_and_changes_lie_between_builds() -> None:
    random = np.random.default_rng(6)
    builds = np.repeat(np.arange(60), random.integers(1, 8, 60))
    effect = random.normal(0, 0.03, 60)[builds]
    values = 100 * np.exp(effect + random.normal(0, 0.02, builds.size)) * np.where(builds < 40, 1.0, 1.15)
    (found,) = change_points(values, builds)
    assert found.index == np.flatnonzero(builds == builds[found.index])[0]
    assert abs(builds[found.index] - 40) <= 1
    assert change_points(values, builds).points_judged == 60


def test_builds_that_differ_by_chance_are_no_changes_when_grouped() -> None:
    """25 series of 40 builds, each with 6 measurements that agree with each other better than with other builds."""
    flagged = 0
    for seed in range(25):
        random = np.random.default_rng(seed)
        builds = np.repeat(np.arange(40), 6)
        values = 100 * np.exp(random.normal(0, 0.06, 40)[builds] + random.normal(0, 0.01, 240))
        flagged += bool(change_points(values, builds))
    assert flagged <= 1


@pytest.mark.parametrize("noise", NOISES)
def test_a_stationary_series_is_rarely_flagged(worlds: types.ModuleType, noise: str) -> None:
    """30 series; at a true rate of 1 % (3 % for ar1) four or more would be flagged once in 4 000 (80) seeds."""
    flagged = sum(bool(change_points(worlds.series(seed, noise=noise))) for seed in range(900, 930))
    assert flagged <= 3


@pytest.mark.parametrize(("noise", "at_least"), [("normal", 21), ("two_machines", 21)])
def test_twelve_points_after_a_step_are_enough(worlds: types.ModuleType, noise: str, at_least: int) -> None:
    """+10 % at cv 5 %, 25 series."""
    found = [change_points(worlds.series(seed, noise=noise, step_at=188, step=0.1)) for seed in range(700, 725)]
    places = [point.index for changes in found for point in changes[:1]]
    assert len(places) >= at_least
    assert sum(abs(place - 188) <= 3 for place in places) >= 0.8 * len(places)


def test_the_chance_that_is_shown_is_what_was_asked_for_or_less() -> None:
    noisy = np.random.default_rng(8).normal(100, 15, 200)
    assert 0 < change_points(noisy).false_alarm_rate <= 0.01
    assert change_points(noisy, false_alarm_rate=0.2).false_alarm_rate > change_points(noisy).false_alarm_rate
    quiet = np.random.default_rng(8).normal(100, 0.5, 200)
    assert change_points(quiet).false_alarm_rate < 0.005
