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
_MOST_NAMED = 1000
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
    rows = _in_order(table, analysis, result)
    by_change, by_units = _power_curves(result)
    since, until = (rows.times[0], rows.times[-1]) if rows.times is not None and rows.times.size else (None, None)
    return ExperimentReport(
        name=name,
        hypothesis=hypothesis,
        result=result,
        over_time=_over_time(rows, analysis, result),
        power_by_change=by_change,
        power_by_units=by_units,
        quantile_shift=_quantile_shift(table, analysis, result),
        since=_moment(since),
        until=_moment(until),
        warnings=tuple(warnings),
    )


@dataclasses.dataclass(frozen=True)
class _Rows:
    """What looks are made of, coded once: arrays of one element per row, in the order in which they came.

    Args:
        unit: number of the unit.
        variant: place of the variant in the result's.
        values: the primary metric.
        times: the moments; None where rows have no time, and all rows of a unit come when its first one does.
    """

    unit: npt.NDArray[np.int64]
    variant: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    times: npt.NDArray[Any] | None


def _in_order(table: pa.Table, analysis: Analysis, result: ABResult) -> _Rows:
    metric, _ = analysis.primary
    unit, _ = _codes(table[analysis.unit])
    found, names = _codes(table[analysis.variant])
    places = np.array([result.variants.index(name) if name in result.variants else -1 for name in names] or [-1])
    variant = np.where(found >= 0, places[found], -1)
    values = table[metric].cast(pa.float64()).to_numpy()
    times = None
    if analysis.time:
        if table[analysis.time].null_count:
            raise InputError(
                f"{table[analysis.time].null_count} rows have no {analysis.time}; drop them, or name no time"
            )
        times = table[analysis.time].to_numpy()
        order = np.argsort(times, kind="stable")
    else:
        _, first, inverse = np.unique(unit, return_index=True, return_inverse=True)
        order = np.argsort(first[inverse], kind="stable")
    order = order[(unit[order] >= 0) & (variant[order] >= 0)]
    return _Rows(unit[order], variant[order], values[order], None if times is None else times[order])


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    """A column of labels as numbers, -1 for a missing one, and the labels; those of numbers are not needed."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # of a table without rows
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    few = encoded.dictionary if len(encoded.dictionary) <= _MOST_NAMED else encoded.dictionary[:0]
    return codes, [str(one) for one in few.to_pylist()]


def _over_time(rows: _Rows, analysis: Analysis, result: ABResult) -> tuple[EffectOverTime, ...]:
    metric, statistic = analysis.primary
    looks: dict[str, list[Look]] = {name: [] for name in result.variants[1:]}
    for number, end in enumerate(_ends(rows, analysis), start=1):
        for effect in _look(rows, end, analysis, result):
            at = _moment(rows.times[end - 1]) if rows.times is not None else None
            seen = Look(number, at, effect.n_units, effect.n_observations, effect.relative, *effect.interval)
            looks[result.variants[int(effect.variant)]].append(seen)
    return tuple(EffectOverTime(metric, statistic, name, analysis.alpha, tuple(found)) for name, found in looks.items())


def _look(rows: _Rows, end: int, analysis: Analysis, result: ABResult) -> tuple[MetricEffect, ...]:
    """The primary effects in the first rows, variants by their place; none before every variant has a unit."""
    metric, statistic = analysis.primary
    variant = rows.variant[:end]
    if not np.bincount(variant, minlength=len(result.variants)).all():
        return ()
    try:
        found = ab(
            {"unit": rows.unit[:end], "variant": variant, metric: rows.values[:end]},
            unit="unit",
            control="0",
            metrics={metric: (statistic,)},
            directions=analysis.directions,
            margin=analysis.margin,
            alpha=analysis.alpha,
            inference="sequential",
            correction="none",
            minimum=0,
        )
    except InputError:  # nothing that can be compared yet
        return ()
    return found.effects


def _ends(rows: _Rows, analysis: Analysis) -> list[int]:
    """How many rows each look sees: at equal steps of time, or of units; the last look sees all."""
    if not rows.unit.size:
        return []
    if rows.times is not None:
        steps = np.arange(1, analysis.looks + 1) / analysis.looks
        ends = np.searchsorted(rows.times, rows.times[0] + (rows.times[-1] - rows.times[0]) * steps, side="right")
    else:
        starts = np.flatnonzero(np.r_[True, rows.unit[1:] != rows.unit[:-1]])
        last = np.unique((starts.size * np.arange(1, analysis.looks + 1)) // analysis.looks)
        ends = np.r_[starts, rows.unit.size][last]
    return [int(end) for end in np.unique([*ends, rows.unit.size]) if end > 0]


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
