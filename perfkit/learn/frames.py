"""Any frame of observations, read into the columns that a fit needs."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from perfkit.errors import FitError, InputError
from perfkit.schema import TRANSFER_COLUMNS
from perfkit.stats.tabular import to_arrow

__all__ = ["Observations", "read_cold_observations", "read_observations", "read_transfers", "to_table"]

_TEXT = ("run_id", "stage", "method", "signalling", "placement", "temperature", "kind", "format", "compression")
_NUMBERS = ("launch", "round", "in_flight", "payload_bytes", "wire_bytes", "latency_ns")
_OPTIONAL_NUMBERS = ("cpu_sender_ns", "cpu_receiver_ns", "resident_bytes", "copied_bytes")
_TRANSFER_TEXT = (*_TEXT, "source")
_TRANSFER_NUMBERS = ("cpu_sender_ns", "cpu_receiver_ns", "resident_bytes", "available_bytes")
_DEFAULTS = {column.name: column.default for column in TRANSFER_COLUMNS}
_REQUIRED = tuple(column.name for column in TRANSFER_COLUMNS if column.required)


@dataclasses.dataclass(frozen=True)
class Observations:
    """Transfers that succeeded, as columns: text as codes into `names`, numbers as floats (NaN where unknown)."""

    names: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, npt.NDArray[np.signedinteger]]
    numbers: Mapping[str, npt.NDArray[np.float64]]
    first_observed_at: str | None
    last_observed_at: str | None

    def __len__(self) -> int:
        return len(self.numbers["latency_ns"])


def read_observations(source: Any) -> Observations:
    """Read the warm, successful, untouched transfers of a frame.

    Left out are those of a replay, which are held out, and of services the replies and what was timed whole, from
    encode to decode: that is traffic, with the waiting of its service, and no measurement.

    Args:
        source: a dictionary of arrays, an Arrow table, a pandas or polars frame, an Ibis table, a list of records, or
            anything with such a frame as `observations`. Columns as in `perfkit.schema.TRANSFER_COLUMNS`; only
            ``method``, ``payload_bytes`` and ``latency_ns`` are required, the others have the schema's defaults.

    Raises:
        FitError: it is no frame, a column is missing or of the wrong type, a figure is impossible, or nothing is left.
    """
    table = _checked_table(source)
    read = _read(table, "warm")
    if read is None:
        raise FitError(
            f"none of the {table.num_rows} observations is a warm, successful, untouched transfer (those of a "
            "replay are held out, traffic of services is no measurement); measure with `perfkit bench`, or hand over a "
            "frame that holds some"
        )
    return read


def read_transfers(source: Any) -> Observations:
    """Read the transfers of a frame, measured ones and traffic of services alike: what a cost model learns from.

    Only warm, successful, untouched requests count, of the stages ``transport`` and ``whole``. Beside the columns of
    `read_observations` there are ``source``, ``available_bytes`` and ``moment_us`` (when the transfer ended, in
    microseconds since 1970; NaN where unknown).

    Raises:
        FitError: as `read_observations` does.
    """
    table = _checked_table(source)
    keep = pc.and_(
        _usable(table, "warm", with_traffic=True),
        pc.or_(_equals(table, "stage", "transport"), _equals(table, "stage", "whole")),
    )
    count = pc.sum(keep).as_py() or 0
    if count == 0:
        raise FitError(
            f"none of the {table.num_rows} observations is a warm, successful, untouched request of stage transport or "
            "whole (those of a replay are held out); measure with `perfkit bench`, or hand over traffic of a service"
        )
    codes, names = {}, {}
    for column in _TRANSFER_TEXT:
        codes[column], names[column] = _codes(_kept(table, column, keep), column, count)
    numbers = {
        column: _numbers(_kept(table, column, keep), column, count) for column in (*_NUMBERS, *_TRANSFER_NUMBERS)
    }
    unknown = np.isnan(numbers["wire_bytes"])
    numbers["wire_bytes"] = np.where(unknown, numbers["payload_bytes"], numbers["wire_bytes"])
    for column in _NUMBERS:
        _check(numbers[column], column)
    moments = _kept(table, "observed_at", keep)
    numbers["moment_us"] = _moments(moments, count)
    return Observations(names, codes, numbers, *_observed_between(moments))


def _checked_table(source: Any) -> pa.Table:
    table = to_table(source)
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise FitError(
            f"the frame lacks {', '.join(missing)}; got {', '.join(table.column_names) or 'no columns'}. "
            "Rename or add the columns (see perfkit.schema.TRANSFER_COLUMNS)"
        )
    return table


def read_cold_observations(source: Any) -> Observations | None:
    """The cold transfers of a frame that `read_observations` can read; None where it holds none."""
    table = to_table(source)
    return _read(table, "cold") if "temperature" in table.column_names else None


def _read(table: pa.Table, temperature: str) -> Observations | None:
    keep = _usable(table, temperature)
    count = pc.sum(keep).as_py() or 0
    if count == 0:
        return None
    # Column by column: all that is usable at once would be another copy of the frame, which may fill the memory.
    codes, names = {}, {}
    for column in _TEXT:
        codes[column], names[column] = _codes(_kept(table, column, keep), column, count)
    numbers = {
        column: _numbers(_kept(table, column, keep), column, count) for column in (*_NUMBERS, *_OPTIONAL_NUMBERS)
    }
    unknown = np.isnan(numbers["wire_bytes"])
    numbers["wire_bytes"] = np.where(unknown, numbers["payload_bytes"], numbers["wire_bytes"])
    for column in _NUMBERS:
        _check(numbers[column], column)
    return Observations(names, codes, numbers, *_observed_between(_kept(table, "observed_at", keep)))


def to_table(source: Any) -> pa.Table:
    """A frame of any kind as an Arrow table. Raises `FitError` where it is no frame."""
    try:
        return to_arrow(source)
    except InputError as error:
        raise FitError(str(error)) from error


def _usable(table: Any, temperature: str, *, with_traffic: bool = False) -> Any:
    """Which rows of a temperature count, as an Arrow array; traffic of services counts where it is asked for."""
    keep: Any = pa.array(np.ones(table.num_rows, bool))
    for column, wanted in (("ok", True), ("touched", False)):
        if column in table.column_names:
            try:
                equal: Any = pc.equal(table[column], pa.scalar(wanted))
            except pa.ArrowException as error:
                raise FitError(
                    f"column {column} == {table[column].type}, cannot be compared with {wanted!r}"
                ) from error
            keep = pc.and_(keep, pc.fill_null(equal, False))
    keep = pc.and_(keep, _equals(table, "temperature", temperature))
    left_outs = [
        _equals(table, "source", "replay"),  # what a fit is proved on must not be what it was made from
        _equals(table, "direction", "reply"),
    ]
    if not with_traffic:
        left_outs.append(pc.and_(_equals(table, "source", "service"), _equals(table, "stage", "whole")))
    for left_out in left_outs:
        keep = pc.and_(keep, pc.invert(left_out))
    return keep


def _kept(table: Any, column: str, keep: Any) -> Any:
    """A column of the rows that count; None where the frame has no such column."""
    if column not in table.column_names:
        return None
    values = table[column]
    if values.type == pa.string_view():
        values = values.cast(pa.string())  # Arrow cannot filter string views (polars' text) yet
    return values.filter(keep)


def _equals(table: Any, column: str, value: str) -> Any:
    if column not in table.column_names:
        return pa.array(np.full(table.num_rows, _DEFAULTS[column] == value))
    text = table[column]
    if not pa.types.is_dictionary(text.type):
        return pc.fill_null(pc.equal(_cast(text, column, pa.string(), "text"), value), False)
    encoded = text.unify_dictionaries().combine_chunks()
    return pc.fill_null(pc.equal(encoded.indices, encoded.dictionary.cast(pa.string()).index(value)), False)


def _codes(values: Any, column: str, count: int) -> tuple[npt.NDArray[np.signedinteger], tuple[str, ...]]:
    """Text as codes in order of the names: the order of the rows decides nothing."""
    if values is None:
        return np.broadcast_to(np.int16(0), count), (_DEFAULTS[column],)
    if not pa.types.is_dictionary(values.type):
        values = pc.dictionary_encode(_cast(values, column, pa.string(), "text"))
    encoded = values.unify_dictionaries().combine_chunks()
    found = [*encoded.dictionary.cast(pa.string()).to_pylist(), ""]  # the last one is for rows without text
    names = sorted(set(found) if encoded.null_count else set(found[:-1]))
    position = {name: index for index, name in enumerate(names)}
    ranks = np.array([position.get(name, 0) for name in found], np.int16 if len(names) < 2**15 else np.int64)
    return ranks[encoded.indices.fill_null(len(found) - 1).to_numpy()], tuple(names)


def _numbers(values: Any, column: str, count: int) -> npt.NDArray[np.float64]:
    if values is None:
        default = _DEFAULTS.get(column)
        return np.broadcast_to(np.nan if default is None else float(default), count)
    return np.asarray(_cast(values, column, pa.float64(), "numbers").to_numpy(), float)


def _moments(values: Any, count: int) -> npt.NDArray[np.float64]:
    """Moments as microseconds since 1970; NaN where unknown."""
    if values is None or pa.types.is_null(values.type):
        return np.full(count, np.nan)
    moments = _cast(_cast(values, "observed_at", pa.timestamp("us", "UTC"), "moments"), "observed_at", pa.int64(), "")
    return np.asarray(moments.cast(pa.float64()).to_numpy(), float)


def _cast(values: Any, column: str, wanted: pa.DataType, what: str) -> Any:
    try:
        return values.cast(wanted, safe=False)
    except pa.ArrowException as error:
        raise FitError(f"column {column} is of type {values.type}; give {what}") from error


def _check(values: npt.NDArray[np.float64], column: str) -> None:
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if wrong.size:
        raise FitError(
            f"{column} holds {wrong.size} values that are negative, infinite or missing, such as {values[wrong[0]]}; "
            "repair or drop these observations, or mark failed transfers with ok = False"
        )


def _observed_between(moments: Any) -> tuple[str | None, str | None]:
    return (None, None) if moments is None else (_iso_text(pc.min(moments)), _iso_text(pc.max(moments)))


def _iso_text(moment: Any) -> str | None:
    value = moment.as_py()
    return value.isoformat() if isinstance(value, datetime.datetime) else value
