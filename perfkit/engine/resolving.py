"""Resolve who is followed for which size: every source is asked, and the first that names what can be taken wins."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

from perfkit.config.curves import CurveSet
from perfkit.config.engine_settings import EngineSettings
from perfkit.config.pool_settings import PoolSettings
from perfkit.engine.asking import policy_proposals
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.confidence import confident_proposals
from perfkit.engine.costs import Context
from perfkit.engine.defaults import default_ranges
from perfkit.engine.ranges import INDISTINGUISHABLE, codec_name, compile_ranges
from perfkit.engine.sources import (
    Answer,
    Choice,
    Proposal,
    Stretch,
    fixed_ranges,
    make_stretches,
    overlaid,
    override,
    proposed_over,
)

__all__ = ["SIMPLER", "UNARY_MESSAGE_BYTES", "Question", "largest_message_bytes", "resolve"]

UNARY_MESSAGE_BYTES = 2**31 - 1 - 2**20
"""`grpc` (unary) is planned up to this many bytes on the wire: protobuf ends at 2 GiB, the frame needs a little."""

SIMPLER = f"published curve: {INDISTINGUISHABLE}"
_MESSAGE_LIMIT = "published curve: the cheapest that carries a message of this size"
_UNTRUSTED = "published curve: not trusted, predictions are too far from what transfers take"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One context on its way to ranges.

    Args:
        engine: priority and confidence.
        curves: what was published; None for nothing.
        pool: what the pool wants.
        context: what is decided for, with all methods that are there.
        circumstances: state of the host, open breakers, corrections.
        wanted: methods of the context that the pool wants.
        stretches: what the rules say, as long as no method is limited in size.
        pause: called every now and then.
    """

    engine: EngineSettings
    curves: CurveSet | None
    pool: PoolSettings
    context: Context
    circumstances: Circumstances
    wanted: tuple[str, ...]
    stretches: tuple[Stretch, ...]
    pause: Callable[[], None] | None = None

    @staticmethod
    def about(
        engine: EngineSettings,
        curves: CurveSet | None,
        pool: PoolSettings,
        context: Context,
        circumstances: Circumstances,
        pause: Callable[[], None] | None = None,
    ) -> Question:
        """The question what to take in a context; arguments as in the class."""
        wanted = context.available
        if pool.methods is not None:
            wanted = tuple(name for name in context.available if name in pool.methods) or context.available
        stretches = make_stretches(pool, context, circumstances, wanted)
        return Question(engine, curves, pool, context, circumstances, wanted, stretches, pause)

    @property
    def goal(self) -> str:
        """What is minimised: the state's goal, or the pool's own."""
        return self.circumstances.goal or self.pool.goal

    @property
    def key(self) -> object:
        """What the answers depend on, within one plan: questions with the same key have the same answers."""
        context, is_free = self.context, self.pool.policy is not None  # a function may ask for anything
        codec = (context.kind, context.format, context.compression)
        if self.curves is not None and not is_free:
            codec = codec_name(self.curves, context)
        return (
            _without_rules(self.pool),
            context.pool if is_free else "",
            codec,
            self.stretches,
            context.signalling,
            context.available,
            context.in_place,
            context.in_flight,
            self.circumstances,
        )


@functools.lru_cache(maxsize=1024)
def _without_rules(pool: PoolSettings) -> PoolSettings:
    """What a pool wants beside its rules: these count by what they say in a context."""
    return dataclasses.replace(pool, rules=())


def resolve(question: Question, *, default_only: bool = False) -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    """Ask every source at every size.

    Args:
        question: the context.
        default_only: ask the default alone, about what rules and circumstances leave.

    Returns:
        Answers in order of size, from 0 to infinity without gaps, and what went wrong with a policy, in sentences.
    """
    priority = ("default",) if default_only else tuple(dict.fromkeys((*question.engine.priority, "default")))
    problems: dict[str, None] = {}
    answers = _answers(question, priority, question.stretches, math.inf, problems)
    limit = largest_message_bytes(question.curves, question.context)
    if any(one.proposal.method == "grpc" and one.end_bytes > limit for one in answers):
        # Only now: a cut where nothing changes would be one more range to read.
        stretches = make_stretches(question.pool, question.context, question.circumstances, question.wanted, limit)
        answers = _answers(question, priority, stretches, limit, problems)
    return answers, tuple(problems)


