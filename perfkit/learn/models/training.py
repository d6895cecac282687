"""From observations to a cost model: `perfkit.train`."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import CurveSet
from perfkit.errors import InputError
from perfkit.learn.models.baseline import Baseline, fit_baseline, log_target
from perfkit.learn.models.boosting import MOST_ROWS, Booster, fit_booster, sample_rows
from perfkit.learn.models.doubt import median_doubt
from perfkit.learn.models.encoding import Encoding, encoding_of
from perfkit.learn.models.features import TEXTS, TransferRows, read_rows
from perfkit.learn.models.intervals import calibrate_thinned, fit_spread, sliced
from perfkit.learn.models.judging import HeldOut, beats_curves, coverage_by_slice, median_error, share_within
from perfkit.learn.models.model import TARGETS, CostModel, Provenance, SeenContext, TargetModel
from perfkit.learn.models.report import CURVES, MODEL, ModelReport, TargetReport
from perfkit.learn.models.sources import curves_from, curves_in, curves_of_others
from perfkit.learn.models.splits import folds_of, recent_errors
from perfkit.learn.result import Fit

__all__ = ["FEWEST_OBSERVATIONS", "train"]

Floats = npt.NDArray[np.float64]

FEWEST_OBSERVATIONS = 1000
"""A model of fewer would learn noise: the curves apply."""
_FEWEST_OF_TARGET = 20
_COLUMNS: Mapping[str, str] = {
    "cpu_ns": "columns cpu_sender_ns and cpu_receiver_ns",
    "resident_bytes": "column resident_bytes",
}
_LEAST_SHORTFALL = 0.10
_MOST_JUDGED = 250_000
"""Held-out transfers that are predicted to judge the model: more change the verdict little, and take minutes."""
_LIBRARIES = ("perfkit", "numpy", "scipy", "scikit-learn", "skops")
_RESIDUAL_STRATA = ("method", "kind", "format", "signalling", "source", "size", "load")
_SCRAMBLERS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))
"""Odd factors of MurmurHash3's last step, by Appleby: neighbouring numbers end up anywhere."""
Progress = Callable[[float, str], None]


@dataclasses.dataclass(frozen=True)
class _Task:
    """What all targets have in common."""

    rows: TransferRows
    fold: npt.NDArray[np.signedinteger[Any]]
    curves: CurveSet
    curves_by_fold: tuple[CurveSet, ...]
    encoding: Encoding
    seed: int
    level: float


def _in_order(rows: TransferRows) -> TransferRows:
    """Rows by time; those of no known time shuffled by their bits, so that the order of a frame decides nothing.

    Never by what is to be learned: earlier rows would tell of the next one what nobody can know.
    """
    bits = np.ascontiguousarray(rows.targets["latency_ns"], float).view(np.uint64)
    bits = bits ^ (np.ascontiguousarray(rows.numbers["payload_bytes"], float).view(np.uint64) << np.uint64(1))
    for factor in _SCRAMBLERS:
        bits = (bits ^ (bits >> np.uint64(33))) * factor
    return rows.take(np.lexsort((bits ^ (bits >> np.uint64(33)), np.nan_to_num(rows.moment_us))))


