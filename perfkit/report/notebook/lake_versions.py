"""Which versions of the lake a notebook read: kept in it, so that its figures can be computed again."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfkit.errors import InputError

if TYPE_CHECKING:
    from perfkit.lake import Lake

__all__ = ["VERSIONS_MIMETYPE", "LakeVersions", "open_recorded", "read_versions", "record_versions"]

VERSIONS_MIMETYPE = "application/vnd.perfkit.versions+json"


@dataclasses.dataclass(frozen=True)
class LakeVersions:
    """The versions that a notebook read.

    Args:
        lake: folder of the lake, relative to the notebook.
        versions: version by table; -1 where a table had no rows.

    >>> print(LakeVersions("../data/lake", {"transfers": 12, "runs": 3, "events": -1}))
    Lake versions: transfers 12, runs 3
    """

    lake: str
    versions: Mapping[str, int]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        text = f'<p class="perfkit-versions">{html.escape(str(self))}</p>'
        return {VERSIONS_MIMETYPE: dataclasses.asdict(self), "text/html": text, "text/plain": str(self)}

    def __str__(self) -> str:
        named = ", ".join(f"{table} {version}" for table, version in self.versions.items() if version >= 0)
        return f"Lake versions: {named or 'no table has rows'}"


def open_recorded(path: str | Path, versions: str = "") -> Lake:
    """Open a lake at fixed versions and keep in the notebook which.

    Args:
        path: folder of the lake.
        versions: version by table as JSON text, as a report's `run.json` has it; empty drains the journal and takes the
            newest.

    Returns:
        The lake; whatever comes in meanwhile, it stays at these versions.

    Raises:
        InputError: `versions` is not what `run.json` has.
        LakeError: the lake cannot be read.
    """
    from perfkit.lake import open_lake
    from perfkit.workflows.fresh import open_fresh_lake

    chosen = _parse(versions) if versions else open_fresh_lake(path).versions()
    lake = open_lake(path, versions=chosen)
    record_versions(lake)
    return lake


def record_versions(lake: Lake) -> None:
    """Keep in the notebook which versions of the tables it read, for the report to pin.

    Args:
        lake: the lake that the figures come from, or that what was measured went to.

    Raises:
        LakeError: the lake cannot be read.
    """
    from IPython.display import display

    display(LakeVersions(str(lake.path), lake.versions()))  # type: ignore[no-untyped-call]


def read_versions(notebook: Any) -> LakeVersions | None:
    """What an executed notebook (an nbformat node) has recorded last; None when it did not."""
    outputs = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    kept = [data[VERSIONS_MIMETYPE] for data in outputs if VERSIONS_MIMETYPE in data]
    return LakeVersions(kept[-1]["lake"], dict(kept[-1]["versions"])) if kept else None


def _parse(text: str) -> dict[str, int]:
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict) or not all(type(version) is int for version in parsed.values()):
        raise InputError(
            f'versions == {text!r}, must be JSON such as {{"transfers": 12, "runs": 3}}; run.json has them'
        )
    return parsed
