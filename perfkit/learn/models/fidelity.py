"""How close distilled curves are to the model that they were distilled from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.config.pool_settings import Weights
from perfkit.engine.composing import Context, compose
from perfkit.engine.lines import line_of
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes

__all__ = ["FAITHFUL_SHARE", "Fidelity", "Judged", "judge_fidelity", "lattice"]

Floats = npt.NDArray[np.float64]

_CELLS_PER_DOUBLING = 3
FAITHFUL_SHARE = 0.95
"""Share of the cells that must lie within 15 % of the model, or the curves are something else than the model."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a model says of one method in one context and state, at some sizes.

    Args:
        target: latency_ns, cpu_ns or resident_bytes.
        goal: whose composed cost is that target.
        weights: of the goal.
        method: transfer method.
        context: codec, signalling and load.
        state: of the host.
        sizes: payload sizes in bytes.
        medians: what the model says at each.
    """

    target: str
    goal: str
    weights: Weights
    method: str
    context: Context
    state: str
    sizes: Floats
    medians: Floats


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """How close curves are to the model that they were distilled from. A cell is a context, a state and a size.

    Args:
        within_5: share of the cells whose cost is within 5 % of the model's; NaN without cells, as all that follow.
        within_15: the same within 15 %.
        median_error: median relative error.
        worst_error: largest relative error.
        worst_at: where that is.
        same_choice: share of contexts, states and sizes at which the same method is the cheapest.
        choice_loss: how much more than the model's cheapest the curves' cheapest costs, by the model; mean share.
        n: cells.
        n_choices: contexts, states and sizes with two methods or more.
        method: how the figures came about.
        warnings: what is against publishing the curves.
    """

    within_5: float
    within_15: float
    median_error: float
    worst_error: float
    worst_at: str
    same_choice: float
    choice_loss: float
    n: int
    n_choices: int
    method: str = "curves against model, at sizes between those that the curves were drawn through"
    warnings: tuple[str, ...] = ()

    @property
    def is_faithful(self) -> bool:
        """Whether enough cells are within 15 % of the model; so it is where nothing was distilled."""
        return self.n == 0 or self.within_15 >= FAITHFUL_SHARE

    @property
    def verdict(self) -> str:
        """``faithful``, ``unfaithful``, or ``nothing distilled``."""
        if self.n == 0:
            return "nothing distilled"
        return "faithful" if self.is_faithful else "unfaithful"

    def sentence(self) -> str:
        """The figures in one sentence."""
        if self.n == 0:
            return "Nothing was distilled: the curves are the champion, or the model saw nothing that they hold."
        choice = (
            f"; the cheapest method is the same at {self.same_choice:.1%} of {self.n_choices:,} sizes"
            if self.n_choices
            else ""
        )
        return (
            f"Distilled from a model: {self.within_5:.1%} of {plural(self.n, 'cell')} within 5 % of it, "
            f"{self.within_15:.1%} within 15 %, at worst {self.worst_error:.1%} off ({self.worst_at}){choice}."
        )

    def to_table(self) -> ResultTable:
        """One row per figure."""
        if self.n == 0:
            return ResultTable("Fidelity: nothing distilled", (), (), (self.sentence(),))
        rows = [
            ("cells within 5 % of the model", f"{self.within_5:.1%}", f"{self.n:,}"),
            ("cells within 15 % of the model", f"{self.within_15:.1%}", f"{self.n:,}"),
            ("median error", f"{self.median_error:.1%}", f"{self.n:,}"),
            ("worst error", f"{self.worst_error:.1%}", f"{self.n:,}"),
        ]
        if self.n_choices:
            rows.append(("same cheapest method", f"{self.same_choice:.1%}", f"{self.n_choices:,}"))
            rows.append(("lost where it is another", f"{self.choice_loss:.2%}", f"{self.n_choices:,}"))
        notes: tuple[str, ...] = (f"Worst: {self.worst_at}.", f"{self.method[0].upper()}{self.method[1:]}.")
        notes = (*notes, *(f"Warning: {warning}." for warning in self.warnings))
        title = f"Fidelity of the distilled curves: {self.verdict}"
        return ResultTable(title, ("figure", "value", "n"), tuple(rows), notes, align_right=(1, 2))

    def to_plain(self) -> dict[str, Any]:
        """Everything as plain data for JSON; what is unknown is None."""
        plain = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in dataclasses.asdict(self).items()
        }
        return plain | {"warnings": list(self.warnings), "verdict": self.verdict}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def lattice(low: float, high: float) -> Floats:
    """Sizes between two others at which curves and model are compared: the same whatever the ends, never empty.

    >>> lattice(1024, 2100).round()
    array([1149., 1448., 1825.])
    """
    first = math.ceil(_CELLS_PER_DOUBLING * math.log2(low) - 0.5)
    last = math.floor(_CELLS_PER_DOUBLING * math.log2(high) - 0.5)
    if last < first:
        return np.array([math.sqrt(low * high)])
    return np.asarray(2 ** ((np.arange(first, last + 1) + 0.5) / _CELLS_PER_DOUBLING))


def judge_fidelity(judged: Sequence[Judged], curves: CurveSet) -> Fidelity:
    """Compare curves with what a model says.

    Args:
        judged: the model's answers; none gives a fidelity of nothing.
        curves: the distilled curves.
    """
    if not judged:
        nan = math.nan
        return Fidelity(nan, nan, nan, nan, "", nan, nan, 0, 0)
    costs = [_composed(one, curves) for one in judged]
    errors = [np.abs(cost / one.medians - 1) for one, cost in zip(judged, costs, strict=True)]
    everything = np.concatenate(errors)
    worst = max(range(len(judged)), key=lambda index: float(errors[index].max()))
    same, losses = _choices(judged, costs)
    within_15 = float((everything <= 0.15).mean())
    warnings = (
        (f"only {within_15:.1%} of the cells are within 15 % of the model, must be {FAITHFUL_SHARE:.0%} or more",)
        if within_15 < FAITHFUL_SHARE
        else ()
    )
    return Fidelity(
        within_5=float((everything <= 0.05).mean()),
        within_15=within_15,
        median_error=float(np.median(everything)),
        worst_error=float(everything.max()),
        worst_at=_place(judged[worst], float(judged[worst].sizes[errors[worst].argmax()])),
        same_choice=float(same.mean()) if same.size else math.nan,
        choice_loss=float(losses.mean()) if losses.size else math.nan,
        n=int(everything.size),
        n_choices=int(same.size),
        warnings=warnings,
    )


def _composed(one: Judged, curves: CurveSet) -> Floats:
    composition = compose(curves.in_state(one.state), one.method, one.context, one.goal, weights=one.weights)
    if composition is None:
        return np.full(one.sizes.size, np.inf)
    line = line_of(composition)
    return np.array([line.at(float(size)) for size in one.sizes])


def _choices(judged: Sequence[Judged], costs: Sequence[Floats]) -> tuple[npt.NDArray[np.bool_], Floats]:
    """At the sizes of every context, whether the same method is the cheapest, and what is lost by the model if not."""
    same, losses = [], []
    rivals: dict[tuple[str, Context, str], list[int]] = {}
    for index, one in enumerate(judged):
        if one.target == "latency_ns":
            rivals.setdefault((one.target, one.context, one.state), []).append(index)
    for members in rivals.values():
        sizes = np.unique(np.concatenate([judged[index].sizes for index in members]))
        # Methods were seen over sizes of their own: each is compared where it was.
        by_model, by_curves = (np.full((len(members), sizes.size), np.inf) for _ in range(2))
        for at, index in enumerate(members):
            columns = np.searchsorted(sizes, judged[index].sizes)
            by_model[at, columns], by_curves[at, columns] = judged[index].medians, costs[index]
        is_choice = np.isfinite(by_model).sum(axis=0) > 1
        by_model, taken = by_model[:, is_choice], by_curves[:, is_choice].argmin(axis=0)
        same.append(taken == by_model.argmin(axis=0))
        losses.append(by_model[taken, np.arange(taken.size)] / by_model.min(axis=0) - 1)
    return (np.concatenate(same), np.concatenate(losses)) if same else (np.empty(0, bool), np.empty(0))


def _place(one: Judged, size: float) -> str:
    context = one.context
    codec = "/".join((context.kind, context.format, context.compression))
    state = "" if one.state == "normal" else f", {one.state.replace('_', ' ')}"
    load = f", {context.in_flight} in flight" if context.in_flight > 1 else ""
    return f"{one.target} of {one.method}, {codec}, {format_bytes(size)}{load}{state}"
