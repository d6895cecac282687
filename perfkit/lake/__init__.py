"""Keep and query what was measured: Delta tables on disk, read through Ibis by an in-memory DuckDB."""

from __future__ import annotations

from perfkit.lake.lake import DEFAULT_LAKE_PATH, Lake, open_lake
from perfkit.lake.records import RUN_STATUSES, RunRecord

__all__ = ["DEFAULT_LAKE_PATH", "RUN_STATUSES", "Lake", "RunRecord", "open_lake"]
