"""Explored traffic as the estimators want it: what was taken, what plans would take, and what each costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perfkit.config.curves import CurveSet
from perfkit.engine.composing import compose
from perfkit.engine.costs import Context, cost_at
from perfkit.engine.goals import goal_weights
from perfkit.engine.plan import Cell, Publication, known_methods
from perfkit.errors import InputError
from perfkit.schema import TRANSFER_COLUMNS, arrow_schema

__all__ = ["COLUMNS", "ExploredTraffic", "Named", "PolicyCosts", "traffic_of"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_NAMES = ("pool", "kind", "format", "compression", "signalling", "in_flight", "placement")
COLUMNS = (*_NAMES, "method", "payload_bytes", "latency_ns", "propensity", "session", "observed_at")
"""What is read of a transfer."""
_REQUIRED = ("method", "payload_bytes", "latency_ns", "propensity")
_POINTS_PER_DOUBLING = 4
_LARGEST_DOUBLING = 50
_GRID = 2.0 ** (np.arange(_LARGEST_DOUBLING * _POINTS_PER_DOUBLING + 1) / _POINTS_PER_DOUBLING)
_BLOCK_US = 60_000_000
_UNJUDGED = ("memory", "cpu")
"""Goals of which a transfer's latency says nothing."""


@dataclasses.dataclass(frozen=True)
class ExploredTraffic:
    """Transfers of services that succeeded, some of which took another method to learn.

    Args:
        rows: columns of `perfkit.schema.TRANSFER_COLUMNS`.
        failed: transfers that failed, whose cost is unknown.
        impossible: transfers whose latency or size is unknown or cannot be; left out, too.
    """

    rows: pa.Table = dataclasses.field(repr=False)
    failed: int = 0
    impossible: int = 0

    @property
    def explored(self) -> int:
        """How many transfers could have taken another method."""
        return int(pc.sum(pc.less(self.rows["propensity"], 1.0)).as_py() or 0)


def traffic_of(table: pa.Table) -> ExploredTraffic:
    """Rows with every column that is needed, without those that failed."""
    schema = arrow_schema()
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise InputError(f"the frame lacks {', '.join(missing)}; got {', '.join(table.column_names) or 'no columns'}")
    defaults = {column.name: column.default for column in TRANSFER_COLUMNS}
    columns = {}
    for name in COLUMNS:
        kind = schema.field(name).type
        if name in table.column_names:
            columns[name] = table[name].cast(kind, safe=False)
        else:
            columns[name] = pa.chunked_array([pa.array([defaults[name]] * table.num_rows, kind)])
    rows = pa.table(columns)
    is_possible = _is_possible(table)
    is_ok = np.ones(rows.num_rows, bool)
    if "ok" in table.column_names:
        is_ok = np.asarray(pc.fill_null(table["ok"].cast(pa.bool_()), False))
    failed, impossible = int(np.count_nonzero(~is_ok)), int(np.count_nonzero(is_ok & ~is_possible))
    return ExploredTraffic(rows.filter(pa.array(is_ok & is_possible)), failed, impossible)


