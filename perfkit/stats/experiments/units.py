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
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from perfkit.errors import InputError, UnknownNameError
from perfkit.stats.tabular import to_arrow

__all__ = ["Arm", "Coded", "Columns", "arm", "code_labels", "numbers", "sparse_codes"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.signedinteger[Any]]

_DENSE = 4
"""Whole numbers that span at most this many times their count are codes already; others are hashed."""
_FEW = 100
"""Labels that fit into one byte."""
_CHARACTER = 4
"""Bytes of a character of NumPy's text."""
_MANY = 100_000
"""Rows of Arrow text from which on it is hashed."""
_CHUNK = 2**15
"""Rows that are hashed at a time, so that they stay in the cache."""


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
        codes: for each row the code of its label, from 0 to `n_labels` - 1; -1 where it has none.
        n_labels: how many labels there are (of sparse codes, room for them).
        name: gives the label of a code.
    """

    codes: Ints
    n_labels: int
    name: Callable[[int], str]

    @property
    def names(self) -> list[str]:
        """All labels; only for columns with few, and not for sparse codes."""
        return [self.name(code) for code in range(self.n_labels)]


class Columns:
    """Columns of any frame, each fetched once; NumPy arrays stay what they are."""

    def __init__(self, frame: Any) -> None:
        while hasattr(frame, "observations"):
            frame = frame.observations
        plain = isinstance(frame, Mapping) and all(isinstance(one, np.ndarray) for one in frame.values())
        self._columns: Any = frame if plain else to_arrow(frame)
        self.names: Sequence[str] = tuple(map(str, frame)) if plain else self._columns.column_names
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise InputError(f"the frame has several columns named {twice[0]!r}; give each its own name")
        if plain and (len({one.shape for one in frame.values()}) > 1 or any(one.ndim != 1 for one in frame.values())):
            sizes = ", ".join(f"{name} {one.size}" for name, one in frame.items())
            raise InputError(f"the columns of the frame are not equally long ({sizes}); give one value per row to each")

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise UnknownNameError("column", name, self.names)
        return self._columns[name]


def code_labels(column: Any) -> Coded:
    """Labels of any type as whole numbers from 0 on; rows without a label, or with an empty one, get -1.

    >>> coded = code_labels(np.array(["B", "A", "B"]))
    >>> coded.codes.tolist(), coded.names
    ([1, 0, 1], ['A', 'B'])
    """
    sparse = sparse_codes(column)
    labelled = sparse.codes[sparse.codes >= 0] if sparse.codes.size and sparse.codes.min() < 0 else sparse.codes
    seen = np.flatnonzero(np.bincount(labelled, minlength=sparse.n_labels))
    if seen.size == sparse.n_labels:
        return sparse
    places = np.full(sparse.n_labels + 1, -1)  # one more, where -1 finds -1
    places[seen] = np.arange(seen.size)
    return Coded(places[sparse.codes], seen.size, lambda code: sparse.name(int(seen[code])))


def sparse_codes(column: Any) -> Coded:
    """As `code_labels`, faster; not every code from 0 to `n_labels` - 1 need be taken."""
    if isinstance(column, np.ndarray):
        kind, size = column.dtype.kind, column.dtype.itemsize
        if kind == "b":
            return Coded(column.astype(np.int8), 2, lambda code: str(bool(code)))
        coded = None
        if kind in "iu":
            coded = _code_integers(column, str)
        elif kind == "U" and size == _CHARACTER:
            letters = np.ascontiguousarray(column).view(np.uint32)
            coded = _without_empty(_code_integers(letters, chr), letters)
        if coded is not None:
            return coded
        if kind == "U" and size > _CHARACTER:
            return _code_text(column)
    return _code_any(column)


def _code_integers(column: npt.NDArray[Any], name: Callable[[int], str]) -> Coded | None:
    """Codes of whole numbers that lie close together: their distance from the smallest."""
    if not column.size:
        return Coded(np.zeros(0, np.int64), 0, str)
    low, high = int(column.min()), int(column.max())
    room = high - low + 1
    if room > _DENSE * column.size + 1024:
        return None
    if low >= 0 and high <= _DENSE * column.size:
        low, room = (0, high + 1) if room > _FEW else (low, room)
    wide = column.astype(np.int64, copy=False) if column.dtype.kind == "i" else column  # narrow ones could overflow
    codes = wide - wide.dtype.type(low) if low else wide
    small = np.int8 if room <= _FEW else np.int64
    return Coded(codes.astype(small, copy=False), room, lambda code: name(int(code) + low))


def _without_empty(coded: Coded | None, first_letters: npt.NDArray[np.uint32]) -> Coded | None:
    """The codes with -1 where the text is empty: it names nothing."""
    if coded is None or not first_letters.size or first_letters.min() > 0:
        return coded
    return dataclasses.replace(coded, codes=np.where(first_letters == 0, -1, coded.codes))


def _code_text(column: npt.NDArray[np.str_]) -> Coded:
    """Codes of NumPy text by a hash of 64 bits: that two of a million labels share one has a chance of 1e-8."""
    hashes = np.empty(column.size, np.uint64)
    letters = np.ascontiguousarray(column).view(np.uint32).reshape(column.size, -1)
    for start in range(0, column.size, _CHUNK):
        part = letters[start : start + _CHUNK]
        mixed = np.full(part.shape[0], 0x9E3779B97F4A7C15, np.uint64)
        for place in range(part.shape[1]):
            mixed ^= part[:, place]
            mixed *= np.uint64(0xD6E8FEB86659FD93)
            mixed ^= mixed >> np.uint64(32)
        hashes[start : start + _CHUNK] = mixed
    coded = _code_any(hashes)
    named = Coded(coded.codes, coded.n_labels, lambda code: str(column[int(np.argmax(coded.codes == code))]))
    return _without_empty(named, letters[:, 0]) or named


def _code_any(column: Any) -> Coded:
    array = _as_arrow(column)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if len(array) >= _MANY and not array.null_count and _is_text(array.type):
        return _code_arrow_text(array)
    if isinstance(array.type, pa.DictionaryType) and _is_ambiguous(array.dictionary):
        array = array.cast(array.type.value_type)
    try:
        encoded = array if isinstance(array.type, pa.DictionaryType) else pc.dictionary_encode(array)
    except pa.ArrowException as error:
        raise InputError(f"a column of {array.type} cannot name units or variants; give it text or numbers") from error
    codes = encoded.indices.cast(pa.int64())  # those of categories are unsigned, and -1 is none
    labels = encoded.dictionary
    filled = (pc.fill_null(codes, -1) if codes.null_count else codes).to_numpy(zero_copy_only=False)
    empty = pc.index(labels, "").as_py() if _is_text(labels.type) else -1
    if empty >= 0:
        filled = np.where(filled == empty, -1, filled)
    return Coded(filled, len(labels), lambda code: str(labels[int(code)].as_py()))


def _is_ambiguous(labels: Any) -> bool:
    """Whether categories hold none, or one twice: their codes are not those of labels then."""
    return bool(labels.null_count or len(pc.unique(labels)) < len(labels))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _code_arrow_text(array: Any) -> Coded:
    """Codes of much Arrow text by a hash of 64 bits, in half the time of encoding it."""
    coded = _code_any(pl.Series(pl.from_arrow(array)).hash().to_numpy())
    lengths = pc.binary_length(array)
    codes = coded.codes
    if pc.min(lengths).as_py() == 0:
        codes = np.where(lengths.to_numpy() == 0, -1, codes)
    return Coded(codes, coded.n_labels, lambda code: str(array[int(np.argmax(codes == code))].as_py()))


def _as_arrow(column: Any) -> Any:
    if not isinstance(column, np.ndarray):
        return column
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"a column of the frame cannot be read ({error}); give it values of one type") from error


def numbers(column: Any, name: str) -> Floats:
    """A column of numbers or truth values as floating point; missing ones are NaN.

    Raises:
        InputError: it holds something else.
    """
    if isinstance(column, np.ma.MaskedArray) and column.dtype.kind in "fiub":
        return np.asarray(np.ma.filled(column.astype(float), np.nan), float)
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        return column.astype(float, copy=False)
    array = _as_arrow(column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    kinds = pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null
    if not any(one(array.type) for one in kinds):
        raise InputError(f"column {name!r} holds {array.type}, must hold numbers or truth values")
    return np.asarray(pc.cast(array, pa.float64(), safe=False).to_numpy(zero_copy_only=False), float)
