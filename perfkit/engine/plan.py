"""The plan: published curves and a pool's wishes, compiled into ranges of payload size."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

from perfkit.config.curves import ANY, CurveSet
from perfkit.config.settings import PoolSettings, Settings
from perfkit.config.thresholds import Thresholds
from perfkit.engine.costs import Context, goal_in_force
from perfkit.engine.defaults import default_ranges
from perfkit.engine.ranges import Range, compile_ranges
from perfkit.schema import SIGNALLINGS, SIMPLICITY_ORDER

__all__ = ["UNARY_MESSAGE_BYTES", "Cell", "PlanRange", "Publication", "compile_cell", "known_contexts", "known_methods"]

UNARY_MESSAGE_BYTES = 2**31 - 1 - 2**20
"""`grpc` (unary) is planned up to this many bytes on the wire: protobuf ends at 2 GiB, the frame needs a little."""

CHEAPEST = "published curve: the cheapest"
SIMPLER = "published curve: indistinguishable from the cheapest, and simpler"
ONLY = "published curve: the only method with evidence"
MESSAGE_LIMIT = "published curve: the cheapest that carries a message of this size"


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

    `rule` says why, `evidence` holds the costs (None for a default), and `advised` what mode ``decide`` would take
    (only in mode ``observe``).
    """

    start_bytes: float
    end_bytes: float
    method: str
    rule: str
    evidence: Range | None = None
    advised: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """The compiled plan of one context: ranges in order of size, from 0 to infinity without gaps."""

    context: Context
    pool: PoolSettings
    publication: Publication
    ranges: tuple[PlanRange, ...]

    def at(self, payload_bytes: float) -> PlanRange:
        """The range that holds a size."""
        return next(part for part in self.ranges if part.start_bytes <= payload_bytes < part.end_bytes)

    @property
    def goal(self) -> str:
        """The pool's goal, or ``latency`` where the quantities of that goal were not measured."""
        curves, goal = self.publication.curves, self.pool.goal
        return goal if curves is None else goal_in_force(curves, goal, self.pool.weights)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The publication's warnings, and one where the goal could not be followed."""
        if self.goal == self.pool.goal:
            return self.publication.warnings
        fallback = (
            f"goal {self.pool.goal}: its quantities were not measured, so latency decides; measure with `perfkit run`"
        )
        return (*self.publication.warnings, fallback)

    @property
    def name(self) -> str:
        """The context as one word, as it appears in a decision's id."""
        context = self.context
        name = f"{context.pool}/{context.kind}/{context.format}/{context.compression}/{context.signalling}"
        load = f"/{context.in_flight} in flight" if context.in_flight > 1 else ""
        return f"{name}{'/in place' if context.in_place else ''}{load}"


def compile_cell(settings: Settings, publication: Publication, context: Context) -> Cell:
    """Compile the plan of one context.

    Args:
        settings: mode, and what the context's pool wants.
        publication: the curves, if anything is published.
        context: pool, codec, signalling, load, and the methods that are there; those that the pool does not want are
            left out, unless none would remain.

    >>> cell = compile_cell(Settings(), Publication(), Context())
    >>> [(part.end_bytes, part.method) for part in cell.ranges]
    [(10485760, 'grpc'), (inf, 'shm_pool')]
    """
    pool = settings.pool(context.pool)
    wanted = tuple(method for method in context.available if pool.methods is None or method in pool.methods)
    context = dataclasses.replace(context, available=wanted or context.available)
    published = () if publication.curves is None else _published_ranges(publication.curves, context, pool)
    defaults = tuple(PlanRange(*dataclasses.astuple(part)) for part in default_ranges(context.available))
    ranges = published or defaults
    if settings.engine.mode == "observe":
        ranges = _observed(defaults, ranges)
    return Cell(context, pool, publication, ranges)


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


def _published_ranges(curves: CurveSet, context: Context, pool: PoolSettings) -> tuple[PlanRange, ...]:
    def compiled(available: Sequence[str]) -> tuple[Range, ...]:
        narrowed = dataclasses.replace(context, available=tuple(available))
        order, tolerance = pool.simplicity_order, pool.tolerance
        return compile_ranges(curves, narrowed, pool.goal, simplicity_order=order, tolerance=tolerance)

    ranges = [_explained(part) for part in compiled(context.available)]
    limit_bytes = _unary_payload_bytes(curves, context)
    if any(part.method == "grpc" and part.end_bytes > limit_bytes for part in ranges):
        larger = [_explained(part) for part in compiled([name for name in context.available if name != "grpc"])]
        ranges = _spliced(ranges, larger, limit_bytes)
    return tuple(ranges)


def _explained(part: Range) -> PlanRange:
    """A compiled range with the rule that led to its method, judged in its middle."""
    cheaper = [cost for cost in part.alternatives.values() if cost.value < part.expected.value]
    rule = ONLY if not part.alternatives else SIMPLER if cheaper else CHEAPEST
    return PlanRange(part.start_bytes, part.end_bytes, part.method, rule, part)


def _unary_payload_bytes(curves: CurveSet, context: Context) -> float:
    """The largest payload that surely fits into one message: a compression may not compress what it is given."""
    names = (context.kind, context.format, context.compression)
    ratios = [c.wire_ratio for c in curves.codecs if (c.kind, c.format, c.compression) == names]
    return UNARY_MESSAGE_BYTES / max([1.0, *ratios])


def _spliced(below: Sequence[PlanRange], above: Sequence[PlanRange], edge_bytes: float) -> list[PlanRange]:
    """`below` up to the edge and `above` from there; nothing changes where `above` is empty."""
    if not above:
        return list(below)
    kept = [dataclasses.replace(p, end_bytes=min(p.end_bytes, edge_bytes)) for p in below if p.start_bytes < edge_bytes]
    taken = [
        dataclasses.replace(part, start_bytes=max(part.start_bytes, edge_bytes), rule=MESSAGE_LIMIT)
        for part in above
        if part.end_bytes > edge_bytes
    ]
    return [*kept, *taken]


def _observed(defaults: Sequence[PlanRange], advised: Sequence[PlanRange]) -> tuple[PlanRange, ...]:
    """The defaults, cut wherever the advice changes, with the method and the evidence of the advice beside them."""
    starts = sorted({part.start_bytes for part in (*defaults, *advised)})
    observed = []
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        default, advice = _holding(defaults, start), _holding(advised, start)
        rule = f"mode observe: {default.rule}; decide would take {advice.method} ({advice.rule})"
        observed.append(PlanRange(start, end, default.method, rule, advice.evidence, advice.method))
    return tuple(observed)


def _holding(ranges: Sequence[PlanRange], payload_bytes: float) -> PlanRange:
    return next(part for part in ranges if part.start_bytes <= payload_bytes < part.end_bytes)
