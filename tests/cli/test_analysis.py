"""`perfkit analyse` prints an analysis, and says what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perfkit.lake import open_lake


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Traffic of a service: three processes' worth of transfers."""
    random = np.random.default_rng(1)
    count = 900
    methods = np.where(np.arange(count) % 2, "uds", "grpc")
    latency = np.where(methods == "uds", 20_000, 400_000) * random.lognormal(0, 0.2, count)
    columns = {
        "method": methods,
        "payload_bytes": np.full(count, 1024),
        "latency_ns": latency.astype(int),
        "launch": np.arange(count, dtype="i4") // 300,
        "source": np.full(count, "service"),
    }
    open_lake(tmp_path / "data" / "lake").append_transfers(pa.table(columns))
    return tmp_path / "data" / "lake"


@pytest.mark.usefixtures("lake")
def test_it_prints_percentiles_for_people_and_programs(perfkit: Any) -> None:
    shown = perfkit("analyse")
    assert shown.exit_code == 0
    assert "Percentiles of latency" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    plain = perfkit("analyse", "--by", "method,size_class", "--json").json()
    assert [one["group"] for one in plain["percentiles"]] == [
        {"method": "grpc", "size_class": 10},
        {"method": "uds", "size_class": 10},
    ]
    assert plain["percentiles"][1]["latency_ns"]["p50"]["n"] == 450
    assert plain["percentiles"][1]["latency_ns"]["p99.9"]["value"] is None


@pytest.mark.usefixtures("lake")
@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (("--by", "metod"), 2, "Did you mean 'method'"),
        (("--by", ","), 2, "names nothing"),
        (("--run", "no-such-run"), 2, "unknown run"),
        (("--since", "yesterday"), 2, "cannot be read"),
        (("--since", "1h", "--run", "x"), 2, "must be one of them"),
        (("--since", "1h"), 1, "no transfers"),
        (("--lake", "elsewhere"), 1, "perfkit bench"),
    ],
)
def test_what_cannot_be_analysed_is_said(
    perfkit: Any, arguments: tuple[str, ...], exit_code: int, message: str
) -> None:
    outcome = perfkit("analyse", *arguments)
    assert outcome.exit_code == exit_code
    assert message in outcome.stderr
