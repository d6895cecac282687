"""What a run was made by: a name that no other run has, the code, the libraries, and who started it."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import secrets
import subprocess
from pathlib import Path

__all__ = ["STARTED_BY_VARIABLE", "git_revision", "installed_versions", "new_run_id", "started_by"]

STARTED_BY_VARIABLE = "PERFKIT_STARTED_BY"
"""Set to "schedule" by what `perfkit schedule` writes."""

_LIBRARIES = (
    "perfkit",
    "numpy",
    "pyarrow",
    "pandas",
    "polars",
    "duckdb",
    "deltalake",
    "ibis-framework",
    "scipy",
    "altair",
    "grpcio",
    "papermill",
    "nbconvert",
    "ipykernel",
)
_STAMP = "%Y%m%dT%H%M%SZ"
_RUN_ID = re.compile(r"(\d{8}T\d{6}Z)-[0-9a-f]{4,}")
_CLOCK_SET_BACK = datetime.timedelta(days=1)


def new_run_id(reports_folder: Path, now: datetime.datetime) -> str:
    """A name for a run's folder that sorts behind those of the runs before it.

    It says when the run began, in UTC. Where the clock was set back by up to a day, or another run began in the same
    second, it says a second later than the newest: so the order of names stays the order of runs. A name that lies
    further ahead comes from a clock that was wrong; it is let be.

    Args:
        reports_folder: what holds a folder per run; it need not exist.
        now: in UTC.
    """
    stamps = [found.group(1) for found in map(_RUN_ID.fullmatch, _names(reports_folder)) if found]
    begins = now.replace(microsecond=0)
    newest = max((_moment(stamp) for stamp in stamps), default=None)
    if newest is not None and begins <= newest < begins + _CLOCK_SET_BACK:
        begins = newest + datetime.timedelta(seconds=1)
    return f"{begins.strftime(_STAMP)}-{secrets.token_hex(2)}"


def installed_versions() -> dict[str, str]:
    """Versions by name: Python, perfkit, and the libraries whose versions may change a figure or a page."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def started_by() -> str:
    """ "schedule" for what a timer started, else "person"."""
    return "schedule" if os.environ.get(STARTED_BY_VARIABLE) == "schedule" else "person"


def git_revision() -> str:
    """The revision of the caller's folder; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        shown = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip() if shown.returncode == 0 else ""


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _moment(stamp: str) -> datetime.datetime:
    try:
        return datetime.datetime.strptime(stamp, _STAMP).replace(tzinfo=datetime.UTC)
    except ValueError:  # such as a thirteenth month: no clock wrote that
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
