"""From a frame of rows to what each randomised unit did: fast, because everything else is small then.

Rows are never looked at one by one: labels become codes, rows of a unit are summed by `bincount`. An `Arm` holds what
one variant's units did on one metric, and is what every statistic of this package takes:

* `values` and `unit`: the rows, and for each the code of its unit, from 0 to `n_units` - 1 (for quantiles);
* `counts` and `sums`: of each unit, how many rows and what they add up to; `means` = sums / counts (for means, ratios,
  ranks; and for what adjusts unit means by a covariate);
* `covariate`: of each unit, the mean of the covariate's rows, where one was asked for.

A statistic is a function of two arms that gives an `Estimate` (`estimates.py`); fixed and sequential inference are
functions of that alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.tabular import to_arrow

__all__ = ["Arm", "Coded", "Columns", "arm", "code_labels", "numbers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DENSE = 4
"""Whole numbers that span at most this many times their count are coded by counting, others by hashing."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """What the units of one variant did on one metric; arrays of one element per row or per unit.

    Args:
        values: the rows, finite and not negative.
        unit: for each row the code of its unit, from 0 to `n_units` - 1; every unit has rows.
        counts: rows of each unit.
        sums: what the rows of each unit add up to.
        covariate: of each unit, the mean of its covariate; None without one.
    """

    values: Floats
    unit: Ints
    counts: Floats
    sums: Floats
    covariate: Floats | None = None

    @property
    def n_units(self) -> int:
        """Units."""
        return self.counts.size

    @property
    def n_rows(self) -> int:
        """Rows."""
        return self.values.size

    @functools.cached_property
    def means(self) -> Floats:
        """The mean of each unit's rows."""
        return self.sums / self.counts

    @functools.cached_property
    def ordered(self) -> Floats:
        """The rows from the smallest to the largest."""
        return np.sort(self.values)


def arm(values: Floats, unit: Ints, covariate: Floats | None = None) -> Arm:
    """An arm from rows.

    Args:
        values: the rows, finite and not negative.
        unit: for each row the code of its unit; codes need not be without gaps.
        covariate: one value per code; NaN where it is not known.

    >>> arm(np.array([1.0, 3.0, 5.0]), np.array([4, 4, 9])).means.tolist()
    [2.0, 5.0]
    """
    counts = np.bincount(unit)
    seen = np.flatnonzero(counts)
    codes = unit
    if seen.size < counts.size:
        places = np.zeros(counts.size, np.int64)
        places[seen] = np.arange(seen.size)
        codes = places[unit]
    sums: Floats = np.bincount(codes, weights=values, minlength=seen.size).astype(float, copy=False)
    of_units = None if covariate is None else covariate[seen]
    return Arm(values, codes, counts[seen].astype(float), sums, of_units)


@dataclasses.dataclass(frozen=True, slots=True)
class Coded:
    """A column of labels as whole numbers.

    Args:
        codes: for each row the position of its label; -1 where it has none.
        n_labels: how many labels there are.
        name: gives the label of a code.
    """

    codes: Ints
    n_labels: int
    name: Callable[[int], str]

    @property
    def names(self) -> list[str]:
        """All labels; only for columns with few."""
        return [self.name(code) for code in range(self.n_labels)]


class Columns:
    """Columns of any frame, each fetched once; NumPy arrays stay what they are."""

    def __init__(self, frame: Any) -> None:
        while hasattr(frame, "observations"):
            frame = frame.observations
        plain = isinstance(frame, Mapping) and all(isinstance(one, np.ndarray) for one in frame.values())
        self._columns: Any = frame if plain else to_arrow(frame)
        self.names: Sequence[str] = tuple(map(str, frame)) if plain else self._columns.column_names
        if plain and len({one.shape for one in frame.values()}) > 1:
            sizes = ", ".join(f"{name} {one.size}" for name, one in frame.items())
            raise InputError(f"the columns of the frame are not equally long ({sizes}); give one value per row to each")

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise UnknownNameError("column", name, self.names)
        return self._columns[name]


def code_labels(column: Any) -> Coded:
    """Labels of any type as whole numbers from 0 on; rows without a label get -1.

    >>> coded = code_labels(np.array(["B", "A", "B"]))
    >>> coded.codes.tolist(), coded.names
    ([1, 0, 1], ['A', 'B'])
    """
    if isinstance(column, np.ndarray):
        if column.dtype.kind in "iub":
            coded = _code_integers(column.view(np.uint8) if column.dtype.kind == "b" else column, str)
            if coded is not None:
                return coded
        elif column.dtype.kind == "U" and column.dtype.itemsize == 4:
            coded = _code_integers(np.ascontiguousarray(column).view(np.uint32), lambda code: chr(code) if code else "")
            if coded is not None:
                return coded
    return _code_any(column)


def _code_integers(column: npt.NDArray[Any], name: Callable[[int], str]) -> Coded | None:
    if not column.size:
        return Coded(np.zeros(0, np.int64), 0, str)
    low, high = int(column.min()), int(column.max())
    if high - low > _DENSE * column.size + 1024:
        return None
    offset = column.astype(np.int64) - low
    seen = np.flatnonzero(np.bincount(offset))
    if seen.size <= high - low:
        places = np.zeros(high - low + 1, np.int64)
        places[seen] = np.arange(seen.size)
        offset = places[offset]
    return Coded(offset, seen.size, lambda code: name(int(seen[code]) + low))


def _code_any(column: Any) -> Coded:
    array = pa.array(column, from_pandas=True) if isinstance(column, np.ndarray) else column
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    encoded = array if isinstance(array.type, pa.DictionaryType) else pc.dictionary_encode(array)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    indices = encoded.indices
    codes = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    labels = encoded.dictionary
    return Coded(codes, len(labels), lambda code: str(labels[code].as_py()))


def numbers(column: Any, name: str) -> Floats:
    """A column of numbers or truth values as floating point; missing ones are NaN.

    Raises:
        InputError: it holds something else.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return column.astype(float, copy=False)
    array = pa.array(column, from_pandas=True) if isinstance(column, np.ndarray) else column
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)):
        raise InputError(f"column {name!r} holds {array.type}, must hold numbers or truth values")
    return np.asarray(pc.cast(array, pa.float64()).to_numpy(), float)
