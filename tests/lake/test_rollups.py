"""Rollups are made of rows: they say what the rows say, however often they are made."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from perfkit.errors import UnknownNameError
from perfkit.lake import Lake, open_lake
from perfkit.lake.rollups import ROLLED_UP_BY, quantiles, roll_up
from perfkit.schema import arrow_schema
from perfkit.stats.histogram import RELATIVE_ERROR, ZERO_BUCKET, LogHistogram

DAY = datetime.date(2026, 11, 1)
MIDNIGHT = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
QUANTILES = (0.5, 0.95, 0.99, 0.999)


def transfers(count: int, day: int = 0, *, run_id: str = "", seed: int = 0, spread_s: int = 3600) -> pa.Table:
    """Rows of one day, at random moments of its first hour."""
    random = np.random.default_rng(seed)
    microseconds = int((MIDNIGHT.timestamp() + day * 86_400) * 1e6) + random.integers(0, spread_s * 10**6, count)
    return pa.table(
        {
            "run_id": [run_id] * count,
            "source": ["service"] * count,
            "observed_at": pa.array(microseconds, pa.timestamp("us", tz="UTC")),
            "method": random.choice(["uds", "shm_pool"], count),
            "payload_bytes": random.integers(0, 2**24, count),
            "latency_ns": np.maximum(1, random.lognormal(10, 1, count)).astype(int),
            "ok": random.random(count) > 0.02,
        }
    )


def with_direction(rows: pa.Table, direction: str) -> pa.Table:
    return rows.append_column("direction", pa.repeat(direction, rows.num_rows))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return open_lake(tmp_path / "lake")


def rollup_rows(lake: Lake) -> list[dict[str, object]]:
    return lake.rollups.order_by(list(ROLLED_UP_BY)).to_pyarrow().to_pylist()


def test_a_rollup_counts_sums_and_buckets_the_transfers_of_a_minute(lake: Lake) -> None:
    rows = transfers(4)
    moments = [MIDNIGHT + datetime.timedelta(seconds=second) for second in (0, 59.999999, 30, 60)]
    for name, values in (
        ("observed_at", pa.array(moments, pa.timestamp("us", tz="UTC"))),
        ("method", ["uds"] * 4),
        ("payload_bytes", [1024, 2047, 1500, 1024]),
        ("latency_ns", [1000, 5000, 7, 0]),
        ("ok", [True, True, False, True]),
    ):
        rows = rows.set_column(rows.column_names.index(name), name, [values])
    lake.append_transfers(rows)
    result = roll_up(lake)
    first, second = rollup_rows(lake)
    assert (first["minute"], second["minute"]) == (MIDNIGHT, MIDNIGHT + datetime.timedelta(minutes=1))
    expected = LogHistogram.from_values([1000, 5000])
    assert first["bucket"] == expected.buckets.tolist()
    assert first["bucket_transfers"] == [1, 1]
    names = (
        "size_class",
        "transfers",
        "failures",
        "payload_bytes",
        "latency_sum_ns",
        "latency_min_ns",
        "latency_max_ns",
    )
    assert [first[name] for name in names] == [10, 2, 1, 3071, 6000, 1000, 5000]
    assert (second["bucket"], second["latency_min_ns"]) == ([ZERO_BUCKET], 0)
    assert (result.rebuilt, result.transfers, result.rollups) == ((DAY,), 4, 2)


def test_the_table_on_disk_has_the_schema_that_is_defined(lake: Lake) -> None:
    lake.append_transfers(transfers(10))
    roll_up(lake)
    stored = pa.schema(DeltaTable(lake.path / "rollups").schema().to_arrow())
    assert stored.names == arrow_schema("rollups").names
    assert [field.nullable for field in stored] == [field.nullable for field in arrow_schema("rollups")]


@pytest.mark.parametrize("by", [(), ("method",), ("method", "size_class"), ("minute",)], ids=lambda by: "+".join(by))
def test_quantiles_of_rollups_are_those_of_the_rows_within_1_percent(lake: Lake, by: tuple[str, ...]) -> None:
    for day in range(2):
        lake.append_transfers(transfers(4_000, day, seed=day, spread_s=600))
    roll_up(lake)
    merged = quantiles(lake.rollups, by)
    frame = lake.transfers.to_polars()
    frame = frame.with_columns(
        minute=frame["observed_at"].dt.truncate("1m"),
        size_class=pa.array(np.log2(np.maximum(frame["payload_bytes"].to_numpy(), 1)).astype(int)).to_numpy(),
    )
    parts = frame.filter(frame["ok"]).partition_by(by, as_dict=True) if by else {(): frame.filter(frame["ok"])}
    assert {tuple(one.group.values()) for one in merged.groups if one.histogram.count} == set(parts)
    assert all(row["bucket"] == sorted(set(row["bucket"])) for row in rollup_rows(lake))
    for one in merged.groups:
        exact = parts[tuple(one.group.values())]["latency_ns"].to_numpy()
        assert one.histogram.count == exact.size
        for q in QUANTILES:
            expected = np.quantile(exact, q, method="lower")
            assert one.histogram.quantile(q) == pytest.approx(expected, rel=RELATIVE_ERROR * (1 + 1e-6))


def test_quantiles_render_themselves(lake: Lake) -> None:
    lake.append_transfers(transfers(100))
    roll_up(lake)
    merged = quantiles(lake.rollups.filter(lake.rollups.method == "uds"), ("minute", "method"))
    assert {one.group["method"] for one in merged.groups} == {"uds"}
    assert "p99.9" in str(merged)
    assert "p99.9" in merged._repr_html_()
    assert json.loads(json.dumps(merged.to_plain()))["by"] == ["minute", "method"]
    with pytest.raises(UnknownNameError, match="Did you mean 'method'"):
        quantiles(lake.rollups, ("methods",))


def test_an_empty_lake_has_empty_rollups(lake: Lake) -> None:
    result = roll_up(lake)
    assert (result.rebuilt, result.rollups) == ((), 0)
    assert quantiles(lake.rollups, ()).groups == ()
    assert str(result)


def test_running_it_again_changes_nothing_and_commits_nothing(lake: Lake) -> None:
    lake.append_transfers(transfers(500))
    first = roll_up(lake)
    rows = rollup_rows(lake)
    again = roll_up(lake)
    assert again.rebuilt == ()
    assert again.version == first.version
    assert rollup_rows(lake) == rows


def test_only_the_days_that_changed_are_rebuilt(lake: Lake) -> None:
    for day in (0, 1, 5):
        lake.append_transfers(transfers(50, day))
    assert [day.day for day in roll_up(lake).rebuilt] == [1, 2, 6]
    lake.append_transfers(transfers(7, 1, seed=9))
    result = roll_up(lake)
    assert [day.day for day in result.rebuilt] == [2]
    assert result.transfers == 57
    assert sum(row["transfers"] + row["failures"] for row in rollup_rows(lake)) == 157


def test_rows_that_somebody_deleted_leave_the_rollups(lake: Lake) -> None:
    lake.append_transfers(transfers(50, 0, run_id="a"))
    lake.append_transfers(transfers(50, 1, run_id="b"))
    roll_up(lake)
    DeltaTable(lake.path / "transfers").delete("run_id = 'a'")
    assert [day.day for day in roll_up(lake).rebuilt] == [1]
    assert {row["minute"].day for row in rollup_rows(lake)} == {2}


def test_a_frozen_day_stays_when_its_rows_are_deleted_and_what_comes_late_is_named(lake: Lake) -> None:
    lake.append_transfers(transfers(50, 0))
    lake.append_transfers(transfers(50, 1))
    roll_up(lake, freeze_before=DAY + datetime.timedelta(1))
    rows = rollup_rows(lake)
    DeltaTable(lake.path / "transfers").delete("observed_at < '2026-11-02T00:00:00Z'")
    result = roll_up(lake)
    assert (result.rebuilt, result.frozen, result.warnings) == ((), 1, ())
    assert rollup_rows(lake) == rows
    lake.append_transfers(transfers(3, 0, seed=5))
    result = roll_up(lake)
    assert "3 transfers came after their day was frozen" in str(result)
    assert rollup_rows(lake) == rows


def test_a_day_that_was_rolled_up_in_part_is_rebuilt_before_it_is_frozen(lake: Lake) -> None:
    lake.append_transfers(transfers(10, 0))
    roll_up(lake)
    lake.append_transfers(transfers(90, 0, seed=5))
    result = roll_up(lake, freeze_before=DAY + datetime.timedelta(1))
    assert (len(result.rebuilt), result.frozen, result.warnings) == (1, 0, ())
    assert sum(row["transfers"] + row["failures"] for row in rollup_rows(lake)) == 100
    lake.append_transfers(transfers(3, 0, seed=6))
    assert (roll_up(lake).rebuilt, roll_up(lake).frozen) == ((), 1)


def test_rows_of_runs_that_come_late_are_named_too_and_those_that_are_kept_are_not(lake: Lake) -> None:
    lake.append_transfers(transfers(50, 0))
    lake.append_transfers(transfers(20, 0, run_id="pinned", seed=1))
    roll_up(lake, freeze_before=DAY + datetime.timedelta(1))
    DeltaTable(lake.path / "transfers").delete("run_id = ''")
    assert roll_up(lake).warnings == ()
    late = transfers(4, 0, run_id="late", seed=2)
    moments = pa.array([MIDNIGHT + datetime.timedelta(hours=20)] * 4, pa.timestamp("us", tz="UTC"))
    lake.append_transfers(late.set_column(late.column_names.index("observed_at"), "observed_at", moments))
    lake.append_transfers(transfers(3, 0, seed=5))
    assert "7 transfers came after their day was frozen" in str(roll_up(lake))


def test_rows_of_a_day_that_was_never_rolled_up_are_counted_however_late(lake: Lake) -> None:
    lake.append_transfers(transfers(50, 5))
    roll_up(lake, freeze_before=DAY + datetime.timedelta(4))
    lake.append_transfers(transfers(50, 0))
    assert [day.day for day in roll_up(lake).rebuilt] == [1]


def test_days_before_the_first_are_left_out(lake: Lake) -> None:
    lake.append_transfers(transfers(50, 0))
    lake.append_transfers(transfers(50, 1))
    assert [day.day for day in roll_up(lake, first_day=DAY + datetime.timedelta(1)).rebuilt] == [2]


def test_rows_without_a_time_are_named(lake: Lake) -> None:
    lake.append_transfers(transfers(5).drop_columns(["observed_at"]))
    assert "5 transfers without a time" in str(roll_up(lake))


@settings(deadline=None, max_examples=5)
@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.integers(0, 4 * 86_400), st.sampled_from(["uds", "grpc"]), st.integers(0, 2**40), st.booleans()
            ),
            min_size=1,
            max_size=12,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_rollups_are_the_same_whether_made_after_every_batch_or_at_the_end(
    batches: list[list[tuple[int, str, int, bool]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lakes")
    often, once = open_lake(folder / "often"), open_lake(folder / "once")
    for batch in batches:
        seconds, methods, latencies, oks = zip(*batch, strict=True)
        table = pa.table(
            {
                "observed_at": pa.array(
                    [MIDNIGHT + datetime.timedelta(seconds=s) for s in seconds], pa.timestamp("us", tz="UTC")
                ),
                "method": methods,
                "payload_bytes": [100] * len(batch),
                "latency_ns": latencies,
                "ok": oks,
            }
        )
        often.append_transfers(table)
        once.append_transfers(table)
        roll_up(often)
    roll_up(once)
    assert rollup_rows(often) == rollup_rows(once)
    assert sum(row["transfers"] + row["failures"] for row in rollup_rows(once)) == sum(map(len, batches))


def test_replies_are_rolled_up_apart_from_requests(lake: Lake) -> None:
    lake.append_transfers(with_direction(transfers(100), "request"))
    lake.append_transfers(with_direction(transfers(40, seed=1), "reply"))
    roll_up(lake)
    groups = quantiles(lake.rollups, by=("direction",)).groups
    assert {one.group["direction"]: one.histogram.count + one.failures for one in groups} == {
        "reply": 40,
        "request": 100,
    }
    assert roll_up(lake).rebuilt == ()
