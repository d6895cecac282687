"""Units that are not split as planned are noticed, and hardly ever when they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from perfkit.stats.experiments.sample_ratio import sample_ratio


def test_many_units_are_judged_as_scipy_does() -> None:
    found = sample_ratio({"A": 5000, "B": 5210, "C": 4900}, {"A": 1 / 3, "B": 1 / 3, "C": 1 / 3})
    assert found.p_value == pytest.approx(stats.chisquare([5000, 5210, 4900]).pvalue)
    assert found.method == "chi-square test"


def test_few_units_are_judged_exactly() -> None:
    found = sample_ratio({"A": 30, "B": 3}, {"A": 0.7, "B": 0.3})
    assert found.p_value == pytest.approx(2 * stats.binomtest(30, 33, 0.7, alternative="greater").pvalue)


def test_a_fair_split_is_called_off_once_in_a_thousand() -> None:
    units = np.random.default_rng(1).binomial(600, 0.5, 3000)
    off = sum(sample_ratio({"A": int(one), "B": int(600 - one)}, {"A": 0.5, "B": 0.5}).is_off for one in units)
    assert off <= 9  # 3 expected
