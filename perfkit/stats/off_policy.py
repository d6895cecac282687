"""What another policy would have cost on traffic that was logged while methods were explored.

A service that explores takes another method now and then, with a known probability (the *propensity*). Rows in which it
happened to take what a candidate would take stand for all those in which it did not, each with the inverse of its
propensity as its weight.

* ``snips``: the weighted mean of the costs, divided by the sum of the weights (self-normalised inverse propensities).
* ``doubly_robust``: what a model predicts for the candidate's choice, corrected by the weighted mean of the model's
  errors where the candidate's choice was taken. It stays valid when the model is wrong, and gains when it is right.

Two policies are compared on the rows in which they choose differently: all others cancel.

Sources: Swaminathan and Joachims, *The self-normalized estimator for counterfactual learning* (NIPS 2015); Dudik,
Langford and Li, *Doubly robust policy evaluation and learning* (ICML 2011); Cameron and Miller, *A practitioner's guide
to cluster-robust inference* (Journal of Human Resources 50, 2015).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.off_policy_result import ESTIMATORS, SCALES, OffPolicyValue

__all__ = ["OffPolicyValue", "off_policy_value"]

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

FEWEST_MATCHES = 20.0
"""Effective number of rows in which a policy's choice was taken, below which nothing is concluded."""

_LEAST_SUPPORT = 0.95
_SURE = 3.0
"""Standard deviations that the mean weight may lie below 1 by chance."""


@dataclasses.dataclass(frozen=True)
class _Log:
    """Rows that count, on the scale that is averaged."""

    cost: Floats
    weight: Floats
    logged: Codes
    chosen: Codes
    other: Codes | None
    predicted_logged: Floats
    predicted_chosen: Floats
    predicted_other: Floats
    cluster: Codes


def off_policy_value(
    cost: npt.ArrayLike,
    propensity: npt.ArrayLike,
    logged: npt.ArrayLike,
    chosen: npt.ArrayLike,
    *,
    against: npt.ArrayLike | None = None,
    predicted_logged: npt.ArrayLike | None = None,
    predicted_chosen: npt.ArrayLike | None = None,
    predicted_against: npt.ArrayLike | None = None,
    clusters: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    method: str = "doubly_robust",
    scale: str = "geometric",
    level: float = 0.95,
) -> OffPolicyValue:
    """Estimate what a candidate policy would have cost on logged traffic.

    Args:
        cost: of each transfer as it was logged, shape (n,), above 0 for the geometric scale, else 0 or more.
        propensity: probability with which the logged method was taken, above 0 and at most 1.
        logged: the method that was taken.
        chosen: the method that the candidate would take.
        against: the method that another policy would take; without it, the candidate is compared with the policy that
            logged.
        predicted_logged: what a model predicts for the logged method, in the unit of the cost.
        predicted_chosen: the same for the candidate's choice.
        predicted_against: the same for the other policy's choice.
        clusters: rows with the same value share their luck: sessions, or blocks of time; without it, every row counts.
        groups: rows with the same value are alike in what may be explored, such as contexts and classes of size: where
            a group never took what the candidate would, though it explored enough, the candidate has no support.
        method: ``doubly_robust`` (needs predictions, without them it is ``snips``) or ``snips``.
        scale: ``geometric`` averages logarithms, so that large payloads do not decide alone; ``mean`` averages costs.
        level: confidence, above 0.5 and below 1.

    Returns:
        The estimate. Where too few rows were explored, or the candidate takes what never was, the interval is
        infinite and the verdict inconclusive.

    Raises:
        InputError: arrays differ in length, are empty, or hold what cannot be.
        UnknownNameError: there is no such method or scale.

    >>> random = np.random.default_rng(1)
    >>> explored = random.random(4000) < 0.1
    >>> taken = np.where(explored, "uds", "grpc")
    >>> cost = np.where(taken == "uds", 50.0, 100.0) * random.lognormal(0, 0.2, 4000)
    >>> found = off_policy_value(cost, np.where(explored, 0.1, 0.9), taken, np.full(4000, "uds"),
    ...                          against=np.full(4000, "grpc"))
    >>> found.verdict, round(found.ratio, 2)
    ('better', 0.5)
    """
    for name, got, allowed in (("method", method, ESTIMATORS), ("scale", scale, SCALES)):
        if got not in allowed:
            raise UnknownNameError(name, got, allowed)
    if not isinstance(level, int | float) or not 0.5 < level < 1:
        raise InputError(f"level == {level}, must be above 0.5 and below 1, for example 0.95")
    given = _Given.read(cost, propensity, scale, logged, chosen, against)
    models = [predicted_logged, predicted_chosen, *([predicted_against] if against is not None else [])]
    estimator = "doubly_robust" if method == "doubly_robust" and all(one is not None for one in models) else "snips"
    predictions = [given.predicted(one if estimator == "doubly_robust" else None, scale) for one in models]
    is_known, unsupported, warnings = _supported(given, groups)
    log = _Log(
        cost=given.cost[is_known],
        weight=1 / given.propensity[is_known],
        logged=given.logged[is_known],
        chosen=given.chosen[is_known],
        other=None if given.other is None else given.other[is_known],
        predicted_logged=predictions[0][is_known],
        predicted_chosen=predictions[1][is_known],
        predicted_other=predictions[-1][is_known],
        cluster=given.clusters(clusters)[is_known],
    )
    return _estimate(log, unsupported, warnings, estimator, scale, float(level))


