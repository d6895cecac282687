"""Adjusted p-values: SciPy's own, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perfkit.stats.corrections import benjamini_hochberg, holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(p_values)
def test_holm_is_at_least_the_p_value_keeps_the_order_and_is_no_stricter_than_bonferroni(values):
    adjusted = holm(values)
    assert (adjusted >= values).all()
    assert (adjusted <= np.minimum(np.array(values) * len(values), 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(values)]) >= 0).all()


@given(p_values, st.integers(0, 5))
def test_what_was_not_tested_costs_the_others_nothing(values, untested):
    assert holm([*values, *[np.nan] * untested])[: len(values)].tolist() == holm(values).tolist()


@given(p_values, st.integers(0, 3))
def test_benjamini_hochberg_is_that_of_scipy_and_what_was_not_tested_costs_nothing(values, untested):
    adjusted = benjamini_hochberg([*values, *[np.nan] * untested])
    assert adjusted[: len(values)] == pytest.approx(stats.false_discovery_control(values, method="bh"))
    assert np.isnan(adjusted[len(values) :]).all()
