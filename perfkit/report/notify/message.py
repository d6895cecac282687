"""What people hear of a run: which events there were, and the words for them. Nothing that this machine should keep."""

from __future__ import annotations

import dataclasses
import html
import re
import socket
from collections.abc import Mapping
from typing import Any

from perfkit.report.results import PipelineResult
from perfkit.report.site.changes import FigureChange, changes_between, moment
from perfkit.tables import plural
from perfkit.units import format_duration

__all__ = ["Message", "events_of", "message_about", "trial_message", "without_places"]

_MOST_SUBJECT = 180
_MOST_ERROR = 500

_WORDS = {
    "failure": "failed",
    "recovery": "is good again",
    "verdict": "changed a verdict",
    "success": "completed",
}

_USER_INFORMATION = re.compile(r"(?<=://)[^/\s@'\"]+@")
_QUOTED_PLACE = re.compile(r"""(['"])(?:/|[A-Za-z]:\\)[^'"\n]*?[/\\]?([^/\\'"\n]*)\1""")
_PLACE = re.compile(r"(?<![\w.:/~\\-])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\",;:()]+[/\\])+([^\s/\\'\",;:()]*)")


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Args:
        subject: all of it in one line.
        lines: what else there is to say, a line each.
        plain: everything as values that JSON can hold, for programs.
    """

    subject: str
    lines: tuple[str, ...]
    plain: Mapping[str, Any]

    @property
    def text(self) -> str:
        """Subject and lines, as people read them."""
        return "\n".join((self.subject, "", *self.lines))

    def to_html(self) -> str:
        """Subject and lines as a small page."""
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines)
        return f"<html><body><h3>{html.escape(self.subject)}</h3>{lines}</body></html>"

    def to_webhook(self) -> dict[str, Any]:
        """`plain` with a ``text`` that chats show; ``<`` and ``&`` are written so that none takes them for markup."""
        return {**self.plain, "text": html.escape(self.text, quote=False)}


def events_of(
    run: PipelineResult, earlier: PipelineResult | None, last_good: PipelineResult | None
) -> tuple[tuple[str, ...], tuple[FigureChange, ...]]:
    """What there is to tell of a run.

    Args:
        run: the run, ended.
        earlier: the run of the same pipeline before it, whatever came of it.
        last_good: the last complete run of the same pipeline before it.

    Returns:
        Some of "failure", "recovery", "verdict" and "success", and the figures whose verdict is another one. A run that
        a person interrupted is no failure: that person knows.
    """
    if run.status != "complete":
        by_hand = run.status == "interrupted" and run.started_by == "person"
        return (() if by_hand else ("failure",)), ()
    compared = () if last_good is None else changes_between(last_good, run).figures
    changes = tuple(one for one in compared if one.has_other_verdict)
    recovered = earlier is not None and earlier.status != "complete"
    events = (("recovery",) if recovered else ()) + (("verdict",) if changes else ()) + ("success",)
    return events, changes


def message_about(run: PipelineResult, events: tuple[str, ...], changes: tuple[FigureChange, ...]) -> Message:
    """The words for a run.

    Args:
        run: the run, ended.
        events: what is told of it, the weightiest first.
        changes: the figures whose verdict is another one.
    """
    host = socket.gethostname()
    errors = [(one.title, _error(one.error or one.status)) for one in run.notebooks if one.status not in _QUIET]
    verdicts = [_verdict(one) for one in changes]
    told = [f"{title}: {error}" for title, error in errors] or [f"{one['name']}: {one['said']}" for one in verdicts]
    words = " and ".join(_WORDS[event] for event in events[:2] if event != "success" or len(events) == 1)
    subject = f"perfkit {run.pipeline} {words} on {host}{f': {told[0]}' if told else ''}"
    report = f"{run.report_path.parent.name}/{run.run_id}"
    started = "the schedule" if run.started_by == "schedule" else "a person"
    took = format_duration(run.seconds * 1e9)
    lines = (
        *(f"{title}: {error}" for title, error in errors),
        *(f"{one['notebook']}: {one['name']}: {one['said']}" for one in verdicts),
        *_not_run(run),
        f"Started {moment(run.started_at)} by {started}, {run.status} after {took}.",
        f"Report: {report}/index.html, in perfkit's folder on {host}.",
    )
    plain = {
        "events": list(events),
        "pipeline": run.pipeline,
        "run": run.run_id,
        "status": run.status,
        "started_at": run.started_at,
        "started_by": run.started_by,
        "seconds": run.seconds,
        "host": host,
        "errors": [{"notebook": title, "error": error} for title, error in errors],
        "changed_verdicts": verdicts,
        "report": report,
    }
    return Message(_one_line(subject), lines, plain)


def trial_message(pipeline: str) -> Message:
    """What a person asks for to see whether messages arrive."""
    host = socket.gethostname()
    subject = f"perfkit {pipeline} on {host}: a test, nothing happened"
    lines = ("Somebody asked perfkit to show that its messages arrive. This one did.",)
    return Message(_one_line(subject), lines, {"events": ["test"], "pipeline": pipeline, "host": host})


_QUIET = ("complete", "not run")


def without_places(text: str) -> str:
    """Text without the folders of this machine and without names and passwords in addresses.

    >>> without_places("no such file: '/home/ada/lake/_delta_log', see https://ada:secret@example.com/help")
    "no such file: '…/_delta_log', see https://example.com/help"
    """
    text = _USER_INFORMATION.sub("", text)
    text = _QUOTED_PLACE.sub(r"\1…/\2\1", text)
    return _PLACE.sub(r"…/\1", text)


def _error(text: str) -> str:
    line = " ".join(without_places(text).split())
    return line if len(line) <= _MOST_ERROR else f"{line[:_MOST_ERROR]}…"


def _one_line(text: str) -> str:
    """A header of an e-mail: a line break in it would begin another header."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= _MOST_SUBJECT else f"{line[:_MOST_SUBJECT]}…"


def _verdict(change: FigureChange) -> dict[str, str]:
    assert change.before is not None  # both have a verdict
    assert change.after is not None
    values = dict.fromkeys((change.before.value_text, change.after.value_text))
    return {
        "notebook": change.notebook,
        "name": change.name,
        "before": change.before.verdict,
        "after": change.after.verdict,
        "said": f"{change.before.verdict} → {change.after.verdict} ({' → '.join(values)})",
    }


def _not_run(run: PipelineResult) -> list[str]:
    missing = [one.title for one in run.notebooks if one.status == "not run"]
    return [f"{plural(len(missing), 'notebook')} did not run: {', '.join(missing)}."] if missing else []