def train(
    frame: Any,
    *,
    curves: CurveSet | Fit | None = None,
    seed: int = 0,
    level: float = 0.90,
    progress: Progress | None = None,
    table_versions: Mapping[str, int] | None = None,
) -> CostModel:
    """Learn what transfers cost: cost curves, and a boosted model of what they leave unexplained, with intervals.

    The model stays only where it beats the curves on launches and blocks of time that neither saw; its report says so.
    With fewer than 1000 observations the curves apply.

    Args:
        frame: observations, measured or of services; see `read_rows`.
        curves: to start from; by default they are fitted to the frame.
        seed: of everything random: the same frame and seed give the same model.
        level: share of single transfers that intervals are to hold, above 0 and below 1.
        progress: called with the share that is done, 0 to 1, and what is being done.
        table_versions: versions of the tables that the frame was read from.

    Raises:
        FitError: the frame lacks a column or holds impossible figures, or nothing usable.
        InputError: the level is out of range.

    Source: Chen and Guestrin, *XGBoost*, KDD (2016), for boosting; Vovk, *Cross-conformal predictors* (2015).

    >>> frame = {"method": ["uds"] * 60, "payload_bytes": [1024, 65536, 1048576] * 20,
    ...          "latency_ns": [1e4, 3e4, 3e5] * 20, "launch": [row // 20 for row in range(60)]}
    >>> model = train(frame)
    >>> model.targets["latency_ns"].champion, model.warnings[0]
    ('curves', 'latency_ns: 60 observations, a model needs 1000: the curves apply')
    >>> bool(2.5e4 < model.median(65536, method="uds", source="bench")[0] < 3.5e4)
    True
    """
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"level == {level!r}, must be above 0 and below 1, for example 0.90")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed == {seed!r}, must be a whole number from 0 to 4294967295")
    tell = progress or (lambda share, what: None)
    tell(0.0, "reading")
    rows = _in_order(read_rows(frame))
    task = _prepare(frame, rows, curves, seed, float(level), tell)
    targets, reports, warnings = {}, [], _warnings_of_groups(rows)
    for at, target in enumerate(TARGETS):
        tell(0.3 + 0.7 * at / len(TARGETS), f"learning {target}")
        n = int(np.isfinite(rows.targets[target]).sum())
        if n < _FEWEST_OF_TARGET and target != "latency_ns":
            warnings.append(f"{target}: {n} observations ({_COLUMNS[target]}): nothing can be said about it")
            continue
        if n < FEWEST_OBSERVATIONS:
            warnings.append(f"{target}: {n} observations, a model needs {FEWEST_OBSERVATIONS}: the curves apply")
        targets[target], report = _learn(task, target)
        reports.append(report)
        warnings += _warnings_of_coverage(report, task.level)
    tell(1.0, "done")
    report_of_all = ModelReport(task.level, tuple(reports), tuple(warnings))
    memory = rows.numbers["available_bytes"]
    memory = memory[np.isfinite(memory)]
    return CostModel(
        targets,
        task.encoding,
        _provenance(rows, seed, table_versions or {}, tuple(warnings)),
        report_of_all,
        _seen(rows),
        (float(np.quantile(memory, 0.05)), float(np.median(memory))) if memory.size else None,
    )


def _prepare(
    frame: Any, rows: TransferRows, curves: CurveSet | Fit | None, seed: int, level: float, tell: Progress
) -> _Task:
    tell(0.05, "fitting curves")
    found = curves_in(curves) if curves is not None else curves_from(frame, rows)
    fold = folds_of(rows.group)
    folds = range(int(fold.max()) + 1)
    if curves is not None or len(folds) == 1:
        by_fold = tuple(found for _ in folds)
    else:
        by_fold = tuple(curves_of_others(found, rows, fold == at) for at in folds)
    return _Task(rows, fold, found, by_fold, encoding_of(rows), seed, level)


def _learn(task: _Task, target: str) -> tuple[TargetModel, TargetReport]:
    known = np.isfinite(task.rows.targets[target])
    rows = task.rows.take(known)
    log_cost = log_target(rows, target)
    held_out = _hold_out(task, rows, log_cost, known, target)
    wins, why = beats_curves(held_out)
    champion = MODEL if wins else CURVES
    if held_out.model is None:
        why = f"{len(rows)} observations, a model needs {FEWEST_OBSERVATIONS}: the curves apply"
    predicted = held_out.model if wins and held_out.model is not None else held_out.curves
    error = held_out.log_cost - predicted
    spread = fit_spread(held_out.rows, error)
    calibration = calibrate_thinned(error / spread.spread(held_out.rows), task.level)
    baseline = fit_baseline(task.curves, rows, target)
    residual = _fit_residual(task, baseline, rows, log_cost) if wins else None
    report = _report(held_out, target, champion, why, predicted, task.level)
    metrics = {
        "within_15": float(
            report.within_15_model if wins and report.within_15_model is not None else report.within_15_curves
        ),
        "within_15_curves": report.within_15_curves,
        "coverage": report.coverage[0].coverage,
        "mean_log_error": float(np.mean(np.abs(error))),
        "mean_log_error_curves": float(np.mean(np.abs(held_out.log_cost - held_out.curves))),
    }
    if wins and held_out.model_as_usual is not None:
        metrics |= median_doubt(held_out, held_out.model_as_usual)
    return TargetModel(baseline, residual, (), spread, calibration, champion, len(rows), metrics), report


