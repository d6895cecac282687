"""How far single transfers lie from their prediction: a spread per slice, and what share of intervals holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import polygamma

from perfkit.learn.models.features import TransferRows
from perfkit.stats.conformal import Calibration, calibrate
from perfkit.stats.medians import group_medians

__all__ = ["LEVELS", "SpreadTable", "calibrate_thinned", "fit_spread", "load_names", "size_names"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

LEVELS = (
    ("method", "signalling", "source"),
    ("method", "signalling", "source", "size"),
    ("method", "signalling", "source", "size", "kind", "format", "load"),
)
"""From coarse to fine: each refines the one before where there are rows enough."""
_QUANTILE = 0.8
_NOISE_OF_QUANTILE = 1.0
"""Variance of the logarithm of that quantile of n normal errors, times n: 0.8; somewhat more for outliers."""
_NORMAL_QUANTILE = 1.2816
_FEWEST_IN_GROUP = 8
_SMALLEST = 0.01
_MOST_ERRORS = 4000
_SIZE_EDGES = (4096.0, 65536.0, 2.0**20, 2.0**24)
_SIZE_NAMES = ("< 4KiB", "4KiB to 64KiB", "64KiB to 1MiB", "1MiB to 16MiB", ">= 16MiB")
_LOAD_EDGES = (2.0, 6.0)
_LOAD_NAMES = ("1 in flight", "2 to 5 in flight", ">= 6 in flight")


@dataclasses.dataclass(frozen=True)
class SpreadTable:
    """Spread of the log error by slice.

    Attributes:
        overall: where no slice is known.
        slices: by level of `LEVELS`, by names, the spread.
    """

    overall: float
    slices: tuple[Mapping[tuple[str, ...], float], ...]

    def spread(self, rows: TransferRows) -> Floats:
        """Spread of the log error of each row, above 0."""
        found = np.full(len(rows), self.overall)
        for columns, known in zip(LEVELS, self.slices, strict=True):
            position, keys = sliced(rows, columns)
            own = np.array([known.get(key, np.nan) for key in keys])[position]
            found = np.where(np.isnan(own), found, own)
        return found


def fit_spread(rows: TransferRows, log_error: Floats) -> SpreadTable:
    """The 80 % quantile of absolute errors per slice, from two parts: noise within groups, and the luck of groups.

    Noise is told by many rows and may differ from slice to slice; the luck that all rows of a launch (or block of time)
    share is told by few groups, so that slices learn it from each other. Both are drawn towards what is common as far
    as the data want it: slices that differ by no more than chance share one figure, as their own would be chance, too,
    and make some intervals too narrow.

    Args:
        rows: what was predicted.
        log_error: log cost less log median, of models that had not seen the rows.

    Source: Morris, *Parametric empirical Bayes inference*, JASA 78 (1983), with the variance between slices by moments.
    """
    position, keys = sliced(rows, LEVELS[0])
    offset, is_centred = _offsets(log_error, position, rows.group)
    noise = _noise_table(rows, np.abs(log_error - offset))
    luck = _luck(offset[is_centred], position[is_centred], rows.group[is_centred], len(keys))
    by_key = dict(zip(keys, luck.tolist(), strict=True))
    slices = tuple(
        {key: math.hypot(value, by_key[key[: len(LEVELS[0])]]) for key, value in level.items()}
        for level in noise.slices
    )
    return SpreadTable(math.hypot(noise.overall, float(np.sqrt(np.mean(luck**2)))), slices)


def _offsets(log_error: Floats, position: Integers, group: Integers) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """By how much the rows of a slice and group are off together, and where rows are enough to say so."""
    _, cell, counts = np.unique(position * (group.max() + 1) + group, return_inverse=True, return_counts=True)
    is_enough = counts[cell] >= _FEWEST_IN_GROUP
    return np.where(is_enough, group_medians(log_error, cell)[cell], 0.0), is_enough


def _luck(offset: Floats, position: Integers, group: Integers, count: int) -> Floats:
    """The 80 % quantile of what groups are off by, per slice: from mean squares, drawn together on the log scale."""
    if not offset.size:
        return np.zeros(count)
    cells, first = np.unique(position * (group.max() + 1) + group, return_index=True)
    slice_of = position[first]
    groups = np.bincount(slice_of, minlength=count)
    squares = np.bincount(slice_of, offset[first] ** 2, minlength=count)
    pooled = math.log(max(float(squares.sum()) / cells.size, 1e-8))
    own = np.log(np.maximum(squares / np.maximum(groups, 1), 1e-8))
    drawn = pooled + np.where(groups > 0, _drawn(own - pooled, polygamma(1, np.maximum(groups, 1) / 2)), 0.0)
    return np.asarray(_NORMAL_QUANTILE * np.exp(drawn / 2))


def _noise_table(rows: TransferRows, absolute: Floats) -> SpreadTable:
    overall = max(float(np.quantile(absolute, _QUANTILE)), _SMALLEST)
    table = SpreadTable(overall, ({}, {}, {}))
    for level, columns in enumerate(LEVELS):
        around = np.log(table.spread(rows))
        position, keys = sliced(rows, columns)
        order = np.argsort(position, kind="stable")
        counts = np.bincount(position, minlength=len(keys))
        starts = np.cumsum(counts) - counts
        own = np.log(
            [max(float(np.quantile(one, _QUANTILE)), _SMALLEST) for one in np.split(absolute[order], starts[1:])]
        )
        common = around[order[starts]]
        drawn = np.exp(common + _drawn(own - common, _NOISE_OF_QUANTILE / counts))
        slices = dict(zip(keys, drawn.tolist(), strict=True))
        table = SpreadTable(overall, (*table.slices[:level], slices, *table.slices[level + 1 :]))
    return table


def _drawn(differences: Floats, variances: Floats) -> Floats:
    """Differences from what is common, shrunk by the share of them that chance explains."""
    weights = 1 / variances
    between = max(float((weights * differences**2).sum() - differences.size) / float(weights.sum()), 0.0)
    return np.asarray(differences * between / (between + variances))


def calibrate_thinned(errors: Floats, level: float) -> Calibration:
    """`calibrate`, on at most 4000 quantiles of the errors: more tell the bounds hardly better, and fill the file."""
    if errors.size > _MOST_ERRORS:
        errors = np.quantile(errors, (np.arange(_MOST_ERRORS) + 0.5) / _MOST_ERRORS)
    return calibrate(errors, level)


def size_names(sizes: Floats) -> tuple[Integers, tuple[str, ...]]:
    """The size class of each row, and what the classes are called."""
    return np.searchsorted(_SIZE_EDGES, sizes, "right"), _SIZE_NAMES


def load_names(in_flight: Floats) -> tuple[Integers, tuple[str, ...]]:
    """The load class of each row, and what the classes are called."""
    return np.searchsorted(_LOAD_EDGES, in_flight, "right"), _LOAD_NAMES


def sliced(rows: TransferRows, columns: tuple[str, ...]) -> tuple[Integers, list[tuple[str, ...]]]:
    """Slices that occur: one position per row, and their names; ``size`` and ``load`` stand for classes."""
    names, codes = dict(rows.names), dict(rows.codes)
    codes["size"], names["size"] = size_names(rows.numbers["payload_bytes"])
    codes["load"], names["load"] = load_names(rows.numbers["in_flight"])
    return dataclasses.replace(rows, names=names, codes=codes).combined(columns)
