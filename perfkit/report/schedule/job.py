"""What is to be run on a schedule, whatever starts it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from perfkit.errors import InputError
from perfkit.report.schedule.times import Schedule

__all__ = ["KINDS", "WAIT", "ScheduledFile", "ScheduledJob", "Setup", "job_name"]

KINDS = ("systemd", "crontab", "windows")
WAIT = "1h"
"""How long a scheduled run waits for another one that is under way."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\\$\"]")


def job_name(pipeline: str) -> str:
    """What the files and tasks of a pipeline are called.

    Raises:
        InputError: no file can be called so.
    """
    if not _NAME.fullmatch(pipeline):
        raise InputError(
            f"pipeline {pipeline!r} cannot be scheduled under this name: files are named after it; "
            "use letters, digits, '-', '_' and '.' only"
        )
    return f"perfkit-{pipeline}"


@dataclasses.dataclass(frozen=True, slots=True)
class ScheduledJob:
    """A pipeline with its schedule and its place.

    Args:
        pipeline: its name.
        schedule: when it is due.
        project: the folder that holds perfkit.toml and the notebooks; absolute.
        python: the interpreter that has perfkit; absolute.
        limit_s: seconds after which a run has certainly gone wrong.
        needs_password: whether its messages need a password from the environment.

    Raises:
        InputError: a name or folder holds characters that timers cannot write safely.
    """

    pipeline: str
    schedule: Schedule
    project: Path
    python: Path
    limit_s: float
    needs_password: bool = False

    def __post_init__(self) -> None:
        job_name(self.pipeline)
        for place in (self.project, self.python):
            if _UNWRITABLE.search(str(place)):
                raise InputError(
                    f"{str(place)!r} cannot be written into a timer: it holds a backslash, a quotation mark, a dollar "
                    "sign or a control character; move it to a folder without"
                )

    @property
    def name(self) -> str:
        """What its files and tasks are called."""
        return job_name(self.pipeline)

    @property
    def command(self) -> tuple[str, ...]:
        """The command with its arguments."""
        return (str(self.python), "-m", "perfkit", "run", self.pipeline, "--wait", WAIT)


@dataclasses.dataclass(frozen=True, slots=True)
class ScheduledFile:
    """A file that a timer needs.

    Args:
        name: its name.
        text: what it holds.
        encoding: in which it is to be written.
    """

    name: str
    text: str
    encoding: str = "utf-8"


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What keeps a schedule.

    Args:
        kind: one of `KINDS`.
        files: what it needs.
        place: where the files belong, as people write it.
        commands: what to run once they are there.
    """

    kind: str
    files: tuple[ScheduledFile, ...]
    place: str
    commands: tuple[str, ...]
