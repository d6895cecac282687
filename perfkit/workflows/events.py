"""Tell the lake what happened: an event that goes through the journal like every other row; and read what was told."""

from __future__ import annotations

import dataclasses
import datetime
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import InputError, JournalError, UnknownNameError
from perfkit.journal import open_journal
from perfkit.lake import Lake, drain, journal_folder
from perfkit.tables import ResultTable
from perfkit.workflows.fresh import open_fresh_lake

__all__ = ["SEVERITIES", "Event", "EventList", "add_event", "list_events", "read_events", "record_event"]

SEVERITIES = ("info", "warning", "error")
_WIDTH = 78


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What happened once.

    Args:
        occurred_at: when, with its time zone.
        name: what happened, such as ``published``, ``deployed``.
        subject: what it happened to.
        message: one sentence for people.
        severity: one of `SEVERITIES`.
    """

    occurred_at: datetime.datetime
    name: str
    subject: str
    message: str
    severity: str = "info"

    def to_plain(self) -> dict[str, Any]:
        """The event as values that JSON can hold."""
        return {**dataclasses.asdict(self), "occurred_at": self.occurred_at.isoformat()}

    def __str__(self) -> str:
        told = " ".join(part for part in (self.name, self.subject) if part)
        return f"{told} at {self.occurred_at:%Y-%m-%d %H:%M}" + (f": {self.message}" if self.message else "")


@dataclasses.dataclass(frozen=True)
class EventList:
    """Events of a lake, newest first."""

    lake: str
    events: tuple[Event, ...]

    def to_table(self) -> ResultTable:
        """One row per event."""
        rows = tuple(
            (f"{one.occurred_at:%Y-%m-%d %H:%M}", one.severity, one.name, one.subject, one.message)
            for one in self.events
        )
        title = f"Events in {self.lake}, newest first (UTC)"
        note = f"Nothing was told yet: `perfkit event add deployed --lake {self.lake} --subject … --message …`."
        columns = ("at", "severity", "name", "subject", "message") if rows else ()
        return ResultTable(title, columns, rows, () if rows else tuple(textwrap.wrap(note, _WIDTH)))

    def to_plain(self) -> dict[str, Any]:
        """The list as values that JSON can hold."""
        return {"lake": self.lake, "events": [one.to_plain() for one in self.events]}

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def record_event(
    lake: str | Path,
    name: str,
    *,
    subject: str,
    message: str,
    details: Mapping[str, Any],
    severity: str = "info",
    occurred_at: datetime.datetime | None = None,
) -> tuple[str, ...]:
    """Append an event to the journal beside a lake; the next drain moves it into the lake's `events`.

    What happened stands whether or not it can be told: a journal that cannot be written to is a warning.

    Args:
        lake: folder of the lake.
        name: what happened, such as ``run deleted``.
        subject: what it happened to: a run, a file.
        message: one sentence for people.
        details: the figures, as values that JSON can hold.
        severity: ``info``, ``warning`` or ``error``.
        occurred_at: when it happened, with a time zone; None for now.

    Returns:
        Warnings for the result of what happened; empty when the event is durable.
    """
    event = {
        "occurred_at": occurred_at or datetime.datetime.now(datetime.UTC),
        "name": name,
        "severity": severity,
        "subject": subject,
        "message": message,
        "details": json.dumps(details, sort_keys=True),
    }
    try:
        with open_journal(journal_folder(lake)) as journal:
            journal.append("events", {column: [value] for column, value in event.items()})
    except JournalError as error:
        return (f"the lake's events do not tell of it: {error}",)
    return ()


def add_event(lake: str | Path, event: Event) -> EventList:
    """Tell a lake of something that happened outside perfkit, such as a deployment; it is in the lake afterwards.

    Args:
        lake: folder of the lake.
        event: what happened.

    Raises:
        InputError: it has no name, or its moment no time zone.
        UnknownNameError: its severity is none of `SEVERITIES`.
        JournalError: it could not be made durable.
        LakeError: it waits in the journal, which could not be drained.
    """
    if not event.name.strip():
        raise InputError("the event has no name; say what happened, such as deployed")
    if event.severity not in SEVERITIES:
        raise UnknownNameError("severity", event.severity, SEVERITIES)
    if event.occurred_at.tzinfo is None:
        raise InputError(f"{event.occurred_at} has no time zone; write such as 2026-11-21T08:00+00:00")
    told = {"subject": event.subject, "message": event.message, "severity": event.severity}
    problems = record_event(lake, event.name, details={}, occurred_at=event.occurred_at, **told)
    if problems:
        raise JournalError(problems[0])
    drain(lake)
    return EventList(str(lake), (event,))


def list_events(lake: str | Path = "data/lake", *, since: datetime.datetime | None = None) -> EventList:
    """What a lake was told, newest first.

    Args:
        lake: folder of the lake.
        since: leave out what happened before; None for everything.

    Raises:
        LakeError: the lake cannot be read.
    """
    return EventList(str(lake), read_events(open_fresh_lake(lake), since=since)[::-1])


def read_events(lake: Lake, *, since: datetime.datetime | None = None) -> tuple[Event, ...]:
    """The events of a lake in the order in which they happened.

    Raises:
        LakeError: the lake cannot be read.
    """
    events = lake.events
    wanted = events.filter(events.occurred_at.notnull())
    if since is not None:
        wanted = wanted.filter(wanted.occurred_at >= since)
    names = [field.name for field in dataclasses.fields(Event)]
    rows = lake.read(wanted.select(names).order_by("occurred_at")).to_pylist()
    return tuple(Event(**row) for row in rows)
