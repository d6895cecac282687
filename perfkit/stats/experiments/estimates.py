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

from perfkit.stats.experiments.units import Arm

__all__ = ["Estimate", "estimate_mean", "estimate_ratio", "fixed_interval", "fixed_p_value", "satterthwaite"]

Floats = npt.NDArray[np.float64]


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
    `fixed_interval` leaves `null` out."""
    distance = estimate.effect - null
    error = estimate.error_below if distance > 0 else estimate.error_above
    if error == 0:
        return 1.0 if distance == 0 else 0.0
    return float(2 * special.stdtr(estimate.freedom, -abs(distance) / error))


def satterthwaite(variances: tuple[float, float], freedoms: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of two estimated variances; at least 1.

    >>> satterthwaite((1.0, 1.0), (9.0, 9.0))
    18.0
    """
    spread = sum(one**2 / max(freedom, 1.0) for one, freedom in zip(variances, freedoms, strict=True))
    return max(sum(variances) ** 2 / spread, 1.0) if spread > 0 else 1.0


def estimate_mean(control: Arm, variant: Arm) -> Estimate:
    """Change of the mean over units of each unit's mean: every unit counts once."""
    return of_unit_values(control, variant, control.means, variant.means, "Welch's test on unit means, log scale")


def of_unit_values(control: Arm, variant: Arm, first: Floats, second: Floats, method: str) -> Estimate:
    """Change of the mean of one value per unit, by Welch's test on the log scale (delta method).

    Args:
        control, variant: the arms.
        first, second: one value per unit of the control and of the variant.
        method: for people.
    """
    means = float(first.mean()), float(second.mean())
    squared = tuple(one.var(ddof=1) / one.size if one.size > 1 else math.nan for one in (first, second))
    return welch(control, variant, means, (float(squared[0]), float(squared[1])), method)


def estimate_ratio(control: Arm, variant: Arm) -> Estimate:
    """Change of the mean over rows, by the delta method: units with many rows count more."""
    means, squared = [], []
    for one in (control, variant):
        mean = one.sums.sum() / one.counts.sum()
        residuals = one.sums - mean * one.counts
        n = one.n_units
        means.append(float(mean))
        squared.append(float(residuals @ residuals / (n - 1) * n / one.counts.sum() ** 2) if n > 1 else math.nan)
    method = "Welch's test on the ratio of sums, delta method"
    return welch(control, variant, (means[0], means[1]), (squared[0], squared[1]), method)


def welch(
    control: Arm, variant: Arm, means: tuple[float, float], squared: tuple[float, float], method: str
) -> Estimate:
    """An estimate from two means and their squared standard errors."""
    is_log = means[0] > 0 and means[1] > 0
    first, second = (s / m**2 if is_log else s for s, m in zip(squared, means, strict=True))
    total = first + second
    freedom = satterthwaite((first, second), (control.n_units - 1.0, variant.n_units - 1.0))
    error = math.sqrt(total) if total >= 0 else math.nan
    return Estimate(
        control_value=means[0],
        variant_value=means[1],
        effect=math.log(means[1] / means[0]) if is_log else means[1] - means[0],
        standard_error=error,
        error_below=error,
        error_above=error,
        freedom=freedom,
        units_control=control.n_units,
        units_variant=variant.n_units,
        n_rows=control.n_rows + variant.n_rows,
        method=method,
        is_log=is_log,
    )
