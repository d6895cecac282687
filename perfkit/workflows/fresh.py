"""A lake with everything that was recorded until now."""

from __future__ import annotations

import warnings
from pathlib import Path

from perfkit.errors import JournalError, LakeError
from perfkit.lake import Lake, drain, open_lake

__all__ = ["open_fresh_lake"]


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
    except (JournalError, LakeError) as error:
        warnings.warn(f"what waits in the journal is left out: {error}", stacklevel=2)
    return lake
