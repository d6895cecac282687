"""What a cost model knows about a transfer before it happens, as columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import InputError
from perfkit.learn.frames import Observations, read_transfers

__all__ = ["BENCH", "NUMBERS", "SERVICE", "TARGETS", "TEXTS", "TransferRows", "read_rows", "rows_of"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.signedinteger[Any]]

TEXTS = ("method", "kind", "format", "compression", "signalling", "placement", "source")
NUMBERS = ("payload_bytes", "in_flight", "available_bytes", "hour", "recent")
TARGETS = ("latency_ns", "cpu_ns", "resident_bytes")
"""What a model predicts, in nanoseconds or bytes. Throughput follows by Little's law: in_flight * bytes / latency."""
SERVICE, BENCH = "service", "bench"
"""Sources: traffic, and everything that was measured."""
_MAY_BE_UNKNOWN = ("available_bytes", "hour")
_TRAFFIC_BLOCKS = 12
_HOUR_US = 3.6e9


@dataclasses.dataclass(frozen=True)
class TransferRows:
    """Transfers as columns: those of a frame, with what they cost, or some to be predicted.

    Attributes:
        names: by text column (one of `TEXTS`), the names that its codes stand for.
        codes: by text column, one index into its names per row.
        numbers: by number column (one of `NUMBERS`), floats: ``payload_bytes`` and ``in_flight``; ``available_bytes``
            and ``hour`` (0 to 24, UTC), NaN where unknown; ``recent``, by what factor the same method's latest
            transfers were off their usual cost, as a logarithm: 0 is as usual.
        group: launch or block of time of each row. Rows of a group share their luck, so a split never parts them.
        moment_us: when the transfer ended, in microseconds since 1970; NaN where unknown.
        is_transport: measured as a bare transport of raw bytes, not from encode to decode.
        targets: by target, what the transfer cost: ``latency_ns``, ``cpu_ns``, ``resident_bytes``; NaN where unknown.
            Empty for rows to be predicted.
        runs: names of the runs that measured the rows.
        launches: fresh processes that measured the rows.
        first_observed_at, last_observed_at: ISO 8601, UTC; None where unknown.
    """

    names: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, Integers]
    numbers: Mapping[str, Floats]
    group: Integers
    moment_us: Floats
    is_transport: npt.NDArray[np.bool_]
    targets: Mapping[str, Floats] = dataclasses.field(default_factory=dict)
    runs: tuple[str, ...] = ()
    launches: int = 0
    first_observed_at: str | None = None
    last_observed_at: str | None = None

    def __len__(self) -> int:
        return len(self.group)

    def take(self, index: Any) -> TransferRows:
        """Some of the rows: an array of positions, or of True and False."""
        return dataclasses.replace(
            self,
            codes={name: values[index] for name, values in self.codes.items()},
            numbers={name: values[index] for name, values in self.numbers.items()},
            group=self.group[index],
            moment_us=self.moment_us[index],
            is_transport=self.is_transport[index],
            targets={name: values[index] for name, values in self.targets.items()},
        )

    def with_numbers(self, **columns: Floats) -> TransferRows:
        """The same rows with some number columns replaced."""
        return dataclasses.replace(self, numbers={**self.numbers, **columns})

    def is_called(self, column: str, name: str) -> npt.NDArray[np.bool_]:
        """Which rows have this name in a text column."""
        names = self.names[column]
        if name not in names:
            return np.zeros(len(self), bool)
        return np.asarray(self.codes[column] == names.index(name))

    def combined(self, columns: tuple[str, ...]) -> tuple[Integers, list[tuple[str, ...]]]:
        """Combinations of text columns that occur: one position per row, and the combinations."""
        flat = np.zeros(len(self), np.int64)
        for column in columns:
            flat = flat * len(self.names[column]) + self.codes[column]
        found, position = np.unique(flat, return_inverse=True)
        shape = [len(self.names[column]) for column in columns]
        parts = np.unravel_index(found, shape)
        tuples = [
            tuple(self.names[column][int(part[at])] for column, part in zip(columns, parts, strict=True))
            for at in range(found.size)
        ]
        return position, tuples


