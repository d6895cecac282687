"""Batches of the journal as one Arrow table: buffers are taken as they lie in the bodies, and joined once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from perfkit.errors import LakeError
from perfkit.journal.reading import Batch, DecodedColumn, decode_body
from perfkit.lake.delta import conform
from perfkit.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow

__all__ = ["DecodedBatch", "decode_batch", "to_arrow"]


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch whose columns are known to fit its table."""

    batch: Batch
    columns: Mapping[str, DecodedColumn]


def decode_batch(batch: Batch) -> DecodedBatch:
    """Check a batch before it is joined with others: one that does not fit must not hold up the rest.

    Raises:
        JournalError: the body is damaged.
        LakeError: its columns are not those of the table, or their number of rows is not the batch's.
    """
    columns = decode_body(batch.body)
    known = {column.name: column for column in TABLES[batch.table]}
    wrong = [name for name, column in columns.items() if name not in known or column.rows != batch.rows]
    wrong += [name for name in columns.keys() & known.keys() if columns[name].type != known[name].type]
    required = {name for name, column in known.items() if column.default is not None}
    wrong += [name for name in required & columns.keys() if _may_lack(columns[name])]
    wrong += [name for name, column in known.items() if column.required and name not in columns]
    if wrong:
        raise LakeError(
            f"columns {', '.join(wrong)} are unknown, missing, of another type, or have nulls or another number of "
            f"rows than the {batch.rows} of their batch"
        )
    return DecodedBatch(batch, columns)


def _may_lack(column: DecodedColumn) -> bool:
    return column.validity is not None or (column.encoding == "constant" and column.value is None)


def to_arrow(table: str, batches: Sequence[DecodedBatch]) -> pyarrow.Table:
    """The rows of many batches, with every column of their table and who produced them.

    Args:
        table: one of `perfkit.schema.JOURNALLED_TABLES`.
        batches: results of `decode_batch`.

    Returns:
        The rows in the order of the batches; those that were recorded with the same columns stand together.
    """
    import pyarrow as pa

    alike: dict[tuple[str, ...], list[DecodedBatch]] = {}
    for one in batches:
        alike.setdefault(tuple(one.columns), []).append(one)
    schema = arrow_schema(table)
    return pa.concat_tables([schema.empty_table(), *(_joined(table, names, group) for names, group in alike.items())])


def _joined(table: str, names: Sequence[str], batches: Sequence[DecodedBatch]) -> pyarrow.Table:
    """Rows of batches that have the same columns; what they left out gets its default."""
    import numpy as np
    import pyarrow as pa

    schema, taken = arrow_schema(table), [one.batch for one in batches]
    arrays = {name: _join([one.columns[name] for one in batches], schema.field(name).type) for name in names}
    arrays["producer"] = pa.concat_arrays([pa.repeat(batch.slot, batch.rows) for batch in taken])
    arrays["epoch"] = pa.concat_arrays([pa.repeat(pa.scalar(batch.epoch, pa.int64()), batch.rows) for batch in taken])
    numbers = [np.arange(batch.first_sequence, batch.first_sequence + batch.rows) for batch in taken]
    arrays["producer_sequence"] = pa.array(np.concatenate(numbers))
    return conform(pa.table(arrays), schema, TABLES[table])


def _join(columns: Sequence[DecodedColumn], as_type: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow as pa

    first = columns[0]
    if all(column.encoding == "constant" and column.value == first.value for column in columns):
        return _constant(first, sum(column.rows for column in columns), as_type)
    arrays = [_array(column, as_type) for column in columns]
    if any(array.type != arrays[0].type for array in arrays):  # each batch has the narrowest width that holds it
        arrays = [_cast(array, as_type) for array in arrays]
    return _cast(pa.concat_arrays(arrays), as_type)


def _array(column: DecodedColumn, as_type: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow as pa

    if column.encoding == "constant":
        return _constant(column, column.rows, as_type)
    validity = None if column.validity is None else pa.py_buffer(column.validity)
    data = pa.py_buffer(column.data)
    if column.encoding == "text":
        return pa.Array.from_buffers(pa.string(), column.rows, [validity, pa.py_buffer(column.offsets), data])
    if column.encoding == "dictionary":
        codes = pa.Array.from_buffers(pa.uint8(), column.rows, [validity, data])
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.dictionary, pa.string())).dictionary_decode()
    stored = {"b": pa.int8(), "h": pa.int16(), "i": pa.int32(), "q": pa.int64(), "d": pa.float64(), "bits": pa.bool_()}
    return pa.Array.from_buffers(stored[column.format], column.rows, [validity, data])


def _constant(column: DecodedColumn, rows: int, as_type: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow as pa

    stored = pa.int64() if pa.types.is_timestamp(as_type) else as_type
    return _cast(pa.repeat(pa.scalar(column.value, stored), rows), as_type)


def _cast(array: pyarrow.Array, as_type: pyarrow.DataType) -> pyarrow.Array:
    import pyarrow as pa

    if array.type == as_type:
        return array
    # Microseconds may be stored in 32 bits, which cannot become timestamps at once.
    return array.cast(pa.int64()).cast(as_type) if pa.types.is_timestamp(as_type) else array.cast(as_type)
