"""A cost model brought up to date with new observations alone, and whether that is still enough."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.baseline import ADJUSTED, CODEC, Baseline, log_target
from perfkit.learn.models.boosting import Booster, fit_booster
from perfkit.learn.models.features import TransferRows, read_rows
from perfkit.learn.models.model import CostModel, Provenance, TargetModel
from perfkit.learn.models.report import CURVES, MODEL
from perfkit.learn.models.splits import recent_errors
from perfkit.stats.conformal import WINDOW, calibrate, expected_errors, follow, start_adaptive
from perfkit.stats.drift import OVERALL, ErrorDrift, watch_errors
from perfkit.stats.input_drift import InputDrift, watch_inputs
from perfkit.tables import ResultTable

__all__ = ["MOST_CORRECTIONS", "TargetUpdate", "Update", "update"]

Floats = npt.NDArray[np.float64]

MOST_CORRECTIONS = 8
"""Layers of trees that updates may add; beyond, a model is trained anew."""
_FEWEST = 20
_FEWEST_FOR_TREES = 600
_TRAINING_SHARE = 0.7
_TREES, _LEARNING_RATE, _MOST_ROWS = 40, 0.1, 50_000
_ALPHA = 0.001
_LEAST_GAIN = 0.01
_LEVEL_SD, _LAUNCH_SD = 0.15, 0.05
_PAST_BLOCKS = 3
"""Launches that a calibration stands for, at the least: what its errors had in common is not known any more."""
_FEWEST_OF_CODEC = 30


@dataclasses.dataclass(frozen=True)
class TargetUpdate:
    """What new observations said about one target.

    Attributes:
        n: new observations that it could predict.
        drift: shifts of its errors among them.
        levels: by method, signalling, placement and source, the factor that the cost was corrected by.
        has_new_trees: whether trees on what was left paid.
        degraded: the trees were surely worse than the curves; now the curves apply.
        coverage_before: share of the new observations inside the intervals as they were; NaN without any.
        coverage_after: likewise with intervals that follow what happens, each judged before it was learned from.
    """

    n: int
    drift: ErrorDrift
    levels: Mapping[tuple[str, ...], float]
    has_new_trees: bool
    degraded: bool
    coverage_before: float
    coverage_after: float


@dataclasses.dataclass(frozen=True)
class Update:
    """A model after an update, and what the update showed.

    Attributes:
        model: the model brought up to date.
        n_new: new observations that count.
        n_unknown: those of them that the model knows nothing about, such as a new method.
        targets: by name, what was found.
        inputs: whether the workload is another one; None where there was nothing to compare with.
        shifted_at: when the last shift of the errors began; None without any, or where the frame does not say when.
        reasons: why the model has to be trained anew; empty where the update is enough.
    """

    model: CostModel
    n_new: int
    n_unknown: int
    targets: Mapping[str, TargetUpdate]
    inputs: InputDrift | None
    reasons: tuple[str, ...]
    shifted_at: datetime.datetime | None = None

    @property
    def needs_retraining(self) -> bool:
        """Whether an update is not enough."""
        return bool(self.reasons)

    @property
    def degraded(self) -> tuple[str, ...]:
        """Targets at which the trees were worse than the curves, so that the curves apply."""
        return tuple(name for name, one in self.targets.items() if one.degraded)

    @property
    def drifted(self) -> tuple[str, ...]:
        """Targets whose errors moved."""
        return tuple(name for name, one in self.targets.items() if one.drift.shifts)

    @property
    def coverage_before(self) -> float:
        """Of latency, or of the first target: share inside the intervals as they were."""
        return self._main.coverage_before if self.targets else math.nan

    @property
    def coverage_after(self) -> float:
        """Of latency, or of the first target: share inside intervals that follow."""
        return self._main.coverage_after if self.targets else math.nan

    @property
    def _main(self) -> TargetUpdate:
        return self.targets.get("latency_ns") or next(iter(self.targets.values()))

    def to_table(self) -> ResultTable:
        """One line per target."""
        rows = tuple(
            (
                name,
                str(one.n),
                one.drift.verdict,
                _share(one.coverage_before),
                _share(one.coverage_after),
                "curves (degraded)" if one.degraded else "new trees" if one.has_new_trees else "levels",
            )
            for name, one in self.targets.items()
        )
        columns = ("target", "n", "errors", "held before", "held following", "corrected by")
        shifts = [f"{name}: {shift}" for name, one in self.targets.items() for shift in one.drift.shifts]
        notes = (*shifts, *([] if self.inputs is None else [str(self.inputs)]), *self.reasons)
        return ResultTable(f"Update with {self.n_new} new observations", columns, rows, notes, (1, 3, 4))

    def to_plain(self) -> dict[str, Any]:
        """The result as plain values, without the model."""
        targets = {
            name: {
                "n": one.n,
                "drift": one.drift.to_plain(),
                "levels": {" ".join(key): factor for key, factor in one.levels.items()},
                "has_new_trees": one.has_new_trees,
                "degraded": one.degraded,
                "coverage_before": _known(one.coverage_before),
                "coverage_after": _known(one.coverage_after),
            }
            for name, one in self.targets.items()
        }
        inputs = None if self.inputs is None else self.inputs.to_plain()
        plain = {"n_new": self.n_new, "n_unknown": self.n_unknown, "targets": targets, "inputs": inputs}
        return {**plain, "needs_retraining": self.needs_retraining, "reasons": list(self.reasons)}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def update(model: CostModel, frame: Any, *, seed: int = 0, before: Any = None, parent: str = "") -> Update:
    """Bring a cost model up to date, from observations that it has not seen.

    The level of each method is corrected, as far as the new observations are sure of it; trees on what is left are
    added where they pay on the newest of them; intervals move on to the newest errors. After a shift only what came
    after it counts.

    Args:
        model: of `perfkit.train`, or of an earlier update.
        frame: new observations alone, any frame with the columns of `perfkit.schema.TRANSFER_COLUMNS`.
        seed: of the trees.
        before: what the model was trained on, or a part of it, to notice that the workload is another one.
        parent: name of the version that is updated.

    Raises:
        FitError: the frame lacks a column or holds impossible figures, or no observation counts.
    """
    rows = read_rows(frame)
    if np.isfinite(rows.moment_us).all():
        rows = rows.take(np.argsort(rows.moment_us, kind="stable"))
    targets, found, unknown = dict(model.targets), dict[str, TargetUpdate](), 0
    for name, one in model.targets.items():
        known = np.isfinite(rows.targets[name])
        predictable = known & np.isfinite(one.baseline.log_cost(rows))
        unknown = max(unknown, int((known & ~predictable).sum()))
        if predictable.sum() >= _FEWEST:
            targets[name], found[name] = _update_target(model, one, rows.take(predictable), name, seed)
    inputs = None if before is None else watch_inputs(_columns(read_rows(before)), _columns(rows))
    reasons = _reasons(targets, found, inputs, unknown, len(rows))
    updated = dataclasses.replace(model, targets=targets, provenance=_provenance(model.provenance, rows, parent))
    return Update(updated, len(rows), unknown, found, inputs, reasons, _shifted_at(found, rows))


def _shifted_at(found: Mapping[str, TargetUpdate], rows: TransferRows) -> datetime.datetime | None:
    moments = [
        rows.moment_us[np.isfinite(rows.targets[name])][shift.began]
        for name, one in found.items()
        for shift in one.drift.shifts
    ]
    known = [moment for moment in moments if np.isfinite(moment)]
    return datetime.datetime.fromtimestamp(max(known) / 1e6, datetime.UTC) if known else None


def _update_target(
    model: CostModel, one: TargetModel, rows: TransferRows, target: str, seed: int
) -> tuple[TargetModel, TargetUpdate]:
    log_cost, scale = log_target(rows, target), one.scale.spread(rows)
    # The latest transfers tell a model of a shift by themselves: without them it shows whether the model still holds.
    as_usual = log_cost - one.log_median(rows, model.encoding)
    drift = _drift(one, as_usual / scale, scale, rows)
    as_asked = _with_recent(one.baseline, rows, log_cost)
    standardised = (log_cost - one.log_median(as_asked, model.encoding)) / scale
    low, high = one.calibration.bounds()
    surprise = standardised - expected_errors(standardised, rows.combined(ADJUSTED)[0])
    _, follow_low, follow_high = follow(start_adaptive(one.calibration), surprise)

    fresh = _after_shifts(drift, rows)
    rows, log_cost = rows.take(fresh), log_cost[fresh]
    levelled, levels = _levelled(one, rows, as_usual[fresh])
    corrected, seen, left = _with_trees(model, levelled, rows, log_cost, seed)
    curves, _ = _levelled(_curves_alone(one), rows, log_cost - one.baseline.log_cost(rows))
    left_by_curves = log_cost - curves.log_median(rows, model.encoding)
    judged = slice(seen, None)
    degraded = one.champion == MODEL and _is_surely_better(
        np.abs(left_by_curves)[judged], np.abs(left)[judged], rows.group[judged]
    )
    if degraded:
        corrected, seen, left = curves, 0, left_by_curves
    errors = left / corrected.scale.spread(rows)
    followed = float(np.mean((follow_low <= surprise) & (surprise <= follow_high)))
    metrics = {**one.metrics, "coverage_following": followed, "updated_with": float(standardised.size)}
    corrected = dataclasses.replace(
        corrected,
        calibration=_moved_on(one, errors[seen:]),
        n=one.n + standardised.size,
        metrics=metrics,
    )
    held = float(np.mean((low <= standardised) & (standardised <= high)))
    has_new_trees = len(corrected.corrections) > len(one.corrections)
    return corrected, TargetUpdate(standardised.size, drift, levels, has_new_trees, degraded, held, followed)


def _after_shifts(drift: ErrorDrift, rows: TransferRows) -> npt.NDArray[np.intp]:
    """Rows since everything moved last, and since their method did."""
    methods, place = _methods(rows), np.arange(len(rows))
    is_fresh = np.ones(len(rows), bool)
    for shift in drift.shifts:
        is_fresh &= (place >= shift.began) | ((methods != shift.stream) & (shift.stream != OVERALL))
    is_fresh[-_FEWEST:] = True
    return np.flatnonzero(is_fresh)


def _methods(rows: TransferRows) -> npt.NDArray[Any]:
    return np.array(rows.names["method"])[rows.codes["method"]]


def _drift(one: TargetModel, standardised: Floats, scale: Floats, rows: TransferRows) -> ErrorDrift:
    """Shifts among the new errors, with the calibration's as what came before."""
    past = start_adaptive(one.calibration).window
    methods = _methods(rows)
    return _without_history(
        watch_errors(
            np.concatenate((past, standardised)),
            scale=np.concatenate((np.full(past.size, one.scale.overall), scale)),
            streams=np.concatenate((_dealt(methods, past.size), methods)),
            # Past errors come shuffled: dealt into blocks they say that their mean is that of some launches.
            groups=np.concatenate((-1 - np.arange(past.size) % _PAST_BLOCKS, rows.group)),
            history=past.size,
        ),
        past.size,
    )


