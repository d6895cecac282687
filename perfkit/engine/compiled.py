"""A plan in force and its tables: what decisions are looked up in, replaced as a whole so that none mixes two plans."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from perfkit.config.experiments import Experiment
from perfkit.config.pool_settings import DEFAULT_POOL, PoolSettings
from perfkit.engine.assignment import Assigner
from perfkit.engine.circumstances import NORMAL, Circumstances
from perfkit.engine.costs import Context
from perfkit.engine.decision import Decision, ready_decisions
from perfkit.engine.exploring import Work, with_probes, with_trials
from perfkit.engine.loading import Loaded
from perfkit.engine.plan import Cell, Publication, RangeMemo, compile_cell, known_methods
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, SIGNALLINGS

__all__ = [
    "Arms",
    "Conditions",
    "Learned",
    "Names",
    "Plan",
    "Ready",
    "Tables",
    "cell_of",
    "circumstances_of",
    "make_plan",
    "make_ready",
    "named",
]

Names = tuple[str, str, str, str, str]
"""What `decide` is asked with: pool, kind, format, compression, signalling."""

_MOST_NAMES = 10_000
_MOST_MATCHED_POOLS = 1_000
_MOST_MATCHED_NAMES = _MOST_NAMES // 2
_LONGEST_POOL = 256
_MOST_CELLS = 50_000
_MOST_SHARED = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Conditions:
    """What may change from one moment to the next, whatever the files say.

    Args:
        state: what the host has left.
        open_methods: methods whose circuit breaker is open.
        probing: those of them that one transfer may try.
        exploring: whether other methods are tried to learn what they cost.
    """

    state: str = NORMAL
    open_methods: frozenset[str] = frozenset()
    probing: frozenset[str] = frozenset()
    exploring: bool = False


@dataclasses.dataclass(frozen=True)
class Learned:
    """What transfers taught since the curves were measured.

    Args:
        factors: per pool, by how much each method's time differs from what was published, as (method, factor), sorted.
        untrusted: pools whose predictions are too far off to choose by.
    """

    factors: Mapping[str, tuple[tuple[str, float], ...]] = dataclasses.field(
        default_factory=lambda: MappingProxyType({})
    )
    untrusted: frozenset[str] = frozenset()


class Arms:
    """The variants of an experiment in one context: the hot path finds a session's by one lookup more."""

    __slots__ = ("assigned", "assigner", "ready")

    def __init__(self, assigner: Assigner, ready: tuple[Ready, ...]) -> None:
        self.assigner = assigner
        self.assigned = assigner.cache
        self.ready = ready  # one per variant; the last is for sessions that take no part, found at -1


Ready = tuple[tuple[int, ...], tuple[Decision, ...], float, Arms | None]
"""What `decide` looks up: edges, decisions, probability of asking `divert`, variants."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What tables are compiled from. Only what is compiled when it is first asked for is added to it.

    Args:
        loaded: settings and publication.
        generation: number of this plan among those of its engine, from 1.
        methods: methods that may be taken where a caller names none.
        codecs: codecs with evidence: kind, format, compression.
        learned: corrections by what transfers took.
        assigners: per section of `perfkit.toml`, the experiment that takes place in it.
        compiled: every compiled cell, by context, circumstances and variant.
        memo: ranges that cells share.
        trials: what may be tried in them.
        errors: contexts that could not be compiled, and got the defaults.
    """

    loaded: Loaded
    generation: int
    methods: tuple[str, ...]
    codecs: frozenset[tuple[str, str, str]]
    learned: Learned = Learned()
    assigners: Mapping[str, Assigner] = dataclasses.field(default_factory=dict)
    compiled: dict[tuple[Context, Circumstances, str], Cell] = dataclasses.field(default_factory=dict)
    memo: RangeMemo = dataclasses.field(default_factory=dict)
    trials: dict[tuple[int, float], list[tuple[str, float]]] = dataclasses.field(default_factory=dict)
    errors: dict[str, None] = dataclasses.field(default_factory=dict)
    matched_pools: dict[str, None] = dataclasses.field(default_factory=dict)


