"""Explored traffic judges candidates: what it shows, what it cannot show, and how the gate uses it."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import perfkit
from perfkit.config.curves import CurveSet
from perfkit.config.thresholds import load_thresholds
from perfkit.engine.costs import Context
from perfkit.errors import InputError
from perfkit.lake import open_lake
from perfkit.workflows.off_policy import explored_traffic
from perfkit.workflows.publish import publish, publish_if_sound

TRUE_LINES = {"uds": (10_000.0, 0.3), "shm_pool": (40_000.0, 0.1), "grpc": (500_000.0, 2.0)}
WRONG_LINES = {**TRUE_LINES, "shm_pool": (4_000.0, 0.1)}
"""A measurement that flatters shm_pool: it would be taken where it truly takes up to four times as long."""
METHODS = list(TRUE_LINES)


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


def traffic(seed: int, rows: int = 4000, rate: float = 0.2) -> pa.Table:
    """A service that follows the true crossover at 150 000 bytes, and explores."""
    random = np.random.default_rng(seed)
    size = np.exp(random.uniform(math.log(2**10), math.log(2**20), rows)).astype(int)
    truth = np.stack([fixed + per_byte * size for fixed, per_byte in TRUE_LINES.values()])
    usual = np.where(size < 150_000, 0, 1)
    explored = random.random(rows) < rate
    taken = np.where(explored, (usual + random.integers(1, 3, rows)) % 3, usual)
    now = datetime.datetime.now(datetime.UTC)
    return pa.table(
        {
            "source": ["service"] * rows,
            "stage": ["whole"] * rows,
            "method": np.array(METHODS)[taken],
            "payload_bytes": size,
            "latency_ns": (truth[taken, np.arange(rows)] * random.lognormal(0, 0.2, rows)).astype(int),
            "propensity": np.where(explored, rate / 2, 1 - rate) if rate else np.ones(rows),
            "session": [f"session-{row // 20}" for row in range(rows)],
            "observed_at": [now - datetime.timedelta(seconds=float(row)) for row in range(rows)],
        }
    )


def true_ratio(threshold: float) -> float:
    """Of always taking uds below a size and shm_pool from it on, to doing so at the true crossover."""
    size = np.geomspace(2**10, 2**20, 20_001)
    uds, pool = (fixed + per_byte * size for fixed, per_byte in (TRUE_LINES["uds"], TRUE_LINES["shm_pool"]))
    costs = [np.log(np.where(size < edge, uds, pool)).mean() for edge in (threshold, 150_000)]
    return float(np.exp(costs[0] - costs[1]))


@pytest.fixture
def project(tmp_path: Path, make_curves: Callable[..., CurveSet]) -> Path:
    (tmp_path / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\nmethods = ["uds", "shm_pool", "grpc"]\n')
    publish(Fitted(make_curves(TRUE_LINES)), path=tmp_path / "thresholds.toml")
    return tmp_path


def by_size(edge: float) -> Callable[[Context, float], str]:
    return lambda context, payload_bytes: "uds" if payload_bytes < edge else "shm_pool"


def test_the_interval_holds_the_truth(project: Path) -> None:
    inside = []
    for seed in range(20):
        found = perfkit.off_policy(by_size(8_000), frame=traffic(seed), thresholds=project / "thresholds.toml")
        inside.append(found.ratio_interval[0] <= true_ratio(8_000) <= found.ratio_interval[1])
        assert found.verdict == "worse"
    assert sum(inside) >= 17


def test_curves_a_fit_and_a_file_are_candidates_too(project: Path, make_curves: Callable[..., CurveSet]) -> None:
    thresholds = project / "thresholds.toml"
    wrong = make_curves(WRONG_LINES)
    frame = traffic(1)
    first, second = (perfkit.off_policy(one, frame=frame, thresholds=thresholds) for one in (wrong, Fitted(wrong)))
    assert first == second
    assert first.estimator == "doubly_robust"
    assert first.verdict == "worse"
    assert perfkit.off_policy(thresholds, frame=frame, thresholds=thresholds).verdict == "equivalent"
    with pytest.raises(InputError, match="must be a fit, curves"):
        perfkit.off_policy(7, frame=frame, thresholds=thresholds)


def test_the_gate_refuses_what_explored_traffic_shows_to_be_worse(
    project: Path, make_curves: Callable[..., CurveSet]
) -> None:
    """The candidate's own curves say that it saves much: only what was explored knows better."""
    thresholds, lake = project / "thresholds.toml", project / "lake"
    candidate = make_curves(WRONG_LINES, evidence=dataclasses.replace(make_curves().evidence, runs=("another",)))
    open_lake(lake).append_transfers(traffic(2))
    result = publish_if_sound(Fitted(candidate), path=thresholds, lake=lake, dry_run=True)
    explored = next(one for one in result.effects if one.workload == "explored traffic")
    assert explored.verdict == "worse"
    assert any(one.name == "worse" and "explored traffic" in one.message for one in result.refusals)
    assert "surely saved" in explored.method
    forced = publish_if_sound(Fitted(candidate), path=thresholds, lake=lake, force=True)
    assert forced.published
    assert any(one.workload == "explored traffic" for one in load_thresholds(thresholds).gate.effects)


