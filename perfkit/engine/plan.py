"""The plan: published curves, a pool's wishes and the circumstances, compiled into ranges of payload size."""

from __future__ import annotations

import dataclasses
import itertools
import math
import zlib
from collections.abc import Callable, Iterable, Sequence

from perfkit.config.curves import ANY, CurveSet
from perfkit.config.pool_settings import PoolSettings
from perfkit.config.settings import Settings
from perfkit.config.thresholds import Thresholds
from perfkit.engine.asking import policy_proposals
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.confidence import confident_proposals
from perfkit.engine.costs import Context, goal_in_force
from perfkit.engine.defaults import default_ranges
from perfkit.engine.ranges import INDISTINGUISHABLE, Range, codec_name, compile_ranges
from perfkit.engine.sources import (
    Answer,
    Loser,
    Proposal,
    Stretch,
    fixed_ranges,
    overlaid,
    override,
    proposed_over,
    rule_stretches,
    ruled,
)
from perfkit.schema import SIGNALLINGS, SIMPLICITY_ORDER

__all__ = [
    "UNARY_MESSAGE_BYTES",
    "Cell",
    "PlanRange",
    "Publication",
    "RangeMemo",
    "compile_cell",
    "known_contexts",
    "known_methods",
]

UNARY_MESSAGE_BYTES = 2**31 - 1 - 2**20
"""`grpc` (unary) is planned up to this many bytes on the wire: protobuf ends at 2 GiB, the frame needs a little."""

SIMPLER = f"published curve: {INDISTINGUISHABLE}"
MESSAGE_LIMIT = "published curve: the cheapest that carries a message of this size"
UNTRUSTED = "published curve: not trusted, predictions are too far from what transfers take"


@dataclasses.dataclass(frozen=True)
class Publication:
    """What the plan rests on: the published curves with their version, or none. `warnings` are shown with the plan."""

    curves: CurveSet | None = None
    version: int | None = None
    run: str = ""
    warnings: tuple[str, ...] = ()

    @staticmethod
    def of(thresholds: Thresholds, warnings: Iterable[str] = ()) -> Publication:
        """The publication that a thresholds file describes."""
        all_warnings = (*thresholds.curves.evidence.warnings, *warnings)
        return Publication(thresholds.curves, thresholds.version, thresholds.run, all_warnings)


@dataclasses.dataclass(frozen=True, slots=True)
class PlanRange:
    """Sizes from `start_bytes` to below `end_bytes` with the method taken for them.

    Args:
        start_bytes: first size.
        end_bytes: first size that is not of it any more.
        method: the method taken.
        rule: why, in words.
        evidence: the costs; None where no curve led to it.
        advised: what mode ``decide`` would take (only in mode ``observe``).
        source: who named the method: one of `perfkit.config.engine_settings.SOURCES`.
        losers: the other sources, with what they would have taken.
        candidates: methods that may be tried in its place.
    """

    start_bytes: float
    end_bytes: float
    method: str
    rule: str
    evidence: Range | None = None
    advised: str | None = None
    source: str = "default"
    losers: tuple[Loser, ...] = ()
    candidates: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """The compiled plan of one context: ranges in order of size, from 0 to infinity without gaps.

    Args:
        context: what it is for.
        pool: what the context's pool wants, in the variant of it.
        publication: the curves, if anything is published.
        ranges: the methods by size.
        circumstances: what held when it was compiled.
        experiment: the experiment that the cell is a variant of; empty for none.
        variant: which variant; empty for none.
        problems: what went wrong with a policy; the others decided in its place.
        digest: tells apart cells of the same version and context: settings, corrections and breakers change what a
            context is decided by.
    """

    context: Context
    pool: PoolSettings
    publication: Publication
    ranges: tuple[PlanRange, ...]
    circumstances: Circumstances = Circumstances()
    experiment: str = ""
    variant: str = ""
    problems: tuple[str, ...] = ()
    digest: int = 0

    def at(self, payload_bytes: float) -> PlanRange:
        """The range that holds a size."""
        return next(part for part in self.ranges if part.start_bytes <= payload_bytes < part.end_bytes)

    @property
    def goal(self) -> str:
        """The pool's goal (or the state's), or ``latency`` where the quantities of that goal were not measured."""
        curves, goal = self.publication.curves, self.circumstances.goal or self.pool.goal
        return goal if curves is None else goal_in_force(curves, goal, self.pool.weights)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The publication's warnings, one where the goal could not be followed, and what went wrong with a policy."""
        warnings = (*self.publication.warnings, *self.problems)
        if self.goal == (self.circumstances.goal or self.pool.goal):
            return warnings
        fallback = (
            f"goal {self.pool.goal}: its quantities were not measured, so latency decides; measure with `perfkit run`"
        )
        return (*warnings, fallback)

    @property
    def name(self) -> str:
        """The context as one word, as it appears in a decision's id."""
        context = self.context
        name = f"{context.pool}/{context.kind}/{context.format}/{context.compression}/{context.signalling}"
        load = f"/{context.in_flight} in flight" if context.in_flight > 1 else ""
        state = "" if self.circumstances.state == "normal" else f"@{self.circumstances.state}"
        variant = f"+{self.experiment}={self.variant}" if self.variant else ""
        return f"{name}{'/in place' if context.in_place else ''}{load}{state}{variant}"


