"""Quantiles of rows that come in units: the interval is over units, however many rows each has.

In four steps. (1) How sure is the *share* of rows up to the quantile? Its variance is that of a ratio of sums over
units, each unit corrected for how much of the arm it is. (2) The share's bounds, on the logit scale so that they stay
between 0 and 1, are read off the sorted rows as bounds of the quantile; so no density has to be estimated, and tails
come out longer above than below, as they are. (3) Both arms' bounds are combined on the log scale with their skewness
(Cornish-Fisher), since two equally skewed errors cancel in a difference. (4) Student's degrees of freedom come from how
many units the rows beyond the quantile belong to: where three slow sessions make the p99, three is what counts.

Simulated on sessions of uneven size and speed, 4.5 to 5.3 % of experiments without an effect are rejected at 5 %, at
p50, p95 and p99, with 75 and with 300 sessions a side. Wald's test with an estimated density rejects 5.3 to 6.6 %.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.stats.experiments.doubts import few_units
from perfkit.stats.experiments.estimates import Estimate, satterthwaite, unknown
from perfkit.stats.experiments.units import Arm
from perfkit.stats.quantiles import quantile_name, rows_needed

__all__ = ["estimate_quantile"]

Floats = npt.NDArray[np.float64]

_METHOD = "clustered quantile (shares over units, read off the rows)"
_ROUNDING = 1e-9
"""Errors are larger by this, so that a bound that equals the null through a tie does not leave it out."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Side:
    """One arm's quantile.

    Args:
        value: the quantile; NaN where there are too few rows.
        variance: of the share of rows up to it.
        freedom: units that the rows beyond it effectively come from.
    """

    value: float
    variance: float
    freedom: float


def estimate_quantile(control: Arm, variant: Arm, q: float, alpha: float = 0.05) -> Estimate:
    """Change of a quantile of the rows, with an interval that is over units.

    Args:
        control, variant: the arms.
        q: level, between 0 and 1.
        alpha: the errors are such that Student's interval at this level has the right bounds.

    Returns:
        The estimate; without an effect, and with the reason as a warning, where there are too few rows.

    Sources: Woodruff, *Confidence intervals for medians and other position measures*, JASA 47 (1952); Korn and
    Graubard, *Confidence intervals for proportions with small expected number of positive counts estimated from survey
    data*, Survey Methodology 24 (1998); Bell and McCaffrey, *Bias reduction in standard errors for linear regression
    with multi-stage samples*, Survey Methodology 28 (2002); Deng, Knoblich and Lu, *Applying the delta method in metric
    analytics*, KDD 2018; Donner and Zou, *Closed-form confidence intervals for functions of the normal mean and
    standard deviation*, Statistical Methods in Medical Research 21 (2012).
    """
    first, second = _side(control, q), _side(variant, q)
    if not (first.value > 0 and second.value > 0):
        return _unknown(control, variant, first, second, q)
    freedom = satterthwaite((first.variance, second.variance), (first.freedom, second.freedom))
    reach = float(special.stdtrit(freedom, 1 - alpha / 2))
    below, above = _combined(_distances(control, first, q, reach), _distances(variant, second, q, reach))
    scale = (1 + _ROUNDING) / reach
    return Estimate(
        control_value=first.value,
        variant_value=second.value,
        effect=math.log(second.value / first.value),
        standard_error=(below + above) / 2 * scale,
        error_below=below * scale,
        error_above=above * scale,
        freedom=freedom,
        units_control=control.n_units,
        units_variant=variant.n_units,
        n_rows=control.n_rows + variant.n_rows,
        method=_METHOD,
        warnings=few_units(control.n_units, variant.n_units),
    )


def _side(one: Arm, q: float) -> _Side:
    n = one.n_rows
    if n < rows_needed(q) or one.n_units < 2:
        return _Side(math.nan, math.nan, math.nan)
    value = _at(one.ordered, q)
    # The smaller side is counted: fewer rows to look at, and its rows are what the quantile hangs on.
    beyond = one.unit[one.values > value] if q >= 0.5 else one.unit[one.values <= value]
    rows = np.bincount(beyond, minlength=one.n_units).astype(float)
    found = rows.sum()
    residuals = rows - found / n * one.counts
    variance = float(np.sum(residuals**2 / (1 - one.counts / n))) / n**2
    pairs = found * (found - 1)
    together = float(rows @ (rows - 1)) / pairs if pairs else 0.0
    by_size = n**2 / float(one.counts @ one.counts)
    return _Side(value, variance, max(min(by_size, 1 / together if together else by_size), 1.0))


def _at(ordered: Floats, share: float) -> float:
    """The quantile at a share, median-unbiased (definition 8 of Hyndman and Fan)."""
    place = min(max(share * ordered.size + (share + 1) / 3 - 1, 0.0), ordered.size - 1.0)
    low = math.floor(place)
    high = min(low + 1, ordered.size - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def _distances(one: Arm, side: _Side, q: float, reach: float) -> tuple[float, float]:
    """How far the bounds of the arm's quantile lie below and above it, on the log scale."""
    centre = float(special.logit(q))
    width = reach * math.sqrt(side.variance) / (q * (1 - q))
    low, high = (_at(one.ordered, float(special.expit(centre + step))) for step in (-width, width))
    return (math.log(side.value / low) if low > 0 else math.inf), math.log(high / side.value)


def _combined(control: tuple[float, float], variant: tuple[float, float]) -> tuple[float, float]:
    """How far the bounds of the difference lie below and above it."""
    if min(*control, *variant) <= 0 or math.inf in (*control, *variant):
        # Ties: a bound says that the quantile is this value, not how it is skewed.
        return math.hypot(variant[0], control[1]), math.hypot(variant[1], control[0])
    (middle, skew), (other_middle, other_skew) = (
        ((high + low) / 2, (high - low) / 2) for low, high in (control, variant)
    )
    half = math.hypot(middle, other_middle)
    shift = (other_skew * other_middle**2 - skew * middle**2) / half**2
    return half - shift, half + shift


def _unknown(control: Arm, variant: Arm, first: _Side, second: _Side, q: float) -> Estimate:
    have, needed = min(control.n_rows, variant.n_rows), rows_needed(q)
    if have < needed:
        why = f"not enough data for {quantile_name(q)}: a variant has {have} rows, {needed} are needed"
    elif min(control.n_units, variant.n_units) < 2:
        why = f"not enough data for {quantile_name(q)}: a variant has a single unit"
    else:
        why = f"{quantile_name(q)} of a variant is zero; a relative change of it is not defined"
    return unknown(control, variant, _METHOD, why, (first.value, second.value))
