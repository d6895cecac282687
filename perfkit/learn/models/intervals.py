"""How far single transfers lie from their prediction: a spread per slice, and what share of intervals holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.learn.models.features import TransferRows
from perfkit.stats.conformal import Calibration, calibrate

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
_SHRINK = 100
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
    """The 80 % quantile of absolute errors per slice, each drawn towards that of the slice around it.

    Args:
        rows: what was predicted.
        log_error: log cost less log median, of models that had not seen the rows.
    """
    absolute = np.abs(log_error)
    overall = max(float(np.quantile(absolute, _QUANTILE)), _SMALLEST)
    table = SpreadTable(overall, ({}, {}, {}))
    for level, columns in enumerate(LEVELS):
        around = np.log(table.spread(rows))
        position, keys = sliced(rows, columns)
        order = np.argsort(position, kind="stable")
        counts = np.bincount(position, minlength=len(keys))
        slices = {}
        for key, members in zip(keys, np.split(order, np.cumsum(counts)[:-1]), strict=True):
            own = np.log(max(float(np.quantile(absolute[members], _QUANTILE)), _SMALLEST))
            weight = members.size / (members.size + _SHRINK)
            slices[key] = float(np.exp(weight * own + (1 - weight) * around[members[0]]))
        table = SpreadTable(overall, (*table.slices[:level], slices, *table.slices[level + 1 :]))
    return table


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
