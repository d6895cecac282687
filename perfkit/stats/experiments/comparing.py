"""perfkit.ab: does a variant change what its units see?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.stats.experiments.adjustment import adjust_mean, adjust_ratio
from perfkit.stats.experiments.cautions import of_data, of_effects, of_size
from perfkit.stats.experiments.clustered_quantiles import estimate_quantile
from perfkit.stats.experiments.estimates import Estimate, estimate_mean, estimate_ratio
from perfkit.stats.experiments.judging import effect_of, judged, judged_guardrails, p_worse
from perfkit.stats.experiments.question import Metrics, Question, named_metrics, quantile_level
from perfkit.stats.experiments.ranks import estimate_rank
from perfkit.stats.experiments.result import ABResult, MetricEffect, Segment
from perfkit.stats.experiments.sample_ratio import planned_shares, sample_ratio
from perfkit.stats.experiments.sampling import Sample, take_sample, with_invalid
from perfkit.stats.experiments.units import Arm, code_labels

__all__ = ["ab"]

_DEFAULT_METRICS: Mapping[str, Sequence[str]] = {"latency_ns": ("mean", "p50", "p95", "p99")}
_MOST_SEGMENTS = 20

Arms = Mapping[str, tuple[Arm, ...]]


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
        metrics: columns with the statistics that are asked for: ``mean`` (each unit's mean counts once), ``ratio``
            (mean over rows), ``rank`` (shift of unit means by their ranks), or a quantile of the rows such as ``p95``.
            The first is what the verdict rests on. Without statistics, the mean.
        inference: ``fixed``: look once, when the planned sample is there; ``sequential``: look as often as you like.
        alpha: accepted share of wrong verdicts when nothing changed.
        shares: planned share of the units of each variant; equal by default.
        margin: largest relative change that does not matter, of all metrics or of each.
        minimum: observations of each variant below which a warning says what the data can show.
        covariate: column that was measured before the experiment and goes with the metrics; means get sharper by it.
        segments: columns by which rows are told apart for a closer look; what the variant itself may change is no
            segment.
        guardrails: metrics that must not get worse, with their statistics as in `metrics`.
        directions: ``more`` for metrics of which more is better; less is, by default.
        correction: allowance for the number of metrics and variants: ``benjamini-hochberg``, ``holm`` or ``none``.
            Several statistics of one metric are views of one distribution, and are not allowed for.

    Returns:
        The effects with intervals, p-values and verdicts. Every verdict is ``inconclusive`` where the units are not
        split as planned. Units in several variants, and rows with a missing, infinite or negative value, are left out
        and counted.

    Raises:
        InputError: the frame or an argument cannot be used, or nothing is left of a variant; the message says why.
        UnknownNameError: there is no such column, statistic, inference, direction or correction.

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
        segments=_names("segments", segments),
        directions=_directions(directions),
        correction=correction,
    )
    return _compare(take_sample(frame, question), question)


def _compare(sample: Sample, question: Question) -> ABResult:
    ratio = sample_ratio(sample.units, planned_shares(question.shares, sample.variants))
    covariate = sample.unit_means(question.covariate) if question.covariate else None
    arms: dict[str, tuple[Arm, ...]] = {}
    invalid: dict[str, int] = {}
    for metric in question.measured:
        arms[metric], invalid[metric] = sample.arms(metric, covariate=covariate)
        _check_arms(sample, metric, arms[metric], invalid[metric])
    effects = judged([one for one, _ in _effects(question, sample, arms)], question, ratio.is_off)
    guarded = [
        (one, p_worse(question, one, estimate)) for one, estimate in _effects(question, sample, arms, guards=True)
    ]
    guardrails = judged_guardrails(guarded, question, ratio.is_off)
    excluded = with_invalid(sample.excluded, {name: count for name, count in invalid.items() if count})
    shown = (*effects, *(one.effect for one in guardrails))
    return ABResult(
        unit=question.unit,
        control=question.control,
        variants=sample.variants,
        inference=question.inference,
        alpha=question.alpha,
        margin=effects[0].margin,
        minimum=question.minimum,
        correction=question.correction,
        effects=tuple(effects),
        guardrails=tuple(guardrails),
        segments=_segments(sample, question, covariate, ratio.is_off),
        sample_ratio=ratio,
        excluded=excluded,
        warnings=(
            *((ratio.sentence,) if ratio.is_off else ()),
            *of_data(excluded, sample.unit.size, question.unit),
            *of_size(question, sample.variants, arms, effects),
            *of_effects(shown),
        ),
    )


def _check_arms(sample: Sample, metric: str, arms: Sequence[Arm], invalid: int) -> None:
    for name, one in zip(sample.variants, arms, strict=True):
        if not one.n_rows:
            raise InputError(
                f"variant {name!r} has no row with a value of {metric!r} that counts ({invalid} missing, infinite or "
                f"negative, {sample.excluded.rows_of_those} of units in several variants); nothing can be compared"
            )


def _effects(
    question: Question, sample: Sample, arms: Arms, *, guards: bool = False
) -> Iterator[tuple[MetricEffect, Estimate]]:
    for metric, statistics in (question.guardrails if guards else question.metrics).items():
        control, *others = arms[metric]
        for name, one in zip(sample.variants[1:], others, strict=True):
            for statistic in statistics:
                estimate = _estimate(question, control, one, statistic)
                yield effect_of(question, metric, statistic, name, estimate), estimate


def _estimate(question: Question, control: Arm, variant: Arm, statistic: str) -> Estimate:
    level = quantile_level(statistic)
    if level is not None:
        return estimate_quantile(control, variant, level, question.alpha)
    if statistic == "rank":
        return estimate_rank(control, variant, question.alpha)
    if statistic == "mean":
        estimate = estimate_mean(control, variant)
        return adjust_mean(control, variant, estimate) if question.covariate else estimate
    estimate = estimate_ratio(control, variant)
    return adjust_ratio(control, variant, estimate) if question.covariate else estimate


def _names(what: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{what} == {given!r}, must be a list of columns, for example ['kind']")
    return tuple(given)


def _directions(given: Any) -> Mapping[str, str]:
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f'directions == {given!r}, must say it by metric, for example {{"throughput": "more"}}')
    return given or {}


def _segments(
    sample: Sample, question: Question, covariate: npt.NDArray[np.float64] | None, is_off: bool
) -> tuple[Segment, ...]:
    found: list[tuple[str, str]] = []
    effects: list[MetricEffect] = []
    for column in question.segments:
        labels = code_labels(sample.columns[column])
        if labels.n_labels > _MOST_SEGMENTS:
            raise InputError(
                f"column {column!r} has {labels.n_labels} values, and at most {_MOST_SEGMENTS} segments are looked at; "
                "group its values into fewer"
            )
        for code in sorted(range(labels.n_labels), key=labels.name):
            within = labels.codes == code
            arms = {metric: sample.arms(metric, within, covariate)[0] for metric in question.metrics}
            found.append((column, labels.name(code)))
            effects += [one for one, _ in _effects(question, sample, arms)]
    known = judged(effects, question, is_off)  # one family: all segments together
    each = len(known) // len(found) if found else 0
    return tuple(
        Segment(column, value, tuple(known[place * each : (place + 1) * each]))
        for place, (column, value) in enumerate(found)
    )
