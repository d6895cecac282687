"""What candidates are judged on: the traffic of the last day, by context and size."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from perfkit.config.gate_record import EffectRecord
from perfkit.config.settings import DEFAULT_POOL
from perfkit.config.thresholds import load_thresholds
from perfkit.engine.plan import Publication
from perfkit.lake import open_lake
from perfkit.workflows.publish import publish_if_sound
from perfkit.workflows.workload import recorded_traffic

NOW = datetime.datetime.now(datetime.UTC)
AN_HOUR_AGO, LAST_WEEK = NOW - datetime.timedelta(hours=1), NOW - datetime.timedelta(days=7)


USUAL = {
    "source": "service",
    "method": "uds",
    "latency_ns": 1_000,
    "observed_at": AN_HOUR_AGO,
    "pool": DEFAULT_POOL,
    "kind": "binary",
    "format": "raw",
    "placement": "copied",
    "in_flight": 1,
    "ok": True,
}


def keep(lake: Path, *rows: dict[str, object]) -> None:
    open_lake(lake).append_transfers(pa.Table.from_pylist([USUAL | row for row in rows]))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def test_transfers_of_services_are_counted_by_context_and_size(lake: Path) -> None:
    big = {"payload_bytes": 2**20, "pool": "ml", "kind": "tensor", "format": "numpy", "placement": "in_place"}
    keep(lake, *[{"payload_bytes": 1000 + step} for step in range(10)], big | {"in_flight": 4}, {"payload_bytes": 0})
    found = {(one.context.pool, one.payload_bytes): one for one in recorded_traffic(lake, Publication()).sends}
    assert {key: one.transfers for key, one in found.items()} == {
        (DEFAULT_POOL, 1004.5): 10,
        (DEFAULT_POOL, 0.0): 1,
        ("ml", 2.0**20): 1,
    }
    context = found["ml", 2.0**20].context
    assert (context.kind, context.format, context.in_place, context.in_flight) == ("tensor", "numpy", True, 4)


def test_what_was_measured_failed_or_is_long_ago_is_no_traffic(lake: Path) -> None:
    keep(
        lake,
        {"payload_bytes": 1000, "source": "bench"},
        {"payload_bytes": 1000, "source": "replay"},
        {"payload_bytes": 1000, "ok": False},
        {"payload_bytes": 1000, "observed_at": LAST_WEEK},
    )
    assert recorded_traffic(lake, Publication()).sends == ()
    assert recorded_traffic(lake, Publication(), hours=24 * 30).transfers == 1


def test_a_lake_that_holds_nothing_has_no_traffic(lake: Path) -> None:
    assert recorded_traffic(lake, Publication()).transfers == 0


def test_recorded_traffic_counts_before_an_even_mix(lake: Path, tmp_path: Path, make_curves) -> None:
    class Fitted:
        curves = make_curves()

    keep(lake, *[{"payload_bytes": 2000}] * 99, {"payload_bytes": 2**24})
    (tmp_path / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\n')
    result = publish_if_sound(Fitted(), path=tmp_path / "thresholds.toml", lake=lake)
    assert [effect.workload for effect in result.effects] == ["recorded traffic", "even mix"]
    effect = result.effects[0]
    assert (effect.n, effect.share_changed) == (100, 0.99)
    assert effect.value == (pytest.approx((10_600 / 504_000) ** 0.99, rel=0.02))
    kept = load_thresholds(tmp_path / "thresholds.toml").gate.effects[0]
    assert isinstance(kept, EffectRecord)
    assert kept.workload == "recorded traffic"
