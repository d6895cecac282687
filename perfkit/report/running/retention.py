"""Which reports are kept, and removing the others so that no reader meets half of one."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from perfkit.config.pipelines import PipelineSettings
from perfkit.report.results import PipelineResult
from perfkit.report.running.locks import is_under_way
from perfkit.tables import ResultTable, plural
from perfkit.units import format_bytes

__all__ = [
    "KEEP_FILE",
    "KeepLimits",
    "Kept",
    "Removal",
    "RemovalPlan",
    "RemovalResult",
    "limits_of",
    "plan_removal",
    "remove_reports",
]

KEEP_FILE = "keep"
"""A file of this name in a report's folder keeps it: `touch reports/RUN/keep`."""

_REMOVED_PREFIX = ".removed-"


@dataclasses.dataclass(frozen=True, slots=True)
class KeepLimits:
    """How many reports of a pipeline are kept. A report goes when it is over either limit.

    Args:
        runs: the newest so many; None for all.
        days: those that began so many days ago, or later; None for ever.
    """

    runs: int | None = None
    days: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Removal:
    """A report that goes.

    Args:
        run_id: name of its folder.
        pipeline: what was run.
        started_at: ISO 8601, UTC.
        reason: over which limit it is.
        size_bytes: what its files take.
    """

    run_id: str
    pipeline: str
    started_at: str
    reason: str
    size_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """A report that is over a limit and stays all the same.

    Args:
        run_id: name of its folder.
        pipeline: what was run.
        reason: why it stays.
    """

    run_id: str
    pipeline: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class RemovalPlan:
    """Which reports go. Nothing has been removed.

    Args:
        reports_folder: where they are.
        removals: the reports that go, oldest first.
        kept: those that are over a limit and stay all the same.
        within_limits: how many reports are over no limit.
    """

    reports_folder: Path
    removals: tuple[Removal, ...]
    kept: tuple[Kept, ...]
    within_limits: int

    def to_table(self) -> ResultTable:
        """One row per report that goes, and that stays although it is over a limit."""
        rows = [(one.run_id, one.pipeline, "goes", one.reason, format_bytes(one.size_bytes)) for one in self.removals]
        rows += [(one.run_id, one.pipeline, "stays", one.reason, "") for one in self.kept]
        size = format_bytes(sum(one.size_bytes for one in self.removals))
        notes = (
            f"{plural(len(self.removals), 'report')} of {size} would go; "
            f"{plural(self.within_limits, 'report')} within the limits",
        )
        columns = ("report", "pipeline", "", "why", "size")
        return ResultTable("What retention removes", columns, tuple(rows), notes, align_right=(4,))

    def __str__(self) -> str:
        return self.to_table().to_text()


@dataclasses.dataclass(frozen=True, slots=True)
class RemovalResult:
    """What was removed.

    Args:
        removed: the reports that are gone.
        problems: why others could not be removed, a sentence each.
    """

    removed: tuple[Removal, ...]
    problems: tuple[str, ...]

    @property
    def freed_bytes(self) -> int:
        """What their files took."""
        return sum(one.size_bytes for one in self.removed)


def limits_of(pipelines: Mapping[str, PipelineSettings]) -> dict[str, KeepLimits]:
    """The limits that pipelines set, by name; those that set none are left out."""
    limits = {name: KeepLimits(one.keep_runs, one.keep_days) for name, one in pipelines.items()}
    return {name: one for name, one in limits.items() if one != KeepLimits()}


