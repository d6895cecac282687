"""The index of all reports: how each one stands, its headline figures over time, and its runs, failures among them."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from perfkit.report.notebook.records import Record
from perfkit.report.site.changes import FigureKey, count_notable, figures_of
from perfkit.report.site.runs import KeptRun
from perfkit.report.site.sparkline import drawable, sparkline
from perfkit.report.site.standing import GRACE, Standing
from perfkit.report.site.templating import read_template, render

__all__ = ["index_html"]

_SHOWN_RUNS = 15
_SHOWN_FIGURES = 8
_SPARK_RUNS = 40
_DATED = "%Y-%m-%dT%H:%M:%S+00:00"


@dataclasses.dataclass(frozen=True, slots=True)
class _Figure:
    record: Record
    notebook: str
    drawing: str
    first: str
    runs: int


def index_html(reports: Sequence[Standing], unreadable: Sequence[str], problem: str, now: datetime.datetime) -> str:
    """The index as a page.

    Args:
        reports: as `standings` gives them.
        unreadable: folders whose record cannot be read.
        problem: why no schedule is known, if `perfkit.toml` cannot be read.
        now: an aware moment.
    """
    shown = [_report(one, now) for one in reports]
    statuses = dict.fromkeys(kept.run.status for one in reports for kept in one.runs)
    return render(
        "index.html.j2",
        reports=shown,
        statuses=sorted(statuses),
        runs=sum(len(one.runs) for one in reports),
        unreadable=unreadable,
        problem=problem,
        grace_s=int(GRACE.total_seconds()),
        script=read_template("ages.js") + read_template("index.js"),
    )


def _report(standing: Standing, now: datetime.datetime) -> Mapping[str, Any]:
    rows = _rows(standing.runs)
    older = rows[_SHOWN_RUNS:]
    figures = _figures(standing)
    return {
        "name": standing.name,
        "standing": standing,
        "last": standing.last,
        "last_good": standing.last_good,
        "last_failed": standing.last_failed,
        "is_stale": standing.is_stale(now),
        "stale_after": _dated(standing.stale_after),
        "missed": [_dated(due) for due in standing.missed],
        "due": [_dated(due) for due in standing.due],
        "figures": figures[:_SHOWN_FIGURES],
        "more_figures": len(figures[_SHOWN_FIGURES:]),
        "rows": rows[:_SHOWN_RUNS],
        "older": older,
        "older_failures": sum(one.is_failure for one, _ in older),
        "from_future": [one.run.run_id for one in standing.runs if one.is_from_future],
    }


def _rows(runs: Sequence[KeptRun]) -> list[tuple[KeptRun, str]]:
    """Each run with what changed since the last good one before it."""
    rows = []
    earlier: Mapping[FigureKey, tuple[str, Record]] = {}
    for one in reversed(runs):
        figures = figures_of(one.run) if one.is_good else {}
        rows.append((one, str(count_notable(earlier, figures)) if earlier and figures else ""))
        earlier = figures if one.is_good else earlier  # also without figures: the run's page compares with the same
    return rows[::-1]


def _figures(standing: Standing) -> list[_Figure]:
    """The headline figures of the last good run, those with an interval first, with their drawings."""
    if standing.last_good is None:
        return []
    over_time: dict[tuple[str, str, int], list[Record]] = {}
    good = [one.run for one in standing.runs if one.is_good and not one.is_from_future][:_SPARK_RUNS]
    figures = []
    for run in reversed(good):
        figures = [(kept, title, over_time.setdefault(key, [])) for key, (title, kept) in figures_of(run).items()]
        for kept, _, over in figures:
            over.append(kept)
    ranked: list[tuple[bool, int, Record, str, list[Record]]] = []
    # Those with an interval first, and every notebook takes its turn.
    turns = Counter[str]()
    for kept, title, over in sorted(figures, key=lambda one: one[0].low is None):
        ranked.append((kept.low is None, turns[title], kept, title, over))
        turns[title] += 1
    ranked.sort(key=lambda one: one[:2])
    shown = []
    for index, (*_, kept, title, over) in enumerate(ranked):
        alike = drawable(one for one in over if one.unit == kept.unit)
        drawing = sparkline(alike) if index < _SHOWN_FIGURES else ""
        shown.append(_Figure(kept, title, drawing, alike[0].value_text if alike else "", len(alike)))
    return shown


def _dated(moment: datetime.datetime | None) -> str:
    return "" if moment is None else moment.astimezone(datetime.UTC).strftime(_DATED)
