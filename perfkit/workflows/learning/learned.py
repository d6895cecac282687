"""Which rows of a lake a model has learned from: each once, however late it arrives."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from perfkit.errors import ModelError

if TYPE_CHECKING:
    import pyarrow

__all__ = ["DIGESTED", "FILE", "NUMBERED_BY", "Learned", "digests", "read_learned"]

FILE = "learned.json"
"""Lies beside a version's model."""
NUMBERED_BY = ("run_id", "producer", "epoch")
"""Rows that have these in common reach the lake in the order of their `producer_sequence`."""
_TEXTS = ("run_id", "method")
DIGESTED = (*_TEXTS, "observed_at", "launch", "round", "sequence", "in_flight", "payload_bytes", "latency_ns")
"""What tells rows without a producer apart."""
_FACTORS = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53))

Digests = npt.NDArray[np.uint64]
Key = tuple[str, str, int]


@dataclasses.dataclass(frozen=True)
class Learned:
    """What a model has learned from, and what it waits for.

    Not by time: rows that a service held back arrive with a time before others that were learned from already.

    Attributes:
        marks: by run, producer and epoch, the number of the last row.
        unnumbered: digests of rows that came through no journal, sorted.
        until: where nothing else is known, as of models of before: rows observed until then; None for none.
        shifted_at: when costs last moved; what was observed before is of another world. None if they never did.
        is_waiting: whether the model is to be trained anew.
        next_attempt: rows since the shift that the next attempt at that needs.
    """

    marks: Mapping[Key, int] = dataclasses.field(default_factory=dict)
    unnumbered: Digests = dataclasses.field(default_factory=lambda: np.empty(0, np.uint64))
    until: datetime.datetime | None = None
    shifted_at: datetime.datetime | None = None
    is_waiting: bool = False
    next_attempt: int = 0

    def holds(self, table: pyarrow.Table) -> npt.NDArray[np.bool_]:
        """Which rows of a table of transfers were learned from.

        >>> import pyarrow as pa
        >>> table = pa.table({"run_id": [""] * 3, "producer": ["slot-000"] * 3, "epoch": [1, 1, 2],
        ...                   "producer_sequence": [1, 2, 1]})
        >>> Learned({("", "slot-000", 1): 1}).holds(table).tolist()
        [True, False, False]
        """
        import polars as pl

        if self.until is not None:
            return np.asarray(_moments_us(table) <= self.until.timestamp() * 1e6)
        rows = pl.DataFrame(table.select([*NUMBERED_BY, "producer_sequence"]))
        rows = rows.with_columns(pl.col("run_id", "producer").cast(pl.String).fill_null(""))
        keys = list(self.marks)
        columns = {name: [key[at] for key in keys] for at, name in enumerate(NUMBERED_BY)}
        types = {"run_id": pl.String, "producer": pl.String, "epoch": pl.Int64, "mark": pl.Int64}
        marks = pl.DataFrame({**columns, "mark": list(self.marks.values())}, schema=types)
        joined = rows.join(marks, on=list(NUMBERED_BY), how="left", maintain_order="left")
        held = (joined["producer_sequence"] <= joined["mark"]).fill_null(False).to_numpy().copy()
        without = np.flatnonzero(rows["producer_sequence"].to_numpy() == 0)
        if without.size:
            held[without] = np.isin(digests(table.take(without)), self.unnumbered)
        return np.asarray(held)

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "marks": [[*key, number] for key, number in self.marks.items()],
            "unnumbered": base64.b64encode(self.unnumbered.astype("<u8").tobytes()).decode(),
            "until": _text(self.until),
            "shifted_at": _text(self.shifted_at),
            "is_waiting": self.is_waiting,
            "next_attempt": self.next_attempt,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Learned:
        """What `to_plain` made.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        return cls(
            {(str(run), str(producer), int(epoch)): int(mark) for run, producer, epoch, mark in plain["marks"]},
            np.frombuffer(base64.b64decode(plain["unnumbered"], validate=True), "<u8").astype(np.uint64),
            _moment(plain["until"]),
            _moment(plain["shifted_at"]),
            bool(plain["is_waiting"]),
            int(plain["next_attempt"]),
        )


def read_learned(folder: Path, last_observed_at: str | None) -> Learned:
    """What the model in a folder has learned from.

    Args:
        folder: of one version.
        last_observed_at: of the model's provenance: all that is known where a version of before has no such file.

    Raises:
        ModelError: the file is damaged.
    """
    path = folder / FILE
    try:
        return Learned.from_plain(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Learned(until=_until(last_observed_at, folder))
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", path=path) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"does not say what was learned from ({type(error).__name__})", path=path) from error


def digests(table: pyarrow.Table) -> Digests:
    """A number for each row of a table, from the columns `DIGESTED`; equal rows have equal ones, on every host."""
    mixed = np.zeros(table.num_rows, np.uint64)
    for name in DIGESTED:
        values = _texts(table[name]) if name in _TEXTS else _integers(table[name])
        mixed ^= values + np.uint64(0x9E3779B97F4A7C15)
        for factor in _FACTORS:
            mixed = (mixed ^ (mixed >> np.uint64(33))) * factor
    return np.asarray(mixed ^ (mixed >> np.uint64(33)))


def _texts(column: pyarrow.ChunkedArray) -> Digests:
    encoded = column.cast("string").combine_chunks().fill_null("").dictionary_encode()
    names = encoded.dictionary.to_pylist()
    values = [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") for name in names]
    return np.asarray(np.array(values, np.uint64)[encoded.indices.to_numpy()])


def _integers(column: pyarrow.ChunkedArray) -> Digests:
    return np.asarray(column.cast("int64").fill_null(-1).to_numpy()).astype(np.int64).view(np.uint64)


def _moments_us(table: pyarrow.Table) -> npt.NDArray[np.float64]:
    return np.asarray(table["observed_at"].cast("int64").cast("float64", safe=False).fill_null(np.nan).to_numpy())


def _until(text: str | None, folder: Path) -> datetime.datetime | None:
    try:
        moment = _moment(text)
    except ValueError as error:
        raise ModelError(f"last_observed_at == {text!r}, must be a moment in ISO 8601", path=folder) from error
    # It is written in whole seconds.
    return None if moment is None else moment + datetime.timedelta(seconds=1)


def _moment(text: str | None) -> datetime.datetime | None:
    if not text:
        return None
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _text(moment: datetime.datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
