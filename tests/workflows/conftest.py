"""A lake with runs, made by hand: quick, and every figure known."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from perfkit.lake import Lake, RunRecord, open_lake

START = datetime.datetime(2026, 11, 20, 21, 0, tzinfo=datetime.UTC)


def put_run(lake: Lake, run_id: str, minute: int = 0, *, status: str = "complete", **facts: Any) -> None:
    """A run of six observations; `facts` are further fields of its record."""
    moment = START + datetime.timedelta(minutes=minute)
    rows = [
        {
            "run_id": run_id,
            "observed_at": moment,
            "scenario": f"transport uds {size}",
            "launch": launch,
            "method": "uds",
            "payload_bytes": size,
            "latency_ns": 10_000 + size + launch,
            "producer": "slot-000",
            "epoch": 1,
            "producer_sequence": 100 * minute + 2 * launch + index + 1,
        }
        for launch in range(3)
        for index, size in enumerate((1024, 4096))
    ]
    lake.append_transfers(pa.Table.from_pylist(rows))
    facts = {"fingerprint": json.dumps({"cpu": "unknown"}), "preset": "quick", "launches": 3, "seconds": 61.0, **facts}
    lake.append_run(RunRecord(run_id, status, moment, observations=len(rows), **facts))


@pytest.fixture(scope="session")
def runs_lake_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `runs_lake` copies."""
    lake = open_lake(tmp_path_factory.mktemp("runs") / "lake")
    put_run(lake, "20261120-210000-aaaa", 0)
    put_run(lake, "20261120-220000-bbbb", 60, status="budget")
    put_run(lake, "20261121-070000-cccc", 600, status="interrupted")
    return lake.path


@pytest.fixture
def runs_lake(runs_lake_made: Path, tmp_path: Path) -> Lake:
    """Three runs: two of a day that ended by themselves, and a newer one that did not."""
    return open_lake(shutil.copytree(runs_lake_made, tmp_path / "lake"))


@pytest.fixture
def add_run() -> Callable[..., None]:
    """`put_run`."""
    return put_run
