"""What a result means, as one computed sentence."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfkit.engine.ranges import Range
from perfkit.tables import plural
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from perfkit.workflows.analyse_costs import Dominance
    from perfkit.workflows.analyse_result import Analysis
    from perfkit.workflows.bench_result import BenchResult
    from perfkit.workflows.published import PublishResult
    from perfkit.workflows.replay_result import ReplayResult

__all__ = ["Verdict", "analysis_verdict", "benchmark_verdict", "publish_verdict", "ranges_verdict", "replay_verdict"]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a result means, in one sentence."""

    sentence: str

    def _repr_html_(self) -> str:
        return f'<p class="perfkit-verdict">{html.escape(self.sentence)}</p>'

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


def analysis_verdict(analysis: Analysis) -> Verdict:
    """Up to which size each method's fixed cost dominates, and whose tail is the longest."""
    sentences = []
    if analysis.dominance:
        sizes = "; ".join(_dominance_text(one) for one in analysis.dominance)
        sentences.append(f"The fixed cost of a transfer outweighs its bytes up to {sizes}.")
    tails = [(tail, one.group) for one in analysis.percentiles for tail in one.tail[:1] if tail.enough]
    if tails:
        tail, group = max(tails, key=lambda found: found[0].value)
        name = " ".join(map(str, group.values())) or "everything together"
        sentences.append(
            f"The longest tail is that of {name}: {tail.name} is {tail.value:.2g} times the median of the same payload "
            f"({tail.low:.2g} to {tail.high:.2g})."
        )
    if analysis.warnings:
        sentences.append(f"Mind {plural(len(analysis.warnings), 'warning')} on the data.")
    return Verdict(" ".join(sentences) or "There are too few transfers to say anything.")


def _dominance_text(one: Dominance) -> str:
    if math.isinf(one.even_bytes):
        return f"every size for {one.method}"
    interval = f"{format_bytes(one.even_low)} to {format_bytes(one.even_high)}"
    return f"{format_bytes(one.even_bytes)} for {one.method} ({interval})"


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
