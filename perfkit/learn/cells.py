"""Observations reduced to what the fit works on: one median per launch, round and size of every group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import ANY, CodecEntry, CurveKey
from perfkit.learn.frames import Observations
from perfkit.schema import SERIALIZATION_FAMILY, ZERO_COPY_FAMILY

__all__ = ["Cells", "codec_entries", "collect_cells", "setup_cells"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.signedinteger]
_SHORT = np.int32  # of ten million rows there are several such columns at once

_MOST_ROUNDS = 64  # more rounds than this in a launch are merged into blocks of neighbours
_MOST_SIZES = 48  # more distinct sizes than this in a group are merged into bins of a quarter doubling
_FEW = 2**16  # numbers up to here are told apart by a table, without sorting
_CODEC_STAGES = ("encode", "encode_into", "decode")
_QUANTITIES = ("latency_ns", "cpu_ns", "resident_bytes", "copied_bytes")
_LEAST_SETUP = 0.01  # share of a cold transfer's latency that its setup takes at least; less is lost in the noise


@dataclasses.dataclass(frozen=True)
class Cells:
    """The evidence about one curve.

    Args:
        key: what the curve will predict.
        sizes: distinct sizes in bytes, ascending: wire bytes for a transport, payload bytes for a codec stage.
        log_medians: logarithm of the cell's median by launch, round and size; NaN where there is no cell.
        n: observations in all cells.
        n_by_size: observations at each size.
    """

    key: CurveKey
    sizes: Floats
    log_medians: Floats
    n: int
    n_by_size: tuple[int, ...]

    @property
    def launches(self) -> int:
        """Number of launches."""
        return int(self.log_medians.shape[0])


def collect_cells(
    observations: Observations,
    stages: tuple[str, ...] = ("transport", *_CODEC_STAGES),
    quantities: tuple[str, ...] = _QUANTITIES,
) -> list[Cells]:
    """Reduce observations to cells, one `Cells` per stage, method, signalling, placement, load, codec and quantity.

    Args:
        observations: as read by `read_observations`.
        stages: stages to take; ``whole`` cells keep both their method and their codec.
        quantities: quantities to take, of those that are a column or a sum of columns.
    """
    group, keys = _groups(observations, stages)
    launches = _distinct(observations.codes["run_id"], observations.numbers["launch"].astype(np.int64))[1]
    rounds = _round_blocks(launches, observations.numbers["round"])
    collected = []
    for quantity in quantities:
        values = _quantity(observations, quantity)
        for index, rows in _rows_by_group(np.where(np.isnan(values), -1, group)):
            key = dataclasses.replace(keys[index], quantity=quantity)
            column = "wire_bytes" if key.stage == "transport" else "payload_bytes"
            sizes = _bins(observations.numbers[column][rows])
            collected.append(_cells(key, sizes, launches[rows], rounds[rows], np.log(np.maximum(values[rows], 1.0))))
    return sorted(collected, key=lambda cells: dataclasses.astuple(cells.key))


def setup_cells(cold: Cells, warm_ns: Floats) -> Cells:
    """What first transfers take longer than later ones.

    Args:
        cold: latencies of transfers whose memory nobody had used yet.
        warm_ns: latency of a warm transfer at each of their sizes, in nanoseconds; of medians, so that it hardly adds
            to the noise of single cold transfers.
    """
    latency_ns = np.exp(cold.log_medians)
    setup_ns = np.maximum(latency_ns - warm_ns, _LEAST_SETUP * latency_ns)
    key = dataclasses.replace(cold.key, quantity="setup_ns")
    return dataclasses.replace(cold, key=key, log_medians=np.log(setup_ns))


def codec_entries(observations: Observations) -> tuple[CodecEntry, ...]:
    """What each codec does to a payload: wire bytes over payload bytes, and whether it encodes into a block."""
    stages = observations.names["stage"]
    encoding = np.isin(stages, ("encode", "encode_into"))[observations.codes["stage"]]
    parts = ("kind", "format", "compression")
    stage, *codecs = (observations.codes[part][encoding] for part in ("stage", *parts))
    ratio = observations.numbers["wire_bytes"][encoding] / np.maximum(
        observations.numbers["payload_bytes"][encoding], 1.0
    )
    distinct, codec = _distinct(*codecs)
    entries = []
    for index, rows in _rows_by_group(codec):
        kind, format_, compression = (observations.names[p][c] for p, c in zip(parts, distinct[index], strict=True))
        into_block = any(stages[code] == "encode_into" for code in np.unique(stage[rows]))
        entries.append(CodecEntry(kind, format_, compression, max(float(np.median(ratio[rows])), 1e-6), into_block))
    return tuple(entries)


def _groups(observations: Observations, stages: tuple[str, ...]) -> tuple[Codes, list[CurveKey]]:
    """The group of every row (-1: none) and the key of every group."""
    columns = ("stage", "method", "signalling", "placement", "kind", "format", "compression")
    load = observations.numbers["in_flight"].astype(np.int64)
    distinct, inverse = _distinct(*(observations.codes[column] for column in columns), load)
    rows = [(*(observations.names[c][v] for c, v in zip(columns, row, strict=False)), int(row[-1])) for row in distinct]
    signallings: dict[str, set[str]] = {}
    for stage, method, signalling, *_ in rows:
        if stage == "transport":
            signallings.setdefault(method, set()).add(signalling)
    keys: list[CurveKey | None] = [_key(row, stages, signallings) for row in rows]
    unique = list(dict.fromkeys(key for key in keys if key is not None))
    position = np.array([-1 if key is None else unique.index(key) for key in keys], _SHORT)
    return position[inverse], unique


def _key(row: tuple[str | int, ...], stages: tuple[str, ...], signallings: Mapping[str, set[str]]) -> CurveKey | None:
    stage, method, signalling, placement, kind, format_, compression = map(str, row[:-1])
    in_flight = int(row[-1])
    if stage not in stages:
        return None
    if stage in _CODEC_STAGES:
        return CurveKey(stage, "", kind=kind, format=format_, compression=compression) if in_flight == 1 else None
    if method in SERIALIZATION_FAMILY or (method not in ZERO_COPY_FAMILY and len(signallings.get(method, ())) == 1):
        signalling = ANY  # announcing blocks is no part of this method
    key = CurveKey(stage, "", method, signalling, placement, in_flight)
    return dataclasses.replace(key, kind=kind, format=format_, compression=compression) if stage == "whole" else key


def _quantity(observations: Observations, quantity: str) -> Floats:
    if quantity == "cpu_ns":
        return observations.numbers["cpu_sender_ns"] + observations.numbers["cpu_receiver_ns"]
    return observations.numbers[quantity]


def _distinct(*columns: Codes) -> tuple[Codes, Codes]:
    """The distinct rows of columns of whole numbers from 0, in ascending order, and the position of every row in them.

    As `numpy.unique` of all columns, without sorting the rows: of ten million that takes a minute.
    """
    distinct, position = np.zeros((1, 0), np.int64), np.zeros(columns[0].size, _SHORT)
    for column in columns:
        values, rank = _ranked(column)
        found, position = _ranked(position.astype(np.int64) * values.size + rank)
        distinct = np.column_stack([distinct[found // values.size], values[found % values.size]])
    return distinct, position


def _ranked(numbers: Codes) -> tuple[Codes, Codes]:
    """The distinct numbers, ascending, and the position of each one in them."""
    largest = int(numbers.max(initial=0))
    if largest > max(numbers.size, _FEW):
        return np.unique(numbers, return_inverse=True)
    is_there = np.zeros(largest + 1, bool)
    is_there[numbers] = True
    ranks: Codes = np.cumsum(is_there) - 1
    short: Codes = ranks.astype(_SHORT if ranks[-1] < 2**31 else np.int64)
    return np.flatnonzero(is_there), short[numbers]


def _round_blocks(launches: Codes, rounds: Floats) -> Codes:
    """Rounds counted from 0 within their launch, many rounds merged into blocks of neighbours."""
    blocks = np.empty(len(rounds), _SHORT)
    for _, rows in _rows_by_group(launches):
        distinct, rank = np.unique(rounds[rows], return_inverse=True)
        blocks[rows] = rank * min(_MOST_ROUNDS, distinct.size) // distinct.size
    return blocks


def _rows_by_group(group: Codes) -> Iterator[tuple[int, Codes]]:
    if group.max(initial=0) < 2**15:
        group = group.astype(np.int16)  # sorted by radix, twenty times as fast
    order = np.argsort(group, kind="stable")
    values, starts = np.unique(group[order], return_index=True)
    for value, rows in zip(values, np.split(order, starts)[1:], strict=True):
        if value >= 0:
            yield int(value), rows


def _bins(sizes: Floats) -> Floats:
    distinct = np.unique(sizes)
    if distinct.size <= _MOST_SIZES:
        return sizes
    bins = np.round(np.log2(np.maximum(sizes, 1.0)) * 4)
    binned = np.empty_like(sizes)
    for _, rows in _rows_by_group(bins.astype(np.int64)):
        binned[rows] = np.median(sizes[rows])
    return binned


def _cells(key: CurveKey, sizes: Floats, launches: Codes, rounds: Codes, log_values: Floats) -> Cells:
    distinct, size = np.unique(sizes, return_inverse=True)
    launch = np.unique(launches, return_inverse=True)[1]
    shape = (int(launch.max()) + 1, int(rounds.max()) + 1, distinct.size)
    cell = np.ravel_multi_index((launch, rounds, size), shape)
    order = np.lexsort((log_values, cell))
    present, starts, counts = np.unique(cell[order], return_index=True, return_counts=True)
    ordered = log_values[order]
    medians = np.full(shape, np.nan)
    middle = ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]
    medians.reshape(-1)[present] = middle / 2
    n_by_size = tuple(int(count) for count in np.bincount(size))
    return Cells(key, distinct, medians, len(log_values), n_by_size)
