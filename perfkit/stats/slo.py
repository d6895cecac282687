"""Promises about shares of transfers: is one surely broken, what is left of its budget, how fast does that burn?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.errors import InputError

__all__ = ["BROKEN", "BURN_WINDOWS", "KEPT", "UNKNOWN", "BurnRate", "ErrorBudget", "burn_rates", "error_budget"]

Integers = npt.NDArray[np.int64]

KEPT, BROKEN, UNKNOWN = "kept", "broken", "not known"

BURN_WINDOWS = ((60, 5, 14.4, "page"), (360, 30, 6.0, "page"), (4320, 360, 1.0, "ticket"))
"""Minutes of the long window, minutes of the short one, burn rate from which both raise an alert, and which alert."""

_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorBudget:
    """Transfers that may be bad, and what became of that allowance.

    Args:
        allowed: share of transfers that may be bad.
        share: share that was bad; NaN without transfers.
        low: lower bound of its 95 % interval.
        high: upper bound of its 95 % interval.
        bad: transfers that were bad.
        n: transfers.
        clusters: launches, or stretches of time, that the interval rests on.
        verdict: ``kept`` or ``broken`` where the interval lies on one side of what is allowed, else ``not known``.
    """

    allowed: float
    share: float
    low: float
    high: float
    bad: int
    n: int
    clusters: int
    verdict: str

    @property
    def spent(self) -> float:
        """Spent part of the budget; above 1 there is none left. NaN without transfers."""
        return self.share / self.allowed

    @property
    def remaining(self) -> float:
        """Bad transfers that the window could still bear; negative where the budget is overdrawn."""
        return self.allowed * self.n - self.bad


@dataclasses.dataclass(frozen=True, slots=True)
class BurnRate:
    """How fast a budget is being spent: at 1 it lasts exactly as long as its window.

    Args:
        long_minutes: length of the long window, which says that it matters.
        short_minutes: length of the short window, which says that it goes on.
        threshold: rate from which both raise the alert.
        alert: ``page`` (look now) or ``ticket`` (look soon).
        long: rate in the long window; NaN without transfers.
        short: rate in the short window; NaN without transfers.
        low: lower bound of the 95 % interval of `long`.
        fires: whether `short` and the lower bound of `long` are above the threshold.
    """

    long_minutes: int
    short_minutes: int
    threshold: float
    alert: str
    long: float
    short: float
    low: float
    fires: bool


def error_budget(bad: npt.ArrayLike, total: npt.ArrayLike, *, allowed: float) -> ErrorBudget:
    """Judge a promise about the share of bad transfers.

    Args:
        bad: bad transfers of every cluster: a launch, or a stretch of time. Transfers of one cluster resemble each
            other, so that the interval is at least as wide as the spread between clusters says.
        total: transfers of every cluster, each not below `bad`.
        allowed: share that may be bad, above 0 to 1: 0.01 for a p99.

    Returns:
        The budget. Its interval is the wider of two: the exact one of independent transfers, and the one over
        clusters; at most 2.5 % of the promises that are just kept are called broken.

    Raises:
        InputError: counts are negative, do not match, or the share is out of range.

    Sources: Clopper and Pearson, *The use of confidence or fiducial limits*, Biometrika 26 (1934); Cochran, *Sampling
    Techniques*, 1977, section 3.12 (a share over clusters).

    >>> budget = error_budget([3, 1, 2], [1000, 1000, 1000], allowed=0.01)
    >>> budget.verdict, round(budget.spent, 2), budget.remaining
    ('kept', 0.2, 24.0)
    """
    counts, sizes = _counts(bad, total)
    if not 0 < allowed <= 1:
        raise InputError(f"allowed == {allowed}, must be above 0 and at most 1, for example 0.01")
    n, k = int(sizes.sum()), int(counts.sum())
    if not n:
        return ErrorBudget(allowed, math.nan, 0.0, 1.0, 0, 0, 0, UNKNOWN)
    share, (low, high) = k / n, _exact(k, n)
    clusters = int((sizes > 0).sum())
    if clusters > 1:
        residuals = (counts - share * sizes)[sizes > 0]
        error = math.sqrt(float((residuals**2).sum()) * clusters / (clusters - 1)) / n
        reach = float(-special.stdtrit(clusters - 1, (1 - _CONFIDENCE) / 2)) * error
        low, high = max(0.0, min(low, share - reach)), min(1.0, max(high, share + reach))
    verdict = BROKEN if low > allowed else KEPT if high <= allowed else UNKNOWN
    return ErrorBudget(allowed, share, low, high, k, n, clusters, verdict)


def burn_rates(
    minutes: npt.ArrayLike, bad: npt.ArrayLike, total: npt.ArrayLike, *, allowed: float, now: int
) -> tuple[BurnRate, ...]:
    """How fast a budget burns, in a long and a short window for each alert.

    Args:
        minutes: number of each minute that had transfers, in any order; a minute may come more than once.
        bad: bad transfers of each.
        total: transfers of each.
        allowed: share that may be bad, above 0 to 1.
        now: the minute after the last one that counts; later ones (a clock that is ahead) count for nothing.

    Returns:
        One rate for each of `BURN_WINDOWS`. An alert fires where both windows burn faster than its threshold: the long
        one surely (the lower bound of its interval), so that one failure in a quiet night wakes nobody.

    Raises:
        InputError: counts are negative, do not match, or the share is out of range.

    Source: Google, *The Site Reliability Workbook*, 2018, chapter 5, table 5-8.

    >>> rates = burn_rates([100, 101], [40, 50], [200, 200], allowed=0.01, now=102)
    >>> [(rate.long_minutes, round(rate.long, 1), rate.fires) for rate in rates]
    [(60, 22.5, True), (360, 22.5, True), (4320, 22.5, True)]
    """
    counts, sizes = _counts(bad, total)
    ages = now - np.asarray(minutes, np.int64)
    if ages.shape != counts.shape:
        raise InputError(f"{ages.size} minutes have {counts.size} counts; give one for each")
    if not 0 < allowed <= 1:
        raise InputError(f"allowed == {allowed}, must be above 0 and at most 1, for example 0.01")
    found = []
    for long_minutes, short_minutes, threshold, alert in BURN_WINDOWS:
        (k_long, n_long), (k_short, n_short) = (
            (int(counts[inside].sum()), int(sizes[inside].sum()))
            for inside in ((ages > 0) & (ages <= length) for length in (long_minutes, short_minutes))
        )
        long, short = (k / n / allowed if n else math.nan for k, n in ((k_long, n_long), (k_short, n_short)))
        low = _exact(k_long, n_long)[0] / allowed if n_long else 0.0
        fires = low > threshold and short > threshold
        found.append(BurnRate(long_minutes, short_minutes, threshold, alert, long, short, low, fires))
    return tuple(found)


def _counts(bad: npt.ArrayLike, total: npt.ArrayLike) -> tuple[Integers, Integers]:
    counts, sizes = np.asarray(bad, np.int64).ravel(), np.asarray(total, np.int64).ravel()
    if counts.shape != sizes.shape:
        raise InputError(
            f"{counts.size} counts of bad transfers, but {sizes.size} of all; give one of each per cluster"
        )
    if (counts < 0).any() or (counts > sizes).any():
        raise InputError("a count is negative, or more transfers are bad than there are; counts are whole, from 0")
    return counts, sizes


def _exact(k: int, n: int) -> tuple[float, float]:
    """The exact interval of a share of independent transfers."""
    tail = (1 - _CONFIDENCE) / 2
    low = float(special.betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(special.betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high
