"""Ask another plan what it would have decided on the traffic that services recorded."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.config.curves import CurveSet
from perfkit.engine import Engine
from perfkit.engine.costs import Context, compose, cost_at
from perfkit.engine.plan import Cell
from perfkit.engine.plan_diff import bound_cell, plan_name
from perfkit.errors import InputError
from perfkit.lake import DEFAULT_LAKE_PATH, Lake, open_lake
from perfkit.units import parse_duration
from perfkit.workflows.dry_run_result import DryRun, TrafficChange
from perfkit.workflows.effect import CostDraws, Effect, expected_effect
from perfkit.workflows.plan_files import CURRENT, open_plan
from perfkit.workflows.workload import RECORDED_TRAFFIC, Sends, Workload

if TYPE_CHECKING:
    import ibis

__all__ = ["dry_run"]

_NAMES = ("pool", "kind", "format", "compression", "signalling", "in_flight", "in_place")
_CLASSES_PER_DOUBLING = 4
_LARGEST_BYTES = 2**63 - 1
_LONGEST_NS = 36_500 * 86_400 * 10**9
_MARGIN = 0.01
"""How far from 1 a ratio of costs still counts as equivalent."""


def dry_run(
    new: str | Path | Engine,
    old: str | Path | Engine | None = None,
    *,
    window: str | int = "1 day",
    lake: str | Path = DEFAULT_LAKE_PATH,
    settings: str | Path = "perfkit.toml",
    now: datetime.datetime | None = None,
) -> DryRun:
    """Say which decisions on recorded traffic another plan would have made differently.

    Transfers are grouped where they lie, by context, by the sizes between two edges of either plan (so that counts are
    exact) and by quarters of a doubling of the size (of which the mean is what costs are expected for). Nothing is
    written. Sessions in an experiment are counted with the plan that holds without it.

    Args:
        new: the plan that would be: an engine, or what `perfkit plan --diff` takes: a file, a folder, ``v7``.
        old: the plan that it would replace; by default what is in force beside `settings`.
        window: how far back traffic counts: text such as ``"1 day"``, or nanoseconds; more than 0.
        lake: folder where services' transfers are kept; what waits in the journal beside it counts, too.
        settings: the settings in force; `thresholds.toml` lies beside them.
        now: end of the window; by default this moment.

    Returns:
        What would change, the heaviest first.

    Raises:
        InputError: there is no such plan, or the window is empty (also `UnitError`).
        ConfigError: a file cannot be used.
        LakeError: the lake or its journal cannot be read.

    >>> nothing = dry_run("current", lake="a/folder/that/does/not/exist", settings="no-such-folder/perfkit.toml")
    >>> nothing.transfers
    0
    """
    window_ns = _checked_window(window)
    before, after = open_plan(CURRENT if old is None else old, settings), open_plan(new, settings)
    since = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(microseconds=window_ns // 1000)
    opened = open_lake(lake, undrained=True)
    served = _served(opened, since)
    compared = [_Compared.of(row, before, after) for row in _contexts(opened, served)]
    rows = _grouped(opened, served, compared) if compared else []
    changes = [change for one, mine in _by_context(compared, rows) for change in one.changes(mine)]
    changes.sort(key=lambda change: (-change.weight, -change.transfers, change.context, change.start_bytes))
    oldest = min((row["oldest"] for row in rows), default=None)
    return DryRun(
        old=plan_name(before),
        new=plan_name(after),
        lake=str(lake),
        window_ns=window_ns,
        oldest=oldest,
        transfers=sum(row["transfers"] for row in rows),
        payload_bytes=sum(int(row["sum_bytes"]) for row in rows),
        otherwise=sum(int(row["otherwise"]) for row in rows),
        changes=tuple(changes),
        effect=_effect(compared, rows),
    )


@dataclasses.dataclass(frozen=True)
class _Compared:
    """One context of the traffic, compiled with both plans; `edges` are whole bytes, as on the hot path."""

    names: Mapping[str, Any]
    context: Context
    before: Cell
    after: Cell
    edges: tuple[int, ...]

    @staticmethod
    def of(row: Mapping[str, Any], old: Engine, new: Engine) -> _Compared:
        context = Context(**{name: row[name] for name in _NAMES}, available=())
        before, after = bound_cell(old, context), bound_cell(new, context)
        starts = {math.ceil(part.start_bytes) for cell in (before, after) for part in cell.ranges}
        return _Compared(row, context, before, after, tuple(sorted(starts)))

    @property
    def name(self) -> str:
        context = self.context
        load = f"/{context.in_flight} in flight" if context.in_flight > 1 else ""
        names = (context.pool, context.kind, context.format, context.compression, context.signalling)
        return "/".join(names) + ("/in place" if context.in_place else "") + load

    @property
    def judge(self) -> Cell:
        """The plan whose curves say what methods cost: the new one, or where that has none, the old one."""
        return self.after if self.after.publication.curves is not None else self.before

    def segments(self) -> list[dict[str, Any]]:
        """Sizes between two edges, and the method that the old plan names for them, as rows to join with."""
        return [
            {**self.names, "start_bytes": start, "end_bytes": end, "named": self.before.at(start).method}
            for start, end in itertools.pairwise((*self.edges, _LARGEST_BYTES))
        ]

    def changes(self, rows: Sequence[Mapping[str, Any]]) -> list[TrafficChange]:
        """The segments of which another method is taken."""
        found = []
        for start in self.edges:
            mine = [row for row in rows if row["start_bytes"] == start]
            old, new = self.before.at(start), self.after.at(start)
            if mine and old.method != new.method:
                found.append(self._change(mine, old.method, new.method, new.source, new.rule))
        return found

    def _change(self, rows: Sequence[Mapping[str, Any]], old: str, new: str, source: str, rule: str) -> TrafficChange:
        cost, latency = (self._cost_change(rows, old, new, goal) for goal in (self.judge.goal, "latency"))
        return TrafficChange(
            context=self.name,
            start_bytes=min(row["min_bytes"] for row in rows),
            end_bytes=max(row["max_bytes"] for row in rows),
            before=old,
            after=new,
            source=source,
            rule=rule,
            transfers=sum(row["transfers"] for row in rows),
            payload_bytes=sum(int(row["sum_bytes"]) for row in rows),
            goal=self.judge.goal,
            cost_change=cost,
            latency_change_ns=latency,
        )

    def _cost_change(self, rows: Sequence[Mapping[str, Any]], old: str, new: str, goal: str) -> float | None:
        """What all transfers of some rows cost more with the new method; None where a cost is unknown."""
        judge = self.judge
        curves, weights, factors = judge.publication.curves, judge.pool.weights, dict(judge.circumstances.factors)
        if curves is None:
            return None
        before, after = (
            compose(curves, name, judge.context, goal, weights=weights, factors=factors) for name in (old, new)
        )
        if before is None or after is None:
            return None
        return math.fsum(
            row["transfers"] * (cost_at(after, row["mean_bytes"]).value - cost_at(before, row["mean_bytes"]).value)
            for row in rows
        )


def _checked_window(window: str | int) -> int:
    try:
        window_ns = parse_duration(window)
    except OverflowError:  # '1e999 days'
        window_ns = 0
    if not 0 < window_ns <= _LONGEST_NS:
        raise InputError(f"window == {window!r}, must be more than 0 and at most 36500 days, such as '1 day'")
    return window_ns


def _served(lake: Lake, since: datetime.datetime) -> ibis.Table:
    transfers = lake.transfers
    served = transfers.filter(transfers.source == "service", transfers.observed_at >= since)
    return served.mutate(in_place=served.placement == "in_place")


def _contexts(lake: Lake, served: ibis.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.read(served.select(_NAMES).distinct().order_by(_NAMES)).to_pylist()
    return found


def _grouped(lake: Lake, served: ibis.Table, compared: Sequence[_Compared]) -> list[dict[str, Any]]:
    """Transfers by context, segment and size class, counted where they lie: there may be millions."""
    import ibis
    import pyarrow as pa

    segments = pa.Table.from_pylist([segment for one in compared for segment in one.segments()])
    table = ibis.memtable(segments)
    inside = [served[name] == table[name] for name in _NAMES]
    inside += [served.payload_bytes >= table.start_bytes, served.payload_bytes < table.end_bytes]
    joined = served.select(*_NAMES, "payload_bytes", "method", "observed_at").join(table, inside)
    joined = joined.select(*_NAMES, "payload_bytes", "method", "observed_at", "start_bytes", "named")
    size_class = (ibis.greatest(joined.payload_bytes, 1).log2() * _CLASSES_PER_DOUBLING).floor().cast("int64")
    keys = [*_NAMES, "start_bytes", "size_class"]
    rows = joined.mutate(size_class=size_class).group_by(keys)
    counted = rows.aggregate(
        transfers=lambda t: t.count(),
        sum_bytes=lambda t: t.payload_bytes.sum(),
        mean_bytes=lambda t: t.payload_bytes.mean(),
        min_bytes=lambda t: t.payload_bytes.min(),
        max_bytes=lambda t: t.payload_bytes.max(),
        oldest=lambda t: t.observed_at.min(),
        otherwise=lambda t: (t.method != t.named).sum(),
    )
    found: list[dict[str, Any]] = lake.read(counted.order_by(keys)).to_pylist()
    return found


def _by_context(
    compared: Sequence[_Compared], rows: Sequence[Mapping[str, Any]]
) -> list[tuple[_Compared, list[Mapping[str, Any]]]]:
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in _NAMES), []).append(row)
    return [(one, found.get(tuple(one.names[name] for name in _NAMES), [])) for one in compared]


def _effect(compared: Sequence[_Compared], rows: Sequence[Mapping[str, Any]]) -> Effect | None:
    """Cost of all of it with the new plan over that with the old one; None without curves or traffic."""
    curves = [_curves(one.after for one in compared), _curves(one.before for one in compared)]
    candidate, in_force = curves[0] or curves[1], curves[1] if curves[0] else None
    if candidate is None or not rows:
        return None
    groups = _by_context(compared, rows)
    sends = tuple(Sends(one.context, row["mean_bytes"], row["transfers"]) for one, mine in groups for row in mine)
    before = {one.context: one.before for one in compared}
    after = {one.context: one.after for one in compared}
    workload = Workload(RECORDED_TRAFFIC, sends)
    costs = CostDraws.of(candidate, in_force)
    return expected_effect(workload, before.__getitem__, after.__getitem__, costs, margin=_MARGIN)


def _curves(cells: Iterable[Cell]) -> CurveSet | None:
    return next((cell.publication.curves for cell in cells if cell.publication.curves is not None), None)
