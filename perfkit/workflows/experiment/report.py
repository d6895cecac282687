"""What an experiment has shown until now: its effects, how they moved, and how much it could have found."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import TYPE_CHECKING, Any

from perfkit.stats.verdicts import INCONCLUSIVE
from perfkit.tables import ResultTable, plural

if TYPE_CHECKING:
    from perfkit.stats.experiments.result import ABResult, SampleRatio

__all__ = ["EffectOverTime", "ExperimentReport", "Look", "PowerPoint", "QuantileShift"]


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """The effect in everything that was recorded until one moment.

    Args:
        number: from 1.
        at: the moment; None where the rows have no time and are counted in their order.
        units: units of control and variant together.
        observations: rows of both.
        relative: variant / control - 1; NaN where there was too little data.
        low: lower bound of the always-valid interval: at confidence 1 - alpha it holds at every look together.
        high: its upper bound.
    """

    number: int
    at: datetime.datetime | None
    units: int
    observations: int
    relative: float
    low: float
    high: float

    @property
    def is_decided(self) -> bool:
        """Whether the interval excludes that nothing changed."""
        return self.low > 0 or self.high < 0


@dataclasses.dataclass(frozen=True, slots=True)
class EffectOverTime:
    """How the estimate of one effect narrowed, look by look.

    Args:
        metric: column that was measured.
        statistic: such as ``mean`` or ``p95``.
        variant: variant that is compared with the control.
        alpha: 1 - alpha is the confidence of the always-valid intervals.
        looks: in the order of time.
    """

    metric: str
    statistic: str
    variant: str
    alpha: float
    looks: tuple[Look, ...]

    @property
    def decided(self) -> Look | None:
        """The first look whose interval excludes that nothing changed: stopping there is allowed."""
        return next((look for look in self.looks if look.is_decided), None)


@dataclasses.dataclass(frozen=True, slots=True)
class PowerPoint:
    """How likely the experiment is to find a change.

    Args:
        units: units of all variants.
        relative: true relative change of the primary effect.
        power: probability that it is found, 0 to 1.
    """

    units: int
    relative: float
    power: float


@dataclasses.dataclass(frozen=True, slots=True)
class QuantileShift:
    """Where the distribution of the primary metric moved.

    Args:
        variant: variant that is compared with the control.
        quantile: 0 to 1.
        control_value: quantile of the control's rows, in the metric's unit.
        variant_value: quantile of the variant's rows.
        relative: variant / control - 1.
        low: lower bound of its interval (clustered by unit), at confidence 1 - alpha, each quantile by itself.
        high: its upper bound.
    """

    variant: str
    quantile: float
    control_value: float
    variant_value: float
    relative: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class ExperimentReport:
    """Everything that a report of an experiment shows.

    Args:
        name: of the experiment, or of the file that it was read from.
        hypothesis: what people expected before they had data; empty where nobody wrote it down.
        result: every effect on all that was recorded, guardrails, segments and sample ratio.
        over_time: the primary effect of each variant, look by look.
        power_by_change: power at the units that there are, over the true change (the first variant's primary effect).
        power_by_units: power for the change that matters, over units.
        quantile_shift: of the primary metric, variant by variant.
        since: first row that counts; None where rows have no time.
        until: last row that counts.
        warnings: what else makes the experiment hard to believe; those of `result` are not repeated.
        exposure: sample ratio of the sessions that were assigned, whether or not a transfer of theirs was recorded;
            None where assignments are not known.
        never_happened: guardrails on something that happened in no variant, such as ``failed``: there is nothing to
            test, and nothing to fear.
    """

    name: str
    hypothesis: str
    result: ABResult
    over_time: tuple[EffectOverTime, ...]
    power_by_change: tuple[PowerPoint, ...]
    power_by_units: tuple[PowerPoint, ...]
    quantile_shift: tuple[QuantileShift, ...]
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    warnings: tuple[str, ...] = ()
    exposure: SampleRatio | None = None
    never_happened: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Units of all variants."""
        return self.result.n

    @property
    def method(self) -> str:
        """How the primary effect was judged, for people."""
        return self.result.method

    @property
    def is_off(self) -> bool:
        """Whether sessions get lost: of those that were assigned, or of those that were measured."""
        return self.result.sample_ratio.is_off or (self.exposure is not None and self.exposure.is_off)

    @property
    def verdict(self) -> str:
        """As that of `result`; ``inconclusive`` where sessions get lost."""
        return INCONCLUSIVE if self.is_off else self.result.verdict

    @property
    def sentence(self) -> str:
        """What it means."""
        if self.exposure is not None and self.exposure.is_off:
            return f"Inconclusive, by the sessions that were assigned: {self.exposure.sentence}"
        return self.result.sentence

    def to_table(self) -> ResultTable:
        """The effects, then how the primary one came about and what else is to be said."""
        table = self.result.to_table()
        said = [self.sentence] if self.sentence != self.result.sentence else []
        said += [self._narrowed(one) for one in self.over_time if one.looks]
        said += [f"Guardrail {name}: it happened in no variant." for name in self.never_happened]
        said += [f"! {warning}" for warning in self.warnings]
        title = f"Experiment {self.name}: {self.verdict}"
        return dataclasses.replace(table, title=title, notes=(*table.notes, *said))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        times = {
            name: None if at is None else at.isoformat() for name, at in (("since", self.since), ("until", self.until))
        }
        return {
            "name": self.name,
            "hypothesis": self.hypothesis,
            **times,
            "n": self.n,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "result": self.result.to_plain(),
            "over_time": [_plain_effect(one) for one in self.over_time],
            "power_by_change": [_plain(one) for one in self.power_by_change],
            "power_by_units": [_plain(one) for one in self.power_by_units],
            "quantile_shift": [_plain(one) for one in self.quantile_shift],
            "exposure": None if self.exposure is None else self.exposure.to_plain(),
            "never_happened": list(self.never_happened),
            "warnings": list(self.warnings),
        }

    def _narrowed(self, effect: EffectOverTime) -> str:
        of = f"{effect.metric} {effect.statistic} of {effect.variant}"
        looks, decided = plural(len(effect.looks), "look"), effect.decided
        if decided is None:
            return f"Over {looks}, the always-valid interval of {of} never excluded 0: too early to stop."
        when = f" ({decided.at:%Y-%m-%d %H:%M})" if decided.at else ""
        return (
            f"Decided at look {decided.number} of {len(effect.looks)}{when}, at {decided.units} units: the "
            f"always-valid interval of {of} excluded 0, so that stopping there was allowed."
        )

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def _plain_effect(effect: EffectOverTime) -> dict[str, Any]:
    decided = effect.decided
    looks = [_plain(one) for one in effect.looks]
    return {**dataclasses.asdict(effect), "looks": looks, "decided": None if decided is None else decided.number}


def _plain(one: Look | PowerPoint | QuantileShift) -> dict[str, Any]:
    """Its fields; what is not finite is None, a moment is text."""

    def clean(value: Any) -> Any:
        if isinstance(value, datetime.datetime):
            return value.isoformat()
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {field.name: clean(getattr(one, field.name)) for field in dataclasses.fields(one)}
