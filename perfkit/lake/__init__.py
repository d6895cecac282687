"""Keep and query what was measured: Delta tables on disk, read through Ibis by an in-memory DuckDB."""

from __future__ import annotations

from perfkit.lake.drain_result import DrainProgress, DrainResult
from perfkit.lake.draining import drain
from perfkit.lake.lake import LAKE_TABLES, Lake, open_lake
from perfkit.lake.places import DEFAULT_LAKE_PATH, journal_folder
from perfkit.lake.records import RUN_STATUSES, RunRecord

__all__ = [
    "DEFAULT_LAKE_PATH",
    "LAKE_TABLES",
    "RUN_STATUSES",
    "DrainProgress",
    "DrainResult",
    "Lake",
    "RunRecord",
    "drain",
    "journal_folder",
    "open_lake",
]