class Tables:
    """A plan under conditions: what decisions are looked up in."""

    __slots__ = ("_matched", "cells", "conditions", "plan")

    def __init__(self, plan: Plan, conditions: Conditions) -> None:
        self.plan, self.conditions = plan, conditions
        self.cells: dict[Names, Ready] = {}
        self._matched = 0

    def keep(self, names: Names, ready: Ready) -> None:
        """Remember a context under the names that it was asked with; what is asked must not fill the memory."""
        if names in self.cells:
            self.cells[names] = ready
        elif len(self.cells) < _MOST_NAMES and len(names[0]) <= _LONGEST_POOL:
            # Pools that only a pattern names leave room for those that have a section of their own.
            is_matched = names[0] not in self.plan.loaded.settings.pools
            if not is_matched or self._matched < _MOST_MATCHED_NAMES:
                self._matched += is_matched
                self.cells[names] = ready


def make_plan(
    loaded: Loaded,
    generation: int = 1,
    *,
    learned: Learned = Learned(),
    before: Plan | None = None,
    stopped: frozenset[str] = frozenset(),
) -> Plan:
    """A plan of which nothing is compiled yet.

    Args:
        loaded: what the files say.
        generation: its number.
        learned: corrections by what transfers took.
        before: the plan that it follows: sessions keep their variants in experiments that did not change.
        stopped: experiments that were stopped by hand.
    """
    curves = loaded.publication.curves
    codecs = frozenset((codec.kind, codec.format, codec.compression) for codec in (curves.codecs if curves else ()))
    known = list(before.assigners.values()) if before else []
    assigners: dict[str, Assigner] = {}
    for experiment in loaded.settings.experiments:
        if experiment.enabled and experiment.name not in stopped:
            assigner = _assigner(experiment, known)
            assigners |= dict.fromkeys(experiment.pools or loaded.settings.pools, assigner)
    plan = Plan(loaded, generation, known_methods(loaded.publication), codecs, learned, assigners)
    if before is not None and _shares_ranges(before, plan):
        plan = dataclasses.replace(plan, memo=before.memo, trials=before.trials)
    return plan


def _shares_ranges(before: Plan, after: Plan) -> bool:
    """Whether what was compiled for one plan is right for the other, where it depends on the same pool and conditions.

    Functions in Python may answer otherwise today, and what went wrong before may go right.
    """
    old, new = before.loaded, after.loaded
    return (
        not before.errors
        and old.publication.curves is new.publication.curves
        and old.settings.engine == new.settings.engine
        and not any(pool.policy for pool in new.settings.pools.values())
        and len(before.memo) < _MOST_SHARED
    )


def _assigner(experiment: Experiment, known: Sequence[Assigner]) -> Assigner:
    same = next((one for one in known if one.experiment == experiment), None)
    return same or Assigner(experiment, next((one for one in known if one.has_variants_of(experiment)), None))


def named(plan: Plan, names: Names) -> tuple[Names, tuple[tuple[str, str], ...]]:
    """Names with every unknown one replaced by its default, so that the plan stays small whatever is asked.

    Returns:
        The names that the plan knows, and what was unknown: ``pool``, ``codec`` or ``signalling``, with its name.
    """
    pool, kind, format_name, compression, signalling = names
    unknown = []
    section = plan.loaded.settings.section(pool)
    if section is None:
        unknown.append(("pool", pool))
        pool = DEFAULT_POOL
    elif section != pool and pool not in plan.matched_pools:
        # A pool that a pattern names is one of its own, as long as there are not too many of them.
        if len(pool) <= _LONGEST_POOL and len(plan.matched_pools) < _MOST_MATCHED_POOLS:
            plan.matched_pools[pool] = None
        else:
            pool = section
    codec = (kind, format_name, compression)
    if not (kind in KINDS and format_name in FORMATS and compression in COMPRESSIONS) and codec not in plan.codecs:
        unknown.append(("codec", "/".join(codec)))
        codec = ("binary", "raw", "none")
    if signalling not in SIGNALLINGS:
        unknown.append(("signalling", signalling))
        signalling = SIGNALLINGS[0]
    return (pool, *codec, signalling), tuple(unknown)


