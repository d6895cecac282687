"""What an experiment shows: every effect with its interval and verdict, and what speaks against believing it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.experiments.showing import effects_table
from perfkit.stats.verdicts import INCONCLUSIVE, WORSE
from perfkit.tables import ResultTable

__all__ = ["ABResult", "Excluded", "Guardrail", "MetricEffect", "SampleRatio", "Segment"]


@dataclasses.dataclass(frozen=True, slots=True)
class MetricEffect:
    """What one variant does to one statistic of one metric, against the control.

    Args:
        metric: column that was measured.
        statistic: ``mean`` (over units, of each unit's mean), ``ratio`` (mean over rows), ``rank`` (shift of the unit
            means by their ranks), or a quantile of the rows such as ``p95``.
        variant: variant that is compared with the control.
        control_value: statistic of the control, in the metric's unit; NaN where there is too little data.
        variant_value: statistic of the variant, likewise.
        relative: variant / control - 1 (of ``rank``, by what unit means have to be stretched to be alike); NaN where
            the control's is zero or there is too little data.
        interval: bounds of `relative` at confidence 1 - `alpha`; NaN where there is none.
        p_value: probability of a difference this large if nothing changed; NaN where there is no test.
        p_adjusted: the same with allowance for the number of metrics and variants.
        p_equivalent: probability of a difference this small if the true change were at the margin, adjusted likewise.
        p_not_inferior: probability of data this good if the variant were worse by the margin, adjusted likewise.
        verdict: ``better``, ``worse``, ``equivalent`` or ``inconclusive``.
        difference: variant - control, in the metric's unit.
        difference_interval: its bounds, given the control's value as measured.
        standard_error: of the logarithm of variant / control (of the difference where that is not defined).
        margin: largest relative change that does not matter.
        alpha: accepted share of wrong verdicts of an experiment in which nothing changed.
        direction: ``less`` or ``more``: which is better.
        units_control: units of the control.
        units_variant: units of the variant.
        n_observations: rows of both.
        method: how interval and p-value came about, for people.
        warnings: what makes this effect hard to believe.
    """

    metric: str
    statistic: str
    variant: str
    control_value: float
    variant_value: float
    relative: float
    interval: tuple[float, float]
    p_value: float
    p_adjusted: float
    p_equivalent: float
    p_not_inferior: float
    verdict: str
    difference: float
    difference_interval: tuple[float, float]
    standard_error: float
    margin: float
    alpha: float
    direction: str
    units_control: int
    units_variant: int
    n_observations: int
    method: str
    warnings: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The relative change."""
        return self.relative

    @property
    def n_units(self) -> int:
        """Units of both variants."""
        return self.units_control + self.units_variant

    @property
    def n(self) -> int:
        """Units of both variants: they, not rows, are what was randomised."""
        return self.n_units

    @property
    def is_known(self) -> bool:
        """Whether there was data enough for an effect."""
        return math.isfinite(self.p_value)

    @property
    def is_not_inferior(self) -> bool:
        """Whether it is shown that the variant is not worse by the margin or more."""
        return self.p_not_inferior <= self.alpha

    def to_plain(self) -> dict[str, Any]:
        """The effect as values that JSON can hold; what is not known is None."""
        plain = _without_nan(dataclasses.asdict(self))
        return {**plain, "n_units": self.n_units, "is_not_inferior": self.is_not_inferior}

    def to_table(self) -> ResultTable:
        """The effect as a table of one row."""
        return effects_table(f"Effect of {self.variant}", (self,), self.alpha, notes=self.warnings)

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether the units are split as they should be: where not, assignment or recording loses units, and no effect of
    such an experiment is to be believed.

    Args:
        units: units of each variant.
        shares: share of the units that each should have.
        p_value: probability of a split this uneven if units were assigned by `shares`.
        threshold: p-value below which the split is off.
        method: name of the test.
    """

    units: Mapping[str, int]
    shares: Mapping[str, float]
    p_value: float
    threshold: float
    method: str

    @property
    def is_off(self) -> bool:
        """Whether chance hardly explains the split."""
        return self.p_value < self.threshold

    @property
    def value(self) -> Mapping[str, float]:
        """Share of the units that each variant has."""
        return {name: count / self.n for name, count in self.units.items()}

    @property
    def n(self) -> int:
        """Units of all variants."""
        return sum(self.units.values())

    @property
    def sentence(self) -> str:
        """What it means."""
        have = ", ".join(f"{name} {count:,}".replace(",", " ") for name, count in self.units.items())
        want = ":".join(f"{100 * share:.4g}" for share in self.shares.values())
        if not self.is_off:
            return f"Sample ratio as planned: {have} units, {want} planned (p = {self.p_value:.2g})."
        return (
            f"Sample ratio mismatch: {have} units, {want} planned (p = {self.p_value:.1g}). Units get lost in one "
            "variant; find out where before you believe any effect."
        )

    def to_plain(self) -> dict[str, Any]:
        """The check as values that JSON can hold."""
        return {**dataclasses.asdict(self), "is_off": self.is_off, "sentence": self.sentence}


@dataclasses.dataclass(frozen=True, slots=True)
class Excluded:
    """What was left out, and why.

    Args:
        units_in_several_variants: units that were seen in more than one variant; nothing of them counts.
        rows_of_those: their rows.
        rows_without_unit: rows that name no unit.
        rows_without_variant: rows that name no variant.
        rows_invalid: of each metric, rows whose value is missing, infinite or negative; the metric is judged without
            them.
        examples: some of the units that were in several variants.
    """

    units_in_several_variants: int = 0
    rows_of_those: int = 0
    rows_without_unit: int = 0
    rows_without_variant: int = 0
    rows_invalid: Mapping[str, int] = dataclasses.field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """The counts as values that JSON can hold."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Guardrail:
    """A promise that the experiment must not break.

    Args:
        effect: what the variant does to the metric that is guarded, p-values adjusted after Holm over the guardrails.
        p_worse: probability of data this bad if the variant were not worse at all, adjusted after Holm.
    """

    effect: MetricEffect
    p_worse: float

    @property
    def status(self) -> str:
        """``failed`` (it is shown to be worse), ``held`` (shown to be not worse by the margin) or ``open``."""
        if self.p_worse <= self.effect.alpha:
            return "failed"
        return "held" if self.effect.is_not_inferior else "open"

    def to_plain(self) -> dict[str, Any]:
        """The guardrail as values that JSON can hold."""
        return {"effect": self.effect.to_plain(), "p_worse": _known(self.p_worse), "status": self.status}


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """The effects among the units of one segment.

    Args:
        column: column by which the units were told apart.
        value: what they have in common there.
        effects: as of the whole, p-values adjusted over the segments, too.
    """

    column: str
    value: str
    effects: tuple[MetricEffect, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.column} = {self.value}"

    def to_plain(self) -> dict[str, Any]:
        """The segment as values that JSON can hold."""
        return {"column": self.column, "value": self.value, "effects": [one.to_plain() for one in self.effects]}


