"""Two plans compared: the sizes at which another method is taken, who named it, and what that is expected to cost."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from perfkit.engine.costs import Context, Cost
from perfkit.engine.decision import Decision, Explanation, middle_bytes
from perfkit.engine.plan import Cell
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from perfkit.engine.engine import Engine

__all__ = ["ContextDiff", "PlanDiff", "RangeDiff", "bound_cell", "diff_cells", "diff_plans", "plan_name"]


@dataclasses.dataclass(frozen=True, slots=True)
class RangeDiff:
    """Sizes for which another method is taken.

    Both costs are those of the same curves at `at_bytes`, in the unit of `goal`: the new plan's curves, or where it has
    none, the old one's. None where they know nothing of the method.

    Args:
        start_bytes: first size.
        end_bytes: first size that is not of it any more; infinite for the last range.
        before: method of the old plan.
        after: method of the new plan.
        source_before: who named the old one: override, rule, policy, model, threshold or default.
        source_after: who named the new one.
        rule_before: why, in words.
        rule_after: why, in words.
        goal: what the costs are of: the new plan's goal.
        at_bytes: size that the costs are for.
        cost_before: what the old method is expected to cost.
        cost_after: what the new method is expected to cost.
    """

    start_bytes: float
    end_bytes: float
    before: str
    after: str
    source_before: str
    source_after: str
    rule_before: str
    rule_after: str
    goal: str
    at_bytes: float
    cost_before: Cost | None
    cost_after: Cost | None

    @property
    def effect(self) -> float | None:
        """Expected change of the cost as a share: -0.5 is half of it."""
        if self.cost_before is None or self.cost_after is None or not self.cost_before.value > 0:
            return None
        return self.cost_after.value / self.cost_before.value - 1

    @property
    def sizes(self) -> str:
        """The sizes for people, as in 1MiB–4MiB."""
        if math.isinf(self.end_bytes):
            return f"from {format_bytes(self.start_bytes)}" if self.start_bytes else "every size"
        return f"{format_bytes(self.start_bytes)}–{format_bytes(self.end_bytes)}"

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON; an open end is None."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        costs = {name: _cost_to_plain(plain[name]) for name in ("cost_before", "cost_after")}
        end_bytes = self.end_bytes if math.isfinite(self.end_bytes) else None
        return {**plain, **costs, "end_bytes": end_bytes, "effect": self.effect}


@dataclasses.dataclass(frozen=True, slots=True)
class ContextDiff:
    """What changes in one context; `ranges` is empty where nothing does."""

    context: Context
    ranges: tuple[RangeDiff, ...]

    @property
    def name(self) -> str:
        """The context as one word."""
        context = self.context
        return "/".join((context.pool, context.kind, context.format, context.compression, context.signalling))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        names = ("pool", "kind", "format", "compression", "signalling", "in_place", "in_flight")
        context = {name: getattr(self.context, name) for name in names}
        return {**context, "ranges": [one.to_plain() for one in self.ranges]}


@dataclasses.dataclass(frozen=True)
class PlanDiff:
    """What another plan would do differently, context by context.

    Args:
        old: what the old plan rests on, in words.
        new: what the new plan rests on, in words.
        contexts: every context that one of both plans knows.
        notes: what differs beside ranges: mode, exploration, experiments.
    """

    old: str
    new: str
    contexts: tuple[ContextDiff, ...]
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[ContextDiff, ...]:
        """The contexts in which a size takes another method."""
        return tuple(one for one in self.contexts if one.ranges)

    def __bool__(self) -> bool:
        """Whether anything changes."""
        return bool(self.changed or self.notes)

    def to_tables(self) -> tuple[ResultTable, ...]:
        """One table per set of contexts that change alike."""
        return tuple(_table(group) for group in _alike(self.changed))

    def to_table(self) -> ResultTable:
        """All ranges that change in one table, with the context in the first column."""
        rows = [
            (one.name if index == 0 else "", *_cells(part))
            for one in self.changed
            for index, part in enumerate(one.ranges)
        ]
        return ResultTable(self._title(), ("context", *_COLUMNS), tuple(rows), self._notes(), align_right=(4, 5))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "old": self.old,
            "new": self.new,
            "changed": bool(self),
            "contexts": len(self.contexts),
            "changes": [one.to_plain() for one in self.changed],
            "notes": list(self.notes),
        }

    def _title(self) -> str:
        count = f"{len(self.changed)} of {plural(len(self.contexts), 'context')}"
        verdict = f"another method in {count}" if self.changed else f"no size takes another method, in {count[5:]}"
        return f"{self.old} → {self.new}: {verdict}"

    def _notes(self) -> tuple[str, ...]:
        parts = [part for one in self.changed for part in one.ranges]
        notes = list(self.notes)
        if any(part.cost_before or part.cost_after for part in parts):
            notes.append("cost: of one transfer in the middle of the sizes, both by the curves of the new plan.")
        if any((part.cost_before is None) != (part.cost_after is None) for part in parts):
            notes.append("unknown: there is no curve of this method.")
        if any(cost and not cost.measured for part in parts for cost in (part.cost_before, part.cost_after)):
            notes.append("(?): an estimate; not measured at this size or for this kind of payload.")
        if parts:
            notes.append("In brackets: who named the method. `perfkit explain SIZE` tells more of what is in force.")
        return tuple(notes)

    def _repr_html_(self) -> str:
        head = ResultTable(self._title(), (), (), ()).to_html()
        notes = ResultTable("", (), (), self._notes()).to_html()
        return head + "".join(table.to_html() for table in self.to_tables()) + notes

    def __str__(self) -> str:
        head = ResultTable(self._title(), (), (), ()).to_text()
        notes = ResultTable("", (), (), self._notes()).to_text()
        return "\n\n".join(filter(None, (head, *(table.to_text() for table in self.to_tables()), notes)))


def diff_plans(old: Engine, new: Engine) -> PlanDiff:
    """Compare what two engines would decide, in every context that one of them knows.

    Args:
        old: the plan as it is.
        new: the plan as it would be.

    Returns:
        The sizes at which another method is taken, with its expected cost; sessions of an experiment are left out, the
        notes tell of it.

    >>> from perfkit.engine import Engine
    >>> engine = Engine.load("no-such-folder/perfkit.toml", background=False)
    >>> bool(diff_plans(engine, engine))
    False
    """
    contexts = dict.fromkeys(_nameable(cell.context) for engine in (old, new) for cell in engine.plan().cells)
    diffs = []
    for context in contexts:
        before, after = (bound_cell(engine, context) for engine in (old, new))
        diffs.append(ContextDiff(context, diff_cells(before, after)))
    return PlanDiff(plan_name(old), plan_name(new), tuple(diffs), _settings_notes(old, new))


def diff_cells(before: Cell, after: Cell) -> tuple[RangeDiff, ...]:
    """The sizes at which two compiled plans of one context take different methods."""
    edges = sorted({part.start_bytes for cell in (before, after) for part in cell.ranges} | {math.inf})
    found: list[RangeDiff] = []
    for start, end in itertools.pairwise(edges):
        old, new = before.at(start), after.at(start)
        if old.method == new.method:
            continue
        last = found[-1] if found else None
        told = (old.method, new.method, old.source, new.source, old.rule, new.rule)
        if last is not None and last.end_bytes == start and _told(last) == told:
            start = found.pop().start_bytes
        at_bytes = middle_bytes(dataclasses.replace(new, start_bytes=start, end_bytes=end))
        goal, costs = _costs(before, after, at_bytes)
        found.append(RangeDiff(start, end, *told, goal, at_bytes, costs.get(old.method), costs.get(new.method)))
    return tuple(found)


def bound_cell(engine: Engine, context: Context) -> Cell:
    """The compiled plan of a context; names that the engine does not know get the default, as in a service."""
    binding = engine.bind(
        pool=context.pool,
        kind=context.kind,
        format=context.format,
        compression=context.compression,
        signalling=context.signalling,
        in_place=context.in_place,
        in_flight=context.in_flight,
    )
    return binding.decide(0).cell


def _nameable(context: Context) -> Context:
    """The context without its methods: two engines may know different ones."""
    return dataclasses.replace(context, available=())


def _told(part: RangeDiff) -> tuple[str, ...]:
    return (part.before, part.after, part.source_before, part.source_after, part.rule_before, part.rule_after)


def _costs(before: Cell, after: Cell, at_bytes: float) -> tuple[str, dict[str, Cost]]:
    """The goal, and what each method costs: by the new plan, or where that has no curves, by the old one."""
    judge = after if after.publication.curves is not None else before
    part = judge.at(at_bytes)
    explanation: Explanation = Decision(part.method, "", part.rule, judge, part).explain(at_bytes)
    return judge.goal, {method: entry.cost for method, entry in explanation.costs.items()}


def plan_name(engine: Engine) -> str:
    """What an engine's plan rests on, in words."""
    health = engine.health()
    settings = health.settings_path or "default settings"
    observes = " in mode observe" if health.mode == "observe" else ""
    return f"{settings}{observes} with {'defaults' if health.version is None else f'version {health.version}'}"


