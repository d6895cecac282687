"""A lake with everything that was recorded until now."""

from __future__ import annotations

import warnings
from pathlib import Path

from perfkit.errors import LakeError
from perfkit.lake import Lake, drain, open_lake

__all__ = ["open_drained_lake", "open_fresh_lake"]


def open_fresh_lake(path: str | Path = "data/lake") -> Lake:
    """Drain the journal beside a lake, then open the lake.

    Args:
        path: folder of the lake.

    Returns:
        The lake. Where the journal cannot be drained - a read-only lake, another drainer that takes long - a warning
        says so, and the lake is as it was before.

    Raises:
        LakeError: `path` is a file.

    >>> open_fresh_lake("a/folder/that/does/not/exist").versions()["transfers"]
    -1
    """
    lake = open_lake(path)
    try:
        drain(path)
    except LakeError as error:
        warnings.warn(f"what waits in the journal is left out: {error}", stacklevel=2)
    return lake


def open_drained_lake(path: str | Path = "data/lake") -> tuple[Lake, tuple[str, ...]]:
    """As `open_fresh_lake`, for who must not go on while rows wait: those of a deleted run would come back.

    Args:
        path: folder of the lake.

    Returns:
        The lake, and what the drain warned of: slots that could not be read.

    Raises:
        LakeError: `path` is a file, or the journal cannot be drained.

    >>> open_drained_lake("a/folder/that/does/not/exist")[1]
    ()
    """
    lake = open_lake(path)
    try:
        return lake, drain(path).warnings
    except LakeError as error:
        raise LakeError(
            f"what waits in the journal of {path} could not be moved into the lake: {error}. Nothing was done; run "
            "`perfkit drain`, then try again"
        ) from error
