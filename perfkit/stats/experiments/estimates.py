"""Statistics of two arms, each as an estimate: all that an inference needs to know.

`Estimate` is the hand-over between statistics and inference. On the scale of `effect`, the logarithm of variant /
control wherever that is defined, an estimate is taken for normal with `standard_error`; the fixed inference of
`fixed_interval` uses Student's distribution with `freedom`, and the standard error of the side in question, since that
of a quantile differs on both sides. An always-valid inference takes `effect`, `standard_error` and `n_units`, nothing
else.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.stats.experiments.doubts import of_influences
from perfkit.stats.experiments.units import Arm

__all__ = ["Estimate", "estimate_mean", "estimate_ratio", "fixed_interval", "fixed_p_value", "satterthwaite", "unknown"]

Floats = npt.NDArray[np.float64]

_SINGLE = "not enough data: a variant has fewer than 2 units"
_ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """The effect of a variant on one statistic.

    Args:
        control_value: statistic of the control, in the metric's unit.
        variant_value: statistic of the variant.
        effect: logarithm of variant / control; variant - control where `is_log` is False.
        standard_error: of `effect`.
        error_below: standard error for the lower bound of the interval, and for tests of smaller values.
        error_above: standard error for the upper bound.
        freedom: degrees of freedom of the standard errors.
        units_control: units of the control.
        units_variant: units of the variant.
        n_rows: rows of both.
        method: for people.
        is_log: whether `effect` is a logarithm.
        warnings: what makes the estimate hard to believe.
    """

    control_value: float
    variant_value: float
    effect: float
    standard_error: float
    error_below: float
    error_above: float
    freedom: float
    units_control: int
    units_variant: int
    n_rows: int
    method: str
    is_log: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def n_units(self) -> int:
        """Units of both arms."""
        return self.units_control + self.units_variant

    @property
    def is_known(self) -> bool:
        """Whether there was data enough."""
        return math.isfinite(self.effect) and math.isfinite(self.standard_error)


def fixed_interval(estimate: Estimate, alpha: float) -> tuple[float, float]:
    """Student's interval, on the scale of `effect`."""
    reach = float(special.stdtrit(estimate.freedom, 1 - alpha / 2))
    return estimate.effect - reach * estimate.error_below, estimate.effect + reach * estimate.error_above


def fixed_p_value(estimate: Estimate, null: float = 0.0) -> float:
    """Two-sided probability of an effect this far from `null` if that were the truth; at most alpha exactly where
    `fixed_interval` leaves `null` out.

    Without any noise it is that of a permutation test, in which all values of one variant are on the same side.
    """
    distance = estimate.effect - null
    error = estimate.error_below if distance > 0 else estimate.error_above
    if error > 0:
        return float(2 * special.stdtr(estimate.freedom, -abs(distance) / error))
    if distance == 0:
        return 1.0
    return min(1.0, 2 / math.comb(estimate.n_units, estimate.units_control)) if estimate.n_units < 100 else 0.0


def unknown(
    control: Arm, variant: Arm, method: str, why: str, values: tuple[float, float] = (math.nan, math.nan)
) -> Estimate:
    """An estimate that cannot be given, with the reason as its warning."""
    return Estimate(
        control_value=values[0],
        variant_value=values[1],
        effect=math.nan,
        standard_error=math.nan,
        error_below=math.nan,
        error_above=math.nan,
        freedom=1.0,
        units_control=control.n_units,
        units_variant=variant.n_units,
        n_rows=control.n_rows + variant.n_rows,
        method=method,
        warnings=(why,),
    )


def satterthwaite(variances: tuple[float, float], freedoms: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of two estimated variances; at least 1.

    >>> satterthwaite((1.0, 1.0), (9.0, 9.0))
    18.0
    """
    spread = sum(one**2 / max(freedom, 1.0) for one, freedom in zip(variances, freedoms, strict=True))
    return max(sum(variances) ** 2 / spread, 1.0) if spread > 0 else 1.0


def estimate_mean(control: Arm, variant: Arm) -> Estimate:
    """Change of the mean over units of each unit's mean: every unit counts once.

    Source: Welch, *The generalization of "Student's" problem*, Biometrika 34 (1947).
    """
    method = "Welch's test on unit means, log scale"
    if min(control.n_units, variant.n_units) < 2:
        return unknown(control, variant, method, _SINGLE)
    means = float(control.means.mean()), float(variant.means.mean())
    return _welch(control, variant, means, (control.means - means[0], variant.means - means[1]), method)


def estimate_ratio(control: Arm, variant: Arm) -> Estimate:
    """Change of the mean over rows, by the delta method: units with many rows count more.

    Source: Deng, Knoblich and Lu, *Applying the delta method in metric analytics*, KDD 2018.
    """
    method = "Welch's test on the mean over rows, delta method, log scale"
    if min(control.n_units, variant.n_units) < 2:
        return unknown(control, variant, method, _SINGLE)
    first, second = (float(one.sums.sum() / one.counts.sum()) for one in (control, variant))
    residuals = tuple(
        (one.sums - mean * one.counts) / (one.n_rows / one.n_units)
        for one, mean in ((control, first), (variant, second))
    )
    return _welch(control, variant, (first, second), (residuals[0], residuals[1]), method)


def _welch(
    control: Arm, variant: Arm, means: tuple[float, float], residuals: tuple[Floats, Floats], method: str
) -> Estimate:
    """An estimate from two means and what each unit adds to them."""
    is_log = means[0] > 0 and means[1] > 0
    scale = max(means)
    shares = [one / (mean if is_log else scale or 1.0) for one, mean in zip(residuals, means, strict=True)]
    first, second = (float(one @ one) / (one.size - 1) / one.size for one in shares)
    error = math.sqrt(first + second)
    effect = math.log(means[1]) - math.log(means[0]) if is_log else (means[1] - means[0]) / (scale or 1.0)
    # What floating point makes of equal values is neither noise nor effect.
    error, effect = (0.0 if abs(one) < _ROUNDING else one for one in (error, effect))
    unit = 1.0 if is_log else scale or 1.0
    return Estimate(
        control_value=means[0],
        variant_value=means[1],
        effect=effect * unit,
        standard_error=error * unit,
        error_below=error * unit,
        error_above=error * unit,
        freedom=satterthwaite((first, second), (control.n_units - 1.0, variant.n_units - 1.0)),
        units_control=control.n_units,
        units_variant=variant.n_units,
        n_rows=control.n_rows + variant.n_rows,
        method=method if is_log else method.replace(", log scale", ", as a difference"),
        is_log=is_log,
        warnings=of_influences(*shares) if error else of_influences(*(np.zeros_like(one) for one in shares)),
    )