def _settings_notes(old: Engine, new: Engine) -> tuple[str, ...]:
    """What differs in how engines work, beside the ranges."""
    before, after = (engine._control.tables.plan.loaded.settings for engine in (old, new))
    notes = [
        f"[engine] {field.name}: {_shown(getattr(before.engine, field.name))} → "
        f"{_shown(getattr(after.engine, field.name))}"
        for field in dataclasses.fields(before.engine)
        if getattr(before.engine, field.name) != getattr(after.engine, field.name)
    ]
    known = {one.name: one for one in before.experiments}
    coming = {one.name: one for one in after.experiments}
    for name in dict.fromkeys((*known, *coming)):
        if known.get(name) != coming.get(name):
            what = "begins" if name not in known else "ends" if name not in coming else "changes"
            notes.append(f"Experiment {name} {what}; what its variants take is not part of this comparison.")
    return tuple(notes)


def _shown(value: object) -> str:
    """A setting in a few words: of nested settings, only what is not the default."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return str(value)
    default = type(value)()
    fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    told = [f"{name} = {shown}" for name, shown in fields if shown != getattr(default, name)]
    return ", ".join(told) or "defaults"


_COLUMNS = ("sizes", "before", "after", "cost", "change")


def _alike(changed: Iterable[ContextDiff]) -> Iterator[tuple[ContextDiff, ...]]:
    groups: dict[object, list[ContextDiff]] = {}
    for one in changed:
        groups.setdefault(tuple(_cells(part) for part in one.ranges), []).append(one)
    return (tuple(group) for group in groups.values())


def _table(group: tuple[ContextDiff, ...]) -> ResultTable:
    title = group[0].name
    if len(group) > 1:
        title += f" and {plural(len(group) - 1, 'more context')} like it"
    ranges = group[0].ranges
    rules = [(part.before, part.rule_before) for part in ranges] + [(part.after, part.rule_after) for part in ranges]
    why = tuple(dict.fromkeys(f"{method}: {rule}." for method, rule in rules))
    return ResultTable(title, _COLUMNS, tuple(_cells(part) for part in ranges), why, align_right=(3, 4))


def _cells(part: RangeDiff) -> tuple[str, ...]:
    before, after = f"{part.before} ({part.source_before})", f"{part.after} ({part.source_after})"
    costs = (part.cost_before, part.cost_after)
    cost = " → ".join(_cost(one, part.goal) for one in costs) if any(costs) else ""
    change = "" if part.effect is None else f"{part.effect:+.0%}" if part.effect < 9 else f"{part.effect + 1:.0f}×"
    return part.sizes, before, after, cost, change


def _cost(cost: Cost | None, goal: str) -> str:
    if cost is None:
        return "unknown"
    return (format_bytes if goal == "memory" else format_duration)(cost.value) + ("" if cost.measured else " (?)")


def _cost_to_plain(cost: Cost | None) -> dict[str, Any] | None:
    return None if cost is None else {name: getattr(cost, name) for name in ("value", "low", "high", "measured", "n")}
