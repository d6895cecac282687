"""A run as one file - Parquet, Arrow, CSV or JSON - that says itself where it was measured.

Every format carries the same: the run's record with its fingerprint, the version of the columns, the number of rows,
and the observations. Reading gives back exactly what was written: nulls, empty texts, microseconds and whole numbers
beyond 2^53 included.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from perfkit.errors import FileError, InputError, LakeError, UnknownNameError
from perfkit.lake.checkpoints import sync_files
from perfkit.lake.delta import conform
from perfkit.lake.records import RunRecord
from perfkit.schema import SCHEMA_VERSION, TRANSFER_COLUMNS, arrow_schema

if TYPE_CHECKING:
    import pyarrow

__all__ = ["RUN_FILE_FORMATS", "RunFile", "read_run_file", "run_file_format", "write_run_file"]

_FORMAT = "perfkit.run"
_KEY = b"perfkit.run"
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclasses.dataclass(frozen=True)
class RunFile:
    """A run outside of a lake: its record, and its observations with the columns of the `transfers` table."""

    record: RunRecord
    observations: pyarrow.Table


def run_file_format(path: Path) -> str:
    """The format that the ending of a file's name stands for.

    Raises:
        UnknownNameError: there is no such format.

    >>> run_file_format(Path("run.PARQUET"))
    'parquet'
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in RUN_FILE_FORMATS:
        raise UnknownNameError("ending of a file", path.suffix, [f".{name}" for name in RUN_FILE_FORMATS])
    return ending


def write_run_file(path: Path, run: RunFile) -> None:
    """Write a run to a file that does not exist yet, whole or not at all; its ending chooses the format.

    Raises:
        UnknownNameError: the ending stands for no format.
        InputError: the file exists.
        FileError: it cannot be written; there is no half of it.
    """
    write, _ = RUN_FILE_FORMATS[run_file_format(path)]
    if path.exists():
        raise InputError(f"{path} exists and is left as it is; name another file, or remove it")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            write(file, run.observations, _envelope(run))
        sync_files([partial])
        partial.replace(path)
        sync_files([path])
    except OSError as error:
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}; check that its folder exists, its permissions and "
            "the free space"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it is in its place, or could not even be made
            partial.unlink()


def read_run_file(path: Path) -> RunFile:
    """Read a run from a file that `write_run_file` made, on whatever machine.

    Returns:
        The run; columns that an older perfkit did not have are filled with their defaults.

    Raises:
        UnknownNameError: the ending stands for no format.
        InputError: the file cannot be read, is not a whole run, or a newer perfkit wrote it.
    """
    import pyarrow as pa

    _, read = RUN_FILE_FORMATS[run_file_format(path)]
    try:
        with path.open("rb") as file:
            observations, text = read(file)
        envelope = json.loads(text)
        if envelope["format"] != _FORMAT:
            raise ValueError(f"format == {envelope['format']!r}, must be {_FORMAT!r}")
        _refuse_newer(path, int(envelope["schema_version"]))
        record = _record(envelope["run"])
        rows = conform(observations, arrow_schema(), TRANSFER_COLUMNS)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; name a file that you may read") from error
    except (pa.ArrowException, LakeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is not a run that `perfkit runs export` wrote: {what}. Export it again") from error
    _refuse_incomplete(path, record, rows, int(envelope["rows"]))
    return RunFile(record, rows)


def _envelope(run: RunFile) -> str:
    """What travels with the observations, as one line of JSON."""
    return json.dumps(
        {
            "format": _FORMAT,
            "schema_version": SCHEMA_VERSION,
            "rows": run.observations.num_rows,
            "run": run.record.to_plain(),
        }
    )


def _record(plain: Mapping[str, Any]) -> RunRecord:
    record = RunRecord(**{**plain, "recorded_at": datetime.datetime.fromisoformat(plain["recorded_at"])})
    if not _RUN_ID.fullmatch(record.run_id):  # it becomes part of the names of files
        raise ValueError(f"run_id == {record.run_id!r}, must be up to 200 letters, digits, dots, hyphens, underscores")
    for name, kind in (("parameters", dict), ("fingerprint", dict), ("warnings", list)):
        if not isinstance(json.loads(getattr(record, name)), kind):
            raise ValueError(
                f"{name} of the run == {getattr(record, name)!r}, must be the text of a JSON {kind.__name__}"
            )
    return record


def _refuse_newer(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, this perfkit knows up to {SCHEMA_VERSION}; import it with the "
            "perfkit that wrote it, or a newer one (pip install --upgrade perfkit)"
        )


def _refuse_incomplete(path: Path, record: RunRecord, rows: pyarrow.Table, expected: int) -> None:
    if rows.num_rows != expected:
        raise InputError(f"{path} holds {rows.num_rows} observations, {expected} were written; copy or export it again")
    others = set(rows.column("run_id").unique().to_pylist()) - {record.run_id}
    if others:
        raise InputError(
            f"{path} holds observations of {', '.join(sorted(others))}, must hold those of {record.run_id} only"
        )


# --- formats ---------------------------------------------------------------------------------------------------------


def _write_parquet(file: BinaryIO, rows: pyarrow.Table, envelope: str) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_carrying(rows, envelope), file, compression="zstd")