def read_rows(frame: Any) -> TransferRows:
    """Read the transfers of a frame that a model learns from.

    Warm, successful, untouched requests count, measured (stage ``transport`` or ``whole``) or of services; those of a
    replay are held out. A transport of some wire bytes counts as a whole transfer of as many raw bytes.

    Args:
        frame: any frame with the columns of `perfkit.schema.TRANSFER_COLUMNS`; ``method``, ``payload_bytes`` and
            ``latency_ns`` are required. ``available_bytes``, the memory that was available, may be missing.

    Raises:
        FitError: it is no frame, a column is missing or of the wrong type, a figure is impossible, or nothing is left.

    >>> rows = read_rows({"method": ["uds", "uds"], "payload_bytes": [1024, 2048], "latency_ns": [9e3, 9.5e3]})
    >>> len(rows), rows.names["source"], rows.targets["latency_ns"].tolist()
    (2, ('bench',), [9000.0, 9500.0])
    """
    read = read_transfers(frame)
    is_transport = _is_called(read, "stage", "transport")
    is_service = _is_called(read, "source", SERVICE)
    names: dict[str, tuple[str, ...]] = {}
    codes: dict[str, Integers] = {}
    for column in ("method", "signalling", "placement"):
        names[column], codes[column] = read.names[column], read.codes[column]
    for column, raw in (("kind", "binary"), ("format", "raw"), ("compression", "none")):
        known = read.names[column]
        names[column] = known if raw in known else (*known, raw)
        codes[column] = np.where(is_transport, names[column].index(raw), read.codes[column])
    names["source"] = (BENCH, SERVICE) if is_service.any() else (BENCH,)
    codes["source"] = is_service.astype(np.int16)
    figures, moment_us = read.numbers, read.numbers["moment_us"]
    available = figures["available_bytes"]
    numbers = {
        "payload_bytes": np.where(is_transport, figures["wire_bytes"], figures["payload_bytes"]),
        "in_flight": np.maximum(figures["in_flight"], 1.0),
        "available_bytes": np.where(available > 0, available, np.nan),
        "hour": np.mod(moment_us / _HOUR_US, 24.0),
        "recent": np.zeros(len(read)),
    }
    targets = {
        "latency_ns": figures["latency_ns"],
        "cpu_ns": _known(figures["cpu_sender_ns"] + figures["cpu_receiver_ns"]),
        "resident_bytes": _known(figures["resident_bytes"]),
    }
    runs = tuple(name for name in read.names["run_id"] if name)
    group, launches = _groups(read, is_service, moment_us)
    between = read.first_observed_at, read.last_observed_at
    return TransferRows(names, codes, numbers, group, moment_us, is_transport, targets, runs, launches, *between)


