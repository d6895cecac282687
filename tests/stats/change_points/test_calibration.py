"""The bootstrap of a series itself: it asks for more where chance goes farther, and never for less."""

from __future__ import annotations

import numpy as np

from perfkit.stats.change_points.boundary import exceeded_with
from perfkit.stats.change_points.calibration import calibrate
from perfkit.stats.change_points.divisive import normal_scores, strongest_splits


def residuals(correlation: float, seed: int, n: int = 60) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=n + 50)
    for index in range(1, n + 50):
        noise[index] += correlation * noise[index - 1]
    return strongest_splits(normal_scores(noise[50:]), np.ones(n)).residuals


def test_independent_points_are_hardly_stretched() -> None:
    stretches = [calibrate(residuals(0.0, seed, 200)).stretch(0.01) for seed in range(20)]
    assert min(stretches) >= 1
    assert np.median(stretches) < 1.03


def test_a_short_correlated_series_needs_more_than_an_independent_one() -> None:
    correlated = [calibrate(residuals(0.8, seed)).threshold(0.01) for seed in range(20)]
    independent = [calibrate(residuals(0.0, seed)).threshold(0.01) for seed in range(20)]
    assert np.mean(correlated) > np.mean(independent) >= exceeded_with(0.01, 60)


def test_its_chances_are_those_of_its_thresholds() -> None:
    calibration = calibrate(residuals(0.8, 3))
    threshold = calibration.threshold(0.01)
    assert calibration.exceeds(threshold) <= 0.01 + 1e-9
    assert calibration.exceeds(threshold - 1) > calibration.exceeds(threshold)
    assert calibration.share_of_large(threshold, np.inf) < calibration.share_of_large(threshold, 0.0) == 1


def test_the_same_series_has_the_same_calibration() -> None:
    assert calibrate(residuals(0.5, 1)).threshold(0.01) == calibrate(residuals(0.5, 1)).threshold(0.01)


def test_a_series_without_noise_needs_what_independent_points_need() -> None:
    assert calibrate(np.zeros(50)).threshold(0.01) == exceeded_with(0.01, 50)
