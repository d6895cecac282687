"""Rows of a file that anybody may have written: of an experiment, or to be predicted."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from perfkit.errors import InputError

__all__ = ["FILE_ENDINGS", "read_frame"]

FILE_ENDINGS = (".csv", ".tsv", ".parquet", ".arrow")
_SEPARATORS = ",;\t"


def read_frame(path: str | Path) -> pa.Table:
    """The rows of a file.

    Args:
        path: a CSV file with a line of headings, separated by commas, semicolons or tabs; or a Parquet or Arrow file.

    Raises:
        InputError: there is no such file, or it cannot be read as what its name says.
    """
    import polars as pl

    path = Path(path)
    if path.suffix.lower() not in FILE_ENDINGS:
        raise InputError(f"{path} ends with {path.suffix or 'nothing'}; name a file that ends with {_listed()}")
    if not path.is_file():
        raise InputError(f"there is no file {path}; name a file of rows that ends with {_listed()}")
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path).to_arrow()
        if path.suffix.lower() == ".arrow":
            return pl.read_ipc(path).to_arrow()
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            headings = file.readline()
        separator = max(_SEPARATORS, key=headings.count)
        return pl.read_csv(path, separator=separator, try_parse_dates=True, infer_schema_length=None).to_arrow()
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read: {reason}; check that it is what its name says") from error


def _listed() -> str:
    return f"{', '.join(FILE_ENDINGS[:-1])} or {FILE_ENDINGS[-1]}"
