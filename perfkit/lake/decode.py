"""Batches of the journal as Arrow tables: buffers are taken as they lie in the body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perfkit.errors import LakeError
from perfkit.journal.reading import Batch, DecodedColumn, decode_body
from perfkit.lake.delta import conform
from perfkit.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow

__all__ = ["complete_rows", "to_arrow"]


def to_arrow(batch: Batch) -> pyarrow.Table:
    """The rows of a batch with the columns that were recorded, and who produced them.

    Columns that were left out get their default in `complete_rows`: once for many batches, which is much less work.

    Raises:
        JournalError: the body is damaged.
        LakeError: its columns are not those of the table, or their number of rows is not the batch's.
    """
    import numpy as np
    import pyarrow as pa

    known, schema = TABLES[batch.table], arrow_schema(batch.table)
    decoded = decode_body(batch.body)
    wrong = [name for name, column in decoded.items() if column.rows != batch.rows]
    wrong += [column.name for column in known if column.required and column.name not in decoded]
    if wrong:
        raise LakeError(f"columns {', '.join(wrong)} are missing, or do not have the {batch.rows} rows of their batch")
    arrays = {name: _array(column) for name, column in decoded.items()}
    last = batch.first_sequence + batch.rows
    arrays["producer"] = pa.repeat(batch.slot, batch.rows)
    arrays["epoch"] = pa.repeat(pa.scalar(batch.epoch, pa.int64()), batch.rows)
    arrays["producer_sequence"] = pa.array(np.arange(batch.first_sequence, last))
    given = tuple(column for column in known if column.name in arrays)
    return conform(pa.table(arrays), pa.schema([schema.field(column.name) for column in given]), given)


def complete_rows(name: str, batches: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """The rows of many batches in one table, with every column of theirs.

    Args:
        name: the table that the rows belong to.
        batches: results of `to_arrow`.
    """
    import pyarrow as pa

    alike: dict[tuple[str, ...], list[pa.Table]] = {}
    for batch in batches:
        alike.setdefault(tuple(batch.column_names), []).append(batch)
    # One chunk a column: deltalake is slow with a thousand small ones.
    joined = [pa.concat_tables(tables).combine_chunks() for tables in alike.values()]
    return pa.concat_tables(
        [arrow_schema(name).empty_table(), *(conform(table, arrow_schema(name), TABLES[name]) for table in joined)]
    )


def _array(column: DecodedColumn) -> pyarrow.Array:
    import pyarrow as pa

    stored = {"b": pa.int8(), "h": pa.int16(), "i": pa.int32(), "q": pa.int64(), "d": pa.float64(), "bits": pa.bool_()}
    is_timestamp = column.type.startswith("timestamp")
    if column.encoding == "constant":
        constant = pa.int64() if is_timestamp else pa.type_for_alias(column.type)
        return _as_timestamps(pa.repeat(pa.scalar(column.value, constant), column.rows), is_timestamp)
    validity = None if column.validity is None else pa.py_buffer(column.validity)
    data = pa.py_buffer(column.data)
    if column.encoding == "text":
        return pa.Array.from_buffers(pa.string(), column.rows, [validity, pa.py_buffer(column.offsets), data])
    if column.encoding == "dictionary":
        codes = pa.Array.from_buffers(pa.uint8(), column.rows, [validity, data])
        return pa.DictionaryArray.from_arrays(codes, pa.array(column.dictionary, pa.string())).dictionary_decode()
    numbers = pa.Array.from_buffers(stored[column.format], column.rows, [validity, data])
    return _as_timestamps(numbers, is_timestamp)


def _as_timestamps(numbers: pyarrow.Array, is_timestamp: bool) -> pyarrow.Array:
    import pyarrow as pa

    return numbers.cast(pa.int64()).cast(pa.timestamp("us", tz="UTC")) if is_timestamp else numbers
