"""`perfkit.slos`: promises about runs and about traffic, with budgets, burn rates and what is not known."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.slos import Slo
from perfkit.errors import ConfigError, InputError
from perfkit.lake.rollups import roll_up
from perfkit.schema import arrow_schema


def traffic(*, slow=0.0, failed=0.0, minutes=range(10, 600), each=5, pool="ml"):
    """Requests of a service: 1 ms each, a share of them 9 ms, a share of them failed; `minutes` ago."""
    rng, now = np.random.default_rng(1), datetime.datetime.now(datetime.UTC)
    ago = np.repeat(np.array(list(minutes)), each)
    latency = np.where(rng.random(ago.size) < slow, 9_000_000, 1_000_000)
    return pa.table(
        {
            "source": ["service"] * ago.size,
            "pool": [pool] * ago.size,
            "method": ["uds"] * ago.size,
            "payload_bytes": np.full(ago.size, 100_000),
            "latency_ns": latency,
            "ok": rng.random(ago.size) >= failed,
            "observed_at": pa.array([now - datetime.timedelta(minutes=int(one)) for one in ago]),
        }
    )


def lake_of(folder, *tables):
    table = pa.concat_tables(tables)
    lake = perfkit.open_lake(folder)
    lake.append_transfers(table.cast(pa.schema([arrow_schema().field(name) for name in table.column_names])))
    return lake


def one(report):
    (status,) = report.statuses
    return status


def test_the_traffic_of_each_pool_is_judged_by_itself(tmp_path):
    lake_of(tmp_path / "lake", traffic(), traffic(slow=0.1, pool="ml-batch"), traffic(pool="web", slow=1.0))
    promise = [Slo("fast", pool="ml*", latency_ns=5_000_000)]
    report = perfkit.slos(settings=promise, lake=tmp_path / "lake")
    assert [(status.subject, status.verdict) for status in report.statuses] == [
        ("pool ml", "kept"),
        ("pool ml-batch", "broken"),
    ]
    broken = report.statuses[1]
    assert broken.spent == pytest.approx(10, rel=0.2)
    assert broken.low < 0.1 < broken.high
    assert report.verdict == "broken"
    assert "of the error budget is spent" in report.sentence


def test_errors_that_come_faster_than_the_budget_bears_raise_an_alert(tmp_path):
    lake_of(
        tmp_path / "lake", traffic(minutes=range(60, 30_000, 30), each=20), traffic(failed=0.5, minutes=range(1, 8))
    )
    report = perfkit.slos(settings=[Slo("up", pool="ml", error_rate=0.01)], lake=tmp_path / "lake")
    status = one(report)
    assert (status.verdict, status.alert, report.ok) == ("kept", "page", False)


def test_throughput_and_memory_are_judged_where_they_were_measured(tmp_path):
    lake_of(tmp_path / "lake", traffic())
    promises = [
        Slo("enough", pool="ml", throughput_bytes_per_s=50_000_000),
        Slo("more", pool="ml", throughput_bytes_per_s=200_000_000),
        Slo("lean", pool="ml", memory_bytes=1000),
    ]
    report = perfkit.slos(settings=promises, lake=tmp_path / "lake")
    assert {status.slo: status.verdict for status in report.statuses} == {
        "enough": "kept",
        "more": "broken",
        "lean": "not known",
    }


def test_minutes_whose_rows_are_gone_are_judged_by_their_rollups(tmp_path):
    lake = lake_of(tmp_path / "lake", traffic(slow=0.1, failed=0.2, minutes=range(10, 1500, 10)))
    promise = [Slo("fast", pool="ml", latency_ns=5_000_000, error_rate=0.5)]
    by_rows = perfkit.slos(settings=promise, lake=lake.path)
    roll_up(lake)
    from deltalake import DeltaTable

    DeltaTable(str(lake.path / "transfers")).delete()
    by_rollups = perfkit.slos(settings=promise, lake=lake.path)
    assert [(status.n, status.value) for status in by_rollups.statuses] == [
        (status.n, status.value) for status in by_rows.statuses
    ]


def test_a_run_is_judged_scenario_by_scenario():
    rng = np.random.default_rng(2)
    columns = {"method": ["uds"] * 900 + ["grpc"] * 900, "payload_bytes": [1024] * 1800}
    frame = {**columns, "launch": np.tile(np.arange(3), 600), "latency_ns": rng.integers(900, 1000, 1800)}
    frame["latency_ns"][900:] *= 100
    report = perfkit.slos(frame, settings=[Slo("fast", scenario="transport *", latency_ns=2000)])
    assert {status.subject.split()[1]: status.verdict for status in report.statuses} == {
        "uds": "kept",
        "grpc": "broken",
    }


def test_a_few_transfers_settle_no_p99():
    frame = {"method": ["uds"] * 50, "payload_bytes": [1024] * 50, "latency_ns": [1000] * 50}
    status = one(perfkit.slos(frame, settings=[Slo("fast", scenario="*", latency_ns=2000)]))
    assert status.verdict == "not known"
    assert status.high > 0.01


def test_what_nothing_is_known_of_is_said_with_the_next_step(tmp_path):
    promises = [Slo("a", pool="ml", latency_ns=1), Slo("b", scenario="*", latency_ns=1)]
    report = perfkit.slos(settings=promises, lake=tmp_path / "none")
    assert not report.statuses
    assert "no traffic of pool 'ml'" in report.warnings[0]
    assert "`perfkit slos latest`" in report.warnings[1]


def test_a_file_that_promises_nothing_is_refused(tmp_path):
    path = tmp_path / "perfkit.toml"
    path.write_text("[engine]\n")
    with pytest.raises(InputError, match=r"promises nothing; add a table \[slos.NAME\]"):
        perfkit.slos(settings=path)
    with pytest.raises(ConfigError):
        perfkit.slos(settings=tmp_path / "missing.toml")
