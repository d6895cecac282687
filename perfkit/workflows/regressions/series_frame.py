"""Series of a file or a frame: columns that somebody named, checked row by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from perfkit.errors import InputError
from perfkit.stats.tabular import to_arrow
from perfkit.tables import plural
from perfkit.workflows.regressions.series import Index, Series

__all__ = ["read_frame", "series_of_frame"]

_NAMED = 5
"""Rows that a warning names; the others it counts."""
_SECONDS_FROM = 1e6
"""Fractions from here on are seconds since 1970; smaller ones may be versions, whose order only the rows tell."""
_MISSING = ("", "nan", "na", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity")
"""How files write that there is no measurement, in small letters."""


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The columns that are judged, row by row of the source."""

    rows: pl.DataFrame
    index: str
    groups: tuple[str, ...]
    warnings: tuple[str, ...]


def read_frame(source: Any) -> pl.DataFrame:
    """A CSV or Parquet file, or any frame.

    Args:
        source: path of a ``.parquet`` file or of a CSV file with a header, or a frame.

    Raises:
        InputError: there is no such file, or it cannot be read as a table.
    """
    if not isinstance(source, str | Path):
        frame = pl.from_arrow(to_arrow(source))
        assert isinstance(frame, pl.DataFrame)  # a table never becomes a column
        return frame
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path} is no file; give a CSV file with a header, or a Parquet file")
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path, glob=False)
        # As text: a value that is no number is then found with its row, and an index is shown as it was written.
        return pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise InputError(f"{path} is empty; give a CSV file with a header and a row per measurement") from None
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as a table ({reason}); give a CSV file with a header") from error


def series_of_frame(frame: pl.DataFrame, *, index: str, value: str, groups: Sequence[str] = ()) -> list[Series]:
    """The series in a frame.

    Args:
        frame: a row per measurement.
        index: column that orders them: a number or time is sorted, other text is taken in the order of the rows.
        value: column of measurements. Rows without one, or with one that is not above 0, are left out with a warning.
        groups: columns whose values tell series apart.

    Returns:
        The series, in order of first appearance.

    Raises:
        InputError: a column is missing, a value is text, an index is missing, or nothing can be judged.

    >>> frame = pl.DataFrame({"build": [1, 2, 2], "ms": [10.0, 11.0, 12.0]})
    >>> [series.index for series in series_of_frame(frame, index="build", value="ms")]
    [[1, 2, 2]]
    """
    for name in (index, value, *groups):
        if name not in frame.columns:
            raise InputError(f"there is no column {name!r}; the columns are {', '.join(frame.columns) or 'none'}")
    if frame.is_empty():
        raise InputError("there are no rows; give at least one measurement, better twenty")
    values, warnings = _measurements(frame[value])
    shown, keys, order_warnings = _in_order(frame[index])
    rows = frame.select(list(dict.fromkeys((index, *groups)))).with_columns(
        shown, pl.Series("perfkit values", values), pl.Series("perfkit rows", np.arange(1, len(values) + 1)), keys
    )
    rows = rows.filter(pl.col("perfkit values").is_finite())
    if rows.is_empty():
        raise InputError(
            f"column {value!r} has no value above 0; a change is relative, so give durations, sizes or rates"
        )
    apart = tuple(dict.fromkeys(groups))
    columns = _Columns(rows.sort("perfkit order", maintain_order=True), index, apart, (*warnings, *order_warnings))
    return _divide(columns, value)


def _divide(columns: _Columns, value: str) -> list[Series]:
    if not columns.groups:
        return [_series(columns, columns.rows, value, {})]
    parts = columns.rows.partition_by(columns.groups, as_dict=True, maintain_order=True)
    attributes = [{name: str(given) for name, given in zip(columns.groups, key, strict=True)} for key in parts]
    names = [" ".join(one.values()) for one in attributes]
    if len(set(names)) < len(names):  # "a b" and "c", "a" and "b c"
        pairs = [zip(columns.groups, key, strict=True) for key in parts]
        names = [", ".join(f"{name}={given!r}" for name, given in one) for one in pairs]
    return [
        _series(columns, part, name, one) for part, name, one in zip(parts.values(), names, attributes, strict=True)
    ]