RangeMemo = dict[object, tuple[tuple[PlanRange, ...], tuple[str, ...], int]]
"""Ranges (problems, digest) that were compiled already: contexts that differ in nothing that matters share them."""


def compile_cell(
    settings: Settings,
    publication: Publication,
    context: Context,
    circumstances: Circumstances = Circumstances(),
    *,
    arm: tuple[str, str, PoolSettings] | None = None,
    memo: RangeMemo | None = None,
    pause: Callable[[], None] | None = None,
) -> Cell:
    """Compile the plan of one context.

    Args:
        settings: mode, priority, and what the context's pool wants.
        publication: the curves, if anything is published.
        context: pool, codec, signalling, load, and the methods that are there; those that the pool does not want are
            left out, unless none would remain.
        circumstances: state of the host, open breakers, corrections.
        arm: experiment, variant and the pool's settings in that variant.
        memo: shared by cells of one plan, so that what is the same is compiled once.
        pause: called every now and then, so that a thread in the background gives way.

    >>> cell = compile_cell(Settings(), Publication(), Context())
    >>> [(part.end_bytes, part.method) for part in cell.ranges]
    [(10485760, 'grpc'), (inf, 'shm_pool')]
    """
    experiment, variant, pool = arm or ("", "", settings.pool(context.pool))
    compiler = _Compiler(settings, publication, context, circumstances, pool, pause)
    if compiler.wanted != context.available:
        context = dataclasses.replace(context, available=compiler.wanted)
    key = compiler.key()
    found = None if memo is None else memo.get(key)
    if found is None:
        ranges = compiler.ranges()
        found = ranges, tuple(compiler.problems), _digest(ranges)
        if memo is not None:
            memo[key] = found
    return Cell(context, pool, publication, found[0], circumstances, experiment, variant, found[1], found[2])


def _digest(ranges: Sequence[PlanRange]) -> int:
    said = "".join(f"{one.start_bytes!r} {one.method} {one.rule}\n" for one in ranges)
    return zlib.crc32(said.encode("utf-8", "surrogatepass"))


