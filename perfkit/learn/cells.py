"""Observations reduced to what the fit works on: one median per launch, round and size of every group."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from perfkit.config.curves import ANY, QUANTITIES, CodecEntry, CurveKey
from perfkit.learn.frames import Observations
from perfkit.schema import SERIALIZATION_FAMILY, ZERO_COPY_FAMILY

__all__ = ["Cells", "codec_entries", "collect_cells"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_MOST_ROUNDS = 64  # more rounds than this in a launch are merged into blocks of neighbours
_MOST_SIZES = 48  # more distinct sizes than this in a group are merged into bins of a quarter doubling
_CODEC_STAGES = ("encode", "encode_into", "decode")


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


def collect_cells(observations: Observations, stages: tuple[str, ...] = ("transport", *_CODEC_STAGES)) -> list[Cells]:
    """Reduce observations to cells, one `Cells` per stage, method, signalling, placement, load, codec and quantity.

    Args:
        observations: as read by `read_observations`.
        stages: stages to take; ``whole`` cells keep both their method and their codec.
    """
    group, keys = _groups(observations, stages)
    launches = _combine(observations.codes["run_id"], observations.numbers["launch"])
    rounds = _round_blocks(launches, observations.numbers["round"])
    collected = []
    for quantity in QUANTITIES:
        values = _quantity(observations, quantity)
        for index, rows in _rows_by_group(np.where(np.isnan(values), -1, group)):
            key = dataclasses.replace(keys[index], quantity=quantity)
            column = "wire_bytes" if key.stage == "transport" else "payload_bytes"
            sizes = _bins(observations.numbers[column][rows])
            collected.append(_cells(key, sizes, launches[rows], rounds[rows], np.log(np.maximum(values[rows], 1.0))))
    return sorted(collected, key=lambda cells: dataclasses.astuple(cells.key))


def codec_entries(observations: Observations) -> tuple[CodecEntry, ...]:
    """What each codec does to a payload: wire bytes over payload bytes, and whether it encodes into a block."""
    stage = np.array(observations.names["stage"])[observations.codes["stage"]]
    names = [np.array(observations.names[part])[observations.codes[part]] for part in ("kind", "format", "compression")]
    ratio = observations.numbers["wire_bytes"] / np.maximum(observations.numbers["payload_bytes"], 1.0)
    encoding = np.isin(stage, ("encode", "encode_into"))
    entries = []
    for kind, format_, compression in sorted(set(zip(*(part[encoding] for part in names), strict=True))):
        rows = encoding & (names[0] == kind) & (names[1] == format_) & (names[2] == compression)
        into_block = bool((stage[rows] == "encode_into").any())
        wire_ratio = float(np.median(ratio[rows]))
        entries.append(CodecEntry(str(kind), str(format_), str(compression), max(wire_ratio, 1e-6), into_block))
    return tuple(entries)


def _groups(observations: Observations, stages: tuple[str, ...]) -> tuple[Codes, list[CurveKey]]:
    """The group of every row (-1: none) and the key of every group."""
    columns = ("stage", "method", "signalling", "placement", "kind", "format", "compression")
    raw = np.stack(
        [*(observations.codes[column] for column in columns), observations.numbers["in_flight"].astype(np.int64)],
        axis=1,
    )
    distinct, inverse = np.unique(raw, axis=0, return_inverse=True)
    rows = [(*(observations.names[c][v] for c, v in zip(columns, row, strict=False)), int(row[-1])) for row in distinct]
    signallings: dict[str, set[str]] = {}
    for stage, method, signalling, *_ in rows:
        if stage == "transport":
            signallings.setdefault(method, set()).add(signalling)
    keys: list[CurveKey | None] = [_key(row, stages, signallings) for row in rows]
    unique = list(dict.fromkeys(key for key in keys if key is not None))
    position = np.array([-1 if key is None else unique.index(key) for key in keys], np.int64)
    return position[inverse.reshape(-1)], unique


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


def _combine(codes: Codes, numbers: Floats) -> Codes:
    return np.unique(np.stack([codes, numbers.astype(np.int64)]), axis=1, return_inverse=True)[1].reshape(-1)


def _round_blocks(launches: Codes, rounds: Floats) -> Codes:
    """Rounds counted from 0 within their launch, many rounds merged into blocks of neighbours."""
    blocks = np.empty(len(rounds), np.int64)
    for _, rows in _rows_by_group(launches):
        distinct, rank = np.unique(rounds[rows], return_inverse=True)
        blocks[rows] = rank * min(_MOST_ROUNDS, distinct.size) // distinct.size
    return blocks


def _rows_by_group(group: Codes) -> Iterator[tuple[int, Codes]]:
    order = np.argsort(group, kind="stable")
    values, starts = np.unique(group[order], return_index=True)
    for value, rows in zip(values, np.split(order, starts[1:]), strict=True):
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
