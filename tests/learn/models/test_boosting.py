"""A booster says the same of few rows as of many, though it walks its trees itself for few."""

from __future__ import annotations

import numpy as np
import pytest

from perfkit.learn.models.boosting import fit_booster
from perfkit.learn.models.encoding import MONOTONE


def test_few_rows_get_what_many_rows_get() -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(0, 1, (3000, len(MONOTONE)))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    target = np.nan_to_num(matrix[:, 0]) ** 3 + np.where(np.isnan(matrix[:, 1]), 1.0, 0.0)
    booster = fit_booster(matrix, target, seed=0)
    asked = np.vstack([matrix[:200], np.full((1, matrix.shape[1]), np.nan), np.zeros((1, matrix.shape[1]))])
    many = booster.predict(asked)
    few = np.concatenate([booster.predict(asked[row : row + 1]) for row in range(len(asked))])
    assert few == pytest.approx(many, rel=1e-9, abs=1e-12)
    assert np.ptp(many) > 1


def test_a_booster_of_single_leaves_says_the_same_everywhere() -> None:
    booster = fit_booster(np.zeros((100, len(MONOTONE))), np.zeros(100), seed=0)
    assert booster.predict(np.ones((1, len(MONOTONE)))) == pytest.approx([0.0])
