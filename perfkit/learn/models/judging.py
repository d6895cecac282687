"""The model against the curves on transfers that neither saw, and how often intervals hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.features import TransferRows
from perfkit.learn.models.intervals import calibrate_thinned, fit_spread, sliced
from perfkit.learn.models.report import SliceCoverage
from perfkit.stats.medians import group_medians

__all__ = ["HeldOut", "beats_curves", "coverage_by_slice", "median_error", "p_of_gain", "share_within"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

_P = 0.001
_FEWEST_CLUSTERS = 5
_FEWEST_IN_CELL = 5
_SLICES = (
    ("all",),
    ("method",),
    ("signalling",),
    ("method", "signalling"),
    ("kind", "format"),
    ("size",),
    ("load",),
)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Predictions of transfers by what was learned from other groups.

    Attributes:
        rows: the transfers.
        fold: which of them were held out together.
        log_cost: what they cost.
        curves: log cost by the adjusted curves.
        model: log cost by the model; None where there are too few transfers for one.
        model_as_usual: by the model without knowledge of recent performance.
    """

    rows: TransferRows
    fold: Integers
    log_cost: Floats
    curves: Floats
    model: Floats | None
    model_as_usual: Floats | None

    @property
    def cell(self) -> Integers:
        """Group, method, context and size of each row, as one number."""
        position, _ = self.rows.combined(("method", "kind", "format", "compression", "signalling", "placement"))
        size = np.round(4 * np.log2(np.maximum(self.rows.numbers["payload_bytes"], 1))).astype(np.int64)
        load = np.round(np.log2(self.rows.numbers["in_flight"])).astype(np.int64)
        key = ((position * 512 + size) * 64 + load) * (int(self.rows.group.max()) + 1) + self.rows.group
        return np.asarray(np.unique(key, return_inverse=True)[1])


def beats_curves(held_out: HeldOut) -> tuple[bool, str]:
    """Whether the model is surely better than the curves, and why (not), for people.

    Two conditions. Absolute log errors are smaller by more than noise explains: a one-sided paired t test at 0.001 of
    the mean gains per group and method, whose rows share their luck. And medians of cells are no worse where recent
    performance is not known, as when curves are distilled.
    """
    model, usual = held_out.model, held_out.model_as_usual
    if model is None or usual is None:
        return False, ""
    gain = np.abs(held_out.log_cost - held_out.curves) - np.abs(held_out.log_cost - model)
    rows = held_out.rows
    position, _ = rows.combined(("method", "signalling", "source"))
    groups = position * (int(rows.group.max()) + 1) + rows.group
    p_value = p_of_gain(gain, groups)
    error = float(np.mean(np.abs(held_out.log_cost - held_out.curves)))
    smaller = float(np.mean(gain)) / error if error > 0 else 0.0
    if p_value > _P:
        return (
            False,
            f"the model is not surely better on held-out transfers (mean error {-smaller:+.1%}, p = {p_value:.2g})",
        )
    by_model, by_curves = _cell_errors(held_out, usual), _cell_errors(held_out, held_out.curves)
    if by_model.size and np.mean(np.abs(by_model)) > np.mean(np.abs(by_curves)):
        return False, "the model is better only where recent performance is known, and worse on medians without it"
    return True, f"the model beats the curves on held-out transfers (mean error {-smaller:+.1%}, p = {p_value:.2g})"


def p_of_gain(gain: Floats, cluster: Integers) -> float:
    """One-sided p value of a paired t test that gains are above 0 in the mean, of the means of clusters.

    Args:
        gain: by how much the absolute error of each row became smaller.
        cluster: rows of one share their luck, 0 or more. Of fewer than 5 clusters nothing is sure: 1.

    >>> import numpy as np
    >>> round(p_of_gain(np.array([0.1, 0.2, 0.1, 0.3, 0.2, 0.1]), np.arange(6)), 4)
    0.0021
    """
    from scipy.stats import t

    counts = np.bincount(cluster)
    sums = np.bincount(cluster, gain)
    means = sums[counts > 0] / counts[counts > 0]
    if means.size < _FEWEST_CLUSTERS:
        return 1.0
    error = float(np.std(means, ddof=1)) / np.sqrt(means.size)
    return float(t.sf(float(np.mean(means)) / error, means.size - 1)) if error > 0 else float(np.mean(means) <= 0)


def _cell_errors(held_out: HeldOut, log_median: Floats) -> Floats:
    """Log median of each cell with rows enough, less the prediction."""
    cell = held_out.cell
    error = held_out.log_cost - log_median
    # Rows of a cell differ in size by up to a quarter of a doubling: errors are compared, not costs.
    return group_medians(error, cell)[np.bincount(cell) >= _FEWEST_IN_CELL]


def share_within(held_out: HeldOut, log_median: Floats, margin: float = 0.15) -> tuple[float, int]:
    """Share of cells whose median is predicted within a margin, and how many cells there are."""
    errors = _cell_errors(held_out, log_median)
    if not errors.size:
        return float(np.mean(np.abs(np.expm1(held_out.log_cost - log_median)) <= margin)), 0
    return float(np.mean(np.abs(np.expm1(-errors)) <= margin)), int(errors.size)


def median_error(held_out: HeldOut, log_median: Floats) -> float:
    """Median absolute relative error of single transfers."""
    return float(np.median(np.abs(np.expm1(log_median - held_out.log_cost))))


def coverage_by_slice(held_out: HeldOut, log_median: Floats, level: float) -> tuple[SliceCoverage, ...]:
    """How often intervals hold, overall and by slice: each fold judged by a calibration on the others."""
    error = held_out.log_cost - log_median
    inside = np.zeros(error.size, bool)
    for fold in np.unique(held_out.fold):
        mine = held_out.fold == fold
        others = ~mine if (~mine).any() else mine
        spread = fit_spread(held_out.rows.take(others), error[others])
        bounds = calibrate_thinned(error[others] / spread.spread(held_out.rows.take(others)), level).bounds()
        standardised = error[mine] / spread.spread(held_out.rows.take(mine))
        inside[mine] = (bounds[0] <= standardised) & (standardised <= bounds[1])
    found = [SliceCoverage("all", "all", float(inside.mean()), inside.size)]
    for columns in _SLICES[1:]:
        position, keys = sliced(held_out.rows, columns)
        counts, hits = np.bincount(position), np.bincount(position, inside)
        found += [
            SliceCoverage(" and ".join(columns), " ".join(key), float(hits[at] / counts[at]), int(counts[at]))
            for at, key in enumerate(keys)
        ]
    return tuple(found)
