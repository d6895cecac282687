"""Where a lake and the journal that feeds it are."""

from __future__ import annotations

import os
import re
from pathlib import Path

from perfkit.errors import LakeError

__all__ = ["DEFAULT_LAKE_PATH", "journal_folder", "refuse_unusable_folder"]

DEFAULT_LAKE_PATH = "data/lake"

_UNUSABLE = re.compile(r"[\[\]\\^|\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
"""What deltalake 1.6 makes another folder of, or ends with a panic of, given as a path or as a file URI."""


def journal_folder(lake: str | Path) -> Path:
    """The folder of the journal beside a lake.

    Args:
        lake: folder of the lake.

    Returns:
        ``journal`` beside a folder named ``lake``, else the lake's name with ``-journal``: two lakes in one folder do
        not share one.

    >>> journal_folder("data/lake").as_posix(), journal_folder("tmp/mine").as_posix()
    ('data/journal', 'tmp/mine-journal')
    """
    folder = Path(lake)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    return folder.with_name("journal" if folder.name == "lake" else f"{folder.name}-journal")


def refuse_unusable_folder(lake: Path) -> None:
    """Refuse a folder whose path deltalake cannot open, before anything is made or read.

    Raises:
        LakeError: a name in the path has ``[``, ``]``, ``\\``, ``^``, ``|``, a control character, or ``%`` before two
            hexadecimal digits.

    >>> refuse_unusable_folder(Path("/data[1]/lake"))
    Traceback (most recent call last):
    perfkit.errors.LakeError: lake /data[1]/lake cannot be used: its path has '[', ...
    """
    path = os.path.realpath(lake)
    found = _UNUSABLE.search(path)
    if found:
        raise LakeError(
            f"lake {path} cannot be used: its path has {found[0]!r}, which the Delta library does not open; choose "
            "a folder whose path has none of [ ] \\ ^ |, no control characters and no % before two hexadecimal digits"
        )