class _Compiler:
    """One context on its way to ranges."""

    def __init__(
        self,
        settings: Settings,
        publication: Publication,
        context: Context,
        circumstances: Circumstances,
        pool: PoolSettings,
        pause: Callable[[], None] | None,
    ) -> None:
        self.settings, self.publication, self.pool, self.pause = settings, publication, pool, pause
        self.circumstances = circumstances
        self.problems: list[str] = []
        self.wanted = context.available
        if pool.methods is not None:
            self.wanted = tuple(name for name in context.available if name in pool.methods) or context.available
        self.context = context
        excluded = circumstances.exclusions(in_place=context.in_place)
        takeable = context.available
        if excluded:
            takeable = tuple(name for name in context.available if name not in excluded)
        candidates = tuple(name for name in self.wanted if name in takeable)
        # Where nothing that the pool wants works, it is still not sent by what the pool does not want.
        self.candidates = candidates or self.wanted
        self.takeable = takeable if candidates else (*takeable, *self.wanted)
        self.stretches = rule_stretches(pool, context, circumstances, self.candidates)
        self.ruled = ruled(pool, context, circumstances, self.takeable)

    def key(self) -> object:
        """What the ranges depend on: cells with the same key share them."""
        context, pool = self.context, self.pool
        curves, is_free = self.publication.curves, pool.policy is not None  # a function may ask for anything
        codec = (context.kind, context.format, context.compression)
        if curves is not None and not is_free:
            codec = codec_name(curves, context)
        return (
            pool,
            context.pool if is_free else "",
            codec,
            self.stretches,
            self.ruled,
            context.signalling,
            context.available,
            context.in_place,
            context.in_flight,
            self.circumstances,
        )

    def ranges(self) -> tuple[PlanRange, ...]:
        """The ranges, in mode ``observe`` with the default's method."""
        stretches = self.stretches
        answers = self._answers(stretches)
        curves = self.publication.curves
        limit = math.inf if curves is None else _unary_payload_bytes(curves, self.context)
        if any(one.proposal.method == "grpc" and one.end_bytes > limit for one in answers):
            answers = self._answers(_without_grpc_from(stretches, limit), limit)
        ranges = tuple(_plan_range(one, stretches) for one in answers)
        return _observed(self._defaults(self.candidates), ranges) if self._observes else ranges

    @property
    def _observes(self) -> bool:
        return self.settings.engine.mode == "observe"

    def _answers(self, stretches: Sequence[Stretch], limit_bytes: float = math.inf) -> tuple[Answer, ...]:
        priority = self.settings.engine.priority

        def can_be_taken(name: str) -> bool:
            return name in self.takeable

        proposals: dict[str, Sequence[Proposal]] = {
            "override": override(self.pool),
            "rule": self.ruled,
            "policy": proposed_over(stretches, self._policy),
            "threshold": fixed_ranges(self.pool),
            "default": proposed_over(stretches, self._defaults),
        }
        instead = [source for source in priority[priority.index("model") + 1 :] if source in proposals]
        fallback = overlaid(proposals, [*instead, "default"], can_be_taken)
        proposals["model"] = self._model(stretches, fallback, limit_bytes)
        return overlaid(proposals, priority, can_be_taken)

    def _policy(self, candidates: tuple[str, ...]) -> tuple[Proposal, ...]:
        if self.pool.policy is None:
            return ()
        proposals, problems = policy_proposals(
            self.pool, self.publication.curves, self.context, self.circumstances, candidates, self.pause
        )
        self.problems += [problem for problem in problems if problem not in self.problems]
        return proposals

    def _defaults(self, candidates: tuple[str, ...]) -> tuple[Proposal, ...]:
        ranges = default_ranges(candidates, self.pool.zero_copy_bytes)
        return tuple(Proposal(one.start_bytes, one.end_bytes, one.method, one.rule) for one in ranges)

    def _model(
        self, stretches: Sequence[Stretch], fallback: Sequence[Answer], limit_bytes: float
    ) -> tuple[Proposal, ...]:
        curves = self.publication.curves
        if curves is None:
            return ()
        if not self.circumstances.is_trusted:
            return (Proposal(0.0, math.inf, None, UNTRUSTED),)
        below = proposed_over(stretches, self._curves)
        limited = tuple(
            dataclasses.replace(one, rule=MESSAGE_LIMIT)
            if one.start_bytes >= limit_bytes and one.method != "grpc"
            else one
            for one in below
        )
        return confident_proposals(
            limited,
            fallback,
            curves,
            self.context,
            self._goal,
            confidence=self.settings.engine.confidence,
            tolerance=self.pool.tolerance,
            weights=self.pool.weights,
            factors=dict(self.circumstances.factors),
            pause=self.pause,
        )

    def _curves(self, candidates: tuple[str, ...]) -> tuple[Proposal, ...]:
        assert self.publication.curves is not None
        ranges = compile_ranges(
            self.publication.curves,
            dataclasses.replace(self.context, available=candidates),
            self._goal,
            simplicity_order=self.pool.simplicity_order,
            tolerance=self.pool.tolerance,
            margin=self.pool.margin,
            weights=self.pool.weights,
            factors=dict(self.circumstances.factors),
            penalties=self.circumstances.penalties(in_place=self.context.in_place),
            pause=self.pause,
        )
        return tuple(_explained(part) for part in ranges)

    @property
    def _goal(self) -> str:
        return self.circumstances.goal or self.pool.goal