@dataclasses.dataclass(frozen=True)
class _Given:
    """The arguments as arrays of one length; methods as numbers."""

    cost: Floats
    propensity: Floats
    logged: Codes
    chosen: Codes
    other: Codes | None

    @staticmethod
    def read(cost: Any, propensity: Any, scale: str, logged: Any, chosen: Any, other: Any) -> _Given:
        costs, propensities = _numbers("cost", cost), _numbers("propensity", propensity)
        if not costs.size:
            raise InputError("there is no row; give the transfers of a service that explores")
        if not (np.isfinite(costs) & (costs > 0 if scale == "geometric" else costs >= 0)).all():
            least = "above 0" if scale == "geometric" else "0 or more"
            raise InputError(f"cost holds values that are not finite and {least}; leave failed transfers out")
        if not ((propensities > 0) & (propensities <= 1)).all():
            raise InputError("propensity holds values that are not above 0 and at most 1; leave such rows out")
        names = {"logged": logged, "chosen": chosen, **({} if other is None else {"against": other})}
        columns = {name: np.asarray(column) for name, column in names.items()}
        for name, column in {"propensity": propensities, **columns}.items():
            if column.shape != costs.shape:
                raise InputError(f"{name} has the shape {column.shape}, must be {costs.shape} as cost has")
        _, codes = np.unique(np.concatenate([column.astype(str) for column in columns.values()]), return_inverse=True)
        parts = np.split(codes.astype(np.int64), len(columns))
        value = np.log(costs) if scale == "geometric" else costs
        return _Given(value, propensities, parts[0], parts[1], parts[2] if other is not None else None)

    def predicted(self, given: Any, scale: str) -> Floats:
        """A prediction on the scale that is averaged; nothing for none."""
        if given is None:
            return np.zeros_like(self.cost)
        values = _numbers("a prediction", given)
        if values.shape != self.cost.shape or not (np.isfinite(values) & (values > 0)).all():
            raise InputError(f"predictions must be {self.cost.size} finite numbers above 0, one per row")
        return np.asarray(np.log(values)) if scale == "geometric" else values

    def clusters(self, given: Any) -> Codes:
        """The number of every row's cluster."""
        if given is None:
            return np.arange(self.cost.size)
        column = np.asarray(given)
        if column.shape != self.cost.shape:
            raise InputError(f"clusters has the shape {column.shape}, must be {self.cost.shape} as cost has")
        return np.asarray(np.unique(column, return_inverse=True)[1], np.int64)


