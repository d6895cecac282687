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

__all__ = [
    "Answer",
    "Choice",
    "Loser",
    "Proposal",
    "Stretch",
    "fixed_ranges",
    "make_stretches",
    "overlaid",
    "override",
    "proposed_over",
]

_TOO_LARGE = "larger than a gRPC message"


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
    """A source that was not followed.

    Args:
        source: one of `perfkit.config.engine_settings.SOURCES`.
        method: what it would have taken; None where it named nothing.
        rule: why it would have.
        because: why it was not followed; empty where it named nothing.
        start_bytes: first size that this is about.
        end_bytes: first size that it is not about any more.
    """

    source: str
    method: str | None
    rule: str
    because: str = ""
    start_bytes: float = 0.0
    end_bytes: float = math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What a source may name.

    Args:
        candidates: methods among which it is asked to choose.
        takeable: methods that are taken when it names them.
        refused: methods that are there and not taken, with the reason.
    """

    candidates: tuple[str, ...]
    takeable: tuple[str, ...]
    refused: tuple[tuple[str, str], ...] = ()

    def without(self, refused: Mapping[str, str]) -> Choice:
        """The choice without some methods; as it is where no candidate would remain: a payload is sent in any case.

        >>> Choice(("grpc", "uds"), ("grpc", "uds")).without({"uds": "circuit breaker open"}).candidates
        ('grpc',)
        >>> Choice(("uds",), ("grpc", "uds")).without({"uds": "circuit breaker open"}).candidates
        ('uds',)
        """
        if not refused:
            return self
        candidates = tuple(name for name in self.candidates if name not in refused)
        if not candidates:
            return self
        takeable = tuple(name for name in self.takeable if name not in refused)
        gone = tuple((name, refused[name]) for name in self.takeable if name in refused)
        return Choice(candidates, takeable, (*self.refused, *gone))

    def why_not(self, method: str) -> str:
        """Why a method is not taken."""
        return dict(self.refused).get(method, "not there, or not among the pool's methods")


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Sizes for which the same rules hold.

    Args:
        start_bytes: first size.
        end_bytes: first size that is not of it any more.
        before: what rules, and the sources that are asked before them, may name.
        after: what the sources after rules may name: nothing that a rule avoids.
        ruled: what the rules say; None where there are none.
    """

    start_bytes: float
    end_bytes: float
    before: Choice
    after: Choice
    ruled: Proposal | None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What holds for sizes from `start_bytes` to below `end_bytes`, once every source was asked.

    Args:
        start_bytes: first size.
        end_bytes: first size that is not of it any more.
        source: who is followed.
        proposal: what it says.
        losers: the others.
        candidates: methods that any source may name for each of these sizes.
    """

    start_bytes: float
    end_bytes: float
    source: str
    proposal: Proposal
    losers: tuple[Loser, ...]
    candidates: tuple[str, ...]


def override(pool: PoolSettings) -> tuple[Proposal, ...]:
    """What the pool's `override` says: one method for every size, or nothing."""
    return (Proposal(0.0, math.inf, pool.override, "override: taken whatever the size"),) if pool.override else ()


def fixed_ranges(pool: PoolSettings) -> tuple[Proposal, ...]:
    """What the pool's handwritten thresholds say."""
    starts = [0.0, *(one.end_bytes for one in pool.thresholds)]
    return tuple(
        Proposal(start, one.end_bytes, one.method, f"handwritten threshold: {_sizes(start, one.end_bytes)}")
        for start, one in zip(starts, pool.thresholds, strict=False)
    )


def make_stretches(
    pool: PoolSettings,
    context: Context,
    circumstances: Circumstances,
    wanted: tuple[str, ...],
    largest_message_bytes: float = math.inf,
) -> tuple[Stretch, ...]:
    """Ask the rules between any two of their breakpoints, and tell what may be named there.

    Args:
        pool: its rules.
        context: what they are asked about, with the methods that are there.
        circumstances: the state that they may ask for, and what is excluded.
        wanted: methods that the pool wants.
        largest_message_bytes: payload from which `grpc` (unary) is refused; a breakpoint where it is finite.
    """
    sizes = {size for rule in pool.rules for size in rule.when.breakpoints if 0 < size < math.inf}
    excluded = circumstances.exclusions(in_place=context.in_place)
    every = Choice(wanted, wanted)  # an override or a rule that is inherited may name what the pool does not want
    usual = larger = every.without(excluded)
    if largest_message_bytes < math.inf:
        sizes.add(largest_message_bytes)
        larger = every.without({"grpc": _TOO_LARGE}).without(excluded)
    return tuple(
        _stretch(pool, context, circumstances, start, end, usual if start < largest_message_bytes else larger)
        for start, end in itertools.pairwise([0.0, *sorted(sizes), math.inf])
    )


