"""Rows to a batch's body: a compact container of columns, made with the standard library alone.

A body is ``PKB1``, the CRC-32 of all that follows, the length of the header, the header (JSON: schema version, rows,
and for every column its name, type, encoding and where its buffers are), and the buffers, each from a multiple of eight
bytes on. Buffers are laid out as Arrow's are, so that a reader can take them without copying. A column is stored as

* ``constant``: one value, in the header;
* ``packed``: whole numbers of the narrowest width that holds them, fractions, or bits;
* ``dictionary``: up to 256 different texts in the header, one byte per row;
* ``text``: offsets and UTF-8.

Each but ``constant`` has a bitmap of the rows that are present when some are missing.
"""

from __future__ import annotations

import datetime
import itertools
import json
import struct
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from perfkit.errors import InputError, JournalError, UnknownNameError
from perfkit.journal.batches import EncodedBatch
from perfkit.schema import JOURNALLED_TABLES, PRODUCER_COLUMNS, SCHEMA_VERSION, TABLES, Column

__all__ = ["FIXED_PART", "MAGIC", "check_columns", "encode_batches"]

MAGIC = b"PKB1"
FIXED_PART = struct.Struct("<4sII4x")
"""Magic, checksum of all that follows it, length of the header."""
CHECKSUM_ENDS_AT = 8

