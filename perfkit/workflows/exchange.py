"""Take a run to another machine: export it into a file, import it there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from perfkit.config.fingerprint import collect_fingerprint, differences
from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake, RunRecord
from perfkit.lake.lock import hold_lake
from perfkit.lake.run_files import RunFile, read_run_file, run_file_format, write_run_file
from perfkit.lake.run_rows import insert_run
from perfkit.schema import arrow_schema
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes
from perfkit.workflows.events import record_event
from perfkit.workflows.fresh import open_drained_lake
from perfkit.workflows.run_lock import hold_run
from perfkit.workflows.runs import resolve_run, run_records

__all__ = ["ExportedRun", "ImportedRun", "export_run", "import_run"]

_WAIT_S = 30.0
_ORDER = ("observed_at", "launch", "round", "scenario", "sequence", "producer", "epoch", "producer_sequence")


@dataclasses.dataclass(frozen=True)
class ExportedRun:
    """A run that was written to a file."""

    run_id: str
    path: str
    observations: int
    file_bytes: int

    def to_table(self) -> ResultTable:
        """What was written, as one sentence."""
        sentence = f"Exported run {self.run_id}, {plural(self.observations, 'observation')}, to {self.path} "
        return ResultTable(f"{sentence}({format_bytes(self.file_bytes)})", (), ())

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        plain = dataclasses.asdict(self)
        return {"run": plain.pop("run_id"), **plain}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True)
class ImportedRun:
    """A run that was read from a file into a lake.

    Args:
        run_id: the run.
        lake: folder of the lake.
        observations: in the file.
        imported: False where the lake already had exactly this run.
        host_differences: where its host differs from this one, as sentences; empty when they are comparable.
        warnings: what did not work beside it.
    """

    run_id: str
    lake: str
    observations: int
    imported: bool
    host_differences: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def to_table(self) -> ResultTable:
        """What was done as one sentence, and where the host differs as notes."""
        title = (
            f"Imported run {self.run_id}, {plural(self.observations, 'observation')}, into {self.lake}"
            if self.imported
            else f"{self.lake} has run {self.run_id} already, exactly as in the file; nothing was changed"
        )
        hosts = (f"another host: {sentence}" for sentence in self.host_differences)
        return ResultTable(title, (), (), tuple(f"! {note}" for note in (*hosts, *self.warnings)))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        plain = dataclasses.asdict(self)
        return {"run": plain.pop("run_id"), **plain, "host_matches": not self.host_differences}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def export_run(run: str, to: str | Path, *, lake: str | Path = "data/lake") -> ExportedRun:
    """Write a run with its observations, its record and its fingerprint into one file.

    Args:
        run: as `perfkit.workflows.runs.resolve_run` takes it.
        to: the file, ending in ``.parquet``, ``.arrow``, ``.csv`` or ``.json``; it must not exist.
        lake: folder of the lake; what waits in its journal is drained before.

    Returns:
        What was written.

    Raises:
        InputError: no run, or more than one, is meant; the file exists, or its ending stands for no format; the run's
            observations are not in the lake any more.
        LakeError: the run is being measured, what waits in the journal cannot be drained, the lake has fewer
            observations than the run's record says, or it cannot be read.
        FileError: the file cannot be written; there is no half of it.
    """
    path = Path(to)
    run_file_format(path)
    opened, _ = open_drained_lake(lake)
    record = resolve_run(opened, run)
    if record.status == "running":
        with hold_run(opened.path, record.run_id) as is_held:
            if not is_held:
                raise LakeError(f"run {record.run_id} is being measured; export it when it has ended")
    rows = _origin(opened.observations_of(record.run_id), record.run_id)
    if record.observations and not rows.num_rows:
        raise InputError(
            f"the observations of run {record.run_id} are not in {lake} any more: retention removed them; "
            "`perfkit runs pin` keeps those of another run"
        )
    if rows.num_rows < record.observations:
        raise LakeError(
            f"run {record.run_id} has {record.observations} observations, {lake} has {rows.num_rows} of them; run "
            "`perfkit drain`: it names slots of the journal that cannot be read. Else retention removed the others"
        )
    write_run_file(path, RunFile(record, rows))
    return ExportedRun(record.run_id, str(path), rows.num_rows, path.stat().st_size)


def import_run(path: str | Path, *, lake: str | Path = "data/lake") -> ImportedRun:
    """Read a run that was exported, here or on another machine, into a lake.

    The run keeps its id and its fingerprint: fits, comparisons and `perfkit publish` know that it was measured
    elsewhere. What makes its rows unique - producer, epoch, sequence - is that of another journal: the run's id is put
    before the producer, so that it names no slot of this one. Interrupted, the same call does the rest.

    Args:
        path: the file that `export_run` wrote.
        lake: folder of the lake; made when it does not exist.

    Returns:
        What was done; importing the same file twice changes nothing.

    Raises:
        InputError: the file is not a whole run, a newer perfkit wrote it, or the lake has another run of that id.
        LakeError: the lake is in use or cannot be written to, or what waits in its journal cannot be drained.
    """
    file = read_run_file(Path(path))
    opened, _ = open_drained_lake(lake)
    run_id = file.record.run_id
    with hold_run(opened.path, run_id) as is_held, hold_lake(opened.path, "import a run", _WAIT_S):
        if not is_held:
            raise LakeError(f"run {run_id} is being measured or imported in {lake}; wait for its end")
        record, rows = _missing(opened, file)
        insert_run(opened, record, _here(rows, run_id))
    here = collect_fingerprint()
    result = ImportedRun(
        run_id=run_id,
        lake=str(lake),
        observations=file.observations.num_rows,
        imported=record is not None or rows.num_rows > 0,
        host_differences=differences(json.loads(file.record.fingerprint), here),
    )
    return dataclasses.replace(result, warnings=_tell(result, path)) if result.imported else result


def _missing(lake: Lake, file: RunFile) -> tuple[RunRecord | None, pa.Table]:
    """The record and the observations of a file that a lake lacks; refused where it has others."""
    run_id = file.record.run_id
    known = next((record for record in run_records(lake) if record.run_id == run_id), None)
    rows = _origin(lake.observations_of(run_id), run_id)
    if known not in (None, file.record) or (rows.num_rows and not _are_equal(rows, file.observations)):
        raise InputError(
            f"{lake.path} has a run {run_id} that differs from the one in the file; `perfkit runs show {run_id}` shows "
            f"it. Delete it first (`perfkit runs delete {run_id}`), or import into another lake"
        )
    return None if known else file.record, file.observations.slice(0, 0 if rows.num_rows else None)


def _are_equal(some: pa.Table, others: pa.Table) -> bool:
    """Whether two tables have the same rows, in whatever order."""
    by_all = [(name, "ascending") for name in some.column_names]
    return bool(some.sort_by(by_all).equals(others.select(some.column_names).sort_by(by_all)))


def _origin(rows: pa.Table, run_id: str) -> pa.Table:
    """The rows as their own machine had them, in the order in which they were measured."""
    plain = rows.cast(arrow_schema())
    producers = pc.replace_substring_regex(plain.column("producer"), f"^{run_id}/".replace(".", "[.]"), "")
    own = plain.set_column(plain.column_names.index("producer"), plain.schema.field("producer"), producers)
    return own.sort_by([(name, "ascending") for name in _ORDER])


def _here(rows: pa.Table, run_id: str) -> pa.Table:
    """The rows with a producer that cannot be a slot of the journal beside this lake."""
    producers = rows.column("producer")
    # Rows of before there were producers have an empty one, and keep it.
    foreign = pc.binary_join_element_wise(run_id, producers, "/")
    chosen = pc.if_else(pc.equal(producers, ""), producers, foreign)
    return rows.set_column(rows.column_names.index("producer"), rows.schema.field("producer"), chosen)


def _tell(result: ImportedRun, path: str | Path) -> tuple[str, ...]:
    message = f"Run {result.run_id} and its {plural(result.observations, 'observation')} were imported."
    details = {"run": result.run_id, "observations": result.observations, "file": Path(path).name}
    return record_event(result.lake, "run imported", subject=result.run_id, message=message, details=details)
