"""Sharper means by what was known of each unit before the experiment (CUPED).

Sessions that were slow before are slow afterwards, whichever variant they get. Subtracting what the covariate predicts
takes that out of the noise and leaves the effect alone, because assignment has nothing to do with the past. Only a
covariate that the variant cannot have changed will do.

Sources: Deng, Xu, Kohavi and Walker, *Improving the sensitivity of online controlled experiments by utilizing
pre-experiment data*, WSDM 2013; Lin, *Agnostic notes on regression adjustments to experimental data*, Annals of Applied
Statistics 7 (2013).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from scipy import special

from perfkit.stats.experiments.estimates import Estimate
from perfkit.stats.experiments.units import Arm

__all__ = ["adjust_mean", "adjust_ratio", "adjusted"]

Floats = npt.NDArray[np.float64]

_FEWEST = 10
"""Units of each variant with a covariate; a slope through fewer is noise."""
_IMBALANCE = 0.001
"""Probability of covariates this far apart under random assignment, below which something else must have moved them."""


def adjust_mean(control: Arm, variant: Arm, estimate: Estimate) -> Estimate:
    """The change of the mean over units, adjusted by the arms' covariate.

    Args:
        control, variant: the arms, with a covariate.
        estimate: of `estimate_mean` on them.

    Returns:
        A sharper estimate whose method says by how much; as it was, with a warning, where the covariate is of no use.
    """
    return adjusted(estimate, control, variant, control.means, variant.means)


def adjust_ratio(control: Arm, variant: Arm, estimate: Estimate) -> Estimate:
    """The change of the mean over rows, adjusted by the arms' covariate; see `adjust_mean`."""
    linear = [
        value + (one.sums - value * one.counts) / one.counts.mean()
        for one, value in ((control, estimate.control_value), (variant, estimate.variant_value))
    ]
    return adjusted(estimate, control, variant, *linear)


def adjusted(estimate: Estimate, control: Arm, variant: Arm, first: Floats, second: Floats) -> Estimate:
    """An estimate of which what the covariate predicts is taken out.

    Args:
        estimate: the change of the mean of `first` to that of `second`.
        control, variant: the arms, with a covariate; units without one are taken for average.
        first, second: one value per unit of the control and of the variant.
    """
    filled, known = _filled(control, variant)
    if not estimate.is_known or estimate.standard_error == 0:
        return estimate
    if filled is None:
        few = f"{known[0]} and {known[1]} units have a covariate, {_FEWEST} of each variant are needed"
        reason = few if min(known) < _FEWEST else "the covariate is the same for all units"
        return dataclasses.replace(estimate, warnings=(*estimate.warnings, f"not adjusted: {reason}"))
    scales = (float(first.mean()), float(second.mean())) if estimate.is_log else (1.0, 1.0)
    values = tuple(one / scale for one, scale in zip((first, second), scales, strict=True))
    sizes = tuple(one.size for one in values)
    weighted = np.asarray(
        sum((np.cov(one, other) / one.size for one, other in zip(values, filled, strict=True)), np.zeros((2, 2)))
    )
    slope = float(weighted[0, 1] / weighted[1, 1])
    residual = [float((one - slope * other).var(ddof=1)) for one, other in zip(values, filled, strict=True)]
    spent = (sum(sizes) - 2) / (sum(sizes) - 3)  # one degree of freedom for the slope
    squared = [spent * one / size for one, size in zip(residual, sizes, strict=True)]
    error, shift = math.sqrt(sum(squared)), float(filled[1].mean() - filled[0].mean())
    spread = sum(one**2 / (size - 1) for one, size in zip(squared, sizes, strict=True))
    freedom = sum(squared) ** 2 / spread - 1 if spread > 0 else estimate.freedom
    gain = 1 - sum(squared) / float(weighted[0, 0])
    moved = _with_shift(estimate, -slope * shift, sizes[1] / sum(sizes))
    return dataclasses.replace(
        moved,
        standard_error=error,
        error_below=error,
        error_above=error,
        freedom=freedom,
        method=f"{estimate.method}, adjusted by the covariate (variance {gain:.0%} smaller)",
        warnings=(*estimate.warnings, *_doubts(shift, float(weighted[1, 1]), known, sizes)),
    )


def _filled(control: Arm, variant: Arm) -> tuple[tuple[Floats, Floats] | None, tuple[int, int]]:
    """Covariates of both arms, those that are missing replaced by the mean of all, and how many there are; None where
    they say nothing."""
    both = tuple(
        np.full(one.n_units, np.nan)
        if one.covariate is None
        else np.where(np.isfinite(one.covariate), one.covariate, np.nan)
        for one in (control, variant)
    )
    known = tuple(int(np.count_nonzero(np.isfinite(one))) for one in both)
    together = np.concatenate(both)
    if min(known) < _FEWEST or np.nanmin(together) == np.nanmax(together):
        return None, (known[0], known[1])
    # The mean over both arms: a constant that does not know the variant adds no bias.
    first, second = (np.nan_to_num(one, nan=float(np.nanmean(together))) for one in both)
    return (first, second), (known[0], known[1])


def _with_shift(estimate: Estimate, shift: float, share: float) -> Estimate:
    """The estimate with its effect moved, both values by their part of it: what they would be if both arms had the
    covariate of all."""
    if estimate.is_log:
        control = estimate.control_value * math.exp(-share * shift)
        variant = estimate.variant_value * math.exp((1 - share) * shift)
    else:
        control, variant = estimate.control_value - share * shift, estimate.variant_value + (1 - share) * shift
    return dataclasses.replace(estimate, effect=estimate.effect + shift, control_value=control, variant_value=variant)


def _doubts(shift: float, variance: float, known: tuple[int, int], sizes: tuple[int, ...]) -> tuple[str, ...]:
    doubts = []
    p_value = 2 * float(special.ndtr(-abs(shift) / math.sqrt(variance)))
    if p_value < _IMBALANCE:
        doubts.append(
            f"the covariate differs between the variants (p = {p_value:.1g}): was it measured before the experiment?"
        )
    missing = sum(sizes) - sum(known)
    if missing:
        doubts.append(f"{missing} of {sum(sizes)} units have no covariate; they were taken for average")
    return tuple(doubts)
