"""What a candidate costs on the sends of a replay, and what a replay does to the gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perfkit.config.curves import CurveSet, Evidence
from perfkit.config.thresholds import load_thresholds
from perfkit.engine.plan import Publication
from perfkit.measurement.replay_workload import REPLAY_SETTINGS, ReplayPayload
from perfkit.stats.regret import CostTable, Regret
from perfkit.workflows.publish import publish, publish_if_sound
from perfkit.workflows.replay_result import ReplayResult, SettingResult
from perfkit.workflows.replay_strategies import TUNED
from perfkit.workflows.replayed import replayed_effect

NEXT = Evidence(("02RUN",), 270, 3, 9)
METHODS = ("grpc", "shm_pool", "uds")
CONTRARY = {"uds": (90_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}
Lines = Mapping[str, tuple[float, float]]


@dataclasses.dataclass
class Fitted:
    curves: CurveSet


@pytest.fixture
def replay_of() -> Callable[..., ReplayResult]:
    """A replay of 40 payloads whose sends cost what straight lines say, with a little noise."""

    def make(lines: Lines, settings: tuple[str, ...] = ("uds",), noise: float = 0.02) -> ReplayResult:
        random = np.random.default_rng(5)
        sizes = np.geomspace(1500, 2**25, 40).astype(int).tolist()
        payloads = tuple(ReplayPayload(i, size, "binary", "raw", "none", "4:1") for i, size in enumerate(sizes))
        costs = np.array([[lines[name][0] + lines[name][1] * size for name in METHODS] for size in sizes])
        results = {}
        for name in settings:
            medians = costs * np.exp(random.normal(0, noise, (2, *costs.shape)))
            table = CostTable(tuple(range(len(sizes))), METHODS, medians)
            strategies = {TUNED: Regret(0.013, 0.01, 0.02, 1.01, 1.0, 30, 40)}
            results[name] = SettingResult(name, "latency", payloads, table, {}, strategies, (), "")
        return ReplayResult("r", "a fit", {}, 1, 1.0, 2, 8, results, (), pa.table({}))

    return make


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "perfkit.toml").write_text('[pools.default]\ngoal = "latency"\n')
    return tmp_path / "thresholds.toml"


def test_the_effect_is_that_of_the_measured_costs(make_curves, replay_of) -> None:
    truth = {"uds": (200_000, 0.0), "shm_pool": (100_000, 0.0), "grpc": (10**7, 0.0)}
    before, after = (Publication(make_curves({name: (1, 1)})) for name in ("uds", "shm_pool"))
    found = replayed_effect(replay_of(truth), before, after, margin=0.05)
    assert found.value == pytest.approx(0.5, rel=0.02)
    assert found.total.value == pytest.approx(0.5, rel=0.02)
    assert found.low < found.value < found.high
    assert (found.workload, found.n, found.share_changed, found.verdict) == ("replay", 40, 1.0, "better")


def test_settings_count_alike(make_curves, replay_of) -> None:
    truth = {"uds": (200_000, 0.0), "shm_pool": (100_000, 0.0), "grpc": (10**7, 0.0)}
    plans = [Publication(make_curves({name: (1, 1)})) for name in ("uds", "shm_pool")]
    one = replayed_effect(replay_of(truth), *plans, margin=0.05)
    two = replayed_effect(replay_of(truth, ("uds", "grpc")), *plans, margin=0.05)
    assert two.value == pytest.approx(one.value, rel=0.02)
    assert set(REPLAY_SETTINGS) > {"uds", "grpc"}


def test_a_plan_that_changes_nothing_is_equivalent(make_curves, replay_of) -> None:
    same = Publication(make_curves())
    found = replayed_effect(replay_of(CONTRARY), same, same, margin=0.05)
    assert (found.value, found.low, found.high, found.share_changed) == (1, 1, 1, 0)
    assert found.verdict == "equivalent"


def test_a_replay_that_shows_a_loss_refuses_what_curves_praise(path: Path, make_curves, replay_of) -> None:
    publish(Fitted(make_curves()), path=path)
    truth = {"uds": (10_000, 0.3), "shm_pool": (40_000, 0.1), "grpc": (500_000, 2.0)}
    candidate = Fitted(make_curves(CONTRARY, evidence=NEXT))
    names = {one.name for one in publish_if_sound(candidate, path=path, replay=replay_of(truth)).refusals}
    assert names == {"worse", "step"}


def test_a_replay_that_shows_a_gain_allows_a_step(path: Path, make_curves, replay_of) -> None:
    publish(Fitted(make_curves()), path=path)
    candidate = Fitted(make_curves(CONTRARY, evidence=NEXT))
    assert [one.name for one in publish_if_sound(candidate, path=path, dry_run=True).refusals] == ["step"]
    result = publish(candidate, path=path, replay=replay_of(CONTRARY))
    assert (result.published, result.effects[0].workload, result.effects[0].verdict) == (True, "replay", "better")


@pytest.mark.parametrize(
    ("weaker", "reason"),
    [
        ({"launches": 1}, "launches == 1"),
        ({"rounds": 7}, "rounds == 7"),
        ({"fingerprint": {"cpu": "Abacus 3000"}}, "another host"),
    ],
)
def test_a_worthless_replay_switches_no_check_off(path: Path, make_curves, replay_of, weaker, reason: str) -> None:
    publish(Fitted(make_curves()), path=path)
    replay = dataclasses.replace(replay_of(CONTRARY), **weaker)
    result = publish_if_sound(Fitted(make_curves(CONTRARY, evidence=NEXT)), path=path, replay=replay)
    assert [one.name for one in result.refusals] == ["step"]
    assert [effect.workload for effect in result.effects] == ["even mix"]
    assert any("the replay does not count" in one and reason in one for one in result.warnings)


def keeping(replay: ReplayResult, rows: list[int]) -> ReplayResult:
    """The replay with some of its payloads."""
    settings = {
        name: dataclasses.replace(one, payloads=tuple(one.payloads[row] for row in rows), costs=one.costs.of(rows))
        for name, one in replay.settings.items()
    }
    return dataclasses.replace(replay, settings=settings)


def test_a_replay_settles_no_step_where_it_sent_nothing(path: Path, make_curves, replay_of) -> None:
    publish(Fitted(make_curves()), path=path)
    candidate = Fitted(make_curves(CONTRARY, evidence=NEXT))
    large = keeping(replay_of(CONTRARY), list(range(26, 40)))
    assert "step" in {one.name for one in publish_if_sound(candidate, path=path, replay=large).refusals}
    few = publish_if_sound(candidate, path=path, replay=keeping(large, list(range(11))))
    assert any("payloads == 11" in one for one in few.warnings)


def test_the_figures_of_the_replay_are_kept_with_the_version(path: Path, make_curves, replay_of) -> None:
    publish(Fitted(make_curves()), path=path, replay=replay_of(CONTRARY))
    gate = load_thresholds(path).gate
    assert dict(gate.regret) == {"uds": 0.013}
    assert [effect.workload for effect in gate.effects] == ["replay", "even mix"]
    assert "regret" in path.read_text()
