"""The forecast from what a lake holds: traffic by the hour, the newest ladder, and what a transfer takes."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.curves import CurveSet
from perfkit.config.fingerprint import collect_fingerprint
from perfkit.errors import InputError, UnknownNameError
from perfkit.lake import RunRecord, open_lake
from perfkit.workflows.forecast import Host, forecast
from perfkit.workflows.forecast.costs import Mix, costs_of
from perfkit.workflows.forecast.traffic import complete_hours, traffic_of
from perfkit.workflows.ladder_result import LadderPoint, LadderResult

START = datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)
PER_HOUR, HOURS = 20, 60
OFF, SILENT = range(20, 23), range(40, 42)
"""Hours in which nobody recorded, and hours in which a process recorded that nothing came."""


def keep_traffic(lake: Path) -> None:
    """Twenty transfers an hour by uds, of 1 MiB; one process until the gap, another after it."""
    hours = [hour for hour in range(HOURS) if hour not in OFF and hour not in SILENT]
    rows = [
        {
            "source": "service",
            "stage": "whole",
            "method": "uds",
            "payload_bytes": 2**20,
            "latency_ns": 1000,
            "observed_at": START + datetime.timedelta(hours=hour, minutes=3 * one),
            "producer": "slot",
            "epoch": 1 if hour < OFF.start else 2,
        }
        for hour in hours
        for one in range(PER_HOUR)
    ]
    open_lake(lake).append_transfers(pa.Table.from_pylist(rows))


def keep_ladder(lake: Path, run_id: str, gamma: float, fingerprint: dict[str, str], method: str = "uds") -> None:
    """A ladder of 4 levels: sends of the first and last row tell its throughput."""
    rows = []
    for level in (1, 2, 4, 8):
        per_s = gamma * level / (1 + 0.1 * (level - 1))
        for place in range(2):
            moment = START + datetime.timedelta(seconds=1000 * place / per_s)
            rows.append({"run_id": run_id, "method": method, "payload_bytes": 2**20, "latency_ns": 1000,
                         "in_flight": level, "sequence": 1000 * place, "observed_at": moment})  # fmt: skip
    opened = open_lake(lake)
    opened.append_transfers(pa.Table.from_pylist(rows))
    opened.append_run(RunRecord(run_id, "complete", preset="ladder", fingerprint=json.dumps(fingerprint)))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traffic, a ladder of this host, and a newer one of another."""
    folder = tmp_path_factory.mktemp("forecast") / "lake"
    keep_traffic(folder)
    keep_ladder(folder, "own", 100.0, collect_fingerprint())
    keep_ladder(folder, "foreign", 900.0, {**collect_fingerprint(), "cpu": "another"})
    return folder


