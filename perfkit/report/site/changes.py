"""What changed between two runs of a report, figure by figure. Pure functions on what the runs recorded.

`templates/site/compare.js` says the same in the browser, for any two runs; a test holds the two together.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perfkit.config.fingerprint import FINGERPRINT_KEYS, UNKNOWN
from perfkit.report.notebook.records import Record
from perfkit.report.results import PipelineResult
from perfkit.tables import ResultTable, plural

__all__ = [
    "CHANGED",
    "DIFFERS",
    "GONE",
    "NEW",
    "NO_CLEAR_CHANGE",
    "SAME",
    "UNIT_CHANGED",
    "FigureChange",
    "FigureKey",
    "RunChanges",
    "changes_between",
    "count_notable",
    "figure_change",
    "figures_of",
    "last_good_before",
    "moment",
    "record_text",
    "unfair",
]

CHANGED = "changed"
NO_CLEAR_CHANGE = "no clear change"
SAME = "the same"
DIFFERS = "differs, no interval"
UNIT_CHANGED = "another unit"
NEW = "new"
GONE = "gone"

_NAMED_IN_SENTENCE = 3

FigureKey = tuple[str, str, int]
"""Page, name, and how often the page recorded that name before."""


@dataclasses.dataclass(frozen=True, slots=True)
class FigureChange:
    """One headline figure in two runs.

    Args:
        page: page of the notebook that recorded it, without its ending.
        notebook: the notebook, with its point of the grid.
        before: what the earlier run recorded; None where it did not.
        after: what the later run recorded, likewise.
        kind: "changed" (the intervals lie apart), "no clear change" (they overlap), "the same", "differs, no interval"
            (nobody knows whether the difference means something), "another unit", "new" or "gone".
    """

    page: str
    notebook: str
    before: Record | None
    after: Record | None
    kind: str

    @property
    def name(self) -> str:
        """What the figure is."""
        return (self.after or self.before).name  # type: ignore[union-attr]  # one of them is there

    @property
    def has_other_verdict(self) -> bool:
        """Whether both runs gave a verdict, and not the same."""
        return self.before is not None and self.after is not None and _has_other_verdict(self.before, self.after)

    @property
    def is_notable(self) -> bool:
        """Whether it counts as changed: the intervals lie apart, or the verdict is another one."""
        return self.kind == CHANGED or self.has_other_verdict

    @property
    def relative(self) -> float | None:
        """Later value relative to the earlier one, minus 1; None where that has no meaning."""
        if self.before is None or self.after is None or self.kind == UNIT_CHANGED:
            return None
        before, after = self.before.value, self.after.value
        if isinstance(before, str) or isinstance(after, str) or not (math.isfinite(before) and math.isfinite(after)):
            return None
        return after / before - 1 if before > 0 else None

    @property
    def relative_text(self) -> str:
        """The relative change in percent; empty where that has no meaning.

        >>> figure_change("tune", "tune", Record("edge", 48.0), Record("edge", 64.0)).relative_text
        '+33%'
        """
        if self.relative is None:
            return ""
        percent = 100 * self.relative
        digits = 0 if abs(percent) >= 10 else 1
        rounded = math.floor(abs(percent) * 10**digits + 0.5) / 10**digits  # halves away from zero, as in the browser
        return f"{'-' if percent < 0 else '+'}{rounded:.{digits}f}%" if rounded else "0%"

    @property
    def verdict(self) -> str:
        """What to make of it, in words."""
        if not self.has_other_verdict:
            return self.kind
        assert self.before is not None  # as the property says
        assert self.after is not None
        told = f"verdict changed: {self.before.verdict} → {self.after.verdict}"
        return f"{CHANGED}; {told}" if self.kind == CHANGED else told

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            **dataclasses.asdict(self),
            "name": self.name,
            "relative": self.relative,
            "verdict": self.verdict,
            "is_notable": self.is_notable,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class RunChanges:
    """What changed from one run to a later one; a person may compare them the other way round.

    Args:
        before: id of the earlier run.
        after: id of the later run.
        before_at: when the one before started; ISO 8601, UTC.
        figures: in the order in which the later run recorded them, those that are gone last.
        warnings: what makes the two hard to compare: other parameters, another host, another perfkit.
    """

    before: str
    after: str
    before_at: str
    figures: tuple[FigureChange, ...]
    warnings: tuple[str, ...] = ()

    @property
    def notable(self) -> tuple[FigureChange, ...]:
        """The figures that count as changed."""
        return tuple(one for one in self.figures if one.is_notable)

    @property
    def sentence(self) -> str:
        """What changed, in a sentence or two."""
        if not self.figures:
            return f"Neither this run nor that of {moment(self.before_at)} recorded a figure."
        notable, compared = self.notable, self._compared()
        since = f"{'Against' if self.before > self.after else 'Since'} the run of {moment(self.before_at)}"
        if notable:
            named = ", ".join(_brief(one) for one in notable[:_NAMED_IN_SENTENCE])
            more = f" and {len(notable) - _NAMED_IN_SENTENCE} more" if len(notable) > _NAMED_IN_SENTENCE else ""
            said = f"{since} {len(notable)} of {plural(compared, 'figure')} changed: {named}{more}."
        elif compared:
            said = f"{since} none of {plural(compared, 'figure')} changed clearly."
        else:
            said = f"{since} no figure can be compared."
        return " ".join((said, *self._others()))

    def of_page(self, page: str) -> RunChanges:
        """What changed of one notebook's page."""
        return dataclasses.replace(self, figures=tuple(one for one in self.figures if one.page == page))

    def to_table(self) -> ResultTable:
        """One row per figure; the sentence and the warnings below."""
        rows = tuple(
            (one.name, *map(_shown, (one.before, one.after)), one.relative_text, one.verdict) for one in self.figures
        )
        columns = ("figure", "before", "after", "change", "verdict")
        notes = (self.sentence, *(f"! {warning}" for warning in self.warnings))
        return ResultTable(f"Run {self.after} against {self.before}", columns, rows, notes, align_right=(1, 2, 3))

    def to_plain(self) -> dict[str, Any]:
        """Everything as values that JSON can hold."""
        return {
            "before": self.before,
            "after": self.after,
            "sentence": self.sentence,
            "changed": len(self.notable),
            "figures": [one.to_plain() for one in self.figures],
            "warnings": list(self.warnings),
        }

    def _compared(self) -> int:
        return sum(one.kind not in (NEW, GONE) for one in self.figures)

    def _others(self) -> list[str]:
        """Sentences about the figures of which nobody can say whether they changed."""
        counts = Counter(one.kind for one in self.figures if not one.is_notable)
        said = []
        if counts[DIFFERS]:
            few = counts[DIFFERS] == 1
            said.append(f"{counts[DIFFERS]} without an interval {'differs' if few else 'differ'}.")
        for kind, words in ((NEW, "new"), (GONE, "gone"), (UNIT_CHANGED, "in another unit")):
            if counts[kind]:
                said.append(f"{counts[kind]} {'is' if counts[kind] == 1 else 'are'} {words}.")
        return said

    def _repr_html_(self) -> str:
        return self.to_table().to_html()

    def __str__(self) -> str:
        return self.to_table().to_text()


