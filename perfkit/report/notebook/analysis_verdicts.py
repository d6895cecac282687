"""What the parts of an analysis say, as one computed sentence each."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from perfkit.report.notebook.verdicts import Verdict
from perfkit.stats.vague import is_vague
from perfkit.tables import plural
from perfkit.units import format_bytes, format_duration
from perfkit.workflows.analyse_costs import codec_name
from perfkit.workflows.analyse_relations import FACTORS

if TYPE_CHECKING:
    from perfkit.stats.quantiles import Quantile
    from perfkit.workflows.analyse_costs import Dominance, StageShares
    from perfkit.workflows.analyse_percentiles import Percentiles, Profile
    from perfkit.workflows.analyse_relations import Relation
    from perfkit.workflows.analyse_result import Analysis

__all__ = [
    "analysis_verdict",
    "dominance_verdict",
    "profile_verdict",
    "quality_verdict",
    "relations_verdict",
    "stages_verdict",
    "tails_verdict",
]


def analysis_verdict(analysis: Analysis) -> Verdict:
    """Up to which size each method's fixed cost dominates, and whose tail is the longest."""
    sentences = [_dominance_sentence(analysis.dominance)] if analysis.dominance else []
    if longest := _longest_tail(analysis.percentiles):
        sentences.append(longest)
    if analysis.warnings:
        sentences.append(f"Mind {plural(len(analysis.warnings), 'warning')} on the data.")
    return Verdict(" ".join(sentences) or "There are too few transfers to say anything.")


def tails_verdict(percentiles: Sequence[Percentiles]) -> Verdict:
    """Whose slow transfers are the slowest against its usual ones.

    Args:
        percentiles: of an analysis.
    """
    longest = _longest_tail(percentiles)
    return Verdict(longest or "No method has rows enough for a percentile above the median.")


def profile_verdict(profile: Profile) -> Verdict:
    """What a profile shows: the lowest medians by size, what load does to them, or the fastest way for each codec.

    Args:
        profile: one of an analysis.
    """
    known = [cell for cell in profile.cells if cell.latency_ns[0].enough]
    if not known:
        return Verdict("No method and size has rows enough for a median.")
    return Verdict({"size": _sizes_sentence, "load": _load_sentence, "codec": _codecs_sentence}[profile.name](known))


def stages_verdict(shares: Sequence[StageShares]) -> Verdict:
    """For which codec encoding and decoding take most of the time, and for which the least.

    Args:
        shares: of payloads of one size.
    """
    cheapest: dict[str, StageShares] = {}
    for one in shares:
        if one.codec not in cheapest or one.total_ns < cheapest[one.codec].total_ns:
            cheapest[one.codec] = one
    if not cheapest:
        return Verdict("No stages are known: they are measured by `perfkit bench`.")
    most = max(cheapest.values(), key=lambda one: one.codec_share)
    size = format_bytes(most.payload_bytes)
    if most.codec_share < 0.005:
        return Verdict(f"Of a payload of {size}, encoding and decoding take next to nothing: all is the way.")
    heavy = sum(one.codec_low > 0.5 for one in cheapest.values())
    return Verdict(
        f"Of a payload of {size}, encoding and decoding take most of {most.codec}: "
        f"{most.codec_share:.0%} of the time ({most.codec_low:.0%} to {most.codec_high:.0%}), sent by {most.method}. "
        f"They surely take over half for {heavy} of {plural(len(cheapest), 'codec')}."
    )


def dominance_verdict(dominance: Sequence[Dominance]) -> Verdict:
    """Up to which size the fixed cost of each method outweighs its bytes.

    Args:
        dominance: of an analysis.
    """
    if not dominance:
        return Verdict("Unknown: no curves could be fitted to these rows; `perfkit bench` measures what a fit needs.")
    return Verdict(_dominance_sentence(dominance))


def relations_verdict(relations: Sequence[Relation]) -> Verdict:
    """What goes together with latency most clearly, beside the size of the payload and what follows from it.

    Args:
        relations: of an analysis.
    """
    clear = [one for one in relations if one.correlation.is_known and one.correlation.is_clear]
    if not clear:
        return Verdict("Nothing surely goes together with latency.")
    other = [one for one in clear if one.factor not in _OF_SIZE]
    shown = max(other or clear, key=lambda one: abs(one.correlation.value))
    value = shown.correlation
    beside = "Beside the size of the payload, what" if other else "What"
    return Verdict(
        f"{beside} goes together with latency most is {FACTORS[shown.factor][0]}, for {shown.method}: rank correlation "
        f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f}). It need not be a cause."
    )


