"""Compile what is in use for other tables: those that take the place of others now, and those that may."""

from __future__ import annotations

import dataclasses
import time
import weakref
from collections.abc import Callable, Iterator

from perfkit.engine.circumstances import NORMAL, STATES
from perfkit.engine.compiled import Conditions, Names, Plan, Ready, Tables, make_ready, named
from perfkit.engine.costs import Context

__all__ = ["STEPS", "Bound", "Found", "Preparation", "bound_anew", "compiled_anew", "foreseen", "names_of"]

_MOST_CONTEXTS = 1_000
_MOST_NAMES = 4_000
_LONGEST_S = 0.15
"""How long a look may take to prepare: what the host has left is not looked at meanwhile."""
STEPS = 64
"""Others get their turn after so many things that take a microsecond each."""

Found = tuple[Context, Ready]
"""What a bound context is under other tables, and what it is looked up in."""


class Bound:
    """A context that a caller has bound: what it is looked up in is replaced whenever the tables are.

    Args:
        names: as the caller gave them: what is unknown now may be known to the next plan.
        context: what they stand for in the plan in force.
        offers_all: the caller named no methods, so that all that are known may be taken.
        ready: what is looked up.
    """

    __slots__ = ("__weakref__", "context", "names", "offers_all", "ready")

    def __init__(self, names: Names, context: Context, offers_all: bool, ready: Ready) -> None:
        self.names, self.context, self.offers_all, self.ready = names, context, offers_all, ready


class Prepared:
    """Tables under conditions that may come, and what those who bound a context look up then."""

    __slots__ = ("bound", "tables")

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.bound: weakref.WeakKeyDictionary[Bound, Found] = weakref.WeakKeyDictionary()


class Preparation:
    """The tables of one plan under every condition that is foreseen, so that the engine reacts at once.

    Filled by the engine's thread, a little at a time. Tables that were in force stay here: the way back is as short.
    """

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._by_conditions: dict[Conditions, Prepared] = {}
        self._done: tuple[object, ...] = ()

    def under(self, plan: Plan, conditions: Conditions) -> Prepared:
        """What is ready of a plan under conditions: perhaps nothing yet.

        Args:
            plan: one that is not known yet takes the place of that of before.
            conditions: what holds, or may hold.
        """
        if plan is not self._plan:
            self._plan, self._by_conditions = plan, {}
        return self._by_conditions.setdefault(conditions, Prepared(Tables(plan, conditions)))

    def fill(
        self,
        tables: Tables,
        bounds: Callable[[], list[Bound]],
        binds: int,
        *,
        explores: bool,
        pause: Callable[[], None],
    ) -> None:
        """Prepare what is in use, for some 150 ms at most, from where it was left; a microsecond where nothing is new.

        Args:
            tables: those in force.
            bounds: tells which contexts callers have bound.
            binds: how many were bound so far.
            explores: whether the settings say so.
            pause: called between two steps.
        """
        asked = (tables, explores, len(tables.cells), binds)
        if asked == self._done:
            return
        conditions = foreseen(tables.conditions, explores=explores)
        self.under(tables.plan, tables.conditions).tables = tables  # the way back
        for other in [one for one in self._by_conditions if one not in (tables.conditions, *conditions)]:
            del self._by_conditions[other]
        until_s = time.perf_counter() + _LONGEST_S
        for one in conditions:
            for _ in _filled(self.under(tables.plan, one), list(tables.cells)[:_MOST_NAMES], bounds(), pause):
                pause()
                if time.perf_counter() > until_s:
                    return
        self._done = asked


def _filled(prepared: Prepared, in_use: list[Names], bounds: list[Bound], pause: Callable[[], None]) -> Iterator[None]:
    tables = prepared.tables
    for number, names in enumerate(in_use):
        if names not in tables.cells:
            _keep_anew(tables, names, strict=False, pause=pause)
            yield
        elif not number % STEPS:
            yield
    for number, bound in enumerate(bounds):
        if bound not in prepared.bound:
            prepared.bound[bound] = bound_anew(bound, tables, strict=False, pause=pause)
            yield
        elif not number % STEPS:
            yield


def foreseen(conditions: Conditions, *, explores: bool) -> tuple[Conditions, ...]:
    """What may hold next: another state of the host, and exploring or not. Breakers open too rarely to be foreseen.

    >>> len(foreseen(Conditions(), explores=False)), len(foreseen(Conditions(), explores=True))
    (4, 5)
    """
    found = [dataclasses.replace(conditions, state=state, exploring=explores and state == NORMAL) for state in STATES]
    found.append(dataclasses.replace(conditions, state=NORMAL, exploring=False))
    return tuple(one for one in dict.fromkeys(found) if one != conditions)


def compiled_anew(
    before: Tables,
    after: Tables,
    bounds: list[Bound],
    ready: Prepared | None,
    pause: Callable[[], None] | None,
    *,
    strict: bool = True,
) -> dict[Bound, Found]:
    """Fill tables with every context that was in use; what was bound is returned, ready.

    Args:
        before: tables in force.
        after: those that are to take their place.
        bounds: contexts that callers have bound.
        ready: what was prepared of them.
        pause: called every now and then.
        strict: raise what cannot be compiled of another plan.
    """
    plan, conditions = after.plan, after.conditions
    strict = strict and plan is not before.plan
    if strict:
        make_ready(plan, Context(available=plan.methods), conditions, strict=True, pause=pause)  # none is taken unseen
    for number, names in enumerate(list(before.cells)):
        if names not in after.cells:
            _keep_anew(after, names, strict=strict, pause=pause)
        if pause is not None and not number % STEPS:
            pause()
    if strict:  # whoever bound and forgot, binds again
        contexts = list(dict.fromkeys(context for context, _, _ in list(before.plan.compiled)))
        for context in contexts[-_MOST_CONTEXTS:]:
            if context == Context(*names_of(context), before.plan.methods) and names_of(context) in after.cells:
                continue
            offers_all = context.available == before.plan.methods
            forgotten = Bound(names_of(context), context, offers_all, ((), (), 0.0, None))
            bound_anew(forgotten, after, strict=True, pause=pause)
    known = {} if ready is None else ready.bound
    found = {}
    for number, bound in enumerate(bounds):
        found[bound] = known.get(bound) or bound_anew(bound, after, strict=strict, pause=pause)
        if pause is not None and not number % STEPS:
            pause()
    return found


def _keep_anew(tables: Tables, names: Names, *, strict: bool, pause: Callable[[], None] | None) -> None:
    """Compile names that were in use, if the plan still knows them."""
    plan = tables.plan
    known, unknown = named(plan, names)
    if unknown:
        return
    ready = tables.cells.get(known)
    if ready is None:
        ready = make_ready(plan, Context(*known, plan.methods), tables.conditions, strict=strict, pause=pause)
        tables.keep(known, ready)
    tables.keep(names, ready)


def bound_anew(bound: Bound, tables: Tables, *, strict: bool, pause: Callable[[], None] | None = None) -> Found:
    """What a bound context is under other tables."""
    plan, context = tables.plan, bound.context
    known, _ = named(plan, bound.names)
    # Who named no methods gets those that are known now.
    methods = plan.methods if bound.offers_all else context.available
    context = Context(*known, methods, context.in_place, context.in_flight)
    return context, make_ready(plan, context, tables.conditions, strict=strict, pause=pause)


def names_of(context: Context) -> Names:
    """The names that a context is asked with."""
    return (context.pool, context.kind, context.format, context.compression, context.signalling)