_MAX_BATCH_ROWS = 65_536
_ALIGNMENT = 8
_MAX_DICTIONARY = 256
_WHOLE_NUMBERS = {"int32": "bhi", "int64": "bhiq"}
_NOT_OF_ITS_TYPE = (TypeError, OverflowError, ValueError)
"""What the standard library raises for a value that a column does not hold."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_PRODUCER_NAMES = frozenset(column.name for column in PRODUCER_COLUMNS)
_COLUMNS: Mapping[str, Mapping[str, Column]] = MappingProxyType(
    {
        table: MappingProxyType({c.name: c for c in TABLES[table] if c.name not in _PRODUCER_NAMES})
        for table in JOURNALLED_TABLES
    }
)
_ALLOWED = {
    "string": "text",
    "bool": "True or False",
    "int32": "whole numbers from -2^31 to 2^31 - 1",
    "int64": "whole numbers from -2^63 to 2^63 - 1",
    "float64": "numbers",
    "timestamp[us, tz=UTC]": "datetimes with a time zone, or whole microseconds since 1970 in UTC",
}


def check_columns(table: str, names: Sequence[str]) -> tuple[Column, ...]:
    """The columns of these names.

    Args:
        table: one of `perfkit.schema.JOURNALLED_TABLES`.
        names: columns that rows are given in; those with a default may be left out.

    Raises:
        UnknownNameError: there is no such table or column, or the drain writes it.
        InputError: a column is named twice, or one that every row needs is left out.
    """
    if table not in _COLUMNS:
        raise UnknownNameError("table", table, JOURNALLED_TABLES)
    known = _COLUMNS[table]
    for name in names:
        if name not in known:
            hint = "The drain writes it." if name in _PRODUCER_NAMES else ""
            raise UnknownNameError(f"column of {table}", name, known, hint)
    if len(set(names)) < len(names):
        raise InputError(f"columns of {table} are named twice: {', '.join(names)}; name each once")
    missing = [name for name, column in known.items() if column.required and name not in names]
    if missing:
        raise InputError(f"rows of {table} need {', '.join(missing)} too; got {', '.join(names) or 'no column'}")
    return tuple(known[name] for name in names)


def encode_batches(
    table: str, columns: Mapping[str, Any], *, pause: Callable[[], None] | None = None
) -> tuple[EncodedBatch, ...]:
    """Encode columns of rows, in bodies of at most 65 536 rows.

    Args:
        table: one of `perfkit.schema.JOURNALLED_TABLES`.
        columns: per column one value for all rows, or a sequence (or buffer, such as a NumPy array) with one per row.
        pause: called between columns, to let other threads have the interpreter.

    Returns:
        The bodies in the order of the rows; none when there is no row.

    Raises:
        InputError: see `check_columns`.
        JournalError: columns differ in length, or a value is not what its column holds.

    >>> (batch,) = encode_batches("events", {"name": ["published", "published"], "subject": "thresholds.toml"})
    >>> batch.rows
    2
    """
    checked = check_columns(table, tuple(columns))
    sequences = {c.name: _as_sequence(c, columns[c.name]) for c in checked}
    lengths = {name: len(values) for name, values in sequences.items() if values is not None}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise JournalError(f"columns of {table} differ in length ({found}); give one value per row, or one for all")
    rows = next(iter(lengths.values()), 1)
    return tuple(
        _encode_batch(table, checked, columns, sequences, slice(start, min(start + _MAX_BATCH_ROWS, rows)), pause)
        for start in range(0, rows, _MAX_BATCH_ROWS)
    )


def _encode_batch(
    table: str,
    checked: Sequence[Column],
    columns: Mapping[str, Any],
    sequences: Mapping[str, Sequence[Any] | None],
    part: slice,
    pause: Callable[[], None] | None,
) -> EncodedBatch:
    rows = part.stop - part.start
    described, buffers, offset = [], [], 0
    for column in checked:
        values = sequences[column.name]
        facts, pieces = _encode_column(column, [columns[column.name]] if values is None else values[part])
        places = {}
        for name, piece in pieces.items():
            places[name] = [offset, len(piece)]
            padding = -len(piece) % _ALIGNMENT
            buffers += [piece, bytes(padding)]
            offset += len(piece) + padding
        described.append({"name": column.name, "type": column.type, **facts, **places})
        if pause is not None and pieces:
            pause()
    header = json.dumps({"schema": SCHEMA_VERSION, "rows": rows, "columns": described}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    rest = b"".join((FIXED_PART.pack(MAGIC, 0, len(header))[CHECKSUM_ENDS_AT:], header, *buffers))
    return EncodedBatch(table, rows, MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest)


def _as_sequence(column: Column, values: Any) -> Sequence[Any] | None:
    """The values one by one; None when there is one for all rows."""
    if isinstance(values, list | tuple):
        return values
    if values is None or isinstance(values, str | bytes | int | float | datetime.datetime):
        return None
    try:
        view = memoryview(values)
    except TypeError:
        pass  # not a buffer: text, say, has its values one by one
    else:
        return None if view.ndim == 0 else _listed(column, view)
    if isinstance(values, Sequence):
        return list(values)
    raise JournalError(
        f"column {column.name} is a {type(values).__name__}, allowed are one value for all rows, a list, a tuple, or a "
        "buffer of numbers; nothing was appended"
    )


def _listed(column: Column, view: memoryview) -> list[Any]:
    if view.ndim != 1:
        raise JournalError(f"column {column.name} has {view.ndim} dimensions, must have one value per row")
    try:
        values: list[Any] = view.tolist()
    except NotImplementedError:
        raise JournalError(
            f"column {column.name} is a buffer of format {view.format!r}, allowed are numbers and truth values; "
            "give other values as a list"
        ) from None
    return values


def _encode_column(column: Column, values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    pieces: dict[str, bytes] = {}
    if column.default is None and None in values:
        if all(value is None for value in values):
            return {"encoding": "constant", "value": None}, {}
        pieces["validity"] = _bits([value is not None for value in values])
        filler = "" if column.type == "string" else 0
        values = [filler if value is None else value for value in values]
    try:
        facts, data = _encode_present(column.type, values)
    except _NOT_OF_ITS_TYPE:
        raise _first_refusal(column, values) from None
    if facts["encoding"] == "constant" and pieces:
        facts, data = _spelled_out(column.type, facts["value"], len(values))
    return facts, {**data, **pieces}


def _encode_present(type_name: str, values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    if type_name == "string":
        return _encode_text(values)
    if type_name == "bool":
        return _encode_truth(values)
    return _encode_numbers(type_name, values)


def _encode_numbers(type_name: str, values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    if type_name == "float64":
        packed: array[Any] = array("d", values)
    elif type_name in _WHOLE_NUMBERS:
        packed = _narrowest(_WHOLE_NUMBERS[type_name], values)
    else:
        packed = _timestamps(values)
    data = packed.tobytes()
    if data == data[: packed.itemsize] * len(packed):
        return {"encoding": "constant", "value": packed[0]}, {}
    return {"encoding": "packed", "format": packed.typecode}, {"data": data}


def _narrowest(formats: str, values: Sequence[Any]) -> array[int]:
    for typecode in formats[:-1]:
        try:
            return array(typecode, values)
        except OverflowError:
            continue
    return array(formats[-1], values)


def _timestamps(values: Sequence[Any]) -> array[int]:
    try:
        return array("q", values)
    except TypeError:
        return array("q", map(_microseconds, values))


def _microseconds(value: Any) -> int:
    if isinstance(value, int):
        return value
    if not isinstance(value, datetime.datetime):
        raise TypeError
    since = value - _EPOCH  # a TypeError without a time zone
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _encode_truth(values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    if set(map(type, values)) - {bool}:
        raise TypeError
    if all(values) or not any(values):
        return {"encoding": "constant", "value": values[0]}, {}
    return {"encoding": "packed", "format": "bits"}, {"data": _bits(values)}


def _bits(values: Sequence[Any]) -> bytes:
    """One bit per row, the first row in the lowest bit of the first byte."""
    digits = "".join(["1" if value else "0" for value in reversed(values)])
    return int(digits, 2).to_bytes((len(values) + 7) // 8, "little")


def _encode_text(values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    different = list(dict.fromkeys(values))
    if set(map(type, different)) != {str} and not all(isinstance(value, str) for value in different):
        raise TypeError
    if len(different) > min(_MAX_DICTIONARY, len(values) // 2 + 1):
        return _plain_text(values)
    "".join(different).encode()  # a lone surrogate must be refused here too, JSON would take it
    if len(different) == 1:
        return {"encoding": "constant", "value": different[0]}, {}
    codes = dict(zip(different, itertools.count(), strict=False))
    return {"encoding": "dictionary", "dictionary": different}, {"data": bytes(map(codes.__getitem__, values))}


def _plain_text(values: Sequence[str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    joined = "".join(values)
    lengths = map(len, values) if joined.isascii() else (len(value.encode()) for value in values)
    offsets = array("i", itertools.accumulate(lengths, initial=0))
    return {"encoding": "text"}, {"offsets": offsets.tobytes(), "data": joined.encode()}


def _spelled_out(type_name: str, value: Any, rows: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A constant beside missing values: its column needs a place per row."""
    if type_name == "string":
        return {"encoding": "dictionary", "dictionary": [value]}, {"data": bytes(rows)}
    if type_name == "bool":
        return {"encoding": "packed", "format": "bits"}, {"data": _bits([value] * rows)}
    packed = array("d" if type_name == "float64" else "q", [value]) * rows
    return {"encoding": "packed", "format": packed.typecode}, {"data": packed.tobytes()}


def _first_refusal(column: Column, values: Sequence[Any]) -> JournalError:
    for value in values:
        try:
            _encode_present(column.type, [value])
        except _NOT_OF_ITS_TYPE:
            return _refusal(column, value)
    return _refusal(column, values)


def _refusal(column: Column, value: Any) -> JournalError:
    nothing = ", or None" if column.default is None else ""
    return JournalError(
        f"column {column.name} == {value!r:.80} of type {type(value).__name__}, allowed are "
        f"{_ALLOWED[column.type]}{nothing}; nothing was appended"
    )
