"""Which run is fitted, and what the fit carries."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pyarrow as pa
import pytest

from perfkit.errors import LakeError, UnknownNameError
from perfkit.lake import Lake, open_lake
from perfkit.lake.records import RunRecord
from perfkit.workflows.tune import fit_run

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def keep_run(lake: Lake, run_id: str, status: str, minute: int, *, uds_ns: float) -> None:
    """A run in which the socket costs `uds_ns` and half a nanosecond per byte, the pool 40 us."""
    rows = [
        {
            "run_id": run_id,
            "method": method,
            "payload_bytes": size,
            "launch": launch,
            "round": turn,
            "latency_ns": int((fixed + per_byte * size) * (1 + 0.01 * turn + 0.005 * launch)),
        }
        for method, fixed, per_byte in (("uds", uds_ns, 0.5), ("shm_pool", 40_000, 0.05))
        for size in (1024, 65536, 1048576, 16777216)
        for launch in range(3)
        for turn in range(3)
    ]
    lake.append_transfers(pa.Table.from_pylist(rows))
    moment = START + datetime.timedelta(minutes=minute)
    lake.append_run(RunRecord(run_id, status, moment, fingerprint=json.dumps({"cpu": run_id}), launches=3))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = open_lake(tmp_path / "lake")
    keep_run(lake, "old", "complete", 1, uds_ns=10_000)
    keep_run(lake, "new", "budget", 2, uds_ns=20_000)
    keep_run(lake, "broken-off", "interrupted", 3, uds_ns=30_000)
    return lake


def test_the_newest_finished_run_is_fitted_alone(lake: Lake) -> None:
    learned = fit_run(lake.path)
    assert learned.curves.evidence.runs == ("new",)
    assert learned.curves.fingerprint == {"cpu": "new"}
    assert learned.curves.evidence.table_versions == lake.versions()
    assert learned.predict("uds", 1024).value == pytest.approx(20_000, rel=0.1)


@pytest.mark.parametrize("run_id", ["old", "broken-off"])
def test_any_run_can_be_asked_for(lake: Lake, run_id: str) -> None:
    assert fit_run(lake.path, run_id).curves.evidence.runs == (run_id,)


def test_an_unknown_run_is_answered_with_those_that_exist(lake: Lake) -> None:
    with pytest.raises(UnknownNameError, match=r"allowed: broken-off, new, old\. Did you mean 'old'.*perfkit runs"):
        fit_run(lake.path, "olt")


def test_an_empty_lake_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="perfkit bench"):
        fit_run(tmp_path / "lake")


def test_a_run_without_observations_cannot_be_fitted(lake: Lake) -> None:
    lake.append_run(RunRecord("empty", "complete"))
    with pytest.raises(LakeError, match=r"run empty has no transfers .* `perfkit bench` measures anew"):
        fit_run(lake.path, "empty")
