"""Where a lake and the journal that feeds it are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT_LAKE_PATH", "journal_folder"]

DEFAULT_LAKE_PATH = "data/lake"


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