def _numbers(name: str, given: Any) -> Floats:
    try:
        values = np.asarray(given, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers: {error}") from error
    if values.ndim != 1:
        raise InputError(f"{name} has the shape {values.shape}, must be one number per row")
    return values


def _supported(given: _Given, groups: Any) -> tuple[Flags, float, tuple[str, ...]]:
    """Rows in which both policies' choices can have been taken, the share of all others, and what to say of them."""
    choices = [given.chosen] if given.other is None else [given.chosen, given.other]
    is_known = np.ones(given.cost.size, bool)
    for choice in choices:
        is_known &= (given.propensity < 1) | (given.logged == choice)
    if groups is not None:
        column = np.asarray(groups)
        if column.shape != given.cost.shape:
            raise InputError(f"groups has the shape {column.shape}, must be {given.cost.shape} as cost has")
        group = np.unique(column, return_inverse=True)[1]
        for choice in choices:
            is_known &= ~_never_taken(given, choice, group, is_known)
    share = float(1 - is_known.mean())
    if not share:
        return is_known, share, ()
    warning = (
        f"{share:.1%} of the rows cannot have taken what the policies would choose: left out; explore there "
        "([engine] exploration_rate) to learn what it costs"
    )
    return is_known, share, (warning,)


def _never_taken(given: _Given, choice: Codes, group: npt.NDArray[Any], is_known: Flags) -> Flags:
    """Rows of a group and choice that no row took, though chance alone would have brought several."""
    methods = int(max(given.logged.max(), choice.max())) + 1
    cell = group.astype(np.int64) * methods + choice
    taken = np.bincount(cell, is_known & (given.logged == choice), minlength=int(cell.max()) + 1)
    rows = np.bincount(cell, is_known, minlength=taken.size)
    explored = given.propensity[is_known]
    least = explored.min() if explored.size else 1.0
    return np.asarray(((taken == 0) & (rows * least > 2 * _SURE))[cell], bool)


def _estimate(
    log: _Log, unsupported: float, warnings: tuple[str, ...], estimator: str, scale: str, level: float
) -> OffPolicyValue:
    differs = log.chosen != (log.logged if log.other is None else log.other)
    counted = differs if log.other is not None else np.ones_like(differs)
    candidate = (log.logged == log.chosen) & counted
    weights = log.weight[candidate]
    effective = _effective(weights)
    sides = (
        [effective] if log.other is None else [effective, _effective(log.weight[(log.logged == log.other) & counted])]
    )
    warnings += _weight_warnings(log, estimator)
    shared: dict[str, Any] = {
        "level": level,
        "n": log.cost.size,
        "n_changed": int(np.count_nonzero(differs)),
        "matched": int(np.count_nonzero(candidate & differs)) if log.other is not None else weights.size,
        "effective_n": effective,
        "largest_weight": float(weights.max()) if weights.size else math.nan,
        "unsupported_share": unsupported,
        "estimator": estimator,
        "scale": scale,
        "against": "logged" if log.other is None else "other",
    }
    if not log.cost.size or (differs.any() and min(sides) < FEWEST_MATCHES):
        few = f"rows worth {min(sides):.0f} took what a policy chooses, at least {FEWEST_MATCHES:.0f} are needed"
        return _unknown(shared, (*warnings, f"{few}: nothing can be concluded; explore longer"))
    mean, error = _mean_weight(log)
    if mean - _SURE * error > 1 / _LEAST_SUPPORT:
        wrong = f"the weights add up to {mean:.0%} of the rows, so that propensities are smaller than what was taken"
        return _unknown(shared, (*warnings, f"{wrong}: nothing can be concluded; record what was drawn with"))
    level_value, level_spread = _policy(log, log.chosen, log.predicted_chosen, np.ones_like(differs))
    value, value_bounds = _interval(level_value, level_spread, log.cluster, level, scale)
    log_ratio, spread, least = _comparison(log, differs, scale)
    half, one_sided = _half_widths(spread, log.cluster, level, least)
    ratio = math.exp(log_ratio)
    return OffPolicyValue(
        value=value,
        interval=value_bounds,
        ratio=ratio,
        ratio_interval=(math.exp(log_ratio - half), math.exp(log_ratio + half)),
        saving_low=1 - math.exp(log_ratio + one_sided),
        warnings=warnings,
        **shared,
    )


def _unknown(shared: dict[str, Any], warnings: tuple[str, ...]) -> OffPolicyValue:
    return OffPolicyValue(
        value=math.nan,
        interval=(0.0, math.inf),
        ratio=math.nan,
        ratio_interval=(0.0, math.inf),
        saving_low=-math.inf,
        warnings=warnings,
        **shared,
    )


def _effective(weights: Floats) -> float:
    """Kish's effective sample size."""
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.size else 0.0


def _policy(log: _Log, choice: Codes, predicted: Floats, counted: Flags) -> tuple[float, Floats]:
    """Mean cost of a policy over the rows that count, and how far each row moves it (zero for rows that do not)."""
    rows = np.count_nonzero(counted)
    weight = np.where(counted & (log.logged == choice), log.weight, 0.0)
    total = weight.sum()
    error = log.cost - log.predicted_logged
    correction = float(weight @ error / total)
    model = float(predicted[counted].mean())
    moves = np.where(counted, predicted - model, 0.0) / rows + weight * (error - correction) / total
    return model + correction, np.asarray(moves)


def _model_variance(log: _Log, choice: Codes, predicted: Floats, counted: Flags) -> float:
    """Least variance of a policy's mean cost, by the model: errors in proportion to what it predicts.

    Mean costs are decided by few large payloads. Where chance took none of them, the rows alone look far too sure.
    """
    taken = counted & (log.logged == choice)
    if not predicted.any() or not taken.any():
        return 0.0
    weight = log.weight[taken]
    relative = (log.cost[taken] - log.predicted_logged[taken]) / log.predicted_logged[taken]
    squared = float(weight @ relative**2 / weight.sum())
    return squared * float(weight.mean()) * float((predicted[counted] ** 2).sum()) / np.count_nonzero(counted) ** 2


def _comparison(log: _Log, differs: Flags, scale: str) -> tuple[float, Floats, float]:
    """Logarithm of the candidate's cost over the other's, how far each row moves it, and its least variance."""
    if log.other is None:
        first, moved = _policy(log, log.chosen, log.predicted_chosen, np.ones_like(differs))
        second = float(log.cost.mean())
        moved_second = (log.cost - second) / log.cost.size
        if scale == "geometric":
            return first - second, moved - moved_second, 0.0
        least = _model_variance(log, log.chosen, log.predicted_chosen, np.ones_like(differs)) / first**2
        return _log_ratio(first, second), moved / first - moved_second / second, least
    if not differs.any():
        return 0.0, np.zeros_like(log.cost), 0.0
    share = float(differs.mean())
    first, moved_first = _policy(log, log.chosen, log.predicted_chosen, differs)
    second, moved_second = _policy(log, log.other, log.predicted_other, differs)
    gap = first - second
    # How many rows differ is chance, too.
    moves = share * (moved_first - moved_second) + (differs - share) * gap / log.cost.size
    if scale == "geometric":
        return share * gap, moves, 0.0
    least = _model_variance(log, log.chosen, log.predicted_chosen, differs)
    least += _model_variance(log, log.other, log.predicted_other, differs)
    whole, moved_whole = _policy(log, log.other, log.predicted_other, np.ones_like(differs))
    ratio = 1 + share * gap / whole
    moves = (moves / whole - share * gap / whole**2 * moved_whole) / ratio
    return _log_ratio(ratio, 1.0), moves, least * (share / whole / ratio) ** 2


def _log_ratio(first: float, second: float) -> float:
    return math.log(max(first, 1e-300) / max(second, 1e-300))


def _interval(
    value: float, moves: Floats, cluster: Codes, level: float, scale: str
) -> tuple[float, tuple[float, float]]:
    half, _ = _half_widths(moves, cluster, level)
    bounds = value - half, value + half
    if scale == "geometric":
        return math.exp(value), (math.exp(bounds[0]), math.exp(bounds[1]))
    return value, (max(bounds[0], 0.0), bounds[1])


def _half_widths(moves: Floats, cluster: Codes, level: float, least: float = 0.0) -> tuple[float, float]:
    """Half the width of the interval, and the distance to a one-sided bound.

    The degrees of freedom follow from how few clusters the variance rests on (Satterthwaite): with weights of eighty,
    a few rows may decide.
    """
    sums = np.bincount(cluster, moves)
    clusters = int(np.unique(cluster).size)
    variance = float((sums**2).sum())
    if variance == 0:
        return 0.0, 0.0
    if clusters < 2:
        return math.inf, math.inf
    variance = max(variance * clusters / (clusters - 1), least)
    freedom = max(min(clusters - 1, 2 / max(float((sums**4).sum()) / float((sums**2).sum()) ** 2, 1e-300)), 1.0)
    two, one = scipy.stats.t.ppf(((1 + level) / 2, level), freedom)
    return float(two * math.sqrt(variance)), float(one * math.sqrt(variance))


def _mean_weight(log: _Log) -> tuple[float, float]:
    """Mean weight of what was taken as chosen, which must be about 1 if propensities are right; its standard error."""
    if not log.cost.size:
        return 1.0, 0.0
    weight = np.where(log.logged == log.chosen, log.weight, 0.0)
    return float(weight.mean()), float(weight.std() / math.sqrt(weight.size))


def _weight_warnings(log: _Log, estimator: str) -> tuple[str, ...]:
    """Whether the weights cover the rows, and whether one row decides."""
    mean, error = _mean_weight(log)
    weight = log.weight[log.logged == log.chosen]
    warnings = []
    if mean + _SURE * error < _LEAST_SUPPORT:
        warnings.append(
            f"the weights add up to {mean:.0%} of the rows: in the rest the candidate's choice was never explored, so "
            "the estimate is of the explored part"
        )
    if estimator == "snips" and weight.size and weight.max() > 0.05 * weight.sum():
        warnings.append(f"one row has {weight.max() / weight.sum():.0%} of the weight; explore longer")
    return tuple(warnings)
