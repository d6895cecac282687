"""Quantiles of rows that come in units: the variance counts units, not rows."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from perfkit.stats.experiments.estimates import Estimate
from perfkit.stats.experiments.units import Arm
from perfkit.stats.quantiles import quantile_name, rows_needed

__all__ = ["estimate_quantile"]

_METHOD = "clustered quantile, interval by unit"


def estimate_quantile(control: Arm, variant: Arm, q: float) -> Estimate:
    """Change of a quantile of the rows, with a standard error that is over units.

    Args:
        control, variant: the arms.
        q: level, between 0 and 1.

    Sources: Woodruff, *Confidence intervals for medians and other position measures*, JASA 47 (1952); Deng, Knoblich
    and Lu, *Applying the delta method in metric analytics*, KDD 2018; Donner and Zou, *Closed-form confidence intervals
    for functions of the normal mean and standard deviation*, Statistical Methods in Medical Research 21 (2012).
    """
    sides = [_woodruff(one, q) for one in (control, variant)]
    (first, low_first, high_first), (second, low_second, high_second) = sides
    error_below, error_above = math.hypot(low_second, high_first), math.hypot(high_second, low_first)
    effect = math.log(second / first) if first > 0 and second > 0 else math.nan
    warnings: tuple[str, ...] = ()
    if not math.isfinite(effect):
        name, needed = quantile_name(q), rows_needed(q)
        have = min(control.n_rows, variant.n_rows)
        warnings = (f"not enough data for {name}: {have} rows in a variant, {needed} needed",)
    return Estimate(
        control_value=first,
        variant_value=second,
        effect=effect,
        standard_error=(error_below + error_above) / 2,
        error_below=error_below,
        error_above=error_above,
        freedom=max(control.n_units + variant.n_units - 2.0, 1.0),
        units_control=control.n_units,
        units_variant=variant.n_units,
        n_rows=control.n_rows + variant.n_rows,
        method=_METHOD,
        warnings=warnings,
    )


def _woodruff(one: Arm, q: float) -> tuple[float, float, float]:
    """The quantile, and standard errors of its logarithm below and above."""
    n, k = one.n_rows, one.n_units
    if n < rows_needed(q) or k < 2:
        return math.nan, math.nan, math.nan
    ordered = np.sort(one.values)
    value = float(np.quantile(ordered, q, method="median_unbiased"))
    below = np.bincount(one.unit[one.values <= value], minlength=k)
    residuals = below - below.sum() / n * one.counts
    error = math.sqrt(float(residuals @ residuals) / (k - 1) * k) / n
    reach = float(special.ndtri(0.975))
    low, high = (
        float(np.interp(share * n - 0.5, np.arange(n), ordered)) for share in (q - reach * error, q + reach * error)
    )
    if value <= 0 or low <= 0:
        return value, math.nan, math.nan
    return value, math.log(value / low) / reach, math.log(high / value) / reach
