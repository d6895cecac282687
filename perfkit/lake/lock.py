"""One drainer or maintainer of a lake at a time: a lock that the kernel gives back when its holder ends."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from perfkit.errors import LakeError

__all__ = ["hold_lake"]

LOCK_FILE = ".drain.lock"
_LOOK_AGAIN_S = 0.02


@contextlib.contextmanager
def hold_lake(lake: Path, purpose: str, wait_s: float = 10.0) -> Iterator[None]:
    """Keep other drainers and maintainers out of a lake. Readers are not kept out.

    The lock saves work; it is not what makes a drain correct: see `perfkit.lake.draining`.

    Args:
        lake: folder of the lake; made when it does not exist.
        purpose: what it is held for, as others are told: ``drain``.
        wait_s: how long to wait for another holder, 0 or more.

    Raises:
        LakeError: another process held it all the time, or the folder cannot be written to.
    """
    path = lake / LOCK_FILE
    try:
        lake.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LakeError(
            f"lake {lake} cannot be written to: {error}; check its permissions (ls -ld {lake}). Reading it still "
            "works, and rows wait in the journal"
        ) from error
    try:
        _acquire(descriptor, path, wait_s)
        _say_who(descriptor, purpose)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LakeError(
                    f"lake {path.parent} is held by {_holder(path)}; waited {wait_s:g} s. Wait until it is "
                    "done and run again, or stop that process"
                ) from None
            time.sleep(_LOOK_AGAIN_S)
        except OSError as error:
            raise LakeError(
                f"{path} cannot be locked: {error.strerror}; keep the lake on a local file system"
            ) from error


def _say_who(descriptor: int, purpose: str) -> None:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):  # on a full disk the lock still holds; only its holder's name is missing
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"process": os.getpid(), "purpose": purpose, "since": since}).encode(), 0)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "another process"
    return f"process {holder['process']} ({holder['purpose']}, since {holder['since']})"