def largest_message_bytes(curves: CurveSet | None, context: Context) -> float:
    """The largest payload that surely fits into one message: a compression may not compress what it is given."""
    names = (context.kind, context.format, context.compression)
    codecs = curves.codecs if curves is not None else ()
    ratios = [codec.wire_ratio for codec in codecs if (codec.kind, codec.format, codec.compression) == names]
    return UNARY_MESSAGE_BYTES / max([1.0, *ratios])


def _answers(
    question: Question,
    priority: Sequence[str],
    stretches: Sequence[Stretch],
    limit_bytes: float,
    problems: dict[str, None],
) -> tuple[Answer, ...]:
    after_rules = priority[priority.index("rule") + 1 :] if "rule" in priority else priority

    def choice_of(source: str, stretch: Stretch) -> Choice:
        return stretch.after if source in after_rules else stretch.before

    def over(source: str, propose: Callable[[tuple[str, ...]], Sequence[Proposal]]) -> tuple[Proposal, ...]:
        return proposed_over(stretches, functools.partial(choice_of, source), propose) if source in priority else ()

    proposals: dict[str, Sequence[Proposal]] = {
        "override": override(question.pool),
        "rule": [stretch.ruled for stretch in stretches if stretch.ruled is not None],
        "policy": over("policy", lambda candidates: _policy(question, candidates, problems)),
        "threshold": fixed_ranges(question.pool),
        "default": over("default", lambda candidates: _default(question, candidates)),
    }
    if "model" in priority and question.curves is not None:
        instead = tuple(dict.fromkeys((*priority[priority.index("model") + 1 :], "default")))
        fallback = overlaid(proposals, instead, stretches, choice_of)
        curves = question.curves
        below = over("model", lambda candidates: _curves(question, curves, candidates))
        proposals["model"] = _model(question, curves, below, fallback, limit_bytes)
    return overlaid(proposals, priority, stretches, choice_of)


def _policy(question: Question, candidates: tuple[str, ...], problems: dict[str, None]) -> tuple[Proposal, ...]:
    if question.pool.policy is None:
        return ()
    proposals, found = policy_proposals(
        question.pool, question.curves, question.context, question.circumstances, candidates, question.pause
    )
    problems.update(dict.fromkeys(found))
    return proposals


def _default(question: Question, candidates: tuple[str, ...]) -> tuple[Proposal, ...]:
    ranges = default_ranges(candidates, question.pool.zero_copy_bytes)
    return tuple(Proposal(one.start_bytes, one.end_bytes, one.method, one.rule) for one in ranges)


def _curves(question: Question, curves: CurveSet, candidates: tuple[str, ...]) -> tuple[Proposal, ...]:
    if not question.circumstances.is_trusted:
        return (Proposal(0.0, math.inf, None, _UNTRUSTED),)
    pool, circumstances = question.pool, question.circumstances
    ranges = compile_ranges(
        curves,
        dataclasses.replace(question.context, available=candidates),
        question.goal,
        simplicity_order=pool.simplicity_order,
        tolerance=pool.tolerance,
        margin=pool.margin,
        weights=pool.weights,
        factors=dict(circumstances.factors),
        penalties=circumstances.penalties(in_place=question.context.in_place),
        pause=question.pause,
    )
    return tuple(
        Proposal(one.start_bytes, one.end_bytes, one.method, f"published curve: {one.reason}", one) for one in ranges
    )


def _model(
    question: Question,
    curves: CurveSet,
    proposals: Sequence[Proposal],
    fallback: Sequence[Answer],
    limit_bytes: float,
) -> tuple[Proposal, ...]:
    circumstances = question.circumstances
    if not circumstances.is_trusted:
        return tuple(proposals)
    limited = [
        dataclasses.replace(one, rule=_MESSAGE_LIMIT)
        if one.start_bytes >= limit_bytes and one.method != "grpc"
        else one
        for one in proposals
    ]
    return confident_proposals(
        limited,
        fallback,
        curves,
        question.context,
        question.goal,
        confidence=question.engine.confidence,
        tolerance=question.pool.tolerance,
        weights=question.pool.weights,
        factors=dict(circumstances.factors),
        penalties=circumstances.penalties(in_place=question.context.in_place),
        pause=question.pause,
    )
