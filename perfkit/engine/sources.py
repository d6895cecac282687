"""Who names a method for which sizes: overrides, rules, policies, published curves, handwritten thresholds, defaults.

Every source proposes a method (or none) for every size; the first in the order of priority that proposes one that can
be taken wins. What the others proposed is kept, so that a decision can tell.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from perfkit.config.pool_settings import PoolSettings
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context
from perfkit.engine.ranges import Range
from perfkit.units import format_bytes

__all__ = ["Answer", "Loser", "Proposal", "Stretch", "fixed_ranges", "overlaid", "override", "rule_stretches", "ruled"]


@dataclasses.dataclass(frozen=True, slots=True)
class Proposal:
    """What one source says about sizes from `start_bytes` to below `end_bytes`: a method, or None, and why."""

    start_bytes: float
    end_bytes: float
    method: str | None
    rule: str
    evidence: Range | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Loser:
    """A source that was not followed: what it would have taken, and why it was not."""

    source: str
    method: str | None
    rule: str


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Sizes for which the same methods may be taken by the sources that come after rules."""

    start_bytes: float
    end_bytes: float
    candidates: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What holds for sizes from `start_bytes` to below `end_bytes`, once every source was asked."""

    start_bytes: float
    end_bytes: float
    source: str
    proposal: Proposal
    losers: tuple[Loser, ...]


def override(pool: PoolSettings) -> tuple[Proposal, ...]:
    """What the pool's `override` says: one method for every size, or nothing."""
    return (Proposal(0.0, math.inf, pool.override, "override: taken whatever the size"),) if pool.override else ()


def fixed_ranges(pool: PoolSettings) -> tuple[Proposal, ...]:
    """What the pool's handwritten thresholds say."""
    starts = [0.0, *(one.end_bytes for one in pool.thresholds)]
    return tuple(
        Proposal(start, one.end_bytes, one.method, f"threshold: {_sizes(start, one.end_bytes)}")
        for start, one in zip(starts, pool.thresholds, strict=False)
    )


def ruled(
    pool: PoolSettings, context: Context, circumstances: Circumstances, available: Sequence[str]
) -> tuple[Proposal, ...]:
    """What the pool's rules say, between any two of their breakpoints.

    Args:
        pool: its rules.
        context: what they are asked about.
        circumstances: the state that they may ask for.
        available: methods that can be taken.
    """
    proposals = []
    for start, end in itertools.pairwise(_rule_edges(pool)):
        values = _values(context, circumstances, start)
        proposal = Proposal(start, end, None, "no rule holds")
        for rule in pool.rules:
            if rule.use and rule.when.holds(values):
                method = next((name for name in rule.use if name in available), None)
                if method is not None:
                    proposal = Proposal(start, end, method, rule.name)
                    break
                proposal = Proposal(start, end, None, f"{rule.name}: {', '.join(rule.use)} cannot be taken")
        proposals.append(proposal)
    return tuple(proposals) if pool.rules else ()


def rule_stretches(
    pool: PoolSettings, context: Context, circumstances: Circumstances, candidates: tuple[str, ...]
) -> tuple[Stretch, ...]:
    """The candidates of the sources after rules, size by size: without what the rules say to avoid, if any remain."""
    stretches: list[Stretch] = []
    for start, end in itertools.pairwise(_rule_edges(pool)):
        values = _values(context, circumstances, start)
        avoided = {name for rule in pool.rules if rule.avoid and rule.when.holds(values) for name in rule.avoid}
        remaining = tuple(name for name in candidates if name not in avoided) or candidates
        if stretches and stretches[-1].candidates == remaining:
            stretches[-1] = dataclasses.replace(stretches[-1], end_bytes=end)
        else:
            stretches.append(Stretch(start, end, remaining))
    return tuple(stretches)


