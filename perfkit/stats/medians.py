"""Medians: a smooth one, as robust as the median but less noisy for few values; and plain ones of many groups."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

__all__ = ["group_medians", "smooth_median"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]


def smooth_median(values: npt.ArrayLike, axis: int = -1) -> Floats:
    """Median as a weighted mean of all order statistics; the middle ones weigh most, the outermost next to nothing.

    Estimates the same median with less variance than the middle value does, and changes smoothly when values are
    resampled, which a bootstrap needs.

    Args:
        values: numbers; NaN counts as missing.
        axis: axis along which to reduce.

    Returns:
        The median along the axis; NaN where all values are missing.

    Source: Harrell and Davis, *A new distribution-free quantile estimator*, Biometrika 69 (1982).

    >>> round(float(smooth_median([1.0, 2.0, 3.0, 4.0, 5.0, np.nan])), 6)
    3.0
    >>> smooth_median([[1.0, np.nan], [3.0, np.nan]], axis=0).round(6)
    array([ 2., nan])
    """
    ordered = np.sort(np.moveaxis(np.asarray(values, float), axis, -1), axis=-1)  # NaN last
    length = ordered.shape[-1]
    counts = length - np.isnan(ordered).sum(axis=-1)
    if length and (counts == length).all():
        return np.asarray(ordered @ _weights(length), float)
    table = np.zeros((length + 1, length))
    for count in range(1, length + 1):
        table[count, :count] = _weights(count)
    medians = np.einsum("...i,...i->...", np.nan_to_num(ordered), table[counts])
    return np.asarray(np.where(counts == 0, np.nan, medians), float)


@functools.lru_cache(maxsize=512)
def _weights(count: int) -> Floats:
    shape = (count + 1) / 2
    weights = np.diff(betainc(shape, shape, np.linspace(0.0, 1.0, count + 1)))
    weights.setflags(write=False)
    return np.asarray(weights, float)


def group_medians(values: Floats, group: Integers) -> Floats:
    """The median of each group, all in one sort: a loop over thousands of groups takes a hundred times as long.

    Args:
        values: numbers; a group with NaN may get NaN.
        group: which group each value belongs to, 0 or more.

    Returns:
        A median for every number up to the largest group; NaN for numbers without values.

    >>> group_medians(np.array([5.0, 1.0, 2.0, 4.0]), np.array([0, 0, 0, 2]))
    array([ 2., nan,  4.])
    """
    if not values.size:
        return np.empty(0)
    counts = np.bincount(group)
    # Numbers of 16 bits are sorted by radix: three times as fast as sorting by both keys at once.
    narrow = group.astype(np.uint16) if counts.size <= 2**16 else group
    by_value = np.argsort(values)
    ordered = values[by_value[np.argsort(narrow[by_value], kind="stable")]]
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    lower, upper = first + (counts - 1) // 2, np.minimum(first + counts // 2, values.size - 1)
    return np.where(counts > 0, (ordered[lower] + ordered[upper]) / 2, np.nan)
