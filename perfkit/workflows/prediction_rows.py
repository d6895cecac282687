"""What a prediction is asked about: arguments or a frame, checked, as columns of equal length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import COMPRESSIONS, FORMATS, KINDS, PLACEMENTS, SIGNALLINGS
from perfkit.stats.tabular import to_arrow
from perfkit.units import parse_bytes
from perfkit.workflows.prediction import CONDITIONS

__all__ = ["Conditions", "conditions_of", "conditions_of_frame", "for_every_method", "is_frame"]

Conditions = Mapping[str, npt.NDArray[Any]]
"""Columns by name (`perfkit.workflows.prediction.CONDITIONS`); without ``method`` where every one is meant."""

_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "kind": KINDS,
    "format": FORMATS,
    "compression": COMPRESSIONS,
    "signalling": SIGNALLINGS,
    "placement": PLACEMENTS,
}
_RANGES = {
    "payload_bytes": (0.0, math.inf, False, "0 or more bytes, such as 65536 or '10MiB'"),
    "in_flight": (1.0, math.inf, False, "1 or more"),
    "available_bytes": (1.0, math.inf, True, "1 or more bytes, such as '2GiB', or nothing where it is as usual"),
    "hour": (0.0, 24.0, True, "an hour of the day in UTC, 0 to 24, or nothing"),
}
_SIZES = ("payload_bytes", "available_bytes")


def is_frame(value: Any) -> bool:
    """Whether a value is a frame, not sizes.

    >>> is_frame({"payload_bytes": [1024]}), is_frame([1024, 4096]), is_frame("1KiB")
    (True, False, False)
    """
    if isinstance(value, str | Path | int | float | np.ndarray | np.generic):
        return False
    return isinstance(value, Mapping) or not isinstance(value, Sequence)


def conditions_of(payload_bytes: Any, given: Mapping[str, Any]) -> Conditions:
    """Check arguments and give them one length.

    Raises:
        InputError: a figure is out of range, or the lengths differ.
        UnknownNameError: there is no such name.

    >>> asked = conditions_of(["1KiB", 4096], {"method": "uds", "hour": None})
    >>> asked["payload_bytes"].tolist(), asked["method"].tolist(), asked["hour"].tolist()
    ([1024.0, 4096.0], ['uds', 'uds'], [nan, nan])
    """
    columns = {name: _column(name, value) for name, value in {"payload_bytes": payload_bytes, **given}.items()}
    return _checked({name: column for name, column in columns.items() if column is not None})


def conditions_of_frame(frame: Any, given: Mapping[str, Any]) -> Conditions:
    """Check a frame; what it has no column of is as given.

    Raises:
        InputError: it is no frame, has no sizes or an unknown column, or a figure is out of range.
        UnknownNameError: there is no such name.
    """
    table = to_arrow(frame)
    for name in table.column_names:
        if name not in CONDITIONS:
            raise UnknownNameError("column of a batch", name, CONDITIONS)
    if "payload_bytes" not in table.column_names:
        raise InputError(f"the batch has no column payload_bytes, only {', '.join(table.column_names) or 'nothing'}")
    if not table.num_rows:
        raise InputError("the batch has no rows")
    read = {name: _with_default(name, table[name].to_pylist(), given.get(name)) for name in table.column_names}
    columns = {name: _column(name, value) for name, value in {**given, **read}.items()}
    return _checked({name: column for name, column in columns.items() if column is not None})


def _with_default(name: str, column: list[Any], default: Any) -> list[Any]:
    """A column whose empty text cells are as the argument says; numbers that are unknown stay so."""
    if name in _RANGES or None not in column:
        return column
    if isinstance(default, list) and len(default) == 1:
        (default,) = default
    if not isinstance(default, str):
        raise InputError(
            f"{name} is empty in row {column.index(None) + 1} of the batch; fill every row, or leave it out"
        )
    return [default if one is None else one for one in column]


def for_every_method(asked: Conditions, methods: Sequence[str]) -> Conditions:
    """Ask every question about every method: the methods of one question follow each other."""
    count = asked["payload_bytes"].size
    repeated = {name: np.repeat(column, len(methods)) for name, column in asked.items()}
    return {name: {**repeated, "method": np.tile(np.array(methods, np.str_), count)}[name] for name in CONDITIONS}


def _column(name: str, value: Any) -> npt.NDArray[Any] | None:
    """One argument as a flat array; None for a method that is not given."""
    if value is None:
        return None if name == "method" else np.array([math.nan])
    values = [value] if isinstance(value, str) or np.ndim(value) == 0 else list(value)
    if name in _RANGES:
        return np.array([_figure(name, one) for one in values], float)
    if not all(isinstance(one, str) for one in values):
        wrong = next(one for one in values if not isinstance(one, str))
        raise InputError(f"{name} == {wrong!r}, must be text" + (" in every row" if len(values) > 1 else ""))
    for one in sorted(set(values)):
        if name in _ALLOWED and one not in _ALLOWED[name]:
            raise UnknownNameError(name, one, _ALLOWED[name])
    return np.array(values, np.str_)


def _figure(name: str, value: Any) -> float:
    low, high, may_be_unknown, allowed = _RANGES[name]
    if value is None and may_be_unknown:
        return math.nan
    if isinstance(value, str) and name in _SIZES:
        value = parse_bytes(value)
    try:
        figure = math.nan if isinstance(value, bool | np.bool_) else float(value)
    except (TypeError, ValueError, OverflowError):
        figure = math.nan
    is_given_as_unknown = may_be_unknown and isinstance(value, float) and math.isnan(value)
    if not (low <= figure <= high and math.isfinite(figure)) and not is_given_as_unknown:
        raise InputError(f"{name} == {value!r}, must be {allowed}")
    return figure


def _checked(columns: dict[str, npt.NDArray[Any]]) -> Conditions:
    lengths = {name: column.size for name, column in columns.items() if column.size != 1}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        said = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(f"these are not one value or equally many ({said})")
    count = max(lengths.values(), default=1)
    return {name: np.broadcast_to(columns[name], (count,)) for name in CONDITIONS if name in columns}