def figure_change(page: str, notebook: str, before: Record | None, after: Record | None) -> FigureChange:
    """Judge one figure.

    Args:
        page: page of the notebook that recorded it.
        notebook: the notebook, with its point of the grid.
        before: what the earlier run recorded, or None.
        after: what the later run recorded, or None.

    >>> figure_change("tune", "tune", Record("edge", 48, 40, 50), Record("edge", 64, 60, 70)).kind
    'changed'
    >>> figure_change("tune", "tune", Record("samples", 480), Record("samples", 510)).kind
    'differs, no interval'
    """
    return FigureChange(page, notebook, before, after, _kind(before, after))


def changes_between(before: PipelineResult, after: PipelineResult) -> RunChanges:
    """What changed from one run to a later one, over all their notebooks."""
    earlier, later = figures_of(before), figures_of(after)
    keys = [*later, *(key for key in earlier if key not in later)]
    figures = []
    for key in keys:
        title = (later.get(key) or earlier[key])[0]
        kept = [found[key][1] if key in found else None for found in (earlier, later)]
        if any(one is None and key[0] in _unfinished(run) for one, run in zip(kept, (before, after), strict=True)):
            continue  # it may have had it, had its notebook completed
        figures.append(figure_change(key[0], title, *kept))
    return RunChanges(before.run_id, after.run_id, before.started_at, tuple(figures), unfair(before, after))


def last_good_before(run: PipelineResult, runs: Iterable[PipelineResult]) -> PipelineResult | None:
    """The newest complete run of the same pipeline before this one; None without one.

    By their ids, which keep their order when the clock is set back.
    """
    earlier = [
        one for one in runs if one.pipeline == run.pipeline and one.status == "complete" and one.run_id < run.run_id
    ]
    return max(earlier, key=lambda one: one.run_id, default=None)


