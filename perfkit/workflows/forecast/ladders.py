"""One ladder: from the lake, a file, a frame or a measurement, with which one was taken."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.errors import InputError, UnknownNameError
from perfkit.lake import Lake
from perfkit.stats.capacity.scalability import Scalability, scalability
from perfkit.tables import plural
from perfkit.units import format_bytes
from perfkit.workflows.forecast.reading import read_columns
from perfkit.workflows.ladder import ladder_of
from perfkit.workflows.ladder_result import LadderResult
from perfkit.workflows.runs import LADDER_PRESET, run_records

__all__ = ["Ladder", "ladder_from", "newest_ladder"]

_READABLE = ("complete", "budget", "interrupted")


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The law of one ladder.

    Args:
        law: fitted to it.
        method: transfer method; None where the source does not say.
        payload_bytes: size of each payload; likewise.
        notes: where it is from, and what else could have been taken.
        run_id: run of the lake that measured it; None of other sources.
    """

    law: Scalability
    method: str | None = None
    payload_bytes: int | None = None
    notes: tuple[str, ...] = ()
    run_id: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    concurrency: Any
    throughput: float
    method: str | None
    payload_bytes: int | None


def newest_ladder(lake: Lake, run: str | None, method: str | None, payload_bytes: int | None, seed: int) -> Ladder:
    """The newest ladder of a lake that was measured on a host like this one, else the newest of any.

    Raises:
        LakeError: the lake has none; the message says how to measure one.
    """
    here = collect_fingerprint()
    records = [one for one in run_records(lake) if one.preset == LADDER_PRESET and one.status in _READABLE]
    own = [one for one in records if not differences(json.loads(one.fingerprint), here)]
    taken = run or next((one.run_id for one in own), None)
    measured = ladder_of(lake, taken)
    why = "named" if run else "the newest of this host" if own else "the newest"
    notes = [f"ladder: run {measured.run_id} in lake {lake.path} ({why})"]
    if not run and not own:
        notes.append("! that ladder was measured on another host: measure one here with perfkit bench --ladder")
    if not run and len(own or records) > 1:
        notes[0] += f", one of {len(own or records)}; --run names another"
    chosen = _chosen(_rows_of(measured), method, payload_bytes, seed, tuple(notes))
    return dataclasses.replace(chosen, run_id=measured.run_id)


def ladder_from(source: Any, method: str | None, payload_bytes: int | None, seed: int) -> Ladder:
    """The ladder of a file, a frame, a measurement, or a law that is already fitted.

    Raises:
        InputError: the source cannot be read.
        UnknownNameError: it has no such method.
    """
    if isinstance(source, Scalability):
        return Ladder(source, method, payload_bytes)
    rows = _rows_of(source) if isinstance(source, LadderResult) else _read(source)
    return _chosen(rows, method, payload_bytes, seed, ())


def _rows_of(measured: LadderResult) -> list[_Row]:
    return [_Row(one.concurrency, one.throughput_per_s, one.method, one.payload_bytes) for one in measured.by_launch()]


def _read(source: Any) -> list[_Row]:
    columns = read_columns(source, ("concurrency", "throughput"), "the ladder", ("method", "payload_bytes"))
    n = len(columns["throughput"])
    numbers = [_number(value, "concurrency", row) for row, value in enumerate(columns["concurrency"], 1)]
    throughput = [_number(value, "throughput", row) for row, value in enumerate(columns["throughput"], 1)]
    methods = columns.get("method", [None] * n)
    sizes = [
        None if one in (None, "") else _number(one, "payload_bytes", row)
        for row, one in enumerate(columns.get("payload_bytes", [None] * n), 1)
    ]
    return [
        _Row(concurrency, per_s, str(name) if name else None, None if size is None else int(size))
        for concurrency, per_s, name, size in zip(numbers, throughput, methods, sizes, strict=True)
    ]


def _number(value: Any, name: str, row: int) -> float:
    text = value.strip() if isinstance(value, str) else value
    try:
        return float("nan") if text in (None, "") else float(text)
    except (TypeError, ValueError):
        raise InputError(f"the ladder: {name} of row {row} is {value!r}, no number") from None


def _chosen(
    rows: list[_Row], method: str | None, payload_bytes: int | None, seed: int, notes: tuple[str, ...]
) -> Ladder:
    """One of the ladders: what was asked for, else that of the highest throughput."""
    kinds = sorted({(one.method or "", one.payload_bytes or 0) for one in rows})
    methods = sorted({name for name, _ in kinds})
    if method is not None and methods != [""]:
        if method not in methods:
            raise UnknownNameError("method of the ladder", method, methods, "`perfkit bench --ladder` measures it.")
        kinds = [one for one in kinds if one[0] == method]
    sizes = sorted({size for _, size in kinds})
    if payload_bytes is not None and sizes != [0]:
        if payload_bytes not in sizes:
            allowed = ", ".join(map(format_bytes, sizes))
            raise InputError(f"no ladder was measured with {format_bytes(payload_bytes)}, only with {allowed}")
        kinds = [one for one in kinds if one[1] == payload_bytes]
    best = max(kinds, key=lambda kind: max(one.throughput for one in rows if _is_of(one, kind)))
    name, size = best
    if len(kinds) > 1:
        others = plural(len(kinds), "ladder")
        size_text = f" with {format_bytes(size)}" if size else ""
        notes = (
            *notes,
            f"of {others} that of {name}{size_text} was taken, which has the highest throughput; "
            "--method and --size name another",
        )
    elif name:
        notes = (*notes, f"ladder: {name}" + (f" with {format_bytes(size)}" if size else ""))
    own = [one for one in rows if _is_of(one, best)]
    law = scalability([one.concurrency for one in own], [one.throughput for one in own], seed=seed)
    return Ladder(law, name or method, size or payload_bytes, notes)


def _is_of(row: _Row, kind: tuple[str, int]) -> bool:
    return (row.method or "", row.payload_bytes or 0) == kind
