"""Error budgets and burn rates: closed forms, what holds for any counts, how often a kept promise is called broken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfkit.errors import InputError
from perfkit.stats.slo import BROKEN, KEPT, UNKNOWN, burn_rates, error_budget


def test_a_single_cluster_has_the_exact_interval_of_a_share():
    budget = error_budget([7], [1000], allowed=0.01)
    exact = stats.binomtest(7, 1000).proportion_ci(0.95, method="exact")
    assert (budget.low, budget.high) == pytest.approx((exact.low, exact.high))
    assert (budget.spent, budget.remaining, budget.verdict) == pytest.approx((0.7, 3.0, UNKNOWN))


def test_clusters_that_differ_widen_the_interval():
    alike, apart = (error_budget(bad, [1000] * 4, allowed=0.02) for bad in ([10] * 4, [0, 0, 1, 39]))
    assert alike.verdict == KEPT
    assert apart.verdict == UNKNOWN


def test_a_promise_that_is_just_kept_is_rarely_called_broken():
    rng, n = np.random.default_rng(1), 800
    broken = 0
    for _ in range(n):
        share = np.clip(rng.gamma(4.0, 0.01 / 4, 8), 0, 1)  # hours differ, their mean is what is allowed
        broken += error_budget(rng.binomial(2000, share), np.full(8, 2000), allowed=0.01).verdict == BROKEN
    assert broken <= stats.binom.ppf(0.999, n, 0.025)


def test_a_promise_that_is_clearly_broken_is_called_so():
    rng = np.random.default_rng(2)
    verdicts = {error_budget(rng.binomial(500, 0.03, 8), np.full(8, 500), allowed=0.01).verdict for _ in range(50)}
    assert verdicts == {BROKEN}


def test_without_transfers_nothing_is_known():
    budget = error_budget([], [], allowed=0.01)
    assert budget.verdict == UNKNOWN
    assert math.isnan(budget.share)
    assert not any(rate.fires for rate in burn_rates([], [], [], allowed=0.01, now=100))


def test_alerts_of_the_workbook_fire_at_their_rates():
    minutes = np.arange(4320)
    for rate, alerts in ((0.9, []), (1.2, ["ticket"]), (6.5, ["page", "ticket"]), (15.0, ["page", "page", "ticket"])):
        bad = np.full(4320, round(1_000_000 * 0.001 * rate))
        found = burn_rates(minutes, bad, np.full(4320, 1_000_000), allowed=0.001, now=4320)
        assert [one.alert for one in found if one.fires] == alerts
        assert [one.long for one in found] == pytest.approx([rate] * 3, rel=1e-3)


def test_an_outage_that_is_over_raises_no_page():
    minutes, total = np.arange(60), np.full(60, 1000)
    bad = np.where(minutes < 30, 300, 0)
    assert not burn_rates(minutes, bad, total, allowed=0.01, now=60)[0].fires
    assert burn_rates(minutes, bad[::-1], total, allowed=0.01, now=60)[0].fires


def test_one_failure_in_a_quiet_night_wakes_nobody():
    rates = burn_rates([0, 59], [0, 1], [1, 1], allowed=0.01, now=60)
    assert rates[0].long == pytest.approx(50)
    assert not any(rate.fires for rate in rates if rate.alert == "page")


def test_a_clock_that_is_ahead_counts_for_nothing():
    (page, *_) = burn_rates([50, 500], [0, 100], [100, 100], allowed=0.01, now=60)
    assert page.long == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 500)), max_size=12), st.floats(0.001, 1))
def test_the_interval_holds_the_share_and_the_order_of_clusters_changes_nothing(clusters, allowed):
    bad, total = [bad for bad, _ in clusters], [bad + good for bad, good in clusters]
    budget = error_budget(bad, total, allowed=allowed)
    again = error_budget(bad[::-1], total[::-1], allowed=allowed)
    assert (again.low, again.high) == pytest.approx((budget.low, budget.high))
    if sum(total):
        assert 0 <= budget.low <= budget.share <= budget.high <= 1


@pytest.mark.parametrize(
    ("bad", "total", "allowed", "message"),
    [
        ([1], [1, 2], 0.1, "1 counts of bad transfers"),
        ([-1], [1], 0.1, "negative"),
        ([2], [1], 0.1, "more transfers are bad"),
        ([1], [1], 0.0, "allowed == 0.0"),
    ],
)
def test_counts_that_cannot_be_are_refused(bad, total, allowed, message):
    with pytest.raises(InputError, match=message):
        error_budget(bad, total, allowed=allowed)
    with pytest.raises(InputError, match=r"negative|bad|allowed|give one"):
        burn_rates([0] * len(bad), bad, total, allowed=allowed, now=1)
