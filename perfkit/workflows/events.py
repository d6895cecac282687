"""Tell the lake what happened: an event that goes through the journal like every other row."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfkit.errors import JournalError
from perfkit.journal import open_journal
from perfkit.lake import journal_folder

__all__ = ["record_event"]


def record_event(
    lake: str | Path, name: str, *, subject: str, message: str, details: Mapping[str, Any], severity: str = "info"
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

    Returns:
        Warnings for the result of what happened; empty when the event is durable.
    """
    event = {
        "occurred_at": datetime.datetime.now(datetime.UTC),
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
