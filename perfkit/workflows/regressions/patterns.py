"""What changed series have in common: attributes, event and stage."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from perfkit.stats.patterns import SharedAttributes, shared_attributes
from perfkit.tables import plural
from perfkit.units import format_bytes
from perfkit.workflows.regressions.result import Change, Pattern
from perfkit.workflows.regressions.series import Series

__all__ = ["find_patterns"]


def find_patterns(series: Sequence[Series], changes: Sequence[Change]) -> tuple[Pattern, ...]:
    """The groups of series that changed together.

    Args:
        series: every series that was judged.
        changes: those of one direction.
    """
    largest: dict[str, Change] = {}
    for one in changes:
        largest.setdefault(one.series, one)  # they come with the largest first
    changed = [one.name in largest for one in series]
    groups = shared_attributes([one.attributes for one in series], changed)
    return tuple(_pattern(group, series, largest) for group in groups)


def _pattern(group: SharedAttributes, series: Sequence[Series], largest: Mapping[str, Change]) -> Pattern:
    named = [one.name for one in series if group.attributes.items() <= one.attributes.items()]
    members = [largest[name] for name in named if name in largest]
    event = _common((one.causes.events[:1] for one in members), len(members))
    stage = _common(((one.causes.stage,) for one in members if one.causes.stage), len(members))
    relative = float(np.median([one.relative for one in members]))
    return Pattern(
        **dataclasses.asdict(group),
        relative=relative,
        event=event,
        stage=stage,
        sentence=_sentence(group, relative, event, stage),
    )


def _common(named: Iterable[tuple[str, ...]], count: int) -> str:
    """What more than half of the members name; empty without."""
    found = Counter(one for names in named for one in names).most_common(1)
    return found[0][0] if found and 2 * found[0][1] > count else ""


def _sentence(group: SharedAttributes, relative: float, event: str, stage: str) -> str:
    share = f"All {group.members}" if group.changed == group.members else f"{group.changed} of {group.members}"
    if not group.attributes:
        who = f"{share} series changed, whatever they are"
    else:
        described = ", ".join(f"{name} {_value(name, value)}" for name, value in group.attributes.items())
        others = f"{group.others_changed} of the {plural(group.others, 'other')}"
        who = f"{share} series with {described} changed, and {others} (p = {group.p_value:.1g})"
    since = f", since {event}" if event else ""
    where = f", mostly in {stage}" if stage else ""
    return f"{who}: {relative:+.0%} at the median{where}{since}."


def _value(name: str, value: str) -> str:
    return format_bytes(int(value)) if name == "size" else value
