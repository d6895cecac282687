"""How many units an experiment needs, what it can find with those it has, and what a minimum of observations buys.

Everything rests on one figure, the `noise` of a unit: the standard error of the logarithm of a statistic over n units
is noise / sqrt(n). For a mean it is the coefficient of variation of unit means. More rows per unit help only until what
is common to a unit's rows prevails: that is the design effect, the factor by which rows of whole units are worth less
than independent ones.

Sources: Donner and Klar, *Design and analysis of cluster randomization trials* (2000), chapter 5; Deng, Knoblich and
Lu, *Applying the delta method in metric analytics*, KDD 2018; Kish, *Survey sampling* (1965).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import optimize, special

from perfkit.errors import InputError
from perfkit.stats.experiments.clustered_quantiles import estimate_quantile
from perfkit.stats.experiments.estimates import Estimate, estimate_mean, estimate_ratio
from perfkit.stats.experiments.question import INFERENCES, quantile_level
from perfkit.stats.experiments.result import MetricEffect
from perfkit.stats.experiments.sequential import EXPECTED_EFFECT, UNITS_NEEDED, always_valid_half_width
from perfkit.stats.experiments.units import Arm, Columns, arm, code_labels, numbers

__all__ = [
    "Design",
    "Pilot",
    "assumed_pilot",
    "minimum_detectable_effect",
    "pilot",
    "pilot_of_arm",
    "pilot_of_effect",
    "power",
    "units_needed",
]

_MOST_UNITS = 10**10


@dataclasses.dataclass(frozen=True, slots=True)
class Pilot:
    """What is known of a metric before an experiment.

    Args:
        statistic: ``mean``, ``ratio`` or a quantile such as ``p95``.
        noise: standard error of the logarithm of the statistic, times the square root of the number of units.
        rows_per_unit: rows of a unit, on average.
        design_effect: variance by units / variance if rows were independent; 1 where units have nothing in common.
        n_units: units that it was measured on; 0 where it was assumed.
        method: how the figures came about, for people.
    """

    statistic: str
    noise: float
    rows_per_unit: float
    design_effect: float
    n_units: int
    method: str


@dataclasses.dataclass(frozen=True, slots=True)
class Design:
    """How an experiment will be run and judged.

    Args:
        share: planned share of the variant among the units of variant and control, between 0 and 1.
        alpha: accepted share of wrong verdicts.
        inference: ``fixed``, or ``sequential``: then power is that of the last look alone, a lower bound.
        expected_effect: what a sequence is tuned to; see `perfkit.stats.experiments.sequential`.
    """

    share: float = 0.5
    alpha: float = 0.05
    inference: str = "fixed"
    expected_effect: float = EXPECTED_EFFECT

    def __post_init__(self) -> None:
        for name, below in (("share", 1), ("alpha", 0.5)):
            if not 0 < getattr(self, name) < below:
                raise InputError(f"{name} == {getattr(self, name)}, must be above 0 and below {below}")
        if self.inference not in INFERENCES:
            raise InputError(f"inference == {self.inference!r}, must be {' or '.join(INFERENCES)}")

    def error(self, known: Pilot, units: float) -> float:
        """Standard error of the logarithm of variant / control with that many units in all."""
        return known.noise / math.sqrt(units * self.share * (1 - self.share))

    def critical(self, error: float, freedom: float) -> float:
        """Effect / standard error from which on it is found."""
        if self.inference == "fixed":
            return float(special.stdtrit(freedom, 1 - self.alpha / 2))
        normal = float(always_valid_half_width(error, self.alpha, self.expected_effect)) / error
        return -float(special.stdtrit(freedom, special.ndtr(-normal)))


DESIGN = Design()


def pilot(frame: Any, metric: str = "latency_ns", statistic: str = "mean", *, unit: str = "session") -> Pilot:
    """Learn from rows that were recorded before an experiment.

    Args:
        frame: one row per observation, as for `perfkit.ab`; all of one variant.
        metric: column that is measured.
        statistic: ``mean``, ``ratio`` or a quantile such as ``p95``.
        unit: column that names what will be randomised.

    Raises:
        InputError: fewer than two units, or no noise in them.

    >>> rng = np.random.default_rng(1)
    >>> session = np.repeat(np.arange(500), 20)
    >>> latency_ns = 1e6 * rng.lognormal(0, 0.25, 500)[session] * rng.lognormal(0, 0.5, session.size)
    >>> known = pilot({"session": session, "latency_ns": latency_ns})
    >>> round(known.noise, 2), round(known.design_effect, 1)
    (0.27, 4.0)
    >>> units_needed(known, 0.05), round(minimum_detectable_effect(known, 600), 3)
    (942, 0.063)
    """
    columns = Columns(frame)
    codes, values = code_labels(columns[unit]).codes, numbers(columns[metric], metric)
    with np.errstate(invalid="ignore"):
        valid = (codes >= 0) & (values >= 0) & (values < np.inf)
    return pilot_of_arm(arm(values[valid], codes[valid]), statistic)


def pilot_of_arm(known: Arm, statistic: str) -> Pilot:
    """Learn from the units of one variant; see `pilot`."""
    if known.n_units < 2:
        raise InputError(f"{known.n_units} unit(s) with values; noise between units takes 2 or more, better 100")
    estimate = _against_itself(known, statistic)
    if not estimate.is_known or not estimate.is_log or estimate.standard_error == 0:
        raise InputError(
            f"{statistic} of {known.n_rows} rows in {known.n_units} units has no noise to plan with: "
            f"{'; '.join(estimate.warnings) or 'all units are alike, or zero'}; give more units or another statistic"
        )
    error = estimate.standard_error / math.sqrt(2)
    alone = Arm(known.values, np.arange(known.n_rows), np.ones(known.n_rows), known.values)
    independent = _against_itself(alone, statistic).standard_error / math.sqrt(2)
    if statistic == "mean":
        # Every unit counts once: independent rows of units as uneven as these would give the mean of unit means this.
        independent *= math.sqrt(float(np.mean(1 / known.counts)) * known.n_rows / known.n_units)
    return Pilot(
        statistic=statistic,
        noise=error * math.sqrt(known.n_units),
        rows_per_unit=known.n_rows / known.n_units,
        design_effect=(error / independent) ** 2,
        n_units=known.n_units,
        method=f"measured on {known.n_rows} rows in {known.n_units} units",
    )


def _against_itself(known: Arm, statistic: str) -> Estimate:
    level = quantile_level(statistic)
    if level is not None:
        return estimate_quantile(known, known, level)
    return (estimate_ratio if statistic == "ratio" else estimate_mean)(known, known)


def pilot_of_effect(effect: MetricEffect) -> Pilot:
    """Learn from an experiment's effect what a longer or another one would find.

    The design effect is not known from it; it is NaN.
    """
    units = 1 / (1 / effect.units_control + 1 / effect.units_variant)
    return Pilot(
        statistic=effect.statistic,
        noise=effect.standard_error * math.sqrt(units),
        rows_per_unit=effect.n_observations / effect.n_units,
        design_effect=math.nan,
        n_units=effect.n_units,
        method=f"measured on {effect.n_observations} rows in {effect.n_units} units of an experiment",
    )


def assumed_pilot(cv: float, rows_per_unit: float, intra_class_correlation: float, statistic: str = "mean") -> Pilot:
    """Figures for a metric that nobody has measured yet.

    Args:
        cv: standard deviation of rows / their mean, above 0.
        rows_per_unit: rows of a unit, 1 or more, all units alike.
        intra_class_correlation: share of the variance that lies between units, from 0 to 1.
        statistic: ``mean``, ``ratio`` or a quantile; for a quantile, rows and units are taken for lognormal.

    >>> round(assumed_pilot(0.6, 30, 0.2).noise, 3), round(assumed_pilot(0.6, 30, 0.2, "p95").noise, 3)
    (0.286, 0.368)
    """
    if not (cv > 0 and math.isfinite(cv)):
        raise InputError(f"cv == {cv}, must be above 0, for example 0.5")
    if not (rows_per_unit >= 1 and math.isfinite(rows_per_unit)):
        raise InputError(f"rows_per_unit == {rows_per_unit}, must be 1 or more")
    if not 0 <= intra_class_correlation <= 1:
        raise InputError(f"intra_class_correlation == {intra_class_correlation}, must be from 0 to 1")
    row_noise, correlation, level = cv, intra_class_correlation, quantile_level(statistic)
    if level is not None:
        row_noise, correlation = _of_lognormal_quantile(cv, intra_class_correlation, level)
    design_effect = 1 + (rows_per_unit - 1) * correlation
    noise = row_noise * math.sqrt(design_effect / rows_per_unit)
    return Pilot(statistic, noise, rows_per_unit, design_effect, 0, "assumed")


def _of_lognormal_quantile(cv: float, intra_class_correlation: float, level: float) -> tuple[float, float]:
    """Noise of the logarithm of a quantile per independent row, and how alike the rows of a unit are in being above
    it."""
    normal, variance = float(special.ndtri(level)), math.log1p(cv**2)
    density = math.exp(-(normal**2) / 2) / math.sqrt(2 * math.pi)
    alike = math.log1p(intra_class_correlation * cv**2) / variance
    below_both = level - 2 * float(special.owens_t(normal, math.sqrt((1 - alike) / (1 + alike))))
    spread = level * (1 - level)
    return math.sqrt(variance * spread) / density, (below_both - level**2) / spread


def power(known: Pilot, units: float, change: float, design: Design = DESIGN) -> float:
    """Probability that an experiment finds a change.

    Args:
        known: noise of the metric.
        units: units of variant and control together, above 2.
        change: true relative change, above -1.
        design: how the experiment is run and judged.

    >>> known = assumed_pilot(0.6, 30, 0.2)
    >>> round(power(known, 600, 0.05), 2), round(power(known, 600, 0.10), 2), round(power(known, 600, 0.0), 2)
    (0.55, 0.98, 0.05)
    """
    if not units > 2:
        raise InputError(f"units == {units}, must be above 2: there must be units in both variants")
    if not change > -1:
        raise InputError(f"change == {change}, must be above -1, for example 0.1 for 10 % more")
    error, freedom = design.error(known, units), units - 2
    bound, distance = design.critical(error, freedom), math.log1p(change) / error
    is_early = design.inference == "sequential" and units * min(design.share, 1 - design.share) < UNITS_NEEDED
    if is_early or math.isinf(bound):
        return 0.0
    on_its_side = special.nctdtr(freedom, -abs(distance), -bound)
    on_the_other = special.nctdtr(freedom, abs(distance), -bound)  # NaN where it is too small to be computed
    return float(on_its_side + np.nan_to_num(on_the_other))


def units_needed(known: Pilot, change: float, wanted: float = 0.8, design: Design = DESIGN) -> int:
    """Units of variant and control together from which on a change is found with a probability.

    Args:
        known: noise of the metric.
        change: true relative change, above -1 and not 0.
        wanted: power, above alpha and below 1.
        design: how the experiment is run and judged.

    Raises:
        InputError: no number of units below ten thousand million is enough.
    """
    _check_wanted(wanted, design)
    if change == 0:
        raise InputError("change == 0: no number of units shows a change where there is none; give one, such as 0.05")
    few, many = 3, 4
    while power(known, many, change, design) < wanted:
        few, many = many, many * 2
        if many > _MOST_UNITS:
            raise InputError(f"a change of {change:+.3g} takes over {_MOST_UNITS:.0e} units; ask for a larger change")
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if power(known, middle, change, design) >= wanted else (middle, many)
    return many


def minimum_detectable_effect(known: Pilot, units: float, wanted: float = 0.8, design: Design = DESIGN) -> float:
    """Smallest relative increase that is found with a probability; infinite where not even a hundredfold one is.

    Args:
        known: noise of the metric.
        units: units of variant and control together, above 2.
        wanted: power, above alpha and below 1.
        design: how the experiment is run and judged.
    """
    _check_wanted(wanted, design)
    largest = 100.0
    if power(known, units, largest, design) < wanted:
        return math.inf
    found = optimize.brentq(
        lambda effect: power(known, units, math.expm1(effect), design) - wanted, 0.0, math.log1p(largest), xtol=1e-9
    )
    return math.expm1(found)


def _check_wanted(wanted: float, design: Design) -> None:
    if not design.alpha < wanted < 1:
        raise InputError(f"wanted == {wanted}, must be a power above alpha ({design.alpha}) and below 1, such as 0.8")