def _hold_out(task: _Task, rows: TransferRows, log_cost: Floats, known: Any, target: str) -> HeldOut:
    """Predict each fold by what was learned from the others."""
    fold = task.fold[known]
    curves, model, usual = (np.full(len(rows), np.nan) for _ in range(3))
    is_modelled = len(rows) >= FEWEST_OBSERVATIONS
    is_judged = np.zeros(len(rows), bool)
    is_judged[np.random.default_rng(task.seed).permutation(len(rows))[:_MOST_JUDGED]] = True
    for at, fold_curves in enumerate(task.curves_by_fold):
        mine = fold == at
        others = ~mine if (~mine).any() else mine
        if not mine.any():
            continue
        baseline = fit_baseline(fold_curves, rows.take(others), target)
        curves[mine] = baseline.log_cost(rows.take(mine))
        if is_modelled:
            booster = _fit_residual(task, baseline, rows.take(others), log_cost[others], MOST_ROWS // 2)
            # All transfers of a fold tell how the latest went; only those that are judged are predicted.
            recent = recent_errors(rows.take(mine), log_cost[mine] - curves[mine])[is_judged[mine]]
            mine &= is_judged
            judged, base = rows.take(mine), np.nan_to_num(curves[mine])
            model[mine] = base + booster.predict(task.encoding.matrix(judged.with_numbers(recent=recent)))
            usual[mine] = base + booster.predict(task.encoding.matrix(judged))
    # A method that only one fold holds is judged by a curve that saw it: there is no other.
    unknown = np.isnan(curves)
    if unknown.any():
        everything = fit_baseline(task.curves, rows, target).log_cost(rows.take(unknown))
        for column in (curves, model, usual):
            column[unknown] = everything
    predicted = (model[is_judged], usual[is_judged]) if is_modelled else (None, None)
    return HeldOut(rows.take(is_judged), fold[is_judged], log_cost[is_judged], curves[is_judged], *predicted)


def _fit_residual(
    task: _Task, baseline: Baseline, rows: TransferRows, log_cost: Floats, most_rows: int = MOST_ROWS
) -> Booster:
    usual = baseline.log_cost(rows)
    error = log_cost - usual
    rows = rows.with_numbers(recent=recent_errors(rows, error))
    strata, _ = sliced(rows, _RESIDUAL_STRATA)
    chosen = sample_rows(strata, task.seed, most_rows)
    chosen = chosen[np.isfinite(error[chosen])]
    return fit_booster(task.encoding.matrix(rows.take(chosen)), error[chosen], seed=task.seed)


def _report(held_out: HeldOut, target: str, champion: str, why: str, predicted: Floats, level: float) -> TargetReport:
    within_curves, cells = share_within(held_out, held_out.curves)
    model = held_out.model
    return TargetReport(
        target,
        champion,
        why,
        len(held_out.rows),
        cells,
        None if model is None else share_within(held_out, model)[0],
        within_curves,
        None if model is None else median_error(held_out, model),
        median_error(held_out, held_out.curves),
        coverage_by_slice(held_out, predicted, level),
    )


def _warnings_of_coverage(report: TargetReport, level: float) -> list[str]:
    """The slice whose held-out transfers were within their intervals least often, where that is too rarely."""
    worst = report.worst
    if worst is None or worst.coverage >= level - _LEAST_SHORTFALL:
        return []
    return [
        f"{report.target}: intervals are to hold {level:.0%} of transfers, of {worst.name} ({worst.slice}) they held "
        f"{worst.coverage:.0%} of {worst.n:,}: plan with wider ones there, and let more launches or traffic tell"
    ]


def _warnings_of_groups(rows: TransferRows) -> list[str]:
    if rows.launches != 1:
        return []
    return [
        "one launch alone: it was cut in time to hold something out, so that intervals do not know how much launches "
        "differ; measure with several launches"
    ]


def _provenance(
    rows: TransferRows, seed: int, table_versions: Mapping[str, int], warnings: tuple[str, ...]
) -> Provenance:
    return Provenance(
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seed,
        rows.first_observed_at,
        rows.last_observed_at,
        len(rows),
        rows.launches,
        len(rows.runs),
        dict(table_versions),
        {name: _version(name) for name in _LIBRARIES},
        warnings=warnings,
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _seen(rows: TransferRows) -> tuple[SeenContext, ...]:
    position, keys = rows.combined(TEXTS)
    sizes, in_flight = rows.numbers["payload_bytes"], rows.numbers["in_flight"]
    low, high, load = np.full(len(keys), np.inf), np.zeros(len(keys)), np.ones(len(keys))
    np.minimum.at(low, position, sizes)
    np.maximum.at(high, position, sizes)
    np.maximum.at(load, position, in_flight)
    counts = np.bincount(position)
    return tuple(
        SeenContext(
            **dict(zip(TEXTS, key, strict=True)),
            n=int(counts[at]),
            min_bytes=float(low[at]),
            max_bytes=float(high[at]),
            max_in_flight=float(load[at]),
        )
        for at, key in enumerate(keys)
    )
