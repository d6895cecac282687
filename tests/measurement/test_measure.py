"""What a codec costs: what it adds to whole transfers, by hand-made times."""

from __future__ import annotations

import random

import pytest

from perfkit.measurement.measure import _LEAST_ADDED, _added_per_own


def test_codec_that_disturbs_costs_more_than_its_own_time():
    transfers = [(100, 200, 1600), (120, 180, 1500), (90, 210, 1400)]
    assert _added_per_own(transfers, bare_ns=900) == pytest.approx((1500 - 900) / 300)


def test_noise_around_the_own_time_does_not_bias_the_cost():
    """Whole transfers vary evenly around what they should take: the factor stays about one, not above it."""
    noise = random.Random(7)
    factors = [
        _added_per_own([(500, 500, 10_000 + 1000 + round(noise.uniform(-400, 400))) for _ in range(5)], bare_ns=10_000)
        for _ in range(400)
    ]
    assert sum(factors) / len(factors) == pytest.approx(1, abs=0.05)


def test_cost_stays_positive_when_the_transfer_without_codec_was_slower():
    assert _added_per_own([(10, 10, 500)], bare_ns=900) == _LEAST_ADDED
