"""What a lake knows of an experiment: the transfers of its sessions, and who was exposed to which variant."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from perfkit.errors import InputError, UnknownNameError
from perfkit.lake import Lake
from perfkit.schema import arrow_schema

if TYPE_CHECKING:
    import ibis

__all__ = ["DERIVED", "Recorded", "checked_column", "metric_columns", "plain_text", "read_recorded"]

DERIVED = {"failed": "1 where the transfer failed, 0 where it did not", "fell_back": "1 where a method was passed over"}
"""Metrics that are made of other columns."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What was recorded of an experiment.

    Args:
        rows: one per transfer: session, variant, observed_at, metrics and segments. A failed one has no duration.
        exposed: sessions that were met for the first time, by variant; empty where no decisions are kept.
        plan_versions: published versions that decided while it ran, ascending.
        since: first transfer; None without any.
        until: last transfer.
    """

    rows: pa.Table
    exposed: Mapping[str, int]
    plan_versions: tuple[int, ...] = ()
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None

    @property
    def days(self) -> float:
        """How long it ran, in days."""
        return 0.0 if self.since is None or self.until is None else (self.until - self.since).total_seconds() / 86_400


def read_recorded(lake: Lake, experiment: str, columns: Sequence[str]) -> Recorded:
    """Read what a lake knows of an experiment.

    Args:
        lake: where its transfers are kept.
        experiment: its name.
        columns: metrics and segments: columns of `perfkit.schema.TRANSFER_COLUMNS`, or of `DERIVED`.

    Raises:
        UnknownNameError: there is no such column.
        LakeError: the lake cannot be read.
    """
    transfers = lake.transfers
    rows = transfers.filter(transfers.experiment == experiment)
    chosen = metric_columns(rows, columns)
    kept = rows.select(
        session=rows.session,
        variant=rows.variant,
        observed_at=rows.observed_at,
        plan_version=rows.plan_version,
        **chosen,
    )
    found = plain_text(lake.read(kept.order_by("observed_at")))
    versions = sorted(set(found["plan_version"].unique().to_pylist()))
    times = found["observed_at"].drop_null()
    since, until = (times[0].as_py(), times[-1].as_py()) if len(times) else (None, None)
    return Recorded(found.drop_columns(["plan_version"]), _exposed(lake, experiment), tuple(versions), since, until)


def plain_text(rows: pa.Table) -> pa.Table:
    """Rows whose text is text: what statistics take, whatever a lake packs it into."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(number, field.name, rows[field.name].cast(field.type.value_type))
    return rows


def metric_columns(rows: ibis.Table, names: Sequence[str]) -> dict[str, ibis.Value]:
    """Metrics and segments as columns of transfers; how long a failure took says nothing of what a transfer takes.

    Raises:
        UnknownNameError: there is no such column.
    """
    import ibis

    made = {"failed": (~rows.ok).cast("int64"), "fell_back": (rows.fallback != "").cast("int64")}
    taken = [checked_column(name) for name in dict.fromkeys(names)]
    chosen = {name: made[name] if name in made else rows[name] for name in taken}
    return {
        name: ibis.ifelse(rows.ok, column, ibis.null()) if name.endswith("_ns") else column
        for name, column in chosen.items()
    }


def _exposed(lake: Lake, experiment: str) -> dict[str, int]:
    decisions = lake.decisions
    exposed = decisions.filter(decisions.experiment == experiment, decisions.reason == "exposure")
    counted = exposed.group_by("variant").aggregate(sessions=exposed.session.nunique())
    return {str(row["variant"]): int(row["sessions"]) for row in lake.read(counted.order_by("variant")).to_pylist()}


def checked_column(name: str) -> str:
    """The name of a metric or a segment, if transfers have such a column.

    Raises:
        UnknownNameError: they have not.
        InputError: it is a column that tells rows apart.
    """
    schema = arrow_schema()
    if name in DERIVED:
        return name
    if name not in schema.names:
        raise UnknownNameError(
            "column", name, [*schema.names, *DERIVED], "docs/reference/observation.md describes them."
        )
    if name in ("session", "variant", "experiment", "observed_at", "plan_version"):
        raise InputError(f"{name} tells rows apart and is neither a metric nor a segment; name another column")
    return name