def _dealt(methods: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Methods of past errors, which are not known one by one: each method gets its share, evenly spread."""
    return methods[np.arange(count) * max(methods.size, 1) // max(count, 1) % methods.size]


def _without_history(drift: ErrorDrift, history: int) -> ErrorDrift:
    shifts = tuple(
        dataclasses.replace(one, began=max(one.began - history, 0), noticed=one.noticed - history)
        for one in drift.shifts
    )
    return dataclasses.replace(drift, shifts=shifts)


def _with_recent(baseline: Baseline, rows: TransferRows, log_cost: Floats) -> TransferRows:
    return rows.with_numbers(recent=recent_errors(rows, log_cost - baseline.log_cost(rows)))


def _curves_alone(one: TargetModel) -> TargetModel:
    return dataclasses.replace(one, residual=None, corrections=(), champion=CURVES)


def _levelled(one: TargetModel, rows: TransferRows, errors: Floats) -> tuple[TargetModel, dict[tuple[str, ...], float]]:
    """The model with costs multiplied by what is surely off, by method and then by codec; monotone in size as before.

    Also the factors of the methods.
    """
    levels, left = _levels(rows, errors, ADJUSTED, 2)
    of_codecs, _ = _levels(rows, left, (*ADJUSTED, *CODEC), _FEWEST_OF_CODEC)
    return dataclasses.replace(one, baseline=one.baseline.scaled(levels).scaled(of_codecs)), levels


def _levels(
    rows: TransferRows, errors: Floats, columns: tuple[str, ...], fewest: int
) -> tuple[dict[tuple[str, ...], float], Floats]:
    """Factors by key, drawn towards 1 as far as they are not sure; and the errors that they leave."""
    position, keys = rows.combined(columns)
    levels, left = dict[tuple[str, ...], float](), errors.copy()
    for at, key in enumerate(keys):
        mine = np.flatnonzero(position == at)
        if mine.size < fewest:
            continue
        own = errors[mine]
        level = float(np.median(own))
        spread = 1.4826 * float(np.median(np.abs(own - level)))
        noise = (1.25 * spread) ** 2 / mine.size + _LAUNCH_SD**2 / np.unique(rows.group[mine]).size
        level *= _LEVEL_SD**2 / (_LEVEL_SD**2 + noise)
        levels[key] = math.exp(level)
        left[mine] -= level
    return levels, left


def _with_trees(
    model: CostModel, one: TargetModel, rows: TransferRows, log_cost: Floats, seed: int
) -> tuple[TargetModel, int, Floats]:
    """The model with another layer of trees where it pays on the newest rows.

    Also how many rows it has seen then, and by how much it is off at each row, knowing how the ones before it went.
    """
    count = len(rows)
    asked = _with_recent(one.baseline, rows, log_cost)
    left = log_cost - one.log_median(asked, model.encoding)
    if one.champion != MODEL or count < _FEWEST_FOR_TREES or len(one.corrections) >= MOST_CORRECTIONS:
        return one, 0, left
    matrix = model.encoding.matrix(asked)
    cut = int(_TRAINING_SHARE * count)
    chosen = np.arange(cut) if cut <= _MOST_ROWS else np.linspace(0, cut - 1, _MOST_ROWS).astype(np.int64)
    layer: Booster = fit_booster(matrix[chosen], left[chosen], seed=seed, trees=_TREES, learning_rate=_LEARNING_RATE)
    after = left - layer.predict(matrix)
    gain = np.abs(left[cut:]) - np.abs(after[cut:])
    is_worth_it = gain.mean() > _LEAST_GAIN * np.abs(left[cut:]).mean()
    blocks = np.arange(gain.size) * 12 // gain.size
    if not (is_worth_it and _is_surely_better(np.abs(after[cut:]), np.abs(left[cut:]), blocks)):
        return one, 0, left
    return dataclasses.replace(one, corrections=(*one.corrections, layer)), cut, after


def _is_surely_better(errors: Floats, others: Floats, cluster: npt.NDArray[Any]) -> bool:
    """Whether errors are smaller than others on the same rows, by more than clusters differ."""
    from scipy.stats import t

    counts = np.unique(cluster, return_counts=True)[1]
    inverse = np.unique(cluster, return_inverse=True)[1]
    gains = np.bincount(inverse, others - errors) / counts
    if gains.size < 4:
        # Too few launches or blocks to know how they differ: neighbouring rows stand for them.
        inverse = np.arange(errors.size) * 12 // max(errors.size, 1)
        gains = np.bincount(inverse, others - errors) / np.maximum(np.bincount(inverse), 1)
    deviation = float(gains.std(ddof=1)) if gains.size > 1 else 0.0
    if deviation == 0:
        return False
    return float(t.sf(gains.mean() / deviation * math.sqrt(gains.size), gains.size - 1)) < _ALPHA


def _moved_on(one: TargetModel, errors: Floats) -> Any:
    """The calibration on the newest errors; where they are few, earlier ones fill it up."""
    newest = errors[-WINDOW:]
    past = start_adaptive(one.calibration).window
    return calibrate(np.concatenate((past[: WINDOW - newest.size], newest)), one.calibration.level)


def _reasons(
    targets: Mapping[str, TargetModel],
    found: Mapping[str, TargetUpdate],
    inputs: InputDrift | None,
    unknown: int,
    count: int,
) -> tuple[str, ...]:
    reasons = [f"{name}: errors moved ({one.drift.shifts[-1]})" for name, one in found.items() if one.drift.shifts]
    reasons += [f"{name}: the trees were worse than the curves" for name, one in found.items() if one.degraded]
    reasons += [
        f"{name}: {len(one.corrections)} layers of corrections, at most {MOST_CORRECTIONS}"
        for name, one in targets.items()
        if len(one.corrections) >= MOST_CORRECTIONS
    ]
    if inputs is not None and inputs.verdict == "drift":
        reasons.append(str(inputs))
    if unknown > 0.1 * count:
        reasons.append(f"{unknown} of {count} new observations are of methods that the model has never seen")
    return tuple(reasons)


def _columns(rows: TransferRows) -> dict[str, Any]:
    texts = {name: np.array(rows.names[name])[codes] for name, codes in rows.codes.items()}
    # Hours are left out: a window of new observations covers few of them, always.
    return {**texts, **{name: rows.numbers[name] for name in ("payload_bytes", "in_flight", "available_bytes")}}


def _provenance(before: Provenance, rows: TransferRows, parent: str) -> Provenance:
    return dataclasses.replace(
        before,
        trained_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        last_observed_at=rows.last_observed_at or before.last_observed_at,
        observations=before.observations + len(rows),
        launches=before.launches + rows.launches,
        parent=parent,
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "unknown"
