"""What publishing would put in force: the plans before and after, the ranges that people read, and what moves."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

from perfkit.config.settings import DEFAULT_POOL, Settings
from perfkit.config.thresholds import PublishedRange, PublishedTable
from perfkit.engine.costs import Context, method_cost
from perfkit.engine.decision import middle_bytes
from perfkit.engine.plan import Cell, PlanRange, Publication, compile_cell, known_contexts
from perfkit.engine.view import RangeView, range_views
from perfkit.workflows.published import Change

__all__ = ["CompiledPlan", "changes_between", "compiled_plan", "published_cells", "published_table"]

CompiledPlan = Callable[[Context], Cell]


def compiled_plan(settings: Settings, publication: Publication) -> CompiledPlan:
    """The plan of every context, compiled once when it is first asked for."""
    return functools.cache(functools.partial(compile_cell, settings, publication))


def published_cells(settings: Settings, publication: Publication, plan: CompiledPlan) -> tuple[Cell, ...]:
    """The cells to publish: a pool that wants what `default` wants needs none of its own."""
    default = settings.pools[DEFAULT_POOL]
    return tuple(
        plan(context)
        for context in known_contexts(settings, publication)
        if context.pool == DEFAULT_POOL or settings.pool(context.pool) != default
    )


def published_table(cell: Cell) -> PublishedTable:
    """The readable ranges of one context."""
    context = cell.context
    return PublishedTable(
        pool="*" if context.pool == DEFAULT_POOL else context.pool,
        goal=cell.goal,
        kind=context.kind,
        format=context.format,
        compression=context.compression,
        signalling=context.signalling,
        ranges=tuple(_published_range(view) for view in range_views(cell)),
    )


def _published_range(view: RangeView) -> PublishedRange:
    expected = view.expected
    return PublishedRange(
        up_to_bytes=view.part.end_bytes,
        method=view.part.method,
        expect_ns=expected.value if expected else 0.0,
        measured=expected is not None and expected.measured,
        interval=view.crossover,
        n=expected.n if expected else 0,
        alternatives={method: cost.value for method, cost in view.alternatives.items()},
    )


def changes_between(before: Sequence[Cell], after: Sequence[Cell]) -> tuple[Change, ...]:
    """The stretches of sizes in which two plans of the same contexts take different methods."""
    return tuple(change for old, new in zip(before, after, strict=True) for change in _changes(old, new))


def _changes(before: Cell, after: Cell) -> Iterator[Change]:
    starts = sorted({part.start_bytes for part in (*before.ranges, *after.ranges)})
    merged: list[tuple[float, float, str, str]] = []
    for start, end in zip(starts, [*starts[1:], math.inf], strict=True):
        old, new = before.at(start).method, after.at(start).method
        if merged and merged[-1][2:] == (old, new):
            merged[-1] = (merged[-1][0], end, old, new)
        else:
            merged.append((start, end, old, new))
    for start, end, old, new in merged:
        if old != new:
            at_bytes = middle_bytes(PlanRange(start, end, new, ""))
            expected = [_latency_ns(after, method, at_bytes) for method in (old, new)]
            yield Change(after.name, start, end, old, new, at_bytes, *expected)


def _latency_ns(cell: Cell, method: str, payload_bytes: float) -> float | None:
    curves = cell.publication.curves
    cost = method_cost(curves, method, cell.context, payload_bytes) if curves else None
    return cost.value if cost else None
