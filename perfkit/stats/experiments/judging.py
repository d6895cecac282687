"""From estimates to effects with verdicts: intervals, p-values, margins, and allowance for how many there are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from perfkit.stats.corrections import benjamini_hochberg, holm
from perfkit.stats.experiments.doubts import few_units
from perfkit.stats.experiments.estimates import Estimate, fixed_interval, fixed_p_value
from perfkit.stats.experiments.question import Question
from perfkit.stats.experiments.result import Guardrail, MetricEffect
from perfkit.stats.experiments.sequential import (
    UNITS_NEEDED,
    has_few_units,
    sequential_interval,
    sequential_p_value,
    sequential_p_value_one_sided,
)
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

__all__ = ["effect_of", "judged", "judged_guardrails", "p_worse"]

Correction = Callable[[npt.ArrayLike], npt.NDArray[np.float64]]
Interval = tuple[float, float]

_UNKNOWN: Interval = (math.nan, math.nan)
_MARGIN = 0.05
_LARGEST = 700.0
"""Logarithm of about the largest floating point number."""
_CORRECTIONS: Mapping[str, Correction] = {
    "benjamini-hochberg": benjamini_hochberg,
    "holm": holm,
    "none": lambda p_values: np.asarray(p_values, float),
}
_P_VALUES = ("p_value", "p_equivalent", "p_not_inferior")


def effect_of(question: Question, metric: str, statistic: str, variant: str, estimate: Estimate) -> MetricEffect:
    """An effect from its estimate, before any allowance for how many there are, and without a verdict."""
    margin, direction = question.margins.get(metric, _MARGIN), question.direction(metric)
    is_sequential, known = question.inference == "sequential", estimate.is_known
    bounds = (sequential_interval if is_sequential else fixed_interval)(estimate, question.alpha) if known else _UNKNOWN
    relative, interval, difference_interval = _on_both_scales(estimate, bounds)
    p_value = (sequential_p_value if is_sequential else fixed_p_value)(estimate) if known else math.nan
    p_above, p_below = _beside_margin(question, estimate, margin)
    return MetricEffect(
        metric=metric,
        statistic=statistic,
        variant=variant,
        control_value=estimate.control_value,
        variant_value=estimate.variant_value,
        relative=relative,
        interval=interval,
        p_value=p_value,
        p_adjusted=p_value,
        p_equivalent=max(p_above, p_below),
        p_not_inferior=p_below if direction == "less" else p_above,
        verdict=INCONCLUSIVE,
        difference=estimate.variant_value - estimate.control_value,
        difference_interval=difference_interval,
        standard_error=estimate.standard_error,
        margin=margin,
        alpha=question.alpha,
        direction=direction,
        units_control=estimate.units_control,
        units_variant=estimate.units_variant,
        n_observations=estimate.n_rows,
        method=f"{estimate.method}; always valid" if is_sequential else estimate.method,
        warnings=_warnings(estimate, is_sequential),
    )


def _on_both_scales(estimate: Estimate, bounds: Interval) -> tuple[float, Interval, Interval]:
    """The relative change, its bounds, and the bounds of the difference."""
    control = estimate.control_value
    if not estimate.is_known:
        return math.nan, _UNKNOWN, _UNKNOWN
    if estimate.is_log:
        low, high = (math.expm1(one) if one < _LARGEST else math.inf for one in bounds)
        relative = math.expm1(estimate.effect) if estimate.effect < _LARGEST else math.inf
        return relative, (low, high), (control * low, control * high)
    if control <= 0:
        return math.nan, _UNKNOWN, bounds
    return estimate.effect / control, (max(bounds[0] / control, -1.0), bounds[1] / control), bounds


def _warnings(estimate: Estimate, is_sequential: bool) -> tuple[str, ...]:
    sizes = estimate.units_control, estimate.units_variant
    warnings = list(estimate.warnings)
    if estimate.is_known and not estimate.is_log and estimate.control_value <= 0:
        warnings.append("the control's value is zero: no relative change is defined, see the difference")
    if is_sequential and has_few_units(estimate):
        warnings = [one for one in warnings if one not in few_units(*sizes)]
        warnings.append(f"a variant has {min(sizes)} units; always-valid bounds start at {UNITS_NEEDED}")
    return tuple(warnings)


def _beside_margin(question: Question, estimate: Estimate, margin: float) -> tuple[float, float]:
    """Probabilities of an effect this far above -margin if it were there, and this far below +margin likewise."""
    if not estimate.is_known or (not estimate.is_log and estimate.control_value <= 0):
        return math.nan, math.nan
    if estimate.is_log:
        low, high = math.log1p(-margin), math.log1p(margin)
    else:
        low, high = -margin * estimate.control_value, margin * estimate.control_value
    return _one_sided(question, estimate, low, 1), _one_sided(question, estimate, high, -1)


def _one_sided(question: Question, estimate: Estimate, null: float, sign: int) -> float:
    """Probability of an effect this far on the side `sign` of `null` if `null` were the truth."""
    if not estimate.is_known:
        return math.nan
    if question.inference == "sequential":
        return sequential_p_value_one_sided(estimate, null, sign)
    half = fixed_p_value(estimate, null) / 2
    return half if sign * (estimate.effect - null) > 0 else 1 - half


def p_worse(question: Question, effect: MetricEffect, estimate: Estimate) -> float:
    """Probability of data this bad if the variant were not worse at all."""
    return _one_sided(question, estimate, 0.0, 1 if effect.direction == "less" else -1)


def judged(effects: Sequence[MetricEffect], question: Question, is_off: bool) -> list[MetricEffect]:
    """Effects with adjusted p-values and verdicts.

    Args:
        effects: those that are made together; a family is one statistic of all of them.
        question: with the correction.
        is_off: whether the sample ratio is: then nothing is concluded.
    """
    found = list(effects)
    for statistic in dict.fromkeys(one.statistic for one in effects):
        places = [place for place, one in enumerate(effects) if one.statistic == statistic]
        adjusted = _adjusted([effects[place] for place in places], _CORRECTIONS[question.correction], is_off)
        for place, one in zip(places, adjusted, strict=True):
            found[place] = one
    return found


def judged_guardrails(
    guarded: Sequence[tuple[MetricEffect, float]], question: Question, is_off: bool
) -> list[Guardrail]:
    """Guardrails from effects and their `p_worse`, adjusted after Holm: any false alarm is as rare as alpha says."""
    if not guarded:
        return []
    worse = holm([one for _, one in guarded]).tolist()
    effects = _adjusted([one for one, _ in guarded], holm, is_off)
    return [Guardrail(effect, p_value) for effect, p_value in zip(effects, worse, strict=True)]


def _adjusted(effects: Sequence[MetricEffect], correct: Correction, is_off: bool) -> list[MetricEffect]:
    if len(effects) == 1:
        columns = [[getattr(effects[0], name)] for name in _P_VALUES]
    else:
        columns = [correct([getattr(one, name) for one in effects]).tolist() for name in _P_VALUES]
    return [
        dataclasses.replace(
            effect,
            p_adjusted=p_adjusted,
            p_equivalent=p_equivalent,
            p_not_inferior=p_not_inferior,
            verdict=INCONCLUSIVE if is_off else _verdict(effect, p_adjusted, p_equivalent),
        )
        for effect, p_adjusted, p_equivalent, p_not_inferior in zip(effects, *columns, strict=True)
    ]


def _verdict(effect: MetricEffect, p_adjusted: float, p_equivalent: float) -> str:
    if p_adjusted <= effect.alpha:
        is_less = (effect.relative if math.isfinite(effect.relative) else effect.difference) < 0
        return BETTER if is_less == (effect.direction == "less") else WORSE
    return EQUIVALENT if p_equivalent <= effect.alpha else INCONCLUSIVE
