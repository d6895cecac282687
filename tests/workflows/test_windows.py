"""Quantiles by window: those of the rows, and of the rollups once the rows are gone."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.errors import InputError, UnknownNameError
from perfkit.lake import open_lake
from perfkit.lake.rollups import roll_up
from perfkit.workflows.windows import window_quantiles

MIDNIGHT = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


def transfers(count, *, hour=0, producer="", seed=0):
    """Rows within one hour, evenly over its minutes."""
    random = np.random.default_rng(seed)
    moments = int((MIDNIGHT.timestamp() + hour * 3600) * 1e6) + np.arange(count) * 3600 * 10**6 // count
    return pa.table(
        {
            "source": ["service"] * count,
            "producer": [producer] * count,
            "observed_at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "method": np.where(np.arange(count) % 2, "uds", "shm_pool"),
            "payload_bytes": [1024] * count,
            "latency_ns": np.maximum(1, random.lognormal(10, 0.5, count)).astype(int),
            "ok": [True] * count,
        }
    )


@pytest.fixture
def lake(tmp_path):
    return open_lake(tmp_path / "lake")


def test_each_hour_has_the_quantiles_of_its_rows(lake):
    hours = [transfers(5000, hour=0, seed=1), transfers(1000, hour=3, seed=2)]
    for rows in hours:
        lake.append_transfers(rows)
    found = window_quantiles(lake)
    assert [one.begin for one in found.windows] == [MIDNIGHT, MIDNIGHT + datetime.timedelta(hours=3)]
    for one, rows in zip(found.windows, hours, strict=True):
        p95 = one.latency_ns[1]
        expected = np.quantile(rows["latency_ns"].to_numpy(), 0.95, method="median_unbiased")
        assert (p95.value, one.n) == (pytest.approx(expected), rows.num_rows)
        assert p95.low < p95.value < p95.high
    assert [one.latency_ns[3].enough for one in found.windows] == [True, False]
    assert "too few" in str(found)
    assert max(map(len, str(found).splitlines())) <= 80
    assert json.loads(json.dumps(found.to_plain()))["windows"][1]["latency_ns"]["p99.9"]["value"] is None


@pytest.mark.parametrize(("every", "windows"), [("1min", 60), ("30min", 2), ("1h", 1), ("1 day", 1)])
def test_windows_are_as_long_as_asked_for(lake, every, windows):
    lake.append_transfers(transfers(600))
    found = window_quantiles(lake, every=every)
    assert len(found.windows) == windows
    assert sum(one.n for one in found.windows) == 600


def test_groups_and_a_beginning_can_be_asked_for(lake):
    lake.append_transfers(transfers(400))
    lake.append_transfers(transfers(400, hour=1))
    since = MIDNIGHT + datetime.timedelta(minutes=90)
    found = window_quantiles(lake, since=since, by=("method",))
    assert [(one.group["method"], one.n) for one in found.windows] == [("shm_pool", 100), ("uds", 100)]


def test_services_are_clusters(lake):
    for number in range(3):
        lake.append_transfers(transfers(500, producer=f"service-{number}", seed=number))
    p50 = window_quantiles(lake).windows[0].latency_ns[0]
    assert (p50.method, p50.groups) == ("over clusters", 3)


def test_what_was_deleted_is_read_from_rollups(lake, tmp_path):
    """The first day's rows go, its rollups stay: the same windows, within 1 %."""
    lake.append_transfers(transfers(3000, seed=3))
    lake.append_transfers(transfers(3000, hour=25, seed=4))
    roll_up(lake)
    before = window_quantiles(lake, by=("method",))
    without = open_lake(tmp_path / "other")
    without.append_transfers(transfers(3000, hour=25, seed=4))
    from deltalake import DeltaTable, write_deltalake

    kept = DeltaTable(lake.path / "rollups").to_pyarrow_table()
    write_deltalake(without.path / "rollups", kept)
    after = window_quantiles(open_lake(without.path), by=("method",))
    assert [(one.begin, one.group, one.n) for one in after.windows] == [
        (one.begin, one.group, one.n) for one in before.windows
    ]
    assert [one.latency_ns[0].method for one in after.windows] == ["histogram"] * 2 + ["order statistics"] * 2
    for one, other in zip(after.windows, before.windows, strict=True):
        assert one.latency_ns[1].value == pytest.approx(other.latency_ns[1].value, rel=0.025)
        assert one.latency_ns[1].low <= other.latency_ns[1].low
    week = window_quantiles(open_lake(without.path), every="7 days")
    assert sum(one.n for one in week.windows) == 6000


@pytest.mark.parametrize("every", ["30s", "90s", "0s"])
def test_windows_of_no_whole_minutes_are_refused(lake, every):
    with pytest.raises(InputError, match="whole minutes"):
        window_quantiles(lake, every=every)


def test_an_unknown_column_is_refused_with_what_there_is(lake):
    with pytest.raises(UnknownNameError, match="method"):
        window_quantiles(lake, by=("methods",))


def test_an_empty_lake_has_no_windows(lake):
    assert "0 windows" in str(perfkit.window_quantiles(lake))
