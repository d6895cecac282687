"""A batch's body to columns, without copying where the reader can take buffers as they are."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import zlib
from typing import Any

from perfkit.errors import JournalError
from perfkit.journal.encoding import CHECKSUM_ENDS_AT, FIXED_PART, MAGIC

__all__ = ["DecodedColumn", "decode_body"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedColumn:
    """One column of a body. Buffers are views into the body, laid out as Arrow's.

    Args:
        name: name of the column.
        type: as `perfkit.schema.Column.type`: ``int64``, ``string`` …
        rows: number of rows.
        encoding: ``constant``, ``packed``, ``dictionary`` or ``text``.
        value: what every row has, for ``constant``; a timestamp is in microseconds since 1970 in UTC.
        format: for ``packed``: ``b``, ``h``, ``i``, ``q`` (whole numbers of 1, 2, 4, 8 bytes), ``d``, or ``bits``.
        dictionary: the texts that the codes stand for, for ``dictionary``.
        data: numbers, bits, codes of one byte, or UTF-8.
        offsets: for ``text``: begin of every row in `data` and the end of the last, 4 bytes each.
        validity: one bit per row, 0 where the value is missing; None when none is.
    """

    name: str
    type: str
    rows: int
    encoding: str
    value: Any = None
    format: str = ""
    dictionary: tuple[str, ...] = ()
    data: memoryview | None = None
    offsets: memoryview | None = None
    validity: memoryview | None = None

    def to_list(self) -> list[Any]:
        """The values as Python objects, timestamps as datetimes in UTC."""
        values = self._stored()
        if self.type.startswith("timestamp"):
            values = [None if value is None else _EPOCH + datetime.timedelta(microseconds=value) for value in values]
        if self.validity is None:
            return values
        present = _truths(self.validity, self.rows)
        return [value if there else None for value, there in zip(values, present, strict=True)]

    def _stored(self) -> list[Any]:
        if self.encoding == "constant" or self.data is None:
            return [self.value] * self.rows
        if self.encoding == "dictionary":
            return [self.dictionary[code] for code in self.data]
        if self.encoding == "text" and self.offsets is not None:
            ends = self.offsets.cast("i").tolist()
            text = bytes(self.data)
            return [text[begin:end].decode() for begin, end in itertools.pairwise(ends)]
        if self.format == "bits":
            return _truths(self.data, self.rows)
        return self.data.cast(self.format).tolist()  # type: ignore[call-overload, no-any-return]


def decode_body(body: bytes) -> dict[str, DecodedColumn]:
    """Read a body's columns, by name.

    Args:
        body: as `perfkit.journal.reading.SlotReader.batches` gives it.

    Raises:
        JournalError: the body is damaged: cut short, changed, or not a body.

    >>> from perfkit.journal.encoding import encode_batches
    >>> (batch,) = encode_batches("events", {"name": ["published", "rows lost"], "severity": "info"})
    >>> {name: column.to_list() for name, column in decode_body(batch.body).items()}
    {'name': ['published', 'rows lost'], 'severity': ['info', 'info']}
    """
    if body[: len(MAGIC)] != MAGIC or len(body) < FIXED_PART.size:
        raise JournalError(f"a body of {len(body)} bytes begins with {body[:4]!r}, must begin with {MAGIC!r}")
    _, checksum, header_bytes = FIXED_PART.unpack_from(body)
    view = memoryview(body)
    if (found := zlib.crc32(view[CHECKSUM_ENDS_AT:])) != checksum:
        raise JournalError(f"a body of {len(body)} bytes has checksum {found:08x}, was written with {checksum:08x}")
    begin = FIXED_PART.size + header_bytes
    header = json.loads(body[FIXED_PART.size : begin])
    buffers = view[begin:]
    return {facts["name"]: _column(facts, header["rows"], buffers) for facts in header["columns"]}


def _column(facts: dict[str, Any], rows: int, buffers: memoryview) -> DecodedColumn:
    def view(name: str) -> memoryview | None:
        if name not in facts:
            return None
        begin, length = facts[name]
        return buffers[begin : begin + length]

    return DecodedColumn(
        name=facts["name"],
        type=facts["type"],
        rows=rows,
        encoding=facts["encoding"],
        value=facts.get("value"),
        format=facts.get("format", ""),
        dictionary=tuple(facts.get("dictionary", ())),
        data=view("data"),
        offsets=view("offsets"),
        validity=view("validity"),
    )


def _truths(bits: memoryview, rows: int) -> list[bool]:
    digits = f"{int.from_bytes(bits, 'little'):0{rows}b}"
    return [digit == "1" for digit in reversed(digits)]
