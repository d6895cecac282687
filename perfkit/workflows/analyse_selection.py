"""Which transfers of a lake are analysed: those of a run or of a period, and what to say where there are none."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from perfkit.errors import InputError, LakeError
from perfkit.lake import Lake
from perfkit.units import parse_duration
from perfkit.workflows.analyse_rows import COLUMNS, FITTED, MEASURED, read_rows
from perfkit.workflows.fresh import open_fresh_lake
from perfkit.workflows.runs import FINISHED, refuse_without_rows, resolve_run, run_records

if TYPE_CHECKING:
    import ibis

__all__ = ["Selection", "lake_of", "parse_moment", "read_measured", "read_selected", "select_run", "select_since"]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Some transfers of a lake, not read yet.

    Args:
        lake: where they are.
        transfers: the expression that selects them.
        run_id: their run; empty for what services recorded, and for a period.
        since: begin of their period; None for a run.
        subject: what to call them.
    """

    lake: Lake
    transfers: ibis.Table
    run_id: str
    since: datetime.datetime | None
    subject: str


def lake_of(source: Any) -> Lake | None:
    """The lake that a caller means, with what its journal holds when a path is given; None for a frame."""
    if isinstance(source, str | Path):
        return open_fresh_lake(source)
    return source if isinstance(source, Lake) else None


def select_run(lake: Lake, run: str | None) -> Selection:
    """The transfers of one run.

    Args:
        lake: where to read.
        run: the run, as `perfkit.workflows.runs.resolve_run` takes it; None takes the newest one that finished, or
            what services recorded where nothing was measured.

    Raises:
        UnknownNameError: the lake has no such run.
        InputError: several runs begin like that.
        LakeError: the lake cannot be read.
    """
    is_measured = any(record.status in FINISHED for record in run_records(lake))
    chosen = resolve_run(lake, run or "latest").run_id if run or is_measured else ""
    transfers = lake.transfers
    subject = f"run {chosen}" if chosen else "what services recorded"
    return Selection(lake, transfers.filter(transfers.run_id == chosen), chosen, None, subject)


def select_since(lake: Lake, since: str | datetime.datetime) -> Selection:
    """The transfers of a period, whoever produced them; replays, which are no traffic, are left out.

    Args:
        lake: where to read.
        since: how long ago, such as ``"24h"``, or a moment with its time zone, as ISO 8601 where it is text.

    Raises:
        InputError: the period cannot be read, or a moment has no time zone.
        LakeError: the lake cannot be read.
    """
    moment = parse_moment(since)
    transfers = lake.transfers
    wanted = transfers.filter((transfers.observed_at >= moment) & (transfers.source != "replay"))
    return Selection(lake, wanted, "", moment, f"what was recorded since {since}")


def parse_moment(since: str | datetime.datetime) -> datetime.datetime:
    """A moment as people write it.

    Args:
        since: how long ago, such as ``"24h"``, or a moment with its time zone, as ISO 8601 where it is text.

    Raises:
        InputError: it cannot be read, or has no time zone.

    >>> parse_moment("2026-11-21T08:00+00:00").hour
    8
    """
    try:
        moment = datetime.datetime.fromisoformat(since) if isinstance(since, str) else since
    except ValueError:
        ago = datetime.timedelta(microseconds=parse_duration(str(since)) / 1000)
        moment = datetime.datetime.now(datetime.UTC) - ago
    if moment.tzinfo is None:
        raise InputError(f"since == {str(since)!r}, has no time zone; write such as 2026-11-21T08:00+00:00, or 24h")
    return moment


def read_measured(selection: Selection) -> pa.Table:
    """What a fit of latencies takes of them: those that were measured.

    Read apart from all other rows, so that ten million need not be in memory twice.

    Raises:
        LakeError: the lake cannot be read.
    """
    transfers = selection.transfers
    return selection.lake.read(transfers.filter(transfers.source.isin(MEASURED)).select(FITTED))


def read_selected(selection: Selection) -> pl.DataFrame:
    """All of them, as `read_rows` gives them.

    Raises:
        LakeError: there are none, or the lake cannot be read.
    """
    transfers = selection.transfers
    rows = read_rows(selection.lake.read(transfers.select([name for name in COLUMNS if name in transfers.columns])))
    if rows.is_empty():
        _refuse_nothing(selection)
    return rows


def _refuse_nothing(selection: Selection) -> None:
    """Say why there is nothing to analyse, and what to do."""
    lake = selection.lake
    if selection.run_id:
        refuse_without_rows(lake, selection.run_id)
    transfers = lake.transfers
    newest = lake.read(transfers.aggregate(at=transfers.observed_at.max(), count=transfers.count())).to_pylist()[0]
    if not newest["count"]:
        raise LakeError(
            f"lake {lake.path} has no transfers to analyse: nothing was measured or recorded there yet. "
            "`perfkit bench` measures this machine; or name the folder of another lake"
        )
    if selection.since is None:
        raise LakeError(
            f"lake {lake.path} has no transfers to analyse but those of runs that did not finish; name one "
            "(`perfkit runs` lists them), or measure one to the end with `perfkit bench`"
        )
    last = f"the newest transfer is of {newest['at']:%Y-%m-%d %H:%M} UTC" if newest["at"] else "its rows have no time"
    raise LakeError(
        f"lake {lake.path} has no transfers to analyse since {selection.since:%Y-%m-%d %H:%M %Z}: {last}. Ask for a "
        "longer period, or name a run (`perfkit runs` lists them)"
    )
