"""What a result means, as one computed sentence."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from perfkit.engine.ranges import Range, compile_ranges
from perfkit.tables import plural, sentence_html
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from perfkit.config.curves import CurveSet
    from perfkit.learn import CompositionError
    from perfkit.stats.hierarchical import Estimate
    from perfkit.workflows.bench_result import BenchResult
    from perfkit.workflows.published import PublishResult
    from perfkit.workflows.replay_result import ReplayResult

__all__ = [
    "Verdict",
    "benchmark_verdict",
    "composition_verdict",
    "publish_verdict",
    "ranges_verdict",
    "ratios_verdict",
    "replay_verdict",
    "settings_verdict",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a result means, in one sentence."""

    sentence: str

    def _repr_html_(self) -> str:
        return f'<p class="perfkit-verdict">{sentence_html(self.sentence)}</p>'

    def __str__(self) -> str:
        return self.sentence


_STATUS = {
    "complete": "Every interval is narrow enough, or every scenario had its rounds",
    "budget": "The time budget ended the run before every interval was narrow enough",
    "interrupted": "The run was interrupted; what was measured until then is kept",
}


def benchmark_verdict(run: BenchResult) -> Verdict:
    """How far a run can be relied on."""
    effort = (
        f"{plural(run.launches, 'launch', ['launches'])} and {plural(run.rounds, 'round')} "
        f"in {format_duration(run.seconds * 1e9)}"
    )
    stability = plural(len(run.warnings), "stability warning") if run.warnings else "no stability warning"
    return Verdict(f"{_STATUS[run.status]}: {effort}, {stability}.")


def ranges_verdict(ranges: Sequence[Range]) -> Verdict:
    """Which method is taken up to which size, and where the edges may truly lie.

    >>> ranges_verdict(()).sentence
    'No method was measured, so none can be chosen.'
    """
    if not ranges:
        return Verdict("No method was measured, so none can be chosen.")
    parts = [_range_text(one, is_first=index == 0) for index, one in enumerate(ranges)]
    taken = {one.method for one in ranges}
    never = [name for name in ranges[0].alternatives if name not in taken]
    ending = f"; {', '.join(never)} never." if never else "."
    return Verdict("; ".join(parts) + ending)


def settings_verdict(curves: CurveSet, goal: str = "latency") -> Verdict:
    """In how many settings the choice depends on the size at all.

    Args:
        curves: what was fitted.
        goal: what the methods are chosen for.
    """
    from perfkit.report.charts.ranges import measured_contexts

    contexts = measured_contexts(curves)
    compiled = {name: compile_ranges(curves, context, goal) for name, context in contexts.items()}
    chosen = {name: tuple(one.method for one in ranges) for name, ranges in compiled.items() if ranges}
    if not chosen:
        return Verdict("No method was measured, so none can be chosen.")
    by_size = [name for name, methods in chosen.items() if len(methods) > 1]
    settled = sorted({methods[0] for methods in chosen.values() if len(methods) == 1})
    sentences = [f"The choice depends on the size in {len(by_size)} of {plural(len(chosen), 'setting')}."]
    if settled:
        sentences.append(f"In the others {' or '.join(settled)} is taken for every payload.")
    return Verdict(" ".join(sentences))


def composition_verdict(error: CompositionError) -> Verdict:
    """How far the costs of encode, transport and decode, put together, are from what was measured whole."""
    if not error.n:
        return Verdict("No payload was measured whole, so it is not known whether the parts add up.")
    return Verdict(
        f"Put together, the parts miss what was measured whole by {error.p50:.0%} or less in half of "
        f"{plural(error.n, 'case')}, and by {error.p90:.0%} or less in nine of ten."
    )


def ratios_verdict(ratios: Mapping[str, Estimate]) -> Verdict:
    """Which ratios are surely not 1."""
    if not ratios:
        return Verdict("This preset measures no ratios; the preset limits does.")
    clear = {name: one for name, one in ratios.items() if one.low > 1 or one.high < 1}
    if not clear:
        return Verdict(f"None of {plural(len(ratios), 'ratio')} is surely different from 1.")
    texts = [
        f"{name.replace('_', ' ')} {one.value:.3g} ({one.low:.3g} to {one.high:.3g})" for name, one in clear.items()
    ]
    return Verdict(f"Surely different from 1: {'; '.join(texts)}.")


def replay_verdict(replay: ReplayResult | None) -> Verdict:
    """What tuned choices lose to the best ones on a held-out workload; None where none was measured.

    >>> replay_verdict(None).sentence
    'No held-out workload was measured: what is published rests on expectations.'
    """
    if replay is None:
        return Verdict("No held-out workload was measured: what is published rests on expectations.")
    settings = "; ".join(
        f"{name} {one.tuned.value:.1%} ({one.tuned.low:.1%} to {one.tuned.high:.1%})"
        for name, one in replay.settings.items()
    )
    return Verdict(f"On {plural(replay.n, 'payload')} tuned choices lose to the best ones: {settings}.")


def publish_verdict(result: PublishResult) -> Verdict:
    """Whether a version was published, what it does to the cost, and what stood against it."""
    if not (result.refusals or result.published or result.dry_run):
        return Verdict(f"Version {result.previous_version} already says this; nothing was published.")
    sentences = [_outcome_text(result)]
    sentences += [f"Cost on {one.workload} {one.ratio}: {one.verdict}." for one in result.effects]
    for refusal in result.refusals:
        sentences.append(f"{'Overridden' if refusal.name in result.overridden else 'Against it'}: {refusal}.")
    return Verdict(" ".join(sentences))


def _outcome_text(result: PublishResult) -> str:
    if result.refused:
        held = "the defaults stay" if result.previous_version is None else f"version {result.previous_version} stays"
        return f"{'Would not be' if result.dry_run else 'Not'} published: {held} in force."
    return f"Published as version {result.version}." if result.published else "Nothing stands against publishing it."


def _range_text(one: Range, *, is_first: bool) -> str:
    if math.isinf(one.end_bytes):
        return f"{one.method} at every size" if is_first else f"beyond that {one.method}"
    edge = f"Up to {format_bytes(one.end_bytes)}" if is_first else f"up to {format_bytes(one.end_bytes)}"
    return f"{edge} {one.method}{_edge_text(one.crossover)}"


def _edge_text(crossover: tuple[float, float] | None) -> str:
    if crossover is None or (crossover[0] <= 0 and math.isinf(crossover[1])):
        return ""
    low, high = crossover
    if low <= 0:
        return f" (true edge below {format_bytes(high)})"
    if math.isinf(high):
        return f" (true edge above {format_bytes(low)})"
    return f" (true edge between {format_bytes(low)} and {format_bytes(high)})"
