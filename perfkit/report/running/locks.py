"""Locks that the kernel gives back when their holder ends: one run per reports folder, and whether a run goes on."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from perfkit.errors import ReportError
from perfkit.units import format_duration

__all__ = ["REPORTS_LOCK", "RUN_LOCK", "hold_reports", "hold_run", "is_under_way", "name_run"]

REPORTS_LOCK = ".lock"
RUN_LOCK = ".running"
_LOOK_AGAIN_S = 0.1


@contextlib.contextmanager
def hold_reports(
    reports_folder: Path, pipeline: str, wait_s: float = 0.0, tell: Callable[[str], None] | None = None
) -> Iterator[int]:
    """Keep other runs out of a folder of reports. Readers are not kept out.

    Args:
        reports_folder: made when it does not exist.
        pipeline: what is run, as others are told.
        wait_s: how long to wait for another run, 0 or more.
        tell: called while waiting with who is waited for.

    Yields:
        The lock, for `name_run`.

    Raises:
        ReportError: another run held it all the time, or the folder cannot be written to or locked.
    """
    path = reports_folder / REPORTS_LOCK
    with _opened(path, "free space, or choose another folder") as lock:
        deadline = time.monotonic() + wait_s
        while not _is_locked_now(lock, path):
            holder = _holder(path)
            if time.monotonic() >= deadline:
                waited = f", and was after {format_duration(wait_s * 1e9)}" if wait_s else ""
                raise ReportError(
                    f"{reports_folder} is in use by {holder}{waited}; one run at a time, so that they do not disturb "
                    "each other: wait for it with --wait 1h, or stop that process"
                )
            if tell is not None:
                tell(f"waiting for {holder}")
            time.sleep(_LOOK_AGAIN_S)
        _say(lock, pipeline=pipeline)
        try:
            yield lock
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)  # before the lock goes: nobody is named who does not hold it


def name_run(lock: int, pipeline: str, run_id: str) -> None:
    """Tell others which run holds the reports.

    Args:
        lock: what `hold_reports` gave.
        pipeline: what is run.
        run_id: its folder's name.
    """
    _say(lock, pipeline=pipeline, run=run_id)


@contextlib.contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Show that the run of this folder goes on: until the block ends, or this process, however it ends.

    Raises:
        ReportError: the folder cannot be written to or locked.
    """
    path = folder / RUN_LOCK
    with _opened(path, "free space, or choose another folder") as lock:
        while not _is_locked_now(lock, path):  # somebody looks at it right now
            time.sleep(_LOOK_AGAIN_S / 10)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def is_under_way(folder: Path) -> bool:
    """Whether the run of this folder goes on, in whatever process.

    A run whose file says "running" and that is not under way is lost: its process is gone.

    Args:
        folder: the run's folder.

    Returns:
        False for a run that ended or was lost, and where there is no run. True where nobody can tell, because the file
        system of the folder has no locks.
    """
    try:
        lock = os.open(folder / RUN_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, or there are no locks here
        return True
    finally:
        os.close(lock)
    return False


@contextlib.contextmanager
def _opened(path: Path, advice: str) -> Iterator[int]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Closed on exec: a notebook's process that outlives this one must not keep the lock.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ReportError(f"{path.parent} cannot be written to: {error.strerror}; {advice}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_locked_now(descriptor: int, path: Path) -> bool:
    """Take the lock if nobody has it; never waits, which on a network's file system could be for ever."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise ReportError(
            f"{path} cannot be locked: {error.strerror}; this file system has no locks: keep the reports on a local one"
        ) from error
    return True


def _say(descriptor: int, **what: str) -> None:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = json.dumps({**what, "process": os.getpid(), "since": since})
    with contextlib.suppress(OSError):  # on a full disk the lock still holds; only its holder's name is missing
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(path: Path) -> str:
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        run = f"run {held['run']}, " if "run" in held else ""
        return f"pipeline {held['pipeline']} ({run}process {held['process']}, since {held['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
