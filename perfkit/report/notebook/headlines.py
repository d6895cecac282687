"""The headline figures of results, under names that stay the same from run to run.

Every name stands once in a notebook, so that the figures of two runs of it can be compared.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.engine.ranges import Range, range_at
from perfkit.errors import InputError
from perfkit.learn import CompositionError, Fit
from perfkit.report.detectable import detectable_changes
from perfkit.report.notebook.capacity import OpenedCapacity
from perfkit.report.notebook.experiments import SIMULATED
from perfkit.report.notebook.histories import SIMULATION
from perfkit.report.notebook.records import Record, record
from perfkit.stats.vague import is_vague
from perfkit.units import format_bytes
from perfkit.workflows.analyse_result import Analysis
from perfkit.workflows.bench_result import BenchResult
from perfkit.workflows.experiment.report import ExperimentReport
from perfkit.workflows.published import PublishResult
from perfkit.workflows.regressions.result import Regressions
from perfkit.workflows.replay_result import ReplayResult

__all__ = ["headlines", "record_headlines"]

_REFERENCE_BYTES = (2**10, 2**20)
"""Sizes that every preset measures."""

# People are told when a verdict changes, so each is wide: an interval over a few launches is itself noisy.
_PRECISE = 2.0
"""An interval that spans less than this factor is precise."""
_SHARP = 4.0
"""An edge whose interval spans less than this factor is sharp."""
_NEAR_ONE = 1.1
"""A ratio is clear of 1 when its whole interval is beyond this factor."""
_ADDS_UP = 0.25
"""Parts add up when half of the cases are nearer than this to what was measured whole."""


def record_headlines(*results: Any) -> None:
    """Show the headline figures of results and keep them in the notebook, for the report and its index.

    Args:
        results: what `perfkit.bench`, `perfkit.analyse`, `perfkit.fit`, `perfkit.replay` or `perfkit.publish` returned,
            the ranges of a fit, the report of an experiment, what `perfkit.regressions` returned, or what
            `open_capacity` opened; None is left out.

    Raises:
        InputError: a result is none of these, or two figures have the same name.
    """
    found = [one for result in results if result is not None for one in headlines(result)]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"figure {', '.join(twice)} is recorded twice; give each result once")
    for one in found:
        record(one.name, one.value, one.low, one.high, one.unit, one.verdict)


def headlines(result: Any) -> tuple[Record, ...]:
    """The headline figures of a result; those of a fit are the edges of its ranges.

    Args:
        result: as in `record_headlines`.

    Raises:
        InputError: the result is none of these.

    >>> [one.name for one in headlines(CompositionError(0.1, 0.2, 12, ()))]
    ['composition error, median']
    """
    return tuple(_headlines(result))


@functools.singledispatch
def _headlines(result: Any) -> Iterator[Record]:
    kinds = ", ".join(sorted(kind.__name__ for kind in _headlines.registry if kind is not object))
    raise InputError(f"a result of type {type(result).__name__} has no headline figures; these have: {kinds}")


@_headlines.register
def _of_bench(run: BenchResult) -> Iterator[Record]:
    yield Record("observations", run.observations.num_rows)
    yield Record("launches", run.launches)
    yield Record("time to measure", run.seconds, unit="s", verdict=run.status)
    for one in run.summaries:
        plain = one.stage == "transport" and one.temperature == "warm" and one.placement == "copied" and not one.touched
        if plain and one.in_flight == 1 and one.signalling == "uds" and one.payload_bytes in _REFERENCE_BYTES:
            yield _measured(f"{one.method} at {format_bytes(one.payload_bytes)}: median", one.latency_ns, "ns")
    for name, ratio in run.ratios.items():
        yield Record(name.replace("_", " "), ratio.value, *_told(ratio), unit="x", verdict=_against_one(ratio))


@_headlines.register
def _of_analysis(analysis: Analysis) -> Iterator[Record]:
    yield Record("transfers", analysis.quality.transfers)
    for one in analysis.dominance:
        name = f"{one.method}: fixed cost equals bytes at"
        if math.isinf(one.even_bytes):
            yield Record(name, "no size", verdict="the fixed cost dominates")
        else:
            width = _width_verdict(one.even_low, one.even_high)
            yield Record(name, one.even_bytes, one.even_low, one.even_high, "bytes", width)
    for group in analysis.percentiles:
        tail = group.tail[0]
        if tail.enough:
            name = " ".join(map(str, group.group.values())) or "all"
            yield _measured(f"{name}: {tail.name} over the median", tail, "x")


@_headlines.register
def _of_fit(fit: Fit) -> Iterator[Record]:
    return _of_ranges(fit.ranges())


@_headlines.register
def _of_ranges(ranges: tuple) -> Iterator[Record]:  # type: ignore[type-arg]  # singledispatch takes plain classes
    for size in _REFERENCE_BYTES if ranges else ():
        yield Record(f"taken at {format_bytes(size)}", range_at(ranges, size).method, verdict=_choice(ranges, size))
    seen: dict[str, int] = {}
    for one in ranges:
        seen[one.method] = seen.get(one.method, 0) + 1
        if one.crossover:
            again = f" (range {seen[one.method]})" if seen[one.method] > 1 else ""
            low, high = one.crossover
            yield Record(f"{one.method} up to{again}", one.end_bytes, low, high, "bytes", _width_verdict(low, high))


@_headlines.register
def _of_composition(error: CompositionError) -> Iterator[Record]:
    if error.n:
        verdict = "the parts add up" if error.p50 < _ADDS_UP else "the parts do not add up"
        yield Record("composition error, median", 100 * error.p50, unit="%", verdict=verdict)


@_headlines.register
def _of_publication(result: PublishResult) -> Iterator[Record]:
    if result.published:
        yield Record("published version", result.version)
    if result.not_published:
        yield Record("not published", result.not_published)
    for effect in result.effects:
        yield Record(f"cost on {effect.workload}", effect.value, *_told(effect), unit="x", verdict=effect.verdict)


@_headlines.register
def _of_replay(replay: ReplayResult) -> Iterator[Record]:
    for setting in replay.settings.values():
        tuned = setting.tuned
        name = f"regret, {setting.name}"
        yield Record(name, 100 * tuned.value, 100 * tuned.low, 100 * tuned.high, "%", setting.verdict)


@_headlines.register
def _of_experiment(experiment: ExperimentReport) -> Iterator[Record]:
    found = _experiment_records(experiment)
    return _simulated(found) if experiment.name == SIMULATED else found


def _simulated(records: Iterator[Record]) -> Iterator[Record]:
    """Figures that nobody takes for measured, nor compares with what was."""
    return (dataclasses.replace(one, name=f"simulated: {one.name}") for one in records)


def _experiment_records(experiment: ExperimentReport) -> Iterator[Record]:
    result = experiment.result
    yield Record(f"{result.unit}s", result.n, verdict="some get lost" if experiment.is_off else "split as planned")
    several = len(result.variants) > 2
    for kind, effect in (
        *(("", one) for one in result.effects),
        *(("guardrail ", one.effect) for one in result.guardrails),
    ):
        if math.isfinite(effect.relative):
            name = f"{kind}{effect.variant + ': ' if several else ''}{effect.metric} {effect.statistic}"
            low, high = (100 * bound for bound in effect.interval)
            verdict = "inconclusive" if experiment.is_off else effect.verdict
            yield Record(name, 100 * effect.relative, low, high, "%", verdict)
    found = detectable_changes(experiment)
    if found:
        yield Record("smallest increase that is found", 100 * found[1], unit="%")


@_headlines.register
def _of_regressions(found: Regressions) -> Iterator[Record]:
    records = _regression_records(found)
    return _simulated(records) if found.source == SIMULATION else records


def _regression_records(found: Regressions) -> Iterator[Record]:
    yield Record("series judged", found.n)
    for name, changes in (("regressions", found.regressions), ("improvements", found.improvements)):
        verdict = f"{changes[0].series or 'the series'} {changes[0].relative:+.0%}" if changes else "none"
        yield Record(name, len(changes), verdict=verdict)
    worse = sum(one.is_worse for one in found.deviations)
    yield Record("newest points worse than expected", worse, verdict="some" if worse else "none")


@_headlines.register
def _of_capacity(opened: OpenedCapacity) -> Iterator[Record]:
    """Each figure is called simulated where anything that it rests on is."""
    law, demand, tight = opened.found.usl, opened.found.demand, opened.found.bottleneck
    of_ladder = _simulated if "ladder" in opened.simulated else iter
    of_both = _simulated if opened.simulated else iter
    if law is not None:
        yield from of_ladder(iter((_measured("transfers per second at the peak", law.peak_throughput, ""),)))
        if math.isfinite(law.peak_concurrency.value):
            yield from of_ladder(iter((_measured("concurrency at its peak", law.peak_concurrency, ""),)))
    if demand is not None:
        peak = Record("demand at its peak", demand.peak.value, demand.peak.low, demand.peak.high, "", demand.verdict)
        yield from (_simulated if "demand" in opened.simulated else iter)(iter((peak,)))
    if tight is not None:
        used = 100 * tight.first.used_at_peak
        yield from of_both(iter((Record("used at the peak", used, unit="%", verdict=tight.verdict),)))
        yield from of_both(iter((Record("gives way first", tight.first.name),)))


def _measured(name: str, estimate: Any, unit: str) -> Record:
    """A duration or a ratio; where its interval says nothing, that instead of bounds nobody can mean."""
    low, high = _told(estimate)
    if low is None or high is None:
        return Record(name, estimate.value, unit=unit, verdict="vague")
    verdict = "precise" if high < _PRECISE * low else "rough"
    return Record(name, estimate.value, low, high, unit, verdict)


def _told(estimate: Any) -> tuple[float | None, float | None]:
    """The interval of an estimate, where it says anything."""
    if is_vague(estimate.value, estimate.low, estimate.high):
        return None, None
    return estimate.low, estimate.high


def _against_one(ratio: Any) -> str:
    if is_vague(ratio.value, ratio.low, ratio.high):
        return "vague"
    if ratio.low > _NEAR_ONE:
        return "clearly above 1"
    return "clearly below 1" if ratio.high < 1 / _NEAR_ONE else "not clearly off 1"


def _width_verdict(low: float, high: float) -> str:
    return "sharp" if low > 0 and high < _SHARP * low else "blurred"


def _choice(ranges: Sequence[Range], size: int) -> str:
    """Names the method, so that another one counts as another verdict: unless the size may lie beyond an edge."""
    edges = [one.crossover for one in ranges if one.crossover]
    if any(low <= size <= high for low, high in edges):
        return "close to an edge"
    return f"surely {range_at(ranges, size).method}"