def _is_possible(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Which rows have a latency and a size that can be. NaN would not survive being made a whole number."""
    found = np.ones(table.num_rows, bool)
    for name, lowest in (("latency_ns", 1.0), ("payload_bytes", 0.0)):
        figures = table[name].cast(pa.float64(), safe=False).to_numpy()
        found &= np.isfinite(figures) & (figures >= lowest)
    return found


@dataclasses.dataclass(frozen=True)
class PolicyCosts:
    """Rows as the estimators want them."""

    cost: Floats
    propensity: Floats
    logged: npt.NDArray[np.str_]
    chosen: npt.NDArray[np.str_]
    in_force: npt.NDArray[np.str_]
    predicted: Floats  # logged, chosen, in force; shape (3, n); NaN where nothing is known
    cluster: Codes
    group: Codes
    is_judged: npt.NDArray[np.bool_]
    payload_bytes: Floats

    @property
    def share_of_bytes_changed(self) -> float:
        """Share of the bytes that take another method than with the plan in force."""
        changed = self.chosen != self.in_force
        return float(self.payload_bytes[changed].sum() / max(self.payload_bytes.sum(), 1.0))

    @staticmethod
    def of(traffic: ExploredTraffic, before: Any, after: Any, curves: CurveSet | None) -> PolicyCosts:
        rows = traffic.rows
        sizes = rows["payload_bytes"].to_numpy().astype(float)
        latency = np.maximum(rows["latency_ns"].to_numpy().astype(float), 1.0)
        logged = rows["method"].to_numpy().astype(str)
        chosen, in_force = np.empty(sizes.size, object), np.empty(sizes.size, object)
        cost, predicted = latency.copy(), np.full((3, sizes.size), np.nan)
        is_judged = np.ones(sizes.size, bool)
        contexts = np.zeros(sizes.size, np.int64)
        for number, (context, index) in enumerate(_by_context(rows, curves)):
            contexts[index] = number
            chosen[index] = _choices(after, context, sizes[index])
            in_force[index] = _choices(before, context, sizes[index])
            goal, weights = _goal(after, context)
            is_judged[index] = goal not in _UNJUDGED
            if curves is None or goal in _UNJUDGED:
                continue
            model = _Model(curves, context, goal, weights)
            for place, methods in enumerate((logged, chosen, in_force)):
                predicted[place, index] = model.costs(methods[index].astype(str), sizes[index])
            cost[index] = model.measured(logged[index], sizes[index], latency[index], predicted[0, index])
        size_class = np.floor(np.log2(np.maximum(sizes, 1.0))).astype(np.int64)
        return PolicyCosts(
            cost,
            rows["propensity"].to_numpy().astype(float),
            logged,
            chosen.astype(str),
            in_force.astype(str),
            predicted,
            _clusters(rows),
            contexts * (_LARGEST_DOUBLING + 20) + size_class,
            is_judged,
            sizes,
        )


class _Model:
    """Costs by the curves in one context, in its goal."""

    def __init__(self, curves: CurveSet, context: Context, goal: str, weights: Any) -> None:
        self._curves, self._context, self._goal, self._weights = curves, context, goal, weights
        self._tables: dict[tuple[str, str], Floats] = {}

    def costs(self, methods: npt.NDArray[np.str_], sizes: Floats, goal: str | None = None) -> Floats:
        """The composed cost of each transfer; NaN where the curves do not know its method."""
        found = np.full(sizes.size, np.nan)
        places = np.log2(np.maximum(sizes, 1.0)) * _POINTS_PER_DOUBLING
        for method in np.unique(methods):
            rows = methods == method
            table = self._table(str(method), goal or self._goal)
            found[rows] = np.exp(np.interp(places[rows], np.arange(_GRID.size), table))
        return found

    def measured(self, methods: npt.NDArray[np.str_], sizes: Floats, latency_ns: Floats, predicted: Floats) -> Floats:
        """What each transfer cost in the goal, by the latency that was measured."""
        if self._goal == "latency":
            return latency_ns
        modelled = self.costs(methods, sizes, "latency")
        if self._goal == "throughput":
            found = predicted * latency_ns / modelled
        else:
            share = goal_weights(self._curves, self._goal, self._weights).get("latency_ns", 0.0)
            found = np.maximum(predicted + share * (latency_ns - modelled), 0.01 * predicted)
        return np.where(np.isfinite(found), found, latency_ns)

    def _table(self, method: str, goal: str) -> Floats:
        """Logarithm of the cost on the grid of sizes."""
        known = self._tables.get((method, goal))
        if known is None:
            composition = compose(self._curves, method, self._context, goal, weights=self._weights)
            if composition is None:
                known = np.full(_GRID.size, np.nan)
            else:
                known = np.log([max(cost_at(composition, float(size)).value, 1e-9) for size in _GRID])
            self._tables[method, goal] = known
        return known


def _by_context(rows: pa.Table, curves: CurveSet | None) -> Iterator[tuple[Context, Codes]]:
    """Every context with the numbers of its rows."""
    methods = known_methods(Publication(curves))
    columns = [rows[name].to_numpy(zero_copy_only=False).astype(str) for name in _NAMES]
    code = np.zeros(rows.num_rows, np.int64)
    for column in columns:
        labels, found = np.unique(column, return_inverse=True)
        code = np.unique(code * labels.size + found, return_inverse=True)[1]
    order = np.argsort(code, kind="stable")
    for index in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
        pool, kind, format_name, compression, signalling, in_flight, placement = (one[index[0]] for one in columns)
        names = (str(pool), str(kind), str(format_name), str(compression), str(signalling))
        yield Context(*names, methods, str(placement) == "in_place", int(float(in_flight))), index


def _choices(plan: Any, context: Context, sizes: Floats) -> npt.NDArray[np.object_]:
    """What a plan takes for each size."""
    if not isinstance(plan, Named):
        cell: Cell = plan(context)
        starts = np.array([part.start_bytes for part in cell.ranges])
        methods = np.array([part.method for part in cell.ranges], object)
        return methods[np.searchsorted(starts, sizes, side="right") - 1]
    return np.array([_choice(plan, context, float(size)) for size in sizes], object)


def _choice(plan: Named, context: Context, payload_bytes: float) -> str:
    asked = f"the policy, asked about {payload_bytes:.0f} bytes of {context.kind}/{context.format},"
    try:
        chosen = plan.function(context, payload_bytes)
    except Exception as error:
        raise InputError(f"{asked} raised {type(error).__name__}: {error}") from error
    if not isinstance(chosen, str) or not chosen:
        raise InputError(f"{asked} returned {chosen!r}, must be the name of a method, such as 'uds'")
    return chosen


def _goal(plan: Any, context: Context) -> tuple[str, Any]:
    if isinstance(plan, Named):
        return "latency", None
    cell = plan(context)
    return cell.goal, cell.pool.weights


@dataclasses.dataclass(frozen=True)
class Named:
    """A candidate that is a function of context and size."""

    function: Callable[[Context, float], str]


def _clusters(rows: pa.Table) -> Codes:
    """Transfers of one session share their luck; those without one share it with the minute that they were sent in."""
    session = rows["session"].fill_null("").to_numpy(zero_copy_only=False).astype(str)
    moments = rows["observed_at"].cast(pa.int64()).fill_null(-1).to_numpy()
    block = np.where(moments < 0, -1 - np.arange(session.size), moments // _BLOCK_US)
    codes = np.unique(session, return_inverse=True)[1].astype(np.int64)
    alone = session == ""
    codes[alone] = np.unique(block[alone], return_inverse=True)[1] + codes.size
    return codes
