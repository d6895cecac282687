"""Inference that stays valid however often somebody looks, and says when an experiment may be stopped.

A fixed test that is looked at fifty times while data comes in finds an effect that is not there 32 % of the time. Here
the probability that *any* look ever rejects what is true is at most alpha: under the null, a mixture of likelihood
ratios has an expected value of at most one at whatever moment somebody stops.

All of it is a function of an estimate's effect and standard error. So it does not matter whether a look brings new
units or more rows of the same units, and a quantile is judged as a mean is. What it takes for granted is that estimates
are nearly normal and that data comes in an order that has nothing to do with the variants.

Simulated with a hundred looks at 600 sessions of like variants, 1.9 % of 10 000 experiments ever reject the mean at 5 %
and 2 to 4 % the p50, p95 or p99, whether looks bring sessions or rows. An effect of 10 % is found after 1.2 times the
units that a fixed test needs for a power of 80 %, on average.

Sources: Robbins, *Statistical methods related to the law of the iterated logarithm*, Annals of Mathematical Statistics
41 (1970); Johari, Koomen, Pekelis and Walsh, *Always valid inference*, Operations Research 70 (2022); Howard, Ramdas,
McAuliffe and Sekhon, *Time-uniform, nonparametric, nonasymptotic confidence sequences*, Annals of Statistics 49 (2021);
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, *Time-uniform central limit theory and asymptotic confidence
sequences*, Annals of Statistics 52 (2024).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.experiments.estimates import Estimate
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

__all__ = [
    "EXPECTED_EFFECT",
    "UNITS_NEEDED",
    "Stopping",
    "always_valid_half_width",
    "always_valid_p_value",
    "has_few_units",
    "sequential_interval",
    "sequential_p_value",
    "sequential_p_value_one_sided",
    "stopping",
]

Floats = npt.NDArray[np.float64]

EXPECTED_EFFECT = 0.1
"""Size of the effects, on the log scale, that the sequence is tuned to find soonest. Any value keeps it valid; an
effect of a third of this takes about a sixth more units than with a value made for it, one of three times a third."""

UNITS_NEEDED = 30
"""Units of each variant from which on a standard error is reliable enough to be judged; before, nothing is rejected."""


NO_GAIN = "no gain"
OPEN = "open"


def always_valid_half_width(
    standard_error: npt.ArrayLike, alpha: float = 0.05, expected_effect: float = EXPECTED_EFFECT
) -> Floats:
    """Half the width of an interval that holds the truth at every look, with probability 1 - `alpha`.

    Args:
        standard_error: one per look, on the scale of `expected_effect`, any shape, above 0.
        alpha: accepted probability that any look's interval misses the truth.
        expected_effect: standard deviation of the effects that one expects, above 0.

    Returns:
        Half-widths of the same shape.

    >>> always_valid_half_width([0.1, 0.03]).round(3).tolist()
    [0.366, 0.091]
    """
    variance = np.square(np.asarray(standard_error, float))
    share = expected_effect**2 / variance
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.sqrt(variance * (1 + 1 / share) * (np.log1p(share) - 2 * math.log(alpha)))
    return np.asarray(width)


def always_valid_p_value(
    distance: npt.ArrayLike, standard_error: npt.ArrayLike, expected_effect: float = EXPECTED_EFFECT
) -> Floats:
    """P-values that may be looked at as often as one likes; at most alpha where `always_valid_half_width` is reached.

    Args:
        distance: estimate less the null value, one per look, any shape.
        standard_error: likewise, above 0.
        expected_effect: standard deviation of the effects that one expects, above 0.

    Returns:
        Two-sided p-values of the same shape, at most 1.

    >>> always_valid_p_value([0.0, 0.1, 0.2], 0.03).round(4).tolist()
    [1.0, 0.0213, 0.0]
    """
    log_ratio = _log_mixture(np.asarray(distance, float), np.asarray(standard_error, float), expected_effect)
    return np.exp(-np.maximum(log_ratio, 0.0))


def sequential_interval(
    estimate: Estimate, alpha: float, expected_effect: float = EXPECTED_EFFECT
) -> tuple[float, float]:
    """An estimate's always-valid interval, on the scale of `effect`; unbounded while there are few units.

    Args:
        estimate: the estimate of one look.
        alpha: accepted probability that any look's interval misses the truth.
        expected_effect: see `EXPECTED_EFFECT`.
    """
    if has_few_units(estimate):
        return -math.inf, math.inf
    scale = _scale(estimate, expected_effect)
    below, above = (
        _reach(error, estimate.freedom, alpha, scale) for error in (estimate.error_below, estimate.error_above)
    )
    return estimate.effect - below, estimate.effect + above


def sequential_p_value(estimate: Estimate, null: float = 0.0, expected_effect: float = EXPECTED_EFFECT) -> float:
    """Two-sided always-valid p-value; at most alpha exactly where `sequential_interval` leaves `null` out.

    Args:
        estimate: the estimate of one look.
        null: value on the scale of `effect`.
        expected_effect: see `EXPECTED_EFFECT`.
    """
    distance, error = _as_normal(estimate, null)
    if error == 0:
        return 0.0 if distance and not has_few_units(estimate) else 1.0
    return float(always_valid_p_value(distance, error, _scale(estimate, expected_effect)))


def sequential_p_value_one_sided(
    estimate: Estimate, null: float, sign: int, expected_effect: float = EXPECTED_EFFECT
) -> float:
    """Always-valid probability of an effect this far on the side `sign` of `null` if the truth were on the other.

    Args:
        estimate: the estimate of one look.
        null: value on the scale of `effect`.
        sign: 1 to show that the effect is above `null`, -1 to show that it is below.
        expected_effect: see `EXPECTED_EFFECT`.
    """
    distance, error = _as_normal(estimate, null)
    if error == 0:
        return 0.0 if sign * distance > 0 and not has_few_units(estimate) else 1.0
    scale = _scale(estimate, expected_effect)
    # Half of the mixture: only the effects on the side in question.
    share = math.log(2) + float(special.log_ndtr(sign * distance / error * scale / math.hypot(error, scale)))
    log_ratio = float(_log_mixture(np.asarray(distance), np.asarray(error), scale)) + share
    return math.exp(-max(log_ratio, 0.0))


def has_few_units(estimate: Estimate) -> bool:
    """Whether a variant has fewer units than `UNITS_NEEDED`."""
    return min(estimate.units_control, estimate.units_variant) < UNITS_NEEDED


@dataclasses.dataclass(frozen=True, slots=True)
class Stopping:
    """Whether an experiment may be stopped, and what it has shown by then.

    Args:
        may_stop: whether more data can hardly change what to do.
        verdict: ``better``, ``worse``, ``equivalent``, or ``inconclusive`` while it is open.
        reason: ``better``, ``worse``, ``equivalent``, ``no gain`` (an improvement by the margin is excluded: nothing is
            left to be won), or ``open``.
        is_harmless: whether it is shown that the variant is not worse by the margin.
        low, high: always-valid bounds of the relative change.
        margin: largest relative change that does not matter.
    """

    may_stop: bool
    verdict: str
    reason: str
    is_harmless: bool
    low: float
    high: float
    margin: float

    @property
    def sentence(self) -> str:
        """What it means."""
        within = (
            f"({100 * self.low:+.1f} to {100 * self.high:+.1f}%)" if math.isfinite(self.high) else "(no bounds yet)"
        )
        said = {
            BETTER: f"Stop: the variant is better {within}.",
            WORSE: f"Stop: the variant is worse {within}.",
            EQUIVALENT: f"Stop: the change is within ±{self.margin:.0%} {within}.",
            NO_GAIN: f"Stop if only a gain counts: an improvement by {self.margin:.0%} is excluded {within}.",
        }
        return said.get(self.reason, f"Go on: neither a change nor its absence is shown {within}.")


def stopping(interval: tuple[float, float], margin: float = 0.05, direction: str = "less") -> Stopping:
    """Whether an experiment with this always-valid interval may be stopped: for success, for harm or for futility.

    Because the interval holds the truth at all looks together, stopping at the first look that allows it costs nothing.

    Args:
        interval: bounds of the relative change from ``inference="sequential"``.
        margin: largest relative change that does not matter, above 0 and below 1.
        direction: ``less`` or ``more``: which is better.

    >>> stopping((0.02, 0.31)).reason, stopping((-0.03, 0.04)).reason, stopping((-0.2, 0.3)).may_stop
    ('worse', 'equivalent', False)
    >>> print(stopping((-0.02, 0.09)).sentence)
    Stop if only a gain counts: an improvement by 5% is excluded (-2.0 to +9.0%).
    """
    if not 0 < margin < 1:
        raise InputError(f"margin == {margin}, must be above 0 and below 1, for example 0.05")
    if direction not in ("less", "more"):
        raise UnknownNameError("direction", direction, ("less", "more"))
    low, high = interval
    best, worst = (low, high) if direction == "less" else (-high, -low)  # as if less were better
    is_harmless, is_gainless = worst < margin, best > -margin
    if worst < 0:
        reason = BETTER
    elif best > 0:
        reason = WORSE
    elif is_harmless and is_gainless:
        reason = EQUIVALENT
    else:
        reason = NO_GAIN if is_gainless else OPEN
    verdict = reason if reason in (BETTER, WORSE, EQUIVALENT) else INCONCLUSIVE
    return Stopping(reason != OPEN, verdict, reason, is_harmless, low, high, margin)


def _log_mixture(distance: Floats, standard_error: Floats, scale: float) -> Floats:
    """Logarithm of the likelihood ratio of normal effects with standard deviation `scale` against no effect."""
    variance, prior = np.square(standard_error), scale**2
    total = variance + prior
    return np.asarray(0.5 * (np.log(variance / total) + np.square(distance) * prior / (variance * total)))


def _reach(error: float, freedom: float, alpha: float, scale: float) -> float:
    """Half-width by an estimated standard error: as far out in Student's distribution as the normal one has it."""
    if error == 0:
        return 0.0
    normal = float(always_valid_half_width(error, alpha, scale)) / error
    return error * -float(special.stdtrit(freedom, special.ndtr(-normal)))


def _as_normal(estimate: Estimate, null: float) -> tuple[float, float]:
    """Distance from `null` as if the standard error were known, and that error; no distance while there are few
    units."""
    distance = estimate.effect - null
    error = estimate.error_below if distance > 0 else estimate.error_above
    if error == 0 or distance == 0:
        return distance, error
    if has_few_units(estimate):
        return 0.0, error
    normal = -float(special.ndtri(special.stdtr(estimate.freedom, -abs(distance) / error)))
    return math.copysign(normal * error, distance), error


def _scale(estimate: Estimate, expected_effect: float) -> float:
    """The expected effect on the scale of the estimate's."""
    if estimate.is_log:
        return expected_effect
    return expected_effect * max(abs(estimate.control_value), abs(estimate.variant_value))
