"""The runs in a reports folder, as they stand: also those whose process is gone, and those of a clock set back."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path

from perfkit.errors import InputError, UnknownNameError
from perfkit.report.results import RUN_FILE, PipelineResult, read_run
from perfkit.report.site.changes import last_good_before

__all__ = ["LATEST", "LOST", "KeptRun", "find_kept_run", "find_last_good", "first_line", "read_runs", "started"]

LATEST = "latest"
LOST = "lost"
"""Status of a run that says "running" although its process is gone: it was killed, or the machine went down."""

_ERROR_LENGTH = 160
_CLOCK_TOLERANCE = datetime.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True)
class KeptRun:
    """One run of the folder.

    Args:
        run: what it recorded, "lost" among its statuses.
        is_from_future: it is dated later than now: the clock was set back since.
        stamp: changes whenever the record changes.
    """

    run: PipelineResult
    is_from_future: bool = False
    stamp: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it completed."""
        return self.run.status == "complete"

    @property
    def is_failure(self) -> bool:
        """Whether it ended badly; one that a person interrupted did not."""
        return self.run.status not in ("complete", "running", "interrupted")

    @property
    def errors(self) -> list[str]:
        """The first line of what went wrong, by notebook."""
        return [
            f"{one.title}: {first_line(one.error) or one.status}"
            for one in self.run.notebooks
            if one.status not in ("complete", "not run")
        ] or (["its process is gone: it was killed, or the machine went down"] if self.run.status == LOST else [])


def read_runs(reports_folder: Path, now: datetime.datetime | None = None) -> tuple[list[KeptRun], list[str]]:
    """The runs of a folder, newest first, and the names of those whose record cannot be read.

    Args:
        reports_folder: what holds a folder per run.
        now: an aware moment; None for this one.
    """
    latest = (now or datetime.datetime.now(datetime.UTC)) + _CLOCK_TOLERANCE
    runs, unreadable = [], []
    for file in reports_folder.glob(f"*/{RUN_FILE}"):
        folder = file.parent
        if folder.is_symlink():  # "latest" is one of the others
            continue
        try:
            run, stat = read_run(folder), file.stat()
            is_from_future = started(run) > latest
        except (OSError, KeyError, TypeError, ValueError):
            unreadable.append(folder.name)
            continue
        if run.run_id != folder.name:  # a copy under another name is no run of this machine
            continue
        if run.status == "running" and not _is_under_way(folder):
            run = dataclasses.replace(run, status=LOST)
        runs.append(KeptRun(run, is_from_future, f"{stat.st_mtime_ns}-{stat.st_size}-{run.status}"))
    # Ids keep their order when the clock is set back.
    return sorted(runs, key=lambda one: one.run.run_id, reverse=True), sorted(unreadable)


def find_last_good(run: PipelineResult) -> PipelineResult | None:
    """The newest complete run of the same report before this one; None without one.

    Names of folders begin with the moment of the start: only a few records have to be read.
    """
    names = sorted((file.parent.name for file in run.report_path.parent.glob(f"*/{RUN_FILE}")), reverse=True)
    for name in names:
        if name >= run.run_id:
            continue
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):  # a damaged record: the index names it
            one = read_run(run.report_path.with_name(name))
            if one.run_id == name and last_good_before(run, [one]) is not None:
                return one
    return None


def find_kept_run(runs: Sequence[KeptRun], name: str) -> KeptRun:
    """The run that a person means.

    Args:
        runs: as `read_runs` gives them.
        name: an id, the beginning of one as far as no other begins like that, "latest" (the newest that completed), or
            the folder of a run.

    Raises:
        UnknownNameError: there is no such run.
        InputError: several runs begin like that.
    """
    if name == LATEST:
        good = next((one for one in runs if one.is_good and not one.is_from_future), None)
        if good is None:
            raise InputError("no run has completed, so there is no latest; `perfkit reports` lists what there is")
        return good
    wanted = Path(name).resolve().name if "/" in name or Path(name).is_dir() else name
    found = [one for one in runs if one.run.run_id == wanted]
    found = found or [one for one in runs if wanted and one.run.run_id.startswith(wanted)]
    if not found:
        newest = [one.run.run_id for one in runs[:5]]
        raise UnknownNameError("run", name, newest, "`perfkit reports` lists all of them.")
    if len(found) > 1:
        names = ", ".join(one.run.run_id for one in found[:5])
        raise InputError(f"run {name!r} could be any of {len(found)}: {names}; write more of its id")
    return found[0]


def started(run: PipelineResult) -> datetime.datetime:
    """When it started, as an aware moment.

    Raises:
        ValueError: its record has no such moment.
    """
    moment = datetime.datetime.fromisoformat(run.started_at)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)


def _is_under_way(folder: Path) -> bool:
    from perfkit.report.running.locks import is_under_way

    return is_under_way(folder)


def first_line(text: str) -> str:
    """The beginning of an error, for a table; its page has all of it."""
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= _ERROR_LENGTH else f"{line[:_ERROR_LENGTH].rstrip()} …"