def _read_parquet(file: BinaryIO) -> tuple[pyarrow.Table, str]:
    import pyarrow.parquet as pq

    return _carried(pq.read_table(file))


def _write_arrow(file: BinaryIO, rows: pyarrow.Table, envelope: str) -> None:
    import pyarrow as pa

    carrying = _carrying(rows, envelope)
    with pa.ipc.new_file(file, carrying.schema) as writer:
        writer.write_table(carrying)


def _read_arrow(file: BinaryIO) -> tuple[pyarrow.Table, str]:
    import pyarrow as pa

    with pa.ipc.open_file(file) as reader:
        return _carried(reader.read_all())


def _carrying(rows: pyarrow.Table, envelope: str) -> pyarrow.Table:
    return rows.replace_schema_metadata({**(rows.schema.metadata or {}), _KEY: envelope.encode()})


def _carried(rows: pyarrow.Table) -> tuple[pyarrow.Table, str]:
    metadata = rows.schema.metadata or {}
    return rows.replace_schema_metadata(None), metadata[_KEY].decode()


def _write_csv(file: BinaryIO, rows: pyarrow.Table, envelope: str) -> None:
    from pyarrow import csv

    # In the first line, not in a file beside it: a fingerprint that can be lost on the way will be.
    file.write(f"# {envelope}\n".encode())
    csv.write_csv(rows, file, csv.WriteOptions(quoting_style="needed"))


def _read_csv(file: BinaryIO) -> tuple[pyarrow.Table, str]:
    from pyarrow import csv

    envelope = file.readline().decode()
    if not envelope.startswith("# {"):
        raise ValueError("its first line must say what it holds")
    schema = arrow_schema()
    rows = csv.read_csv(
        file,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        # An empty text is written with quotes, a null without.
        convert_options=csv.ConvertOptions(
            column_types={field.name: field.type for field in schema},
            null_values=[""],
            true_values=["true"],
            false_values=["false"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    return rows, envelope.removeprefix("# ")


def _write_json(file: BinaryIO, rows: pyarrow.Table, envelope: str) -> None:
    columns = {name: _plain(rows.column(name)) for name in rows.column_names}
    file.write(json.dumps({**json.loads(envelope), "transfers": columns}, ensure_ascii=False).encode())


def _read_json(file: BinaryIO) -> tuple[pyarrow.Table, str]:
    import pyarrow as pa

    envelope = json.load(file)
    columns, known = envelope.pop("transfers"), arrow_schema()
    arrays = {}
    for name, values in columns.items():
        kind = known.field(name).type if name in known.names else None
        is_time = kind is not None and pa.types.is_timestamp(kind)
        arrays[name] = pa.array(values, pa.string()).cast(kind) if is_time else pa.array(values, kind)
    return pa.table(arrays), json.dumps(envelope)


def _plain(column: pyarrow.ChunkedArray) -> list[Any]:
    """The values for JSON, times as ISO 8601; polars makes lists ten times as fast as Arrow."""
    import polars as pl
    import pyarrow as pa

    return pl.Series(column.cast(pa.string()) if pa.types.is_timestamp(column.type) else column).to_list()


_Write = Callable[[BinaryIO, "pyarrow.Table", str], None]
_Read = Callable[[BinaryIO], "tuple[pyarrow.Table, str]"]

RUN_FILE_FORMATS: Mapping[str, tuple[_Write, _Read]] = {
    "parquet": (_write_parquet, _read_parquet),
    "arrow": (_write_arrow, _read_arrow),
    "csv": (_write_csv, _read_csv),
    "json": (_write_json, _read_json),
}
"""How each format is written and read, by the ending of the file's name."""