def circumstances_of(plan: Plan, pool: str, conditions: Conditions) -> Circumstances:
    """What holds for one pool under these conditions."""
    learned = plan.learned
    return _shared(
        conditions.state, conditions.open_methods, learned.factors.get(pool, ()), pool not in learned.untrusted
    )


_shared = functools.lru_cache(maxsize=1024)(Circumstances)  # most cells of a plan have the same


def make_ready(
    plan: Plan,
    context: Context,
    conditions: Conditions,
    *,
    strict: bool = False,
    pause: Callable[[], None] | None = None,
) -> Ready:
    """Compile a context, with its variants, into what `decide` looks up.

    Args:
        plan: what to compile from; compiled cells are kept in it.
        context: known names only.
        conditions: what holds.
        strict: raise what goes wrong; otherwise the defaults are taken, and it is noted in `plan.errors`.
        pause: called every now and then, so that a thread in the background gives way.
    """
    settings = plan.loaded.settings
    plain = _ready(plan, context, conditions, None, strict, pause)
    section = settings.section(context.pool) or DEFAULT_POOL
    assigner = plan.assigners.get(section)
    if assigner is None or settings.engine.mode == "observe":
        return plain
    experiment = assigner.experiment
    arms = []
    for variant in experiment.variants:
        arm = (experiment.name, variant.name, variant.applied_to(settings.pools[section]))
        arms.append(_ready(plan, context, conditions, arm, strict, pause))
    edges, decisions, chance, _ = plain
    return edges, decisions, chance, Arms(assigner, (*arms, plain))


def _ready(
    plan: Plan,
    context: Context,
    conditions: Conditions,
    arm: tuple[str, str, PoolSettings] | None,
    strict: bool,
    pause: Callable[[], None] | None,
) -> Ready:
    cell = cell_of(plan, context, circumstances_of(plan, context.pool, conditions), arm, strict=strict, pause=pause)
    edges, decisions = ready_decisions(cell)
    if conditions.probing:
        closed = dataclasses.replace(conditions, open_methods=conditions.open_methods - conditions.probing)
        whole = cell_of(plan, context, circumstances_of(plan, context.pool, closed), arm, strict=strict, pause=pause)
        probing = with_probes(edges, decisions, whole, conditions.probing)
        if probing[2]:
            return (*probing, None)
    if conditions.exploring:
        work = Work(plan.trials, pause or (lambda: None))
        return (*with_trials(cell, edges, decisions, plan.loaded.settings.engine.exploration, work), None)
    return edges, decisions, 0.0, None


def cell_of(
    plan: Plan,
    context: Context,
    circumstances: Circumstances,
    arm: tuple[str, str, PoolSettings] | None = None,
    *,
    strict: bool = False,
    pause: Callable[[], None] | None = None,
) -> Cell:
    """The compiled cell of a context, from the plan or compiled now."""
    key = (context, circumstances, arm[1] if arm else "")
    found = plan.compiled.get(key)
    if found is not None:
        return found
    settings = plan.loaded.settings
    try:
        cell = compile_cell(
            settings, plan.loaded.publication, context, circumstances, arm=arm, memo=plan.memo, pause=pause
        )
    except Exception as error:
        if strict:
            raise
        plan.errors[f"the plan of {context.kind}/{context.format} cannot be compiled: {error!r}"] = None
        experiment, variant, pool = arm or ("", "", settings.pool(context.pool))
        arm = experiment, variant, dataclasses.replace(pool, policy=None)
        cell = compile_cell(settings, Publication(), context, circumstances, arm=arm)
    plan.errors.update(dict.fromkeys(cell.problems))
    if len(plan.compiled) >= _MOST_CELLS:
        _forget_others(plan, circumstances)
    plan.compiled[key] = cell
    return cell


def _forget_others(plan: Plan, circumstances: Circumstances) -> None:
    """Drop cells of what neither holds now nor is normal; and all, if those alone are too many."""
    kept: set[tuple[str, frozenset[str]]] = {
        (circumstances.state, circumstances.open_methods),
        (NORMAL, frozenset()),
    }
    for key in list(plan.compiled):
        if (key[1].state, key[1].open_methods) not in kept:
            plan.compiled.pop(key, None)
    if len(plan.compiled) >= _MOST_CELLS:
        plan.compiled.clear()
