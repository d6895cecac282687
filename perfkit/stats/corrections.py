"""Allowance for how many comparisons are made at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["benjamini_hochberg", "holm"]

Floats = npt.NDArray[np.float64]


def holm(p_values: npt.ArrayLike) -> Floats:
    """P-values adjusted so that any wrong rejection among them is as rare as the level says, along the last axis.

    Args:
        p_values: from 0 to 1; NaN where nothing was tested, which counts for nothing and stays NaN.

    Source: Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6
    (1979).

    >>> holm([0.01, 0.04, 0.03, float("nan")]).round(6).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, axis=-1)  # NaN last
    ordered = np.take_along_axis(given, order, -1)
    tested = np.isfinite(given).sum(axis=-1, keepdims=True)
    stepped = np.maximum.accumulate(ordered * (tested - np.arange(given.shape[-1])), axis=-1)
    adjusted = np.empty_like(given)
    np.put_along_axis(adjusted, order, np.minimum(stepped, 1.0), -1)
    return adjusted


def benjamini_hochberg(p_values: npt.ArrayLike) -> Floats:
    """P-values adjusted so that of all rejections the expected share of wrong ones is at most the level.

    Args:
        p_values: from 0 to 1, along the last axis; independent or positively dependent, as metrics of the same
            transfers are. NaN where nothing was tested, which counts for nothing and stays NaN.

    Source: Benjamini and Hochberg, *Controlling the false discovery rate*, Journal of the Royal Statistical Society B
    57 (1995).

    >>> benjamini_hochberg([0.01, 0.04, 0.03, float("nan")]).round(6).tolist()
    [0.03, 0.04, 0.04, nan]
    """
    given = np.asarray(p_values, float)
    order = np.argsort(given, axis=-1)  # NaN last
    ordered = np.take_along_axis(given, order, -1)
    tested = np.isfinite(given).sum(axis=-1, keepdims=True)
    stepped = np.where(np.isnan(ordered), np.inf, ordered * tested / np.arange(1, given.shape[-1] + 1))
    lowest = np.minimum.accumulate(stepped[..., ::-1], axis=-1)[..., ::-1]
    adjusted = np.empty_like(given)
    np.put_along_axis(adjusted, order, np.where(np.isnan(ordered), np.nan, np.minimum(lowest, 1.0)), -1)
    return adjusted