def unfair(before: PipelineResult, after: PipelineResult) -> tuple[str, ...]:
    """What differs between the two runs besides their figures, a sentence each."""
    said = []
    for run in (before, after):
        unfinished = ", ".join(one.title for one in run.notebooks if one.status != "complete")
        if unfinished:
            said.append(f"Not complete in run {run.run_id}, and figures that it lacks left out: {unfinished}.")
    if before.pipeline != after.pipeline:
        said.append(f"They are runs of two reports: {before.pipeline} and {after.pipeline}.")
    parameters = _differences(before.parameters, after.parameters)
    if parameters:
        said.append(f"Other parameters: {parameters}.")
    host = {words: key for key, words in FINGERPRINT_KEYS.items() if key != "perfkit"}
    known = [{words: one.fingerprint.get(key) for words, key in host.items()} for one in (before, after)]
    comparable = [words for words in host if all(one[words] not in (None, UNKNOWN) for one in known)]
    hosts = _differences(*({words: one[words] for words in comparable} for one in known))
    if hosts:
        said.append(f"Another host: {hosts}.")
    # Only what both know: an older report does not say what was installed.
    shared = before.installed.keys() & after.installed.keys()
    installed = _differences(
        *({name: one.installed[name] for name in sorted(shared, key=str.lower)} for one in (before, after))
    )
    if installed:
        said.append(f"Other versions: {installed}.")
    return tuple(said)


def moment(started_at: str) -> str:
    """A point in time as people read it, to the minute.

    >>> moment("2026-11-20T21:04:33+00:00")
    '2026-11-20 21:04 UTC'
    """
    return f"{started_at[:16].replace('T', ' ')} UTC"


def _has_other_verdict(before: Record, after: Record) -> bool:
    return bool(before.verdict and after.verdict) and before.verdict != after.verdict


def _kind(before: Record | None, after: Record | None) -> str:
    if before is None:
        return NEW
    if after is None:
        return GONE
    if before.unit != after.unit:
        return UNIT_CHANGED
    values = tuple((one.value, one.low, one.high) for one in (before, after))
    if values[0] == values[1]:
        return SAME
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return SAME if before.value == after.value else DIFFERS
    return CHANGED if after.low > before.high or after.high < before.low else NO_CLEAR_CHANGE


def figures_of(run: PipelineResult) -> dict[FigureKey, tuple[str, Record]]:
    """The figures of a run in their order, each with the title of its notebook."""
    found: dict[FigureKey, tuple[str, Record]] = {}
    for notebook in run.notebooks:
        page, title = notebook.page_name, notebook.title
        seen: dict[str, int] = {}
        for kept in notebook.records:
            number = seen.get(kept.name, 0)
            found[page, kept.name, number] = (title, kept)
            seen[kept.name] = number + 1
    return found


def count_notable(
    earlier: Mapping[FigureKey, tuple[str, Record]], later: Mapping[FigureKey, tuple[str, Record]]
) -> int:
    """How many of the figures that both runs have count as changed: `len(changes.notable)`, without the rest."""
    pairs = ((earlier[key][1], kept) for key, (_, kept) in later.items() if key in earlier)
    return sum(_kind(before, after) == CHANGED or _has_other_verdict(before, after) for before, after in pairs)


def _shown(kept: Record | None) -> str:
    return "" if kept is None else record_text(kept)


def _unfinished(run: PipelineResult) -> set[str]:
    return {one.page_name for one in run.notebooks if one.status != "complete"}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names = [*before, *(name for name in after if name not in before)]
    told = [(name, str(before.get(name, "default")), str(after.get(name, "default"))) for name in names]
    return ", ".join(f"{name} {was} → {now}" for name, was, now in told if was != now)


def _brief(one: FigureChange) -> str:
    values: Sequence[str] = [kept.value_text for kept in (one.before, one.after) if kept is not None]
    told = [" → ".join(values) if len(set(values)) > 1 else "", one.relative_text if one.kind == CHANGED else ""]
    if one.has_other_verdict:
        told.append(one.verdict.removeprefix(f"{CHANGED}; "))
    return f"{one.name} ({', '.join(filter(None, told))})"


def record_text(kept: Record) -> str:
    """Its value, and its interval where it has one.

    >>> record_text(Record("edge", 48.0, 40, 50))
    '48 (40 to 50)'
    """
    return f"{kept.value_text} ({kept.interval_text})" if kept.interval_text else kept.value_text
