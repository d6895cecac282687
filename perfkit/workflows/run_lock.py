"""One driver per run: a lock that the kernel gives back when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from perfkit.errors import LakeError

__all__ = ["hold_run"]


@contextlib.contextmanager
def hold_run(lake: str | Path, run_id: str) -> Iterator[bool]:
    """Hold a run in a lake; says whether it could be had. Its file is removed at the end.

    Raises:
        LakeError: the lake's folder cannot be written to, or has a file system without locks.
    """
    path = Path(lake, ".running", f"{run_id}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LakeError(f"{path} cannot be written: {error.strerror}; check the permissions of {lake}") from error
    try:
        is_held = _try_lock(descriptor, path)
        try:
            yield is_held
        finally:
            if is_held:
                path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may have removed the file after we opened it: then the lock is on nothing.
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        raise LakeError(f"{path} cannot be locked: {error.strerror}; keep the lake on a local file system") from error
