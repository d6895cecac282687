"""How runs become figures, and figures verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from perfkit.workflows.scoreboard.claims import Claim, at_most_mean, mean, paired_gain, share, within
from perfkit.workflows.scoreboard.result import MET, NOT_MET, UNDECIDED


def figure(rate, n, low=0.04, high=0.06):
    happened = np.zeros(n)
    happened[: round(rate * n)] = 1
    return within("rejections", "x", low, high).figure("ab", {"x": happened})


@pytest.mark.parametrize(
    ("rate", "n", "verdict"),
    [
        (0.05, 10_000, MET),
        (0.05, 200, UNDECIDED),
        (0.1, 10_000, NOT_MET),
        (0.0, 10_000, NOT_MET),
        (0.062, 10_000, UNDECIDED),
    ],
)
def test_a_target_is_judged_on_both_sides_by_the_whole_interval(rate, n, verdict):
    assert figure(rate, n).verdict == verdict


def test_a_test_that_never_rejects_meets_an_upper_bound_only():
    assert figure(0.0, 10_000, low=0).verdict == MET
    assert figure(0.0, 10_000, low=0.04).verdict == NOT_MET


def test_a_share_has_wilsons_interval_and_leaves_out_what_is_not_known():
    found = share(np.array([1.0] * 7 + [0.0] * 3 + [np.nan] * 5))
    z = stats.norm.ppf(0.975)
    centre, reach = (0.7 + z**2 / 20) / (1 + z**2 / 10), z * math.sqrt(0.21 / 10 + z**2 / 400) / (1 + z**2 / 10)
    assert (found.value, found.n) == (0.7, 10)
    assert (found.low, found.high) == pytest.approx((centre - reach, centre + reach))


def test_no_run_says_nothing():
    claim = within("rejections", "x", 0.04, 0.06)
    found = claim.figure("ab", {"x": np.array([np.nan])})
    assert (found.n, found.verdict, found.shown, found.interval) == (0, UNDECIDED, "-", "")
    assert found.to_plain()["value"] is None


def test_a_mean_has_students_interval():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    reach = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    found = mean(values)
    assert (found.value, found.low, found.high) == pytest.approx((4, 4 - reach, 4 + reach))
    assert at_most_mean("units", "x", 1.5).figure("ab", {"x": np.array([1.2])}).verdict == UNDECIDED


def test_a_paired_gain_covers_the_true_difference():
    random = np.random.default_rng(2)
    true = 0.8 - expected_share()
    hits = []
    for _ in range(400):
        both = random.random(150)
        ours, theirs = both < 0.8, both + random.normal(0, 0.05, 150) < 0.75
        found = paired_gain(ours.astype(float), theirs.astype(float))
        hits.append(found.low <= true <= found.high)
    assert 0.92 <= np.mean(hits) <= 0.98


def expected_share():
    """Of a uniform with normal noise below 0.75."""
    noise = np.random.default_rng(3)
    return float((noise.random(10**6) + noise.normal(0, 0.05, 10**6) < 0.75).mean())


def test_targets_and_values_are_readable():
    found = Claim("power", ("x",), share, low=0.9).figure("ab", {"x": np.ones(2000)})
    assert (found.shown, found.interval, found.target) == ("100%", "99.8 to 100%", ">= 90%")
    assert figure(0.05, 10_000).target == "4 to 6%"
