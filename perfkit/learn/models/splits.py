"""Which rows a model may see while others judge it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.features import SERVICE, TransferRows

__all__ = ["folds_of", "recent_errors"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

_MOST_FOLDS = 4
_LATEST = 20
_SHRINK = 5


def folds_of(group: Integers) -> Integers:
    """A fold for each row, 0 to 3 at most: whole groups, dealt out so that folds are about equally large.

    Args:
        group: launch or block of time of each row.
    """
    _, group, counts = np.unique(group, return_inverse=True, return_counts=True)
    folds = min(_MOST_FOLDS, counts.size)
    filled, fold_of = np.zeros(folds, np.int64), np.zeros(counts.size, np.int64)
    for at in np.argsort(-counts, kind="stable"):
        fold_of[at] = int(np.argmin(filled))
        filled[fold_of[at]] += counts[at]
    return np.asarray(fold_of[group])


def recent_errors(rows: TransferRows, log_error: Floats) -> Floats:
    """How far the method's latest transfers were off, as known before each row: nothing later leaks into it.

    The mean of up to 20 errors of strictly earlier rows of the same method, drawn towards 0 while they are few; of
    traffic by time, of measurements within their launch.

    Args:
        rows: in order of time where their moments are unknown.
        log_error: log cost less log baseline; NaN where unknown.

    Returns:
        One logarithm per row; 0 where nothing came before.
    """
    known = np.isfinite(log_error)
    spread = 1.4826 * np.median(np.abs(log_error[known])) if known.any() else 0.0
    reach = 3 * max(float(spread), 0.05)
    clipped = np.clip(np.where(known, log_error, 0.0), -reach, reach)
    series, _ = rows.combined(("method", "source"))
    series = np.where(rows.is_called("source", SERVICE), series, series + (rows.group + 1) * (series.max() + 1))
    _, series = np.unique(series, return_inverse=True)
    moment = np.where(np.isfinite(rows.moment_us), rows.moment_us, 0.0)
    position = np.arange(len(rows), dtype=np.int64)
    order = np.lexsort((position, moment, series))
    sums = np.concatenate([[0.0], np.cumsum(clipped[order])])
    counts = np.concatenate([[0], np.cumsum(known[order])])
    ordered_series, ordered_moment = series[order], moment[order]
    start = np.searchsorted(ordered_series, ordered_series, "left")
    # Rows of the same moment do not know each other; rows without a moment are in the order of the frame.
    is_new = np.ones(len(rows), bool)
    if len(rows) > 1:
        same = (ordered_series[1:] == ordered_series[:-1]) & (ordered_moment[1:] == ordered_moment[:-1])
        is_new[1:] = ~(same & np.isfinite(rows.moment_us[order][1:]))
    end = np.maximum.accumulate(np.where(is_new, position, 0))
    begin = np.maximum(start, end - _LATEST)
    total, seen = sums[end] - sums[begin], counts[end] - counts[begin]
    recent = np.zeros(len(rows))
    recent[order] = total / (seen + _SHRINK)
    return recent
