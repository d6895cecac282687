"""The rows of the lake's `runs` table: what a run was asked to do, where, and how it went."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING

from perfkit.errors import InputError, UnknownNameError
from perfkit.schema import arrow_schema

if TYPE_CHECKING:
    import pyarrow

__all__ = ["RUN_STATUSES", "RunRecord", "run_schema", "table_schema"]

RUN_STATUSES = ("running", "complete", "interrupted", "budget", "failed")
"""``budget``: the time budget ended the run before every interval was narrow enough."""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class RunRecord:
    """The state of a run at a moment. Rows are only ever appended; a run's latest row is its state.

    Args:
        run_id: the run that the observations name, not empty.
        status: one of `RUN_STATUSES`.
        recorded_at: when this row was written, with a time zone.
        preset: preset or scenario file that was measured.
        parameters: what the run was asked to do, as JSON text.
        fingerprint: the host, as JSON text.
        git_revision: revision of the code that measured; empty when unknown.
        seconds: time from start to `recorded_at`, 0 or more.
        launches: fresh pairs of processes until now.
        rounds: interleaved passes until now.
        observations: rows that were kept until now.
        warnings: stability warnings, as a JSON list of texts.

    Raises:
        UnknownNameError: `status` is none of `RUN_STATUSES`.
        InputError: `run_id` is empty, or `recorded_at` has no time zone.

    >>> RunRecord("01JD", "complete", preset="quick", launches=3).launches
    3
    >>> RunRecord("01JD", "done")
    Traceback (most recent call last):
    perfkit.errors.UnknownNameError: unknown run status 'done'; allowed: running, complete, interrupted, budget, failed.
    """

    run_id: str
    status: str
    recorded_at: datetime.datetime = dataclasses.field(default_factory=_now)
    preset: str = ""
    parameters: str = "{}"
    fingerprint: str = "{}"
    git_revision: str = ""
    seconds: float = 0.0
    launches: int = 0
    rounds: int = 0
    observations: int = 0
    warnings: str = "[]"

    def __post_init__(self) -> None:
        if not self.run_id:
            raise InputError("run_id is empty; give the id that the run's observations carry")
        if self.status not in RUN_STATUSES:
            raise UnknownNameError("run status", self.status, RUN_STATUSES)
        if self.recorded_at.tzinfo is None:
            raise InputError(f"recorded_at == {self.recorded_at} has no time zone; use datetime.now(datetime.UTC)")

    def to_plain(self) -> dict[str, object]:
        """The row as values that JSON can hold."""
        return {**dataclasses.asdict(self), "recorded_at": self.recorded_at.isoformat()}


def run_schema() -> pyarrow.Schema:
    """The Arrow schema of the `runs` table: the fields of `RunRecord`.

    >>> run_schema().field("recorded_at").type
    TimestampType(timestamp[us, tz=UTC])
    """
    import pyarrow as pa

    types = {
        "str": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "datetime.datetime": pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([pa.field(f.name, types[str(f.type)], nullable=False) for f in dataclasses.fields(RunRecord)])


def table_schema(name: str) -> pyarrow.Schema:
    """The Arrow schema of any table of the lake.

    >>> table_schema("runs").names[0], table_schema("rollups").names[0]
    ('run_id', 'minute')
    """
    return run_schema() if name == "runs" else arrow_schema(name)
