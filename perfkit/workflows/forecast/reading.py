"""Two columns of a CSV file or a frame, read strictly."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError
from perfkit.stats.tabular import to_arrow

__all__ = ["read_columns", "read_pairs"]

_SEPARATORS = ",;\t"


def read_pairs(source: Any, names: tuple[str, str], what: str) -> tuple[list[Any], list[float]]:
    """Two columns of a file or a frame.

    Args:
        source: path of a CSV file with a header (separated by commas, semicolons or tabs; UTF-8, with or without a
            byte order mark), a dictionary of columns, or any frame.
        names: the columns; the second holds numbers.
        what: what the source is, for messages.

    Raises:
        InputError: there is no such file, it is no table, a column is missing, or a number cannot be read.

    >>> read_pairs({"time": ["2026-01-01"], "value": [3]}, ("time", "value"), "demand")
    (['2026-01-01'], [3.0])
    """
    columns = read_columns(source, names, what)
    return columns[names[0]], [_number(value, names[1], row, what) for row, value in enumerate(columns[names[1]], 1)]


def read_columns(
    source: Any, names: tuple[str, ...], what: str, optional: tuple[str, ...] = ()
) -> Mapping[str, list[Any]]:
    """Columns of a file or a frame, as they are.

    Args:
        source: as of `read_pairs`.
        names: columns that it has to have, in lower case; the source may write them otherwise.
        what: what the source is, for messages.
        optional: columns that are also taken where there are any.

    Raises:
        InputError: there is no such file, it is no table, has no rows, or a column is missing.

    >>> read_columns({"concurrency": [1], "method": ["uds"]}, ("concurrency",), "the ladder", ("method", "launch"))
    {'concurrency': [1], 'method': ['uds']}
    """
    columns = _of_file(Path(source), what) if isinstance(source, str | Path) else _of_frame(source, what)
    cleaned = {name.strip(): column for name, column in columns.items()}
    for name in (*names, *optional):
        alike = [one for one in cleaned if one.lower() == name]
        if name not in cleaned and len(alike) == 1:  # spreadsheets write Time, Value
            cleaned[name] = cleaned.pop(alike[0])
    missing = [name for name in names if name not in cleaned]
    if missing:
        columns_word = "column" if len(missing) == 1 else "columns"
        raise InputError(
            f"{what} lacks the {columns_word} {' and '.join(missing)}; it has {', '.join(cleaned) or 'none'}. "
            f"Give the columns {' and '.join(names)}"
        )
    if not cleaned[names[0]]:
        raise InputError(f"{what} has no rows; give a header and a row per measurement")
    return {name: cleaned[name] for name in (*names, *optional) if name in cleaned}


def _of_file(path: Path, what: str) -> Mapping[str, list[Any]]:
    if not path.is_file():
        raise InputError(f"{what}: {path} is no file; give a CSV file with a header")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{what}: {path} cannot be read as UTF-8 text ({error}); give a CSV file") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{what}: {path} is empty; give a CSV file with a header")
    separator = max(_SEPARATORS, key=lines[0].count)
    header, *rows = csv.reader(lines, delimiter=separator)
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"{what}: {path} has the column {twice[0]!r} {header.count(twice[0])} times; name each once")
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise InputError(f"{what}: row {number} of {path} has {len(row)} cells, the header {len(header)}")
    columns: dict[str, list[Any]] = {name: [row[at] for row in rows] for at, name in enumerate(header)}
    if separator == ";":  # where semicolons part cells, commas are decimal signs
        columns = {name: [cell.replace(",", ".") for cell in column] for name, column in columns.items()}
    return columns


def _of_frame(source: Any, what: str) -> Mapping[str, list[Any]]:
    try:
        table = to_arrow(source)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _number(value: Any, column: str, row: int, what: str) -> float:
    text = value.strip() if isinstance(value, str) else value
    if text is None or text == "":
        return float("nan")
    try:
        return float(text)
    except (TypeError, ValueError):
        raise InputError(f"{what}: {column} of row {row} is {value!r}, no number") from None