def plan_removal(
    reports_folder: str | Path,
    limits: Mapping[str, KeepLimits],
    *,
    everywhere: KeepLimits = KeepLimits(),
    now: datetime.datetime | None = None,
) -> RemovalPlan:
    """Find the reports that are over a limit.

    These stay, whatever the limits say: the last complete run of each pipeline, what `latest` leads to, a run under
    way, a report with a file named ``keep`` in its folder, and every folder that is no run of this perfkit. A run that
    is dated later than now, by a clock that was wrong, stays and takes no other's place among the newest.

    Args:
        reports_folder: what holds a folder per run.
        limits: by pipeline.
        everywhere: for pipelines that have none of their own, also those that are in no settings any more.
        now: in UTC; None for this moment.
    """
    folder = Path(reports_folder)
    moment = now or datetime.datetime.now(datetime.UTC)
    latest = (folder / "latest").resolve().name if (folder / "latest").is_symlink() else ""
    by_pipeline: dict[str, list[PipelineResult]] = {}
    runs_until_now, within_limits = _runs(folder, moment)
    for run in runs_until_now:
        by_pipeline.setdefault(run.pipeline, []).append(run)
    removals: list[Removal] = []
    kept: list[Kept] = []
    for pipeline, runs in by_pipeline.items():
        last_good = next((run.run_id for run in runs if run.status == "complete"), "")
        for number, run in enumerate(runs, start=1):
            reason = _over(limits.get(pipeline, everywhere), number, run, moment)
            stays = _why_it_stays(run, last_good, latest) if reason else ""
            if not reason:
                within_limits += 1
            elif stays:
                kept.append(Kept(run.run_id, pipeline, stays))
            else:
                size_bytes = _size_bytes(run.report_path)
                removals.append(Removal(run.run_id, pipeline, run.started_at, reason, size_bytes))
    removals.sort(key=lambda one: one.run_id)
    return RemovalPlan(folder, tuple(removals), tuple(kept), within_limits)


def remove_reports(plan: RemovalPlan) -> RemovalResult:
    """Remove the reports of a plan.

    Each folder gets a hidden name first: no reader sees half of a report, and the pins of the lake that it kept end at
    that moment (`perfkit maintain` clears them away). What an earlier removal left behind goes, too. Write the site
    anew afterwards.

    Args:
        plan: of `plan_removal`, a moment ago; what was pinned, or runs, since then stays.
    """
    removed, problems = [], []
    for one in plan.removals:
        folder = plan.reports_folder / one.run_id
        if is_under_way(folder) or (folder / KEEP_FILE).exists():
            continue
        try:
            folder.rename(folder.with_name(f"{_REMOVED_PREFIX}{one.run_id}"))
        except FileNotFoundError:
            continue  # somebody else was faster
        except OSError as error:
            problems.append(f"report {one.run_id} cannot be removed: {error.strerror}; check its permissions")
            continue
        removed.append(one)
    for hidden in plan.reports_folder.glob(f"{_REMOVED_PREFIX}*"):
        try:
            shutil.rmtree(hidden)
        except FileNotFoundError:  # somebody else is at it
            continue
        except OSError as error:
            problems.append(f"{hidden} cannot be removed: {error.strerror}; remove it by hand")
    return RemovalResult(tuple(removed), tuple(problems))


def _runs(reports_folder: Path, now: datetime.datetime) -> tuple[Sequence[PipelineResult], int]:
    """Newest first, and how many are dated later than now. Names sort as runs began, also if a clock was set back."""
    from perfkit.report.site.runs import read_runs

    found, _ = read_runs(reports_folder, now)
    runs = [one.run for one in found if not one.is_from_future]
    return sorted(runs, key=lambda run: run.run_id, reverse=True), len(found) - len(runs)


def _over(limits: KeepLimits, number: int, run: PipelineResult, now: datetime.datetime) -> str:
    if limits.runs is not None and number > limits.runs:
        return f"over the newest {limits.runs}"
    from perfkit.report.site.runs import started

    if limits.days is not None and now - started(run) > datetime.timedelta(days=limits.days):
        return f"older than {limits.days:g} days"
    return ""


def _why_it_stays(run: PipelineResult, last_good: str, latest: str) -> str:
    if run.run_id == last_good:
        return "the last complete run of its pipeline"
    if run.run_id == latest:
        return "`latest` leads to it"
    if is_under_way(run.report_path):
        return "under way"
    if (run.report_path / KEEP_FILE).exists():
        return f"its folder has a file named {KEEP_FILE}"
    return ""


def _size_bytes(folder: Path) -> int:
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterable[int]:
    for directory, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                yield Path(directory, name).lstat().st_size
