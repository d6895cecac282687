"""Build the report of an experiment from its rows, wherever they come from."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perfkit.errors import InputError
from perfkit.stats.experiments import ABResult, MetricEffect, ab
from perfkit.stats.experiments.power import Design, pilot_of_effect, power
from perfkit.stats.tabular import to_arrow
from perfkit.workflows.experiment.report import EffectOverTime, ExperimentReport, Look, PowerPoint, QuantileShift

__all__ = ["Analysis", "build_report"]

_QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_CHANGES = tuple(round(0.01 * step, 2) for step in range(-20, 21))
_MULTIPLES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Analysis:
    """How an experiment is analysed: the arguments of `perfkit.ab`, and the looks.

    Args:
        metrics: statistics by metric; the verdict rests on the first.
        unit: column that names what was randomised.
        variant: column that names the variant.
        control: variant that the others are compared with.
        time: column with the moment of each row; empty where there is none.
        inference: ``sequential`` or ``fixed``.
        alpha: accepted share of wrong verdicts.
        margin: largest relative change that does not matter.
        minimum: observations of each variant below which a warning says what the data can show.
        shares: planned share of the units of each variant; None for equal ones.
        guardrails: statistics by metric that must not get worse.
        segments: columns by which units are told apart.
        directions: ``more`` for metrics of which more is better.
        looks: how many looks the effect over time has at most, 1 or more.
    """

    metrics: Mapping[str, Sequence[str]]
    unit: str = "session"
    variant: str = "variant"
    control: str = "A"
    time: str = ""
    inference: str = "sequential"
    alpha: float = 0.05
    margin: float = 0.05
    minimum: int = 10_000
    shares: Mapping[str, float] | None = None
    guardrails: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    segments: tuple[str, ...] = ()
    directions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    looks: int = 12

    @property
    def primary(self) -> tuple[str, str]:
        """Metric and statistic that the verdict rests on."""
        metric, statistics = next(iter(self.metrics.items()))
        return metric, statistics[0]

    def run(self, frame: Any, **other: Any) -> ABResult:
        """`perfkit.ab` with these arguments, some of them replaced."""
        names = ("metrics", "unit", "variant", "control", "inference", "alpha", "margin", "minimum", "shares")
        given = {name: getattr(self, name) for name in (*names, "guardrails", "segments", "directions")}
        return ab(frame, **{**given, **other})


def build_report(
    frame: Any, analysis: Analysis, *, name: str, hypothesis: str = "", warnings: Sequence[str] = ()
) -> ExperimentReport:
    """Analyse rows, and say how the effect came about.

    Args:
        frame: one row per observation.
        analysis: what is asked.
        name: of the experiment.
        hypothesis: what was expected.
        warnings: what else is to be said.

    Raises:
        InputError: the rows cannot be analysed; the message says why.
    """
    table = to_arrow(frame)
    for column in (analysis.unit, analysis.variant, *([analysis.time] if analysis.time else [])):
        if column not in table.column_names:
            raise InputError(f"the rows have no column {column!r}; they have {', '.join(table.column_names)}")
    result = analysis.run(table)
    rows, times = _in_order(table, analysis)
    by_change, by_units = _power_curves(result)
    since, until = (times[0], times[-1]) if times is not None and len(times) else (None, None)
    return ExperimentReport(
        name=name,
        hypothesis=hypothesis,
        result=result,
        over_time=_over_time(rows, times, analysis, result),
        power_by_change=by_change,
        power_by_units=by_units,
        quantile_shift=_quantile_shift(table, analysis, result),
        since=_moment(since),
        until=_moment(until),
        warnings=tuple(warnings),
    )


def _in_order(table: pa.Table, analysis: Analysis) -> tuple[pa.Table, npt.NDArray[Any] | None]:
    """The rows that looks are made of: those of time in order, or else the units in the order in which they came."""
    metric, _ = analysis.primary
    kept = table.select([analysis.unit, analysis.variant, metric])
    if analysis.time:
        times = table[analysis.time]
        if times.null_count:
            raise InputError(f"{times.null_count} rows have no {analysis.time}; drop them, or name no time")
        order = pc.sort_indices(times)
        return kept.take(order), times.take(order).to_numpy()
    units = kept[analysis.unit].combine_chunks()
    codes = units.dictionary_encode() if not pa.types.is_dictionary(units.type) else units
    _, first, inverse = np.unique(codes.indices.to_numpy(zero_copy_only=False), return_index=True, return_inverse=True)
    order = np.argsort(first[inverse], kind="stable")  # all rows of a unit together, units as they first appear
    return kept.take(pa.array(order)), None


def _over_time(
    rows: pa.Table, times: npt.NDArray[Any] | None, analysis: Analysis, result: ABResult
) -> tuple[EffectOverTime, ...]:
    metric, statistic = analysis.primary
    looks: dict[str, list[Look]] = {name: [] for name in result.variants[1:]}
    for number, end in enumerate(_ends(rows, times, analysis), start=1):
        for effect in _look(rows.slice(0, end), analysis, result):
            at = _moment(times[end - 1]) if times is not None else None
            seen = Look(number, at, effect.n_units, effect.n_observations, effect.relative, *effect.interval)
            looks[effect.variant].append(seen)
    return tuple(EffectOverTime(metric, statistic, name, analysis.alpha, tuple(found)) for name, found in looks.items())


def _look(rows: pa.Table, analysis: Analysis, result: ABResult) -> tuple[MetricEffect, ...]:
    """The primary effects at one look; none before every variant has a unit."""
    metric, statistic = analysis.primary
    seen = set(rows[analysis.variant].unique().to_pylist())
    if not seen.issuperset(result.variants):
        return ()
    try:
        found = analysis.run(
            rows, metrics={metric: (statistic,)}, guardrails={}, segments=(), inference="sequential", correction="none"
        )
    except InputError:  # nothing that can be compared yet
        return ()
    return found.effects


def _ends(rows: pa.Table, times: npt.NDArray[Any] | None, analysis: Analysis) -> list[int]:
    """How many rows each look sees: at equal steps of time, or of units; the last look sees all."""
    if not rows.num_rows:
        return []
    if times is not None:
        cuts = times[0] + (times[-1] - times[0]) * np.arange(1, analysis.looks + 1) / analysis.looks
        ends = np.searchsorted(times, cuts, side="right")
    else:
        units = rows[analysis.unit].to_numpy()
        starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])
        steps = np.unique((starts.size * np.arange(1, analysis.looks + 1)) // analysis.looks)
        ends = np.r_[starts, units.size][steps]
    return [int(end) for end in np.unique([*ends, rows.num_rows]) if end > 0]


def _quantile_shift(table: pa.Table, analysis: Analysis, result: ABResult) -> tuple[QuantileShift, ...]:
    metric, _ = analysis.primary
    names = {f"p{100 * level:g}": level for level in _QUANTILES}
    found = analysis.run(
        table, metrics={metric: tuple(names)}, guardrails={}, segments=(), inference="fixed", correction="none"
    )
    return tuple(
        QuantileShift(
            one.variant, names[one.statistic], one.control_value, one.variant_value, one.relative, *one.interval
        )
        for one in found.effects
        if one.is_known
    )


def _power_curves(result: ABResult) -> tuple[tuple[PowerPoint, ...], tuple[PowerPoint, ...]]:
    """Power over the true change with the units that there are, and over units for a change as large as the margin."""
    effect = result.primary
    if not effect.is_known or not effect.standard_error > 0 or not math.isfinite(effect.standard_error):
        return (), ()
    known = pilot_of_effect(effect)
    design = Design(effect.units_variant / effect.n_units, effect.alpha, result.inference)
    by_change = (PowerPoint(effect.n_units, one, power(known, effect.n_units, one, design)) for one in _CHANGES)
    units = sorted({max(3, round(effect.n_units * multiple)) for multiple in _MULTIPLES})
    by_units = (PowerPoint(one, effect.margin, power(known, one, effect.margin, design)) for one in units)
    return tuple(by_change), tuple(by_units)


def _moment(value: Any) -> datetime.datetime | None:
    if not isinstance(value, np.datetime64):
        return None
    moment: datetime.datetime = value.astype("datetime64[us]").item()
    return moment.replace(tzinfo=datetime.UTC)