@pytest.fixture
def thresholds(tmp_path: Path, make_curves: Callable[..., CurveSet], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Published: a transfer by uds takes 1 ms and 1 ns per byte, and half of that of a processor."""
    curves = make_curves({"uds": (1e6, 1.0)}, cpu={"uds": (0.5e6, 0.5)}, fingerprint=collect_fingerprint())
    monkeypatch.chdir(tmp_path)  # where no model lies
    path = tmp_path / "thresholds.toml"
    perfkit.publish(type("Fitted", (), {"curves": curves})(), path=path, force=True)
    return path


def test_an_hour_counts_only_where_it_was_recorded_from_begin_to_end(lake: Path) -> None:
    """Silence within a process is a zero; hours without one, and those beside them, are gaps."""
    found = traffic_of(lake)
    hours = (found.times - int(START.timestamp())) // 3600
    gone = {0, OFF.start - 1, *OFF, OFF.stop, HOURS - 1}
    # The first process began with hour 0, the second with the first after the gap: these are whole.
    assert set(range(HOURS)) - set(hours.tolist()) == gone - {0, OFF.stop}
    by_hour = dict(zip(hours.tolist(), found.transfers_per_s * 3600, strict=True))
    assert {by_hour[hour] for hour in SILENT} == {0.0}
    assert {value for hour, value in by_hour.items() if hour not in SILENT} == {PER_HOUR}
    assert found.bytes_per_s.max() == pytest.approx(PER_HOUR * 2**20 / 3600)
    assert found.mix.mean_bytes == 2**20
    said = " ".join(found.notes)
    assert "4 hours were recorded in part or not at all: gaps" in said
    assert "in 2 hours a process recorded before and after" in said


def test_hours_between_busy_hours_count_without_knowing_the_process() -> None:
    hours, known, empty = complete_hours(np.array([30, 61, 125, 185, 400]), np.empty((0, 2), np.int64))
    assert hours.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert known.tolist() == [False, True, True, False, False, False, False]
    assert not empty.any()


def test_the_lake_answers_with_the_newest_ladder_of_this_host_and_published_costs(lake: Path, thresholds: Path) -> None:
    found = forecast(lake=lake, thresholds=thresholds, host=Host(workers=4, cores=2))
    assert found.usl is not None
    assert found.usl.gamma.value == pytest.approx(100, rel=0.1)
    assert found.bottleneck is not None
    each_s = (1e6 + 2**20) / 1e9
    capacities = {one.name: one.capacity_per_s for one in found.bottleneck.resources}
    assert capacities["workers"] == pytest.approx(4 / each_s, rel=0.01)
    assert capacities["cores"] == pytest.approx(2 / (each_s / 2), rel=0.01)
    assert (
        found.bottleneck.first.used_now_low <= found.bottleneck.first.used_now <= found.bottleneck.first.used_now_high
    )
    assert found.unit == "transfers per second"
    said = " ".join(found.notes)
    assert "run own" in said
    assert "by the published curves, for the traffic of the last week" in said
    assert not any("the ladder was measured with" in one for one in found.warnings)
    assert max(map(len, str(found).splitlines())) <= 80


def test_changed_sizes_cost_what_the_curves_say_and_given_costs_win(lake: Path, thresholds: Path) -> None:
    """1 ms is fixed: four times the size takes 2.5 times as long, not four times."""
    host = Host(workers=4, latency_s=0.5)
    options = {"lake": lake, "thresholds": thresholds, "host": host}
    found = forecast(**options, what_if="size=4x")
    assert found.bottleneck is not None
    assert found.what_if is not None
    now, then = ({one.name: one.capacity_per_s for one in part.resources} for part in (found.bottleneck, found.what_if))
    assert now["workers"] == pytest.approx(8)
    assert now["workers"] / then["workers"] == pytest.approx((1e6 + 4 * 2**20) / (1e6 + 2**20), rel=0.01)
    small = {
        "concurrency": [1, 2, 4, 8],
        "throughput": [9, 17, 30, 50],
        "method": ["uds"] * 4,
        "payload_bytes": [9] * 4,
    }
    other = forecast(**options, ladder=small)
    assert "the ladder was measured with 9B and services send 1MiB on average" in other.warnings[0]
    nobody = forecast(**{**options, "thresholds": lake / "none.toml"}, what_if="size=4x")
    assert nobody.what_if is not None
    assert {one.name: one.capacity_per_s for one in nobody.what_if.resources}["workers"] == pytest.approx(2)
    assert any("taken in proportion" in note for note in nobody.notes)
    moved = forecast(**options, quantity="bytes", what_if="size=4x")
    assert moved.bottleneck is not None
    assert moved.what_if is not None
    assert moved.unit == "MiB per second"
    assert moved.what_if.demand_now == pytest.approx(4 * moved.bottleneck.demand_now)
    assert {one.name: one.capacity_per_s for one in moved.bottleneck.resources}["workers"] == pytest.approx(8)


def test_costs_are_means_over_the_mix_and_unknown_methods_are_named(thresholds: Path) -> None:
    mix = Mix({"method": ["uds", "uds"], "payload_bytes": [2**20, 2**22]}, np.array([3.0, 1.0]), "a test")
    found = costs_of(mix, thresholds=thresholds)
    assert found.latency_s == pytest.approx((1e6 + (3 * 2**20 + 2**22) / 4) / 1e9, rel=0.01)
    other = dataclasses.replace(mix, columns={**mix.columns, "method": ["uds", "grpc_unary"]})
    missing = costs_of(other, thresholds=thresholds)
    assert missing.latency_s is None
    assert "by grpc_unary takes is not known" in missing.warnings[0]


def test_of_several_ladders_one_is_named_or_the_choice_is_said() -> None:
    points = [
        LadderPoint(method, 1024, n, gamma * n / (1 + 0.1 * (n - 1)), 0, 0, 1e6)
        for method, gamma in (("uds", 10.0), ("shm_pool", 30.0))
        for n in (1, 2, 4, 8)
    ]
    ladder = LadderResult("r", "complete", tuple(points), 1.0)
    chosen = forecast(ladder=ladder)
    assert chosen.usl is not None
    assert chosen.usl.gamma.value == pytest.approx(30, rel=0.1)
    assert "of 2 ladders that of shm_pool with 1KiB was taken" in chosen.notes[0]
    named = forecast(ladder=ladder, method="uds", size="1KiB")
    assert named.usl is not None
    assert named.usl.gamma.value == pytest.approx(10, rel=0.1)
    with pytest.raises(UnknownNameError, match="shm_pool"):
        forecast(ladder=ladder, method="grpc_unary")
    with pytest.raises(InputError, match="only with 1KiB"):
        forecast(ladder=ladder, size="2KiB")


def test_what_the_lake_lacks_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no traffic of services.*perfkit bench --ladder"):
        forecast(lake=tmp_path / "lake")
    keep_ladder(tmp_path / "lake", "foreign", 50.0, {**collect_fingerprint(), "cpu": "another"})
    found = forecast(lake=tmp_path / "lake")
    assert found.demand is None
    assert "record=True" in found.warnings[0]
    assert any("measured on another host" in note for note in found.notes)
    with pytest.raises(InputError, match="demand over time is missing"):
        forecast(lake=tmp_path / "lake", limit=5)
    with pytest.raises(InputError, match="quantity is about a lake's traffic"):
        forecast(ladder={"concurrency": [1, 2, 3, 4], "throughput": [1, 2, 3, 4]}, quantity="bytes")
