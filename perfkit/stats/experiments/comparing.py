"""perfkit.ab: does a variant change what its units see?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.stats.corrections import benjamini_hochberg, holm
from perfkit.stats.experiments.adjustment import adjust_mean, adjust_ratio
from perfkit.stats.experiments.clustered_quantiles import estimate_quantile
from perfkit.stats.experiments.estimates import (
    Estimate,
    estimate_mean,
    estimate_ratio,
    fixed_interval,
    fixed_p_value,
)
from perfkit.stats.experiments.question import Metrics, Question, named_metrics, quantile_level
from perfkit.stats.experiments.result import ABResult, MetricEffect
from perfkit.stats.experiments.sample_ratio import planned_shares, sample_ratio
from perfkit.stats.experiments.sampling import Sample, take_sample, with_invalid
from perfkit.stats.experiments.sequential import (
    UNITS_NEEDED,
    has_few_units,
    sequential_interval,
    sequential_p_value,
    sequential_p_value_one_sided,
)
from perfkit.stats.experiments.units import Arm
from perfkit.stats.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE

__all__ = ["ab"]

_DEFAULT_METRICS: Mapping[str, Sequence[str]] = {"latency_ns": ("mean", "p50", "p95", "p99")}
_CORRECTIONS: Mapping[str, Callable[[npt.ArrayLike], npt.NDArray[np.float64]]] = {
    "benjamini-hochberg": benjamini_hochberg,
    "holm": holm,
    "none": lambda p_values: np.asarray(p_values, float),
}


def ab(
    frame: Any,
    *,
    unit: str = "session",
    variant: str = "variant",
    control: str = "A",
    metrics: Metrics = _DEFAULT_METRICS,
    inference: str = "fixed",
    alpha: float = 0.05,
    shares: Mapping[str, float] | None = None,
    margin: float | Mapping[str, float] = 0.05,
    minimum: int = 10_000,
    covariate: str | None = None,
    segments: Sequence[str] = (),
    guardrails: Metrics = (),
    directions: Mapping[str, str] | None = None,
    correction: str = "benjamini-hochberg",
) -> ABResult:
    """Compare the variants of an experiment at the unit that was randomised.

    Requests of one session resemble each other, so that tests that take them for independent find effects where there
    are none (62 % of the time, simulated). Everything here counts sessions.

    Args:
        frame: one row per observation: a dictionary of arrays, a pandas or polars frame, an Arrow or Ibis table.
        unit: column that names what was randomised, such as the session.
        variant: column that names the variant of each row.
        control: the variant that the others are compared with.
        metrics: columns with the statistics that are asked for: ``mean``, ``ratio``, ``rank``, or a quantile such as
            ``p95``. The first is what the verdict rests on.
        inference: ``fixed``: look once, when the planned sample is there; ``sequential``: look as often as you like.
        alpha: accepted share of wrong verdicts when nothing changed.
        shares: planned share of the units of each variant; equal by default.
        margin: largest relative change that does not matter, of all metrics or of each.
        minimum: observations of each variant below which a warning says what the data can show.
        covariate: column that was measured before the experiment and goes with the metrics; means get sharper by it.
        segments: columns by which units are told apart for a closer look.
        guardrails: metrics that must not get worse, with their statistics as in `metrics`.
        directions: ``more`` for metrics of which more is better; less is, by default.
        correction: allowance for the number of metrics and variants: ``benjamini-hochberg``, ``holm`` or ``none``.

    Returns:
        The effects with intervals, p-values and verdicts.

    Raises:
        InputError: the frame or an argument cannot be used; the message says what can.

    >>> rng = np.random.default_rng(1)
    >>> session = np.repeat(np.arange(400), 25)
    >>> latency_ns = 1e6 * rng.lognormal(0, 0.2, 400)[session] * rng.lognormal(0, 0.5, session.size)
    >>> variant = np.where(session % 2 == 1, "B", "A")
    >>> frame = {"session": session, "variant": variant, "latency_ns": latency_ns * np.where(variant == "B", 1.2, 1.0)}
    >>> effect = ab(frame).metric("latency_ns", "p95")
    >>> effect.verdict, effect.n_units, bool(effect.interval[0] < 0.2 < effect.interval[1])
    ('worse', 400, True)
    """
    named = named_metrics("metrics", metrics)
    guarded = named_metrics("guardrails", guardrails)
    every = dict.fromkeys((*named, *guarded))
    question = Question(
        unit=unit,
        variant=variant,
        control=control,
        metrics=named,
        guardrails=guarded,
        inference=inference,
        alpha=alpha,
        shares=shares,
        margins=margin if isinstance(margin, Mapping) else dict.fromkeys(every, margin),
        minimum=minimum,
        covariate=covariate,
        segments=tuple(segments),
        directions=directions or {},
        correction=correction,
    )
    return _compare(take_sample(frame, question), question)


def _compare(sample: Sample, question: Question) -> ABResult:
    ratio = sample_ratio(sample.units, planned_shares(question.shares, sample.variants))
    effects: list[MetricEffect] = []
    invalid: dict[str, int] = {}
    covariate = sample.unit_means(question.covariate) if question.covariate else None
    for metric, statistics in question.metrics.items():
        arms, invalid[metric] = sample.arms(metric, covariate=covariate)
        for name, one in zip(sample.variants[1:], arms[1:], strict=True):
            effects += [
                _effect(question, metric, statistic, name, _estimate(question, arms[0], one, statistic))
                for statistic in statistics
            ]
    judged = _judged(effects, question, ratio.is_off)
    return ABResult(
        unit=question.unit,
        control=question.control,
        variants=sample.variants,
        inference=question.inference,
        alpha=question.alpha,
        margin=max(question.margins.values()),
        minimum=question.minimum,
        correction=question.correction,
        effects=tuple(judged),
        guardrails=(),
        segments=(),
        sample_ratio=ratio,
        excluded=with_invalid(sample.excluded, {name: count for name, count in invalid.items() if count}),
    )


def _estimate(question: Question, control: Arm, variant: Arm, statistic: str) -> Estimate:
    level = quantile_level(statistic)
    if level is not None:
        estimate = estimate_quantile(control, variant, level)
    elif statistic == "mean":
        estimate = estimate_mean(control, variant)
        estimate = adjust_mean(control, variant, estimate) if question.covariate else estimate
    else:
        estimate = estimate_ratio(control, variant)
        estimate = adjust_ratio(control, variant, estimate) if question.covariate else estimate
    return _for_looks(estimate) if question.inference == "sequential" else estimate


def _for_looks(estimate: Estimate) -> Estimate:
    few = f"a variant has {min(estimate.units_control, estimate.units_variant)} units; always-valid bounds start at "
    warnings = (*estimate.warnings, f"{few}{UNITS_NEEDED}") if has_few_units(estimate) else estimate.warnings
    return dataclasses.replace(estimate, method=f"{estimate.method}; always valid", warnings=warnings)


def _interval(question: Question, estimate: Estimate) -> tuple[float, float]:
    if question.inference == "sequential":
        return sequential_interval(estimate, question.alpha)
    return fixed_interval(estimate, question.alpha)


def _effect(question: Question, metric: str, statistic: str, variant: str, estimate: Estimate) -> MetricEffect:
    margin, direction = question.margins.get(metric, 0.05), question.direction(metric)
    low, high = _interval(question, estimate)
    known = estimate.is_known
    relative = math.expm1(estimate.effect) if known else math.nan
    difference = estimate.variant_value - estimate.control_value
    p_low, p_high = (
        _one_sided(question, estimate, math.log1p(-margin), 1),
        _one_sided(question, estimate, math.log1p(margin), -1),
    )
    return MetricEffect(
        metric=metric,
        statistic=statistic,
        variant=variant,
        control_value=estimate.control_value,
        variant_value=estimate.variant_value,
        relative=relative,
        interval=(math.expm1(low), math.expm1(high)) if known else (math.nan, math.nan),
        p_value=(sequential_p_value if question.inference == "sequential" else fixed_p_value)(estimate)
        if known
        else math.nan,
        p_adjusted=math.nan,
        p_equivalent=max(p_low, p_high) if known else math.nan,
        p_not_inferior=(p_high if direction == "less" else p_low) if known else math.nan,
        verdict=INCONCLUSIVE,
        difference=difference,
        difference_interval=(estimate.control_value * math.expm1(low), estimate.control_value * math.expm1(high))
        if known
        else (math.nan, math.nan),
        standard_error=estimate.standard_error,
        margin=margin,
        alpha=question.alpha,
        direction=direction,
        units_control=estimate.units_control,
        units_variant=estimate.units_variant,
        n_observations=estimate.n_rows,
        method=estimate.method,
        warnings=estimate.warnings,
    )


def _one_sided(question: Question, estimate: Estimate, null: float, sign: int) -> float:
    """Probability of an effect this far on the side `sign` of `null` if `null` were the truth."""
    if question.inference == "sequential":
        return sequential_p_value_one_sided(estimate, null, sign)
    half = fixed_p_value(estimate, null) / 2
    return half if sign * (estimate.effect - null) > 0 else 1 - half


def _judged(effects: Sequence[MetricEffect], question: Question, is_off: bool) -> list[MetricEffect]:
    """Effects with adjusted p-values and verdicts; a family is one statistic of all metrics and variants."""
    correct = _CORRECTIONS[question.correction]
    judged = list(effects)
    for statistic in dict.fromkeys(one.statistic for one in effects):
        places = [place for place, one in enumerate(effects) if one.statistic == statistic]
        columns = [
            correct([getattr(effects[place], field) for place in places]).tolist()
            for field in ("p_value", "p_equivalent", "p_not_inferior")
        ]
        for place, p_adjusted, p_equivalent, p_not_inferior in zip(places, *columns, strict=True):
            one = dataclasses.replace(
                effects[place], p_adjusted=p_adjusted, p_equivalent=p_equivalent, p_not_inferior=p_not_inferior
            )
            judged[place] = dataclasses.replace(one, verdict=INCONCLUSIVE if is_off else _verdict(one))
    return judged


def _verdict(effect: MetricEffect) -> str:
    if effect.p_adjusted <= effect.alpha:
        is_less = effect.difference < 0
        return BETTER if is_less == (effect.direction == "less") else WORSE
    return EQUIVALENT if effect.p_equivalent <= effect.alpha else INCONCLUSIVE
