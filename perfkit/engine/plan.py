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
from perfkit.engine.circumstances import Circumstances
from perfkit.engine.costs import Context, goal_in_force
from perfkit.engine.goals import goal_notes
from perfkit.engine.ranges import Range
from perfkit.engine.resolving import Question, resolve
from perfkit.engine.sources import Answer, Loser
from perfkit.schema import SIGNALLINGS, SIMPLICITY_ORDER

__all__ = [
    "Cell",
    "PlanRange",
    "Publication",
    "RangeMemo",
    "compile_cell",
    "known_contexts",
    "known_methods",
]


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

    def in_state(self, state: str) -> Publication:
        """The publication with the curves that hold in a state of the host: itself where they hold in every state."""
        curves = self.curves
        if curves is None or (found := curves.in_state(state)) is curves:
            return self
        return dataclasses.replace(self, curves=found)


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
        losers: the other sources, with the sizes for which they would have taken something else.
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
        curves = self.publication.curves
        return self._wanted if curves is None else goal_in_force(curves, self._wanted, self.pool.weights)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The publication's warnings, one where the goal could not be followed, and what went wrong with a policy."""
        warnings = (*self.publication.warnings, *self.problems)
        curves = self.publication.curves
        if curves is None or self.goal == self._wanted:
            return warnings
        return (*warnings, *goal_notes(curves, self._wanted, self.pool.weights))

    @property
    def _wanted(self) -> str:
        return self.circumstances.goal or self.pool.goal

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
    publication = publication.in_state(circumstances.state)
    question = Question.about(settings.engine, publication.curves, pool, context, circumstances, pause)
    key = question.key
    found = None if memo is None else memo.get(key)
    if found is None:
        found = _compiled(question, observes=settings.engine.mode == "observe")
        if memo is not None:
            memo[key] = found
    if question.wanted != context.available:
        context = dataclasses.replace(context, available=question.wanted)
    ranges, problems, digest = found
    return Cell(context, pool, publication, ranges, circumstances, experiment, variant, problems, digest)


def _compiled(question: Question, *, observes: bool) -> tuple[tuple[PlanRange, ...], tuple[str, ...], int]:
    answers, problems = resolve(question)
    ranges = tuple(map(_plan_range, answers))
    if observes:
        ranges = _observed(resolve(question, default_only=True)[0], ranges)
    return ranges, problems, _digest(ranges)


def _digest(ranges: Sequence[PlanRange]) -> int:
    said = "".join(f"{one.start_bytes!r} {one.method} {one.rule}\n" for one in ranges)
    return zlib.crc32(said.encode("utf-8", "surrogatepass"))


def known_methods(publication: Publication) -> tuple[str, ...]:
    """The built-in methods and those of one's own that the published curves know."""
    measured = {key.method for key in publication.curves.curves} - {ANY} if publication.curves else set()
    return (*SIMPLICITY_ORDER, *sorted(measured.difference(SIMPLICITY_ORDER)))


def known_contexts(settings: Settings, publication: Publication) -> tuple[Context, ...]:
    """The contexts that a plan is shown for: every pool, codec with evidence (and raw bytes) and signalling."""
    codecs = [("binary", "raw", "none")]
    if publication.curves:
        codecs += [(codec.kind, codec.format, codec.compression) for codec in publication.curves.codecs]
        # A model may know whole transfers of a codec whose stages nobody measured apart.
        own = {key for key in publication.curves.curves if key.stage == "transport" and key.kind != ANY}
        codecs += sorted({(key.kind, key.format, key.compression) for key in own})
    methods = known_methods(publication)
    return tuple(
        Context(pool, kind, format_name, compression, signalling, methods)
        for pool, (kind, format_name, compression), signalling in itertools.product(
            settings.pools, dict.fromkeys(codecs), SIGNALLINGS
        )
    )


def _plan_range(answer: Answer) -> PlanRange:
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
        candidates=answer.candidates,
    )


def _observed(defaults: Sequence[Answer], advised: Sequence[PlanRange]) -> tuple[PlanRange, ...]:
    """The defaults, cut wherever the advice changes, with the method and the evidence of the advice beside them."""
    starts = sorted({one.start_bytes for one in defaults} | {one.start_bytes for one in advised})
    observed = []
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        default = next(one for one in defaults if one.start_bytes <= start < one.end_bytes)
        advice = next(one for one in advised if one.start_bytes <= start < one.end_bytes)
        method = str(default.proposal.method)
        rule = f"mode observe: {default.proposal.rule}; decide would take {advice.method} ({advice.rule})"
        losers = advice.losers
        if advice.source != "default":
            said = Loser(advice.source, advice.method, advice.rule, "mode observe", start, end)
            losers = (said, *(loser for loser in losers if loser.source != "default"))
        observed.append(PlanRange(start, end, method, rule, advice.evidence, advice.method, "default", losers))
    return tuple(observed)
