"""Whether a model trained anew takes the place of the one in force: judged on what neither of them saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.learn.models import FEWEST_OBSERVATIONS, CostModel, TransferRows, read_rows, train
from perfkit.learn.models.baseline import log_target
from perfkit.learn.models.features import SERVICE
from perfkit.learn.models.judging import p_of_gain
from perfkit.learn.models.report import MODEL
from perfkit.workflows.learning.champion import Champion
from perfkit.workflows.learning.evidence import usable

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Comparison", "Contest", "LearnProgress", "Learner", "Split", "challenge", "compare", "split"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_HELD_OUT_SHARE = 0.2
_FEWEST_HELD_OUT = 100
_P = 0.01
_FEWEST_IN_CONTEXT = 20
_CONTEXT = ("method", "signalling", "placement", "source")


@dataclasses.dataclass(frozen=True, slots=True)
class LearnProgress:
    """How far learning has come: `done` of `total`, and what is being done."""

    done: float
    total: float
    label: str
    seconds_left: float | None = None


@dataclasses.dataclass(frozen=True)
class Learner:
    """Trains models that differ in nothing but their rows.

    Attributes:
        curves: to start from; None to fit them to the rows.
        seed: of everything random.
        table_versions: of the lake's tables that the rows are from.
        progress: called with how far training has come.
    """

    curves: CurveSet | None
    seed: int
    table_versions: Mapping[str, int]
    progress: Callable[[LearnProgress], None] | None = None

    def train(self, table: pyarrow.Table, begin: float = 0.0, share: float = 1.0) -> CostModel:
        """Train on a table; of the whole work, this is a share from `begin` on."""

        def tell(done: float, what: str) -> None:
            if self.progress is not None:
                self.progress(LearnProgress(begin + share * done, 1.0, what))

        return train(table, curves=self.curves, seed=self.seed, progress=tell, table_versions=self.table_versions)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How a model trained anew, the challenger, compares with the one in force.

    Attributes:
        is_better: whether it takes its place.
        reason: why (not), for people.
        n: observations that neither saw, on which both were asked.
        error_new: mean absolute log error of latency on them; None without any.
        error_in_force: likewise of the model in force.
        p_value: of the test that the challenger's errors are smaller; None without any.
    """

    is_better: bool
    reason: str
    n: int = 0
    error_new: float | None = None
    error_in_force: float | None = None
    p_value: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows cut in two: what a challenger is trained on, and what neither model saw.

    Attributes:
        older: of the whole table, what is not held out. Without the launches of which something is.
        older_new: those of them that are new to the model in force.
        held_out: newest of the rows that are new to the model in force, at most a fifth of the table.
    """

    older: pyarrow.Table
    older_new: pyarrow.Table
    held_out: pyarrow.Table


@dataclasses.dataclass(frozen=True)
class Contest:
    """What became of training anew.

    Attributes:
        comparison: why the new model takes the place of the one in force, or does not.
        model: the new one, trained on everything where it does; None where there was too little to train on.
    """

    comparison: Comparison
    model: CostModel | None


def challenge(
    learner: Learner,
    table: pyarrow.Table,
    champion: Champion,
    *,
    brought_up_to_date: Callable[[pyarrow.Table], CostModel] | None = None,
    is_full: bool = False,
    is_trial: bool = False,
) -> Contest:
    """Train a model and compare it with the one in force, on the newest rows, which neither saw.

    Args:
        learner: how to train.
        table: what it is to learn from.
        champion: what is in force.
        brought_up_to_date: the model in force after an update with rows that are new to it and not held out; by default
            it is compared as it is.
        is_full: whether the model in force cannot take in another update.
        is_trial: not to be kept: training on everything is left out.
    """
    if champion.model is None or champion.absence:
        return Contest(Comparison(True, champion.absence), learner.train(table))
    name = f"version {champion.version}"
    parts = split(table, ~champion.learned.holds(table))
    n_held, n_older = usable(parts.held_out), usable(parts.older)
    if n_held < _FEWEST_HELD_OUT or n_older < FEWEST_OBSERVATIONS:
        reason = f"nothing new: {name} has learned from all {n_older:,} observations"
        if n_held or usable(parts.older_new):
            reason = (
                f"{n_held:,} of the newest observations are new to {name}, and {n_older:,} others are left to learn "
                f"from; a comparison needs {_FEWEST_HELD_OUT} and {FEWEST_OBSERVATIONS:,}"
            )
        return Contest(Comparison(False, reason), None)
    challenger = learner.train(parts.older, 0.0, 0.5)
    in_force = champion.model if brought_up_to_date is None else brought_up_to_date(parts.older_new)
    comparison = compare(challenger, in_force, read_rows(parts.held_out), name, is_full=is_full)
    keep = comparison.is_better and not is_trial
    return Contest(comparison, learner.train(table, 0.5, 0.5) if keep else challenger)


def split(table: pyarrow.Table, is_new: Flags) -> Split:
    """Hold out the newest rows that are new to the model in force, at most a fifth of a table.

    Args:
        table: transfers with their moments; rows without one count as oldest.
        is_new: which of them the model in force has not learned from.
    """
    moments = table["observed_at"].cast("int64").fill_null(0).to_numpy()
    candidates = np.flatnonzero(is_new)
    newest_first = candidates[np.argsort(moments[candidates], kind="stable")[::-1]]
    held = np.zeros(table.num_rows, bool)
    held[newest_first[: round(_HELD_OUT_SHARE * table.num_rows)]] = True
    older = ~held & ~_shares_a_launch(table, held)
    return Split(table.filter(older), table.filter(older & is_new), table.filter(held))


def compare(
    challenger: CostModel, in_force: CostModel, rows: TransferRows, name: str, *, is_full: bool = False
) -> Comparison:
    """Whether a challenger takes the place of the model in force.

    It does where its errors of latency are surely smaller (paired t test of launches by method and of blocks of time,
    one-sided, 0.01); and, unless they are surely larger, where the model in force does not know a context that now
    occurs, became surely worse than its own curves, or is full. Never where another target is predicted surely worse.

    Args:
        challenger: trained without the rows that are held out.
        in_force: likewise.
        rows: newest transfers.
        name: of the model in force, for people.
        is_full: whether the model in force cannot take in another update.
    """
    new, old = (_errors(one, rows, "latency_ns") for one in (challenger, in_force))
    both = np.isfinite(new) & np.isfinite(old)
    more = _contexts(challenger) - _contexts(in_force)
    if not both.any():
        return Comparison(bool(more), f"{name} knows none of the methods that were observed since")
    groups = _clusters(rows)[both]
    gain = (old - new)[both]
    p_value, p_worse = p_of_gain(gain, groups), p_of_gain(-gain, groups)
    figures = (int(both.sum()), float(new[both].mean()), float(old[both].mean()), p_value)
    said = (
        f"mean error {np.expm1(figures[1]):.1%} on the newest {figures[0]} observations, {name} "
        f"{np.expm1(figures[2]):.1%} (p = {p_value:.2g})"
    )
    worse = [target for target in in_force.targets if _is_surely_worse(challenger, in_force, rows, target)]
    if p_worse < _P or worse:
        return Comparison(False, f"{said}: surely worse{f' at {worse[0]}' if worse else ''}", *figures)
    if p_value < _P:
        return Comparison(True, f"{said}: surely better", *figures)
    if more:
        unknown = ", ".join(sorted({context[0] for context in more}))
        return Comparison(True, f"{said}; {name} does not know all contexts of {unknown}", *figures)
    if _has_degraded(in_force, rows):
        return Comparison(True, f"{said}; {name} became worse than its curves", *figures)
    if is_full:
        return Comparison(True, f"{said}; {name} cannot take in another update", *figures)
    return Comparison(False, f"{said}: not surely better", *figures)


def _shares_a_launch(table: pyarrow.Table, held: Flags) -> Flags:
    """Rows of launches of which something is held out: who saw one half of a launch knows the luck of the other."""
    import polars as pl

    launches = pl.DataFrame(table.select(["run_id", "launch"])).with_columns(pl.col("run_id").cast(pl.String))
    launches = launches.with_columns(held=pl.Series(held))
    shares = launches.select(pl.col("held").any().over("run_id", "launch") & (pl.col("run_id") != ""))
    return np.asarray(shares.to_series().fill_null(False).to_numpy())


def _errors(model: CostModel, rows: TransferRows, target: str) -> Floats:
    """Absolute log error of each row; NaN where it was not measured or cannot be predicted."""
    if target not in model.targets:
        return np.full(len(rows), np.nan)
    return np.abs(log_target(rows, target) - model.predict_rows(rows, target).log_median)


def _clusters(rows: TransferRows) -> npt.NDArray[np.signedinteger[Any]]:
    """Rows that share their luck: traffic of a block of time; of a launch, whose processes are a method's own."""
    position, _ = rows.combined(("method", "signalling"))
    position = np.where(rows.is_called("source", SERVICE), 0, position)
    return np.asarray(position * (int(rows.group.max()) + 1) + rows.group)


def _is_surely_worse(challenger: CostModel, in_force: CostModel, rows: TransferRows, target: str) -> bool:
    loss = _errors(challenger, rows, target) - _errors(in_force, rows, target)
    known = np.isfinite(loss)
    return bool(known.any()) and p_of_gain(loss[known], _clusters(rows)[known]) < _P


def _has_degraded(model: CostModel, rows: TransferRows) -> bool:
    """Whether its trees are surely worse than its own curves."""
    one = model.targets["latency_ns"]
    if one.champion != MODEL:
        return False
    by_curves = np.abs(log_target(rows, "latency_ns") - one.baseline.log_cost(rows))
    loss = _errors(model, rows, "latency_ns") - by_curves
    known = np.isfinite(loss)
    return bool(known.any()) and p_of_gain(loss[known], _clusters(rows)[known]) < _P


def _contexts(model: CostModel) -> set[tuple[str, ...]]:
    """What a model has seen often enough to know it."""
    counts: dict[tuple[str, ...], int] = {}
    for one in model.seen:
        key = tuple(str(getattr(one, name)) for name in _CONTEXT)
        counts[key] = counts.get(key, 0) + one.n
    return {key for key, n in counts.items() if n >= _FEWEST_IN_CONTEXT}