@dataclasses.dataclass(frozen=True)
class ABResult:
    """An experiment, judged at the unit that was randomised.

    Args:
        unit: column that names the unit of randomisation.
        control: variant that the others are compared with.
        variants: all variants, the control first.
        inference: ``fixed`` (look once, when the planned sample is there) or ``sequential`` (look as often as you
            like).
        alpha: accepted share of wrong verdicts of an experiment in which nothing changed; 1 - alpha is the confidence
            of the intervals.
        margin: largest relative change that does not matter.
        minimum: observations of each variant below which a warning says what the data can show.
        correction: how the p-values allow for the number of metrics and variants.
        effects: for each variant, metric and statistic, in the order in which they were asked for; the first is what
            the verdict rests on.
        guardrails: what must not get worse.
        segments: the effects in each segment.
        sample_ratio: whether the units are split as planned.
        excluded: what was left out.
        warnings: what makes the experiment hard to believe.
    """

    unit: str
    control: str
    variants: tuple[str, ...]
    inference: str
    alpha: float
    margin: float
    minimum: int
    correction: str
    effects: tuple[MetricEffect, ...]
    guardrails: tuple[Guardrail, ...]
    segments: tuple[Segment, ...]
    sample_ratio: SampleRatio
    excluded: Excluded
    warnings: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Units of all variants."""
        return self.sample_ratio.n

    @property
    def primary(self) -> MetricEffect:
        """The effect that the verdict rests on."""
        return self.effects[0]

    @property
    def method(self) -> str:
        """How the primary effect was judged, for people."""
        return self.primary.method

    @property
    def value(self) -> float:
        """The relative change of the primary effect."""
        return self.primary.relative

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the primary effect."""
        return self.primary.interval

    @property
    def failed_guardrails(self) -> tuple[Guardrail, ...]:
        """Promises that a variant breaks."""
        return tuple(one for one in self.guardrails if one.status == "failed")

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``equivalent`` or ``inconclusive``: of the primary effect; ``inconclusive`` where the
        sample ratio is off, ``worse`` where a guardrail failed."""
        if self.sample_ratio.is_off:
            return INCONCLUSIVE
        return WORSE if self.failed_guardrails else self.primary.verdict

    @property
    def sentence(self) -> str:
        """What it means."""
        from perfkit.stats.experiments.showing import result_sentence

        return result_sentence(self)

    def metric(self, metric: str, statistic: str = "mean", variant: str | None = None) -> MetricEffect:
        """One effect.

        Args:
            metric: name of the metric.
            statistic: such as ``mean`` or ``p95``.
            variant: which variant; it may be left out where there is but one beside the control.

        Raises:
            UnknownNameError: there is no such metric, statistic or variant.
            InputError: there are several variants and none was named.
        """
        others = self.variants[1:]
        if variant is None and len(others) > 1:
            raise InputError(f"variant is not given, and there are several: {', '.join(others)}; name one")
        if variant is not None and variant not in others:
            raise UnknownNameError("variant", variant, others)
        wanted = others[0] if variant is None else variant
        of_metric = [one for one in self.effects if one.metric == metric and one.variant == wanted]
        if not of_metric:
            raise UnknownNameError("metric", metric, dict.fromkeys(one.metric for one in self.effects))
        found = [one for one in of_metric if one.statistic == statistic]
        if not found:
            raise UnknownNameError("statistic", statistic, [one.statistic for one in of_metric])
        return found[0]

    def to_table(self) -> ResultTable:
        """Every effect, then what speaks against believing it."""
        from perfkit.stats.experiments.showing import result_table

        return result_table(self)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold; what is not known is None."""
        return {
            "unit": self.unit,
            "control": self.control,
            "variants": list(self.variants),
            "inference": self.inference,
            "alpha": self.alpha,
            "margin": self.margin,
            "minimum": self.minimum,
            "correction": self.correction,
            "n": self.n,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "effects": [one.to_plain() for one in self.effects],
            "guardrails": [one.to_plain() for one in self.guardrails],
            "segments": [one.to_plain() for one in self.segments],
            "sample_ratio": self.sample_ratio.to_plain(),
            "excluded": self.excluded.to_plain(),
            "warnings": list(self.warnings),
        }

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _without_nan(plain: Mapping[str, Any]) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        if isinstance(value, float):
            return _known(value)
        return [clean(one) for one in value] if isinstance(value, tuple) else value

    return {name: clean(value) for name, value in plain.items()}
