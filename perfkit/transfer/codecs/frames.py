"""Data frames to Arrow tables and back: polars shares memory, pandas converts (and costs accordingly).

pandas and polars are used only when the payload already is theirs, or, on the receiving side, when they are installed.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pyarrow as pa

from perfkit.errors import CodecError

__all__ = ["SOURCES", "from_table", "to_table"]

SOURCES = ("table", "batch", "pandas", "polars")
"""What a frame was before it was a table. The position travels in the description: append only."""


def to_table(payload: Any) -> tuple[pa.Table, str]:
    """A frame as an Arrow table, and what it was: one of `SOURCES`.

    Raises:
        CodecError: no frame, or a pandas frame with columns that Arrow cannot hold.
    """
    if isinstance(payload, pa.Table):
        return payload, "table"
    if isinstance(payload, pa.RecordBatch):
        return pa.Table.from_batches([payload]), "batch"
    polars, pandas = sys.modules.get("polars"), sys.modules.get("pandas")
    if polars is not None and isinstance(payload, polars.DataFrame):
        if polars.Object in payload.dtypes:
            raise CodecError("polars columns of type Object hold references, not values; convert or drop them")
        return payload.to_arrow(compat_level=polars.CompatLevel.newest()), "polars"
    if pandas is not None and isinstance(payload, pandas.DataFrame):
        if payload.columns.nlevels == 1 and payload.columns.inferred_type.startswith("mixed"):
            raise CodecError("pandas columns with names of several types would come back as text; rename them to text")
        try:
            return pa.Table.from_pandas(payload), "pandas"
        except pa.ArrowException as error:
            raise CodecError(
                f"pandas frame cannot become an Arrow table ({error}); convert that column first"
            ) from None
    raise CodecError(
        f"{type(payload).__name__} is no dataframe payload; give an Arrow table or record batch, "
        "a pandas or a polars DataFrame"
    )


def from_table(table: pa.Table, source: str) -> Any:
    """The frame as what it was, where that library is installed; an Arrow table otherwise.

    Raises:
        CodecError: the table's values are not valid, or its notes for that library are not.
    """
    if source == "batch":
        batches = table.combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    if source not in ("pandas", "polars"):
        return table
    try:
        library = importlib.import_module(source)
    except ModuleNotFoundError:
        return table
    try:
        table.validate(full=True)  # converting reads the values, so they have to be sound
        return table.to_pandas() if source == "pandas" else library.from_arrow(table)
    except Exception as error:  # foreign code on notes that a peer wrote fails in its own ways
        raise CodecError(f"table cannot become a {source} frame: {error!r}") from error