def rows_of(
    payload_bytes: npt.ArrayLike,
    *,
    method: Any,
    kind: Any = "binary",
    format: Any = "raw",  # noqa: A002 - what the column is called
    compression: Any = "none",
    signalling: Any = "uds",
    placement: Any = "copied",
    source: Any = SERVICE,
    in_flight: npt.ArrayLike = 1,
    available_bytes: npt.ArrayLike = np.nan,
    hour: npt.ArrayLike = np.nan,
    recent: npt.ArrayLike = 0.0,
) -> TransferRows:
    """Transfers to be predicted. Every argument is one value or one per row.

    Args:
        payload_bytes: sizes before encoding, finite, 0 or more.
        method: transfer method.
        kind, format, compression, signalling, placement: as in a frame.
        source: ``service`` for traffic, ``bench`` for what a measurement would show.
        in_flight: sends under way at once, 1 or more.
        available_bytes: memory available, above 0; NaN where unknown.
        hour: hour of the day in UTC, 0 to 24; NaN where unknown.
        recent: logarithm of the factor by which the method's latest transfers were off their usual cost.

    Raises:
        InputError: a figure is out of range, or the arguments do not fit together.

    >>> rows = rows_of([1024, 4096], method="uds", in_flight=4)
    >>> len(rows), rows.numbers["in_flight"].tolist()
    (2, [4.0, 4.0])
    """
    texts = dict(zip(TEXTS, (method, kind, format, compression, signalling, placement, source), strict=True))
    figures = dict(zip(NUMBERS, (payload_bytes, in_flight, available_bytes, hour, recent), strict=True))
    try:
        columns = {name: np.asarray(values, float) for name, values in figures.items()}
        shape = np.broadcast_shapes((1,), *(np.shape(one) for one in (*columns.values(), *texts.values())))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"transfers cannot be read ({error}); give one value, or equally many, per argument"
        ) from error
    if len(shape) != 1:
        raise InputError(f"transfers have {len(shape)} dimensions; give one value, or one column, per argument")
    count = shape[0]
    numbers = {name: np.broadcast_to(values, count) for name, values in columns.items()}
    for name, lowest, highest in (("payload_bytes", 0, np.inf), ("in_flight", 1, np.inf), ("hour", 0, 24)):
        _check(numbers[name], name, lowest, highest)
    _check(numbers["available_bytes"], "available_bytes", 1, np.inf)
    _check(numbers["recent"], "recent", -np.inf, np.inf)
    names, codes = {}, {}
    for name, value in texts.items():
        names[name], codes[name] = _text_codes(value, name, count)
    unknown = np.full(count, np.nan)
    return TransferRows(names, codes, numbers, np.zeros(count, np.int64), unknown, np.zeros(count, bool))


def _text_codes(value: Any, name: str, count: int) -> tuple[tuple[str, ...], Integers]:
    if isinstance(value, str):
        return (value,), np.zeros(count, np.int16)
    values = np.broadcast_to(np.asarray(value), count)
    if values.dtype.kind not in "UO" or not all(isinstance(one, str) for one in values.tolist()):
        raise InputError(f"{name} == {value!r}, must be text, or a column of text")
    found, position = np.unique(values.astype(str), return_inverse=True)
    return tuple(found.tolist()), position.astype(np.int16)


def _check(values: Floats, name: str, lowest: float, highest: float) -> None:
    known = np.isfinite(values) | (np.isnan(values) if name in _MAY_BE_UNKNOWN else False)
    wrong = np.flatnonzero(~known | (values < lowest) | (values > highest))
    if wrong.size:
        upper = "" if np.isinf(highest) else f" and at most {highest:g}"
        at_least = "" if np.isinf(lowest) else f", at least {lowest:g}{upper}"
        raise InputError(f"{name} == {values[wrong[0]]}, must be finite{at_least}")


def _is_called(read: Observations, column: str, name: str) -> npt.NDArray[np.bool_]:
    names = read.names[column]
    if name not in names:
        return np.zeros(len(read), bool)
    return np.asarray(read.codes[column] == names.index(name))


def _known(values: Floats) -> Floats:
    return np.where(np.isfinite(values) & (values >= 0), values, np.nan)


def _groups(read: Observations, is_service: npt.NDArray[np.bool_], moment_us: Floats) -> tuple[Integers, int]:
    """Launches of runs, and how many; of traffic blocks of time; a lone launch is cut in time, too."""
    launch = read.numbers["launch"].astype(np.int64)
    key = read.codes["run_id"].astype(np.int64) * (launch.max(initial=0) + 1) + launch
    _, group = np.unique(np.where(is_service, -1, key), return_inverse=True)
    measured = np.unique(group[~is_service])
    in_time = is_service if measured.size != 1 else np.ones(len(read), bool)
    count = int(in_time.sum())
    if count:
        order = np.lexsort((np.arange(count), np.nan_to_num(moment_us[in_time])))
        block = np.empty(count, np.int64)
        block[order] = np.arange(count) * _TRAFFIC_BLOCKS // count
        # Traffic and a lone launch are cut apart: neither's blocks say anything about the other's.
        group = group.astype(np.int64)
        group[in_time] = group.max() + 1 + block + _TRAFFIC_BLOCKS * is_service[in_time]
    return np.asarray(np.unique(group, return_inverse=True)[1]), measured.size