def test_nobody_is_held_up_because_nothing_was_explored(project: Path, make_curves: Callable[..., CurveSet]) -> None:
    lake = project / "lake"
    open_lake(lake).append_transfers(traffic(3, rows=200, rate=0.0))
    result = publish_if_sound(Fitted(make_curves(WRONG_LINES)), path=project / "thresholds.toml", lake=lake)
    assert all(one.workload != "explored traffic" for one in result.effects)
    with pytest.raises(InputError, match=r"exploration_rate = 0\.05"):
        perfkit.off_policy(make_curves(), lake=lake, thresholds=project / "thresholds.toml")


def test_failed_transfers_are_counted_and_left_out(project: Path) -> None:
    rows = traffic(4)
    ok = np.arange(rows.num_rows) % 10 > 0
    found = perfkit.off_policy(
        by_size(8_000), frame=rows.append_column("ok", pa.array(ok)), thresholds=project / "thresholds.toml"
    )
    assert found.n == 3600
    assert any("400 transfers failed" in one for one in found.warnings)


@pytest.mark.parametrize("figure", [math.nan, math.inf, -5.0, 0.0, None])
def test_transfers_with_impossible_latencies_are_counted_and_left_out(project: Path, figure: float | None) -> None:
    rows = traffic(4)
    latency = rows["latency_ns"].cast(pa.float64()).to_pylist()
    latency[::100] = [figure] * 40
    broken = rows.set_column(rows.schema.get_field_index("latency_ns"), "latency_ns", pa.array(latency, pa.float64()))
    whole, found = (
        perfkit.off_policy(by_size(8_000), frame=one, thresholds=project / "thresholds.toml") for one in (rows, broken)
    )
    assert found.n == 3960
    assert found.ratio == pytest.approx(whole.ratio, rel=0.05)
    assert any("40 transfers have no latency above 0" in one for one in found.warnings)


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (lambda context, payload_bytes: 1 / 0, "raised ZeroDivisionError"),
        (lambda context: "uds", "raised TypeError"),
        (lambda context, payload_bytes: None, "returned None, must be the name of a method"),
    ],
)
def test_a_policy_that_names_no_method_is_refused(project: Path, policy: Any, error: str) -> None:
    with pytest.raises(InputError, match=error):
        perfkit.off_policy(policy, frame=traffic(4, rows=100), thresholds=project / "thresholds.toml")


def test_a_goal_that_latency_says_nothing_of_is_not_judged(project: Path, make_curves: Callable[..., CurveSet]) -> None:
    (project / "perfkit.toml").write_text('[pools.default]\ngoal = "memory"\n')
    lines = make_curves(TRUE_LINES).curves
    memory = {dataclasses.replace(key, quantity="resident_bytes"): curve for key, curve in lines.items()}
    curves = dataclasses.replace(make_curves(TRUE_LINES), curves={**lines, **memory})
    with pytest.raises(InputError, match="goal memory"):
        perfkit.off_policy(curves, frame=traffic(5, rows=300), thresholds=project / "thresholds.toml")


@pytest.mark.parametrize("goal", ["balanced", "throughput"])
def test_other_goals_count_what_was_measured_in_the_place_of_the_models_latency(
    project: Path, make_curves: Callable[..., CurveSet], goal: str
) -> None:
    (project / "perfkit.toml").write_text(f'[pools.default]\ngoal = "{goal}"\n')
    candidate = make_curves(WRONG_LINES, cpu=WRONG_LINES)
    publish(Fitted(make_curves(TRUE_LINES, cpu=TRUE_LINES)), path=project / "thresholds.toml", force=True)
    found = perfkit.off_policy(candidate, frame=traffic(6), thresholds=project / "thresholds.toml")
    assert found.verdict == "worse"


def test_a_frame_that_lacks_what_is_needed_is_refused(project: Path) -> None:
    with pytest.raises(InputError, match="lacks propensity"):
        perfkit.off_policy(by_size(1), frame=traffic(1).drop_columns(["propensity"]))
    with pytest.raises(InputError, match="days == 0"):
        explored_traffic(project / "lake", days=0)
