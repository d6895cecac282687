"""What a capacity forecast says, as one computed sentence per question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfkit.report.notebook.verdicts import Verdict
from perfkit.stats.capacity.demand_result import figure

if TYPE_CHECKING:
    from perfkit.report.notebook.capacity import OpenedCapacity

__all__ = [
    "capacity_verdict",
    "demand_verdict",
    "law_verdict",
    "little_verdict",
    "model_verdict",
    "utilisation_verdict",
]


def capacity_verdict(opened: OpenedCapacity) -> Verdict:
    """When the host is full, and what gives way first."""
    found = opened.found
    parts = [one.sentence for one in (found.bottleneck,) if one is not None]
    return Verdict(" ".join(parts) or found.sentence)


def law_verdict(opened: OpenedCapacity) -> Verdict:
    """How far concurrency carries."""
    law = opened.found.usl
    if law is None:
        return Verdict("No ladder was measured; `perfkit bench --ladder` does.")
    return Verdict(
        f"Throughput peaks at {figure(law.peak_throughput.value)} with {law.peak_concurrency.value:.3g} under way "
        f"({law.level:.0%} interval {law.peak_concurrency.low:.3g} to {law.peak_concurrency.high:.3g}); beyond "
        f"{law.largest_allowed:.3g} nothing is said."
    )


def little_verdict(opened: OpenedCapacity) -> Verdict:
    """Whether concurrency, throughput and latency fit together."""
    if opened.little is None:
        return Verdict("The ladder has no latencies, so Little's law cannot check it.")
    return Verdict(opened.little.sentence)


def demand_verdict(opened: OpenedCapacity) -> Verdict:
    """What demand will be, and when it reaches the limit."""
    found = opened.found
    parts = [one.sentence for one in (found.demand, found.limit) if one is not None]
    return Verdict(" ".join(parts) or "There is no demand to forecast.")


def utilisation_verdict(opened: OpenedCapacity) -> Verdict:
    """What gives way first under what is supposed."""
    found = opened.found.what_if or opened.found.bottleneck
    return Verdict("Nothing is known of any resource." if found is None else found.sentence)


def model_verdict(opened: OpenedCapacity) -> Verdict:
    """What the cost model in force is worth."""
    if opened.model is None or not opened.model.targets:
        return Verdict("No cost model is in force, so the published curves apply; `perfkit learn` makes one.")
    one = opened.model.targets[0]
    overall = f"{one.coverage[0].coverage:.1%}" if one.coverage else "an unknown share"
    worst = f", in the worst slice ({one.worst.name}) {one.worst.coverage:.1%}" if one.worst else ""
    return Verdict(
        f"The {one.champion} predict{'s' if one.champion == 'model' else ''} latency: {opened.model.level:.0%} "
        f"intervals held {overall} of held-out transfers{worst}; n = {one.n}."
    )