def quality_verdict(analysis: Analysis) -> Verdict:
    """What the rows are, and how much there is to mind about them."""
    quality = analysis.quality
    failed = sum(quality.failures.values())
    minded = plural(len(analysis.warnings), "warning") if analysis.warnings else "no warning"
    return Verdict(
        f"{plural(quality.transfers, 'transfer')} in {plural(quality.launches, 'launch', ['launches'])}, of which "
        f"{failed:,} failed; the machine was noisy in {quality.noisy_rounds} of {plural(quality.rounds, 'round')}; "
        f"{minded}."
    )


_OF_SIZE = ("payload_bytes", "wire_bytes", "copied_bytes")
_MOST_CODECS = 3


def _longest_tail(percentiles: Sequence[Percentiles]) -> str:
    tails = [(tail, one.group) for one in percentiles for tail in one.tail[:1] if tail.enough]
    if not tails:
        return ""
    tail, group = max(tails, key=lambda found: found[0].value)
    name = " ".join(map(str, group.values())) or "everything together"
    vague = "its interval is too wide to rely on, more launches narrow it"
    interval = vague if is_vague(tail.value, tail.low, tail.high) else f"{tail.low:.2g} to {tail.high:.2g}"
    return (
        f"The longest tail is that of {name}: {tail.name} is {tail.value:.2g} times the median of the same payload "
        f"({interval})."
    )


def _dominance_sentence(dominance: Sequence[Dominance]) -> str:
    sizes = "; ".join(_dominance_text(one) for one in dominance)
    return f"The fixed cost of a transfer outweighs its bytes up to {sizes}."


def _dominance_text(one: Dominance) -> str:
    if math.isinf(one.even_bytes):
        return f"every size for {one.method}"
    interval = f"{format_bytes(one.even_low)} to {format_bytes(one.even_high)}"
    return f"{format_bytes(one.even_bytes)} for {one.method} ({interval})"


def _sizes_sentence(cells: Sequence[Percentiles]) -> str:
    fastest: dict[int, Percentiles] = {}
    for cell in cells:
        size = cell.group["size_class"]
        if size not in fastest or cell.latency_ns[0].value < fastest[size].latency_ns[0].value:
            fastest[size] = cell
    parts = [
        f"from {format_bytes(2.0**size)} on {method} ({_median_text(fastest[size].latency_ns[0])})"
        for method, sizes in itertools.groupby(sorted(fastest), key=lambda size: fastest[size].group["method"])
        for size in itertools.islice(sizes, 1)
    ]
    return f"The lowest median: {'; '.join(parts)}."


def _load_sentence(cells: Sequence[Percentiles]) -> str:
    alone = _medians(cells, 1)
    parts = []
    for in_flight in sorted({cell.group["in_flight"] for cell in cells} - {1}):
        busy = _medians(cells, in_flight)
        factors = [busy[key] / alone[key] for key in busy.keys() & alone.keys()]
        if factors:
            parts.append(
                f"{in_flight} in flight {statistics.median(factors):.2g} times ({min(factors):.2g} to "
                f"{max(factors):.2g} over {plural(len(factors), 'method and size', ['methods and sizes'])})"
            )
    if not parts:
        return "Only one load was measured."
    return f"Against one in flight, the median takes with {'; with '.join(parts)}."


def _medians(cells: Sequence[Percentiles], in_flight: int) -> Mapping[tuple[str, int], float]:
    return {
        (cell.group["method"], cell.group["size_class"]): cell.latency_ns[0].value
        for cell in cells
        if cell.group["in_flight"] == in_flight
    }


def _codecs_sentence(cells: Sequence[Percentiles]) -> str:
    fastest: dict[str, Percentiles] = {}
    for cell in sorted(cells, key=lambda cell: (-cell.group["size_class"], cell.latency_ns[0].value)):
        name = codec_name(cell.group["kind"], cell.group["format"], cell.group["compression"])
        fastest.setdefault(name, cell)
    parts = [
        f"{name} by {cell.group['method']} at {format_bytes(2.0 ** cell.group['size_class'])} "
        f"({_median_text(cell.latency_ns[0])})"
        for name, cell in itertools.islice(fastest.items(), _MOST_CODECS)
    ]
    more = f"; {len(fastest) - _MOST_CODECS} more codecs in the table" if len(fastest) > _MOST_CODECS else ""
    return f"The fastest of what was measured whole, at its largest payload: {'; '.join(parts)}{more}."


def _median_text(median: Quantile) -> str:
    return f"{format_duration(median.value)}, {format_duration(median.low)} to {format_duration(median.high)}"