def _series(columns: _Columns, part: pl.DataFrame, name: str, attributes: dict[str, str]) -> Series:
    names = part[columns.index]
    if names.dtype.is_temporal():
        names = pl.Series([moment.isoformat() for moment in names.to_list()])
    shown: list[Index] = names.to_list()
    values, rows = part["perfkit values"].to_numpy(), part["perfkit rows"].to_numpy()
    return Series(name, values, shown, rows, attributes, columns.warnings)


def _measurements(given: pl.Series) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """The values as numbers, NaN where there is none that can be judged."""
    if given.dtype == pl.String:
        text = given.str.strip_chars()
        numbers = text.cast(pl.Float64, strict=False)
        is_text = numbers.is_null() & text.is_not_null() & ~text.str.to_lowercase().is_in(_MISSING)
        if is_text.any():
            row = int(is_text.arg_max() or 0)
            raise InputError(
                f"{given.name} of row {row + 1} is {given[row]!r}, no number; give a number or leave it empty"
            )
    elif given.dtype.is_numeric():
        numbers = given.cast(pl.Float64)
    else:
        raise InputError(f"column {given.name!r} holds {given.dtype}, must hold numbers")
    values = numbers.fill_null(np.nan).to_numpy().copy()
    bad = ~np.isfinite(values) | (values <= 0)
    if not bad.any():
        return values, ()
    values[bad] = np.nan
    return values, (
        f"left out, as {given.name} is missing, infinite, 0 or negative: {_rows(np.flatnonzero(bad) + 1)}.",
    )


def _rows(rows: npt.NDArray[np.int64]) -> str:
    """Rows by number, as far as anybody reads them.

    >>> _rows(np.array([3])), _rows(np.arange(1, 9))
    ('row 3', 'rows 1, 2, 3, 4, 5 and 3 more')
    """
    named = ", ".join(str(row) for row in rows[:_NAMED])
    more = f" and {rows.size - _NAMED} more" if rows.size > _NAMED else ""
    return f"row{'s' if rows.size > 1 else ''} {named}{more}"


def _in_order(given: pl.Series) -> tuple[pl.Series, pl.Series, tuple[str, ...]]:
    """The index as it is shown, what the rows are sorted by, and a warning where that changes their order."""
    if given.dtype.is_nested():
        raise InputError(f"column {given.name!r} holds {given.dtype}, must hold numbers, times or text")
    missing = given.is_null() | given.cast(pl.String).str.strip_chars().is_in(["", "NaN"])
    if missing.any():
        raise InputError(f"{given.name} of row {int(missing.arg_max() or 0) + 1} is missing; every row needs its index")
    shown, keys = _sortable(given)
    keys = keys.alias("perfkit order")
    back = int((keys.diff().cast(pl.Int64) < 0).sum()) if keys.dtype.is_temporal() else int((keys.diff() < 0).sum())
    if not back:
        return shown, keys, ()
    return shown, keys, (f"{given.name} goes back in {plural(back, 'place')}; the rows were sorted by it.",)


def _sortable(given: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The index as it is shown, and as what can be sorted.

    Whole numbers and times are sorted, seconds since 1970 too. Of other text nobody knows the order (versions, hashes):
    it is taken as it comes.
    """
    as_it_comes = pl.Series(np.arange(len(given)))
    if given.dtype.is_numeric() or given.dtype.is_temporal():
        return given, given
    text = given.cast(pl.String).str.strip_chars().alias(given.name)
    whole = text.cast(pl.Int64, strict=False)
    if not whole.is_null().any():
        return whole, whole
    numbers = text.cast(pl.Float64, strict=False)
    if not numbers.is_null().any() and numbers.min() >= _SECONDS_FROM:  # type: ignore[operator]  # numbers
        return text, numbers
    try:
        return text, text.str.to_datetime(time_unit="us")
    except pl.exceptions.PolarsError:
        return text, as_it_comes