def proposed_over(
    stretches: Iterable[Stretch], propose: Callable[[tuple[str, ...]], Sequence[Proposal]]
) -> tuple[Proposal, ...]:
    """What a source proposes when it is asked with the candidates of each stretch."""
    return tuple(
        dataclasses.replace(
            proposal,
            start_bytes=max(proposal.start_bytes, stretch.start_bytes),
            end_bytes=min(proposal.end_bytes, stretch.end_bytes),
        )
        for stretch in stretches
        for proposal in propose(stretch.candidates)
        if proposal.start_bytes < stretch.end_bytes and proposal.end_bytes > stretch.start_bytes
    )


def overlaid(
    proposals: Mapping[str, Sequence[Proposal]], priority: Sequence[str], can_be_taken: Callable[[str], bool]
) -> tuple[Answer, ...]:
    """Ask the sources in the order of priority at every size.

    Args:
        proposals: of each source, in order of size, without overlap; where a source has none, it says nothing.
        priority: the sources in the order in which they are asked; the last one must propose a method everywhere.
        can_be_taken: whether a method is there; proposals of other methods are passed over.

    Returns:
        Answers in order of size, from 0 to infinity, neighbours with the same answer joined.
    """
    asked = [(source, tuple(proposals.get(source, ()))) for source in priority]
    starts = sorted({0.0, *(one.start_bytes for _, given in asked for one in given)})
    ends = {one.end_bytes for _, given in asked for one in given if one.end_bytes < math.inf}
    starts = sorted({*starts, *ends})
    answers: list[Answer] = []
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        answer = _answer(start, end, _holding(asked, start), can_be_taken)
        if answers and _same(answers[-1], answer):
            losers = tuple(dict.fromkeys((*answers[-1].losers, *answer.losers)))
            answers[-1] = dataclasses.replace(answers[-1], end_bytes=end, losers=losers)
        else:
            answers.append(answer)
    return tuple(answers)


def _holding(asked: Sequence[tuple[str, tuple[Proposal, ...]]], size: float) -> Iterator[tuple[str, Proposal]]:
    for source, given in asked:
        for proposal in given:
            if proposal.start_bytes <= size < proposal.end_bytes:
                yield source, proposal
                break


def _answer(
    start: float, end: float, said: Iterable[tuple[str, Proposal]], can_be_taken: Callable[[str], bool]
) -> Answer:
    won: tuple[str, Proposal] | None = None
    losers = []
    for source, proposal in said:
        if proposal.method is None:
            losers.append(Loser(source, None, proposal.rule))
        elif not can_be_taken(proposal.method):
            losers.append(Loser(source, proposal.method, f"{proposal.rule}: cannot be taken now"))
        elif won is None:
            won = source, proposal
        else:
            losers.append(Loser(source, proposal.method, f"{proposal.rule}: asked after {won[0]}"))
    if won is None:
        raise ValueError(f"no source proposes a method from {start} bytes on")
    return Answer(start, end, *won, tuple(losers))


def _same(left: Answer, right: Answer) -> bool:
    return (left.source, left.proposal.method, left.proposal.rule, left.proposal.evidence) == (
        right.source,
        right.proposal.method,
        right.proposal.rule,
        right.proposal.evidence,
    )


def _rule_edges(pool: PoolSettings) -> list[float]:
    sizes = {size for rule in pool.rules for size in rule.when.breakpoints if 0 < size < math.inf}
    return [0.0, *sorted(sizes), math.inf]


def _values(context: Context, circumstances: Circumstances, payload_bytes: float) -> dict[str, object]:
    return {
        "bytes": payload_bytes,
        "kind": context.kind,
        "format": context.format,
        "compression": context.compression,
        "signalling": context.signalling,
        "pool": context.pool,
        "state": circumstances.state,
        "in_flight": context.in_flight,
        "in_place": context.in_place,
    }


def _sizes(start: float, end: float) -> str:
    if end < math.inf:
        return f"below {format_bytes(end)}"
    return f"from {format_bytes(start)}" if start else "every size"