def known_methods(publication: Publication) -> tuple[str, ...]:
    """The built-in methods and those of one's own that the published curves know."""
    measured = {key.method for key in publication.curves.curves} - {ANY} if publication.curves else set()
    return (*SIMPLICITY_ORDER, *sorted(measured.difference(SIMPLICITY_ORDER)))


def known_contexts(settings: Settings, publication: Publication) -> tuple[Context, ...]:
    """The contexts that a plan is shown for: every pool, codec with evidence (and raw bytes) and signalling."""
    codecs = [("binary", "raw", "none")]
    if publication.curves:
        codecs += [(codec.kind, codec.format, codec.compression) for codec in publication.curves.codecs]
    methods = known_methods(publication)
    return tuple(
        Context(pool, kind, format_name, compression, signalling, methods)
        for pool, (kind, format_name, compression), signalling in itertools.product(
            settings.pools, dict.fromkeys(codecs), SIGNALLINGS
        )
    )


def _explained(part: Range) -> Proposal:
    """A compiled range with the rule that led to its method, judged in its middle."""
    return Proposal(part.start_bytes, part.end_bytes, part.method, f"published curve: {part.reason}", part)


def _plan_range(answer: Answer, stretches: Sequence[Stretch]) -> PlanRange:
    candidates = next(s.candidates for s in stretches if s.start_bytes <= answer.start_bytes < s.end_bytes)
    proposal = answer.proposal
    assert proposal.method is not None  # the winner names one
    return PlanRange(
        answer.start_bytes,
        answer.end_bytes,
        proposal.method,
        proposal.rule,
        proposal.evidence,
        source=answer.source,
        losers=answer.losers,
        candidates=candidates,
    )


def _unary_payload_bytes(curves: CurveSet, context: Context) -> float:
    """The largest payload that surely fits into one message: a compression may not compress what it is given."""
    names = (context.kind, context.format, context.compression)
    ratios = [c.wire_ratio for c in curves.codecs if (c.kind, c.format, c.compression) == names]
    return UNARY_MESSAGE_BYTES / max([1.0, *ratios])


def _without_grpc_from(stretches: Sequence[Stretch], limit_bytes: float) -> tuple[Stretch, ...]:
    """The stretches cut at the largest message: from there without `grpc`, where another method remains."""
    cut = []
    for stretch in stretches:
        larger = tuple(name for name in stretch.candidates if name != "grpc") or stretch.candidates
        if stretch.start_bytes < limit_bytes:
            cut.append(dataclasses.replace(stretch, end_bytes=min(stretch.end_bytes, limit_bytes)))
        if stretch.end_bytes > limit_bytes:
            start = max(stretch.start_bytes, limit_bytes)
            cut.append(dataclasses.replace(stretch, start_bytes=start, candidates=larger))
    return tuple(cut)


def _observed(defaults: Sequence[Proposal], advised: Sequence[PlanRange]) -> tuple[PlanRange, ...]:
    """The defaults, cut wherever the advice changes, with the method and the evidence of the advice beside them."""
    starts = sorted({one.start_bytes for one in defaults} | {one.start_bytes for one in advised})
    observed = []
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        default = next(one for one in defaults if one.start_bytes <= start < one.end_bytes)
        advice = next(one for one in advised if one.start_bytes <= start < one.end_bytes)
        rule = f"mode observe: {default.rule}; decide would take {advice.method} ({advice.rule})"
        losers = (Loser(advice.source, advice.method, f"{advice.rule}: mode observe"), *advice.losers)
        observed.append(
            PlanRange(start, end, str(default.method), rule, advice.evidence, advice.method, "default", losers)
        )
    return tuple(observed)