def _stretch(
    pool: PoolSettings, context: Context, circumstances: Circumstances, start: float, end: float, before: Choice
) -> Stretch:
    if not pool.rules:
        return Stretch(start, end, before, before, None)
    values = _values(context, circumstances, start)
    holding = [rule for rule in pool.rules if rule.when.holds(values)]
    avoided = {name: f"avoided by {rule.name}" for rule in reversed(holding) for name in rule.avoid}
    avoiding = "; ".join(f"{rule.name} avoids {', '.join(rule.avoid)}" for rule in holding if rule.avoid)
    ruled = Proposal(start, end, None, avoiding or "no rule holds")
    for rule in holding:
        method = next((name for name in rule.use if name in before.takeable), None)
        if method is not None:
            ruled = Proposal(start, end, method, rule.name)
            break
        if rule.use:
            reasons = ", ".join(f"{name} ({before.why_not(name)})" for name in rule.use)
            ruled = Proposal(start, end, None, f"{rule.name}: cannot take {reasons}")
    return Stretch(start, end, before, before.without(avoided), ruled)


def proposed_over(
    stretches: Iterable[Stretch],
    choice_of: Callable[[Stretch], Choice],
    propose: Callable[[tuple[str, ...]], Sequence[Proposal]],
) -> tuple[Proposal, ...]:
    """What a source proposes when it is asked with the candidates of each stretch.

    Args:
        stretches: in order of size.
        choice_of: what the source may name in a stretch.
        propose: what it proposes among candidates, for all sizes in order; asked once for the same candidates.
    """
    known: dict[tuple[str, ...], Sequence[Proposal]] = {}
    clipped = []
    for stretch in stretches:
        candidates = choice_of(stretch).candidates
        if candidates not in known:
            known[candidates] = propose(candidates)
        for one in known[candidates]:
            start, end = max(one.start_bytes, stretch.start_bytes), min(one.end_bytes, stretch.end_bytes)
            if start < end:
                clipped.append(dataclasses.replace(one, start_bytes=start, end_bytes=end))
    return tuple(clipped)


def overlaid(
    proposals: Mapping[str, Sequence[Proposal]],
    priority: Sequence[str],
    stretches: Sequence[Stretch],
    choice_of: Callable[[str, Stretch], Choice],
) -> tuple[Answer, ...]:
    """Ask the sources in the order of priority at every size.

    Args:
        proposals: of each source, in order of size, without overlap; where a source has none, it says nothing.
        priority: the sources in the order in which they are asked; one of them must propose a method that can be taken
            for every size.
        stretches: in order of size, from 0 to infinity.
        choice_of: what a source may name in a stretch; proposals of other methods are passed over.

    Returns:
        Answers in order of size, from 0 to infinity, neighbours with the same answer joined.

    Raises:
        ValueError: no source proposes a method for some size.
    """
    asked = [(source, tuple(proposals.get(source, ()))) for source in priority]
    spans = [(one.start_bytes, one.end_bytes) for one in stretches]
    spans += [(one.start_bytes, one.end_bytes) for _, given in asked for one in given]
    edges = {edge for span in spans for edge in span if edge < math.inf}
    answers: list[Answer] = []
    for start, end in itertools.pairwise([*sorted(edges), math.inf]):
        stretch = next(one for one in stretches if one.start_bytes <= start < one.end_bytes)
        answer = _answer(start, end, stretch, _holding(asked, start), choice_of)
        if answers and _same(answers[-1], answer):
            answers[-1] = _joined(answers[-1], answer)
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
    start: float,
    end: float,
    stretch: Stretch,
    said: Iterable[tuple[str, Proposal]],
    choice_of: Callable[[str, Stretch], Choice],
) -> Answer:
    won: tuple[str, Proposal] | None = None
    losers = []
    for source, proposal in said:
        choice = choice_of(source, stretch)
        if proposal.method is None:
            losers.append(Loser(source, None, proposal.rule, "", start, end))
        elif proposal.method not in choice.takeable:
            losers.append(Loser(source, proposal.method, proposal.rule, choice.why_not(proposal.method), start, end))
        elif won is None:
            won = source, proposal
        else:
            losers.append(Loser(source, proposal.method, proposal.rule, f"asked after {won[0]}", start, end))
    if won is None:
        raise ValueError(f"no source proposes a method from {start} bytes on")
    return Answer(start, end, *won, tuple(losers), stretch.after.candidates)


def _same(left: Answer, right: Answer) -> bool:
    one, other = left.proposal, right.proposal
    return (left.source, one.method, one.rule) == (right.source, other.method, other.rule) and (
        one.evidence is other.evidence
    )


def _joined(left: Answer, right: Answer) -> Answer:
    losers = list(left.losers)
    for loser in right.losers:
        at = next((i for i, one in enumerate(losers) if _goes_on(one, loser)), None)
        if at is None:
            losers.append(loser)
        else:
            losers[at] = dataclasses.replace(losers[at], end_bytes=loser.end_bytes)
    candidates = tuple(name for name in left.candidates if name in right.candidates)
    return dataclasses.replace(left, end_bytes=right.end_bytes, losers=tuple(losers), candidates=candidates)


def _goes_on(left: Loser, right: Loser) -> bool:
    return left.end_bytes == right.start_bytes and (left.source, left.method, left.rule, left.because) == (
        right.source,
        right.method,
        right.rule,
        right.because,
    )


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
